"""What all preludes have in common: bounds, pieces of any size, both ends of ours together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mytls.errors import Cause
from mytls.preludes import PROTOCOLS, ask, prelude
from mytls.preludes.dialogue import MAX_BYTES, MAX_COMMANDS, MAX_MESSAGE, Dialogue, PreludeFailure
from tests.preludes.talks import TalkTests, fed

#: Something harmless that a client may say before TLS.
HARMLESS = {"smtp": b"NOOP\r\n", "imap": b"a NOOP\r\n", "pop3": b"NOOP\r\n", "sieve": b"NOOP\r\n",
            "ldap": b"\x30\5\2\1\1\x50\0", "xmpp": b"<a>"}  # fmt: skip
LINES = ("smtp", "imap", "pop3", "sieve")


class BoundTests(TalkTests):
    """A client can say little before TLS."""

    def test_long_line(self) -> None:
        """A line has an end; where that comes makes no difference."""
        for protocol in LINES:
            for data in (b"a" * MAX_MESSAGE, b"a" * MAX_MESSAGE + b"\n"):
                for size in (0, 1):
                    dialogue = prelude(protocol)
                    dialogue.begin()
                    failure = self.assertRaises(PreludeFailure, fed, dialogue, data, size)
                    self.assertEqual(failure.detail, "more than 1024 bytes in one message before TLS")

    def test_longest_line(self) -> None:
        """A line that is just short enough has its answer."""
        for protocol in LINES:
            dialogue = prelude(protocol)
            dialogue.begin()
            self.assertNotEqual(dialogue.feed(b"a" * (MAX_MESSAGE - 1) + b"\n"), b"")

    def test_many_commands(self) -> None:
        """A client that never comes to STARTTLS is left, after its commands were answered."""
        for protocol in (*LINES, "ldap"):
            dialogue = prelude(protocol)
            dialogue.begin()
            said = dialogue.feed(HARMLESS[protocol] * MAX_COMMANDS)
            failure = self.assertRaises(PreludeFailure, dialogue.feed, HARMLESS[protocol])
            self.assertEqual((failure.cause, failure.detail), (Cause.NOT_TLS, "too much is said before TLS"))
            self.assertIn(b"too much", failure.answer)
            whole = prelude(protocol)
            whole.begin()
            at_once = self.assertRaises(PreludeFailure, whole.feed, HARMLESS[protocol] * (MAX_COMMANDS + 1))
            self.assertEqual(at_once.answer, said + failure.answer)

    def test_many_bytes(self) -> None:
        """Few commands, and too much in them."""
        dialogue = prelude("smtp")
        dialogue.begin()
        line = b"a" * (MAX_MESSAGE - 1) + b"\n"
        dialogue.feed(line * (MAX_BYTES // MAX_MESSAGE))
        self.assertRaises(PreludeFailure, dialogue.feed, b"\n")

    def test_server_that_never_ends(self) -> None:
        """A server's greeting without an end is left too."""
        for protocol, line in {"smtp": b"220-\r\n", "sieve": b'""\r\n'}.items():
            dialogue = ask(protocol, "mail.example")
            dialogue.begin()
            self.assertRaises(PreludeFailure, dialogue.feed, line * 1000)


class BothEndsTests(TalkTests):
    """Our client and our server."""

    def test_they_agree(self) -> None:
        """They understand each other, in each protocol, in pieces of any size."""
        for protocol in PROTOCOLS:
            for size in (0, 1, 10):
                client, server = ask(protocol, "mail.example"), prelude(protocol, "mail.example")
                up, down = client.begin(), server.begin()
                while up or down:
                    up, down = up + fed(client, down, size), b""
                    up, down = b"", fed(server, up, size)
                self.assertTrue(client.done, protocol)
                self.assertTrue(server.done, protocol)

    def test_tls_at_once(self) -> None:
        """A client that begins with TLS is told at once, where the protocol does not allow it, with its first byte."""
        for protocol in set(PROTOCOLS) - {"postgres"}:
            dialogue = prelude(protocol)
            dialogue.begin()
            failure = self.assertRaises(PreludeFailure, dialogue.feed, b"\x16")
            self.assertEqual(failure.detail, "TLS begins before STARTTLS")

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever comes is answered or refused, at both ends, whole as in pieces."""
        for protocol in PROTOCOLS:
            for start in (prelude, ask):
                whole, pieces = (self.heard(start(protocol, "mail.example"), data, size) for size in (200, 1))
                if "agreed" not in pieces:  # what comes behind the agreement must not come with it
                    self.assertEqual(whole, pieces, (protocol, start))

    def heard(self, dialogue: Dialogue, data: bytes, size: int) -> str:
        """What becomes of it."""
        dialogue.begin()
        try:
            for at in range(0, len(data), size):
                dialogue.feed(data[at : at + size])
                if dialogue.done:
                    return "agreed"
        except PreludeFailure as failure:
            return failure.detail
        return "goes on"
