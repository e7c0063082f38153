"""Connections that a proxy in front of us has passed on: the client is who the PROXY header names."""

from __future__ import annotations

from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import AccessLog
from mytls.errors import Cause
from mytls.events import Accepted, Closed, ConnectionEvent, Established, Event, HandshakeFailed, Observers, Refused
from mytls.guards.sources import Proxies, Sources
from mytls.hosts import Host, Hosts
from mytls.kinds import UNIX, network
from mytls.listener import TLSFactory
from mytls.proxyheader import ProxyHeader
from mytls.proxytlvs import TLV, Type
from mytls.review import Reviewed
from mytls.settings import Deadlines, Log
from mytls.tls.contexts import connection_maker
from tests.lines import log_lines
from tests.memory import CLIENT_ADDRESS, SERVER_ADDRESS, Link, RecorderFactory, tls_options

#: The proxy, as the links of these tests connect; the client behind it, and where that has connected to.
PROXY = CLIENT_ADDRESS
CLIENT, ENTRANCE = IPv4Address("TCP", "203.0.113.7", 40000), IPv4Address("TCP", "198.51.100.2", 443)
HEADER = ProxyHeader(CLIENT, ENTRANCE, tlvs=(TLV(Type.UNIQUE_ID, b"7"), TLV(0xEA, b"\x01vpce")))
LOCAL, UNKNOWN = ProxyHeader(local=True), ProxyHeader()


class PassedOnTests(SynchronousTestCase):
    """A listener that trusts one proxy."""

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.handler = RecorderFactory()
        self.clock = Clock()
        self.hosts = Hosts(Host(connection_maker(tls_options())), proxies=Proxies((network(PROXY.host),)))

    def link(self, **words: Any) -> Link:
        """Somebody has connected, at the proxy's address."""
        factory = TLSFactory(self.hosts, self.handler, self.clock, Deadlines(), Observers([self.events.append]))
        return Link(handler=self.handler, factory=factory, clock=self.clock, **words)

    def passed_on(self, header: ProxyHeader, version: int = 2) -> Link:
        """A client after its handshake, passed on with this header."""
        link = self.link()
        link.to_server(header.to_v1() if version == 1 else header.to_v2())
        link.handshake()
        return link

    def limited(self, of_listener: str = "", of_host: str = "") -> None:
        """From now on clients may connect from these networks."""

        def sources(said: str) -> Sources:
            return Sources(tuple(network(each) for each in said.split()))

        assert self.hosts.unknown is not None
        host = attrs.evolve(self.hosts.unknown, sources=sources(of_host))
        self.hosts = attrs.evolve(self.hosts, unknown=host, sources=sources(of_listener))

    def refused(self, link: Link, cause: Cause) -> HandshakeFailed:
        """Assert that there was no handshake, for this cause; without a byte."""
        event = self.events[-1]
        assert isinstance(event, HandshakeFailed), self.events
        self.assertEqual((event.cause, bytes(link.socket.wire), self.handler.made), (cause, b"", []))
        self.assertTrue(link.socket.fin_sent)
        return event


