"""
A client endpoint that goes through a proxy.

Below is what connects to the proxy: a TCP connection, or any other client endpoint. Whoever connects has its protocol
made when the proxy has said yes, and speaks first on the transport of that connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.attempt import TLSConnectError, not_reached
from mytls.clientsettings import ClientSettings
from mytls.destinations import LONGEST_OF_LOGIN, Login, Via
from mytls.errors import ConfigurationError, TLSFailure
from mytls.handlers.places import Preamble, nothing
from mytls.handlers.splice import abort
from mytls.preludes import server_begins
from mytls.settings import HostSettings
from mytls.sockets import connected_at_once
from mytls.tls.files import Files
from mytls.tls.passwords import password_of


class Talk(Protocol):
    """
    What is said to one proxy, or to a server ahead of TLS, for one connection: bytes in, bytes out.

    @ivar done: whether the next byte is for the server
    @ivar rest: what of the server's has come with the last of the talk, and is for whoever is behind it
    """

    done: bool
    rest: bytes

    def begin(self) -> bytes:
        """What is said first."""

    def feed(self, data: bytes) -> bytes:
        """
        What is said to that.

        @raise TLSFailure: there will be no connection; what it has as C{answer} is said last
        """


def through(below: IStreamClientEndpoint, settings: ClientSettings, files: Files) -> IStreamClientEndpoint:
    """
    What connects to the server of a client: by its proxy, where it has one.

    @param below: what connects to the proxy, or to the server where there is none
    @raise ConfigurationError: one line: a password that cannot be read, a library that is missing
    """
    via = settings.via
    if via is None:
        return below
    talk, login, host, port = _talk(via), _login(via, settings, files), settings.host, settings.port
    assert port is not None  # the settings would have refused it
    begins = settings.starttls is not None and server_begins(settings.starttls)
    return Through(below, via, lambda: talk(host, port, login, server_begins=begins))


def _talk(via: Via) -> Callable[..., Talk]:
    try:
        if via.scheme == "http":
            from mytls.via.connect import Connect

            return Connect
        from mytls.via.socks5 import Socks5
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"via={via.scheme}://{via}: the package {error.name} is not installed: pip install 'mytls[via]'"
        ) from None
    return Socks5


def _login(via: Via, settings: ClientSettings, files: Files) -> Login | None:
    if via.user is None:
        return None
    said = settings.via_password_file
    of_password = HostSettings(password_file=said, wrote={"password-file": "viaPasswordFile"})
    secret = password_of(of_password, files).secret
    assert secret is not None  # the settings would have refused it
    if len(secret) > LONGEST_OF_LOGIN:
        raise of_password.wrong("password-file", said, f"the password is longer than {LONGEST_OF_LOGIN} bytes")
    return Login(via.user.encode("utf-8"), secret)


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class Through:
    """
    Connects through a proxy.

    @ivar below: what connects to the proxy
    """

    below: IStreamClientEndpoint
    _via: Via
    _talk: Callable[[], Talk]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        @return: fires when the proxy has said yes; fails with L{TLSConnectError}, whose text says which proxy it was
        """
        way = f"via {self._via}: "
        return Passage(self._talk(), protocolFactory, way, "the proxy", way).begin(self.below)


class _Stage(Enum):
    DIALLING = "dialling"
    #: The other end was reached, and has not said yes yet.
    TALKING = "talking"
    #: Whoever waits was told.
    TOLD = "told"


