"""A backend in Python: webhooks by the standard library, the API by `requests`."""

import base64
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

API = os.environ["API"]
KEY = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))


def is_signed(headers, body):
    """Returns whether a holder of the secret signed the request in the last five minutes."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(SECRET, content, "sha256"))
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, signature.encode()) for signature in signatures)


def call(method, operation, headers=None, **options):
    """Calls an operation of the API."""
    answer = requests.request(method, f"{API}/{operation}", headers={**KEY, **(headers or {})}, timeout=10, **options)
    answer.raise_for_status()
    return answer.json()


def connect(message):
    name = (message["auth"] or {}).get("name")
    if not name:
        return {"allow": False, "error": {"message": "send a name", "data": {"backend": "python"}}}
    return {"allow": True, "data": {"name": name}, "join": ["everyone"]}


def say(message, message_id):
    namespace = message["namespace"]
    call("POST", "join", json={"namespace": namespace, "rooms": [message["socket"]], "join": ["talkers"]})
    count = call("GET", "count", params={"namespace": namespace, "room": "talkers"})
    args = ["python", message["data"]["name"], message["args"][0]]
    event = {"namespace": namespace, "rooms": ["everyone"], "event": "said", "args": args}
    call("POST", "emit", json=event, headers={"Idempotency-Key": message_id})
    return {"ack": [count["sockets"]]}


class Webhooks(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(self.headers, body):
            return self.answer(401, {})
        message = json.loads(body)
        if self.headers["ce-type"] == "io.sociable.connect":
            return self.answer(200, connect(message))
        return self.answer(200, say(message, self.headers["webhook-id"]))

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Webhooks).serve_forever()
