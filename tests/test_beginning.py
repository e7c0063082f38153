"""What a connection begins with, in pieces."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from mytls.beginning import Beginning
from mytls.errors import Cause, TLSFailure
from mytls.proxyheader import ProxyHeader
from mytls.tls.hello import ClientHello
from tests.tls.test_hello import client_hello

HEADER = ProxyHeader(IPv4Address("TCP", "192.0.2.9", 40000), IPv4Address("TCP", "198.51.100.2", 443))
HEADERS = (HEADER.to_v1(), HEADER.to_v2(), HEADER.to_v2(checksum=True))


class BeginningTests(SynchronousTestCase):
    """A header where one is due, and a ClientHello."""

    def setUp(self) -> None:
        self.told: list[ProxyHeader] = []

    def fed(self, beginning: Beginning, data: bytes, piece: int) -> ClientHello | None:
        """Feed it in pieces of this size. @return: the ClientHello, which only the last piece makes whole"""
        found = None
        for at in range(0, len(data), piece):
            self.assertIsNone(found)
            found = beginning.feed(data[at : at + piece])
        return found

    def test_pieces(self) -> None:
        """The header is told once, before the ClientHello, and is none of the bytes that OpenSSL reads."""
        hello = client_hello()
        for header in HEADERS:
            for piece in (1, 2, 7, len(header), 1 << 20):
                del self.told[:]
                beginning = Beginning(self.told.append)
                self.assertIsNotNone(self.fed(beginning, header + hello, piece), piece)
                self.assertEqual((self.told, beginning.received), ([HEADER], hello))

    def test_without(self) -> None:
        """Where no header is due the first byte is the ClientHello's."""
        beginning, hello = Beginning(), client_hello()
        self.assertIsNotNone(self.fed(beginning, hello, 1))
        self.assertEqual(beginning.received, hello)

    def test_missing(self) -> None:
        """Where one is due there is no way around it; where none is, none."""
        for told, data in ((self.told.append, client_hello()), (None, HEADERS[0]), (None, HEADERS[1])):
            failure: TLSFailure = self.assertRaises(TLSFailure, self.fed, Beginning(told), data, 1 << 20)
            self.assertIs(failure.cause, Cause.PROXY_HEADER)
        self.assertEqual(self.told, [])

    def test_refused(self) -> None:
        """What whoever is told of the header has against it is the end, before anything behind it is looked at."""

        def refuse(header: ProxyHeader) -> None:
            raise TLSFailure(Cause.FROM, "no")

        failure: TLSFailure = self.assertRaises(TLSFailure, Beginning(refuse).feed, HEADERS[0] + b"no TLS")
        self.assertIs(failure.cause, Cause.FROM)

    def test_cut(self) -> None:
        """An end within the header is a header's; an end before it or behind it is one as of anybody."""
        for header in HEADERS:
            for at in range(len(header) + 1):
                beginning = Beginning(self.told.append)
                beginning.feed(header[:at]) if at else None
                expected = Cause.PROXY_HEADER if 0 < at < len(header) else Cause.EOF
                self.assertIs(beginning.cut().cause, expected, at)
        self.assertIs(Beginning().cut().cause, Cause.EOF)
