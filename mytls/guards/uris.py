"""
URIs, one spelling for each.

RFC 3986 section 6.2.2 says which URIs are the same without knowing their scheme. What it leaves to who reads them, as
where a path has dots in it, is no URI that a rule could be sure of.
"""

from __future__ import annotations

import re
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits

_URI = re.compile(r"([^:/?#]+):(//[^/?#]*)?(.*)", re.DOTALL)
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_UNRESERVED = frozenset(ascii_letters + digits + "-._~")
#: What some take for a slash.
_SLASHES = re.compile(r"\\|%2F|%5C")
#: A segment `.` or `..` (section 3.3), also with parameters, and an empty one within a path.
_DOTS = re.compile(r"(\A|/)\.{1,2}([/;]|\Z)|//")


def spelled(uri: str) -> tuple[str, str] | None:
    """
    Scheme and authority, and the rest, in one spelling of what RFC 3986 sections 6.2.2.1 and 6.2.2.2 hold for the same:
    scheme and host in lower case, the digits of percent-encodings in upper, and decoded what needs no encoding. Letters
    beyond ASCII have no case: the Kelvin sign is no k.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    scheme, authority, rest = match[1], _decoded(match[2] or ""), match[3]
    user, at, host = authority.rpartition("@")
    place = _decoded(f"{user}{at}{host.translate(_LOWER)}")
    return f"{scheme.translate(_LOWER)}:{place}", _decoded(rest)


def leads_astray(uri: str) -> bool:
    """Whether it is up to who reads it which path it has: then nobody can tell which rule means it."""
    place, rest = spelled(uri) or ("", _decoded(uri))
    path = re.split("[?#]", rest, maxsplit=1)[0]
    return any(found.search(part) for found, part in ((_SLASHES, place), (_SLASHES, path), (_DOTS, path)))


def _decoded(text: str) -> str:
    return _ENCODED.sub(_character, text)


def _character(encoded: re.Match[str]) -> str:
    """The character itself where it is unreserved."""
    character = chr(int(encoded[0][1:], 16))
    return character if character in _UNRESERVED else encoded[0].upper()
