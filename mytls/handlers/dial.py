"""
One try to reach one backend: its connection, and over TLS its handshake.

Over TLS it is reached when its own handshake is done, so nothing that comes before its certificate is verified
reaches the client, and nothing of the client's reaches whoever that is. One whose client was greeted already, since it
has begun with STARTTLS, is reached when it has greeted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service_identity import VerificationError
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionClosed, TCPTimedOutError, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IReactorTime,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from mytls.errors import Cause, TLSFailure, one_line
from mytls.handlers.places import Place, Preamble, nothing, plainly
from mytls.handlers.splice import Phase, Side, abort, speaks_tls
from mytls.preludes.greeting import Greeting

_log = Logger()

_NO_GREETING = "it closed the connection before its greeting"
_LATE = (TimeoutError, TCPTimedOutError, CancelledError)


class Dial:
    """It ends in one of three ways: C{reached}, C{failed}, or C{cancel}."""

    def __init__(
        self,
        clock: IReactorTime,
        place: Place,
        seconds: float,
        reached: Callable[[Backend], None],
        failed: Callable[[Cause, str], None],
        preamble: Preamble = nothing,
        greets: str = "",
    ) -> None:
        """
        @param seconds: how long it may take; 0 is as long as the endpoint tries
        @param reached: called with the backend, which is who it should be
        @param failed: called with why it cannot be had
        @param preamble: what the backend hears first
        @param greets: the protocol in which the client was greeted already; empty where it was not
        """
        self.place = place
        self.preamble = preamble
        self.greets = greets
        self._clock = clock
        self._seconds = seconds
        self._told: tuple[Callable[[Backend], None], Callable[[Cause, str], None]] | None = (reached, failed)
        self._timer: Any = None
        self._dialling: Deferred[Any] | None = None
        self._backend: Backend | None = None

    def begin(self, backend: Backend) -> None:
        """Dial. @param backend: the protocol of the connection"""
        self._backend = backend
        backend.met_by(self)
        if self._seconds:
            self._timer = self._clock.callLater(self._seconds, self._late)
        dialling = maybeDeferred(self.place.connect, _One(backend), self.preamble)
        if self._told is not None:  # an endpoint may be done at once
            self._dialling = dialling
        dialling.addErrback(self._not_reached)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._end()

    @property
    def over(self) -> bool:
        """Whether who is reached now comes too late."""
        return self._told is None

    # --- what the backend's connection tells

    def ready(self, backend: Backend) -> None:
        """It is there, and is who it should be."""
        if self._told is None:
            abort(backend.transport)
            return
        reached, _ = self._told
        self._backend = self._dialling = None
        self._end()
        reached(backend)

    def lost(self, cause: Cause, why: str) -> None:
        """It cannot be had."""
        if self._told is not None:
            _, failed = self._told
            self._end()
            failed(cause, why)

    # --- how it ends

    def _not_reached(self, failure: Failure) -> None:
        self._dialling = None
        cause = cause_of(failure.value)
        self.lost(cause, plainly(failure.value).removeprefix(f"{cause}: "))  # our own client endpoint says it too

    def _late(self) -> None:
        self.lost(Cause.BACKEND_TIMEOUT, f"it was not ready within {self._seconds:.3g} s")

    def _end(self) -> None:
        self._told = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        backend, self._backend = self._backend, None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if backend is not None and backend.connected:
            abort(backend.transport)


@implementer(IHandshakeListener)
class Backend(Side):
    """The backend's side."""

    who = "backend"
    _tells_queued = False
    _dial: Dial | None = None
    _description = ""
    _greeting: Greeting | None = None

    def met_by(self, dial: Dial) -> None:
        """This is who waits for it."""
        self._dial = dial
        self._description = dial.place.description

    def connectionMade(self) -> None:
        """It has accepted; over TLS that says nothing yet."""
        if self._dial is None or self._dial.over:
            abort(self.transport)
            return
        _hear_half_closes(self.transport)
        _send_small_writes_at_once(self.transport)
        if not speaks_tls(self.transport):
            first = self._dial.preamble(self.transport)
            if first:
                self.transport.write(first)
            self._is_who_it_should_be(self._dial)

    def handshakeCompleted(self) -> None:
        """Its handshake is done. Twisted says so too where the name was wrong and the connection is given up."""
        if self._dial is not None and not getattr(self.transport, "disconnecting", False):
            self._is_who_it_should_be(self._dial)

    def dataReceived(self, data: bytes) -> None:
        """For the client, if it comes after the handshake and the greeting."""
        if self._dial is None:
            super().dataReceived(data)
        elif self._greeting is not None:
            self._hear(self._greeting, self._dial, data)
        else:
            self._dial.lost(Cause.BACKEND_UNVERIFIED, "it sent data before its TLS handshake was done")

    def readConnectionLost(self) -> None:
        """It has said all."""
        if self._dial is not None and self._greeting is not None:
            self._dial.lost(Cause.BACKEND_REFUSED, _NO_GREETING)
        else:
            super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, maybe before it was ready."""
        error, dial = reason.value, self._dial
        ordinary = isinstance(error, ConnectionClosed)
        self._dial, self.connected = None, 0
        if dial is not None and ordinary:
            during = "it closed the connection during its TLS handshake"
            dial.lost(Cause.BACKEND_REFUSED, during if self._greeting is None else _NO_GREETING)
        elif dial is not None:
            dial.lost(cause_of(error), plainly(error))
        elif not ordinary and self.phase is Phase.JOINED:  # TLS 1.3 tells a client last that its certificate is wrong
            _log.warn("lost {backend}: {why}", backend=one_line(self._description), why=plainly(error))
        super().connectionLost(reason)

    def _why_lost(self, reason: Failure) -> tuple[Cause, str]:
        error = reason.value
        if isinstance(error, ConnectionClosed):
            return super()._why_lost(reason)
        return cause_of(error), plainly(error)

    def _is_who_it_should_be(self, dial: Dial) -> None:
        greeting = Greeting(dial.greets)
        if greeting.done:
            self._is_ready(dial)
        else:
            self._greeting = greeting

    def _hear(self, greeting: Greeting, dial: Dial, data: bytes) -> None:
        """It has said more of its greeting, or all of it and more than that."""
        try:
            rest = greeting.swallow(data)
        except TLSFailure as failure:
            dial.lost(failure.cause, failure.detail)
            return
        if greeting.done:
            super().dataReceived(rest)
            self._is_ready(dial)

    def _is_ready(self, dial: Dial) -> None:
        self._dial = self._greeting = None
        dial.ready(self)


def cause_of(error: BaseException | None) -> Cause:
    """The word for what went wrong with a backend before it was reached."""
    known = getattr(error, "cause", None)  # our own client endpoint says it
    if known in (Cause.BACKEND_TIMEOUT, Cause.HANDSHAKE_TIMEOUT) or isinstance(error, _LATE):
        return Cause.BACKEND_TIMEOUT
    if known in (Cause.BACKEND_REFUSED, Cause.RESET, Cause.EOF):
        return Cause.BACKEND_REFUSED
    of_openssl = isinstance(error, Exception) and error.args and isinstance(error.args[0], list)
    if known is not None or of_openssl or isinstance(error, VerificationError):
        return Cause.BACKEND_UNVERIFIED
    return Cause.BACKEND_REFUSED


def _hear_half_closes(transport: Any) -> None:
    """Twisted's endpoints wrap protocols in one that provides only the last of the interfaces of what it wraps."""
    protocol = getattr(transport, "protocol", None)
    if hasattr(protocol, "readConnectionLost"):
        # alsoProvides() would first make a declaration of what there is, anew for each connection.
        directlyProvides(protocol, providedBy(protocol), IHalfCloseableProtocol)


def _send_small_writes_at_once(transport: Any) -> None:
    """Without Nagle's algorithm, which delays the last piece of every answer; a UNIX socket has none."""
    if isinstance(transport.getPeer(), IPv4Address | IPv6Address) and hasattr(transport, "setTcpNoDelay"):
        transport.setTcpNoDelay(True)


class _One(Factory):
    """Makes the one protocol that it has."""

    noisy = False

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def buildProtocol(self, addr: IAddress | None) -> Backend:
        return self._backend
