"""
One connection's life: the ClientHello, the host it is for, the handshake, the handler, the end.

It is the protocol of the transport below. Until the ClientHello is whole it collects bytes; then it makes the TLS
transport from the chosen host's context, and what comes from below goes straight there. Where a trusted proxy has
passed the connection on, the PROXY header comes first: from then on the client is who that names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from mytls.addresses import address_text
from mytls.beginning import Beginning
from mytls.errors import Alert, Cause, TLSFailure, alert_record
from mytls.events import Accepted, BackendFailed, Closed, Established, HandlerFailed, HandshakeFailed, Observers
from mytls.goodbye import Goodbye
from mytls.guards.ages import Ages
from mytls.guards.deadlines import Deadline
from mytls.guards.limits import Door, Place
from mytls.guards.policy import ask
from mytls.hints import Circumstances, ended_by, hint
from mytls.hosts import Host, Hosts
from mytls.interfaces import IDrainable, IEndable
from mytls.logs.tracebacks import Tracebacks
from mytls.passthrough import Passthrough
from mytls.peer import Peer
from mytls.preludes.dialogue import Dialogue
from mytls.proxyheader import ProxyHeader
from mytls.tls.contexts import ConnectionMaker
from mytls.tls.hello import NO_HELLO, ClientHello
from mytls.tls.identity import peer_of, peer_of_hello, same_name
from mytls.tls.transport import TLSTransport

_log = Logger()

#: How many bytes of a client that speaks no TLS are looked at.
_FIRST = 64
_LOST_UNDECIDED = "the connection was lost before the policy answered"


class Listening(Protocol):
    """What a connection needs of the listener that accepted it."""

    hosts: Hosts
    observers: Observers
    clock: IReactorTime
    handshake: Deadline
    close: Deadline
    policy: Deadline
    door: Door
    ages: Ages
    tracebacks: Tracebacks
    draining: bool

    def opened(self, connection: ServerConnection) -> int:
        """Count it as open. @return: its number"""

    def ends(self, connection: ServerConnection) -> None:
        """It has begun to end by our doing: it is cut a second after the close deadline."""

    def closed(self, connection: ServerConnection) -> None:
        """It is gone."""

    @property
    def name(self) -> str:
        """The listener's address, as logs and metrics write it."""


