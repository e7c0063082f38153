"""What is known of a client that had no handshake, and of whom it met, in the words of hints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mytls.errors import TLSFailure
from mytls.hosts import Host, Hosts
from mytls.offers import Offer
from mytls.tls import advice
from mytls.tls.contents import shown
from mytls.tls.hello import ClientHello
from mytls.tls.profiles import METHODS, PROFILES

#: How many of a list are told.
_LISTED = 3


@attrs.frozen
class Circumstances:
    """
    What is known of a client that had no handshake.

    @ivar failure: what was wrong
    @ivar first: the first bytes that it has sent
    @ivar hello: its ClientHello, where that was whole
    @ivar host: whom it was for, where that was decided
    @ivar hosts: all that there are
    """

    failure: TLSFailure
    first: bytes = b""
    hello: ClientHello | None = None
    host: Host | None = None
    hosts: Hosts | None = None

    @property
    def offer(self) -> Offer:
        """What the client offers."""
        hello = self.hello
        return Offer() if hello is None else Offer.of(hello.versions, hello.groups, hello.alpn)


def versions_of(host: Host | None) -> str:
    """What a host of ours serves; nothing is known of a program's own context."""
    if host is None or host.options is None or not host.pairs:
        return ""
    named = PROFILES[host.settings.profile]
    newest = METHODS.get(host.settings.sslmethod or "", named.max_version)
    oldest, newest = host.settings.min_version or named.min_version, host.settings.max_version or newest
    return oldest if oldest == newest else f"{oldest} to {newest}"


def keys_of(host: Host | None) -> str:
    """The kinds of its keys."""
    kinds = {"RSA" if isinstance(pair.key, RSAPrivateKey) else "ECDSA" for pair in (host.pairs if host else ())}
    return " and ".join(sorted(kinds)) or "of a kind that is not known"


def chain_of(host: Host | None) -> str:
    """What of our chain may keep a client from trusting it."""
    if host is None or not host.pairs:
        return "give it the root of our certificate, and look whether the chain that we send is whole"
    for pair in host.pairs:
        lacking = _lacking(pair.open_end, pair.source) if pair.open_end is not None else ""
        if lacking:
            what = "may lack another" if pair.chain else "has no"
            return f"the chain we send {what} intermediate: {lacking}"
    top = (host.pairs[0].certificate, *host.pairs[0].chain)[-1]
    if top is host.pairs[0].certificate and top.issuer == top.subject:
        return "our certificate is signed by itself, so the client has to be given just that one"
    return f"the chain we send is whole, so the client lacks the root: {shown(top.issuer)}"


@lru_cache(256)
def _lacking(top: x509.Certificate, source: str) -> str:
    return next(advice.of_chains([(top, source)]), "")


def listed(words: Iterable[str], count: int = 0) -> str:
    """A few of them. @param count: how many there are, where that is more"""
    found: Sequence[str] = list(words)
    more = (count or len(found)) - _LISTED
    return (", ".join(found[:_LISTED]) or "none") + (f" and {more} more" if more > 0 else "")
