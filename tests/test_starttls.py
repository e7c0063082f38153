"""STARTTLS of a listener: what clients hear before TLS, what they must not do, and what a backend hears of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.beginning import Beginning
from mytls.changes import changes
from mytls.configfile import settings_from_file
from mytls.errors import Cause, ConfigurationError
from mytls.events import Event, HandshakeFailed, Observers
from mytls.guards.sources import Proxies, Sources
from mytls.handlers import handler_from_string
from mytls.handlers.places import Place
from mytls.handlers.proxy import ProxyFactory
from mytls.hosts import Host, Hosts
from mytls.keys import LISTENER_KEYS
from mytls.kinds import network
from mytls.listener import TLSFactory
from mytls.loading import Loading, load
from mytls.preludes import PROTOCOLS, Prelude, prelude
from mytls.preludes.dialogue import MAX_BYTES
from mytls.proxyheader import ProxyHeader
from mytls.settings import BackendSettings, Deadlines, ListenerSettings, Settings
from mytls.strings import listener_from_string
from mytls.tls.contexts import connection_maker
from mytls.tls.files import Files
from tests.files import folder, write_pair
from tests.handlers.test_proxy import LostLater, ProxyTests, TLSBackend
from tests.memory import CLIENT_ADDRESS, Link, RecorderFactory, SocketInMemory, authority, tls_options
from tests.tls.test_hello import client_hello

PROXY = CLIENT_ADDRESS
HEADER = ProxyHeader(IPv4Address("TCP", "203.0.113.7", 40000), IPv4Address("TCP", "198.51.100.2", 25))

GREETING = b"220 mail.example ESMTP\r\n"
EHLO, OFFER = b"EHLO client\r\n", b"250-mail.example\r\n250 STARTTLS\r\n"
STARTTLS, GO_ON = b"STARTTLS\r\n", b"220 2.0.0 begin TLS\r\n"


class ListenerTests(SynchronousTestCase):
    """A listener whose clients begin with SMTP."""

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.handler = RecorderFactory()
        self.clock = Clock()
        self.hosts = Hosts(Host(connection_maker(tls_options())), prelude=Prelude("smtp", "mail.example"))

    def link(self) -> Link:
        """Somebody has connected."""
        observers = Observers([self.events.append])
        self.factory = TLSFactory(self.hosts, self.handler, self.clock, Deadlines(), observers)
        return Link(handler=self.handler, factory=self.factory, clock=self.clock)

    def heard(self, link: Link) -> bytes:
        """What the client has heard since it was asked last, in the clear."""
        sent = bytes(link.socket.wire)
        link.socket.wire.clear()
        return sent

    def failed(self, cause: Cause) -> HandshakeFailed:
        """Assert that there was no handshake, for this cause, and no handler."""
        event = self.events[-1]
        assert isinstance(event, HandshakeFailed), self.events
        self.assertEqual((event.cause, self.handler.made), (cause, []))
        return event

    def assert_serves(self, link: Link) -> None:
        """TLS begins now, and what is said under it is the handler's."""
        link.handshake()
        link.client.send(b"under TLS")
        link.pump()
        self.assertEqual(link.recorder.data, b"under TLS")


