"""SMTP until STARTTLS: RFC 3207, RFC 5321."""

from __future__ import annotations

from functools import partial

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from tests.preludes.talks import TalkTests

BANNER = b"220 mail.example ESMTP\r\n"
READY = (b"STARTTLS\r\n", b"220 2.0.0 begin TLS\r\n")
EHLO = (b"EHLO client.example\r\n", b"250-mail.example\r\n250 STARTTLS\r\n")
server = partial(prelude, "smtp", "mail.example")
client = partial(ask, "smtp", "mail.example", "client.example")


class ServerTests(TalkTests):
    """A server until STARTTLS."""

    def test_starttls(self) -> None:
        """A client that says hello hears that there is STARTTLS, and gets it."""
        self.assert_talk(server, BANNER, [EHLO, READY])

    def test_any_spelling(self) -> None:
        """Commands are known in capitals and in small letters, with blanks behind them and with LF alone."""
        self.assert_talk(server, BANNER, [(b"ehlo  [192.0.2.1] \n", EHLO[1]), (b"StartTLS \r\n", READY[1])])

    def test_everything_else_comes_later(self) -> None:
        """Before TLS nobody logs in and nobody sends mail (RFC 3207 section 4); the connection goes on."""
        first = b"530 5.7.0 say STARTTLS first\r\n"
        commands = (
            b"AUTH PLAIN AGEAYg==",
            b"MAIL FROM:<a@b.example>",
            b"RCPT TO:<a@b.example>",
            b"DATA",
            b"VRFY a",
            b"",
        )
        self.assert_talk(server, BANNER, [*((each + b"\r\n", first) for each in commands), READY])

    def test_small_talk(self) -> None:
        """What monitors and old clients say has its answer."""
        done = b"250 2.0.0 done\r\n"
        hello = (b"HELO client.example\r\n", b"250 mail.example\r\n")
        self.assert_talk(server, BANNER, [hello, (b"NOOP\r\n", done), (b"RSET\r\n", done), READY])

    def test_parameters(self) -> None:
        """STARTTLS has no parameter, and EHLO needs one."""
        wrong = (b"STARTTLS now\r\n", b"501 5.5.4 STARTTLS has no parameters\r\n")
        self.assert_talk(server, BANNER, [(b"EHLO\r\n", b"501 5.5.4 say who you are\r\n"), wrong, READY])

    def test_quit(self) -> None:
        """Who leaves is told goodbye."""
        detail = "the client has said goodbye before STARTTLS"
        self.assert_fails(server, b"QUIT\r\n", b"221 2.0.0 mail.example\r\n", detail, Cause.EOF)

    def test_injection(self) -> None:
        """A command behind STARTTLS ends the connection (CVE-2011-0411); what came before it has its answer."""
        detail = "there is more in the clear behind STARTTLS"
        answer = EHLO[1] + b"554 5.5.1 there is more in the clear behind STARTTLS\r\n"
        self.assert_fails(server, EHLO[0] + b"STARTTLS\r\nMAIL FROM:<a@b.example>\r\n", answer, detail)

    def test_tls_at_once(self) -> None:
        """A client that begins with TLS, as on port 465, hears at once that it is wrong."""
        detail = "TLS begins before STARTTLS"
        self.assert_fails(server, b"\x16\x03\x01", b"554 5.5.1 TLS begins before STARTTLS\r\n", detail)


class ClientTests(TalkTests):
    """A client until STARTTLS."""

    def test_starttls(self) -> None:
        """The client says who it is, sees that there is STARTTLS among other things, and asks for it."""
        offer = b"250-mail.example hello\r\n250-SIZE 1000\r\n250-starttls\r\n250 HELP\r\n"
        banner = b"220-wait\r\n220 mail.example ESMTP Postfix\r\n"
        self.assert_talk(client, b"", [(banner, EHLO[0]), (offer, READY[0]), (b"220 Go ahead\r\n", b"")])

    def test_no_starttls(self) -> None:
        """A server that offers none, or from whose offer somebody has taken it, is left."""
        heard = b"220 mail.example\r\n250-mail.example\r\n250 STARTTLSISH\r\n"
        self.assert_fails(client, heard, EHLO[0] + b"QUIT\r\n", "it does not offer STARTTLS")

    def test_refusals(self) -> None:
        """A server that says no is left, and what it says is told."""
        said = EHLO[0] + b"STARTTLS\r\nQUIT\r\n"
        heard = b"220 mail.example\r\n" + EHLO[1] + b'454 4.7.0 "TLS" not available\r\n'
        told = r'it says "454\x204.7.0\x20\x22TLS\x22\x20not\x20available" where 220 is expected'
        self.assert_fails(client, heard, said, told)
        self.assert_fails(client, b"554 no\r\n", b"QUIT\r\n", r'it says "554\x20no" where 220 is expected')
        self.assert_fails(client, b"220-mixed\r\n250 up\r\n", b"QUIT\r\n", r'it says "250\x20up" where 220 is expected')

    def test_injection(self) -> None:
        """An answer in the clear behind the agreement ends the connection."""
        heard = b"220 mail.example\r\n" + EHLO[1] + READY[1] + b"250 mail.example\r\n"
        self.assert_fails(client, heard, EHLO[0] + READY[0], "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """Whoever waits for a greeting gets one of ours, and not the server's, which came in the clear."""
        self.assertEqual(client().welcome, BANNER)
