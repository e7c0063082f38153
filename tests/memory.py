"""
Two real TLS ends in memory: no port, no thread, no time that passes by itself.

    link = Link(handler=SomeFactory())
    link.handshake()
    link.client.send(b"hello")
    link.pump()

The client is a pyOpenSSL connection that the test plays by hand. The server is a whole L{TLSFactory}, over a transport
that behaves as a socket's of Twisted's does, and a Clock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import trustme
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocolFactory,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.connection import ServerConnection
from mytls.events import Event, Observers
from mytls.hosts import Hosts
from mytls.listener import TLSFactory
from mytls.settings import Deadlines, HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import host_options
from mytls.tls.transport import TLSTransport

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 50000)
SERVER_ADDRESS = IPv4Address("TCP", "192.0.2.2", 8443)


@cache
def authority() -> trustme.CA:
    """A CA for the whole run."""
    return trustme.CA()


@cache
def key_pair(*names: str) -> KeyPair:
    """A certificate of that CA for these names (`localhost` if none), with its key."""
    leaf = authority().issue_cert(*(names or ("localhost",)))
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain = [x509.load_pem_x509_certificate(each.bytes()) for each in leaf.cert_chain_pems]
    return KeyPair(load_pem_private_key(leaf.private_key_pem.bytes(), None), chain[0], tuple(chain[1:]))


def tls_options(pair: KeyPair | None = None, **said: Any) -> CertificateOptions:
    """The options of a host with this key pair. @param said: fields of its settings"""
    return host_options(HostSettings(**said), [pair or key_pair()])


def client_context(version: int | None = None) -> SSL.Context:
    """A client's context, which verifies nothing. @param version: the only version, such as C{SSL.TLS1_2_VERSION}"""
    context = SSL.Context(SSL.TLS_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context


@implementer(ITCPTransport, IHalfCloseableDescriptor)
class SocketInMemory:
    """
    A transport with the behaviour of a Twisted TCP connection.

    What is written goes to C{wire} while the peer reads, and waits in C{buffer} while it does not; above
    C{buffer_size} the registered producer is paused.

    @ivar peer_reads: whether the socket takes what is written
    @ivar reading: whether the protocol wants data
    @ivar fin_sent: our direction was ended
    @ivar lost: why C{connectionLost} was called, or None
    """

    buffer_size = 65536

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.wire = bytearray()
        self.buffer = bytearray()
        self.peer_reads = True
        self.reading = True
        self.fin_sent = False
        self.disconnecting = False
        self.write_disconnecting = False
        self.lost: Exception | None = None
        self.producer: Any = None
        self.producer_paused = False
        self.streaming = True
        self.writes: list[bytes] = []
        self.no_delay = False
        self.keep_alive = False

    # --- the transport

    def write(self, data: bytes) -> None:
        if self.lost is not None or self.fin_sent:
            return
        self.writes.append(bytes(data))
        self.buffer += data
        self.flush()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def queued(self) -> int:
        return len(self.buffer)

    def flush(self) -> None:
        """As the socket becomes writable, or not."""
        if self.peer_reads:
            self.wire += self.buffer
            self.buffer.clear()
            if self.producer is not None and (self.producer_paused or not self.streaming):
                self.producer_paused = False
                self.producer.resumeProducing()
            if self.write_disconnecting and not self.buffer and not self.fin_sent:
                self.fin_sent = True
                if IHalfCloseableProtocol.providedBy(self.protocol):
                    self.protocol.writeConnectionLost()
            if self.disconnecting and not self.buffer:
                self.lose(ConnectionDone())
        elif len(self.buffer) > self.buffer_size and self.producer is not None and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        if self.lost is None and not self.disconnecting:
            self.disconnecting = True
            self.reading = False
            if not self.buffer:
                self.lose(ConnectionDone())

    def loseWriteConnection(self) -> None:
        self.write_disconnecting = True
        self.flush()

    def abortConnection(self) -> None:
        if self.lost is None:
            self.buffer.clear()
            self.lose(ConnectionAborted())

    def lose(self, error: Exception) -> None:
        """The connection is gone, for this reason."""
        if self.lost is None:
            self.lost = error
            self.fin_sent = True
            self.protocol.connectionLost(Failure(error))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer, self.streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def startWriting(self) -> None:
        self.flush()

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if self.lost is None and not self.disconnecting:
            self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """For the reactor alone."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """For the reactor alone."""

    def getHost(self) -> Any:
        return SERVER_ADDRESS

    def getPeer(self) -> Any:
        return CLIENT_ADDRESS

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled


class Recorder(Protocol):
    """
    A handler that writes down what it is told.

    @ivar told: the calls, in order: `made`, `("data", ...)`, `("lost", reason)`
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connectionMade(self) -> None:
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.told.append(("data", data))

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted's
        self.told.append(("lost", reason.value))

    @property
    def data(self) -> bytes:
        """All that came."""
        return b"".join(each[1] for each in self.told if isinstance(each, tuple) and each[0] == "data")

    @property
    def lost(self) -> Any:
        """The reason of C{connectionLost}, or None."""
        reasons = [each[1] for each in self.told if isinstance(each, tuple) and each[0] == "lost"]
        assert len(reasons) <= 1, "connectionLost was called twice"
        return reasons[0] if reasons else None


class Producer:
    """
    A producer that writes down what it is asked for.

    @ivar asked: C{pause}, C{resume} and C{stop}, in order
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")

    def stopProducing(self) -> None:
        self.asked.append("stop")


class RecorderFactory(Factory):
    """Makes recorders, or what it is told to, and keeps them."""

    noisy = False

    def __init__(self, make: Callable[[], Protocol] = Recorder) -> None:
        self.make = make
        self.made: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        built = self.make()
        built.factory = self
        self.made.append(built)
        return built


class Link:
    """
    A client and a server, joined.

    @ivar client: the client's pyOpenSSL connection
    @ivar socket: the server's transport
    @ivar handlers: the handler's protocols, as made
    @ivar events: what the server told
    """

    def __init__(
        self,
        handler: IProtocolFactory | None = None,
        options: object = None,
        context: SSL.Context | None = None,
        server_name: bytes | None = b"localhost",
        deadlines: Deadlines | None = None,
        clock: Clock | None = None,
        alpn: list[bytes] | None = None,
        factory: TLSFactory | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.events: list[Event] = []
        self.handler = handler or RecorderFactory()
        self.factory = factory or TLSFactory(
            Hosts.only(options or tls_options()),
            self.handler,
            self.clock,
            deadlines or Deadlines(idle=0.0),
            Observers([self.events.append]),
        )
        self.protocol = cast(ServerConnection, self.factory.buildProtocol(CLIENT_ADDRESS))
        self.socket = SocketInMemory(self.protocol)
        self.protocol.makeConnection(self.socket)
        self.client = SSL.Connection(context or client_context())
        self.client.set_connect_state()
        if server_name is not None:
            self.client.set_tlsext_host_name(server_name)
        if alpn is not None:
            self.client.set_alpn_protos(alpn)
        self.received = bytearray()
        self.peer_finished = False

    @property
    def handlers(self) -> list[Any]:
        assert isinstance(self.handler, RecorderFactory)
        return self.handler.made

    @property
    def recorder(self) -> Recorder:
        """The one handler."""
        (one,) = self.handlers
        return one  # type: ignore[no-any-return]

    @property
    def transport(self) -> TLSTransport:
        """The handler's transport."""
        transport = self.recorder.transport
        assert isinstance(transport, TLSTransport)
        return transport

    def handshake(self, piece: int = 1 << 20) -> None:
        """Go through the handshake. @param piece: how many bytes the server gets at a time"""
        for _ in range(10):
            try:
                self.client.do_handshake()
            except SSL.WantReadError:
                self.pump(piece)
            else:
                self.pump(piece)
                return
        raise AssertionError("the handshake did not end")

    def outgoing(self) -> bytes:
        """What the client has for the server, taken out."""
        pieces = []
        try:
            while True:
                pieces.append(self.client.bio_read(65536))
        except SSL.WantReadError:
            return b"".join(pieces)

    def to_server(self, data: bytes, piece: int = 1 << 20) -> None:
        """Bytes arrive at the server, while it reads."""
        for at in range(0, len(data), piece):
            if self.socket.lost is None:
                self.protocol.dataReceived(data[at : at + piece])

    def to_client(self) -> bool:
        """What the server has sent arrives at the client. @return: whether there was anything"""
        sent = bytes(self.socket.wire)
        self.socket.wire.clear()
        if sent:
            self.client.bio_write(sent)
        return bool(sent)

    def pump(self, piece: int = 1 << 20) -> None:
        """Carry bytes both ways, until there are none, and read what the client can."""
        for _ in range(1000):
            out = self.outgoing()
            self.to_server(out, piece)
            came = self.to_client()
            if came:
                self.read_client()
            if not out and not came:
                return
        raise AssertionError("the two ends do not come to rest")

    def read_client(self) -> None:
        """What the client can read goes to C{received}."""
        try:
            while True:
                self.received += self.client.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.peer_finished = True

    def fin(self) -> None:
        """The client ends its TCP direction."""
        if self.socket.lost is None:
            self.protocol.readConnectionLost()

    def reset(self) -> None:
        """The client's TCP connection is reset."""
        self.socket.lose(ConnectionLost())

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.advance(0)

    def kinds(self) -> list[str]:
        """The names of the events, in order."""
        return [type(event).__name__ for event in self.events]
