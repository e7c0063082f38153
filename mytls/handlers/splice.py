"""
Two connections, joined: what comes from one is written to the other, until both directions have ended.

Each side is the protocol of one connection and the producer of the other: who is faster is paused by whoever is
slower, so what is held is bounded by the two transports' buffers. An end goes through as what it was: the end of one
direction as that, a clean close as a close after all is written, and a reset as a reset, so that nobody takes half an
answer for a whole one. Whoever has said that it is through before it is lost has lost nothing on the way there.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    INegotiated,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

#: How many bytes a side takes before it is joined; then it is paused. Until then its end is heard.
MAX_WAITING = 64 * 1024
#: Seconds. What is left when the other side is gone has to be read by then.
LINGER = 60.0
#: Seconds. Where nothing moves for so long when the service stops, nobody is in the middle of anything.
QUIET = 1.0


class Phase(Enum):
    """How far the life of a side has come."""

    #: What comes is kept.
    APART = "apart"
    JOINED = "joined"
    #: What was written is still sent; what comes is nobody's.
    ENDED = "ended"


@implementer(IHalfCloseableProtocol, IPushProducer)
class Side(Protocol):
    """
    One of two connections.

    @ivar phase: how far its life has come
    @ivar through: whether its peer has said all it had to say
    """

    transport: Any

    def __init__(self, clock: IReactorTime) -> None:
        self.phase = Phase.APART
        self.through = False
        self._clock = clock
        self._other: Side | None = None
        self._waiting = bytearray()
        self._came = 0
        self._held = False
        self._timer: IDelayedCall | None = None

    # --- what the transport tells

    def dataReceived(self, data: bytes) -> None:
        """For the other side, now or once there is one."""
        self._came += len(data)
        if self._other is not None:
            self._other.transport.write(data)
        elif self.phase is Phase.APART:
            self._waiting += data
            if len(self._waiting) >= MAX_WAITING:
                self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The peer has said all; it may still want to hear."""
        self.through = True
        if self._other is not None:
            self._pass_end_on(self._other)

    def writeConnectionLost(self) -> None:
        """Our direction has ended, as it was asked to."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop_timer()
        self.phase = Phase.ENDED
        other = self._other
        if other is None:
            return
        self._part(other)
        other.transport.unregisterProducer()
        if self.through or reason.check(ConnectionDone):
            other.close()
        else:
            abort(other.transport)

    # --- what the other side's transport asks

    def pauseProducing(self) -> None:
        """The other side holds enough."""
        self._held = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side has room; a socket that has ended would tell its end once more."""
        self._held = False
        if not self.through:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other side is lost, and is told so next."""

    # --- the end

    def close(self) -> None:
        """Send what was written, and close; whoever does not read it in time is cut off."""
        self.phase = Phase.ENDED
        self._set_timer(LINGER, lambda: abort(self.transport))
        self.transport.loseConnection()

    def close_when_quiet(self) -> None:
        """Go on for as long as bytes come from either side, then close both."""
        other = self._other
        if other is not None:
            self._set_timer(QUIET, self._close_if_quiet, self._came + other._came)

    def _close_if_quiet(self, before: int) -> None:
        other = self._other
        if other is not None and self._came + other._came == before:
            self._close_both(other)
        else:
            self.close_when_quiet()

    def _pass_end_on(self, other: Side) -> None:
        if other.through:
            self._close_both(other)
        else:
            end_writing(other.transport)

    def _close_both(self, other: Side) -> None:
        self._part(other)
        for side in (self, other):
            side.transport.unregisterProducer()
            side.close()

    def _part(self, other: Side) -> None:
        """From here on each ends by itself, and what becomes of one is nothing to the other."""
        self._other = other._other = None
        self.phase = other.phase = Phase.ENDED

    def _hand_over(self) -> None:
        """What has come before there was another side is its first."""
        other, waiting = self._other, bytes(self._waiting)
        self._waiting.clear()
        if other is None:
            return
        if waiting:
            other.transport.write(waiting)
        if self.through:
            self._pass_end_on(other)
        elif not self._held:
            self.transport.resumeProducing()

    # --- its timer

    def _set_timer(self, seconds: float, call: Any, *arguments: Any) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(seconds, call, *arguments)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def join(one: Side, other: Side) -> None:
    """Join two connections that are there."""
    one._other, other._other = other, one
    one.phase = other.phase = Phase.JOINED
    one.transport.registerProducer(other, True)
    other.transport.registerProducer(one, True)
    one._hand_over()
    other._hand_over()


def speaks_tls(transport: Any) -> bool:
    """Whether there is a handshake on this transport, which may still be to come."""
    return ISSLTransport.providedBy(transport) or INegotiated.providedBy(transport)


def end_writing(transport: Any) -> None:
    """
    End our direction, when all is written.

    Our own TLS keeps its producer: one without would not read from a peer that does not read either. Twisted's TLS
    cannot end one direction, and what lies under it must not be asked to: that would be an end without close_notify.
    But when it is closed it goes on delivering until the peer has closed too, which comes to the same.
    """
    tls = speaks_tls(transport)
    if tls and hasattr(type(transport), "loseWriteConnection") and not getattr(transport, "TLS", False):
        transport.loseWriteConnection()
        return
    transport.unregisterProducer()
    if not tls and IHalfCloseableDescriptor.providedBy(transport):
        transport.loseWriteConnection()  # type: ignore[attr-defined]  # the interface forgets it
    else:
        transport.loseConnection()


def abort(transport: Any) -> None:
    """Drop a connection; one of which that cannot be asked is closed."""
    getattr(transport, "abortConnection", transport.loseConnection)()
