"""
`proxy:ENDPOINT,...` and `passthrough:ENDPOINT,...`: a backend at the other end.

A backend is dialled when the handler meets its client, which is after the handshake and the access rules have said
yes: a stranger opens no connection behind us. What the client says meanwhile waits on its side, and goes to the one
backend that is reached: where one refuses, the next is dialled, and when all have, the first of them again a moment
later, until the time of the client is over. One that goes after it has said something has its say delivered still; for
one that has said nothing, or whom we have cut off ourselves, nobody is dialled any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import Cause, TLSFailure, one_line
from mytls.handlers.backends import Backends, Balance, Standing
from mytls.handlers.dial import Backend, Dial
from mytls.handlers.health import Checks, look_for
from mytls.handlers.places import Place, Preamble, nothing, places
from mytls.handlers.places import client_endpoint as client_endpoint
from mytls.handlers.places import plainly as plainly
from mytls.handlers.preamble import OFF, check, of_client, of_look
from mytls.handlers.splice import LINGER, Phase, Side, abort, join
from mytls.interfaces import IEndable
from mytls.settings import Deadlines, Settings

_log = Logger()

#: Seconds. A client whose backends have all failed tries them again after so long at most, and at least.
AGAIN, AT_LEAST = 1.0, 0.1
#: For how many clients that have gone backends are dialled at once.
MAX_GONE = 256


class OnTruncation(StrEnum):
    """What a FIN without close_notify is to the other side."""

    EOF = "eof"
    RESET = "reset"


def proxy(reactor: Any, argument: str, settings: Settings) -> ProxyFactory:
    """
    The handler `proxy:`: the decrypted bytes go to a backend.

    @param argument: client endpoint strings such as `tcp:127.0.0.1:8080`, with commas between
    @param settings: the deadlines C{connect} and C{half_close}, and how backends are dealt with
    @raise ConfigurationError: one line, which names what is wrong with the string, or does not fit its backends
    """
    return _made(ProxyFactory, reactor, argument, settings)


def passthrough(reactor: Any, argument: str, settings: Settings) -> PassthroughFactory:
    """The handler `passthrough:`: the ciphertext itself goes to a backend. The arguments are those of L{proxy}."""
    return _made(PassthroughFactory, reactor, argument, settings)


def _made(kind: type[_Made], reactor: Any, argument: str, settings: Settings) -> _Made:
    said = settings.backend
    return kind(
        reactor,
        places(reactor, argument),
        connect=settings.deadlines.connect,
        half_close=settings.deadlines.half_close,
        balance=Balance(said.balance),
        health=said.health,
        on_truncation=OnTruncation(said.on_truncation),
        header=said.header,
        greets=said.starttls or "",
    )


class ProxyFactory(Factory):
    """
    Joins each connection to one of its own to a backend.

    @ivar descriptors: how many each client needs, its own included
    @ivar places: the backends
    @ivar descriptions: their endpoint strings, as written
    @ivar description: the same as one string
    @ivar backends: how they are, and whose turn it is
    @ivar connect: seconds that a client waits for one that is ready; 0 is for ever
    @ivar half_close: seconds that one direction may be silent when the other has ended; 0 is for ever
    @ivar on_truncation: what a FIN without close_notify is to the other side
    @ivar header: the PROXY header that backends hear first
    @ivar greets: the protocol whose greeting backends say, and clients have had already; empty where they have not
    @ivar gone: how many clients have gone whose say is still to be delivered
    """

    noisy = False
    descriptors = 2

    def __init__(
        self,
        reactor: Any,
        places: Sequence[Place],
        *,
        connect: float = Deadlines().connect,
        half_close: float = Deadlines().half_close,
        balance: Balance = Balance.ROUND_ROBIN,
        health: str = "off",
        on_truncation: OnTruncation = OnTruncation.EOF,
        header: str = OFF,
        greets: str = "",
    ) -> None:
        """
        @param health: C{off}, C{tcp}, or an C{http://} address
        @raise ConfigurationError: a health check that is none of these; a header that has no place; one line
        """
        check(header, places)
        self.reactor = reactor
        self.places = tuple(places)
        self.descriptions = tuple(place.description for place in places)
        self.description = ",".join(self.descriptions)
        self.backends = Backends(self.descriptions, reactor, balance)
        self.connect, self.half_close = connect, half_close
        self.on_truncation = on_truncation
        self.header = header
        self.greets = greets
        self.gone = 0
        self._dials_for_health = health == "tcp"
        look = look_for(reactor, health, self.places, connect, of_look(header))
        self._checks = None if look is None else Checks(reactor, len(self.places), look, self._found)

    def buildProtocol(self, addr: IAddress | None) -> Client:  # type: ignore[override]  # it knows its own factory
        """A client has come."""
        return Client(self)

    def become(self, deadlines: Deadlines) -> None:
        """Others than before, for clients who come from now on."""
        self.connect, self.half_close = deadlines.connect, deadlines.half_close

    def startFactory(self) -> None:
        """Clients may come."""
        if self._checks is not None:
            self._checks.start()

    def stopFactory(self) -> None:
        """None come any more."""
        if self._checks is not None:
            self._checks.stop()

    def health(self) -> tuple[Standing, ...]:
        """How each backend is, in the order of the string."""
        return self.backends.standings()

    def logPrefix(self) -> str:
        """Twisted's log names the backends."""
        return f"proxy:{self.description}"

    def _found(self, at: int, why: str) -> None:
        """A health check is done. A dial that was one says besides that the backend may be dialled again."""
        if not why and self._dials_for_health:
            self.backends.reached(at)
        if not self.backends.found(at, well=not why):
            return
        description = one_line(self.places[at].description)
        if why:
            _log.warn("{backend} is unhealthy, and left out: {why}", backend=description, why=why)
        else:
            _log.info("{backend} is healthy again", backend=description)


class PassthroughFactory(ProxyFactory):
    """
    The same for ciphertext: its protocols are connected to the transport below TLS, and get the ClientHello that was
    read already by C{dataReceived}.
    """

    def logPrefix(self) -> str:
        """Twisted's log names the backends."""
        return f"passthrough:{self.description}"


_Made = TypeVar("_Made", bound=ProxyFactory)


@implementer(IEndable)
class Client(Side):
    """The client's side. It dials the backends, and is paused when it has said much before one is there."""

    who = "client"
    factory: ProxyFactory

    def __init__(self, factory: ProxyFactory) -> None:
        eof = factory.on_truncation is OnTruncation.EOF
        super().__init__(factory.reactor, factory.half_close, carries_truncation_on=eof)
        self.factory = factory
        self._preamble: Preamble = nothing
        self._dial: Dial | None = None
        self._at: int | None = None
        self._dialled = 0.0
        self._until = 0.0
        self._tried: dict[int, Cause] = {}
        self._gone: Failure | None = None

    def connectionMade(self) -> None:
        """Dial."""
        self._until = self._clock.seconds() + self.factory.connect
        try:
            self._preamble = of_client(self.factory.header, self.transport)
        except TLSFailure as failure:
            self.phase = Phase.ENDED
            abort(self.transport, failure.cause, failure.detail)
        else:
            self._dial_next()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, maybe before there was a backend."""
        if self._has_said_something() and self.factory.gone < MAX_GONE:
            self._gone = reason
            self.factory.gone += 1
            self._silence.set(LINGER, self._stop_dialling)
            return
        super().connectionLost(reason)
        self._stop_dialling()

    def _has_said_something(self) -> bool:
        """Whether there is something to deliver, of one that has gone by itself, to a backend to come."""
        cut = getattr(self.transport, "disconnecting", False)
        return self.phase is Phase.APART and bool(self._waiting) and not cut

    def end(self) -> None:
        """Finish what is going on with the backend; where there is none yet, there is nothing to wait for."""
        if self.phase is Phase.JOINED:
            self.close_when_quiet()
        elif self.phase is Phase.APART:
            self._stop_dialling()
            self.close()

    # --- the search for a backend

    def _dial_next(self) -> None:
        """One that was not tried, in its part of the time that is left."""
        factory = self.factory
        at = factory.backends.next(self._tried)
        if at is None:
            self._tried.clear()
            at = factory.backends.next(())
        assert at is not None
        seconds = 0.0
        if factory.connect:
            left = self._until - self._clock.seconds()
            seconds = left / (len(factory.places) - len(self._tried))
        self._at, self._dialled = at, self._clock.seconds()
        factory.backends.opened(at)
        told = (self._reached, self._failed)
        self._dial = dial = Dial(self._clock, factory.places[at], seconds, *told, self._preamble, factory.greets)
        dial.begin(Backend(self._clock, factory.half_close, carries_truncation_on=self.carries_truncation_on))

    def _reached(self, backend: Backend) -> None:
        """It is there, and is who it should be."""
        self._dial = None
        if self._at is not None:
            self.factory.backends.reached(self._at)
        if self._gone is None:
            join(self, backend)
            return
        self.bequeath(backend, self._gone)
        self._stop_dialling()

    def _failed(self, cause: Cause, why: str) -> None:
        """It cannot be had: the next one, now or in a moment."""
        at = self._leave()
        assert at is not None
        factory, self._dial = self.factory, None
        factory.backends.failed(at, self._dialled)
        description = factory.places[at].description
        self._tell(description, cause, why)
        self._tried[at] = cause
        all_tried = len(self._tried) == len(factory.places)
        wait = min(max(factory.backends.wait(), AT_LEAST), AGAIN) if all_tried else 0.0
        if self._is_over(wait):
            if self._gone is not None:
                self._stop_dialling()
                return
            self.phase = Phase.ENDED
            abort(self.transport, cause, f"no backend at {one_line(description)}: {why}")
        elif wait:
            self._timer.set(wait, self._dial_next)
        else:
            self._dial_next()

    def _is_over(self, wait: float) -> bool:
        """Whether there is no time for another try; or no use in one, where nobody is who it should be."""
        if wait and all(cause is Cause.BACKEND_UNVERIFIED for cause in self._tried.values()):
            return True
        return bool(self.factory.connect) and self._clock.seconds() + wait >= self._until

    def _tell(self, backend: str, cause: Cause, why: str) -> None:
        """Whoever keeps account of what happens to the client, else the log."""
        tell = getattr(self.transport, "backend_failed", None)
        if tell is not None and self._gone is None:
            tell(backend, cause, why)
        else:
            _log.warn("no backend at {backend}: {why}", backend=one_line(backend), why=why)

    def _stop_dialling(self) -> None:
        self._timer.stop()
        if self._gone is not None:
            self._gone = None
            self.factory.gone -= 1
            self._silence.stop()
            self._waiting.clear()
            self.phase = Phase.ENDED
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        self._leave()

    def _leave(self) -> int | None:
        """The backend has one client less. @return: which one"""
        at, self._at = self._at, None
        if at is not None:
            self.factory.backends.closed(at)
        return at
