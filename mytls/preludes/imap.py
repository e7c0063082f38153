"""IMAP until STARTTLS (RFC 3501 section 6.2.1, RFC 9051 section 6.2.1), at both ends."""

from __future__ import annotations

import re

from mytls.errors import visible
from mytls.preludes.dialogue import Amiss, Script, Steps, left, line, words

#: What a client puts before its commands (RFC 3501 section 9), of which longer ones are not known.
_TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,64}")
_ABLE = b"CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED"
_MOST_LINES = 100


def server(name: bytes) -> Script:
    """The server's end, of this name."""
    return Script(line, _serve(name), lambda text: b"* BYE %b\r\n" % text.encode("ascii"))


def client(name: bytes) -> Script:
    """The client's end. @param name: the server's"""
    return Script(line, _ask(), most=_MOST_LINES, welcome=b"* OK %b\r\n" % name)


def _serve(name: bytes) -> Steps:
    answer = b"* OK [%b] %b\r\n" % (_ABLE, name)
    while True:
        said = yield answer
        tag = (said.split(None, 1) or [b""])[0]
        _, verb, rest = words(said, 3)
        if not verb or not _TAG.fullmatch(tag):
            answer = b"* BAD a tag and a command are expected\r\n"
        elif verb == b"LOGOUT":
            raise left(b"* BYE %b\r\n%b OK done\r\n" % (name, tag))
        elif verb == b"STARTTLS" and not rest:
            return b"%b OK begin TLS\r\n" % tag
        else:
            answer = _answer(tag, verb)


def _answer(tag: bytes, verb: bytes) -> bytes:
    match verb:
        case b"CAPABILITY":
            return b"* %b\r\n%b OK done\r\n" % (_ABLE, tag)
        case b"NOOP":
            return b"%b OK done\r\n" % tag
        case b"STARTTLS":
            return b"%b BAD STARTTLS has no parameters\r\n" % tag
    return b"%b NO [PRIVACYREQUIRED] say STARTTLS first\r\n" % tag  # RFC 5530 section 3


def _ask() -> Steps:
    greeting = yield b""
    if words(greeting, 3)[:2] != (b"*", b"OK"):  # PREAUTH: who is logged in already cannot begin TLS any more
        raise _unexpected(greeting)
    said = yield b"tls STARTTLS\r\n"
    while words(said, 2)[0] == b"*":
        if words(said, 3)[1] == b"BYE":
            raise _unexpected(said)
        said = yield b""
    if words(said, 3)[:2] != (b"TLS", b"OK"):
        raise _unexpected(said)
    return b""


def _unexpected(said: bytes) -> Exception:
    return Amiss(f'it says "{visible(said.rstrip())}" where OK is expected')
