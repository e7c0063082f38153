"""
Sockets that write at once, and say goodbye properly.

Twisted's transports queue every write for the next turn of the reactor. Where nothing is queued the socket can
nearly always take it now; that saves a system call, a turn and a copy for each message. Only what the socket does
not take is queued, and from then on everything is as Twisted does it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import interfaces, tcp, unix

from mytls.guards.deadlines import Deadline


class _WritesAtOnce(tcp.Server):
    """For any stream transport of a Twisted port: C{write} tries the socket first."""

    def write(self, data: bytes) -> None:
        if self._tempDataBuffer or self.dataBuffer or not self.connected or self._unusual():
            super().write(data)
            return
        try:
            sent = self.socket.send(data)
        except OSError:  # full, or lost: the reactor will find out which
            sent = 0
        if sent < len(data):
            super().write(data[sent:])

    def _unusual(self) -> bool:
        return self.TLS or self._aborting or self._writeDisconnecting or self._writeDisconnected

    def queued(self) -> int:
        """How many bytes wait here for the socket to take them."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen


class TCPServer(_WritesAtOnce):
    """An accepted TCP connection."""


class UNIXServer(_WritesAtOnce, unix.Server):
    """An accepted connection on a UNIX socket."""

    _writeSomeDataBase = tcp.Server


_TRANSPORTS = {tcp.Server: TCPServer, unix.Server: UNIXServer}


def write_at_once(port: interfaces.IListeningPort) -> None:
    """
    Let the connections that this port will accept write at once, and without Nagle's algorithm, which delays the
    last record of every answer. A port that is no port of Twisted's own is left as it is.

    @param port: what C{listen} has just returned; a Port's C{transport} is made to be replaced
    """
    if not isinstance(port, tcp.Port) or port.transport not in _TRANSPORTS:
        return
    port.transport = _TRANSPORTS[port.transport]
    if port.addressFamily in (socket.AF_INET, socket.AF_INET6):
        # Linux hands the option down to accepted sockets; once here is once for all of them.
        port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
        else:
            self._transport.loseConnection()
        self._transport.resumeProducing()
        self._deadline.start(self, self._expired)

    def end(self) -> None:
        """The peer is through: close."""
        self._deadline.stop(self)
        self._left = _queued(self._transport)
        if self._left:  # it has ended its direction and may still be reading ours
            self._deadline.start(self, self._expired)
        self._transport.loseConnection()

    def forget(self) -> None:
        """The socket is gone."""
        self._deadline.stop(self)

    def _expired(self) -> None:
        left = _queued(self._transport)
        if 0 < left < self._left:  # it still reads what was sent before: not dead, only slow
            self._left = left
            self._deadline.start(self, self._expired)
            return
        if left:
            self._transport.abortConnection()
        else:
            self._transport.loseConnection()


def _queued(transport: Any) -> int:
    queued: Callable[[], int] | None = getattr(transport, "queued", None)
    return queued() if queued is not None else 0
