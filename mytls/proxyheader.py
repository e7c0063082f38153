"""
What the header of the PROXY protocol says of a connection that is passed on: one frozen value, and its bytes.

    header = ProxyHeader.between(client, destination)
    header.to_v1()     # a line of text
    header.to_v2()     # binary, with room for more

@see: U{https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt}, of 2020/03/05; sections are of that
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mytls.errors import visible
from mytls.proxytlvs import MAX_VALUE, TLV, HeaderError, Type, check, crc32c

#: The first bytes of version 2, and how many come before the addresses (section 2.2).
SIGNATURE, FIXED = b"\r\n\r\n\0\r\nQUIT\n", 16
#: Version 2 with its commands; the families and the protocols, by their numbers.
LOCAL, PROXY = 0x20, 0x21
UNSPEC, INET, INET6, UNIX = range(4)
STREAM, DGRAM = 1, 2
#: How many bytes the addresses of each family take, and how many of them a path.
SIZES = {UNSPEC: 0, INET: 12, INET6: 36, UNIX: 216}
PATH = 108

#: An end of a connection that a header can name.
Address = IPv4Address | IPv6Address | UNIXAddress


@attrs.frozen
class ProxyHeader:
    """
    What a header says of a connection.

    @ivar source: where the client connects from; None where the header does not say so, and the addresses of the
        connection itself are as good as any
    @ivar destination: where the client has connected to; an address of the same family, or None
    @ivar local: whether the proxy has made the connection for itself, such as to see whether we are well
    @ivar tlvs: what else is said, in its order; without checksum and padding, which say nothing of the connection
    """

    source: Address | None = None
    destination: Address | None = None
    local: bool = False
    tlvs: tuple[TLV, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.local and (self.source or self.destination or self.tlvs):
            raise HeaderError("a LOCAL header that says something of a connection")
        if _family(self.source) != _family(self.destination):
            raise HeaderError("addresses of two families")
        _check_address(self.source)
        _check_address(self.destination)
        check(self.tlvs)

    @classmethod
    def between(cls, source: IAddress | None, destination: IAddress | None, tlvs: Iterable[TLV] = ()) -> ProxyHeader:
        """
        The header of a connection. One that has addresses which no header can name, has none.

        @param source: the client's address
        @param destination: the address that the client has connected to
        @raise HeaderError: no header has these TLVs
        """
        first, second = _sayable(source), _sayable(destination)
        if isinstance(first, IPv4Address) and isinstance(second, IPv6Address):
            first = _mapped(first)
        elif isinstance(first, IPv6Address) and isinstance(second, IPv4Address):
            second = _mapped(second)
        if _family(first) != _family(second):
            first = second = None
        return cls(first, second, tlvs=tuple(tlvs))

    def to_v1(self) -> bytes:
        """The line of version 1 (section 2.1), which knows TCP alone, and has no TLVs."""
        source, destination = self.source, self.destination
        if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address) and source.type == "TCP":
            return _line(4, source, destination)
        if isinstance(source, IPv6Address) and isinstance(destination, IPv6Address) and source.type == "TCP":
            return _line(6, source, destination)
        return b"PROXY UNKNOWN\r\n"

    def to_v2(self, *, checksum: bool = False) -> bytes:
        """
        The binary header of version 2 (section 2.2).

        @param checksum: whether it carries its CRC32C (section 2.2.3)
        @raise HeaderError: it would be longer than its length can say
        """
        told = TLV(Type.CRC32C, bytes(4)).to_bytes() if checksum else b""
        block = _packed(self.source, self.destination) + told + b"".join(each.to_bytes() for each in self.tlvs)
        if len(block) > MAX_VALUE:
            raise HeaderError(f"a PROXY header of {len(block)} bytes; at most {MAX_VALUE} can be said")
        family, protocol = _family(self.source)
        fixed = struct.pack(">BBH", LOCAL if self.local else PROXY, family << 4 | protocol, len(block))
        header = bytearray(SIGNATURE + fixed + block)
        if checksum:
            at = FIXED + SIZES[family] + 3
            struct.pack_into(">I", header, at, crc32c(header))
        return bytes(header)


def _line(family: int, source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address) -> bytes:
    line = f"PROXY TCP{family} {source.host} {destination.host} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def ip_address(packed: bytes, port: int, kind: str = "TCP") -> IPv4Address | IPv6Address:
    """An address, spelled as the system spells those of sockets."""
    if len(packed) == 4:
        return IPv4Address(kind, socket.inet_ntop(socket.AF_INET, packed), port)  # type: ignore[arg-type]
    return IPv6Address(kind, socket.inet_ntop(socket.AF_INET6, packed), port)  # type: ignore[arg-type]


def _family(address: Address | None) -> tuple[int, int]:
    """The family and the protocol, by their numbers in the header."""
    if address is None:
        return UNSPEC, 0
    if isinstance(address, UNIXAddress):
        return UNIX, STREAM
    protocol = STREAM if address.type == "TCP" else DGRAM
    return (INET if isinstance(address, IPv4Address) else INET6), protocol


def _check_address(address: Address | None) -> None:
    """@raise HeaderError: no header can name it"""
    if isinstance(address, UNIXAddress):
        if len(address.name or b"") > PATH:
            raise HeaderError(f"a path of {len(address.name or b'')} bytes; at most {PATH} can be said")
    elif address is not None:
        _host(address)
        if not 0 <= address.port <= 0xFFFF:
            raise HeaderError(f"there is no port {address.port}")


def _host(address: IPv4Address | IPv6Address) -> bytes:
    """The octets of an address."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        return socket.inet_pton(family, address.host)
    except (OSError, ValueError):
        raise HeaderError(f'"{visible(address.host)}" is no IP address') from None


def _packed(source: Address | None, destination: Address | None) -> bytes:
    """The addresses as they stand in a header."""
    if isinstance(source, UNIXAddress) and isinstance(destination, UNIXAddress):
        return struct.pack("108s108s", source.name or b"", destination.name or b"")
    if isinstance(source, IPv4Address | IPv6Address) and isinstance(destination, IPv4Address | IPv6Address):
        return _host(source) + _host(destination) + struct.pack(">HH", source.port, destination.port)
    return b""


def _sayable(address: IAddress | None) -> Address | None:
    """The address as a header can name it, or None: without the zone, which is of one machine (RFC 4007 section 11)."""
    if isinstance(address, IPv4Address | IPv6Address):
        try:
            packed = _host(type(address)(address.type, address.host.partition("%")[0], address.port))
        except HeaderError:
            return None
        return ip_address(packed, address.port, address.type)
    if isinstance(address, UNIXAddress) and len(address.name or b"") <= PATH:
        return UNIXAddress(address.name or None)
    return None


def _mapped(address: IPv4Address) -> IPv6Address:
    """An IPv4 address among those of IPv6 (RFC 4291 section 2.5.5.2)."""
    return IPv6Address(address.type, f"::ffff:{address.host}", address.port)