class ConnectionTests(ListenerTests):
    """One connection, until TLS begins on it."""

    def test_agreed(self) -> None:
        """It is greeted and answered until it asks for TLS, in pieces of any size; the handler hears nothing of it."""
        for piece in (1, 3, 1 << 20):
            del self.handler.made[:]
            link = self.link()
            self.assertEqual(self.heard(link), GREETING)
            link.to_server(EHLO, piece)
            self.assertEqual(self.heard(link), OFFER)
            link.to_server(STARTTLS, piece)
            self.assertEqual((self.heard(link), self.handler.made), (GO_ON, []))
            self.assert_serves(link)

    def test_postgres_begins_at_once(self) -> None:
        """A client of PostgreSQL that asks for nothing and begins with its ClientHello is served, as one that asks."""
        self.hosts = Hosts(self.hosts.unknown, prelude=Prelude("postgres"))
        self.assert_serves(self.link())
        del self.handler.made[:]
        link = self.link()
        link.to_server(b"\0\0\0\x08\x04\xd2\x16\x2f")
        self.assertEqual(self.heard(link), b"S")
        self.assert_serves(link)

    def test_pipelined(self) -> None:
        """What is pipelined behind STARTTLS is refused in the protocol's own words, and never heard under TLS."""
        for behind in (b"RSET\r\n", b"x", client_hello()):
            link = self.link()
            link.to_server(EHLO + STARTTLS + behind)
            last_words = b"554 5.5.1 there is more in the clear behind STARTTLS\r\n"
            self.assertEqual(self.heard(link), GREETING + OFFER + last_words)
            self.failed(Cause.NOT_TLS)
            self.assertTrue(link.socket.fin_sent)
            link.to_server(client_hello())
            self.assertEqual(self.heard(link), b"")

    def test_no_alert_before(self) -> None:
        """To TLS before STARTTLS the answer is in SMTP; there is no alert, which nobody would understand."""
        link = self.link()
        link.to_server(client_hello())
        self.assertEqual(self.heard(link), GREETING + b"554 5.5.1 TLS begins before STARTTLS\r\n")
        self.failed(Cause.NOT_TLS)

    def test_no_tls_after(self) -> None:
        """What comes after the agreement is TLS's: more SMTP is answered with an alert."""
        link = self.link()
        link.to_server(STARTTLS)
        self.heard(link)
        link.to_server(b"MAIL FROM:<a@b.example>\r\n")
        self.assertEqual(self.heard(link)[:1], b"\x15")
        self.failed(Cause.NOT_TLS)

    def test_goodbye(self) -> None:
        """Who says goodbye hears ours, and then the end of our direction, though it has not ended its own."""
        link = self.link()
        link.to_server(b"QUIT\r\n")
        self.assertEqual(self.heard(link), GREETING + b"221 2.0.0 mail.example\r\n")
        self.failed(Cause.EOF)
        self.assertEqual((link.socket.fin_sent, link.socket.lost), (True, None))
        link.fin()
        self.assertIsNotNone(link.socket.lost)

    def test_cut(self) -> None:
        """An end in the middle is one as of anybody; a reset too."""
        link = self.link()
        link.to_server(EHLO)
        link.fin()
        self.assertEqual(self.failed(Cause.EOF).detail, "the peer closed the connection before it asked for TLS")
        link = self.link()
        link.reset()
        self.failed(Cause.RESET)

    def test_deadline(self) -> None:
        """The handshake's time runs from the start: who keeps talking in the clear has no more than others."""
        link = self.link()
        self.clock.advance(Deadlines().handshake - 1)
        link.to_server(b"NOOP\r\n")
        self.clock.advance(1)
        self.failed(Cause.HANDSHAKE_TIMEOUT)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_reload(self) -> None:
        """After a reload new clients begin otherwise; one that is in the middle goes on as it has begun."""
        link = self.link()
        self.factory.swap(Hosts(self.hosts.unknown))
        link.to_server(EHLO + STARTTLS)
        self.assertEqual(self.heard(link), GREETING + OFFER + GO_ON)
        self.assert_serves(link)
        del self.handler.made[:]
        later = Link(handler=self.handler, factory=self.factory, clock=self.clock)
        self.assertEqual(self.heard(later), b"")
        self.assert_serves(later)


class PassedOnTests(ListenerTests):
    """A proxy in front, that says first where the client is."""

    def setUp(self) -> None:
        super().setUp()
        proxies = Proxies((network(PROXY.host),))
        self.hosts = Hosts(self.hosts.unknown, proxies=proxies, prelude=self.hosts.prelude)

    def test_header_first(self) -> None:
        """Nothing is said before the PROXY header is whole; what comes right behind it is answered."""
        for header in (HEADER.to_v1(), HEADER.to_v2()):
            del self.handler.made[:]
            link = self.link()
            link.to_server(header[:-1], 1)
            self.assertEqual(self.heard(link), b"")
            link.to_server(header[-1:] + EHLO)
            self.assertEqual(self.heard(link), GREETING + OFFER)
            link.to_server(STARTTLS)
            self.heard(link)
            self.assert_serves(link)

    def test_refused_without_a_word(self) -> None:
        """A client that may not connect from where it is, and one without a header, hear nothing."""
        sources = Sources((network("10.0.0.0/8"),))
        self.hosts = Hosts(self.hosts.unknown, sources=sources, proxies=self.hosts.proxies, prelude=self.hosts.prelude)
        for said, cause in ((HEADER.to_v2() + EHLO, Cause.FROM), (EHLO, Cause.PROXY_HEADER)):
            link = self.link()
            link.to_server(said)
            self.failed(cause)
            self.assertEqual((self.heard(link), link.socket.fin_sent), (b"", True))

    def test_cut(self) -> None:
        """An end says where it was: within the header, or behind it."""
        said: list[bytes] = []
        for size, cause in ((1, Cause.PROXY_HEADER), (len(HEADER.to_v2()), Cause.EOF)):
            beginning = Beginning(lambda header: None, prelude("smtp"), said.append)
            beginning.begin()
            beginning.feed(HEADER.to_v2()[:size])
            self.assertIs(beginning.cut().cause, cause)
        self.assertEqual(said, [b"220 localhost ESMTP\r\n"])


