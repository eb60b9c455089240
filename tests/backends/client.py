"""A client of python-socketio: `client.py URL NAMESPACE NAME`.

Each line of the standard input is a text to say. Each line of the standard output is a JSON value: `["said", …]`, `["ack", count]`,
`["refused", error]`.
"""

import json
import sys

import socketio


def tell(*values):
    print(json.dumps(values), flush=True)


url, namespace, name = sys.argv[1:]
client = socketio.Client(reconnection=False)
client.on("said", lambda *args: tell("said", *args), namespace=namespace)
client.on("connect_error", lambda error: tell("refused", error), namespace=namespace)
try:
    client.connect(url, auth={"name": name}, namespaces=[namespace], transports=["websocket"], wait_timeout=15)
except socketio.exceptions.ConnectionError:
    sys.exit()
tell("connected")
for line in sys.stdin:
    tell("ack", client.call("say", line.strip(), namespace=namespace, timeout=15))
client.disconnect()
