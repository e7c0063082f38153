"""
The ClientHello, read before OpenSSL reads it: bytes in, one frozen value out.

The name and the protocols that a client asks for decide which certificate, which client CAs and which TLS
versions it meets. OpenSSL decides half of that before it calls anybody back, so mytls reads the message first,
picks the host, and gives the very same bytes to a connection made for that host.

A ClientHello is one handshake message (RFC 8446 section 4.1.2; RFC 5246 section 7.4.1.2) in any number of
records (RFC 8446 section 5.1), in any number of segments. What this parser and OpenSSL take from it must be
equal, so whatever is ambiguous is refused here: a repeated extension, two names, bytes left over.
"""

from __future__ import annotations

import struct

import attrs

from mytls.errors import Alert, Cause, TLSFailure
from mytls.proxyheader import SIGNATURE

#: The largest message that is collected, as the whole of a client's first flight can be with every
#: post-quantum key share and a long ticket in it many times over. OpenSSL's own bound is twice that.
MAX_HELLO = 64 * 1024
#: The longest list of protocols. Whoever picks one of tens of thousands is busy for long, and nobody speaks so many.
MAX_ALPN = 4096
#: RFC 8446 section 5.1: a record's fragment is at most 2**14 bytes.
MAX_FRAGMENT = 16384

_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_ALERT, _HANDSHAKE = 21, 22
_CLIENT_HELLO = 1

_SERVER_NAME, _SUPPORTED_GROUPS, _POINT_FORMATS, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS = (
    0,
    10,
    11,
    13,
    16,
    43,
)

_HTTP_METHODS = (
    b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT ", b"PRI * HTTP",
)  # fmt: skip

#: How a PROXY header begins, in each version. Where one is due, it was read before.
_PROXY_HEADERS = (b"PROXY ", SIGNATURE)


@attrs.frozen
class ClientHello:
    """
    What a client offers (RFC 8446 section 4.1.2). Numbers are the registry's (IANA TLS parameters).

    @ivar version: `legacy_version`, 0x0303 for TLS 1.2 and later
    @ivar cipher_suites: in the client's order, GREASE included
    @ivar extensions: the types of the extensions, in the client's order
    @ivar server_name: the host name asked for, as sent (RFC 6066 section 3), or None
    @ivar alpn: the protocols offered (RFC 7301 section 3.1)
    @ivar versions: `supported_versions`, or the legacy version alone where that extension is missing
    @ivar groups: `supported_groups`
    @ivar signature_algorithms: the extension of that name
    @ivar point_formats: `ec_point_formats` (RFC 8422 section 5.1.2), one byte each, as far as they came: TLS 1.3 has no
        use for them, and OpenSSL does not look at them there
    """

    version: int
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...] = ()
    server_name: bytes | None = None
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    point_formats: bytes = b""

    @classmethod
    def from_message(cls, body: bytes) -> ClientHello:
        """
        Parse the body of a ClientHello message, its four-byte header taken off.

        @raise TLSFailure: the message is not what RFC 8446 section 4.1.2 says
        """
        try:
            return _parse(body)
        except (IndexError, struct.error):
            raise _bad("the ClientHello ends in the middle of a field") from None


#: What stands for the ClientHello of a connection without TLS.
NO_HELLO = ClientHello(0, ())


class NoHelloReader:
    """
    Stands for a L{HelloReader} where there is no TLS: all is received, and nothing waited for.

    @ivar received: what was fed
    """

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """Take the next bytes of the connection."""
        self.received += data
        return NO_HELLO


