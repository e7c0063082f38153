"""IMAP until STARTTLS: RFC 3501, RFC 9051."""

from __future__ import annotations

from functools import partial

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from tests.preludes.talks import TalkTests

ABLE = b"CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED"
BANNER = b"* OK [%b] mail.example\r\n" % ABLE
READY = (b"a2 STARTTLS\r\n", b"a2 OK begin TLS\r\n")
server = partial(prelude, "imap", "mail.example")
client = partial(ask, "imap", "mail.example")


class ServerTests(TalkTests):
    """A server until STARTTLS."""

    def test_starttls(self) -> None:
        """A client that asks hears that there is STARTTLS and no login, and gets it with its own tag."""
        self.assert_talk(server, BANNER, [(b"A.1 capability\r\n", b"* %b\r\nA.1 OK done\r\n" % ABLE), READY])

    def test_everything_else_comes_later(self) -> None:
        """Before TLS nobody logs in (RFC 5530 section 3); a password's literal is not waited for."""
        for command in (b"LOGIN a b", b"AUTHENTICATE PLAIN", b"LOGIN {5}", b"SELECT inbox", b"ID NIL"):
            refusal = b"x1 NO [PRIVACYREQUIRED] say STARTTLS first\r\n"
            self.assert_talk(server, BANNER, [(b"x1 " + command + b"\r\n", refusal), READY])

    def test_small_talk(self) -> None:
        """NOOP has its answer."""
        self.assert_talk(server, BANNER, [(b"1 noop\r\n", b"1 OK done\r\n"), READY])

    def test_no_commands(self) -> None:
        """What is no command has no tag to be answered with: nothing that is not one is said again."""
        bad = b"* BAD a tag and a command are expected\r\n"
        lines = (
            b"\r\n",
            b"STARTTLS\r\n",
            b"* STARTTLS\r\n",
            b"a+ STARTTLS\r\n",
            b"\xff NOOP\r\n",
            b"a" * 65 + b" NOOP\r\n",
        )
        self.assert_talk(server, BANNER, [*((each, bad) for each in lines), READY])

    def test_parameters(self) -> None:
        """STARTTLS has no parameter."""
        self.assert_talk(server, BANNER, [(b"a1 STARTTLS now\r\n", b"a1 BAD STARTTLS has no parameters\r\n"), READY])

    def test_logout(self) -> None:
        """Who leaves is told goodbye."""
        detail = "the client has said goodbye before STARTTLS"
        self.assert_fails(server, b"a1 LOGOUT\r\n", b"* BYE mail.example\r\na1 OK done\r\n", detail, Cause.EOF)

    def test_injection(self) -> None:
        """A command behind STARTTLS ends the connection."""
        detail = "there is more in the clear behind STARTTLS"
        self.assert_fails(server, b"a1 STARTTLS\r\na2 LOGIN a b\r\n", b"* BYE %b\r\n" % detail.encode(), detail)


class ClientTests(TalkTests):
    """A client until STARTTLS."""

    def test_starttls(self) -> None:
        """The client asks at once, and listens to nothing but the answer."""
        answer = b"* CAPABILITY IMAP4rev1\r\ntls OK begin\r\n"
        self.assert_talk(client, b"", [(b"* OK [CAPABILITY IMAP4rev1] hello\r\n", b"tls STARTTLS\r\n"), (answer, b"")])

    def test_refusals(self) -> None:
        """A server that says no, or that has us logged in already, when there can be no STARTTLS, is left."""
        told = r'it says "{}" where OK is expected'
        self.assert_fails(client, b"* PREAUTH a\r\n", b"", told.format(r"*\x20PREAUTH\x20a"))
        self.assert_fails(client, b"* BYE\r\n", b"", told.format(r"*\x20BYE"))
        for answer in (b"tls NO", b"tls BAD", b"other OK", b"* BYE"):
            heard, shown = b"* OK\r\n" + answer + b"\r\n", answer.decode().replace(" ", r"\x20")
            self.assert_fails(client, heard, b"tls STARTTLS\r\n", told.format(shown))

    def test_injection(self) -> None:
        """An answer in the clear behind the agreement ends the connection."""
        heard = b"* OK\r\ntls OK\r\n* CAPABILITY AUTH=PLAIN\r\n"
        self.assert_fails(client, heard, b"tls STARTTLS\r\n", "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """Whoever waits for a greeting gets one of ours."""
        self.assertEqual(client().welcome, b"* OK mail.example\r\n")
