"""SMTP until STARTTLS (RFC 3207), at both ends."""

from __future__ import annotations

from collections.abc import Generator

from mytls.errors import visible
from mytls.preludes.dialogue import Script, Steps, left, line, refused, words

#: A server's reply may have many lines (RFC 5321 section 4.2.1).
_MOST_LINES = 100


def server(name: bytes) -> Script:
    """The server's end, of this name."""
    return Script(line, _serve(name), lambda text: b"554 5.5.1 %b\r\n" % text.encode("ascii"))


def client(name: bytes, own: bytes) -> Script:
    """
    The client's end.

    @param name: the server's
    @param own: the client's, for its EHLO
    """
    return Script(line, _ask(own), most=_MOST_LINES, welcome=b"220 %b ESMTP\r\n" % name)


def _serve(name: bytes) -> Steps:
    answer = b"220 %b ESMTP\r\n" % name
    while True:
        verb, argument = words((yield answer), 2)
        if verb == b"QUIT":
            raise left(b"221 2.0.0 %b\r\n" % name)
        if verb == b"STARTTLS" and not argument:
            return b"220 2.0.0 begin TLS\r\n"
        answer = _answer(verb, argument, name)


def _answer(verb: bytes, argument: bytes, name: bytes) -> bytes:
    """RFC 3207 section 4: before TLS everything but a few commands is 530."""
    if verb in (b"EHLO", b"HELO") and not argument:
        return b"501 5.5.4 say who you are\r\n"
    match verb:
        case b"EHLO":
            return b"250-%b\r\n250 STARTTLS\r\n" % name
        case b"HELO":
            return b"250 %b\r\n" % name
        case b"NOOP" | b"RSET":
            return b"250 2.0.0 done\r\n"
        case b"STARTTLS":
            return b"501 5.5.4 STARTTLS has no parameters\r\n"
    return b"530 5.7.0 say STARTTLS first\r\n"


def _ask(own: bytes) -> Steps:
    _expect(b"220", (yield from _reply(b"")))
    offered = yield from _reply(b"EHLO %b\r\n" % own)
    _expect(b"250", offered)
    if not any(each[4:].strip().upper() == b"STARTTLS" for each in offered[1:]):
        raise refused("it does not offer STARTTLS", _QUIT)
    _expect(b"220", (yield from _reply(b"STARTTLS\r\n")))
    return b""


_QUIT = b"QUIT\r\n"


def _reply(said: bytes) -> Generator[bytes, bytes, list[bytes]]:
    """Say something. @return: the lines of the answer"""
    lines = [(yield said)]
    while lines[-1][3:4] == b"-":
        lines.append((yield b""))
    return lines


def _expect(code: bytes, lines: list[bytes]) -> None:
    if any(each[:3] != code for each in lines):
        raise refused(f'it says "{visible(lines[-1].rstrip())}" where {code.decode()} is expected', _QUIT)
