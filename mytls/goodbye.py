"""How a connection ends: nothing that was sent is lost, and nobody can hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import interfaces

from mytls.guards.deadlines import Deadline


class Goodbye:
    """
    The end of a connection, so that nothing that was sent is lost and nobody can hold it.

    The way of nginx's lingering close: end our direction when all is written, then read and throw away what still
    comes, since closing with unread bytes makes the system send a reset, which may overtake our last bytes. When the
    peer has closed too, or the deadline is over, the socket goes.
    """

    __slots__ = ("_deadline", "_left", "_transport")

    def __init__(self, transport: Any, deadline: Deadline) -> None:
        self._transport = transport
        self._deadline = deadline
        self._left = 0

    def begin(self) -> None:
        """End our direction; the transport's protocol throws away what is still received."""
        self._left = _queued(self._transport)
        if interfaces.IHalfCloseableDescriptor.providedBy(self._transport):
            self._transport.loseWriteConnection()  # type: ignore[attr-defined]  # the interface forgets it
            self._transport.resumeProducing()  # type: ignore[attr-defined]  # likewise
        else:
            self._transport.loseConnection()
        self._deadline.start(self, self._expired)

    def end(self) -> None:
        """The peer is through: close."""
        self._left = _queued(self._transport)
        self._deadline.start(self, self._expired)  # it has ended its direction and may still be reading ours
        self._transport.loseConnection()

    def forget(self) -> None:
        """The socket is gone."""
        self._deadline.stop(self)

    def _expired(self) -> None:
        left = _queued(self._transport)
        if 0 < left < self._left:  # it still reads what was sent before: not dead, only slow
            self._left = left
            self._deadline.start(self, self._expired)
        elif left or getattr(self._transport, "disconnecting", False):  # asked to close before, and has not
            self._transport.abortConnection()
        else:
            self.end()


def _queued(transport: Any) -> int:
    queued: Callable[[], int] | None = getattr(transport, "queued", None)
    return queued() if queued is not None else 0
