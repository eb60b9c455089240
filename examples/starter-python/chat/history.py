"""The last messages of each room. Replace the memory by your database."""

from pydantic import BaseModel

LENGTH = 50
"""The number of messages that a room keeps."""


class Message(BaseModel):
    """A message of a room."""

    id: str
    name: str
    text: str


class History:
    """The last messages of the rooms that exist."""

    def __init__(self, rooms: tuple[str, ...]) -> None:
        self._rooms: dict[str, dict[str, Message]] = {room: {} for room in rooms}

    def __contains__(self, room: str) -> bool:
        return room in self._rooms

    def add(self, room: str, message: Message) -> None:
        """Add a message. A message that comes again is the same message."""
        messages = self._rooms[room]
        messages[message.id] = message
        if len(messages) > LENGTH:
            del messages[next(iter(messages))]

    def last(self, room: str) -> list[Message]:
        """Return the last messages of a room, the oldest first."""
        return list(self._rooms[room].values())
