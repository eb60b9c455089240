"""Calls to the API of the cluster."""

import uuid
from typing import Any

import httpx2

ATTEMPTS = 2
"""The attempts of a call. A node that was killed gives no answer, and the next attempt reaches another node."""


class ClusterError(Exception):
    """A call that the cluster refused or did not answer."""


class Cluster:
    """The API of the cluster. Any node answers for all nodes."""

    def __init__(self, url: str, key: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.AsyncClient(base_url=f"{url}/api/v1/", headers=headers, transport=transport)

    async def emit(self, event: str, *args: object, rooms: tuple[str, ...] = ()) -> None:
        """Emit an event to rooms of the chat, or to all of it."""
        body = {"namespace": "/chat", "rooms": rooms, "event": event, "args": args}
        # The cluster emits nothing twice for the same key, so a call without an answer may be repeated.
        await self._call("POST", "emit", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    async def people(self) -> dict[str, int]:
        """Return the number of sockets in each room that has some."""
        answer = await self._call("GET", "rooms", params={"namespace": "/chat"})
        return {room["room"]: room["sockets"] for room in answer["rooms"]}

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._http.aclose()

    async def _call(self, method: str, operation: str, **options: Any) -> Any:  # noqa: ANN401
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._http.request(method, operation, **options)
                break
            except httpx2.HTTPError as error:
                if attempt == ATTEMPTS:
                    raise ClusterError(f"{operation}: {error}") from error
        if response.is_error:
            # The body is a problem by RFC 9457, which names the fault.
            raise ClusterError(f"{operation}: {response.status_code} {response.text}")
        return response.json()
