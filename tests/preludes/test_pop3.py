"""POP3 until STLS: RFC 2595."""

from __future__ import annotations

from functools import partial

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from tests.preludes.talks import TalkTests

BANNER = b"+OK mail.example\r\n"
READY = (b"STLS\r\n", b"+OK begin TLS\r\n")
server = partial(prelude, "pop3", "mail.example")
client = partial(ask, "pop3", "mail.example")


class ServerTests(TalkTests):
    """A server until STLS."""

    def test_stls(self) -> None:
        """A client that asks hears that there is STLS, and gets it."""
        self.assert_talk(server, BANNER, [(b"capa\r\n", b"+OK\r\nSTLS\r\n.\r\n"), READY])

    def test_everything_else_comes_later(self) -> None:
        """Before TLS nobody logs in."""
        first = b"-ERR say STLS first\r\n"
        commands = (b"USER a", b"PASS b", b"AUTH PLAIN", b"APOP a b", b"STAT", b"")
        self.assert_talk(server, BANNER, [*((each + b"\r\n", first) for each in commands), READY])

    def test_small_talk(self) -> None:
        """NOOP has its answer; STLS has no parameter."""
        wrong = (b"STLS now\r\n", b"-ERR STLS has no parameters\r\n")
        self.assert_talk(server, BANNER, [(b"NOOP\r\n", b"+OK\r\n"), wrong, READY])

    def test_quit(self) -> None:
        """Who leaves is told goodbye."""
        self.assert_fails(server, b"QUIT\r\n", BANNER, "the client has said goodbye before STARTTLS", Cause.EOF)

    def test_injection(self) -> None:
        """A command behind STLS ends the connection."""
        detail = "there is more in the clear behind STARTTLS"
        self.assert_fails(server, b"STLS\r\nUSER a\r\n", b"-ERR %b\r\n" % detail.encode(), detail)


class ClientTests(TalkTests):
    """A client until STLS."""

    def test_stls(self) -> None:
        """The client asks at once."""
        self.assert_talk(client, b"", [(b"+OK hello <1.2@mail.example>\r\n", READY[0]), (READY[1], b"")])

    def test_refusals(self) -> None:
        """A server that says no is left."""
        self.assert_fails(client, b"-ERR busy\r\n", b"", r'it says "-ERR\x20busy" where +OK is expected')
        self.assert_fails(client, b"+OK\r\n-ERR no\r\n", READY[0], r'it says "-ERR\x20no" where +OK is expected')

    def test_injection(self) -> None:
        """An answer in the clear behind the agreement ends the connection."""
        heard = b"+OK\r\n+OK\r\n+OK logged in\r\n"
        self.assert_fails(client, heard, READY[0], "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """Whoever waits for a greeting gets one of ours."""
        self.assertEqual(client().welcome, BANNER)
