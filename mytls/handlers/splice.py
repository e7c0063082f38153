"""
Two connections, joined: what comes from one is written to the other, until both directions have ended.

Each side is the protocol of one connection and the producer of the other: who is faster is paused by whoever is
slower, so what is held is bounded by the two transports' buffers. An end goes through as what it was: the end of one
direction as that, a clean close as a close after all is written, and a reset as a reset, so that nobody takes half an
answer for a whole one; what had come before it is delivered first. Whoever has said that it is through before it is
lost has lost nothing on the way there: the other gets all of it and the end of our direction, and what it still answers
is thrown away until it ends too, or a time is over.

When one direction has ended the other may go on for as long as it likes, if it says something now and then: many
never close what they do not read from any more.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    INegotiated,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import Cause

#: How many bytes a side takes before it is joined; then it is paused. Until then its end is heard.
MAX_WAITING = 64 * 1024
#: Seconds. Of what is left when the other side is gone, some has to be read in each such time.
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

    @ivar who: its peer, in the words of a log
    @ivar phase: how far its life has come
    @ivar through: whether its peer has said all it had to say
    @ivar carries_truncation_on: what our own TLS looks at: whether the peer's FIN without close_notify is an end like
        any other, and no reset
    """

    transport: Any
    who = "other side"
    #: Whether its transport can tell how much it has still to send.
    _tells_queued = True

    def __init__(self, clock: IReactorTime, half_close: float = 0.0, *, carries_truncation_on: bool = False) -> None:
        """@param half_close: seconds that one may be silent when the other has ended its direction; 0 is for ever"""
        self.phase = Phase.APART
        self.through = False
        self.carries_truncation_on = carries_truncation_on
        self._clock = clock
        self._half_close = half_close
        self._other: Side | None = None
        self._waiting = bytearray()
        self._came = 0
        self._heard = 0.0
        self._held = False
        self._timer = _Timer(clock)
        self._silence = _Timer(clock)

    # --- what the transport tells

    def dataReceived(self, data: bytes) -> None:
        """For the other side, now or once there is one."""
        self._came += len(data)
        other = self._other
        if other is not None:
            if other.through:
                self._heard = self._clock.seconds()
            other.transport.write(data)
        elif self.phase is Phase.APART:
            self._waiting += data
            if len(self._waiting) >= MAX_WAITING:
                self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The peer has said all; it may still want to hear."""
        self.through = True
        if self._other is not None:
            self._pass_end_on(self._other)
        elif self.phase is Phase.ENDED:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our direction has ended, as it was asked to."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._timer.stop()
        self.phase = Phase.ENDED
        other = self._other
        if other is None:
            return
        self._part(other)
        self._end_alone(other, reason)

    def bequeath(self, other: Side, reason: Failure) -> None:
        """
        It was lost before there was another side: what it has said is delivered, then its end.

        @param other: which is there now, and is never heard
        @param reason: why it was lost
        """
        other.phase = Phase.ENDED
        other._waiting.clear()
        waiting = bytes(self._waiting)
        self._waiting.clear()
        other.transport.registerProducer(self, True)
        other.transport.write(waiting)
        self._end_alone(other, reason)

    def _end_alone(self, other: Side, reason: Failure) -> None:
        """It is lost, and the other is left alone."""
        if self.through and not other.through:
            other.finish()
            return
        other.transport.unregisterProducer()
        if self.through or reason.check(ConnectionDone):
            other.close()
        else:
            other._reset(*self._why_lost(reason))

    # --- what the other side's transport asks

    def pauseProducing(self) -> None:
        """The other side holds enough."""
        self._held = True
        if self._other is not None:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side has room; a socket that has ended would tell its end once more."""
        self._held = False
        if self._other is not None and not self.through:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other side is lost, and is told so next."""

    # --- the end

    def close(self) -> None:
        """Send what was written, and close; whoever does not read it in time is cut off."""
        self.phase = Phase.ENDED
        self._timer.set(LINGER, self._cut_off, _queued(self.transport))
        self.transport.loseConnection()

    def finish(self) -> None:
        """
        Send what was written and end our direction; what still comes is thrown away. To close at once would answer
        that with a reset, which may overtake our last bytes.
        """
        seconds = min(LINGER, self._half_close or LINGER)
        self._timer.set(seconds, self._cut_off, _queued(self.transport))
        self.transport.resumeProducing()
        end_writing(self.transport)

    def _reset(self, cause: Cause, detail: str) -> None:
        """Send what was written, and drop the connection; whoever does not read it in time is cut off."""
        transport = self.transport
        if speaks_tls(transport) and hasattr(transport, "end_because"):
            if self._tells_queued and not _queued(transport):
                abort(transport, cause, detail)
            else:  # its peer is told so by the close_notify that is missing
                transport.end_because(cause, detail)
            return
        below = transport
        if speaks_tls(transport):
            below = getattr(transport, "transport", transport)
        if not hasattr(below, "startWriting"):
            abort(transport, cause, detail)
            return
        self._timer.set(LINGER, self._cut_off, _queued(transport))
        transport.pauseProducing()
        _Written(lambda: abort(transport, cause, detail)).watch(below)

    def close_when_quiet(self) -> None:
        """Go on for as long as bytes come from either side, then close both."""
        other = self._other
        if other is not None:
            self._timer.set(QUIET, self._close_if_quiet, self._came + other._came)

    def _close_if_quiet(self, before: int) -> None:
        other = self._other
        if other is not None and self._came + other._came == before:
            self._close_both(other)
        else:
            self.close_when_quiet()

    def _unread(self) -> int:
        """How many bytes wait on the two transports, as far as they can tell."""
        return _queued(self.transport) + (_queued(self._other.transport) if self._other is not None else 0)

    def _cut_off(self, before: int) -> None:
        left = _queued(self.transport)
        if 0 < left < before:  # it still reads what was sent before: not dead, only slow
            self._timer.set(LINGER, self._cut_off, left)
        else:
            abort(self.transport)

    def _why_lost(self, reason: Failure) -> tuple[Cause, str]:
        """What the other side's transport is told of an end that is none."""
        how = "was cut" if reason.check(ConnectionAborted) else "was reset"
        return Cause.RESET, f"the connection of the {self.who} {how}"

    def _pass_end_on(self, other: Side) -> None:
        if other.through:
            self._close_both(other)
            return
        end_writing(other.transport)
        if self._half_close and self._other is other:
            other._heard = self._clock.seconds()
            other._await_end(self._half_close)

    # --- alone: the other direction has ended

    def _await_end(self, seconds: float) -> None:
        self._silence.set(seconds, self._look_for_silence, self._came, self._unread())

    def _look_for_silence(self, came: int, unread: int) -> None:
        """Whether it has said nothing for so long, while nobody has read any of what was said before."""
        other, left = self._other, self._unread()
        if other is None:
            return
        silent = self._clock.seconds() - self._heard
        if silent < self._half_close:
            self._await_end(self._half_close - silent)
            return
        if left and (left < unread or came != self._came):  # in which case nobody can tell yet
            self._await_end(self._half_close)
            return
        self._part(other)
        detail = f"the {other.who} had ended its direction, and nothing has come from the {self.who} for "
        for side in (self, other):
            side.transport.unregisterProducer()
            abort(side.transport, Cause.HALF_CLOSE, f"{detail}{self._half_close:g} s")

    def _close_both(self, other: Side) -> None:
        self._part(other)
        for side in (self, other):
            side.transport.unregisterProducer()
            side.close()

    def _part(self, other: Side) -> None:
        """From here on each ends by itself, and what becomes of one is nothing to the other."""
        self._other = other._other = None
        self.phase = other.phase = Phase.ENDED
        for side in (self, other):
            side._silence.stop()

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


