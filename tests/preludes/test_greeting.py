"""A backend's greeting, which the client has had already."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.preludes import PROTOCOLS
from mytls.preludes.dialogue import MAX_BYTES
from mytls.preludes.greeting import Greeting

#: What servers greet with.
YES = {
    "smtp": [b"220 mx.example ESMTP Postfix\r\n", b"220-be patient\r\n220-\r\n220 mx.example\r\n", b"220\r\n"],
    "imap": [b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] Dovecot ready.\r\n", b"* ok\r\n"],
    "pop3": [b"+OK Dovecot ready.\r\n", b"+OK\r\n"],
}
NO = {
    "smtp": [b"554 no\r\n", b"554-no\r\n554 no\r\n", b"2200 \r\n", b"\r\n"],
    "imap": [b"* BYE busy\r\n", b"* PREAUTH you\r\n", b"* OKAY\r\n"],
    "pop3": [b"-ERR busy\r\n", b"+OKAY\r\n"],
}
#: The first answer of a backend.
NEXT = b"250 mx.example\r\n"


class GreetingTests(SynchronousTestCase):
    """What the client gets of it."""

    def passed(self, greeting: Greeting, data: bytes, size: int) -> bytes:
        """What goes on to the client, in pieces."""
        return b"".join(greeting.swallow(data[at : at + size]) for at in range(0, len(data), size))

    def test_yes(self) -> None:
        """A greeting is kept from the client, and what comes behind it is not, however it is cut."""
        for protocol, greetings in YES.items():
            for each in greetings:
                for size in (1, 5, 1000):
                    greeting = Greeting(protocol)
                    self.assertEqual(self.passed(greeting, each + NEXT + b"220 x\r\n", size), NEXT + b"220 x\r\n", each)
                    self.assertTrue(greeting.done)

    def test_waits(self) -> None:
        """Until the greeting is whole, the client's bytes have to wait."""
        for protocol, greetings in YES.items():
            for each in greetings:
                greeting = Greeting(protocol)
                self.assertEqual((greeting.swallow(each[:-1]), greeting.done), (b"", False), each)
                self.assertEqual((greeting.swallow(each[-1:]), greeting.done), (b"", True), each)

    def test_no(self) -> None:
        """A greeting that says no goes to the client, as the answer to its first command."""
        for protocol, greetings in NO.items():
            for each in greetings:
                for size in (1, 5, 1000):
                    greeting = Greeting(protocol)
                    self.assertEqual(self.passed(greeting, each, size), each)
                    self.assertTrue(greeting.done)

    def test_none(self) -> None:
        """Where the backend says nothing by itself, or what the client waits for, everything passes at once."""
        for protocol in set(PROTOCOLS) - set(YES):
            greeting = Greeting(protocol)
            self.assertTrue(greeting.done)
            self.assertEqual(greeting.swallow(NEXT), NEXT)

    def test_bound(self) -> None:
        """A backend that says much and no greeting is none of this protocol."""
        for data in (b"220-", b"220 " + bytes(MAX_BYTES)):
            greeting = Greeting("smtp")
            greeting.swallow(data[:4])
            failure = self.assertRaises(TLSFailure, greeting.swallow, bytes(MAX_BYTES))
            self.assertEqual(failure.cause, Cause.BACKEND_REFUSED)
        greeting = Greeting("smtp")
        with self.assertRaises(TLSFailure):
            for _ in range(MAX_BYTES):
                greeting.swallow(b"220-more\r\n")
