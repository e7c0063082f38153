"""
A chat room, as any Twisted server: each line goes to everybody else.

    twistd --nodaemon mytls --handler factory:chat:Room

What one member can make the room hold is bounded: a line has a longest length, the room has so many places, and who
does not read what is said is put out.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IPushProducer, IHalfCloseableProtocol)
class Member(LineOnlyReceiver):
    """Somebody in the room. As a producer it hears from its transport that its peer does not read."""

    delimiter = b"\n"
    MAX_LENGTH = 1000
    transport: Any

    def __init__(self, room: Room, name: str) -> None:
        self.room = room
        self.name = name

    def connectionMade(self) -> None:
        """The handshake is done."""
        self.transport.registerProducer(self, True)
        if not self.room.enter(self):
            self.hear("the room is full")
            self.leave()

    def lineReceived(self, line: bytes) -> None:
        """To everybody else, without what could move about in their terminals."""
        text = line.decode("utf-8", "replace")
        self.room.tell(f"{self.name}: {''.join(letter for letter in text if letter.isprintable())}", self)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Nobody reads that much at once."""
        self.hear("that line is too long")
        self.leave()

    def hear(self, text: str) -> None:
        """Somebody has said something."""
        self.sendLine(text.encode())

    def leave(self) -> None:
        """What was said is still delivered."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone."""
        self.room.exit(self)

    def readConnectionLost(self) -> None:
        """Close_notify: the client is finished."""
        self.leave()

    def writeConnectionLost(self) -> None:
        """Nothing to do."""

    def pauseProducing(self) -> None:
        """There is more unread than the transport wants to hold: this one does not listen."""
        self.transport.abortConnection()

    def resumeProducing(self) -> None:
        """It does."""

    def stopProducing(self) -> None:
        """C{connectionLost} follows."""


class Room(Factory):
    """
    Who is there.

    @ivar places: how many members there is room for
    """

    noisy = False

    def __init__(self, places: int = 200) -> None:
        self.places = places
        self.members: dict[str, Member] = {}
        self._numbers = count(1)

    def buildProtocol(self, addr: IAddress | None) -> Member:
        """Somebody is at the door."""
        return Member(self, f"guest {next(self._numbers)}")

    def stopFactory(self) -> None:
        """The service stops."""
        for member in tuple(self.members.values()):
            member.leave()

    def enter(self, member: Member) -> bool:
        """Let it in. @return: whether there is a place"""
        if len(self.members) >= self.places:
            return False
        self.members[member.name] = member
        self.tell(f"{member.name} is here", member)
        return True

    def exit(self, member: Member) -> None:
        """It is gone; if it was in the room at all, the others hear of it."""
        if self.members.pop(member.name, None) is not None:
            self.tell(f"{member.name} is gone", member)

    def tell(self, text: str, who: Member) -> None:
        """Everybody else hears it."""
        for member in tuple(self.members.values()):
            if member is not who:
                member.hear(text)
