"""LDAP until StartTLS: RFC 4511."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from mytls.preludes.dialogue import PreludeFailure
from tests.preludes.talks import TalkTests

OID, NOTICE_OID = b"1.3.6.1.4.1.1466.20037", b"1.3.6.1.4.1.1466.20036"
#: As ldapsearch 2.5 and OpenSSL 3.0 send it.
REQUEST = bytes.fromhex("301d 020101 7718 8016") + OID
RESPONSE = bytes.fromhex("3024 020101 781f 0a0100 0400 0400 8a16") + OID
server = partial(prelude, "ldap", "ldap.example")
client = partial(ask, "ldap", "ldap.example")


def message(*parts: bytes, number: bytes = b"\2\1\1") -> bytes:
    """A message."""
    content = number + b"".join(parts)
    return bytes((0x30, len(content))) + content


def result(tag: int, code: int, text: bytes = b"", name: bytes = b"", number: bytes = b"\2\1\1") -> bytes:
    """A message with a result."""
    content = bytes((10, 1, code, 4, 0, 4, len(text))) + text + (bytes((0x8A, len(name))) + name if name else b"")
    return message(bytes((tag, len(content))) + content, number=number)


def notice(text: str) -> bytes:
    """Notice of Disconnection: section 4.4.1."""
    return result(0x78, 2, text.encode(), NOTICE_OID, number=b"\2\1\0")


class ServerTests(TalkTests):
    """A server until StartTLS."""

    def test_start_tls(self) -> None:
        """A client that asks for TLS gets it."""
        self.assert_talk(server, b"", [(REQUEST, RESPONSE)])

    def test_long_lengths(self) -> None:
        """A length may have four bytes where one would do, as Microsoft's clients send it."""
        inner = b"\2\2\1\0" + bytes.fromhex("77 84 00000018 80 16") + OID
        heard = b"\x30\x84" + len(inner).to_bytes(4, "big") + inner
        self.assert_talk(server, b"", [(heard, result(0x78, 0, name=OID, number=b"\2\2\1\0"))])

    def test_everything_else_comes_later(self) -> None:
        """Before TLS each request is answered by its own kind of response: confidentialityRequired (section 4.1.9)."""
        kinds = {0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x4A: 0x6B, 0x6C: 0x6D, 0x6E: 0x6F, 0x77: 0x78}
        later = [
            (message(bytes((request, 0))), result(answer, 13, b"StartTLS comes first"))
            for request, answer in kinds.items()
        ]
        self.assert_talk(server, b"", [*later, (REQUEST, RESPONSE)])

    def test_abandon(self) -> None:
        """An abandon has no answer (section 4.11)."""
        self.assert_talk(server, b"", [(message(b"\x50\1\1"), b""), (REQUEST, RESPONSE)])

    def test_unbind(self) -> None:
        """Who leaves is not answered (section 4.3)."""
        detail = "the client has said goodbye before STARTTLS"
        self.assert_fails(server, message(b"\x42\0"), b"", detail, Cause.EOF)

    def test_no_message(self) -> None:
        """What is no message ends the connection, with a notice."""
        broken = {
            "no sequence": b"GET / HTTP/1.1\r\n",
            "an indefinite length": b"\x30\x80",
            "a length of five bytes": b"\x30\x85",
            "nothing in it": b"\x30\0",
            "no number": message(number=b"\4\1\1"),
            "a negative number": message(b"\x42\0", number=b"\2\1\x80"),
            "a number of no bytes": message(b"\x42\0", number=b"\2\0"),
            "a number of five bytes": message(b"\x42\0", number=b"\2\5\0\0\0\0\1"),
            "no request": message(),
            "an unknown request": message(b"\x61\0"),
            "a request that is cut off": message(b"\x77\5\0"),
            "a name that is cut off": message(b"\x77\3\x80\5\0"),
        }
        for heard in broken.values():
            self.assert_fails(server, heard, notice("this is no message of LDAP"), "this is no message of LDAP")

    def test_long_message(self) -> None:
        """A message that will be long is not waited for."""
        detail = "more than 8192 bytes in one message before TLS"
        self.assert_fails(server, b"\x30\x84\0\0\x20\0", notice(detail), detail)

    def test_injection(self) -> None:
        """A request behind StartTLS ends the connection, or the beginning of one."""
        detail = "there is more in the clear behind STARTTLS"
        for more in (message(b"\x60\0"), b"\x30"):
            self.assert_fails(server, REQUEST + more, notice(detail), detail)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_any_bytes(self, content: bytes, more: bytes) -> None:
        """Whatever comes has an answer, or is refused: nothing else happens."""
        for heard in (content, message(content) + more, message(bytes((0x77, len(content))) + content)):
            dialogue = server()
            dialogue.begin()
            try:
                dialogue.feed(heard)
            except PreludeFailure as failure:
                self.assertIn(failure.cause, (Cause.NOT_TLS, Cause.EOF))


class ClientTests(TalkTests):
    """A client until StartTLS."""

    def test_start_tls(self) -> None:
        """The client asks; a server that says yes speaks TLS, whether it says what to or not."""
        for answer in (RESPONSE, result(0x78, 0)):
            self.assert_talk(client, REQUEST, [(answer, b"")])

    def test_refusals(self) -> None:
        """A server that says no is left, one that says something else too."""
        self.assert_fails(client, result(0x78, 52), b"", "it answers StartTLS with the result 52")
        self.assert_fails(client, notice("go away"), b"", r'it answers StartTLS with the result 2, "go\x20away"')
        for heard in (result(0x78, 0, number=b"\2\1\2"), result(0x61, 0), message(b"\x78\3\4\1\0")):
            self.assert_fails(client, heard, b"", "it answers StartTLS with the result 0")
        for heard in (b"HTTP/1.1", message(b"\x78\0"), message()):
            self.assert_fails(client, heard, b"", "this is no message of LDAP")

    def test_injection(self) -> None:
        """An answer in the clear behind the agreement ends the connection."""
        self.assert_fails(client, RESPONSE + result(0x61, 0), b"", "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """There is no greeting."""
        self.assertEqual(client().welcome, b"")
