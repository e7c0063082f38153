"""The PROXY protocol, read: sections 2.1 and 2.2 of its specification, and what others send."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.proxyheader import Address, ProxyHeader
from mytls.proxyreader import MAX_LINE, ProxyHeaderReader
from mytls.proxytlvs import TLV, Client, ClientTLS, SSLType, Type, crc32c, value_of
from tests.tls.test_hello import client_hello

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
#: What a client of TLS sends next, and what would begin a header anew.
TRAILERS = (b"", b"\x16", client_hello(), SIGNATURE, b"\r\n", b"PROXY TCP4 ")


def tcp4(source: str, source_port: int, destination: str, destination_port: int) -> ProxyHeader:
    """A header that says this of a TCP connection over IPv4."""
    return ProxyHeader(IPv4Address("TCP", source, source_port), IPv4Address("TCP", destination, destination_port))


def tcp6(source: str, source_port: int, destination: str, destination_port: int) -> ProxyHeader:
    """The same over IPv6."""
    return ProxyHeader(IPv6Address("TCP", source, source_port), IPv6Address("TCP", destination, destination_port))


def v2(block: bytes = b"", transport: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack(">BBH", command, transport, len(block) if length is None else length) + block


def tlv(kind: int, value: bytes) -> bytes:
    """A TLV."""
    return struct.pack(">BH", kind, len(value)) + value


def summed(block: bytes, transport: int = 0x11, behind: bytes = b"") -> bytes:
    """A header with its checksum, between the block and what is behind it."""
    header = v2(block + tlv(3, bytes(4)) + behind, transport)
    at = 16 + len(block) + 3
    return header[:at] + struct.pack(">I", crc32c(header)) + header[at + 4 :]


V4 = bytes.fromhex("c0000201 c6336402 dc04 01bb")
V4_HEADER = tcp4("192.0.2.1", 56324, "198.51.100.2", 443)

#: What HAProxy 2.6 and nginx 1.22 have sent: the bytes, and what they say.
RECORDED = {
    "haproxy send-proxy": (
        b"PROXY TCP4 127.0.0.1 127.0.0.1 41576 20101\r\n",
        tcp4("127.0.0.1", 41576, "127.0.0.1", 20101),
    ),
    "haproxy send-proxy, IPv6": (b"PROXY TCP6 ::1 ::1 36078 20102\r\n", tcp6("::1", 36078, "::1", 20102)),
    "haproxy send-proxy, UNIX": (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    "haproxy and nginx, IPv4 on a socket of IPv6": (
        b"PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 59674 20109\r\n",
        tcp6("::ffff:127.0.0.1", 59674, "::ffff:127.0.0.1", 20109),
    ),
    "haproxy send-proxy-v2": (
        bytes.fromhex("0d0a0d0a000d0a515549540a2111000c7f0000017f00000182044e87"),
        tcp4("127.0.0.1", 33284, "127.0.0.1", 20103),
    ),
    "haproxy send-proxy-v2, IPv6": (
        bytes.fromhex(
            "0d0a0d0a000d0a515549540a212100240000000000000000000000000000000100000000000000000000000000000001be4a4e88"
        ),
        tcp6("::1", 48714, "::1", 20104),
    ),
    "haproxy send-proxy-v2, UNIX": (
        bytes.fromhex("0d0a0d0a000d0a515549540a2000001203000410342bfe050008756e697175652d37"),
        ProxyHeader(local=True),
    ),
    "haproxy crc32c": (
        bytes.fromhex("0d0a0d0a000d0a515549540a211100137f0000017f00000188f04e890300044a906138"),
        tcp4("127.0.0.1", 35056, "127.0.0.1", 20105),
    ),
    "haproxy ssl": (
        bytes.fromhex("0d0a0d0a000d0a515549540a2111001e7f0000017f00000183ac4e8e20000f0100000000210007544c5376312e33"),
        attrs.evolve(
            tcp4("127.0.0.1", 33708, "127.0.0.1", 20110),
            tlvs=(TLV(0x20, ClientTLS(1, 0, (TLV(0x21, b"TLSv1.3"),)).to_bytes()),),
        ),
    ),
}

#: HAProxy 2.6 with every option there is, and a session that was resumed, of a client with a certificate.
RESUMED = bytes.fromhex(
    "0d0a0d0a000d0a515549540a211100897f0000017f000001a5864e8a030004a143d7cf010002683202000f7777772e6578616d706c652e636f"
    "6d050008756e697175652d372000510500000000210007544c5376312e32220003616e6e25000752534132303438240011656364"
    "73612d776974682d53484132353623001b45434448452d5253412d4145533235362d47434d2d534841333834"
)


def read(data: bytes, piece: int = 1 << 20) -> tuple[ProxyHeader | None, bytes]:
    """What a new reader finds in the data, and what it leaves of it."""
    reader = ProxyHeaderReader()
    for at in range(0, len(data), piece):
        header = reader.feed(data[at : at + piece])
        if header is not None:
            return header, reader.rest + data[at + piece :]
        assert reader.rest == b""
    return None, b""


class ReaderTestCase(SynchronousTestCase):
    """What all these tests ask."""

    def assert_read(self, data: bytes, expected: ProxyHeader) -> None:
        """The data are this header, in pieces of any size, whatever comes behind it, and not a byte before its end."""
        for trailer in TRAILERS:
            for piece in (1, 2, 7, 1 << 20):
                self.assertEqual(read(data + trailer, piece), (expected, trailer))
        self.assertEqual(read(data[:-1]), (None, b""))

    def assert_refused(self, data: bytes, words: str, by: int | None = None) -> None:
        """
        The data are refused in these words, in pieces of any size.

        @param by: how many bytes are enough to know it
        """
        enough = data if by is None else data[:by]
        for piece in (1, 1 << 20):
            failure = self.assertRaises(TLSFailure, read, enough, piece)
            self.assertEqual(failure.cause, Cause.PROXY_HEADER)
            self.assertIn(words, failure.detail)
            self.assertIsNone(failure.alert)
        if by is not None:
            self.assertEqual(read(data[: by - 1], 1), (None, b""))


class RecordedTests(ReaderTestCase):
    """What others send."""

    def test_recorded(self) -> None:
        """The headers of HAProxy and nginx are read as what they say."""
        for data, expected in RECORDED.values():
            self.assert_read(data, expected)

    def test_everything(self) -> None:
        """Of HAProxy's whole header all is there, without the checksum; a session that was resumed is told."""
        header, _ = read(RESUMED)
        assert header is not None
        self.assertEqual(
            attrs.evolve(header, tlvs=header.tlvs[:3]),
            attrs.evolve(
                tcp4("127.0.0.1", 42374, "127.0.0.1", 20106),
                tlvs=(
                    TLV(Type.ALPN, b"h2"),
                    TLV(Type.AUTHORITY, b"www.example.com"),
                    TLV(Type.UNIQUE_ID, b"unique-7"),
                ),
            ),
        )
        tls = ClientTLS.from_bytes(value_of(header.tlvs, Type.SSL) or b"")
        self.assertEqual((tls.client, tls.verify), (Client.SSL | Client.CERT_SESS, 0))
        self.assertEqual(
            [(each.kind, each.value) for each in tls.tlvs],
            [
                (SSLType.VERSION, b"TLSv1.2"),
                (SSLType.CN, b"ann"),
                (SSLType.KEY_ALG, b"RSA2048"),
                (SSLType.SIG_ALG, b"ecdsa-with-SHA256"),
                (SSLType.CIPHER, b"ECDHE-RSA-AES256-GCM-SHA384"),
            ],
        )

    def test_any_bit(self) -> None:
        """With a checksum, no bit of a header but those that say that it is one can change what the header says."""
        data = bytearray(RECORDED["haproxy crc32c"][0])
        for at in (*range(12, 28), *range(29, len(data))):
            for bit in range(8):
                data[at] ^= 1 << bit
                try:
                    header, _ = read(bytes(data))
                except TLSFailure:
                    pass
                else:  # one of a greater length, LOCAL, or of no family: nothing of it is believed
                    self.assertIn(header, (None, ProxyHeader(local=True), ProxyHeader()))
                data[at] ^= 1 << bit


