"""ManageSieve until STARTTLS: RFC 5804."""

from __future__ import annotations

from functools import partial

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from tests.preludes.talks import TalkTests

ABLE = b'"IMPLEMENTATION" "mytls"\r\n"VERSION" "1.0"\r\n"SASL" ""\r\n"SIEVE" ""\r\n"STARTTLS"\r\nOK "mail.example"\r\n'
READY = (b"STARTTLS\r\n", b'OK "begin TLS"\r\n')
server = partial(prelude, "sieve", "mail.example")
client = partial(ask, "sieve", "mail.example")


class ServerTests(TalkTests):
    """A server until STARTTLS."""

    def test_starttls(self) -> None:
        """A client hears that there is STARTTLS, also when it asks, and gets it."""
        self.assert_talk(server, ABLE, [(b"Capability\r\n", ABLE), READY])

    def test_everything_else_comes_later(self) -> None:
        """Before TLS nobody logs in."""
        refusal = b'NO (ENCRYPT-NEEDED) "say STARTTLS first"\r\n'
        wrong = (b"STARTTLS now\r\n", b'NO "STARTTLS has no parameters"\r\n')
        login = (b'AUTHENTICATE "PLAIN"\r\n', refusal)
        self.assert_talk(server, ABLE, [login, (b"NOOP\r\n", b'OK "done"\r\n'), wrong, READY])

    def test_logout(self) -> None:
        """Who leaves is told goodbye."""
        detail = "the client has said goodbye before STARTTLS"
        self.assert_fails(server, b"LOGOUT\r\n", b'OK "done"\r\n', detail, Cause.EOF)

    def test_injection(self) -> None:
        """A command behind STARTTLS ends the connection."""
        detail = "there is more in the clear behind STARTTLS"
        self.assert_fails(server, b"STARTTLS\r\nNOOP\r\n", b'BYE "%b"\r\n' % detail.encode(), detail)


class ClientTests(TalkTests):
    """A client until STARTTLS."""

    def test_starttls(self) -> None:
        """The client hears what the server is able to, and asks."""
        self.assert_talk(client, b"", [(ABLE, READY[0]), (READY[1], b"")])

    def test_refusals(self) -> None:
        """A server that says no is left."""
        self.assert_fails(client, ABLE + b"NO\r\n", READY[0], 'it says "NO" where OK is expected')
        self.assert_fails(client, b"BYE\r\n", b"", 'it says "BYE" where OK is expected')

    def test_injection(self) -> None:
        """
        What the server is able to, it says once more under TLS: where that has come in the clear behind the
        agreement, it ends the connection.
        """
        self.assert_fails(client, ABLE + READY[1] + ABLE, READY[0], "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """The server greets under TLS too, so there is nothing to be made up."""
        self.assertEqual(client().welcome, b"")
