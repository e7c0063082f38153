"""What a PROXY header says, as a value, and its bytes."""

from __future__ import annotations

import attrs
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.proxyheader import ProxyHeader
from mytls.proxytlvs import MAX_VALUE, TLV, ClientTLS, HeaderError, Type, crc32c, value_of

FOUR, OTHER_FOUR = IPv4Address("TCP", "192.0.2.1", 50000), IPv4Address("TCP", "192.0.2.2", 443)
SIX, OTHER_SIX = IPv6Address("TCP", "2001:db8::1", 50000), IPv6Address("TCP", "2001:db8::2", 443)


class BytesTests(SynchronousTestCase):
    """The bytes of a header, as others have made them."""

    def test_line(self) -> None:
        """Version 1, as HAProxy writes it."""
        self.assertEqual(ProxyHeader(FOUR, OTHER_FOUR).to_v1(), b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n")
        self.assertEqual(ProxyHeader(SIX, OTHER_SIX).to_v1(), b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 443\r\n")
        paths = ProxyHeader(UNIXAddress(None), UNIXAddress(b"/run/x"))
        datagrams = ProxyHeader(attrs.evolve(FOUR, type="UDP"), attrs.evolve(OTHER_FOUR, type="UDP"))
        for header in (ProxyHeader(), ProxyHeader(local=True), paths, datagrams):
            self.assertEqual(header.to_v1(), b"PROXY UNKNOWN\r\n")

    def test_binary(self) -> None:
        """Version 2, as HAProxy writes it, with the checksum too."""
        here = IPv4Address("TCP", "127.0.0.1", 20105)
        header = ProxyHeader(attrs.evolve(here, port=35056), here)
        start = "0d0a0d0a000d0a515549540a2111"
        self.assertEqual(header.to_v2().hex(), start + "000c7f0000017f00000188f04e89")
        self.assertEqual(header.to_v2(checksum=True).hex(), start + "00137f0000017f00000188f04e89" + "0300044a906138")

    def test_without_addresses(self) -> None:
        """A connection without addresses is one of no family; one of the proxy's own is LOCAL, and empty."""
        self.assertEqual(ProxyHeader().to_v2().hex(), "0d0a0d0a000d0a515549540a21000000")
        self.assertEqual(ProxyHeader(local=True).to_v2().hex(), "0d0a0d0a000d0a515549540a20000000")
        self.assertEqual(
            ProxyHeader(tlvs=(TLV(Type.ALPN, b"h2"),)).to_v2().hex(), "0d0a0d0a000d0a515549540a210000050100026832"
        )

    def test_too_much(self) -> None:
        """What no length can say is an error, and what just fits is not."""
        most = MAX_VALUE - 12 - 3
        header = ProxyHeader(FOUR, OTHER_FOUR, tlvs=(TLV(0xE0, bytes(most)),))
        self.assertEqual(len(header.to_v2()), 16 + MAX_VALUE)
        self.assertRaises(HeaderError, header.to_v2, checksum=True)

    def test_checksum(self) -> None:
        """The checksum is CRC32C: the values of RFC 3720 appendix B.4."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(crc32c(b"\xff" * 32), 0x62A8AB43)
        self.assertEqual(crc32c(bytes(range(32))), 0x46DD794E)
        self.assertEqual(crc32c(b""), 0)


class BetweenTests(SynchronousTestCase):
    """The header of a connection of ours."""

    def between(self, source: IAddress | None, destination: IAddress | None) -> tuple[object, object]:
        """The addresses in the header, which can be said in both versions."""
        header = ProxyHeader.between(source, destination)
        header.to_v1(), header.to_v2()
        return header.source, header.destination

    def test_one_family(self) -> None:
        """Addresses of one family are as they are."""
        paths = UNIXAddress(b"/run/a"), UNIXAddress(b"/run/b")
        for pair in ((FOUR, OTHER_FOUR), (SIX, OTHER_SIX), paths):
            self.assertEqual(self.between(*pair), pair)

    def test_two_families(self) -> None:
        """An IPv4 address beside one of IPv6 is written as one of IPv6."""
        mapped = IPv6Address("TCP", "::ffff:192.0.2.1", 50000)
        self.assertEqual(self.between(FOUR, OTHER_SIX), (mapped, OTHER_SIX))
        self.assertEqual(self.between(OTHER_SIX, FOUR), (OTHER_SIX, mapped))

    def test_zone(self) -> None:
        """A zone, which is of one machine, is not said."""
        near = IPv6Address("TCP", "fe80::1%eth0", 50000, scopeID=2)
        self.assertEqual(self.between(near, OTHER_SIX), (IPv6Address("TCP", "fe80::1", 50000), OTHER_SIX))

    def test_unsayable(self) -> None:
        """What no header can name is not said."""
        long = UNIXAddress(b"x" * 109)
        for pair in (
            (None, None),
            (FOUR, None),
            (FOUR, UNIXAddress(b"/run/a")),
            (long, long),
            (IPv4Address("TCP", "localhost", 1), OTHER_FOUR),
            (HostnameAddress(b"a.example", 1), HostnameAddress(b"b.example", 2)),
            (FOUR, attrs.evolve(OTHER_FOUR, type="UDP")),
        ):
            self.assertEqual(self.between(*pair), (None, None))

    def test_unnamed(self) -> None:
        """A UNIX client has no name of its own, however its transport says so."""
        for unnamed in (UNIXAddress(None), UNIXAddress(b"")):
            self.assertEqual(self.between(unnamed, UNIXAddress(b"/a")), (UNIXAddress(None), UNIXAddress(b"/a")))


class WrongTests(SynchronousTestCase):
    """A value that no header can say does not exist."""

    def test_wrong_values(self) -> None:
        """Two families; no address, port or path; LOCAL with an address or a TLV."""
        far = attrs.evolve(FOUR, port=65536)
        long = UNIXAddress(b"x" * 109)
        for source, destination in (
            (FOUR, None),
            (None, FOUR),
            (FOUR, SIX),
            (far, FOUR),
            (FOUR, far),
            (attrs.evolve(FOUR, port=-1), FOUR),
            (attrs.evolve(FOUR, host="1.2.3"), FOUR),
            (attrs.evolve(SIX, host="1.2.3.4"), SIX),
            (attrs.evolve(FOUR, host="1.2.3.4\0"), FOUR),
            (long, long),
        ):
            self.assertRaises(HeaderError, ProxyHeader, source, destination)
        self.assertRaises(HeaderError, ProxyHeader, FOUR, FOUR, local=True)
        self.assertRaises(HeaderError, ProxyHeader, local=True, tlvs=(TLV(1, b"h2"),))

    def test_wrong_tlvs(self) -> None:
        """Checksum and padding, which are not of the value; a type or a value out of range."""
        for wrong in (TLV(Type.CRC32C, bytes(4)), TLV(Type.NOOP, b""), TLV(Type.UNIQUE_ID, bytes(129))):
            self.assertRaises(HeaderError, ProxyHeader, tlvs=(wrong,))
        self.assertRaises(HeaderError, TLV, 256, b"")
        self.assertRaises(HeaderError, TLV, -1, b"")
        self.assertRaises(HeaderError, TLV, 1, bytes(0x10000))

    def test_shown(self) -> None:
        """What a header carries is not in its text: a certificate would fill a log."""
        self.assertEqual(repr(TLV(0xE0, b"secret")), "TLV(kind=224, value=<6 bytes>)")


class TLVTests(SynchronousTestCase):
    """What else is said."""

    def test_first(self) -> None:
        """The value of a type is that of the first, where there is one."""
        said = (TLV(0xE0, b"a"), TLV(0xE1, b"b"), TLV(0xE0, b"c"))
        self.assertEqual(value_of(said, 0xE0), b"a")
        self.assertIsNone(value_of(said, 0xE2))

    def test_client(self) -> None:
        """What is said of a client's TLS has its place in five bytes and TLVs (section 2.2.6)."""
        said = ClientTLS(5, 0x01020304, (TLV(0x21, b"TLSv1.3"), TLV(0x28, b"")))
        self.assertEqual(said.to_bytes().hex(), "0501020304" + "210007544c5376312e33" + "280000")
        self.assertEqual(ClientTLS.from_bytes(said.to_bytes()), said)
