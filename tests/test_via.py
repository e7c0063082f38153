"""Out through a proxy, in memory: a Clock, a socket that is none, and the test as the proxy."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from base64 import b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mytls.attempt import TLSConnectError
from mytls.client import LOOK, TLSClientEndpoint
from mytls.destinations import Login, Via, via
from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.handlers import handler_from_string
from mytls.handlers.places import client_endpoint
from mytls.via.connect import LONGEST, Connect
from mytls.via.endpoint import Talk, Through
from mytls.via.socks5 import WORDS, Socks5
from tests.lines import log_lines
from tests.memory import SERVER_ADDRESS, Recorder, RecorderFactory, SocketInMemory
from tests.test_client import ClientTests, Dialled, Server, aside, serving

HTTP, SOCKS = "http://proxy.example:3128", "socks5://proxy.example:1080"
ME = Login(b"me", b"se:cret")

YES = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"
#: A proxy's yes, with the address that it connects from.
YES_FROM = {
    "IPv4": b"\x05\x00\x00\x01\xc0\x00\x02\x01\xc3\x50",
    "IPv6": b"\x05\x00\x00\x04" + bytes(16) + b"\xc3\x50",
    "a name": b"\x05\x00\x00\x03\x07example\xc3\x50",
}

#: What is no proxy, and what is said of it.
WRONG = {
    "": "'' is no proxy; expected one such as http://proxy.example:3128",
    "proxy.example:3128": "'proxy.example:3128' is no proxy; expected one such as http://proxy.example:3128",
    "http://proxy.example:3128/path": "'http://proxy.example:3128/path' is no proxy; expected one such as "
    "http://proxy.example:3128",
    "http://proxy.example": "there is no port; expected for example http://proxy.example:3128",
    "http://proxy.example:": "'' is not a port; expected a number from 0 to 65535",
    "http://proxy.example:0": "'0' is not a port to connect to; expected a number from 1 to 65535",
    "http://:3128": "'' is no host name; expected one such as api.example or *.api.example",
    "http://*.example:3128": "'*.example' is the name of many; expected that of one server",
    "https://proxy.example:3128": "'https' is not known here; expected one of: http, socks5, which go in the clear",
    "socks5h://proxy.example:1080": "'socks5h' is not known here; did you mean 'socks5'?",
    "socks4://proxy.example:1080": "'socks4' is not known here; did you mean 'socks5'?",
    "ftp://proxy.example:1": "'ftp' is not known here; expected one of: http, socks5",
    "http://me:hunter2@proxy.example:3128": "a password does not belong where many can read it; say viaPasswordFile",
    "http://me:hunter2@proxy:example:3128": "what stands there is no proxy; expected one such as "
    "http://proxy.example:3128",
    "http://@proxy.example:3128": '"" is no user\'s name; expected 1 to 255 bytes that print, and no colon',
    "http://a%3ab@proxy.example:3128": '"a:b" is no user\'s name; expected 1 to 255 bytes that print, and no colon',
    "http://a%0ab@proxy.example:3128": '"a\\x0ab" is no user\'s name; expected 1 to 255 bytes that print, and no colon',
    "http://%ff@proxy.example:3128": "the user's name is not in UTF-8",
}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def conversation(talk: Talk, answers: list[bytes], size: int = 1 << 20) -> list[bytes]:
    """What is said at each turn, while the proxy says this. @param size: how many bytes come at a time"""
    said = [talk.begin()]
    for answer in answers:
        said.append(b"".join(talk.feed(each) for each in pieces(answer, size)))
    return said


class WrittenTests(SynchronousTestCase):
    """How a proxy is written."""

    def test_proxies(self) -> None:
        """Scheme, user, host and port, in one spelling."""
        for written, expected in {
            "http://proxy.example:3128": Via("http", "proxy.example", 3128),
            "HTTP://Proxy.Example:3128/": Via("http", "proxy.example", 3128),
            "socks5://127.0.0.1:1080": Via("socks5", "127.0.0.1", 1080),
            "socks5://me@[2001:db8:0::7]:1080": Via("socks5", "2001:db8::7", 1080, "me"),
            "http://me%40corp%20x@proxy.example:1": Via("http", "proxy.example", 1, "me@corp x"),
            "http://b%C3%BCro@proxy.example:1": Via("http", "proxy.example", 1, "büro"),
        }.items():
            self.assertEqual(via(written), expected)
        self.assertEqual(str(via("socks5://me@[::1]:1080")), "[::1]:1080")

    def test_what_is_none(self) -> None:
        """Each is one line; nothing that may be a password is said again."""
        for written, expected in WRONG.items():
            with self.assertRaises(ConfigurationError, msg=written) as caught:
                via(written)
            self.assertEqual(str(caught.exception), expected)
            self.assertNotIn("hunter2", str(caught.exception))

    def test_long_user(self) -> None:
        """SOCKS 5 has a byte for the length of a name."""
        self.assertEqual(via(f"socks5://{'a' * 255}@p:1").user, "a" * 255)
        self.assertRaises(ConfigurationError, via, f"socks5://{'a' * 256}@p:1")

    @given(st.text())
    @settings(derandomize=True, deadline=None)
    def test_any_text(self, text: str) -> None:
        """It is a proxy, or one line."""
        try:
            via(f"http://{text}")
        except ConfigurationError as error:
            self.assertEqual(len(error.lines), 1)

    def test_login_hides_its_password(self) -> None:
        """Whoever prints it sees who, and not how."""
        self.assertEqual(repr(ME), "Login(user=b'me')")


class TalkTests(SynchronousTestCase):
    """What every talk keeps."""

    def refused(self, talk: Talk, *answers: bytes, size: int = 1 << 20) -> TLSFailure:
        with self.assertRaises(TLSFailure) as caught:
            conversation(talk, list(answers), size)
        self.assertFalse(talk.done)
        self.assertTrue(str(caught.exception).isprintable())
        self.assertTrue(str(caught.exception).isascii())
        failure: TLSFailure = caught.exception
        return failure


class ConnectTests(TalkTests):
    """HTTP CONNECT."""

    def test_request(self) -> None:
        """The server as authority, twice; no more than that."""
        for host, port, to in (("db.example", 5432, b"db.example:5432"), ("2001:db8::7", 443, b"[2001:db8::7]:443")):
            self.assertEqual(Connect(host, port, None).begin(), b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (to, to))

    def test_login(self) -> None:
        """User and password are said at once."""
        (line,) = [each for each in Connect("a", 1, ME).begin().split(b"\r\n") if each.startswith(b"Proxy-")]
        self.assertEqual(line, b"Proxy-Authorization: Basic " + b64encode(b"me:se:cret"))

    def test_yes(self) -> None:
        """It is there with the last byte of the answer and not before, whatever size the pieces have."""
        answers = (
            YES,
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.1 204 \r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",  # RFC 9110 section 9.3.6: it says nothing here
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + YES,
        )
        for answer in answers:
            for size in range(1, len(answer) + 1):
                talk = Connect("db.example", 443, None)
                talk.begin()
                for each in pieces(answer, size):
                    self.assertFalse(talk.done, answer)
                    self.assertEqual(talk.feed(each), b"")
                self.assertTrue(talk.done, answer)

    def test_no(self) -> None:
        """The status and the reason, of which nothing can break the line."""
        for answer, said in (
            (b"407 Proxy Authentication Required", 'the proxy answers 407 "Proxy Authentication Required"'),
            (b'403 \x1b[31m"no"\\\xe9', None),
            (b"302 Found", 'the proxy answers 302 "Found"'),
            (b"500", 'the proxy answers 500 ""'),
        ):
            for size in (1, 7, 1 << 20):
                answered = b"HTTP/1.1 %b\r\nContent-Length: 99999\r\n\r\n<html>" % answer
                failure = self.refused(Connect("a", 1, ME), answered, size=size)
                self.assertIs(failure.cause, Cause.BACKEND_REFUSED)
                if said is not None:
                    self.assertEqual(failure.detail, said)

    def test_no_of_the_server(self) -> None:
        """A server that the proxy has waited for in vain is that."""
        failure = self.refused(Connect("a", 1, None), b"HTTP/1.1 504 Gateway Timeout\r\n\r\n")
        self.assertEqual(str(failure), 'backend-timeout: the proxy answers 504 "Gateway Timeout"')

    def test_long_page_behind_a_no(self) -> None:
        """The no is told, however long the page is that comes with it."""
        answer = b"HTTP/1.1 403 Forbidden\r\n\r\n" + b"x" * LONGEST * 3
        self.assertIn('403 "Forbidden"', self.refused(Connect("a", 1, None), answer).detail)

    def test_more_behind_a_yes(self) -> None:
        """Nobody but the proxy can have sent that: the server waits for us to begin."""
        for more in (b"\x16", b"SSH-2.0", b"x" * LONGEST):
            failure = self.refused(Connect("a", 1, None), YES + more)
            self.assertEqual(str(failure), "backend-refused: there is more behind the proxy's answer")

    def test_server_that_speaks_first(self) -> None:
        """What it says may come with the proxy's yes, and is kept for whoever is next."""
        for size in (1, 7, 1 << 20):
            talk = Connect("a", 25, None, server_begins=True)
            talk.begin()
            rest = b""
            for each in pieces(YES + b"220 hi\r\n", size):
                if talk.done:
                    rest += each
                else:
                    talk.feed(each)
            self.assertTrue(talk.done)
            self.assertEqual(talk.rest + rest, b"220 hi\r\n")
        long = Connect("a", 25, None, server_begins=True)
        long.begin()
        long.feed(YES + b"x" * LONGEST)
        self.assertEqual(long.rest, b"x" * LONGEST)

    def test_no_end(self) -> None:
        """Of an answer without an end no more than is common is kept, in one header, in many, in many answers."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * LONGEST,
            b"HTTP/1.1 100 Continue\r\n\r\n" * LONGEST,
        ):
            for size in (1, 1000, 1 << 20):
                failure = self.refused(Connect("a", 1, None), answer[: LONGEST * 2], size=size)
                self.assertEqual(failure.detail, "the proxy's answer is longer than 16384 bytes")

    def test_longest(self) -> None:
        """Exactly so long is not too long; what stands behind it is too much as ever."""
        begun = b"HTTP/1.1 200 OK\r\nX: "
        answer = begun + b"x" * (LONGEST - len(begun) - 4) + b"\r\n\r\n"
        for size in (1, 1 << 20):
            talk = Connect("a", 1, None)
            conversation(talk, [answer], size)
            self.assertTrue(talk.done)
        self.assertIn("there is more behind", self.refused(Connect("a", 1, None), answer + b"\x16").detail)

    def test_no_http(self) -> None:
        """Whoever speaks something else is quoted, in letters that are safe."""
        failure = self.refused(Connect("a", 1, None), b'220 mail.example "ESMTP"\r\n\r\n')
        self.assertEqual(
            failure.detail,
            'the proxy does not speak HTTP: it says "220 mail.example \\x22ESMTP\\x22\\x0d\\x0a\\x0d\\x0a"',
        )
        self.refused(Connect("a", 1, None), b"\x05\xff\r\n\r\n")
        self.refused(Connect("a", 1, None), b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")

    @given(st.binary(min_size=1))
    @settings(derandomize=True, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """They are an answer, the beginning of one, or a failure; never an error of ours."""
        for answer in (data, b"HTTP/1.1 200 " + data, b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
            talk = Connect("a", 1, None)
            talk.begin()
            try:
                talk.feed(answer)
            except TLSFailure as failure:
                self.assertTrue(str(failure).isprintable())


class Socks5Tests(TalkTests):
    """SOCKS 5."""

    def test_without_login(self) -> None:
        """No login is offered; a name is sent as one."""
        for answer in YES_FROM.values():
            for size in range(1, len(answer) + 1):
                talk = Socks5("db.example", 5432, None)
                said = conversation(talk, [b"\x05\x00", answer], size)
                self.assertEqual(said, [b"\x05\x01\x00", b"\x05\x01\x00\x03\x0adb.example\x15\x38", b""])
                self.assertTrue(talk.done)

    def test_addresses(self) -> None:
        """An address is sent as one."""
        for host, sent in (("192.0.2.7", b"\x01\xc0\x00\x02\x07"), ("::1", b"\x04" + bytes(15) + b"\x01")):
            _, asked = conversation(Socks5(host, 443, None), [b"\x05\x00"])
            self.assertEqual(asked, b"\x05\x01\x00" + sent + b"\x01\xbb")

    def test_login(self) -> None:
        """User and password (RFC 1929), where the proxy wants them."""
        for size in (1, 2):
            talk = Socks5("a", 1, ME)
            said = conversation(talk, [b"\x05\x02", b"\x01\x00", YES_FROM["IPv4"]], size)
            asked = b"\x05\x01\x00\x03\x01a\x00\x01"
            self.assertEqual(said, [b"\x05\x02\x00\x02", b"\x01\x02me\x07se:cret", asked, b""])
            self.assertTrue(talk.done)

    def test_login_is_not_asked_for(self) -> None:
        """A proxy that knows us otherwise does not get the password."""
        said = conversation(Socks5("a", 1, ME), [b"\x05\x00", YES_FROM["IPv4"]])
        self.assertNotIn(b"cret", b"".join(said))

    def test_login_is_refused(self) -> None:
        """Wrong ways to log in, and a wrong password."""
        for login, answers, said in (
            (None, [b"\x05\xff"], "the proxy wants a login"),
            (None, [b"\x05\x02"], "the proxy wants a login"),
            (ME, [b"\x05\xff"], "the proxy wants a login other than a user's password"),
            (ME, [b"\x05\x01"], "the proxy wants a login other than a user's password"),
            (ME, [b"\x05\x02", b"\x01\x01"], "the proxy does not take this user and password"),
        ):
            failure = self.refused(Socks5("a", 1, login), *answers)
            self.assertEqual(str(failure), f"backend-refused: {said}")

    def test_no(self) -> None:
        """Each code in its words, as soon as it is there: some send nothing behind it."""
        for code, words in WORDS.items():
            for more in (b"", b"\x00", YES_FROM["IPv4"][2:]):
                failure = self.refused(Socks5("a", 1, None), b"\x05\x00", b"\x05" + code + more, size=4)
                self.assertEqual(failure.detail, f"the proxy says: {words}")
        self.assertEqual(
            self.refused(Socks5("a", 1, None), b"\x05\x00", b"\x05\x63").detail, "the proxy says: failure 99"
        )
        self.assertEqual(len(WORDS), 8)

    def test_other_protocols(self) -> None:
        """The first byte of each message says whether it is one."""
        for answers in (
            [b"H"],
            [b"\x04"],
            [b"\x05\x00", b"\x04"],
            [b"\x05\x02", b"\x05"],
        ):
            failure = self.refused(Socks5("a", 1, ME), *answers)
            self.assertEqual(failure.detail, "the proxy does not speak SOCKS 5")

    def test_malformed(self) -> None:
        """An address of no kind, or a name in no letters."""
        for answer in (b"\x05\x00\x00\x02\x00", b"\x05\x00\x00\x03\x02\xff\xff\x00\x01"):
            failure = self.refused(Socks5("a", 1, None), b"\x05\x00", answer)
            self.assertEqual(failure.detail, "the proxy's answer is malformed")

    def test_more(self) -> None:
        """Bytes behind any message are nobody's."""
        for answers in (
            [b"\x05\x00\x05"],
            [b"\x05\x02", b"\x01\x00\x05"],
            *([b"\x05\x02", b"\x01\x00", answer + b"\x16"] for answer in YES_FROM.values()),
        ):
            failure = self.refused(Socks5("a", 1, ME), *answers)
            self.assertEqual(failure.detail, "there is more behind the proxy's answer")

    def test_server_that_speaks_first(self) -> None:
        """What it says may come with the last message, and with none before that."""
        for answer in YES_FROM.values():
            talk = Socks5("a", 25, ME, server_begins=True)
            conversation(talk, [b"\x05\x00", answer + b"220 hi\r\n"])
            self.assertEqual((talk.done, talk.rest), (True, b"220 hi\r\n"))
        for answers in ([b"\x05\x00\x05"], [b"\x05\x02", b"\x01\x00\x05"]):
            failure = self.refused(Socks5("a", 25, ME, server_begins=True), *answers)
            self.assertEqual(failure.detail, "there is more behind the proxy's answer")

    @given(st.binary(min_size=1), st.sampled_from([[], [b"\x05\x00"], [b"\x05\x02"], [b"\x05\x00", b"\x05\x00\x00"]]))
    @settings(derandomize=True, deadline=None)
    def test_any_bytes(self, data: bytes, before: list[bytes]) -> None:
        """They are an answer, the beginning of one, or a failure; never an error of ours."""
        talk = Socks5("a", 1, ME)
        conversation(talk, before)
        try:
            talk.feed(data)
        except TLSFailure as failure:
            self.assertTrue(str(failure).isprintable())


