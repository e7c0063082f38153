"""
What a PROXY header of version 2 says beside the addresses: TLVs, each a type, a length and a value.

@see: U{https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt}, of 2020/03/05; sections are of that
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from functools import cache

import attrs

#: The most that one TLV can say, and the whole of a header behind its first 16 bytes.
MAX_VALUE = 0xFFFF
#: Section 2.2.5.
MAX_UNIQUE_ID = 128


class HeaderError(ValueError):
    """What is no PROXY header, or cannot be said in one; the text is a few words of our own."""


class Type(IntEnum):
    """Types of TLVs (section 2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


#: Those that say nothing of the connection: the checksum, and padding.
SILENT = (Type.CRC32C, Type.NOOP)


class SSLType(IntEnum):
    """Types of the TLVs within L{Type.SSL} (section 2.2.6). The client's certificate came after 2020."""

    VERSION = 0x21
    CN = 0x22
    CIPHER = 0x23
    SIG_ALG = 0x24
    KEY_ALG = 0x25
    CLIENT_CERT = 0x28


class Client(IntFlag):
    """What the client of a TLS connection has shown (section 2.2.6)."""

    SSL = 1
    CERT_CONN = 2
    CERT_SESS = 4


@attrs.frozen
class TLV:
    """
    One thing more that a header says.

    @ivar kind: what it is: a L{Type}, a L{SSLType}, or a number that has no name here
    @ivar value: what it says
    """

    kind: int = attrs.field(converter=int)
    value: bytes = attrs.field(repr=lambda value: f"<{len(value)} bytes>")

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.kind <= 0xFF or len(self.value) > MAX_VALUE:
            raise HeaderError(f"no TLV has the type {self.kind} and {len(self.value)} bytes")

    def to_bytes(self) -> bytes:
        """As it stands in a header."""
        return struct.pack(">BH", self.kind, len(self.value)) + self.value


def value_of(tlvs: Iterable[TLV], kind: int) -> bytes | None:
    """What the first TLV of a type says, or None where there is none."""
    return next((each.value for each in tlvs if each.kind == kind), None)


@attrs.frozen
class ClientTLS:
    """
    What a TLV of L{Type.SSL} says of the client (section 2.2.6).

    @ivar client: bits of L{Client}
    @ivar verify: 0 where the client's certificate was verified
    @ivar tlvs: the rest, by L{SSLType}
    """

    client: int
    verify: int
    tlvs: tuple[TLV, ...] = ()

    @classmethod
    def from_bytes(cls, value: bytes) -> ClientTLS:
        """@raise HeaderError: it says nothing of the kind"""
        if len(value) < 5:
            raise HeaderError(f"an SSL TLV of {len(value)} bytes")
        client, verify = struct.unpack_from(">BI", value)
        return cls(client, verify, tuple(TLV(kind, value[at:end]) for kind, at, end in spans(value, 5)))

    def to_bytes(self) -> bytes:
        """The value of the TLV."""
        return struct.pack(">BI", self.client, self.verify) + b"".join(each.to_bytes() for each in self.tlvs)


def spans(data: bytes, at: int) -> list[tuple[int, int, int]]:
    """
    The TLVs from there on: the type of each, and where its value begins and ends.

    @raise HeaderError: they do not fill what is there
    """
    found = []
    while at < len(data):
        start = at + 3
        length = int.from_bytes(data[at + 1 : start], "big")
        if len(data) < start + length:
            raise HeaderError("the lengths of the TLVs in a PROXY header do not add up")
        found.append((data[at], start, start + length))
        at = start + length
    return found


def check(tlvs: tuple[TLV, ...]) -> None:
    """@raise HeaderError: some of them say what cannot be, or contradict each other"""
    counted = Counter(each.kind for each in tlvs)
    for kind in Type:
        if counted[kind] > (kind not in SILENT):
            raise HeaderError(f"a TLV of type {kind.value:#04x} too many in a PROXY header")
    if len(value_of(tlvs, Type.UNIQUE_ID) or b"") > MAX_UNIQUE_ID:
        raise HeaderError(f"a unique ID of more than {MAX_UNIQUE_ID} bytes in a PROXY header")
    tls = value_of(tlvs, Type.SSL)
    if tls is not None:
        ClientTLS.from_bytes(tls)


def crc32c(data: bytes | bytearray) -> int:
    """The checksum of RFC 4960 appendix B."""
    table, total = _table(), 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ table[(total ^ byte) & 0xFF]
    return total ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    """What each byte does to the sum: the remainder by the polynomial of Castagnoli, its bits in reverse."""
    remainders = []
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        remainders.append(remainder)
    return tuple(remainders)