class LineTests(ReaderTestCase):
    """Version 1 (section 2.1)."""

    def test_specification(self) -> None:
        """The specification's examples: of a request, and the longest lines of each family."""
        self.assert_read(
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", tcp4("192.168.0.1", 56324, "192.168.0.11", 443)
        )
        self.assert_read(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            tcp4("255.255.255.255", 65535, "255.255.255.255", 65535),
        )
        most = ":".join(["ffff"] * 8)
        self.assert_read(f"PROXY TCP6 {most} {most} 65535 65535\r\n".encode("ascii"), tcp6(most, 65535, most, 65535))
        self.assert_read(f"PROXY UNKNOWN {most} {most} 65535 65535\r\n".encode("ascii"), ProxyHeader())

    def test_spelling(self) -> None:
        """An address of IPv6 is the same in each of its spellings; a port may be 0."""
        for written in (b"2001:db8::1", b"2001:DB8:0:0:0:0:0:1", b"2001:0db8::0:1"):
            self.assert_read(b"PROXY TCP6 %b :: 0 65535\r\n" % written, tcp6("2001:db8::1", 0, "::", 65535))

    def test_unknown(self) -> None:
        """Behind UNKNOWN may stand anything, which is not looked at."""
        for more in (b"", b" ", b" \x00\xff\x16\x03", b" a\nb", b" TCP4 1.2.3.4", b" " + b"x" * 91):
            self.assert_read(b"PROXY UNKNOWN%b\r\n" % more, ProxyHeader())

    def test_limit(self) -> None:
        """A line has at most 107 bytes; the last of them decides."""
        self.assert_refused(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "within 107 bytes", MAX_LINE)
        self.assert_refused(b"PROXY UNKNOWN " + b"\n" * 200, "within 107 bytes", MAX_LINE)
        self.assert_refused(b"PROXY TCP6 " + b"1" * 200, "within 107 bytes", MAX_LINE)

    def test_lines(self) -> None:
        """What does not match exactly is refused."""
        for words in (
            b"TCP4 1.2.3.4 1.2.3.4 1",
            b"TCP4 1.2.3.4 1.2.3.4 1 2 3",
            b"TCP4 1.2.3.4  1.2.3.4 1 2",
            b"TCP4  1.2.3.4 1.2.3.4 1 2",
            b"TCP4 1.2.3.4 1.2.3.4 1 2 ",
            b"TCP4 1.2.3.4 1.2.3 1 2",
            b"TCP4 1.2.3.4 1.2.3.4.5 1 2",
            b"TCP4 1.2.3.4 1.2.3.256 1 2",
            b"TCP4 01.2.3.4 1.2.3.4 1 2",
            b"TCP4 1.2.3.4 1.2.3.04 1 2",
            b"TCP4 1.2.3.4 1.2.3.4 01 2",
            b"TCP4 1.2.3.4 1.2.3.4 1 00",
            b"TCP4 1.2.3.4 1.2.3.4 1 100000",
            b"TCP4 ::1 ::1 1 2",
            b"TCP4 ::ffff:1.2.3.4 ::ffff:1.2.3.4 1 2",
            b"TCP6 1.2.3.4 1.2.3.4 1 2",
            b"TCP6 ::1 1.2.3.4 1 2",
            b"TCP6 1::2::3 ::1 1 2",
            b"TCP6 1:2:3:4:5:6:7 ::1 1 2",
            b"TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2",
            b"TCP6 00001::1 ::1 1 2",
            b"TCP4 1.2.3.4 1.2.3.4 a b",
        ):
            self.assert_refused(b"PROXY %b\r\n" % words, "is no PROXY line")
        self.assert_refused(b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "no port 65536")
        self.assert_refused(b"PROXY TCP6 ::1 ::1 1 99999\r\n", "no port 99999")

    def test_ends_early(self) -> None:
        """What can be no line is refused with the byte that says so."""
        self.assert_refused(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "is no PROXY line", 31)
        self.assert_refused(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r1", "is no PROXY line", 32)
        self.assert_refused(b"PROXY TCP4 -1", "is no PROXY line", 12)
        self.assert_refused(b"PROXY TCP6 fe80::1%eth0", "is no PROXY line", 19)
        self.assert_refused(b"PROXY TCP4 \xd9\xa1.2.3.4", "is no PROXY line", 12)
        self.assert_refused(b"PROXY TCP5 ", "was due", 10)
        self.assert_refused(b"PROXY tcp4 ", "was due", 7)
        self.assert_refused(b"PROXY\tTCP4 ", "was due", 6)
        self.assert_refused(b"PROXY UNKNOWNS\r\n", "was due", 14)
        self.assert_refused(b"PROXY UNKNOWN\rx", "was due", 15)
        self.assert_refused(b"PROXY\r\n", "was due", 6)


class BinaryTests(ReaderTestCase):
    """Version 2 (section 2.2)."""

    def test_families(self) -> None:
        """Each family, each protocol."""
        paths = b"/run/a".ljust(108, b"\0") + b"\0name".ljust(108, b"\0")
        unix = ProxyHeader(UNIXAddress(b"/run/a"), UNIXAddress(b"\0name"))
        six = bytes(15) + b"\1" + bytes(15) + b"\2" + V4[8:]
        datagrams = ProxyHeader(IPv4Address("UDP", "192.0.2.1", 56324), IPv4Address("UDP", "198.51.100.2", 443))
        datagrams6 = ProxyHeader(IPv6Address("UDP", "::1", 56324), IPv6Address("UDP", "::2", 443))
        self.assert_read(v2(V4, 0x11), V4_HEADER)
        self.assert_read(v2(V4, 0x12), datagrams)
        self.assert_read(v2(six, 0x21), tcp6("::1", 56324, "::2", 443))
        self.assert_read(v2(six, 0x22), datagrams6)
        self.assert_read(v2(paths, 0x31), unix)
        self.assert_read(v2(paths, 0x32), unix)

    def test_paths(self) -> None:
        """A path ends at its first NUL, or with the block; an abstract name begins with one; there may be none."""
        for sent, name in (
            (b"/run/a\0left over".ljust(108, b"\0"), b"/run/a"),
            (b"/" * 108, b"/" * 108),
            (bytes(108), None),
            (b"\0a\0b".ljust(108, b"\0"), b"\0a\0b"),
        ):
            header, _ = read(v2(sent + sent, 0x31))
            assert header is not None
            assert isinstance(header.source, UNIXAddress)
            assert isinstance(header.destination, UNIXAddress)
            self.assertEqual((header.source.name, header.destination.name), (name, name))

    def test_unspecified(self) -> None:
        """Where there is no family or no protocol there is no address; what is no TLV is skipped."""
        said = ProxyHeader(tlvs=(TLV(0xE0, b"x"),))
        self.assert_read(v2(b"", 0x00), ProxyHeader())
        self.assert_read(v2(tlv(0xE0, b"x"), 0x00), said)
        self.assert_read(v2(tlv(0xE0, b"x"), 0x01), said)
        self.assert_read(v2(V4 + tlv(0xE0, b"x"), 0x10), said)
        self.assert_read(v2(b"\xff" * 9, 0x00), ProxyHeader())
        self.assert_read(v2(b"\xff" * 9, 0x20), ProxyHeader())
        self.assert_refused(v2(tlv(3, b"sums"), 0x00), "CRC32C")

    def test_local(self) -> None:
        """Of a LOCAL header nothing is looked at but its length."""
        for transport in (0x00, 0x11, 0x31, 0xFF):
            for block in (b"", V4, b"\xff" * 9, V4 + tlv(3, b"sums")):
                self.assert_read(v2(block, transport, 0x20), ProxyHeader(local=True))
        self.assertEqual(read(v2(bytes(0xFFFF), 0x00, 0x20) + b"x"), (ProxyHeader(local=True), b"x"))

    def test_fixed(self) -> None:
        """Versions, commands, families and protocols that are not there are refused with the sixteenth byte."""
        for command in (0x00, 0x01, 0x11, 0x22, 0x2F, 0x31):
            self.assert_refused(v2(V4, 0x11, command), "version and command", 16)
        for transport in (0x13, 0x1F, 0x41, 0x40, 0xF1, 0x03):
            self.assert_refused(v2(V4, transport), "family and protocol", 16)

    def test_short(self) -> None:
        """Addresses that do not fit are refused, and not read from what comes behind."""
        for transport, size in ((0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)):
            for length in (0, size - 1):
                self.assert_refused(v2(bytes(300), transport, length=length), "do not fit")

    def test_signature(self) -> None:
        """Each byte of the signature counts."""
        for at in range(1, 12):
            self.assert_refused(SIGNATURE[:at] + b"!" + bytes(20), "was due", at + 1)

    def test_others(self) -> None:
        """What begins with something else is named."""
        self.assert_refused(client_hello(), "a TLS handshake where a PROXY header was due", 1)
        self.assert_refused(b"GET / HTTP/1.1\r\n", '"G', 1)
        self.assert_refused(b"\0", '"\\x00"', 1)
        self.assertIsNone(ProxyHeaderReader().feed(b""))


class TLVTests(ReaderTestCase):
    """What else is said (section 2.2)."""

    def assert_tlvs(self, block: bytes, tlvs: Iterable[TLV]) -> None:
        """The block behind the addresses is read as these."""
        self.assert_read(v2(V4 + block), attrs.evolve(V4_HEADER, tlvs=tuple(tlvs)))

    def test_kept(self) -> None:
        """Types that nobody knows are kept, and their order, and that they repeat; padding is not."""
        known = (TLV(0x30, b"net"), TLV(0x05, bytes(128)), TLV(0x02, b"a.example"), TLV(0x01, b"h2"))
        custom = (TLV(0xEA, b"\1vpce"), TLV(0xEA, b""), TLV(0x00, b"\0"), TLV(0xFF, b"x" * 5000), TLV(0x21, b"?"))
        for tlvs in (known, custom, known + custom):
            sent = tlv(4, b"") + b"".join(tlv(each.kind, each.value) + tlv(4, bytes(3)) for each in tlvs)
            self.assert_tlvs(sent, tlvs)

    def test_greatest(self) -> None:
        """A header may be as long as its length can say, in as many TLVs as there are."""
        room = 0xFFFF - len(V4)
        one = tlv(0xE0, bytes(room - 3))
        self.assertEqual(read(v2(V4 + one) + b"x"), (attrs.evolve(V4_HEADER, tlvs=(TLV(0xE0, bytes(room - 3)),)), b"x"))
        header, _ = read(v2(V4 + tlv(0xE0, b"") * (room // 3)))
        assert header is not None
        self.assertEqual(header.tlvs, (TLV(0xE0, b""),) * (room // 3))

    def test_lengths(self) -> None:
        """Lengths that do not add up are refused, also of the TLVs of a TLV."""
        whole = tlv(0xE0, b"four")
        for cut in (1, 2, 3, len(whole) - 1):
            self.assert_refused(v2(V4 + whole + whole[:cut]), "do not add up")
            self.assert_refused(v2(V4 + tlv(0x20, b"\1" + bytes(4) + whole[:cut])), "do not add up")
        for short in range(5):
            self.assert_refused(v2(V4 + tlv(0x20, bytes(short))), f"an SSL TLV of {short} bytes")

    def test_ambiguous(self) -> None:
        """What can be said once is not said twice; a unique ID has at most 128 bytes."""
        for kind, value in ((1, b"h2"), (2, b"a"), (5, b"id"), (0x20, bytes(5)), (0x30, b"n")):
            self.assert_tlvs(tlv(kind, value), [TLV(kind, value)])
            self.assert_refused(v2(V4 + tlv(kind, value) * 2), "too many")
        self.assert_refused(v2(V4 + tlv(5, bytes(129))), "unique ID")

    def test_checksum(self) -> None:
        """A checksum is of the whole header, wherever it stands; one that is wrong is refused."""
        for header, tlvs in (
            (summed(V4), ()),
            (summed(V4, behind=tlv(1, b"h2")), (TLV(1, b"h2"),)),
            (summed(V4 + tlv(1, b"h2"), behind=tlv(4, bytes(9))), (TLV(1, b"h2"),)),
        ):
            self.assert_read(header, attrs.evolve(V4_HEADER, tlvs=tlvs))
            self.assert_refused(header[:16] + b"\x0a" + header[17:], "the CRC32C of a PROXY header is wrong")

    def test_checksum_form(self) -> None:
        """A checksum has four bytes, and stands once."""
        for block in (tlv(3, b""), tlv(3, bytes(3)), tlv(3, bytes(5)), tlv(3, bytes(4)) * 2):
            self.assert_refused(v2(V4 + block), "four bytes")


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Address | None, Address | None]:
    """Two addresses of one family."""
    port = st.integers(0, 0xFFFF)
    kind = draw(st.sampled_from(("TCP", "UDP")))
    path = st.none() | st.binary(min_size=1, max_size=108).filter(lambda path: b"\0" not in path)
    family: st.SearchStrategy[Address] = draw(
        st.sampled_from(
            (
                st.builds(IPv4Address, st.just(kind), st.ip_addresses(v=4).map(str), port),
                st.builds(IPv6Address, st.just(kind), st.ip_addresses(v=6, network="2000::/3").map(str), port),
                st.builds(UNIXAddress, path),
            )
        )
    )
    return draw(st.just((None, None)) | st.tuples(family, family))


tlvs = st.lists(st.builds(TLV, st.integers(0x40, 0xFF), st.binary(max_size=40)), max_size=5)
connections = st.builds(lambda both, said: ProxyHeader(both[0], both[1], tlvs=tuple(said)), pairs(), tlvs)
#: Bytes that go far: starts of headers, and pieces of them.
garbage = st.lists(
    st.binary(max_size=20)
    | st.sampled_from((SIGNATURE, b"\x21\x11", b"\x20\x00", b"\0\x0c", V4, b"PROXY ", b"TCP4 "))
    | st.sampled_from((b"PROXY UNKNOWN", b"1.2.3.4 ", b"1 ", b"\r", b"\n")),
    max_size=12,
).map(b"".join)


hard = settings(max_examples=200, derandomize=True, database=None, deadline=None)


class PropertyTests(SynchronousTestCase):
    """What holds for all of them."""

    @hard
    @given(connections | st.just(ProxyHeader(local=True)), st.booleans(), st.binary(max_size=20), st.integers(1, 300))
    def test_there_and_back(self, header: ProxyHeader, checksum: bool, trailer: bytes, piece: int) -> None:
        """A header of version 2 is read as what it was made of, in pieces of any size, whatever comes behind it."""
        if header.local:
            checksum = False
        self.assertEqual(read(header.to_v2(checksum=checksum) + trailer, piece), (header, trailer))

    @hard
    @given(connections, st.binary(max_size=20), st.integers(1, 300))
    def test_line_and_back(self, header: ProxyHeader, trailer: bytes, piece: int) -> None:
        """So is a line of version 1, which has no TLVs, and no addresses where they are not of TCP."""
        source = header.source
        tcp = isinstance(source, IPv4Address | IPv6Address) and source.type == "TCP"
        expected = attrs.evolve(header, tlvs=()) if tcp else ProxyHeader()
        self.assertEqual(read(header.to_v1() + trailer, piece), (expected, trailer))

    @hard
    @given(garbage, st.integers(1, 40))
    def test_garbage(self, data: bytes, piece: int) -> None:
        """Whatever comes is a header, the start of one, or refused; the pieces change nothing; nothing gets lost."""

        def outcome(piece: int) -> object:
            try:
                return read(data, piece)
            except TLSFailure as failure:
                self.assertEqual(failure.cause, Cause.PROXY_HEADER)
                self.assertTrue(failure.detail.isprintable())
                self.assertLess(len(failure.detail), 600)
                return "refused"

        whole = outcome(1 << 20)
        self.assertEqual(whole, outcome(piece))
        if isinstance(whole, tuple) and whole[0] is not None:
            self.assertTrue(data.endswith(whole[1]))
