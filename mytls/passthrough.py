"""The transport of a handler that gets the ciphertext as it is: its host is chosen by name, and not decrypted."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from mytls.errors import Cause
from mytls.guards.deadlines import Deadline
from mytls.peer import Peer


class Owner(Protocol):
    """Who hears how it ends."""

    def handler_failed(self, failure: Failure) -> None:
        """The handler raised: it is this one's to write down."""

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """A backend that the handler wanted could not be had."""

    def lost(self, cause: Cause | None, detail: str) -> None:
        """The connection is gone. @param cause: None after a clean end"""


class Passthrough:
    """
    The connection below with its bytes counted, between it and one handler.

    @ivar peer: where it comes from and the name it asked for; nothing else is known of it
    @ivar bytes_in: bytes delivered
    @ivar bytes_out: bytes accepted
    @ivar draining: whether the service stops
    """

    draining = False

    def __init__(self, below: Any, owner: Owner, peer: Peer, close: Deadline) -> None:
        """@param close: how long a client may read nothing of what was written before the end"""
        self._below = below
        self._owner = owner
        self._close = close
        self._sent_before = -1
        self.peer = peer
        self.protocol: IProtocol | None = None
        self._header = peer.proxy_header
        self._ended: tuple[Cause, str] | None = None
        self.bytes_in = self.bytes_out = 0
        directlyProvides(self, providedBy(below))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    # --- what the handler does

    def write(self, data: bytes) -> None:
        """Send it as it is."""
        self.bytes_out += len(data)
        self._below.write(data)

    def writeSequence(self, pieces: Any) -> None:
        """Send them as they are."""
        self.write(b"".join(pieces))

    def end_because(self, cause: Cause, detail: str) -> None:
        """
        The handler's conversation has failed: send all that was written, and close.

        @param cause: why, for the closed event; the first counts
        @param detail: the same in a few words
        """
        self._ended = self._ended or (cause, detail)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Send all that was written, and close; who reads nothing of it for as long as the close deadline is cut."""
        self._below.loseConnection()
        if self._sent_before < 0 and self.protocol is not None and self._has_more():
            self._await_end()

    def abort_because(self, cause: Cause, detail: str) -> None:
        """The same, and what is unsent is dropped."""
        self._ended = self._ended or (cause, detail)
        self._below.abortConnection()

    @property
    def closing(self) -> bool:
        """Whether it has begun to end, by anybody's doing."""
        return self._ended is not None or self.protocol is None or bool(getattr(self._below, "disconnecting", False))

    def expire(self) -> None:
        """Close when all is sent, whatever the handler still wants."""
        self._below.unregisterProducer()
        self.loseConnection()

    def queued(self) -> int:
        """How many bytes wait for the peer to read, where the transport below can tell."""
        queued = getattr(self._below, "queued", None)
        return queued() if queued is not None else 0

    @property
    def moved(self) -> int:
        """A number that is another one when bytes have moved, either way."""
        return self.bytes_in + self.bytes_out - self.queued()

    def getHost(self) -> Any:
        """Our address, or the one that the client has connected to at a proxy in front of us."""
        return (self._header.destination if self._header else None) or self._below.getHost()

    def getPeer(self) -> Any:
        """The client's address, whoever has passed it on."""
        return (self._header.source if self._header else None) or self._below.getPeer()

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """A backend that the handler wanted for the client could not be had."""
        self._owner.backend_failed(backend, cause, detail)

    # --- what the connection tells

    def connect(self, protocol: IProtocol) -> None:
        """Give the handler its connection."""
        self.protocol = protocol
        self._tell(protocol.makeConnection, self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        self.bytes_in += len(data)
        self._tell(self.protocol.dataReceived, data)  # type: ignore[union-attr]

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """A descriptor of the client's, from now on the handler's: it is one that takes them."""
        self._tell(self.protocol.fileDescriptorReceived, descriptor)  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """The client sends nothing more."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._tell(self.protocol.readConnectionLost)
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our direction has ended."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._tell(self.protocol.writeConnectionLost)

    def connectionLost(self, reason: Failure) -> None:
        """It is gone."""
        self._close.stop(self)
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self._tell(protocol.connectionLost, reason)
        clean = isinstance(reason.value, ConnectionDone)
        aborted = isinstance(reason.value, ConnectionAborted)
        detail = "" if clean else "it was aborted" if aborted else "the connection was lost"
        self._owner.lost(*(self._ended or (None if clean else Cause.RESET, detail)))

    def handlerFailed(self, failure: Failure) -> None:
        """The handler raised: the connection ends."""
        if self.protocol is not None:
            name = failure.type.__name__ if failure.type else failure.type
            self._ended = self._ended or (Cause.HANDLER, f"the handler raised {name}")
        self._owner.handler_failed(failure)
        self._below.abortConnection()

    def _await_end(self) -> None:
        self._sent_before = self._sent()
        self._close.start(self, self._late)

    def _late(self) -> None:
        """The handler may have more to write; the client has to read some of it each time."""
        awaits_handler = not self.queued() and getattr(self._below, "producer", None) is not None
        if awaits_handler or self._sent() > self._sent_before:
            self._await_end()
            return
        detail = f"the connection was closed, and the client has read nothing for {self._close.seconds:g} s"
        self.abort_because(Cause.RESET, detail)

    def _has_more(self) -> bool:
        """Whether something is to be read before the end; where the transport below cannot tell, there may be."""
        below = self._below
        return bool(self.queued()) or not hasattr(below, "queued") or getattr(below, "producer", None) is not None

    def _sent(self) -> int:
        return self.bytes_out - self.queued()

    def _tell(self, tell: Any, *about: Any) -> None:
        try:
            tell(*about)
        except Exception:
            self.handlerFailed(Failure())
