"""Emits to the sockets of a Sociable cluster from Python, and moves and disconnects them, by docs/wire-format.md.

    pip install nats-py
    python emit.py --to lobby emit news '{"hello": "from Python"}'
    python emit.py --to lobby --except vip join queue
    python emit.py --to banned disconnect --close
    python emit.py --jetstream emit news kept
    python emit.py server reload
"""

import argparse
import asyncio
import json
import secrets
import struct

import nats

EMIT, JOIN, LEAVE, DISCONNECT, SERVER = 1, 2, 3, 4, 5
COMPRESS = 2
JSON = b"\0"
# Clients close the connection because of such an event.
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}


def text(value):
    value = value.encode()
    return struct.pack(">I", len(value)) + value


def texts(values):
    return struct.pack(">I", len(values)) + b"".join(map(text, values))


def text_frame(payload):
    """A WebSocket frame: FIN and text, and the shortest form of the length."""
    payload = payload.encode()
    if len(payload) < 126:
        return bytes([0x81, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return struct.pack(">BBH", 0x81, 126, len(payload)) + payload
    return struct.pack(">BBQ", 0x81, 127, len(payload)) + payload


def event_frame(event, args, namespace="/"):
    """An event as the clients get it: an Engine.IO message that holds a packet of Socket.IO."""
    return text_frame("42" + ("" if namespace == "/" else namespace + ",") + json.dumps([event, *args]))


class Emitter:
    """Everything it is told to do is done in that order. A target without rooms is all sockets of the namespace."""

    def __init__(self, connection, cluster="sociable", jetstream=False):
        self.connection, self.subject = connection, f"sociable.{cluster}.all"
        # The stream of nodes that share their history. Confirmed events reach disconnected clients too.
        self.stream = connection.jetstream() if jetstream else None
        self.kept = f"sociable.{cluster}.kept.all"
        self.tag = secrets.token_urlsafe(3).encode()
        self.epoch, self.sent = secrets.randbits(53), 0

    async def tell(self, kind, body):
        self.sent += 1
        head = struct.pack(">B4sQQQ", 1, self.tag, self.epoch, self.sent, self.sent)
        record = bytes([kind]) + body
        envelope = head + struct.pack(">I", len(record)) + record
        if self.stream is None:
            return await self.connection.publish(self.subject, envelope)
        # A repeated message is persisted once.
        await self.stream.publish(self.kept, envelope, headers={"Nats-Msg-Id": f"{self.tag.decode()}.{self.epoch}.{self.sent}"})

    async def emit(self, event, *args, namespace="/", rooms=(), excepted=()):
        if event in RESERVED:
            raise ValueError(f"the event name {event!r} is reserved: choose another")
        frames = event_frame(event, args, namespace)
        await self.tell(EMIT, text(namespace) + texts(rooms) + texts(excepted) + bytes([COMPRESS]) + frames)

    async def join(self, joined, namespace="/", rooms=(), excepted=()):
        await self.tell(JOIN, text(namespace) + texts(rooms) + texts(excepted) + texts(joined))

    async def leave(self, left, namespace="/", rooms=(), excepted=()):
        await self.tell(LEAVE, text(namespace) + texts(rooms) + texts(excepted) + texts(left))

    async def disconnect(self, close=False, namespace="/", rooms=(), excepted=()):
        await self.tell(DISCONNECT, text(namespace) + texts(rooms) + texts(excepted) + bytes([close]))

    async def server_side_emit(self, event, *args, namespace="/"):
        await self.tell(SERVER, text(namespace) + JSON + event_frame(event, args))


def value(argument):
    """What is no JSON is taken for text."""
    try:
        return json.loads(argument)
    except ValueError:
        return argument


def arguments():
    parser = argparse.ArgumentParser(description="Emits to the sockets of a Sociable cluster, or orders them about.")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="the NATS servers, with commas between them")
    parser.add_argument("--cluster", default="sociable")
    parser.add_argument("--jetstream", action="store_true", help="the nodes have JetStream keep events")
    parser.add_argument("--namespace", default="/")
    parser.add_argument("--to", action="append", default=[], metavar="ROOM", help="a room or the id of a socket; may be repeated. An id may begin with a dash: write --to=ID")
    parser.add_argument("--except", action="append", default=[], metavar="ROOM", dest="excepted")
    what = parser.add_subparsers(dest="what", required=True)
    for name in ("emit", "server"):
        command = what.add_parser(name)
        command.add_argument("event")
        command.add_argument("args", nargs="*", type=value)
    for name in ("join", "leave"):
        what.add_parser(name).add_argument("rooms", nargs="+")
    command = what.add_parser("disconnect")
    command.add_argument("--close", action="store_true")
    command.add_argument("--all", action="store_true", help="all sockets of the namespace; needed without --to")
    asked = parser.parse_args()
    if asked.what == "disconnect" and asked.all == bool(asked.to):
        parser.error("name rooms with --to, or add --all")
    return asked


async def main(asked):
    connection = await nats.connect(asked.nats.split(","))
    emitter = Emitter(connection, asked.cluster, asked.jetstream)
    target = {"namespace": asked.namespace, "rooms": asked.to, "excepted": asked.excepted}
    if asked.what == "emit":
        await emitter.emit(asked.event, *asked.args, **target)
    elif asked.what == "server":
        await emitter.server_side_emit(asked.event, *asked.args, namespace=asked.namespace)
    elif asked.what == "join":
        await emitter.join(asked.rooms, **target)
    elif asked.what == "leave":
        await emitter.leave(asked.rooms, **target)
    else:
        await emitter.disconnect(asked.close, **target)
    await connection.drain()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
