"""
One connection of a client, from the wish for it until its server is met.

The user's protocol is made when the handshake is done and the certificate is the right one: nothing that comes before
reaches anybody, and nothing of the user's leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, NoProtocol, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.clientsettings import ClientSettings
from mytls.errors import Cause, TLSFailure
from mytls.guards.deadlines import Deadline
from mytls.guards.policy import Policy, ask
from mytls.handlers.places import Preamble, nothing, plainly
from mytls.handlers.splice import abort
from mytls.peer import Peer
from mytls.sockets import connected_at_once
from mytls.tls.identity import peer_of
from mytls.tls.servers import Servers
from mytls.tls.transport import TLSTransport

_log = Logger()


class TLSConnectError(ConnectError):
    """
    The server could not be reached, or is not who it should be; the text is one line that begins with the cause.

    @ivar cause: the word for it
    @ivar detail: what exactly was wrong
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(string=f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail

    def __str__(self) -> str:
        return str(self.args[0])


def not_reached(error: BaseException | None, way: str = "") -> TLSConnectError:
    """
    That whatever dials has failed. What has its cause already keeps it.

    @param way: the first words of what was wrong
    """
    if isinstance(error, TLSConnectError):
        return TLSConnectError(error.cause, way + error.detail)
    late = isinstance(error, TimeoutError)
    return TLSConnectError(Cause.BACKEND_TIMEOUT if late else Cause.BACKEND_REFUSED, way + plainly(error))


@attrs.frozen(eq=False)
class Wanted:
    """
    Whom a client wants to meet.

    @ivar servers: what its connections are made of
    @ivar below: what connects to it
    @ivar policies: who is asked of the server besides
    @ivar agrees: whether it is C{below} that says what comes first, as TLS is agreed upon there; it is given the
        preamble too, then
    @ivar welcome: what the user's protocol hears first, in place of a greeting that came in the clear
    """

    servers: Servers
    below: Any  # an IStreamClientEndpoint, whose C{connect} may take a preamble
    policies: Sequence[Policy] = ()
    agrees: bool = False
    welcome: bytes = b""


class _Stage(Enum):
    #: The files are looked at, or it is dialled.
    DIALLING = "dialling"
    SHAKING_HANDS = "shaking-hands"
    #: Whoever waits was told.
    TOLD = "told"


class Attempt:
    """One connection: from the wish for it until its server is met; from then on the owner of its transport."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: ClientSettings,
        factory: IProtocolFactory,
        close: Deadline,
        preamble: Preamble = nothing,
    ) -> None:
        """
        @param close: how long the server may take to answer our close_notify
        @param preamble: what is said first, ahead of TLS
        """
        self._clock = clock
        self._settings = settings
        self._factory = factory
        self._close = close
        self._preamble = preamble
        self._stage = _Stage.DIALLING
        self._done: Deferred[IProtocol] = Deferred(self._cancelled)
        self._timer: IDelayedCall | None = None
        self._dialling: Deferred[Any] | None = None
        self._tls: TLSTransport | None = None
        self._asked: Deferred[str | None] | None = None

    def begin(self, fresh: Deferred[Wanted]) -> Deferred[IProtocol]:
        """Dial, when it is known what for."""
        done = self._done
        if self._settings.timeout:
            self._timer = self._clock.callLater(self._settings.timeout, self._late)
        fresh.addCallback(self._dial)
        return done

    def _dial(self, wanted: Wanted) -> None:
        if self._stage is not _Stage.DIALLING:
            return
        self._wanted = wanted
        about: tuple[Any, ...] = (_Wires(self, self._factory),)
        if wanted.agrees:
            about, self._preamble = (*about, self._preamble), nothing
        dialling = maybeDeferred(wanted.below.connect, *about)
        if self._stage is _Stage.DIALLING:  # an endpoint may be done at once
            self._dialling = dialling
        dialling.addErrback(self._not_reached)

    # --- what the wire tells

    def shake_hands(self, transport: Any) -> TLSTransport | None:
        """The server has accepted: the transport of the handshake, to be begun; None where it comes too late."""
        if self._stage is not _Stage.DIALLING:
            return None
        self._stage = _Stage.SHAKING_HANDS
        self._dialling = None
        connected_at_once(transport)
        first = self._preamble(transport)
        if first:
            transport.write(first)
        self._tls = tls = TLSTransport(
            transport, self._wanted.servers.connection, self._factory, self, self._clock, self._close, accepts=False
        )
        return tls

    # --- what the TLS transport tells

    def established(self) -> None:
        """The handshake is done: the user's protocol may meet the server."""
        tls = self._tls
        assert tls is not None
        try:
            shown = self._wanted.servers.met(tls.getHandle())
            tls.peer = peer = peer_of(tls.getHandle(), tls.getPeer(), shown, resumed=tls.resumed)
        except TLSFailure as failure:
            tls.refuse(failure)
            return
        if self._wanted.policies:
            self._ask(tls, peer)
        else:
            self._meet(tls)

    def _ask(self, tls: TLSTransport, peer: Peer) -> None:
        """The policies decide, in the attempt's time; until then nothing is read."""
        tls.hold()
        self._asked = asked = ask(self._wanted.policies, peer, self._clock)
        asked.addCallback(self._decided)

    def _decided(self, refusal: str | None) -> None:
        asked, self._asked = self._asked, None
        tls = self._tls
        if asked is None or tls is None or self._stage is _Stage.TOLD:  # decided before
            return
        tls.release()
        if refusal is None:
            self._meet(tls)
        else:
            tls.refuse(TLSFailure(Cause.POLICY, refusal))

    def _meet(self, tls: TLSTransport) -> None:
        try:
            protocol = self._factory.buildProtocol(tls.getPeer())
            if protocol is None:
                raise NoProtocol
        except Exception:
            self._fail(Failure())
            tls.abortConnection()
            return
        tls.connect(protocol)
        if self._wanted.welcome:
            tls.hear_first(self._wanted.welcome)
        if self._stage is not _Stage.TOLD:
            self._tell().callback(protocol)

    def handshake_failed(self, failure: TLSFailure) -> None:
        """The server cannot be met."""
        self._tls = None
        detail = failure.detail
        if failure.cause is Cause.NOT_TLS:
            detail = f"the server does not speak TLS ({detail})"
        self._fail(Failure(TLSConnectError(failure.cause, detail)))

    def handler_failed(self, failure: Failure) -> None:
        """The user's protocol raised."""
        _log.failure("the handler failed", failure)
        self._fail(failure)

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """Of a server's connections alone."""

    def lost(self, cause: Cause | None, detail: str) -> None:
        """The connection has ended. With TLS 1.3 a client hears only now that the server has not liked it."""
        self._tls = None
        if self._stage is not _Stage.TOLD:
            self._fail(Failure(TLSConnectError(cause or Cause.EOF, "the connection was lost before it was decided")))
            self._drop()
        elif cause is Cause.PEER_ALERT:
            _log.warn("lost mytls:{host}: {cause}: {detail}", host=self._settings.host, cause=cause, detail=detail)

    # --- how it ends without a server

    def _not_reached(self, failure: Failure) -> None:
        if self._stage is not _Stage.DIALLING:
            return  # it was reached, and lost
        self._dialling = None
        self._fail(Failure(not_reached(failure.value)))

    def _late(self) -> None:
        self._timer = None
        within = f"within {self._settings.timeout:g} s"
        if self._stage is _Stage.DIALLING:
            error = TLSConnectError(Cause.BACKEND_TIMEOUT, f"{self._way()} {within}")
        else:
            waiting = "the handshake was not done" if self._asked is None else "the policy has not answered"
            error = TLSConnectError(Cause.HANDSHAKE_TIMEOUT, f"{waiting} {within}")
        self._fail(Failure(error))
        self._drop()

    def _way(self) -> str:
        via, starttls = self._settings.via, self._settings.starttls
        way = "" if via is None else f"via {via}: "
        return f"{way}there was no connection" + (f", or no yes to starttls={starttls}," if starttls else "")

    def _fail(self, failure: Failure) -> None:
        if self._stage is not _Stage.TOLD:
            self._tell().errback(failure)

    def _cancelled(self, done: Deferred[IProtocol]) -> None:
        self._tell()
        self._drop()

    def _tell(self) -> Deferred[IProtocol]:
        """It is decided. @return: who waits for it"""
        self._stage = _Stage.TOLD
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        done = self._done
        del self._done  # which refers to us
        return done

    def _drop(self) -> None:
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
        if self._tls is not None:
            self._tls.abortConnection()


class _Wires(Factory):
    """Makes the protocol of the ciphertext. The user's factory starts and stops with it."""

    noisy = False

    def __init__(self, attempt: Attempt, factory: IProtocolFactory) -> None:
        self._attempt = attempt
        self._factory = factory

    def doStart(self) -> None:
        """It is dialled."""
        self._factory.doStart()

    def doStop(self) -> None:
        """It is over."""
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> _Wire:
        """The server has accepted."""
        return _Wire(self._attempt)


@implementer(IHalfCloseableProtocol)
class _Wire(Protocol):
    """The protocol of the ciphertext."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt: Attempt | None = attempt
        self._tls: TLSTransport | None = None

    def connectionMade(self) -> None:
        """The client speaks first."""
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self._tls = tls = attempt.shake_hands(self.transport)
        if tls is None:
            abort(self.transport)
            return
        self.dataReceived = tls.dataReceived  # type: ignore[method-assign, assignment]  # one call less
        tls.begin()

    def readConnectionLost(self) -> None:
        """A FIN: the server sends nothing more."""
        if self._tls is not None:
            self._tls.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our own direction has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        tls, self._tls = self._tls, None
        self.__dict__.pop("dataReceived", None)
        if tls is not None:
            tls.connectionLost(reason)
