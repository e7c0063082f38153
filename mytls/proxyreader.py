"""
The PROXY protocol's header, read before anything else of a connection that was passed on: bytes in, a value out.

    reader = ProxyHeaderReader()
    header = reader.feed(data)     # None until it is whole; what came behind it is in reader.rest

Version 1 is a line of text, version 2 is binary and has room for TLVs. The first byte tells which of them it is, and
what can be no header is refused with the first byte that says so.

@see: U{https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt}, of 2020/03/05; sections are of that
"""

from __future__ import annotations

import ipaddress
import re
import struct

from twisted.internet.address import UNIXAddress

from mytls.errors import Cause, TLSFailure, visible
from mytls.proxyheader import (
    DGRAM,
    FIXED,
    INET,
    LOCAL,
    PATH,
    PROXY,
    SIGNATURE,
    SIZES,
    STREAM,
    UNIX,
    Address,
    ProxyHeader,
    ip_address,
)
from mytls.proxytlvs import SILENT, TLV, HeaderError, Type, crc32c, spans

#: The longest line of version 1, with its CRLF (section 2.1).
MAX_LINE = 107

_STARTS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n")
_SOME_OF_LINE = re.compile(rb"PROXY TCP[46] [0-9A-Fa-f:. ]*\r?")
_ADDRESS, _PORT = rb"([0-9A-Fa-f:.]+)", rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"PROXY TCP([46]) %b %b %b %b\r\n" % (_ADDRESS, _ADDRESS, _PORT, _PORT))
_TLS_HANDSHAKE = 22


class ProxyHeaderReader:
    """
    Collects bytes until the header in them is whole.

    @ivar rest: what came behind the header, for whoever reads next
    """

    __slots__ = ("_received", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._received = bytearray()

    def feed(self, data: bytes) -> ProxyHeader | None:
        """
        Take the next bytes of the connection.

        @return: the header, once it is whole; C{rest} has then what follows it, and nothing more is to be fed
        @raise TLSFailure: this is no header, by L{Cause.PROXY_HEADER}; nothing more is to be fed
        """
        received = self._received
        received += data
        try:
            size = _size(received)
            if size is None:
                return None
            self.rest = bytes(received[size:])
            return _parsed(bytes(received[:size]))
        except HeaderError as error:
            raise TLSFailure(Cause.PROXY_HEADER, str(error)) from None


def _size(received: bytearray) -> int | None:
    """How long the header is; None where more must come to tell, or to have it whole."""
    if not received:
        return None
    if received[0] == _STARTS[0][0]:
        return _size_of_line(received)
    if not SIGNATURE.startswith(received[: len(SIGNATURE)]):
        raise _no_header(received)
    if len(received) < FIXED:
        return None
    command, transport, length = struct.unpack_from(">BBH", received, len(SIGNATURE))
    if command not in (LOCAL, PROXY):
        raise HeaderError(f"version and command {command:#04x} in a PROXY header; expected 0x20 or 0x21")
    if command == PROXY and (transport >> 4 not in SIZES or transport & 15 > DGRAM):
        raise HeaderError(f"family and protocol {transport:#04x} in a PROXY header")
    return FIXED + length if len(received) >= FIXED + length else None


def _size_of_line(received: bytearray) -> int | None:
    if not any(each.startswith(received[: len(each)]) for each in _STARTS):
        raise _no_header(received)
    end = received.find(b"\r\n", 0, MAX_LINE)
    if end >= 0:
        return end + 2
    if len(received) >= MAX_LINE:
        raise HeaderError(f"a PROXY line that does not end within {MAX_LINE} bytes")
    if received.startswith(_STARTS[:2]) and not _SOME_OF_LINE.fullmatch(received):
        raise _wrong_line(received)  # such as a line that ends without its CR
    return None


def _no_header(received: bytearray) -> HeaderError:
    if received[0] == _TLS_HANDSHAKE:
        return HeaderError("a TLS handshake where a PROXY header was due")
    return HeaderError(f'"{visible(bytes(received[:FIXED]))}" where a PROXY header was due')


def _wrong_line(line: bytes | bytearray) -> HeaderError:
    return HeaderError(f'"{visible(bytes(line), MAX_LINE)}" is no PROXY line')


def _parsed(header: bytes) -> ProxyHeader:
    return _of_line(header) if header[:1] == b"P" else _of_binary(header)


def _of_line(line: bytes) -> ProxyHeader:
    if line.startswith(b"PROXY UNKNOWN"):
        return ProxyHeader()
    found = _LINE.fullmatch(line)
    if found is None:
        raise _wrong_line(line)
    family, source, destination, source_port, destination_port = found.groups()
    read = ipaddress.IPv4Address if family == b"4" else ipaddress.IPv6Address
    try:
        hosts = [read(each.decode("ascii")).packed for each in (source, destination)]
    except ValueError:
        raise _wrong_line(line) from None
    return ProxyHeader(ip_address(hosts[0], int(source_port)), ip_address(hosts[1], int(destination_port)))


def _of_binary(header: bytes) -> ProxyHeader:
    if header[12] == LOCAL:
        return ProxyHeader(local=True)  # the rest is discarded, whatever it is (section 2.2)
    family, protocol = divmod(header[13], 16)
    at = FIXED + SIZES[family]
    if not family or not protocol:
        return ProxyHeader(tlvs=_tlvs(header, at) if _adds_up(header, at) else ())
    if len(header) < at:
        raise HeaderError(f"a PROXY header of {len(header)} bytes, which its addresses do not fit in")
    return ProxyHeader(*_addresses(header[FIXED:at], family, protocol), tlvs=_tlvs(header, at))


def _addresses(block: bytes, family: int, protocol: int) -> tuple[Address, Address]:
    if family == UNIX:
        return _unix(block[:PATH]), _unix(block[PATH:])
    width = 4 if family == INET else 16
    ports = struct.unpack_from(">HH", block, 2 * width)
    kind = "TCP" if protocol == STREAM else "UDP"
    return ip_address(block[:width], ports[0], kind), ip_address(block[width : 2 * width], ports[1], kind)


def _unix(path: bytes) -> UNIXAddress:
    """A path, which ends at its first NUL; one of Linux's abstract names begins with it (unix(7))."""
    name = path.rstrip(b"\0") if path[:1] == b"\0" else path.partition(b"\0")[0]
    return UNIXAddress(name or None)


def _adds_up(header: bytes, at: int) -> bool:
    """Whether there are TLVs from there on. Behind addresses of no family there may be anything."""
    try:
        spans(header, at)
    except HeaderError:
        return False
    return True


def _tlvs(header: bytes, at: int) -> tuple[TLV, ...]:
    """The TLVs from there on, whose checksum is right."""
    found = spans(header, at)
    sums = [(start, end) for kind, start, end in found if kind == Type.CRC32C]
    if sums:
        _check_sum(header, sums)
    return tuple(TLV(kind, header[start:end]) for kind, start, end in found if kind not in SILENT)


def _check_sum(header: bytes, sums: list[tuple[int, int]]) -> None:
    (start, end), *others = sums
    if others or end - start != 4:
        raise HeaderError("a PROXY header whose CRC32C is not four bytes, or stands twice")
    if crc32c(header[:start] + bytes(4) + header[end:]) != int.from_bytes(header[start:end], "big"):
        raise HeaderError("the CRC32C of a PROXY header is wrong")
