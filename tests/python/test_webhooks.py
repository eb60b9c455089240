"""Webhooks of `sociable-node`, as backends in Python read them: by the packages `cloudevents` and `standardwebhooks`."""

import http.server
import json
import os
import queue
import subprocess
import tempfile
import threading
import unittest

import socketio
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app import PATIENCE

NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
OTHER = "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
BATCH = "application/cloudevents-batch+json"


class Backend(http.server.BaseHTTPRequestHandler):
    """A backend that puts each request into a queue, and lets in all but one client."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.put((dict(self.headers.items()), body))
        answer = b"{}"
        if self.headers.get("ce-type") == "io.sociable.connect" and json.loads(body)["auth"].get("name") == "Mallory":
            answer = json.dumps({"error": {"message": "not you", "data": {"code": 7}}}).encode()
        elif self.headers.get("ce-type") == "io.sociable.event":
            answer = json.dumps({"ack": json.loads(body)["args"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Webhooks(unittest.TestCase):
    def setUp(self):
        self.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        self.backend.seen = queue.Queue()
        self.backend.daemon_threads = True
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        self.addCleanup(self.backend.server_close)
        self.addCleanup(self.backend.shutdown)
        url = f"http://127.0.0.1:{self.backend.server_port}/hooks"
        settings = tempfile.NamedTemporaryFile("w", suffix=".toml")
        self.addCleanup(settings.close)
        settings.write(
            f"""
            [webhooks]
            secrets = ["{NEW}", "{OLD}"]
            batch-ms = 10

            [namespaces."/chät"]
            connect = "{url}"
            connected = "{url}"
            disconnected = "{url}"

            [namespaces."/chät".events]
            "batched" = {{ url = "{url}", batch = true }}
            "*" = "{url}"
            """
        )
        settings.flush()
        binary = os.environ.get("NODE_BIN")
        if not binary:
            raise RuntimeError("NODE_BIN must be the path of sociable-node (`cargo xtask test` sets it)")
        self.node = subprocess.Popen([binary, "--port", "0", "--config", settings.name], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.node.stdout.close)
        self.addCleanup(self.node.wait)
        self.addCleanup(self.node.kill)
        self.url = self.node.stdout.readline().removeprefix("listening on ").strip()

    def client(self, **auth):
        client = socketio.Client(reconnection=False)
        self.addCleanup(client.disconnect)
        client.connect(self.url, auth=auth, namespaces=["/chät"], transports=["websocket"], wait_timeout=PATIENCE)
        return client

    def next(self):
        """The next webhook: its headers and its body, with right signatures."""
        headers, body = self.backend.seen.get(timeout=PATIENCE)
        for secret in (NEW, OLD):
            Webhook(secret).verify(body, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(OTHER).verify(body, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(NEW).verify(body + b" ", headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(NEW).verify(body, {**headers, "webhook-timestamp": "1614265330"})
        return headers, body

    def event(self, kind):
        """The next webhook as a CloudEvent of the package."""
        headers, body = self.next()
        event = from_binary_event(HTTPMessage(headers=headers, body=body))
        self.check(event, kind)
        self.assertEqual(event.get_id(), headers["webhook-id"])
        return event

    def check(self, event, kind):
        self.assertEqual((event.get_specversion(), event.get_type()), ("1.0", f"io.sociable.{kind}"))
        self.assertEqual((event.get_extension("namespace"), event.get_data()["namespace"]), ("/chät", "/chät"))
        self.assertEqual(event.get_subject(), event.get_data()["socket"])
        self.assertEqual(event.get_datacontenttype(), "application/json")
        self.assertTrue(event.get_source().startswith("/sociable/"))
        self.assertIsNotNone(event.get_time().tzinfo)

    def test_packages_read_every_kind_of_webhook(self):
        client = self.client(name="Ada")
        id = client.get_sid("/chät")
        self.assertEqual(self.event("connect").get_data()["auth"], {"name": "Ada"})
        self.assertEqual(self.event("connected").get_data()["recovered"], False)
        answer = client.call("say", ("hello", b"\x01\x02\x03"), namespace="/chät", timeout=PATIENCE)
        self.assertEqual(answer, ("hello", b"\x01\x02\x03"))
        event = self.event("event")
        self.assertEqual((event.get_data()["event"], event.get_data()["args"]), ("say", ["hello", {"$binary": "AQID"}]))
        client.emit("batched", 1, namespace="/chät")
        headers, body = self.next()
        self.assertEqual(headers["content-type"], BATCH)
        [batched] = [JSONFormat().read(None, json.dumps(part)) for part in json.loads(body)]
        self.check(batched, "event")
        self.assertEqual(batched.get_data()["args"], [1])
        client.disconnect()
        gone = self.event("disconnected")
        self.assertEqual(gone.get_subject(), id)
        # The client closes its connection right after the packet.
        self.assertIn(gone.get_data()["reason"], ("client namespace disconnect", "transport close"))

    def test_refused_client_gets_the_error_of_the_backend(self):
        client = socketio.Client(reconnection=False)
        self.addCleanup(client.disconnect)
        errors = queue.Queue()
        client.on("connect_error", errors.put, namespace="/chät")
        with self.assertRaises(socketio.exceptions.ConnectionError):
            client.connect(self.url, auth={"name": "Mallory"}, namespaces=["/chät"], transports=["websocket"], wait_timeout=PATIENCE)
        self.assertEqual(errors.get(timeout=PATIENCE), {"message": "not you", "data": {"code": 7}})
        self.event("connect")
