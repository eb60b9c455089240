"""MessagePack for schemathesis, which knows JSON alone, and a new idempotency key for each request."""

import itertools
import re

import msgpack
import schemathesis


@schemathesis.serializer("application/msgpack")
def write(_context, value):
    # Schemathesis sends what is no value of a schema as bytes.
    return value if isinstance(value, bytes) else msgpack.packb(representable(value))


def representable(value):
    """MessagePack has integers of 64 bits. Longer ones become floats."""
    if isinstance(value, dict):
        return {key: representable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [representable(item) for item in value]
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**64
    return float(value) if is_long else value


@schemathesis.deserializer("application/msgpack")
def read(_context, response):
    return msgpack.unpackb(response.content)


# A key as the document has it.
KEY = re.compile(r'(?!""$)[!-~]([ -~]*[!-~])?')
LONGEST = 255
_numbers = itertools.count(1)


@schemathesis.hook
def before_call(_context, case, _kwargs):
    # Two different requests with one key would be refused, as they should be.
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and len(key) <= LONGEST and KEY.fullmatch(key):
        number = f"{next(_numbers)}/"
        # A key of the greatest length keeps it.
        case.headers["Idempotency-Key"] = number + key[max(0, len(number) + len(key) - LONGEST):]
