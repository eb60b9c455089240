"""Emits to the sockets of a Sociable cluster from Python: the wire format of docs/wire-format.md in a page.

    pip install nats-py
    python emit.py nats://127.0.0.1:4222 sociable lobby news '{"hello": "from Python"}'
"""

import asyncio
import json
import secrets
import struct
import sys

import nats

EMIT, JOIN, LEAVE, DISCONNECT = 1, 2, 3, 4
COMPRESS = 2


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


class Emitter:
    def __init__(self, connection, cluster):
        self.connection, self.subject = connection, f"sociable.{cluster}.all"
        self.tag = secrets.token_urlsafe(3).encode()
        self.epoch, self.sent = secrets.randbits(53), 0

    async def tell(self, kind, body):
        self.sent += 1
        head = struct.pack(">B4sQQQ", 1, self.tag, self.epoch, self.sent, self.sent)
        record = bytes([kind]) + body
        await self.connection.publish(self.subject, head + struct.pack(">I", len(record)) + record)

    async def emit(self, event, *args, namespace="/", rooms=(), excepted=()):
        packet = "42" + ("" if namespace == "/" else namespace + ",") + json.dumps([event, *args])
        frames = text_frame(packet)
        await self.tell(EMIT, text(namespace) + texts(rooms) + texts(excepted) + bytes([COMPRESS]) + frames)

    async def join(self, joined, namespace="/", rooms=(), excepted=()):
        await self.tell(JOIN, text(namespace) + texts(rooms) + texts(excepted) + texts(joined))

    async def leave(self, left, namespace="/", rooms=(), excepted=()):
        await self.tell(LEAVE, text(namespace) + texts(rooms) + texts(excepted) + texts(left))

    async def disconnect(self, close=False, namespace="/", rooms=(), excepted=()):
        await self.tell(DISCONNECT, text(namespace) + texts(rooms) + texts(excepted) + bytes([close]))


async def main(url, cluster, room, event, *args):
    connection = await nats.connect(url)
    await Emitter(connection, cluster).emit(event, *map(json.loads, args), rooms=[room])
    await connection.drain()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
