"""Calls to the API of the cluster."""

from typing import Any

import httpx2


class ClusterError(Exception):
    """A call that the cluster refused or did not answer."""


class Cluster:
    """The API of the cluster. Any node answers for all nodes."""

    def __init__(self, url: str, key: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.AsyncClient(base_url=f"{url}/api/v1/", headers=headers, transport=transport)

    async def emit(self, call_id: str, event: str, *args: object, rooms: tuple[str, ...] = ()) -> None:
        """Emit an event to rooms of the chat, or to all of it. A repeated id emits nothing twice."""
        body = {"namespace": "/chat", "rooms": rooms, "event": event, "args": args}
        await self._call("POST", "emit", json=body, headers={"Idempotency-Key": call_id})

    async def people(self) -> dict[str, int]:
        """Return the number of sockets in each room that has some."""
        answer = await self._call("GET", "rooms", params={"namespace": "/chat"})
        return {room["room"]: room["sockets"] for room in answer["rooms"]}

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._http.aclose()

    async def _call(self, method: str, operation: str, **options: Any) -> Any:  # noqa: ANN401
        try:
            response = await self._http.request(method, operation, **options)
        except httpx2.HTTPError as error:
            raise ClusterError(f"{operation}: {error}") from error
        if response.is_error:
            # The body is a problem by RFC 9457, which names the fault.
            raise ClusterError(f"{operation}: {response.status_code} {response.text}")
        return response.json()