class ProxyByHand:
    """
    A proxy that the test plays, and the server behind it.

    @ivar server: the end of the connection; what it says before C{pump} is the proxy's
    """

    def __init__(self, dialled: Dialled, context: SSL.Context) -> None:
        factory, done = dialled.waiting.pop(0)
        protocol = factory.buildProtocol(SERVER_ADDRESS)
        self.server = Server(protocol, context)
        protocol.makeConnection(self.server.socket)
        if not done.called:
            done.callback(protocol)

    def heard(self) -> bytes:
        """What the client has said to it since."""
        heard = bytes(self.server.socket.wire)
        self.server.socket.wire.clear()
        return heard

    def say(self, data: bytes, size: int = 1 << 20) -> None:
        for each in pieces(data, size):
            if self.server.socket.lost is None:
                self.server.protocol.dataReceived(each)


class ThroughTests(ClientTests):
    """The client endpoint, with a proxy on its way."""

    def proxied(self, written: str = HTTP, **said: Any) -> tuple[Deferred[Any], ProxyByHand]:
        """Somebody connects, and the proxy was reached."""
        done = self.connect(via=written, **said)
        return done, ProxyByHand(self.dialled, serving())

    def test_connect(self) -> None:
        """The server is met through the proxy's answer in pieces of any size; data goes both ways, and ends."""
        for size in (1, 2, 5, len(YES)):
            self.made.made.clear()
            done, proxy = self.proxied()
            self.assertEqual(proxy.heard(), b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n")
            proxy.say(YES, size)
            self.assertNoResult(done)
            self.assertEqual(self.made.made, [])
            proxy.server.pump()
            protocol = self.successResultOf(done)
            protocol.transport.write(b"hello")
            proxy.server.pump()
            proxy.server.send(b"world")
            self.assertEqual((proxy.server.received, protocol.data), (b"hello", b"world"))
            protocol.transport.loseConnection()
            proxy.server.pump()
            proxy.server.tls.shutdown()
            proxy.server.pump()
            self.assertEqual(type(protocol.lost).__name__, "ConnectionDone")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_socks5(self) -> None:
        """The same with SOCKS 5 and a password in a file, which nothing but the proxy gets to see."""
        lines = log_lines(self)
        password = self.write("password", b"hunter2\nnot this\n")
        done, proxy = self.proxied("socks5://me@proxy.example:1080", via_password_file=password)
        self.assertEqual(proxy.heard(), b"\x05\x02\x00\x02")
        proxy.say(b"\x05\x02")
        self.assertEqual(proxy.heard(), b"\x01\x02me\x07hunter2")
        proxy.say(b"\x01\x00", 1)
        self.assertEqual(proxy.heard(), b"\x05\x01\x00\x03\x09localhost\x01\xbb")
        proxy.say(YES_FROM["a name"], 3)
        proxy.server.pump()
        self.successResultOf(done)
        self.assertEqual(lines, [])

    def test_greeting_behind_the_yes(self) -> None:
        """A server that has to agree to TLS may greet in the same segment as the proxy, where its protocol greets."""
        for written, answers in ((HTTP, [YES]), (SOCKS, [b"\x05\x00", YES_FROM["IPv4"]])):
            done, proxy = self.proxied(written, starttls="smtp")
            for answer in answers[:-1]:
                proxy.say(answer)
            proxy.heard()
            proxy.say(answers[-1] + b"220 hi\r\n")
            self.assertRegex(proxy.heard(), rb"^EHLO ")
            proxy.say(b"250-x\r\n250 STARTTLS\r\n")
            self.assertEqual(proxy.heard(), b"STARTTLS\r\n")
            proxy.say(b"220 go\r\n")
            proxy.server.pump()
            self.successResultOf(done)

    def test_more_behind_the_yes(self) -> None:
        """Where the server waits for us to begin, nobody but the proxy can have said it."""
        for said in ({}, {"starttls": "postgres"}, {"starttls": "xmpp"}):
            done, proxy = self.proxied(**said)
            proxy.say(YES + b"S")
            error = self.failureResultOf(done, TLSConnectError).value
            self.assertIn("there is more behind the proxy's answer", str(error))

    def test_nothing_of_tls_before_the_yes(self) -> None:
        """The proxy hears the request alone until it has answered; then the hello comes at once."""
        _, proxy = self.proxied()
        proxy.heard()
        proxy.say(YES[:-1])
        self.assertEqual(proxy.heard(), b"")
        proxy.say(YES[-1:])
        self.assertEqual(proxy.heard()[:3], b"\x16\x03\x01")

    def test_refusals(self) -> None:
        """One line that says which proxy it was; the connection is dropped, and nobody was made."""
        for written, answer, expected in (
            (HTTP, b"HTTP/1.1 403 No\r\n\r\n", 'backend-refused: via proxy.example:3128: the proxy answers 403 "No"'),
            (
                HTTP,
                YES + b"\x16\x03\x03",
                "backend-refused: via proxy.example:3128: there is more behind the proxy's answer",
            ),
            (SOCKS, b"\x05\xff", "backend-refused: via proxy.example:1080: the proxy wants a login"),
        ):
            done, proxy = self.proxied(written)
            proxy.say(answer)
            self.assertEqual(str(self.refused(done)), expected)
            self.assertIsNotNone(proxy.server.socket.lost)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_after_a_refusal(self) -> None:
        """It is nobody's, whether it is a yes or the end."""
        done, proxy = self.proxied()
        protocol = proxy.server.protocol
        proxy.say(b"HTTP/1.1 403 No\r\n\r\n")
        self.refused(done)
        protocol.dataReceived(YES)
        self.assertEqual(self.made.made, [])

    def test_not_reached(self) -> None:
        """A proxy that is not there is told from a server that is not."""
        for raised, expected in (
            (ConnectionRefusedError(), "backend-refused: via proxy.example:3128: Connection was refused by other side"),
            (TimeoutError(), "backend-timeout: via proxy.example:3128: User timeout caused connection failure"),
            (TLSConnectError(Cause.EXPIRED, "old"), "expired: via proxy.example:3128: old"),
        ):
            done = self.connect(via=HTTP)
            self.dialled.waiting.pop()[1].errback(raised)
            self.assertEqual(str(self.refused(done)), expected)

    def test_proxy_hangs_up(self) -> None:
        """With a FIN, an end or a reset, before it has answered or in the middle of that."""
        closed = "backend-refused: via proxy.example:3128: the proxy closed the connection before it had answered"
        for begun in (b"", YES[:9]):
            done, proxy = self.proxied()
            proxy.say(begun)
            proxy.server.protocol.readConnectionLost()
            self.assertEqual(str(self.refused(done)), closed)
            self.assertIsNotNone(proxy.server.socket.lost)
            done, proxy = self.proxied()
            proxy.say(begun)
            proxy.server.socket.loseConnection()
            self.assertEqual(str(self.refused(done)), closed)
            done, proxy = self.proxied()
            proxy.say(begun)
            proxy.server.socket.lose(ConnectionLost())
            self.assertIn("via proxy.example:3128: Connection to the other side was lost", str(self.refused(done)))

    def test_time(self) -> None:
        """One time for the dialling, the answer and the handshake."""
        done = self.connect(via=HTTP, timeout=7)
        self.clock.advance(6)
        proxy = ProxyByHand(self.dialled, serving())
        proxy.say(YES[:9])
        self.clock.advance(1)
        self.assertEqual(
            str(self.refused(done)), "backend-timeout: via proxy.example:3128: there was no connection within 7 s"
        )
        self.assertIsNotNone(proxy.server.socket.lost)
        done = self.connect(via=HTTP, timeout=7)
        self.clock.advance(6)
        proxy = ProxyByHand(self.dialled, serving())
        proxy.say(YES)
        self.clock.advance(1)
        self.assertEqual(str(self.refused(done)), "handshake-timeout: the handshake was not done within 7 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_while_dialling(self) -> None:
        """Dialling the proxy is given up."""
        done = self.connect(via=HTTP, timeout=7)
        self.clock.advance(7)
        self.refused(done)
        self.assertEqual(self.dialled.cancelled, 1)

    def test_cancel(self) -> None:
        """Everything is dropped, whenever it is."""
        done = self.connect(via=HTTP)
        factory, _ = self.dialled.waiting[0]
        done.cancel()
        self.failureResultOf(done)
        self.assertEqual(self.dialled.cancelled, 1)
        protocol = factory.buildProtocol(SERVER_ADDRESS)  # which comes all the same
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        self.assertEqual((socket.lost is None, bytes(socket.wire)), (False, b""))
        self.dialled.waiting.clear()
        for answer in (b"", YES[:9], YES):
            done, proxy = self.proxied()
            proxy.say(answer)
            done.cancel()
            self.failureResultOf(done)
            self.assertIsNotNone(proxy.server.socket.lost)
        self.assertEqual((self.made.made, self.clock.getDelayedCalls()), ([], []))

    def test_wrong_server(self) -> None:
        """The proxy's word is not enough: the server behind it has to be the right one."""
        done = self.connect(via=HTTP)
        proxy = ProxyByHand(self.dialled, serving("other.example"))
        proxy.heard()
        proxy.say(YES)
        proxy.server.pump()
        self.assertIs(self.refused(done).cause, Cause.NOT_ALLOWED)
        self.assertRegex(proxy.server.alert or "", "alert")

    def test_end_during_the_handshake(self) -> None:
        """A FIN behind the proxy is that of the server."""
        done, proxy = self.proxied()
        proxy.say(YES)
        proxy.server.protocol.readConnectionLost()
        self.assertIs(self.refused(done).cause, Cause.EOF)

    def test_new_password(self) -> None:
        """A new password is said from the first connection on that is made an interval later."""
        path = self.write("password", b"old")
        through: dict[str, Any] = {"via": "http://me@proxy.example:3128", "via_password_file": path}
        endpoint = TLSClientEndpoint(self.clock, "localhost", 443, over=self.dialled, aside=aside, **through)

        def said() -> bytes:
            endpoint.connect(self.made)
            return ProxyByHand(self.dialled, serving()).heard().partition(b"Basic ")[2].strip()

        self.assertEqual(said(), b64encode(b"me:old"))
        self.write("password", b"new one")
        self.clock.advance(LOOK)
        self.assertEqual(said(), b64encode(b"me:new one"))

    def test_factory_is_started_and_stopped_by_what_dials(self) -> None:
        """As with every endpoint of Twisted's."""
        done = self.connect(via=HTTP)
        wires, _ = self.dialled.waiting[0]
        wires.doStart()
        self.assertEqual(self.made.numPorts, 1)
        wires.doStop()
        self.assertEqual(self.made.numPorts, 0)
        done.addErrback(lambda _: None)
        done.cancel()

    def test_nothing_is_left(self) -> None:
        """What was lost or refused is gone at once: nobody has to look for garbage."""
        gc.disable()
        self.addCleanup(gc.enable)
        for answer in (YES, b"HTTP/1.1 403 No\r\n\r\n"):
            done, proxy = self.proxied()
            attempt = weakref.ref(done._canceller.__self__)  # type: ignore[union-attr]
            proxy.say(answer)
            proxy.server.pump()
            proxy.server.socket.unregisterProducer()  # as a lost transport of Twisted's does
            proxy.server.socket.lose(ConnectionLost())
            done.addErrback(lambda _: None)
            self.made.made.clear()
            del proxy, done
            self.assertIsNone(attempt(), answer)


class AnyProtocolTests(SynchronousTestCase):
    """The endpoint below, for protocols of anybody's."""

    def connected(self, make: Any) -> tuple[Any, ProxyByHand]:
        dialled = Dialled()
        endpoint = Through(dialled, via(HTTP), lambda: Connect("a", 1, None))
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        done = endpoint.connect(RecorderFactory(make))
        proxy = ProxyByHand(dialled, serving())
        proxy.say(YES)
        return self.successResultOf(done), proxy

    def test_without_half_close(self) -> None:
        """A FIN is the end where one direction cannot end by itself."""
        protocol, proxy = self.connected(Recorder)
        proxy.server.protocol.writeConnectionLost()
        proxy.server.protocol.readConnectionLost()
        self.assertEqual(type(protocol.lost).__name__, "ConnectionDone")

    def test_protocol_that_leaves_at_once(self) -> None:
        """It may close the connection when it is made."""

        class Leaving(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.abortConnection()

        _, proxy = self.connected(Leaving)
        self.assertIsNotNone(proxy.server.socket.lost)


class PasswordTests(SynchronousTestCase):
    """A password that stands in a string."""

    def test_not_repeated(self) -> None:
        """The error says what is wrong, and the string without it."""
        for password in ("hunter2", r"hunter2\:x", "a@hunter2", "a/hunter2"):
            written = rf"proxy:mytls:db.example:1:via=socks5\://me\:{password}@h\:1"
            for string in (written, f"{written},tcp:127.0.0.1:1"):
                error = self.assertRaises(ConfigurationError, handler_from_string, MemoryReactorClock(), string)
                self.assertNotIn("hunter2", str(error))
                self.assertIn("via: ", str(error))


class StringTests(ClientTests):
    """The words of the endpoint string."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()

    def from_string(self, words: str, to: str = "localhost:443") -> Any:
        return clientFromString(self.reactor, f"mytls:{to}:trustRoots={self.root}:{words}")

    def test_the_proxy_is_dialled(self) -> None:
        """By its address, from the address that is said; the server's name is not looked up."""
        self.from_string(r"via=http\://192.0.2.9\:3128:bindAddress=192.0.2.1").connect(self.made)
        self.from_string(r"via=socks5\://[2001\:db8\:\:9]\:1080").connect(self.made)
        one, two = self.reactor.tcpClients
        self.assertEqual((one[0], one[1], one[4]), ("192.0.2.9", 3128, ("192.0.2.1", 0)))
        self.assertEqual((two[0], two[1]), ("2001:db8::9", 1080))

    def test_the_proxys_name(self) -> None:
        """It is looked up as Twisted's own endpoint does it."""
        below = self.from_string(r"via=http\://proxy.example\:3128")._kept._below
        self.assertIsInstance(below, HostnameEndpoint)
        self.assertIn("proxy.example", repr(below))

    def test_over_another_endpoint(self) -> None:
        """C{endpoint} is how the proxy is reached."""
        path = self.folder / "socket"
        self.from_string(rf"via=http\://proxy\:3128:endpoint=unix\:{path}").connect(self.made)
        self.assertEqual(len(self.reactor.unixClients), 1)

    def test_as_a_backend(self) -> None:
        """`proxy:` takes it."""
        found = client_endpoint(self.reactor, rf"mytls:a:443:trustRoots={self.root}:via=http\://proxy\:3128")
        self.assertIsInstance(found, TLSClientEndpoint)

    def test_environment(self) -> None:
        """The password may be in a variable; a proxy is not taken from one."""
        self.patch_environment("PROXY_PASSWORD", "hunter2")
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            self.patch_environment(name, "http://192.0.2.66:1")
        made = self.from_string(r"via=http\://me@192.0.2.9\:3128:viaPasswordFile=env\:PROXY_PASSWORD")
        made.connect(self.made)
        self.from_string("timeout=5", "192.0.2.7:443").connect(self.made)
        self.assertEqual([each[0] for each in self.reactor.tcpClients], ["192.0.2.9", "192.0.2.7"])
        self.assertNotIn("hunter2", f"{made!r} {made._settings!r} {made._kept._wanted!r}")

    def patch_environment(self, name: str, value: str) -> None:
        self.patch(os, "environ", {**os.environ, name: value})

    def test_wrong_words(self) -> None:
        """Each is one line, which names the word."""
        long = self.write("long", b"x" * 256)
        for words, expected in {
            r"via=http\://proxy": "via: there is no port; expected for example http://proxy.example:3128",
            r"via=http\://me\:hunter2@proxy\:1": "via: a password does not belong where many can read it; "
            "say viaPasswordFile",
            r"via=http\://me@proxy\:1": "via=http://proxy:1: the user's password is missing; say viaPasswordFile",
            r"via=http\://proxy\:1:viaPasswordFile=x": "viaPasswordFile=x: there is no user; "
            "expected one as in via=http://me@...",
            "viaPasswordFile=x": "viaPasswordFile=x: there is no user; expected one as in via=http://me@...",
            r"via=http\://me@proxy\:1:viaPasswordFile=/nonexistent": "viaPasswordFile=/nonexistent: no such file",
            r"via=http\://me@proxy\:1:viaPasswordFile=env\:MYTLS_NOT_SET": "viaPasswordFile=env:MYTLS_NOT_SET: "
            "this environment variable is not set, or empty",
            rf"via=http\://me@proxy\:1:viaPasswordFile={long}": f"viaPasswordFile={long}: "
            "the password is longer than 255 bytes",
            r"proxy=http\://proxy\:1": "proxy= is no word of a client's mytls:; did you mean 'via'?",
        }.items():
            with self.assertRaises(ConfigurationError, msg=words) as caught:
                self.from_string(words)
            self.assertEqual(str(caught.exception), expected)

    def test_wrong_servers(self) -> None:
        """A proxy needs a port, and an address that means the same to it."""
        for to, expected in (
            (r"localhost:endpoint=unix\:/x", "port: missing; expected for example mytls:localhost:443"),
            (r"fe80\:\:1%eth0:443", "host=fe80::1%eth0: its zone is of this machine, and no proxy knows it"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.from_string(r"via=http\://proxy\:1", to)
            self.assertEqual(str(caught.exception), expected)

    def test_missing_library(self) -> None:
        """What to install is in the one line; without C{via} nothing is missing."""
        for written, module, missing in ((HTTP, "connect", "h11"), (SOCKS, "socks5", "socksio")):
            with self.subTest(missing):
                self.forget(f"mytls.via.{module}")
                self.patch_modules(missing)
                with self.assertRaises(ConfigurationError) as caught:
                    self.endpoint(via=written)
                self.assertEqual(
                    str(caught.exception),
                    f"via={written}: the package {missing} is not installed: pip install 'mytls[via]'",
                )
                self.endpoint()

    def forget(self, module: str) -> None:
        self.addCleanup(sys.modules.__setitem__, module, sys.modules.pop(module))

    def patch_modules(self, missing: str) -> None:
        self.addCleanup(sys.modules.__setitem__, missing, sys.modules[missing])
        sys.modules[missing] = None  # type: ignore[assignment]  # so that the import fails