class ClientTests(PassedOnTests):
    """Who the client is."""

    def test_everybody_sees_the_client(self) -> None:
        """The handler's transport, the peer, and what is told are of the client; the proxy is besides."""
        for version in (1, 2):
            del self.events[:], self.handler.made[:]
            link = self.passed_on(HEADER, version)
            transport, peer = link.transport, link.transport.peer
            assert peer is not None
            self.assertEqual((transport.getPeer(), transport.getHost()), (CLIENT, ENTRANCE))
            self.assertEqual((peer.address, peer.proxy_address), (CLIENT, PROXY))
            self.assertEqual((peer.version, peer.server_name), ("TLSv1.3", "localhost"))
            accepted, established = self.events
            assert isinstance(accepted, Accepted)
            assert isinstance(established, Established)
            self.assertEqual((accepted.address, accepted.via), ("192.0.2.1:50000", None))
            self.assertEqual((established.address, established.via), ("203.0.113.7:40000", "192.0.2.1:50000"))
            self.assertEqual(established.peer, peer)

    def test_factory_is_given_the_client(self) -> None:
        """So is the address that a handler's factory is asked with."""
        asked: list[IAddress] = []

        class Asked(RecorderFactory):
            def buildProtocol(self, addr: Any) -> Any:
                asked.append(addr)
                return super().buildProtocol(addr)

        self.handler = Asked()
        self.passed_on(HEADER)
        self.assertEqual(asked, [CLIENT])

    def test_tlvs(self) -> None:
        """What else the header has said stays with the peer."""
        peer = self.passed_on(HEADER).transport.peer
        assert peer is not None
        self.assertEqual(peer.proxy_header, HEADER)

    def test_families(self) -> None:
        """Also of IPv6 and UNIX sockets."""
        six = IPv6Address("TCP", "2001:db8::1", 1), IPv6Address("TCP", "2001:db8::2", 2)
        unix = UNIXAddress(b"/run/client x"), UNIXAddress(b"/run/front")
        for source, destination in (six, unix):
            del self.handler.made[:]
            transport = self.passed_on(ProxyHeader(source, destination)).transport
            self.assertEqual((transport.getPeer(), transport.getHost()), (source, destination))

    def test_local_and_unknown(self) -> None:
        """Where the header names nobody it is who has connected: the proxy for itself, or for it does not know whom."""
        for header, proxy in ((LOCAL, None), (UNKNOWN, PROXY)):
            del self.events[:], self.handler.made[:]
            transport = self.passed_on(header).transport
            assert transport.peer is not None
            self.assertEqual((transport.getPeer(), transport.getHost()), (PROXY, SERVER_ADDRESS))
            self.assertEqual(
                (transport.peer.address, transport.peer.proxy_address, transport.peer.proxy_header),
                (PROXY, proxy, header),
            )

    def test_unix(self) -> None:
        """With `unix` whoever connects to a UNIX socket is a proxy, and is none without."""
        self.assertTrue(Proxies.of([UNIX]).trusted(UNIXAddress(None)))
        self.assertFalse(Proxies.of([network("0.0.0.0/0")]).trusted(UNIXAddress(None)))

    def test_pieces(self) -> None:
        """However the header and the ClientHello come: together, apart, byte by byte."""
        for header in (HEADER.to_v1(), HEADER.to_v2(checksum=True)):
            for piece in (1, 3, 50, 1 << 20):
                del self.handler.made[:]
                link = self.link()
                self.assertRaises(SSL.WantReadError, link.client.do_handshake)
                link.to_server(header + link.outgoing(), piece)
                link.pump()
                link.handshake(piece)
                link.client.send(b"hello")
                link.pump(piece)
                self.assertEqual((link.recorder.data, link.transport.getPeer()), (b"hello", CLIENT))

    def test_passthrough(self) -> None:
        """A handler that gets the ciphertext gets it without the header, and the same addresses."""
        self.hosts = attrs.evolve(self.hosts, unknown=Host(None, self.handler))
        link = self.link()
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        hello = link.outgoing()
        link.to_server(HEADER.to_v2() + hello, 5)
        transport: Any = link.recorder.transport
        self.assertEqual(link.recorder.data, hello)
        self.assertEqual((transport.getPeer(), transport.getHost()), (CLIENT, ENTRANCE))
        self.assertEqual((transport.peer.address, transport.peer.proxy_header), (CLIENT, HEADER))
        link.reset()
        self.assertEqual(self.events[-1].via, "192.0.2.1:50000")  # type: ignore[attr-defined]

    def test_line(self) -> None:
        """The line of the log has the client, and the proxy that it came by."""
        lines = log_lines(self)
        self.passed_on(HEADER).reset()
        AccessLog(Log(), Clock())(self.events[-1])
        self.assertRegex(lines[-1], "^closed 203.0.113.7:40000 at [^ ]+ via=192.0.2.1:50000 name=localhost TLSv1.3 ")


