"""A backend with a cluster that records its calls."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from chat.app import create
from chat.settings import Settings
from chat.signature import sign

SECRET = "whsec_" + "c2VjcmV0" * 4


class FakeCluster(httpx2.AsyncBaseTransport):
    """A cluster that records each call, and answers as a test wants it."""

    def __init__(self) -> None:
        self.calls: list[httpx2.Request] = []
        self.answer = httpx2.Response(200, json={})
        self.failures = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.calls.append(request)
        if len(self.calls) <= self.failures:
            raise httpx2.ConnectError("the node is gone", request=request)
        return self.answer

    def bodies(self) -> list[Any]:
        return [json.loads(call.content) for call in self.calls]


class Backend:
    """A running backend, with webhooks that are signed."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def login(self, name: str = "ada", password: str = "analytical") -> httpx2.Response:
        return self.http.post("/login", json={"name": name, "password": password})

    def token(self) -> str:
        return str(self.login().json()["token"])

    def webhook(self, kind: str, body: dict[str, Any], message_id: str = "msg-1", **headers: str) -> httpx2.Response:
        content = json.dumps({"namespace": "/chat", "socket": "socket-1", **body}).encode()
        timestamp = str(int(time.time()))
        signed = {
            "ce-type": f"io.sociable.{kind}",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(SECRET, message_id, timestamp, content),
        }
        return self.http.post("/socketio", content=content, headers=signed | headers)

    def event(self, event: str, *args: object, room: str | None = None, message_id: str = "msg-1") -> Any:
        data = {"name": "ada", "room": room}
        response = self.webhook("event", {"event": event, "args": args, "ack": True, "data": data}, message_id)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def backend(cluster: FakeCluster) -> Iterator[Backend]:
    settings = Settings(api_key="key", webhook_secret=SECRET, session_secret="s" * 32)
    with TestClient(create(settings, cluster)) as http:
        yield Backend(http)
