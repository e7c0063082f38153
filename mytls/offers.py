"""What a client has offered in its ClientHello, in words for whoever looks into why there was no handshake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

#: How many of each are kept: a stranger may offer thousands.
MOST = 12

#: RFC 8701 section 2: numbers that mean nothing, 0x0A0A, 0x1A1A, up to 0xFAFA.
_GREASE = frozenset(range(0x0A0A, 0x10000, 0x1010))

_VERSIONS = {0x0304: "TLSv1.3", 0x0303: "TLSv1.2", 0x0302: "TLSv1.1", 0x0301: "TLSv1.0", 0x0300: "SSLv3"}

#: IANA's "TLS Supported Groups", as OpenSSL spells them.
_GROUPS = {
    0x0015: "secp224r1", 0x0016: "secp256k1", 0x0017: "secp256r1", 0x0018: "secp384r1", 0x0019: "secp521r1",
    0x001A: "brainpoolP256r1", 0x001B: "brainpoolP384r1", 0x001C: "brainpoolP512r1", 0x001D: "x25519", 0x001E: "x448",
    0x0029: "curveSM2",
    0x0100: "ffdhe2048", 0x0101: "ffdhe3072", 0x0102: "ffdhe4096", 0x0103: "ffdhe6144", 0x0104: "ffdhe8192",
    0x0200: "MLKEM512", 0x0201: "MLKEM768", 0x0202: "MLKEM1024",
    0x11EB: "SecP256r1MLKEM768", 0x11EC: "X25519MLKEM768", 0x11ED: "SecP384r1MLKEM1024",
    0x11EE: "curveSM2MLKEM768", 0x6399: "X25519Kyber768Draft00",
}  # fmt: skip


@attrs.frozen
class Offer:
    """
    What a client can do, each in its order, and of each at most L{MOST}.

    @ivar versions: of TLS: `TLSv1.3`; a number in hexadecimal where it has no name
    @ivar groups: of the key exchange, as OpenSSL spells them
    @ivar alpn: application protocols; text of a stranger
    """

    versions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()

    @classmethod
    def of(cls, versions: Iterable[int], groups: Iterable[int], alpn: Sequence[bytes]) -> Offer:
        """The same from the numbers of the registry (IANA TLS parameters); GREASE is left out."""
        protocols = tuple(each.decode("latin-1") for each in alpn if not _is_grease(each))
        return cls(_words(versions, _VERSIONS), _words(groups, _GROUPS), protocols[:MOST])


def _words(numbers: Iterable[int], names: dict[int, str]) -> tuple[str, ...]:
    known = [names.get(each, f"{each:#06x}") for each in numbers if each not in _GREASE]
    return tuple(known[:MOST])


def _is_grease(protocol: bytes) -> bool:
    return len(protocol) == 2 and int.from_bytes(protocol, "big") in _GREASE