class RefusedTests(PassedOnTests):
    """Headers that are missing, wrong, or nobody's to send."""

    def test_missing(self) -> None:
        """A proxy without its header is not let in, however right the rest is."""
        link = self.link()
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        event = self.refused(link, Cause.PROXY_HEADER)
        self.assertEqual(
            (event.detail, event.address), ("a TLS handshake where a PROXY header was due", "192.0.2.1:50000")
        )
        self.assertFalse(event.silent)  # it has said something

    def test_second(self) -> None:
        """One header is all that is due: the second is refused, and names nobody."""
        link = self.link()
        link.to_server(HEADER.to_v2() + ProxyHeader(ENTRANCE, CLIENT).to_v2())
        self.assertEqual(self.refused(link, Cause.PROXY_HEADER).address, "203.0.113.7:40000")

    def test_from_somebody_else(self) -> None:
        """Who is no proxy has no header, in whatever pieces it comes; he is who he is."""
        self.hosts = attrs.evolve(self.hosts, proxies=Proxies((network("10.0.0.0/8"),)))
        for header in (HEADER.to_v1(), HEADER.to_v2()):
            for piece in (1, 1 << 20):
                link = self.link()
                link.to_server(header, piece)
                event = self.refused(link, Cause.PROXY_HEADER)
                self.assertEqual((event.address, event.via), ("192.0.2.1:50000", None))
                link.reset()

    def test_no_proxies(self) -> None:
        """Where there is no proxy nobody is one."""
        self.hosts = attrs.evolve(self.hosts, proxies=Proxies())
        link = self.link()
        link.to_server(HEADER.to_v1())
        self.refused(link, Cause.PROXY_HEADER)

    def test_bytes_after(self) -> None:
        """What still comes from who is refused is thrown away."""
        link = self.link()
        link.to_server(b"GET / HTTP/1.1\r\n\r\n")
        self.refused(link, Cause.PROXY_HEADER)
        link.to_server(HEADER.to_v2())
        link.fin()
        self.assertIsInstance(link.socket.lost, ConnectionDone)
        self.assertEqual([type(each) for each in self.events], [Accepted, HandshakeFailed])

    def test_cut(self) -> None:
        """An end within the header is an end of it, for the log and for the socket."""
        link = self.link()
        link.to_server(HEADER.to_v2()[:20])
        link.fin()
        self.refused(link, Cause.PROXY_HEADER)
        self.assertIsInstance(link.socket.lost, ConnectionDone)

    def test_time(self) -> None:
        """The header and the handshake have one deadline together."""
        link = self.link()
        self.clock.advance(6)
        link.to_server(HEADER.to_v2()[:-1])
        self.clock.advance(3.9)
        link.to_server(HEADER.to_v2()[-1:])
        self.assertIsNone(link.socket.lost)
        self.clock.advance(0.2)
        event = self.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual((event.cause, event.via), (Cause.HANDSHAKE_TIMEOUT, "192.0.2.1:50000"))
        self.assertIsNotNone(link.socket.lost)


class SourceTests(PassedOnTests):
    """Where clients may connect from: the client's address counts, and not the proxy's."""

    def test_the_client_may(self) -> None:
        """A proxy that is in none of the networks is let in with the clients that are."""
        self.limited("203.0.113.0/24", "203.0.113.0/24")
        self.assertEqual(self.passed_on(HEADER).recorder.told, ["made"])

    def test_the_client_may_not(self) -> None:
        """A client that is not is refused before its ClientHello is looked at; that its proxy is helps nothing."""
        self.limited("192.0.2.0/24")
        link = self.link()
        link.to_server(HEADER.to_v2() + b"whatever")
        event = self.refused(link, Cause.FROM)
        self.assertEqual((event.detail, event.via), ("203.0.113.7 is in no network of from", "192.0.2.1:50000"))

    def test_host(self) -> None:
        """So it is with a host's own networks, where there is an alert."""
        self.limited(of_host="192.0.2.0/24")
        link = self.link()
        link.to_server(HEADER.to_v2())
        self.assertRaises(SSL.Error, link.handshake)
        event = self.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual(event.cause, Cause.FROM)

    def test_unknown(self) -> None:
        """Whose address nobody knows comes from no network but the proxy's."""
        self.limited("203.0.113.0/24")
        link = self.link()
        link.to_server(UNKNOWN.to_v1())
        self.refused(link, Cause.FROM)

    def test_local(self) -> None:
        """What a proxy connects for by itself is not held against the networks of clients."""
        self.limited("203.0.113.0/24")
        self.assertEqual(self.passed_on(LOCAL).recorder.told, ["made"])

    def test_no_proxy(self) -> None:
        """Who is no proxy is still turned away when he connects."""
        self.limited("203.0.113.0/24")
        self.hosts = attrs.evolve(self.hosts, proxies=Proxies((network("10.0.0.0/8"),)))
        link = self.link()
        self.assertEqual([type(each) for each in self.events], [Refused])
        self.assertEqual(link.socket.writes, [])


