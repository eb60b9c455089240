"""python-socketio on uvicorn. PORT is the port on 127.0.0.1.

The library does not say whether a client asked for an acknowledgement. ACK=1 answers `echo` by acknowledgements, otherwise by events.
"""

import os

import socketio
import uvicorn

io = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
BY_ACK = os.environ.get("ACK") == "1"


@io.on("echo")
async def echo(sid, *args):
    if BY_ACK:
        return args
    await io.emit("echo", args if len(args) != 1 else args[0], to=sid)


@io.on("join")
async def join(sid, room):
    await io.enter_room(sid, room)
    return ()


@io.on("broadcast")
async def broadcast(_sid, room, payload):
    await io.emit("msg", payload, room=room)


uvicorn.run(
    socketio.ASGIApp(io),
    host="127.0.0.1",
    port=int(os.environ.get("PORT", "3000")),
    log_level="error",
    loop="uvloop",
    http="httptools",
    ws="websockets",
    backlog=65535,
)