class SettingsTests(SynchronousTestCase):
    """The key `starttls`."""

    def setUp(self) -> None:
        self.folder = folder(self)
        write_pair(self.folder, "mail.example")
        self.listener = (
            f'[[listener]]\nendpoint = "mytls:25"\nstarttls = "smtp"\ncertificate = "{self.folder}/mail.example.pem"\n'
            f'private-key = "{self.folder}/mail.example.key"\n'
        )

    def read(self, text: str) -> ListenerSettings:
        """The one listener of a file."""
        (listener,) = settings_from_file("m.toml", text.encode("utf-8"), folder=str(self.folder)).listeners
        return listener

    def refused(self, text: str, line: str) -> None:
        """Assert that a file is refused in this one line."""
        self.assertEqual(str(self.assertRaises(ConfigurationError, self.read, text)), line)

    def test_protocols(self) -> None:
        """Its values are the protocols that there are preludes for."""
        (key,) = [key for key in LISTENER_KEYS if key.name == "starttls"]
        self.assertEqual([key.value_of(each) for each in PROTOCOLS], list(PROTOCOLS))
        error = self.assertRaises(ConfigurationError, key.value_of, "ftp")
        self.assertIn("starttls: ", str(error))

    def test_of_all_hosts(self) -> None:
        """What a listener says its hosts have, and so have their handlers; it stands in the string as well."""
        host = '[[listener.host]]\nnames = ["a.example"]\nhandler = "proxy:tcp:127.0.0.1:1"\n'
        (made,) = self.read(self.listener + host).hosts
        self.assertEqual(made.backend, BackendSettings(starttls="smtp"))
        of_string = listener_from_string("mytls:25:certKey=a.pem:starttls=pop3:handler=proxy\\:tcp\\:127.0.0.1\\:1")
        self.assertEqual(of_string.base.backend, BackendSettings(starttls="pop3"))

    def test_belongs_to_the_listener(self) -> None:
        """Nobody has said a name when the first word is said, so no host has it alone."""
        self.refused(
            self.listener + 'handler = "echo"\n[[listener.host]]\nnames = ["a.example"]\nstarttls = "imap"\n',
            "m.toml:9: starttls: belongs in [[listener]]",
        )

    def test_passthrough(self) -> None:
        """A backend that gets the TLS alone cannot know that it has begun."""
        trouble = "cannot be behind starttls: nobody has said it to the backend, which gets the TLS alone; say proxy:"
        passing = 'handler = "passthrough:tcp:127.0.0.1:1"\n'
        self.refused(
            f'{self.listener}handler = "echo"\n[[listener.host]]\nnames = ["a.example"]\n{passing}',
            f"m.toml:9: handler=passthrough:tcp:127.0.0.1:1: {trouble}",
        )
        self.refused(
            f'[[listener]]\nendpoint = "mytls:25"\nstarttls = "smtp"\n{passing}',
            f"m.toml:4: handler=passthrough:tcp:127.0.0.1:1: {trouble}",
        )

    def test_without_tls(self) -> None:
        """Nor is there TLS to ask for where we add none."""
        text = '[[listener]]\nendpoint = "tcp:25"\nhandler = "echo"\nstarttls = "smtp"\n'
        error = self.assertRaises(ConfigurationError, self.read, text)
        self.assertIn("m.toml:4: starttls: of no use with tcp:, to which mytls adds no TLS", str(error))

    def test_name(self) -> None:
        """A server says the first of its names that is one."""
        for hosts, name in (
            ("", "mail.example"),
            ('[[listener.host]]\nnames = ["*.a.example"]\n', "localhost"),
            ('[[listener.host]]\nnames = ["*.a.example", "b.example", "c.example"]\n', "b.example"),
        ):
            loaded = load(self.read(f'{self.listener}handler = "echo"\n{hosts}'), Loading(Files()))
            self.assertEqual(loaded.hosts.prelude, Prelude("smtp", name))

    def test_changes(self) -> None:
        """What a reload changes of it is told; the contexts of the hosts stay."""
        text = self.listener + 'handler = "echo"\n'
        before = load(self.read(text), Loading(Files())).hosts
        after = load(self.read(text.replace('starttls = "smtp"\n', "")), Loading(Files())).hosts
        self.assertEqual(changes("here", before, after), ["here: starttls smtp as mail.example -> off"])
        self.assertEqual([host.digest for host in before.all], [host.digest for host in after.all])