class HealthTests(PassedOnTests):
    """A balancer looks whether we are well."""

    def silenced(self) -> bool:
        """Whether the last that has happened has no line where health checks have none."""
        lines = log_lines(self)
        AccessLog(Log(quiet=("health-checks",)), Clock())(self.events[-1])
        return not lines

    def test_connects_and_goes(self) -> None:
        """With a LOCAL header or with none at all, a FIN or a reset: it is a health check, as that of anybody."""
        for header in (b"", LOCAL.to_v2()):
            for end in (Link.fin, Link.reset):
                link = self.link()
                link.to_server(header) if header else None
                end(link)
                event = self.events[-1]
                assert isinstance(event, HandshakeFailed)
                self.assertIn(event.cause, (Cause.EOF, Cause.RESET))
                self.assertTrue(self.silenced())

    def test_with_tls(self) -> None:
        """So is a whole connection that the proxy makes for itself; one of a client is none."""
        for header, silenced in ((LOCAL, True), (HEADER, False), (UNKNOWN, False)):
            del self.handler.made[:]
            self.passed_on(header).reset()
            self.assertIsInstance(self.events[-1], Closed)
            self.assertEqual(self.silenced(), silenced)


class ReloadTests(PassedOnTests):
    """Other proxies from now on."""

    def served(self, link: Link, hosts: Hosts) -> int:
        """Serve these. @return: how many connections are of clients who may not enter any more"""
        factory: Any = link.factory
        factory.swap(hosts)
        found: list[Reviewed] = []
        factory.review(close=True).addCallback(found.append)
        self.clock.pump([0] * 3)
        return found[0].out

    def test_no_proxy_any_more(self) -> None:
        """Whom a proxy has named that is none any more may not stay; whom one that is may."""
        link = self.passed_on(HEADER)
        self.assertEqual(self.served(link, attrs.evolve(self.hosts)), 0)
        self.assertEqual(self.served(link, attrs.evolve(self.hosts, proxies=Proxies())), 1)
        link.pump()
        link.reset()
        event = self.events[-1]
        assert isinstance(event, Closed)
        self.assertEqual(event.cause, Cause.PROXY_HEADER)

    def test_networks(self) -> None:
        """The networks of clients are held against the client that was named, then too."""
        link = self.passed_on(HEADER)
        self.limited("203.0.113.0/24")
        self.assertEqual(self.served(link, self.hosts), 0)
        self.limited("192.0.2.0/24")
        self.assertEqual(self.served(link, self.hosts), 1)

    def test_in_the_middle(self) -> None:
        """Nor is it one whose header comes after that."""
        link = self.link()
        link.factory.swap(attrs.evolve(self.hosts, proxies=Proxies()))
        link.to_server(HEADER.to_v2())
        self.refused(link, Cause.PROXY_HEADER)

    def test_new_connections(self) -> None:
        """Who connects from then on is a proxy as the new hosts have it."""
        link = self.link()
        link.factory.swap(attrs.evolve(self.hosts, proxies=Proxies()))
        again = Link(handler=self.handler, factory=link.factory, clock=self.clock)
        again.handshake()
        event = self.events[-1]
        assert isinstance(event, ConnectionEvent)
        self.assertEqual((type(event), event.address), (Established, "192.0.2.1:50000"))