class HelloReader:
    """
    Collects records until the ClientHello in them is whole.

    @ivar received: every byte that was fed, for OpenSSL to read again
    """

    __slots__ = ("_at", "_message", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        self._at = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """
        Take the next bytes of the connection.

        @return: the ClientHello, once it is whole; bytes that follow it are kept in C{received}
        @raise TLSFailure: this is no ClientHello; what else is fed is not looked at
        """
        self.received += data
        message = self._message
        while (fragment := self._next_fragment()) is not None:
            message += fragment
            if len(message) >= _MESSAGE_HEADER:
                length = _check_message_header(message)
                if len(message) >= _MESSAGE_HEADER + length:
                    return ClientHello.from_message(bytes(message[_MESSAGE_HEADER : _MESSAGE_HEADER + length]))
        return None

    def _next_fragment(self) -> bytearray | None:
        received, at = self.received, self._at
        if len(received) == at:
            return None
        if received[at] != _HANDSHAKE:
            _refuse_other_protocol(received[at:], first=at == 0)
            return None
        if len(received) > at + 1 and received[at + 1] != 3:
            raise _not_tls("the record's version is not of SSL 3 or TLS")
        if len(received) < at + _RECORD_HEADER:
            return None
        length = received[at + 3] << 8 | received[at + 4]
        if not 0 < length <= MAX_FRAGMENT:
            alert = Alert.RECORD_OVERFLOW if length else Alert.DECODE_ERROR
            raise _bad(f"a handshake record of {length} bytes", alert)
        end = at + _RECORD_HEADER + length
        if len(received) < end:
            return None
        self._at = end
        return received[at + _RECORD_HEADER : end]


def _check_message_header(message: bytearray) -> int:
    if message[0] != _CLIENT_HELLO:
        raise _bad(f"handshake message {message[0]} where a ClientHello was due", Alert.UNEXPECTED_MESSAGE)
    length = int.from_bytes(message[1:4], "big")
    if length > MAX_HELLO:
        raise _bad(f"a ClientHello of {length} bytes; at most {MAX_HELLO} are read", Alert.ILLEGAL_PARAMETER)
    return length


def _refuse_other_protocol(data: bytearray, first: bool) -> None:
    """Say what it is that is no handshake record; return to wait for more where that is still open."""
    if data[0] == _ALERT:
        if len(data) < _RECORD_HEADER + 2:
            return
        raise TLSFailure(Cause.PEER_ALERT, f"the client sent alert {data[6]} in place of a ClientHello")
    if not first:
        raise _bad(f"a record of type {data[0]} within the ClientHello", Alert.UNEXPECTED_MESSAGE)
    if data[0] & 0x80:
        if len(data) < 3:
            return
        if data[2] == _CLIENT_HELLO:
            raise TLSFailure(Cause.OLD_VERSION, "an SSL 2 ClientHello", Alert.PROTOCOL_VERSION)
    if any(method.startswith(data[: len(method)]) for method in _HTTP_METHODS):
        if len(data) < 4:
            return
        raise TLSFailure(Cause.PLAIN_HTTP, "plain HTTP on a TLS port", Alert.UNEXPECTED_MESSAGE)
    for header in _PROXY_HEADERS:
        if header.startswith(data[: len(header)]):
            if len(data) < len(header):
                return
            raise TLSFailure(
                Cause.PROXY_HEADER, "a PROXY header where a ClientHello was due; proxy-protocol says who may send one"
            )
    raise _not_tls(f"the first byte is {data[0]:#04x}, not that of a TLS handshake")


def _bad(detail: str, alert: int = Alert.DECODE_ERROR) -> TLSFailure:
    return TLSFailure(Cause.BAD_HELLO, detail, alert)


def _not_tls(detail: str) -> TLSFailure:
    return TLSFailure(Cause.NOT_TLS, detail, Alert.UNEXPECTED_MESSAGE)


def _parse(body: bytes) -> ClientHello:
    (version,) = struct.unpack_from(">H", body, 0)
    at = 34  # the version and 32 bytes of random
    if body[at] > 32:
        raise _bad("a session id of more than 32 bytes")
    at += 1 + body[at]
    suites, at = _vector(body, at)
    at += 1 + body[at]  # the compression methods
    fields: dict[int, bytes] = {}
    if at < len(body):
        block, at = _vector(body, at)
        fields = _extensions(block)
    if at != len(body):
        raise _bad("the lengths in the ClientHello do not add up")
    versions = fields.get(_SUPPORTED_VERSIONS)
    return ClientHello(
        version=version,
        cipher_suites=_numbers(suites, "cipher suites"),
        extensions=tuple(fields),
        server_name=_server_name(fields[_SERVER_NAME]) if _SERVER_NAME in fields else None,
        alpn=_protocols(fields[_ALPN]) if _ALPN in fields else (),
        versions=(version,) if versions is None else _numbers(_whole(versions, 1), "supported versions"),
        groups=_list(fields, _SUPPORTED_GROUPS, "groups"),
        signature_algorithms=_list(fields, _SIGNATURE_ALGORITHMS, "signature algorithms"),
        point_formats=_as_far_as_it_goes(fields.get(_POINT_FORMATS, b"")),
    )


def _vector(data: bytes, at: int) -> tuple[bytes, int]:
    """The vector with a two-byte length at C{at}, and where it ends (RFC 8446 section 3.4)."""
    (length,) = struct.unpack_from(">H", data, at)
    end = at + 2 + length
    if end > len(data):
        raise _bad("the lengths in the ClientHello do not add up")
    return data[at + 2 : end], end


def _whole(data: bytes, width: int) -> bytes:
    """The one vector that fills C{data}, its length in C{width} bytes."""
    if len(data) < width or int.from_bytes(data[:width], "big") != len(data) - width:
        raise _bad("the length of an extension does not add up")
    return data[width:]


def _as_far_as_it_goes(data: bytes) -> bytes:
    """The vector at the start of C{data}, its length in one byte."""
    return data[1 : 1 + data[0]] if data else b""


def _numbers(data: bytes, what: str) -> tuple[int, ...]:
    if not data or len(data) % 2:
        raise _bad(f"the list of {what} has {len(data)} bytes")
    return struct.unpack(f">{len(data) // 2}H", data)


def _list(fields: dict[int, bytes], kind: int, what: str) -> tuple[int, ...]:
    return _numbers(_whole(fields[kind], 2), what) if kind in fields else ()


def _extensions(block: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    at, end = 0, len(block)
    while at < end:
        kind, length = struct.unpack_from(">HH", block, at)
        at += 4
        if kind in fields:
            raise _bad(f"extension {kind} stands twice", Alert.ILLEGAL_PARAMETER)
        fields[kind] = block[at : at + length]
        at += length
    if at != end:
        raise _bad("the lengths of the extensions do not add up")
    return fields


def _server_name(data: bytes) -> bytes:
    """RFC 6066 section 3, one name of type host_name, as OpenSSL reads it: 1 to 255 bytes, no NUL."""
    entry = _whole(data, 2)
    if len(entry) < 4 or entry[0] != 0:
        raise _bad("a server name that is no host name")
    name = _whole(entry[1:], 2)
    if len(name) > 255 or b"\0" in name:
        raise TLSFailure(Cause.UNKNOWN_NAME, "a server name of too many bytes, or with NUL in it", Alert.DECODE_ERROR)
    return name


def _protocols(data: bytes) -> tuple[bytes, ...]:
    """RFC 7301 section 3.1: at least one, none empty."""
    listed = _whole(data, 2)
    if len(listed) > MAX_ALPN:
        raise _bad(f"an ALPN list of {len(listed)} bytes; at most {MAX_ALPN} are read", Alert.ILLEGAL_PARAMETER)
    names = []
    at = 0
    while at < len(listed):
        end = at + 1 + listed[at]
        if not at + 1 < end <= len(listed):
            raise _bad("an empty or cut protocol name in ALPN")
        names.append(listed[at + 1 : end])
        at = end
    if not names:
        raise _bad("an empty ALPN list")
    return tuple(names)