@implementer(IHalfCloseableProtocol)
class Passage(TwistedProtocol):
    """
    One connection to a proxy, or to a server that has to agree to TLS, from the wish for it; from then on what it is
    told goes to the protocol behind it.
    """

    transport: Any

    def __init__(
        self,
        talk: Talk,
        behind: IProtocolFactory,
        way: str,
        who: str,
        dialled: str = "",
        preamble: Preamble = nothing,
    ) -> None:
        """
        @param way: the first words of what goes wrong with the talk
        @param who: the other end of it, in the words of an error
        @param dialled: the first words of what goes wrong with the dialling
        @param preamble: what is said ahead of the talk
        """
        self._stage = _Stage.DIALLING
        self._done: Deferred[IProtocol] = Deferred(self._cancelled)
        self._dialling: Deferred[Any] | None = None
        self._way, self._who, self._dialled = way, who, dialled
        self._preamble = preamble
        self._talk = talk
        self._behind = behind
        self._protocol: Any = None

    def begin(self, below: IStreamClientEndpoint) -> Deferred[IProtocol]:
        """Dial the other end."""
        done = self._done
        dialling = maybeDeferred(below.connect, _One(self, self._behind))
        if self._stage is _Stage.DIALLING:  # an endpoint may be done at once
            self._dialling = dialling
        dialling.addErrback(self._not_reached)
        return done

    # --- what the connection tells

    def connectionMade(self) -> None:
        """The other end was reached; whatever the talk begins with is said."""
        self._dialling = None
        if self._stage is _Stage.TOLD:
            abort(self.transport)
            return
        self._stage = _Stage.TALKING
        connected_at_once(self.transport)
        first = self._preamble(self.transport) + self._talk.begin()
        if first:
            self.transport.write(first)

    def dataReceived(self, data: bytes) -> None:
        """What the other end says; what comes when it is done goes past us, where nobody has kept this method."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        if self._stage is not _Stage.TALKING:
            return
        try:
            answer = self._talk.feed(data)
        except TLSFailure as failure:
            self._refuse(TLSConnectError(failure.cause, self._way + failure.detail), getattr(failure, "answer", b""))
            return
        if answer:
            self.transport.write(answer)
        if self._talk.done:
            self._open()

    def readConnectionLost(self) -> None:
        """A FIN."""
        if self._stage is _Stage.TALKING:
            self._refuse(self._lost(ConnectionDone()))
        elif IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own direction has ended."""
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        protocol, self._protocol = self._protocol, None
        self.__dict__.pop("dataReceived", None)
        if protocol is not None:
            protocol.connectionLost(reason)
        elif self._stage is _Stage.TALKING:
            self._tell().errback(Failure(self._lost(reason.value)))

    # --- how it goes on

    def _open(self) -> None:
        """The server is at the other end: from here on it is as if it had been dialled."""
        protocol: Any = self._behind.buildProtocol(self.transport.getPeer())
        self._protocol = protocol
        rest = self._talk.rest
        done = self._tell()
        protocol.makeConnection(self.transport)
        if self._protocol is not None:  # and is still there
            self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]  # one call less
        done.callback(protocol)
        if rest and self._protocol is not None:
            protocol.dataReceived(rest)

    def _refuse(self, error: TLSConnectError, goodbye: bytes = b"") -> None:
        self._tell().errback(Failure(error))
        if goodbye:  # few bytes, which the system takes at once: nobody can hold what is closed behind them
            self.transport.write(goodbye)
            self.transport.loseConnection()
        else:
            abort(self.transport)

    def _lost(self, error: BaseException | None) -> TLSConnectError:
        if isinstance(error, ConnectionDone):
            return not_reached(ConnectionError(f"{self._who} closed the connection before it had answered"), self._way)
        return not_reached(error, self._way)

    def _not_reached(self, failure: Failure) -> None:
        if self._stage is _Stage.DIALLING:
            self._dialling = None
            self._tell().errback(Failure(not_reached(failure.value, self._dialled)))

    def _cancelled(self, done: Deferred[IProtocol]) -> None:
        talking = self._stage is _Stage.TALKING
        self._tell()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        elif talking:
            abort(self.transport)

    def _tell(self) -> Deferred[IProtocol]:
        """It is decided. @return: who waits for it"""
        self._stage = _Stage.TOLD
        done = self._done
        del self._done, self._talk, self._behind, self._preamble  # which refer to us, and to who waits
        return done


class _One(Factory):
    """Makes the one protocol that it has. The factory behind it starts and stops with it."""

    noisy = False

    def __init__(self, passage: Passage, behind: IProtocolFactory) -> None:
        self._passage = passage
        self._behind = behind

    def doStart(self) -> None:
        """It is dialled."""
        self._behind.doStart()

    def doStop(self) -> None:
        """It is over."""
        self._behind.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Passage:
        """The other end has accepted."""
        return self._passage
