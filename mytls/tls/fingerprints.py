"""
What made a ClientHello, as far as its choices tell: the fingerprints JA3 and JA4.

They tell programs apart, and prove nothing: a client sends what it likes. GREASE (RFC 8701) is left out, since it
changes with each connection.

A client that resumes a session of TLS 1.3 sends one extension more, pre_shared_key, and may leave out others. Both
fingerprints are of what was sent, as other programs compute them: such a client has one for its first connection and
another for those that follow.

@see: U{https://github.com/salesforce/ja3}
@see: U{https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md}
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import md5, sha256

from mytls.tls.hello import ClientHello

_SERVER_NAME, _ALPN = 0, 16

#: RFC 8701 section 2: 0x0A0A, 0x1A1A, up to 0xFAFA.
_GREASE = frozenset(range(0x0A0A, 0x10000, 0x1010))

#: JA4's spelling of versions, those of DTLS included; all others are `00`.
_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}

#: In place of the hash of nothing.
_NOTHING = "0" * 12

#: How many fingerprints are kept, and of ClientHellos of how many numbers. Browsers send some 60; a stranger may send
#: tens of thousands, and shall not choose how much memory is taken.
_KEPT, _KEPT_NUMBERS = 512, 256


def fingerprints(hello: ClientHello) -> tuple[str, str]:
    """JA3, as 32 hex digits, and JA4, as in `t13d1516h2_8daaf6152771_e5627efa2ab1`."""
    offers = (hello.cipher_suites, hello.extensions, hello.groups, hello.signature_algorithms, hello.versions)
    first = hello.alpn[0] if hello.alpn else b""
    small = sum(map(len, offers)) + len(hello.point_formats) + len(first) <= _KEPT_NUMBERS
    return (_kept if small else _both)(hello.version, hello.point_formats, first, *offers)


def _both(
    version: int,
    point_formats: bytes,
    protocol: bytes,
    cipher_suites: tuple[int, ...],
    extensions: tuple[int, ...],
    groups: tuple[int, ...],
    signature_algorithms: tuple[int, ...],
    versions: tuple[int, ...],
) -> tuple[str, str]:
    """@param protocol: the first of ALPN, empty where there is none"""
    suites, kinds = _without_grease(cipher_suites), _without_grease(extensions)
    lists = suites, kinds, _without_grease(groups), point_formats
    ja3 = ",".join((str(version), *("-".join(map(str, each)) for each in lists)))
    newest = max(_without_grease(versions), default=0)
    begin = (
        f"t{_VERSIONS.get(newest, '00')}{'d' if _SERVER_NAME in kinds else 'i'}"
        f"{min(len(suites), 99):02}{min(len(kinds), 99):02}{_ends(protocol)}"
    )
    rest = _hex(sorted(each for each in kinds if each not in (_SERVER_NAME, _ALPN)))
    signed = _hex(_without_grease(signature_algorithms))
    ja4 = f"{begin}_{_hash(_hex(sorted(suites)))}_{_hash(f'{rest}_{signed}' if signed else rest)}"
    return md5(ja3.encode("ascii"), usedforsecurity=False).hexdigest(), ja4


_kept = lru_cache(_KEPT)(_both)


def _without_grease(numbers: Sequence[int]) -> list[int]:
    return [each for each in numbers if each not in _GREASE]


def _ends(protocol: bytes) -> str:
    """Its first and last character; where one of these is no letter or digit, those of its spelling in hex."""
    if not protocol:
        return "00"
    text = protocol.decode("latin-1")
    if not (_plain(text[0]) and _plain(text[-1])):
        text = protocol.hex()
    return text[0] + text[-1]


def _plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _hex(numbers: Sequence[int]) -> str:
    """`1301,c02b`"""
    return struct.pack(f">{len(numbers)}H", *numbers).hex(",", 2) if numbers else ""


def _hash(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()[:12] if text else _NOTHING
