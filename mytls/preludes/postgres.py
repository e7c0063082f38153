"""
PostgreSQL until SSLRequest is answered, at both ends.

@see: U{https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL} and, for the bytes,
    U{https://www.postgresql.org/docs/17/protocol-message-formats.html}
"""

from __future__ import annotations

import struct

from mytls.errors import visible
from mytls.preludes.dialogue import Amiss, Script, Steps, refused

#: What a client's first messages are, by the number in the place of the protocol's version.
_CANCEL, _SSL, _GSS = (1234 << 16 | code for code in (5678, 5679, 5680))
#: How many bytes tell what a client's first message is: its length, and that number.
_FIXED = 8
_PROTOCOL_3 = 3
#: Of Appendix A, PostgreSQL Error Codes.
_PROTOCOL_VIOLATION, _NOT_AUTHORIZED = b"08P01", b"28000"


def server() -> Script:
    """The server's end. A client of PostgreSQL 17 may begin with its ClientHello."""
    return Script(_request, _serve(), lambda text: _error(_PROTOCOL_VIOLATION, text), direct=True)


def client() -> Script:
    """The client's end."""
    return Script(_byte, _ask())


def _request(received: bytearray) -> int | None:
    return _FIXED if len(received) >= _FIXED else None


def _byte(received: bytearray) -> int | None:
    return 1 if received else None


def _serve() -> Steps:
    answer = b""
    gss = False
    while True:
        length, code = struct.unpack(">II", (yield answer))
        if (length, code) == (_FIXED, _SSL):
            return b"S"
        if (length, code) != (_FIXED, _GSS) or gss:
            raise _no_request(code)
        answer, gss = b"N", True


def _no_request(code: int) -> Exception:
    if code == _CANCEL:
        return refused("a query is to be cancelled without TLS")  # such a one is not answered
    if code >> 16 == _PROTOCOL_3:
        detail = "a connection without TLS is not allowed"
        return refused(detail, _error(_NOT_AUTHORIZED, detail))
    return Amiss("this is no SSLRequest")


def _error(code: bytes, text: str) -> bytes:
    """An ErrorResponse; the fields are of section 55.8, Error and Notice Message Fields."""
    fields = b"".join(each + b"\0" for each in (b"SFATAL", b"VFATAL", b"C" + code, b"M" + text.encode("ascii"), b""))
    return b"E" + struct.pack(">I", 4 + len(fields)) + fields


def _ask() -> Steps:
    answer = yield struct.pack(">II", _FIXED, _SSL)
    if answer != b"S":
        # What an E begins is not read: nobody knows who has written it (CVE-2024-10977).
        raise Amiss("it does not offer TLS" if answer == b"N" else f'it says "{visible(answer)}" where S is expected')
    return b""
