"""LDAP until StartTLS (RFC 4511 section 4.14), at both ends: as much of BER as there is in it (X.690 section 8)."""

from __future__ import annotations

import attrs

from mytls.errors import visible
from mytls.preludes.dialogue import MAX_BYTES, Amiss, Script, Steps, left

_START_TLS, _DISCONNECTION = b"1.3.6.1.4.1.1466.20037", b"1.3.6.1.4.1.1466.20036"
_SEQUENCE, _INTEGER, _OCTETS, _ENUMERATED, _REQUEST_NAME, _RESPONSE_NAME = 0x30, 2, 4, 10, 0x80, 0x8A
_UNBIND, _ABANDON, _EXTENDED, _EXTENDED_RESPONSE = 0x42, 0x50, 0x77, 0x78
#: A request's tag, and its answer's: bind, search, modify, add, delete, modify DN, compare, extended (section 4).
_ANSWERS = {0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x4A: 0x6B, 0x6C: 0x6D, 0x6E: 0x6F, _EXTENDED: 0x78}
_SUCCESS, _PROTOCOL_ERROR, _CONFIDENTIALITY_REQUIRED = 0, 2, 13
#: X.690 section 8.1.3.5: the length's own length, where it has one.
_LONG, _MOST_OF_LONG = 0x80, 4


def server() -> Script:
    """The server's end."""
    return Script(_message, _serve(), _notice, longest=MAX_BYTES)


def client() -> Script:
    """The client's end."""
    return Script(_message, _ask(), longest=MAX_BYTES)


@attrs.frozen
class _Element:
    """
    One of BER.

    @ivar end: where the next one begins
    """

    tag: int
    content: bytes
    end: int


def _serve() -> Steps:
    answer = b""
    while True:
        try:
            number, request = _opened((yield answer))
            if request.tag == _EXTENDED and _fields(request.content) == [(_REQUEST_NAME, _START_TLS)]:
                return _response(number, _EXTENDED_RESPONSE, _SUCCESS, b"", _START_TLS)
        except ValueError:
            raise Amiss(_MALFORMED) from None
        answer = _answer(number, request.tag)


def _answer(number: bytes, tag: int) -> bytes:
    if tag == _UNBIND:
        raise left()
    if tag == _ABANDON:
        return b""
    if tag not in _ANSWERS:
        raise Amiss(_MALFORMED)
    return _response(number, _ANSWERS[tag], _CONFIDENTIALITY_REQUIRED, b"StartTLS comes first")


def _ask() -> Steps:
    answer = yield _encoded(
        _SEQUENCE, _encoded(_INTEGER, b"\1"), _encoded(_EXTENDED, _encoded(_REQUEST_NAME, _START_TLS))
    )
    try:
        number, response = _opened(answer)
        (tag, code), *more = _fields(response.content)
    except ValueError:
        raise Amiss(_MALFORMED) from None
    if (number, response.tag, tag) != (b"\1", _EXTENDED_RESPONSE, _ENUMERATED) or any(code):
        raise Amiss(f"it answers StartTLS with the result {int.from_bytes(code[:4])}{_quoted(more)}")
    return b""


def _quoted(more: list[tuple[int, bytes]]) -> str:
    """What a result says for people: behind its code are a name and that text (RFC 4511 section 4.1.9)."""
    texts = [content for tag, content in more if tag == _OCTETS]
    return f', "{visible(texts[1])}"' if texts[1:] and texts[1] else ""


_MALFORMED = "this is no message of LDAP"


def _notice(text: str) -> bytes:
    """Notice of Disconnection (RFC 4511 section 4.4.1)."""
    return _response(b"\0", _EXTENDED_RESPONSE, _PROTOCOL_ERROR, text.encode("ascii"), _DISCONNECTION)


def _response(number: bytes, tag: int, code: int, text: bytes, name: bytes = b"") -> bytes:
    """A message with an LDAPResult (RFC 4511 section 4.1.9). @param name: of an extended response"""
    result = [_encoded(_ENUMERATED, bytes((code,))), _encoded(_OCTETS), _encoded(_OCTETS, text)]
    if name:
        result.append(_encoded(_RESPONSE_NAME, name))
    return _encoded(_SEQUENCE, _encoded(_INTEGER, number), _encoded(tag, *result))


# --- BER


def _message(received: bytearray) -> int | None:
    if received and received[0] != _SEQUENCE:
        raise Amiss(_MALFORMED)
    try:
        end = _end(received, 0)
    except ValueError:
        raise Amiss(_MALFORMED) from None
    return end if end is not None and (end <= len(received) or end > MAX_BYTES) else None


def _opened(message: bytes) -> tuple[bytes, _Element]:
    """A message's number, and what it is about. Controls are not looked at. @raise ValueError: it is none"""
    content = _element(message, 0).content
    number = _element(content, 0)
    if number.tag != _INTEGER or not 1 <= len(number.content) <= 4 or number.content[0] & 0x80:
        raise ValueError("no messageID")
    return number.content, _element(content, number.end)


def _fields(content: bytes) -> list[tuple[int, bytes]]:
    """What a sequence holds. @raise ValueError: it is none"""
    found, at = [], 0
    while at < len(content):
        element = _element(content, at)
        found.append((element.tag, element.content))
        at = element.end
    return found


def _element(data: bytes, at: int) -> _Element:
    """@raise ValueError: there is none"""
    end = _end(data, at)
    if end is None or end > len(data):
        raise ValueError("an element that is not whole")
    size = data[at + 1]
    start = at + 2 + (size - _LONG if size > _LONG else 0)
    return _Element(data[at], data[start:end], end)


def _end(data: bytes | bytearray, at: int) -> int | None:
    """
    Where an element ends, which may be behind the end of the data; None where its length has not come yet.

    @raise ValueError: its length is of no form that LDAP has (RFC 4511 section 5.1)
    """
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size >= _LONG:
        start += size - _LONG
        if not _LONG < size <= _LONG + _MOST_OF_LONG:
            raise ValueError("a length of no form")
        if len(data) < start:
            return None
        size = int.from_bytes(data[at + 2 : start])
    return start + size


def _encoded(tag: int, *contents: bytes) -> bytes:
    """An element. What we say ourselves is never longer than the short form of a length allows."""
    content = b"".join(contents)
    assert len(content) < _LONG, "too long for the short form"
    return bytes((tag, len(content))) + content
