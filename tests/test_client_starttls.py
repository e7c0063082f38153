"""STARTTLS of the client endpoint, in memory: a Clock, a socket that is none, and the test as the server."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from mytls.client import TLSClientEndpoint
from mytls.errors import Cause
from mytls.handlers.places import client_endpoint
from mytls.preludes import PROTOCOLS
from mytls.via.starttls import Agreed
from tests.lines import log_lines
from tests.memory import SERVER_ADDRESS, SocketInMemory
from tests.test_client import ClientTests, Dialled, serving
from tests.test_via import HTTP, YES, ProxyByHand

_SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
_LDAP_REQUEST = b"\x30\x1d\2\1\1\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
_XMPP_TLS = b"xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
_XMPP_STREAM = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    b"<stream:features><starttls " + _XMPP_TLS + b"/></stream:features>"
)

#: What a server of each protocol says until it has agreed, and how the client's answers end. The first of the turns is
#: what it says by itself.
AGREED: dict[str, list[tuple[bytes, bytes]]] = {
    "smtp": [
        (b"220-db ESMTP\r\n220 spam stays out\r\n", b"EHLO localhost\r\n"),
        (b"250-db\r\n250-PIPELINING\r\n250 STARTTLS\r\n", b"STARTTLS\r\n"),
        (b"220 go ahead\r\n", b""),
    ],
    "imap": [(b"* OK [CAPABILITY IMAP4rev1] db\r\n", b"tls STARTTLS\r\n"), (b"tls OK begin\r\n", b"")],
    "pop3": [(b"+OK db <1@db>\r\n", b"STLS\r\n"), (b"+OK begin\r\n", b"")],
    "sieve": [(b'"SIEVE" "fileinto"\r\n"STARTTLS"\r\nOK\r\n', b"STARTTLS\r\n"), (b"OK\r\n", b"")],
    "postgres": [(b"", _SSL_REQUEST), (b"S", b"")],
    "ldap": [(b"", _LDAP_REQUEST), (b"\x30\x0c\2\1\1\x78\7\x0a\1\0\4\0\4\0", b"")],
    "xmpp": [
        (b"", b" to=\"localhost\" version='1.0'>"),
        (_XMPP_STREAM, b"<starttls " + _XMPP_TLS + b"/>"),
        (b"<proceed " + _XMPP_TLS + b"/>", b""),
    ],
}
#: What a client waits for that has had no greeting under TLS.
WELCOMES = {"smtp": b"220 localhost ESMTP\r\n", "imap": b"* OK localhost\r\n", "pop3": b"+OK localhost\r\n"}
#: What a server says in place of its last words, and what the error says of that.
NO: dict[str, list[tuple[bytes, str]]] = {
    "smtp": [(b'454 4.7.0 "TLS" is\x1b[31m out\r\n', r'it says "454\x204.7.0\x20\x22TLS\x22\x20is\x1b[31m\x20out"')],
    "imap": [(b"tls NO not now\r\n", r'it says "tls\x20NO\x20not\x20now"'), (b"* BYE\r\n", 'it says "*\\x20BYE"')],
    "pop3": [(b"-ERR no\r\n", r'it says "-ERR\x20no"')],
    "sieve": [(b"NO\r\n", 'it says "NO"'), (b"BYE\r\n", 'it says "BYE"')],
    "postgres": [(b"N", "it does not offer TLS"), (b"E", 'it says "E"'), (b"\x15", r'it says "\x15"')],
    "ldap": [(b"\x30\x0e\2\1\1\x78\x09\x0a\1\x34\4\0\4\2no", 'it answers StartTLS with the result 52, "no"')],
    "xmpp": [(b"<failure " + _XMPP_TLS + b"/>", r"urn:ietf:params:xml:ns:xmpp-tls\x20failure")],
}
#: What nobody of these may say: another protocol, TLS itself, and much without an end.
STRANGE = (b"HTTP/1.1 400 <Bad/>\r\n\r\n", b"\x16\x03\x03\x00\x7a\x02\r\n>", b"\0" * 10_000, b"x" * 10_000)


class AgreedTests(ClientTests):
    """A server that begins in the clear."""

    def asked(self, protocol: str, **said: Any) -> tuple[Deferred[Any], ProxyByHand]:
        """Somebody connects, and the server was reached."""
        done = self.connect(starttls=protocol, **said)
        return done, ProxyByHand(self.dialled, serving())

    def talk(self, server: ProxyByHand, protocol: str, size: int = 1 << 20, turns: int = 9) -> None:
        """The server says its part, in pieces of this size, and hears the client's. @param turns: how many of them"""
        for said, heard in AGREED[protocol][:turns]:
            server.say(said, size)
            got = server.heard()
            if heard:
                self.assertEqual(got[-len(heard) :], heard)
            else:
                self.assertEqual(got[:2], b"\x16\x03")
                server.server.socket.wire += got

    def test_connect(self) -> None:
        """In each protocol, whole and byte by byte: TLS is agreed upon, data goes both ways; a greeting is ours."""
        self.assertEqual(set(AGREED), set(PROTOCOLS))
        for protocol in AGREED:
            for size in (1, 3, 1 << 20):
                self.made.made.clear()
                done, server = self.asked(protocol)
                self.talk(server, protocol, size)
                self.assertEqual(self.made.made, [])
                server.server.pump()
                made = self.successResultOf(done)
                self.assertEqual(made.data, WELCOMES.get(protocol, b""))
                made.transport.write(b"hello")
                server.server.pump()
                server.server.send(b"world")
                self.assertEqual(server.server.received, b"hello")
                self.assertEqual(made.data, WELCOMES.get(protocol, b"") + b"world")
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no(self) -> None:
        """A server that says no is left, and the error has what it said, in one line that is safe."""
        for protocol, answers in NO.items():
            for answer, expected in answers:
                for size in (1, 1 << 20):
                    done, server = self.asked(protocol)
                    self.talk(server, protocol, turns=len(AGREED[protocol]) - 1)
                    server.say(answer, size)
                    error = self.refused(done)
                    self.assertIs(error.cause, Cause.NOT_TLS)
                    self.assertIn(expected, error.detail)
                    self.assertTrue(error.detail.startswith(f"starttls={protocol}: "), error.detail)
                    self.assertTrue(str(error).isprintable() and str(error).isascii())
                    self.assertIsNotNone(server.server.socket.lost)
                    self.assertNotIn(b"\x16\x03", server.heard())

    def test_more_behind_the_yes(self) -> None:
        """Bytes in the clear behind the agreement end it (CVE-2011-0411, CVE-2021-23222); none is ever delivered."""
        for protocol, turns in AGREED.items():
            done, server = self.asked(protocol)
            self.talk(server, protocol, turns=len(turns) - 1)
            server.say(turns[-1][0] + b"\0")
            self.assertEqual(
                str(self.refused(done)), f"not-tls: starttls={protocol}: there is more in the clear behind STARTTLS"
            )
            self.assertIsNotNone(server.server.socket.lost)

    def test_more_in_the_next_piece(self) -> None:
        """The same a moment later, when the hello is on its way: that is no TLS."""
        for protocol in AGREED:
            done, server = self.asked(protocol)
            self.talk(server, protocol)
            server.say(b"* OK injected\r\n")
            error = self.refused(done)
            self.assertIs(error.cause, Cause.NOT_TLS)
            self.assertIn("the server does not speak TLS", error.detail)

    def test_strangers(self) -> None:
        """Whoever speaks something else, or without an end, is left at once; at each turn, in pieces of any size."""
        for protocol, turns in AGREED.items():
            for turn in range(len(turns)):
                for strange in STRANGE:
                    for size in (1, 1000):
                        if turns[turn][0] == b"":
                            continue
                        done, server = self.asked(protocol)
                        self.talk(server, protocol, turns=turn)
                        server.say(strange, size)
                        self.assertTrue(done.called, (protocol, turn, strange[:20]))
                        self.assertIs(self.refused(done).cause, Cause.NOT_TLS)
                        self.assertIsNotNone(server.server.socket.lost)

    def test_nothing_of_ours_before_the_yes(self) -> None:
        """Without the agreement there is no hello, whatever else is said."""
        for protocol, turns in AGREED.items():
            done, server = self.asked(protocol)
            self.talk(server, protocol, turns=len(turns) - 1)
            server.say(turns[-1][0][:-1])
            self.assertEqual(server.heard(), b"")
            self.assertNoResult(done)

    def test_end(self) -> None:
        """A server that closes, by a FIN, at once or with a reset, has not agreed."""
        closed = "backend-refused: starttls=smtp: the server closed the connection before it had answered"
        for turns in (0, 1, 2):
            done, server = self.asked("smtp")
            self.talk(server, "smtp", turns=turns)
            server.server.protocol.readConnectionLost()
            self.assertEqual(str(self.refused(done)), closed)
            self.assertIsNotNone(server.server.socket.lost)
            done, server = self.asked("smtp")
            self.talk(server, "smtp", turns=turns)
            server.server.socket.lose(ConnectionLost())
            self.assertIn("backend-refused: starttls=smtp: Connection to the other side", str(self.refused(done)))

    def test_not_reached(self) -> None:
        """That nobody listens has nothing to do with STARTTLS."""
        done = self.connect(starttls="smtp")
        self.dialled.waiting.pop()[1].errback(ConnectionRefusedError())
        self.assertEqual(str(self.refused(done)), "backend-refused: Connection was refused by other side")

    def test_time(self) -> None:
        """The dialogue is in the endpoint's time; silence, as of a port that waits for TLS, is named."""
        done, server = self.asked("smtp", timeout=7)
        self.clock.advance(7)
        said = "backend-timeout: there was no connection, or no yes to starttls=smtp, within 7 s"
        self.assertEqual(str(self.refused(done)), said)
        self.assertIsNotNone(server.server.socket.lost)
        done, server = self.asked("smtp", timeout=7)
        self.clock.advance(6)
        self.talk(server, "smtp")
        self.clock.advance(1)
        self.assertEqual(str(self.refused(done)), "handshake-timeout: the handshake was not done within 7 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """Everything is dropped, whenever it is."""
        for turns in (0, 1, 2, 3):
            done, server = self.asked("smtp")
            self.talk(server, "smtp", turns=turns)
            done.cancel()
            self.failureResultOf(done)
            self.assertIsNotNone(server.server.socket.lost)
        self.assertEqual((self.made.made, self.clock.getDelayedCalls()), ([], []))

    def test_wrong_server(self) -> None:
        """Who has agreed still has to be who it should be."""
        done = self.connect(starttls="imap")
        server = ProxyByHand(self.dialled, serving("other.example"))
        self.talk(server, "imap")
        server.server.pump()
        self.assertIs(self.refused(done).cause, Cause.NOT_ALLOWED)

    def test_preamble(self) -> None:
        """A PROXY header is what the server hears first: it is for whoever accepts, ahead of the dialogue."""
        for protocol, turns in AGREED.items():
            endpoint = self.endpoint(starttls=protocol)
            done = endpoint.connect(self.made, lambda transport: b"PROXY UNKNOWN\r\n")
            server = ProxyByHand(self.dialled, serving())
            self.assertEqual(bytes(server.server.socket.wire)[:15], b"PROXY UNKNOWN\r\n")
            if turns[0][0]:
                self.assertEqual(server.heard(), b"PROXY UNKNOWN\r\n")
            self.talk(server, protocol)
            server.server.pump()
            self.successResultOf(done)

    def test_through_a_proxy(self) -> None:
        """The proxy comes first, then the PROXY header, then the dialogue; each says what of it was wrong."""
        endpoint = self.endpoint(starttls="imap", via=HTTP)
        done = endpoint.connect(self.made, lambda transport: b"PROXY UNKNOWN\r\n")
        way = ProxyByHand(self.dialled, serving())
        self.assertEqual(way.heard().split(b"\r\n")[0], b"CONNECT localhost:443 HTTP/1.1")
        way.say(YES, 1)
        self.assertEqual(way.heard(), b"PROXY UNKNOWN\r\n")
        self.talk(way, "imap", 1)
        way.server.pump()
        made: Any = self.successResultOf(done)
        self.assertEqual(made.data, WELCOMES["imap"])
        self.made.made.clear()
        for answers, expected in (
            ([b"HTTP/1.1 403 No\r\n\r\n"], 'backend-refused: via proxy.example:3128: the proxy answers 403 "No"'),
            ([YES, b"* PREAUTH\r\n"], r'not-tls: starttls=imap: it says "*\x20PREAUTH" where OK is expected'),
        ):
            done = self.connect(starttls="imap", via=HTTP)
            way = ProxyByHand(self.dialled, serving())
            for answer in answers:
                way.say(answer)
            self.assertEqual(str(self.refused(done)).replace("starttls=imap: via", "via"), expected)

    def test_name(self) -> None:
        """The name that a server of XMPP is asked for is the one that its certificate has to have."""
        done = self.connect(starttls="xmpp", server_name="chat.example")
        server = ProxyByHand(self.dialled, serving("chat.example"))
        self.assertIn(b' to="chat.example" ', server.heard())
        server.say(_XMPP_STREAM)
        server.heard()
        server.say(AGREED["xmpp"][-1][0])
        server.server.pump()
        self.successResultOf(done)

    def test_paused(self) -> None:
        """Who wants nothing yet gets the greeting later, and ahead of what the server says."""

        class Pausing(Protocol):
            data = b""

            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.pauseProducing()

            def dataReceived(self, data: bytes) -> None:
                self.data += data

        made: Any = Pausing()
        self.made.make = lambda: made
        _, server = self.asked("pop3")
        self.talk(server, "pop3")
        server.server.pump()
        server.server.send(b"-ERR slow down\r\n")
        self.assertEqual(made.data, b"")
        made.transport.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(made.data, WELCOMES["pop3"] + b"-ERR slow down\r\n")

    def test_no_traceback(self) -> None:
        """Nothing of this is more than the one error."""
        lines = log_lines(self)
        for data in (b"\xff\xfe\0", b"220 \r\n250\r\n", b"", b"220 a\r\n250-\xff\r\n"):
            done, server = self.asked("smtp")
            server.say(data)
            server.server.socket.lose(ConnectionLost())
            self.refused(done)
        self.assertEqual(lines, [])

    def test_nothing_is_left(self) -> None:
        """What was lost or refused is gone at once: nobody has to look for garbage."""
        gc.disable()
        self.addCleanup(gc.enable)
        for turns in (0, 1, 3):
            done, server = self.asked("smtp")
            attempt = weakref.ref(done._canceller.__self__)  # type: ignore[union-attr]
            self.talk(server, "smtp", turns=turns)
            server.server.pump()
            server.server.socket.unregisterProducer()  # as a lost transport of Twisted's does
            server.server.socket.lose(ConnectionLost())
            done.addErrback(lambda _: None)
            self.made.made.clear()
            del server, done
            self.assertIsNone(attempt(), turns)


class EndpointTests(ClientTests):
    """As class and as string."""

    def test_interface(self) -> None:
        """What agrees is an endpoint like any other."""
        dialled = Dialled()
        endpoint = Agreed(dialled, "postgres", "localhost")
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        done = endpoint.connect(self.made)
        factory, _ = dialled.waiting[0]
        protocol = factory.buildProtocol(SERVER_ADDRESS)
        protocol.makeConnection(SocketInMemory(protocol))
        protocol.dataReceived(b"S")
        self.assertIs(self.successResultOf(done), self.made.made[0])

    def test_string(self) -> None:
        """`starttls=` of a string; a protocol that is not known is one line."""
        reactor = MemoryReactorClock()
        endpoint = client_endpoint(reactor, f"mytls:localhost:587:starttls=smtp:trustRoots={self.root}")
        self.assertIsInstance(endpoint, TLSClientEndpoint)
        for written, said in (
            ("smpt", "starttls: 'smpt' is not known here; did you mean 'smtp'?"),
            ("", "starttls: "),
        ):
            with self.assertRaises(ValueError) as caught:
                client_endpoint(reactor, f"mytls:localhost:587:starttls={written}")
            self.assertTrue(str(caught.exception).startswith(said), str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))
