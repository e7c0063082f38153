"""ManageSieve until STARTTLS (RFC 5804 section 2.2), at both ends."""

from __future__ import annotations

from mytls.errors import visible
from mytls.preludes.dialogue import Amiss, Script, Steps, left, line, words

_ABLE = b'"IMPLEMENTATION" "mytls"\r\n"VERSION" "1.0"\r\n"SASL" ""\r\n"SIEVE" ""\r\n"STARTTLS"\r\nOK "%b"\r\n'
_MOST_LINES = 100


def server(name: bytes) -> Script:
    """The server's end, of this name."""
    return Script(line, _serve(name), lambda text: b'BYE "%b"\r\n' % text.encode("ascii"))


def client() -> Script:
    """The client's end. The server says what it is able to once more under TLS, so there is no greeting to be made."""
    return Script(line, _ask(), most=_MOST_LINES)


def _serve(name: bytes) -> Steps:
    answer = able = _ABLE % name
    while True:
        verb, rest = words((yield answer), 2)
        if verb == b"LOGOUT":
            raise left(b'OK "done"\r\n')
        if verb == b"STARTTLS" and not rest:
            return b'OK "begin TLS"\r\n'
        answer = _answer(verb, able)


def _answer(verb: bytes, able: bytes) -> bytes:
    match verb:
        case b"CAPABILITY":
            return able
        case b"NOOP":
            return b'OK "done"\r\n'
        case b"STARTTLS":
            return b'NO "STARTTLS has no parameters"\r\n'
    return b'NO (ENCRYPT-NEEDED) "say STARTTLS first"\r\n'  # RFC 5804 section 1.3


def _ask() -> Steps:
    for said in (b"", b"STARTTLS\r\n"):
        answer = yield said
        while answer.startswith(b'"'):  # what it is able to
            answer = yield b""
        if words(answer, 2)[0] != b"OK":
            raise Amiss(f'it says "{visible(answer.rstrip())}" where OK is expected')
    return b""