@implementer(IHalfCloseableProtocol)
class ServerConnection(protocol.Protocol):
    """
    An accepted connection.

    @ivar let_in_by: the host whose rules have let in its client last
    """

    transport: Any
    let_in_by: Host
    _hosts: Hosts
    _place: Place

    def __init__(
        self,
        listener: Listening,
        address: IAddress | None,
        *,
        passed_on: bool = False,
        dialogue: Dialogue | None = None,
    ) -> None:
        """
        @param address: who has connected
        @param passed_on: whether that is a proxy, which has to say first where the client is
        @param dialogue: what is said in the clear before TLS
        """
        self._listener = listener
        self._address = address
        self._from = address_text(address)
        self._proxy: IAddress | None = None
        self._header: ProxyHeader | None = None
        self._beginning: Beginning | None = Beginning(
            self._passed_on if passed_on else None,
            dialogue,
            lambda data: self.transport.write(data),
            plain=listener.hosts.plain,
        )
        self._client_hello: ClientHello | None = None
        self._server_name: bytes | None = None
        self._offered: tuple[bytes, ...] = ()  # where the client agrees on a protocol with somebody else
        self._tls: TLSTransport | Passthrough | None = None
        self._met: Peer | None = None
        self._asked: Deferred[str | None] | None = None
        self._goodbye: Goodbye | None = None
        self._host: Host | None = None
        self._established = self._ended = False
        self._shut: TLSFailure | None = None

    # --- what the transport below tells

    def makeConnection(self, transport: Any) -> None:
        """Accepted: the handshake's time runs from here."""
        self.transport = transport
        self.connected = 1
        listener = self._listener
        self._since = listener.clock.seconds()
        beginning = self._beginning
        assert beginning is not None
        self._place = listener.door.enter(None if beginning.has_header else self._address)
        self._number = listener.opened(self)
        self._say(Accepted)
        if listener.hosts.plain and not beginning.has_header:
            self._begin(NO_HELLO, b"")
        else:
            listener.handshake.start(self, self._late)
            beginning.begin()

    def dataReceived(self, data: bytes) -> None:
        """Bytes up to the ClientHello; once that is whole this method is the TLS transport's."""
        beginning = self._beginning
        if beginning is None:
            return  # refused: what still comes is thrown away
        try:
            hello = beginning.feed(data)
        except TLSFailure as failure:
            self._refuse(failure)
            return
        if hello is not None:
            self._begin(hello, beginning.received)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """A descriptor came with the bytes: for a handler without TLS, which takes them."""
        assert isinstance(self._tls, Passthrough)
        self._tls.fileDescriptorReceived(descriptor)

    def readConnectionLost(self) -> None:
        """A FIN: from here on the peer sends nothing."""
        if self._tls is not None:
            self._tls.readConnectionLost()
        elif self._goodbye is not None:
            self._goodbye.end()
        elif self._beginning is not None:
            self._refuse(self._beginning.cut(), peer_is_through=True)

    def writeConnectionLost(self) -> None:
        """Our own direction has ended."""
        if self._tls is not None:
            self._tls.writeConnectionLost()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The transport below is gone."""
        if self._tls is not None:
            self._tls.connectionLost(reason)
        elif self._goodbye is not None:
            self._goodbye.forget()
        else:
            self.handshake_failed(TLSFailure(Cause.RESET, "the connection was lost before the ClientHello was whole"))
        self._handshake_over()
        self._place.leave()
        self._listener.ages.stop(self)
        self._listener.closed(self)
        self._tls = self._beginning = None  # which refer to us
        self.__dict__.pop("dataReceived", None)  # so does its method

    # --- what the TLS transport tells

    def established(self) -> None:
        """The handshake is done: the handler may meet its peer, if its host's policies have nothing against it."""
        tls = self._tls
        assert isinstance(tls, TLSTransport)
        self._handshake_over()
        try:
            tls.peer = self._met = peer = self._admitted(tls)
        except TLSFailure as failure:
            tls.refuse(failure)
            return
        self._let_in(tls, peer)

    def _let_in(self, tls: TLSTransport, peer: Peer) -> None:
        """The policies first, then the handler. Where a reload has come in between, what is served by now decides."""
        hosts = self._listener.hosts
        try:
            if hosts is not self._hosts:
                host = self.host_in(hosts)
                hosts.check_source(host, peer)
                host.check(peer)
                self._hosts, self.let_in_by = hosts, host
        except TLSFailure as failure:
            tls.refuse(failure)
            return
        if self.let_in_by.policies:
            self._ask(tls, peer)
        else:
            self._enters(tls, peer)

    def _admitted(self, tls: TLSTransport) -> Peer:
        """Who is at the other end. @raise TLSFailure: nobody who may meet the handler"""
        connection = tls.getHandle()
        if not same_name(connection, self._server_name):
            raise TLSFailure(Cause.UNKNOWN_NAME, "its session, or its second ClientHello, is for another server name")
        hello = self._client_hello
        assert hello is not None
        assert self._host is not None
        shown = self._host.shown(connection)
        return self._as_passed_on(peer_of(connection, self._address, shown, resumed=tls.resumed, hello=hello))

    def _ask(self, tls: TLSTransport, peer: Peer) -> None:
        """The policies decide, in their time; until then the peer is waiting."""
        tls.hold()
        self._asked = asked = ask(self.let_in_by.policies, peer, self._listener.clock)
        self._listener.policy.start(
            self, lambda: self._decided(f"the policy has not answered within {self._listener.policy.seconds:g} s")
        )
        asked.addCallback(self._decided)

    def _decided(self, refusal: str | None) -> None:
        asked, self._asked = self._asked, None
        if asked is None:  # decided before: the time was over, or the peer has gone
            return
        tls, peer = self._tls, self._met
        assert isinstance(tls, TLSTransport)
        assert peer is not None
        self._listener.policy.stop(self)
        asked.cancel()
        if not tls.release():
            self.handshake_failed(TLSFailure(Cause.EOF, _LOST_UNDECIDED))
            return
        if self._hosts is not self._listener.hosts:
            self._let_in(tls, peer)
        elif refusal is None:
            self._enters(tls, peer)
        else:
            who = "" if peer.identity is None else f": client certificate {peer.identity.shown()}"
            tls.refuse(TLSFailure(Cause.POLICY, f"{refusal}{who}"))

    def _enters(self, tls: TLSTransport | Passthrough, peer: Peer) -> None:
        self._client_hello = None
        self._established = True
        self._say(Established, peer=peer, seconds=self._age())
        tls.draining = self._listener.draining
        self._listener.ages.start(self)
        handler = self._build()
        if handler is None:
            tls.loseConnection()
            return
        tls.connect(handler)
        if tls.draining:
            self._tell_of_drain(tls)

    def _build(self) -> IProtocol | None:
        """The handler's protocol; None where its factory wants no connection, or fails."""
        assert self._tls is not None
        assert self._host is not None
        try:
            address: Any = self._address  # None where the port knows no address
            factory: Any = self._host.handler  # a listener's hosts have one each
            return factory.buildProtocol(address)  # type: ignore[no-any-return]
        except Exception:
            self._tls.handlerFailed(Failure())
            return None

    def handshake_failed(self, failure: TLSFailure) -> None:
        """There is no handshake: say so, once."""
        if self._ended:
            return
        self._ended = True
        self._handshake_over()
        name, hello, beginning = self._server_name, self._client_hello, self._beginning
        first = b"" if beginning is None else beginning.received[:_FIRST]
        about = Circumstances(failure, first, hello, self._host, self._listener.hosts)
        self._say(
            HandshakeFailed,
            cause=failure.cause,
            detail=failure.detail,
            server_name=None if name is None else name.decode("latin-1"),
            seconds=self._age(),
            silent=beginning is not None and not first and not (beginning.begun and beginning.has_header),
            ended_by=ended_by(failure.cause),
            offer=about.offer,
            hint=hint(about),
            limit=failure.limit,
        )

    def handler_failed(self, failure: Failure) -> None:
        """The handler raised: a traceback, where it is not the same again and again, and the event."""
        where = self._listener.tracebacks.write(failure)
        name = failure.type.__name__ if failure.type else ""
        self._say(HandlerFailed, peer=self._peer(), detail=name, where=where, seconds=self._age())

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """A backend could not be had for this client."""
        self._say(BackendFailed, backend=backend, cause=cause, detail=detail, seconds=self._age())

    def lost(self, cause: Cause | None, detail: str) -> None:
        """The connection has ended; where there was no handshake, that is said already."""
        tls = self._tls
        if self._asked is not None:
            asked, self._asked = self._asked, None
            self._listener.policy.stop(self)
            asked.cancel()
            self.handshake_failed(TLSFailure(cause or Cause.EOF, _LOST_UNDECIDED))
        if self._ended or tls is None:
            return
        if self._shut is not None:
            cause, detail = self._shut.cause, self._shut.detail
        self._say(
            Closed,
            peer=self._peer(),
            cause=cause,
            detail=detail,
            bytes_in=tls.bytes_in,
            bytes_out=tls.bytes_out,
            seconds=self._age(),
        )

    # --- what the listener asks

    def drain(self) -> None:
        """The service stops: who has said nothing is dropped, all others may finish, and a handler can be told."""
        tls = self._tls
        if tls is not None:
            tls.draining = True
            self._tell_of_drain(tls)
        elif self._beginning is not None and not self._beginning.begun:
            self.handshake_failed(TLSFailure(Cause.DRAIN, "the service stops, and nothing has come yet"))
            self.abort()

    def finish(self, failure: TLSFailure) -> None:
        """Its time is over: it ends properly where there is a handler. @param failure: why, for the closed event"""
        tls = self._tls
        self._listener.ends(self)
        if tls is None or not self._established:
            asked = ", and the policy has not answered" if self._asked is not None else ""
            self.handshake_failed(attrs.evolve(failure, detail=f"{failure.detail}{asked}"))
            self.abort()
        elif not tls.closing:
            self._shut = self._shut or failure
            self._ask_handler(tls, tls.protocol.end if IEndable.providedBy(tls.protocol) else tls.loseConnection)

    def cut(self, failure: TLSFailure) -> None:
        """At once. @param failure: why, for the closed event"""
        if self._established:
            self._shut = self._shut or failure
        else:
            self.handshake_failed(failure)
        self.abort()

    def expire(self) -> None:
        """The handler has had its time: the goodbye, whatever it still wants."""
        if self._tls is not None:
            self._tls.expire()

    def abort(self) -> None:
        """The service has waited long enough."""
        (self._tls or self.transport).abortConnection()

    @property
    def moved(self) -> int:
        """A number that is another one when bytes have moved, either way."""
        tls = self._tls
        return 0 if tls is None else tls.moved

    def _tell_of_drain(self, tls: TLSTransport | Passthrough) -> None:
        if IDrainable.providedBy(tls.protocol):
            self._ask_handler(tls, tls.protocol.drain)

    def _ask_handler(self, tls: TLSTransport | Passthrough, ask: Callable[[], object]) -> None:
        try:
            ask()
        except Exception:
            tls.handlerFailed(Failure())

    # --- what operators ask

    @property
    def number(self) -> int:
        """Its number, unique in this process."""
        return self._number

    @property
    def listener(self) -> str:
        """Where it came in, as logs and metrics write it."""
        return self._listener.name

    @property
    def since(self) -> float:
        """The clock's time of when it was accepted."""
        return self._since

    @property
    def state(self) -> str:
        """C{handshake}, C{policy} while that is asked, C{open}, or C{closing}."""
        tls = self._tls
        if self._asked is not None:
            return "policy"
        if self._ended or self._goodbye is not None or (tls is not None and tls.closing):
            return "closing"
        return "handshake" if tls is None or tls.protocol is None else "open"

    @property
    def finished(self) -> bool:
        """Whether all is said, and the peer has but to close."""
        return self.state == "closing" and (self._tls is None or not self._tls.queued())

    @property
    def server_name(self) -> str | None:
        """The name that the client asks for, as far as it came; text of a stranger."""
        return None if self._server_name is None else self._server_name.decode("latin-1")

    @property
    def met(self) -> Peer:
        """Who is at the other end, as far as that is known."""
        return self._peer()

    @property
    def traffic(self) -> tuple[int, int]:
        """Plaintext bytes from the peer, and to it, until now."""
        return (0, 0) if self._tls is None else (self._tls.bytes_in, self._tls.bytes_out)

    @property
    def whence(self) -> dict[str, Any]:
        """Which connection it is: what each event of it says."""
        via = None if self._proxy is None else address_text(self._proxy)
        host, handler = (None, None) if self._host is None else (self._host.known_as(), self._host.serves)
        return {
            "connection": self._number,
            "listener": self._listener.name,
            "address": self._from,
            "via": via,
            "host": host,
            "handler": handler,
        }

    # --- what is asked after a reload

    @property
    def entered(self) -> Peer | None:
        """Who is at the other end; None where TLS or the handler is not there yet, or not any more."""
        tls = self._tls
        return self._met if tls is not None and tls.protocol is not None and self._shut is None else None

    def host_in(self, hosts: Hosts) -> Host:
        """The host of these that the client would meet now. @raise TLSFailure: there is none"""
        agreed = self._peer().alpn
        return hosts.chosen(self._server_name, self._offered if agreed is None else (agreed.encode("latin-1"),))

    def shut(self, failure: TLSFailure) -> None:
        """The client may not enter any more: its handler hears at once that it is over."""
        assert self._tls is not None
        self._shut = failure
        end = self._tls.dismiss if isinstance(self._tls, TLSTransport) else self._tls.abort_because
        end(failure.cause, failure.detail)

    # --- the steps

    def _passed_on(self, header: ProxyHeader) -> None:
        """The proxy has said where the client is. @raise TLSFailure: who is there may not connect"""
        self._header = header
        if not header.local:
            self._proxy = self._address
        if header.source is not None:
            self._address = header.source
            self._from = address_text(header.source)
        self._listener.hosts.check_address(self._address, self._proxy, header)
        if not header.local:
            self._place.belongs_to(self._address)

    def _as_passed_on(self, peer: Peer) -> Peer:
        """The peer, with what the proxy has said of it."""
        header = self._header
        return peer if header is None else attrs.evolve(peer, proxy_address=self._proxy, proxy_header=header)

    def _begin(self, hello: ClientHello, received: bytes) -> None:
        self._server_name, self._client_hello = hello.server_name, hello
        self._beginning = None
        try:
            self._hosts = self._listener.hosts
            self._host = self.let_in_by = host = self._hosts.choose(hello)
            refusal = host.sources.refusal(self._address)
            if refusal is not None:
                raise TLSFailure(Cause.FROM, refusal, Alert.ACCESS_DENIED)
            if host.maker is not None:
                self._place.begin_handshake()
        except TLSFailure as failure:
            self._refuse(failure)
            return
        if host.maker is None:
            self._pass_on(received)
        else:
            self._decrypt(host.maker, host.handler, received)

    def _decrypt(self, maker: ConnectionMaker, handler: Any, received: bytes) -> None:
        listener = self._listener
        try:
            tls = TLSTransport(
                self.transport, maker, handler, self, listener.clock, listener.close, header=self._header
            )
        except Exception:
            _log.failure("no TLS connection could be made")
            self._refuse(TLSFailure(Cause.HANDLER, "the host's TLS settings failed", Alert.INTERNAL_ERROR))
            return
        self._tls = tls
        self.dataReceived = tls.dataReceived  # type: ignore[method-assign, assignment]  # one call less for each read
        tls.dataReceived(received)

    def _pass_on(self, received: bytes) -> None:
        """The ClientHello and all that follows goes to the handler as it comes."""
        self._handshake_over()
        hello, self._client_hello = self._client_hello, None
        assert hello is not None
        self._offered = tuple(hello.alpn)
        met = Peer(self._address) if hello is NO_HELLO else peer_of_hello(hello, self._address)
        peer = self._met = self._as_passed_on(met)
        passed = self._tls = Passthrough(self.transport, self, peer, self._listener.close)
        self._enters(passed, peer)
        if passed.protocol is not None:
            self.dataReceived = passed.dataReceived  # type: ignore[method-assign]  # likewise
            if IFileDescriptorReceiver.providedBy(passed.protocol):
                alsoProvides(self, IFileDescriptorReceiver)  # else a UNIX socket closes what comes
            if received:
                passed.dataReceived(received)

    def _refuse(self, failure: TLSFailure, peer_is_through: bool = False) -> None:
        """Before there is TLS: the alert in the clear, then the end."""
        self.handshake_failed(failure)
        self._beginning = None
        self._goodbye = Goodbye(self.transport, self._listener.close)
        if failure.alert is not None:
            self.transport.write(alert_record(failure.alert))
        if peer_is_through:
            self._goodbye.end()
        else:
            self._goodbye.begin()

    def _late(self) -> None:
        """The handshake's time is over: the client has had it, there is nothing to wait for."""
        what = "the client's answer to ours" if self._beginning is None else self._beginning.awaited
        late = f"the handshake was not finished in time: {what} has not come"
        self.handshake_failed(TLSFailure(Cause.HANDSHAKE_TIMEOUT, late))
        self.abort()

    def _peer(self) -> Peer:
        return self._met or self._as_passed_on(Peer(self._address))

    def _handshake_over(self) -> None:
        self._listener.handshake.stop(self)
        self._place.met()

    def _age(self) -> float:
        return self._listener.clock.seconds() - self._since

    def _say(self, kind: Any, **about: Any) -> None:
        self._listener.observers.tell(kind(**self.whence, **about))
