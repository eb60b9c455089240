import jwt

from .conftest import Backend


def test_client_with_a_token_is_let_in(backend: Backend) -> None:
    answer = backend.webhook("connect", {"auth": {"token": backend.token()}})
    assert answer.json() == {"allow": True, "data": {"name": "ada"}}


def test_client_without_a_valid_token_is_refused(backend: Backend) -> None:
    forged = jwt.encode({"sub": "ada", "exp": 4_000_000_000}, "f" * 32, "HS256")
    expired = jwt.encode({"sub": "ada", "exp": 1}, "s" * 32, "HS256")
    for auth in [None, {}, "text", {"token": 1}, {"token": forged}, {"token": expired}]:
        answer = backend.webhook("connect", {"auth": auth})
        assert answer.json() == {"allow": False, "error": {"message": "log in first", "data": {"code": "E_LOGIN"}}}, (
            auth
        )


def test_client_joins_a_room(backend: Backend) -> None:
    assert backend.event("join", "kitchen") == {
        "ack": [{"room": "kitchen", "history": []}],
        "join": ["kitchen"],
        "data": {"name": "ada", "room": "kitchen"},
        "emit": [{"event": "joined", "args": ["ada"], "rooms": ["kitchen"], "except": ["socket-1"]}],
    }


def test_client_leaves_its_room_for_another(backend: Backend) -> None:
    answer = backend.event("join", "kitchen", room="lobby")
    assert answer["leave"] == ["lobby"]
    assert [(emit["event"], emit["rooms"]) for emit in answer["emit"]] == [("left", ["lobby"]), ("joined", ["kitchen"])]


def test_message_reaches_the_room_and_its_history(backend: Backend) -> None:
    answer = backend.event("say", " hello ", room="lobby", message_id="msg-7")
    message = {"id": "msg-7", "name": "ada", "text": "hello"}
    assert answer == {"ack": [{"id": "msg-7"}], "emit": [{"event": "said", "args": [message], "rooms": ["lobby"]}]}
    assert backend.event("join", "lobby")["ack"] == [{"room": "lobby", "history": [message]}]
    assert backend.event("join", "garden")["ack"] == [{"room": "garden", "history": []}]


def test_repeated_webhook_adds_one_message(backend: Backend) -> None:
    for _ in range(2):
        backend.event("say", "hello", room="lobby", message_id="msg-7")
    assert len(backend.event("join", "lobby")["ack"][0]["history"]) == 1


def test_history_keeps_the_last_messages(backend: Backend) -> None:
    for number in range(60):
        backend.event("say", str(number), room="lobby", message_id=f"msg-{number}")
    history = backend.event("join", "lobby")["ack"][0]["history"]
    assert [message["text"] for message in history] == [str(number) for number in range(10, 60)]


def test_nonsense_of_clients_is_refused(backend: Backend) -> None:
    for args in [(), (1,), ("",), ("a", "b"), ({"$binary": "AA=="},), ("x" * 2001,)]:
        answer = backend.event("say", *args, room="lobby")
        assert answer == {"error": {"message": "`say` takes one text of 1 to 2000 characters"}}, args
    assert backend.event("join", "cellar") == {"error": {"message": "there is no room `cellar`"}}
    assert backend.event("say", "hello") == {"error": {"message": "join a room first"}}


def test_room_is_told_who_left(backend: Backend) -> None:
    body = {"reason": "transport close", "rooms": ["lobby"], "data": {"name": "ada", "room": "lobby"}}
    assert backend.webhook("disconnected", body).json() == {
        "emit": [{"event": "left", "args": ["ada"], "rooms": ["lobby"]}]
    }
    assert backend.webhook("disconnected", body | {"data": {"name": "ada"}}).json() == {}
