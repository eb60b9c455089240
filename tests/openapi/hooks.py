"""MessagePack for schemathesis, which knows JSON alone, and a new idempotency key for each request."""

import itertools

import msgpack
import schemathesis


@schemathesis.serializer("application/msgpack")
def write(_context, value):
    # Schemathesis sends what is no value of a schema as bytes.
    return value if isinstance(value, bytes) else msgpack.packb(value)


@schemathesis.deserializer("application/msgpack")
def read(_context, response):
    return msgpack.unpackb(response.content)


EXAMPLE = "order-7-paid"
_numbers = itertools.count(1)


@schemathesis.hook
def before_call(_context, case, _kwargs):
    # Two different requests with the key of the example would be refused, as they should be.
    if case.headers and case.headers.get("Idempotency-Key") == EXAMPLE:
        case.headers["Idempotency-Key"] = f"{EXAMPLE}-{next(_numbers)}"
