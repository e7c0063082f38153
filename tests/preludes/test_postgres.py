"""PostgreSQL until SSLRequest is answered."""

from __future__ import annotations

import struct
from functools import partial

from mytls.preludes import ask, prelude
from tests.preludes.talks import TalkTests
from tests.tls.test_hello import client_hello

SSL, GSS = struct.pack(">II", 8, 80877103), struct.pack(">II", 8, 80877104)
CANCEL = struct.pack(">IIII", 16, 80877102, 1, 2)
STARTUP = b"\0\0\0\x1a\0\3\0\0user\0me\0database\0db\0\0"
server = partial(prelude, "postgres", "db.example")
client = partial(ask, "postgres", "db.example")


def error(code: bytes, text: bytes) -> bytes:
    """An ErrorResponse."""
    fields = b"SFATAL\0VFATAL\0C%b\0M%b\0\0" % (code, text)
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


class ServerTests(TalkTests):
    """A server until SSLRequest."""

    def test_ssl_request(self) -> None:
        """A client that asks for TLS gets it."""
        self.assert_talk(server, b"", [(SSL, b"S")])

    def test_gss_request(self) -> None:
        """Who asks for GSSAPI's encryption first, as psql does where there are tickets, hears no and goes on."""
        self.assert_talk(server, b"", [(GSS, b"N"), (SSL, b"S")])

    def test_gss_request_again(self) -> None:
        """It is asked once."""
        self.assert_fails(server, GSS * 2, b"N" + error(b"08P01", b"this is no SSLRequest"), "this is no SSLRequest")

    def test_tls_at_once(self) -> None:
        """A client of PostgreSQL 17 may begin with its ClientHello: it is for TLS, in pieces of any size."""
        for size in (1, 100, 10_000):
            dialogue, hello = server(), client_hello()
            self.assertEqual((dialogue.begin(), dialogue.feed(hello[:size])), (b"", b""))
            self.assertEqual((dialogue.done, dialogue.rest), (True, hello[:size]))

    def test_tls_after_gss_request(self) -> None:
        """Who has asked for something goes on asking."""
        detail = "TLS begins before STARTTLS"
        self.assert_fails(server, GSS + b"\x16\3\1", b"N" + error(b"08P01", detail.encode()), detail)

    def test_startup_in_the_clear(self) -> None:
        """A client that wants no TLS hears so in a way that it can show (psql: sslmode=disable)."""
        detail = "a connection without TLS is not allowed"
        for heard in (STARTUP, STARTUP[:8]):
            self.assert_fails(server, heard, error(b"28000", detail.encode()), detail)

    def test_cancel_in_the_clear(self) -> None:
        """A query is cancelled under TLS only; such a request is never answered."""
        self.assert_fails(server, CANCEL, b"", "a query is to be cancelled without TLS")

    def test_anything_else(self) -> None:
        """What is no request ends the connection, an SSLRequest of another length too."""
        for heard in (b"GET / HTTP/1.1\r\n", b"\0\0\0\x09" + SSL[4:], bytes(8)):
            self.assert_fails(server, heard, error(b"08P01", b"this is no SSLRequest"), "this is no SSLRequest")

    def test_injection(self) -> None:
        """A startup message behind SSLRequest ends the connection (CVE-2021-23214)."""
        detail = "there is more in the clear behind STARTTLS"
        self.assert_fails(server, SSL + STARTUP, error(b"08P01", detail.encode()), detail)


class ClientTests(TalkTests):
    """A client until SSLRequest is answered."""

    def test_ssl_request(self) -> None:
        """The client asks; a server that says yes speaks TLS."""
        self.assert_talk(client, SSL, [(b"S", b"")])

    def test_refusals(self) -> None:
        """A server that says no is left; an error, which anybody may have written, is not shown (CVE-2024-10977)."""
        self.assert_fails(client, b"N", b"", "it does not offer TLS")
        self.assert_fails(client, error(b"28000", b"come with me"), b"", 'it says "E" where S is expected')

    def test_injection(self) -> None:
        """An answer in the clear behind the agreement ends the connection (CVE-2021-23222)."""
        self.assert_fails(client, b"SR\0\0\0\x08\0\0\0\0", b"", "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """There is no greeting."""
        self.assertEqual(client().welcome, b"")