@implementer(IPullProducer)
class _Written:
    """Calls when a socket has sent all that was written: then it asks its pull producer for more."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._watches = False

    def watch(self, transport: Any) -> None:
        """Call it, from another turn of the reactor."""
        transport.registerProducer(self, False)  # which asks at once, whatever there is to send
        self._watches = True
        transport.startWriting()

    def resumeProducing(self) -> None:
        """All is sent."""
        if self._watches:
            self._watches = False
            self._call()

    def stopProducing(self) -> None:
        """The socket is gone."""
        self._watches = False


class _Timer:
    """At most one call to come."""

    __slots__ = ("_call", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """In place of the one that there was."""
        self.stop()
        self._call = self._clock.callLater(seconds, call, *arguments)

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()


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


def abort(transport: Any, cause: Cause | None = None, detail: str = "") -> None:
    """
    Drop a connection; one of which that cannot be asked is closed.

    @param cause: why, for a transport that tells others how it has ended (C{abort_because})
    @param detail: the same in a few words
    """
    because = getattr(transport, "abort_because", None)
    if cause is not None and because is not None:
        because(cause, detail)
    else:
        getattr(transport, "abortConnection", transport.loseConnection)()


def _queued(transport: Any) -> int:
    """How many bytes wait for the peer to read, on a transport that can tell."""
    queued = getattr(transport, "queued", None)
    return queued() if queued is not None else 0
