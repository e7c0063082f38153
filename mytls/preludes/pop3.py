"""POP3 until STLS (RFC 2595 section 4), at both ends."""

from __future__ import annotations

from mytls.errors import visible
from mytls.preludes.dialogue import Amiss, Script, Steps, left, line, words


def server(name: bytes) -> Script:
    """The server's end, of this name. Its greeting has no time in it, so there is no APOP (RFC 1939 section 7)."""
    return Script(line, _serve(name), lambda text: b"-ERR %b\r\n" % text.encode("ascii"))


def client(name: bytes) -> Script:
    """The client's end. @param name: the server's"""
    return Script(line, _ask(), welcome=b"+OK %b\r\n" % name)


def _serve(name: bytes) -> Steps:
    answer = b"+OK %b\r\n" % name
    while True:
        verb, rest = words((yield answer), 2)
        if verb == b"QUIT":
            raise left(b"+OK %b\r\n" % name)
        if verb == b"STLS" and not rest:
            return b"+OK begin TLS\r\n"
        answer = _answer(verb)


def _answer(verb: bytes) -> bytes:
    match verb:
        case b"CAPA":
            return b"+OK\r\nSTLS\r\n.\r\n"
        case b"NOOP":
            return b"+OK\r\n"
        case b"STLS":
            return b"-ERR STLS has no parameters\r\n"
    return b"-ERR say STLS first\r\n"


def _ask() -> Steps:
    for said in (b"", b"STLS\r\n"):
        answer = yield said
        if words(answer, 2)[0] != b"+OK":
            raise Amiss(f'it says "{visible(answer.rstrip())}" where +OK is expected')
    return b""
