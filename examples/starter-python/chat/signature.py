"""Signatures of webhooks, by https://www.standardwebhooks.com.

The node signs `id.timestamp.body` by HMAC-SHA-256. The header has one signature for each secret of the node. Two
secrets are valid while one replaces the other.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping

TOLERANCE = 300
"""The seconds by which the clocks may differ, and for which a request is valid."""


class InvalidSignatureError(Exception):
    """A request that the cluster did not send, or that is too old."""


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a webhook."""
    key = b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Raise `InvalidSignatureError` unless a holder of the secret signed the request in the last five minutes."""
    try:
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split(" ")
        age = now - int(timestamp)
    except (KeyError, ValueError) as error:
        raise InvalidSignatureError(f"a header of the signature is missing or malformed: {error}") from error
    if abs(age) > TOLERANCE:
        raise InvalidSignatureError(f"the request is {age:.0f} s old")
    expected = sign(secret, message_id, timestamp, body).encode()
    # `compare_digest` takes the same time wherever the signatures differ.
    if not any(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
        raise InvalidSignatureError("no signature is valid")
