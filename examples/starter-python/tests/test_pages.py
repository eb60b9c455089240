import httpx2

from .conftest import Backend, FakeCluster


def test_login_issues_a_token(backend: Backend) -> None:
    session = backend.login().json()
    assert session["url"] == "http://127.0.0.1:3000"
    assert session["token"].count(".") == 2


def test_wrong_login_is_refused(backend: Backend) -> None:
    assert backend.login(password="compiler").status_code == 401
    assert backend.login(name="eve").status_code == 401


def test_rooms_show_how_many_are_there(backend: Backend, cluster: FakeCluster) -> None:
    cluster.answer = httpx2.Response(
        200, json={"rooms": [{"room": "kitchen", "sockets": 3}, {"room": "other", "sockets": 1}]}
    )
    assert backend.http.get("/rooms").json() == {"lobby": 0, "kitchen": 3, "garden": 0}
    assert cluster.calls[0].url.params["namespace"] == "/chat"


def test_announcement_reaches_everyone(backend: Backend, cluster: FakeCluster) -> None:
    headers = {"Authorization": f"Bearer {backend.token()}"}
    assert backend.http.post("/announcements", json={"text": "tea"}, headers=headers).status_code == 204
    assert cluster.bodies() == [{"namespace": "/chat", "rooms": [], "event": "announced", "args": ["ada", "tea"]}]
    (call,) = cluster.calls
    assert (str(call.url), call.headers["authorization"]) == ("http://127.0.0.1:3002/api/v1/emit", "Bearer key")


def test_call_is_repeated_with_its_key_when_a_node_dies(backend: Backend, cluster: FakeCluster) -> None:
    headers = {"Authorization": f"Bearer {backend.token()}"}
    cluster.failures = 1
    assert backend.http.post("/announcements", json={"text": "tea"}, headers=headers).status_code == 204
    first, second = cluster.calls
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content


def test_page_gets_an_error_when_the_cluster_fails(backend: Backend, cluster: FakeCluster) -> None:
    cluster.answer = httpx2.Response(503, json={"title": "unavailable"})
    assert backend.http.get("/rooms").status_code == 502
    cluster.failures = 3
    assert backend.http.get("/rooms").status_code == 502


def test_announcement_needs_a_login(backend: Backend, cluster: FakeCluster) -> None:
    for headers in [{}, {"Authorization": "Bearer forged"}]:
        assert backend.http.post("/announcements", json={"text": "tea"}, headers=headers).status_code == 401
    assert cluster.calls == []


def test_page_has_the_official_client(backend: Backend) -> None:
    assert "socket.io.min.js" in backend.http.get("/").text
    assert "Socket.IO v4" in backend.http.get("/socket.io.min.js").text
