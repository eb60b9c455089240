"""Requests of the cluster, and the answers to them."""

import time
from typing import Any, Literal

from fastapi import HTTPException, Request
from pydantic import BaseModel, Field

from .signature import InvalidSignatureError, verify

MAX_BODY = 2_000_000
"""The longest body. Anyone may send to this port, and a body is read before its signature is known to be valid."""

Kind = Literal["io.sociable.connect", "io.sociable.event", "io.sociable.disconnected"]
"""The header `ce-type` of the requests that `settings.toml` asks for."""


class User(BaseModel):
    """The data of a socket. The cluster keeps it, and sends it with each request."""

    name: str
    room: str | None = None


class Connect(BaseModel):
    """A client that wants to connect."""

    socket: str
    auth: Any = None


class Event(BaseModel):
    """An event that a client emitted."""

    socket: str
    event: str
    args: list[Any]
    data: User


class Disconnected(BaseModel):
    """A client that has left."""

    socket: str
    data: User


class Emit(BaseModel):
    """An event for all sockets in some rooms, except those in other rooms. A socket id is a room too."""

    event: str
    args: list[Any]
    rooms: list[str]
    except_: list[str] = Field(default=[], serialization_alias="except")


class Fault(BaseModel):
    """The error that a client gets."""

    message: str
    data: dict[str, Any] = {}


class Answer(BaseModel):
    """What the cluster does next. Fields that are not set change nothing."""

    allow: bool | None = None
    error: Fault | None = None
    ack: list[Any] | None = None
    join: list[str] = []
    leave: list[str] = []
    data: User | None = None
    emit: list[Emit] = []


async def signed_body(request: Request, secret: str) -> bytes:
    """Return the body of a request, if its signature is valid."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    try:
        verify(secret, request.headers, bytes(body), time.time())
    except InvalidSignatureError as error:
        raise HTTPException(401, str(error)) from error
    return bytes(body)
