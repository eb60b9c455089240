"""What the chat does when a client connects, emits an event or leaves."""

from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from .history import History, Message
from .login import Tokens
from .webhooks import Answer, Connect, Disconnected, Emit, Event, Fault, User

ROOMS = ("lobby", "kitchen", "garden")

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
one_text: TypeAdapter[tuple[Text]] = TypeAdapter(tuple[Text])
"""The arguments of `join` and `say`. Clients send whatever they like, so each event checks its own."""


class Chat:
    """The chat. Its clients, their rooms and their data are in the cluster; its messages are here."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._history = History(ROOMS)

    def connect(self, client: Connect) -> Answer:
        """Let a client in that has logged in."""
        token = client.auth.get("token") if isinstance(client.auth, dict) else None
        name = self._tokens.name(token)
        if name is None:
            return Answer(allow=False, error=Fault(message="log in first", data={"code": "E_LOGIN"}))
        return Answer(allow=True, data=User(name=name))

    def event(self, event: Event, webhook_id: str) -> Answer:
        """Answer an event of a client."""
        try:
            match event.event:
                case "join":
                    (room,) = one_text.validate_python(event.args)
                    return self._join(event.socket, event.data, room)
                case "say":
                    (text,) = one_text.validate_python(event.args)
                    return self._say(event.data, Message(id=webhook_id, name=event.data.name, text=text))
                case _:
                    return refuse(f"there is no event `{event.event}`")
        except ValidationError:
            return refuse(f"`{event.event}` takes one text of 1 to 2000 characters")

    def _join(self, socket: str, user: User, room: str) -> Answer:
        if room not in self._history:
            return refuse(f"there is no room `{room}`")
        left = [user.room] if user.room else []
        emit = [Emit(event="left", args=[user.name], rooms=left, except_=[socket])] if left else []
        emit.append(Emit(event="joined", args=[user.name], rooms=[room], except_=[socket]))
        ack = [{"room": room, "history": self._history.last(room)}]
        return Answer(ack=ack, leave=left, join=[room], data=User(name=user.name, room=room), emit=emit)

    def _say(self, user: User, message: Message) -> Answer:
        if user.room is None:
            return refuse("join a room first")
        # The id is that of the request. A request that the cluster repeats adds nothing twice.
        self._history.add(user.room, message)
        return Answer(ack=[{"id": message.id}], emit=[Emit(event="said", args=[message], rooms=[user.room])])

    def disconnected(self, client: Disconnected) -> Answer:
        """Tell the room that a client has left."""
        user = client.data
        return Answer(emit=[Emit(event="left", args=[user.name], rooms=[user.room])] if user.room else [])


def refuse(message: str) -> Answer:
    """Return an error as the acknowledgement of an event."""
    return Answer(error=Fault(message=message))