class GreetingTests(ProxyTests):
    """A backend of `proxy:` that greets a client who was greeted before."""

    def smtp(self, *backends: str) -> Any:
        """A proxy whose clients have begun with STARTTLS."""
        string = f"proxy:{','.join(backends or ('tcp:backend.example:25',))}"
        return handler_from_string(self.reactor, string, Settings(backend=BackendSettings(starttls="smtp")))

    def test_kept(self) -> None:
        """The backend hears nothing before it has greeted, and the client nothing of that; then all of it."""
        client, socket = self.client(self.smtp())
        client.dataReceived(b"EHLO me\r\n")
        backend = self.accept()
        backend.protocol.dataReceived(b"220-wait\r\n22")
        self.assertEqual((bytes(backend.wire), bytes(socket.wire)), (b"", b""))
        backend.protocol.dataReceived(b"0 backend\r\n")
        self.assertEqual((bytes(backend.wire), bytes(socket.wire)), (b"EHLO me\r\n", b""))
        backend.protocol.dataReceived(b"250 backend\r\n")
        self.assertEqual((bytes(socket.wire), self.pending()), (b"250 backend\r\n", []))

    def test_says_more(self) -> None:
        """What follows the greeting at once is the client's."""
        _, socket = self.client(self.smtp())
        self.accept().protocol.dataReceived(b"220 backend\r\n421 no more\r\n")
        self.assertEqual(bytes(socket.wire), b"421 no more\r\n")

    def test_says_no(self) -> None:
        """One that greets with a no has its end carried on."""
        _, socket = self.client(self.smtp())
        backend = self.accept()
        backend.protocol.dataReceived(b"554 not today\r\n")
        backend.protocol.readConnectionLost()
        self.assertEqual((bytes(socket.wire), socket.fin_sent), (b"554 not today\r\n", True))

    def test_header_first(self) -> None:
        """A PROXY header goes to the backend ahead of its greeting, which may wait for it."""
        made = self.smtp()
        self.client(ProxyFactory(self.reactor, made.places, header="v1", greets="smtp"))
        self.assertTrue(bytes(self.accept().wire).startswith(b"PROXY TCP4 "))

    def test_does_not_greet(self) -> None:
        """One that says nothing, all sorts of things, or goodbye is left for the next, which greets."""

        def ends(backend: SocketInMemory) -> None:
            backend.protocol.readConnectionLost()

        def closes(backend: SocketInMemory) -> None:
            backend.loseConnection()

        def talks(backend: SocketInMemory) -> None:
            backend.protocol.dataReceived(b"220-" + b"x" * MAX_BYTES)

        def waits(backend: SocketInMemory) -> None:
            self.reactor.advance(Deadlines().connect / 2)

        for fail, line in {
            ends: "it closed the connection before its greeting",
            closes: "it closed the connection before its greeting",
            talks: f"the backend has said {MAX_BYTES} bytes and not greeted",
            waits: "it was not ready within 5 s",
        }.items():
            del self.lines[:], self.reactor.tcpClients[:]
            client, socket = self.client(self.smtp("tcp:one.example:25", "tcp:two.example:25"))
            client.dataReceived(b"EHLO me\r\n")
            first = self.accept()
            fail(first)
            self.assertEqual(self.lines, [f"no backend at tcp:one.example:25: {line}"])
            self.assertEqual((bytes(first.wire), first.lost is None), (b"", False))
            second = self.accept(1)
            second.protocol.dataReceived(b"220 two\r\n")
            self.assertEqual((bytes(second.wire), bytes(socket.wire), socket.lost), (b"EHLO me\r\n", b"", None))
            self.assertEqual(self.pending(), [])

    def test_too_late(self) -> None:
        """A greeting that comes when the client has gone: what that had said is sent, and then the end."""
        client, socket = self.client(self.smtp())
        client.dataReceived(b"EHLO me\r\n")
        protocol: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        backend = LostLater(protocol, self.reactor)
        protocol.makeConnection(backend)
        client.connectionLost()
        protocol.dataReceived(b"220 backend\r\n")
        self.reactor.advance(0)
        self.assertEqual((bytes(backend.wire), bytes(socket.wire)), (b"EHLO me\r\n", b""))
        self.assertIsInstance(backend.lost, ConnectionDone)

    def test_others_do_not_wait(self) -> None:
        """Where nothing was said in the clear the backend's greeting is the client's."""
        _, socket = self.client()
        self.accept().protocol.dataReceived(b"220 backend\r\n")
        self.assertEqual(bytes(socket.wire), b"220 backend\r\n")

    def test_over_tls(self) -> None:
        """Where the backend has TLS of its own, what counts is what it says under that."""
        root = Certificate.loadPEM(authority().cert_pem.bytes())
        options = optionsForClientTLS("localhost", trustRootFromCertificates([root]))
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(self.reactor, "localhost", 465), self.reactor)
        client, socket = self.client(ProxyFactory(self.reactor, [Place("tls:localhost:465", endpoint)], greets="smtp"))
        client.dataReceived(b"EHLO me\r\n")
        backend = TLSBackend(self.reactor, "localhost", False)
        backend.pump()
        self.assertEqual(bytes(backend.received), b"")
        backend.tls.send(b"220 backend\r\n")
        backend.pump()
        self.assertEqual((bytes(backend.received), bytes(socket.wire)), (b"EHLO me\r\n", b""))
