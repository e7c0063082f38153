"""What a backend hears first."""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, ConfigurationError
from mytls.events import Closed, Observers
from mytls.guards.sources import Proxies
from mytls.handlers.places import places
from mytls.handlers.proxy import PassthroughFactory, ProxyFactory
from mytls.hosts import Host, Hosts
from mytls.keys import BACKEND_KEYS
from mytls.kinds import network
from mytls.listener import TLSFactory
from mytls.peer import Peer
from mytls.proxyheader import ProxyHeader
from mytls.proxyout import HEADERS, Presented
from mytls.proxyreader import ProxyHeaderReader
from mytls.proxytlvs import TLV, ClientTLS, SSLType, Type, value_of
from mytls.settings import Deadlines
from mytls.tls.contexts import connection_maker
from tests.memory import CLIENT_ADDRESS, SERVER_ADDRESS, Link, SocketInMemory, client_context, key_pair, tls_options


def read(data: bytes) -> tuple[ProxyHeader, bytes]:
    """What a backend reads first, and what comes behind it."""
    reader = ProxyHeaderReader()
    header = reader.feed(data)
    assert header is not None
    return header, reader.rest


class HeaderTests(SynchronousTestCase):
    """A client, and a backend that wants a PROXY header."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def factory(self, header: str, string: str = "tcp:127.0.0.1:1") -> ProxyFactory:
        """The handler."""
        return ProxyFactory(self.reactor, places(self.reactor, string), header=header)

    def heard(self, at: int = -1) -> bytes:
        """What the backend has heard when it accepts."""
        protocol: Any = self.reactor.tcpClients[at][2].buildProtocol(None)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        return bytes(socket.wire)

    def test_words(self) -> None:
        """Each word of the setting is one of a header, or off."""
        (key,) = (key for key in BACKEND_KEYS if key.name == "send-proxy-protocol")
        self.assertEqual(key.kind.expected, f"one of {', '.join(('off', *HEADERS))}")

    def test_plain_client(self) -> None:
        """The addresses of a client without TLS, ahead of what it has said already; with each dial."""
        for kind in HEADERS:
            protocol = self.factory(kind, "tcp:127.0.0.1:1,tcp:127.0.0.1:2").buildProtocol(None)
            protocol.makeConnection(SocketInMemory(protocol))
            protocol.dataReceived(b"hello")
            self.assertEqual(read(self.heard()), (ProxyHeader(CLIENT_ADDRESS, SERVER_ADDRESS), b"hello"), kind)

    def test_off(self) -> None:
        """Nothing, where nobody has asked for it."""
        protocol = self.factory("off").buildProtocol(None)
        protocol.makeConnection(SocketInMemory(protocol))
        self.assertEqual(self.heard(), b"")

    def test_tls_client(self) -> None:
        """What the handshake has agreed on, and the certificate that was shown: that of the client's kind of key."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            link = Link(
                handler=self.factory("v2-tls"),
                clock=self.reactor,
                context=client_context(version),
                options=tls_options(alpn=("h2",)),
                alpn=[b"h2"],
            )
            link.handshake()
            link.client.send(b"hello")
            link.pump()
            header, rest = read(self.heard())
            self.assertEqual((header.source, header.destination, rest), (CLIENT_ADDRESS, SERVER_ADDRESS, b"hello"))
            self.assertEqual(value_of(header.tlvs, Type.ALPN), b"h2")
            self.assertEqual(value_of(header.tlvs, Type.AUTHORITY), b"localhost")
            said = ClientTLS.from_bytes(value_of(header.tlvs, Type.SSL) or b"").tlvs
            presented = Presented.of(key_pair().certificate)
            self.assertEqual(value_of(said, SSLType.VERSION), link.client.get_protocol_version_name().encode())
            self.assertEqual(value_of(said, SSLType.SIG_ALG), presented.signature.encode())
            self.assertEqual(value_of(said, SSLType.KEY_ALG), (presented.key or "").encode())

    def test_passed_on(self) -> None:
        """What a proxy in front of us has said of the client is what is told, with or without TLS of ours."""
        source, custom = IPv4Address("TCP", "203.0.113.9", 4711), TLV(0xEA, b"vpce")
        passed_on = ProxyHeader(source, SERVER_ADDRESS, tlvs=(custom,))
        for handler, maker in (
            (self.factory("v2"), connection_maker(tls_options())),
            (PassthroughFactory(self.reactor, places(self.reactor, "tcp:a:1"), header="v2"), None),
        ):
            hosts = Hosts(Host(maker, handler), proxies=Proxies((network(CLIENT_ADDRESS.host),)))
            link = Link(factory=TLSFactory(hosts, handler, self.reactor, Deadlines(), Observers()), clock=self.reactor)
            link.to_server(passed_on.to_v2())
            if maker is None:
                with contextlib.suppress(SSL.WantReadError):
                    link.client.do_handshake()
                link.pump()
            else:
                link.handshake()
            self.assertEqual(read(self.heard())[0], passed_on)

    def test_too_much(self) -> None:
        """A client of whom there is more to say than a header can hold is dropped, and no backend is dialled."""
        received = tuple(TLV(0xEA, bytes(60_000)) for _ in range(2))

        class Told(SocketInMemory):
            peer: Peer
            why: tuple[Cause, str] | None = None

            def abort_because(self, cause: Cause, detail: str) -> None:
                self.why = cause, detail
                self.abortConnection()

        protocol = self.factory("v2").buildProtocol(None)
        socket = Told(protocol)
        socket.peer = Peer(CLIENT_ADDRESS, proxy_header=ProxyHeader(tlvs=received))
        protocol.makeConnection(socket)
        assert socket.why is not None
        self.assertEqual((socket.why[0], type(socket.lost)), (Cause.PROXY_HEADER, ConnectionAborted))
        self.assertEqual((self.reactor.tcpClients, self.reactor.getDelayedCalls()), ([], []))

    def test_no_place_for_it(self) -> None:
        """An endpoint that lets nobody speak ahead of its TLS is refused, with the one that does."""
        for string in ("tls:db.example:1", "tcp:127.0.0.1:1,ssl:db.example:1"):
            with self.assertRaises(ConfigurationError) as raised:
                self.factory("v1", string)
            self.assertRegex(
                str(raised.exception),
                r"^send-proxy-protocol=v1: (tls|ssl): has no place for it ahead of its TLS; "
                r"say mytls: for TLS, else tcp: or unix:$",
            )
            self.factory("off", string)

    def test_ours(self) -> None:
        """Our own client endpoint says it ahead of its ClientHello."""
        protocol = self.factory("v2", "mytls:127.0.0.1:1").buildProtocol(None)
        protocol.makeConnection(SocketInMemory(protocol))
        protocol.dataReceived(b"hello")
        header, rest = read(self.heard())
        self.assertEqual(header, ProxyHeader(CLIENT_ADDRESS, SERVER_ADDRESS))
        self.assertEqual(rest[:3], b"\x16\x03\x01")  # a handshake record
        self.assertNotIn(b"hello", rest)

    def test_end_of_a_failed_search(self) -> None:
        """With a header, too, the closed event says why there was no backend."""
        link = Link(handler=self.factory("v1"), clock=self.reactor)
        link.handshake()
        self.reactor.advance(Deadlines().connect)
        event = link.events[-1]
        assert isinstance(event, Closed)
        self.assertEqual(event.cause, Cause.BACKEND_TIMEOUT)
