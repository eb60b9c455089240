"""A node with an API, its NATS server and a client, each on a port that it chose itself."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

import socketio

# The longest wait for a process.
PATIENCE = 30
SECRET = "secret of the key for all operations"
KEYS = f"""
[keys.tests]
secret = "{SECRET}"
operations = ["*"]
concurrency = 1000
"""


def program(variable):
    path = os.environ.get(variable)
    if not path:
        raise RuntimeError(f"{variable} must be the path of a program (`cargo xtask test` sets it)")
    return path


class Nats:
    """A NATS server with JetStream."""

    def __init__(self, folder):
        ports = pathlib.Path(folder) / "ports"
        ports.mkdir()
        command = [program("NATS_SERVER"), "--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", f"{folder}/store"]
        self._process = subprocess.Popen([*command, "--ports_file_dir", str(ports)], stderr=subprocess.DEVNULL)
        self.url = self._address(ports)

    def _address(self, ports):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for file in ports.glob("*.ports"):
                try:
                    return json.loads(file.read_text())["nats"][0]
                except (ValueError, KeyError):
                    pass  # It is being written.
            time.sleep(0.05)
        raise RuntimeError("the NATS server did not start")

    def stop(self):
        self._process.kill()
        self._process.wait()


class Node:
    """A node of the program `sociable-node`."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        self._nats = Nats(self.folder)
        keys = pathlib.Path(self.folder) / "keys.toml"
        keys.write_text(KEYS)
        command = [program("SOCIABLE_NODE"), "--host", "127.0.0.1", "--port", "0", "--nats", self._nats.url, "--jetstream"]
        command += ["--recovery", "60", "--jetstream-events", "16", "--jetstream-sessions", "16", "--drain-time", "0"]
        # No client leaves an acknowledgement out for long.
        command += ["--api-addr", "127.0.0.1:0", "--api-keys", str(keys), "--api-max-ack-timeout", "200"]
        self.log = open(pathlib.Path(self.folder) / "log", "w+")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self._line("listening on ")
        self.api = self._line("API on ") + "/api/v1"

    def _line(self, prefix):
        line = self._process.stdout.readline()
        if not line.startswith(prefix):
            self.log.seek(0)
            raise RuntimeError(f"the node did not start: {line!r} {self.log.read()}")
        return line.removeprefix(prefix).strip()

    def is_running(self):
        return self._process.poll() is None

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self.log.close()
        self._nats.stop()
        self._folder.cleanup()


def acknowledging_client(url):
    """A client that acknowledges every event, and comes back whenever it is disconnected."""
    client = socketio.Client(reconnection=True, reconnection_delay=0.1, reconnection_delay_max=0.2)
    client.on("*", lambda _event, *args: list(args))
    client.connect(url, transports=["websocket"], wait_timeout=PATIENCE)
    return client
