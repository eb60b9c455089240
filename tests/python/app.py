"""The acceptance app as a process, and shared parts of its clients."""

import itertools
import os
import queue
import subprocess
import unittest

import socketio
from engineio.payload import Payload

# By default this client refuses a poll with more than 16 packets, of any server.
Payload.max_decode_packets = 1000

# The longest wait. A failing test reports after this time.
PATIENCE = 15

_numbers = itertools.count(1)


def own_namespace():
    """A namespace of the acceptance app that no other test uses."""
    return f"/dyn-{os.getpid()}{next(_numbers)}"


class App:
    """A running acceptance app, on a port that it chose itself."""

    def __init__(self, *flags):
        binary = os.environ.get("ACCEPTANCE")
        if not binary:
            raise RuntimeError("ACCEPTANCE must be the path of the acceptance app (`cargo xtask test` sets it)")
        command = [binary, "--port", "0", *flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the app ended at its start: {line!r}")
        self.url = line.removeprefix("listening on ").strip()

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class ClientCase(unittest.TestCase):
    """A test case with an app of its own, and clients that are closed when a test ends."""

    flags = ()
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.app = App(*cls.flags)
        cls.addClassCleanup(cls.app.stop)

    def client(self, namespace, transports=("websocket",), auth=None, on_refused=None):
        client = socketio.Client(reconnection=False, **self.options)
        self.addCleanup(client.disconnect)
        if on_refused:
            client.on("connect_error", on_refused, namespace=namespace)
        client.connect(self.app.url, auth=auth, namespaces=[namespace], transports=list(transports), wait_timeout=PATIENCE)
        return Peer(client, namespace)


class Peer:
    """A connected client in one namespace."""

    def __init__(self, client, namespace):
        self.raw = client
        self.namespace = namespace

    def emit(self, event, *args):
        self.raw.emit(event, args, namespace=self.namespace)

    def ask(self, event, *args):
        """The answer to an event."""
        return self.raw.call(event, args, namespace=self.namespace, timeout=PATIENCE)

    def op(self, **request):
        """An op of the app, which must succeed: its value."""
        answer = self.ask("op", request)
        if not answer["ok"]:
            raise AssertionError(f"{request}: {answer['error']}")
        return answer["value"]

    def heard(self, event):
        """A queue of this event's occurrences from now on."""
        arrived = queue.Queue()
        self.raw.on(event, lambda *args: arrived.put(args), namespace=self.namespace)
        return arrived

    def settle(self):
        """Returns when all earlier events for this client have come, because an answer follows them."""
        self.ask("echo", "settled")
