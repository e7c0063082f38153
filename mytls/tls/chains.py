"""
Which certificate has issued which.

An issuer is known by its name and by its signature. The path from a certificate upwards takes no name and key twice,
so whatever stands in a pool, it ends: at a self-signed root, or where the pool has no issuer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_Entity = tuple[x509.Name, bytes]


class Pool:
    """Certificates among which issuers are looked for, by their subjects."""

    def __init__(self, certificates: Iterable[x509.Certificate] = ()) -> None:
        self._by_subject: dict[x509.Name, list[x509.Certificate]] = {}
        self._by_key: dict[tuple[x509.Name, bytes], list[x509.Certificate]] = {}
        self._issuers: dict[x509.Certificate, tuple[x509.Certificate, ...]] = {}
        self._signs_as: dict[x509.Certificate, tuple[bytes, bytes]] = {}
        self._entities: dict[x509.Certificate, _Entity] = {}
        self._roots: dict[x509.Certificate, bool] = {}
        for each in dict.fromkeys(certificates):
            self._by_subject.setdefault(each.subject, []).append(each)
            identifier = _own_identifier(each)
            if identifier is not None:
                self._by_key.setdefault((each.subject, identifier), []).append(each)

    def issuers(self, certificate: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """
        Whoever in the pool has issued this certificate; several where the issuer is cross-signed. Those that it names
        by their key (RFC 5280 section 4.2.1.1) go before those of that name alone.
        """
        if certificate not in self._issuers:
            self._issuers[certificate] = self._look(certificate)
        return self._issuers[certificate]

    def entity(self, certificate: x509.Certificate) -> _Entity:
        """Who it speaks of, worked out once; cross-signed certificates speak of the same."""
        if certificate not in self._entities:
            self._entities[certificate] = _entity(certificate)
        return self._entities[certificate]

    def self_signed(self, certificate: x509.Certificate) -> bool:
        """L{self_signed}, worked out once."""
        if certificate not in self._roots:
            self._roots[certificate] = self_signed(certificate)
        return self._roots[certificate]

    def _look(self, certificate: x509.Certificate) -> tuple[x509.Certificate, ...]:
        identifier = _identifier_of_issuer(certificate)
        named = () if identifier is None else self._by_key.get((certificate.issuer, identifier), ())
        told: dict[tuple[bytes, bytes], bool] = {}
        for candidates in (named, self._by_subject.get(certificate.issuer, ())):
            found = tuple(each for each in candidates if self._issued(certificate, each, told))
            if found:
                return found
        return ()

    def _issued(
        self, certificate: x509.Certificate, issuer: x509.Certificate, told: dict[tuple[bytes, bytes], bool]
    ) -> bool:
        """@param told: by name and key of those that were asked: cross-signed ones have the same"""
        if issuer not in self._signs_as:
            self._signs_as[issuer] = (issuer.subject.public_bytes(), self.entity(issuer)[1])
        signer = self._signs_as[issuer]
        if signer not in told:
            told[signer] = issued(certificate, issuer)
        return told[signer]


def chain_of(leaf: x509.Certificate, pool: Pool | Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """
    The path from a certificate upwards, without itself, in the order in which it is sent (RFC 8446 section 4.4.2).

    Of cross-signed issuers the one goes first that itself has an issuer in the pool, then one whose issuer clients
    may have, then a self-signed one; among these, the one that lasts longest.
    """
    if not isinstance(pool, Pool):
        pool = Pool(pool)
    path = [leaf]
    passed = {pool.entity(leaf)}
    while not pool.self_signed(path[-1]):
        candidates = [each for each in pool.issuers(path[-1]) if not _leads_back(each, pool, passed)]
        if not candidates:
            break
        path.append(max(candidates, key=lambda each: _preference(each, leaf, pool)))
        passed.add(pool.entity(path[-1]))
    return tuple(path[1:])


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether this issuer has signed it. A signature that `cryptography` cannot verify counts by the name alone."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except ValueError:
        return not _refused_by_kind(certificate, issuer)
    except (TypeError, UnsupportedAlgorithm):
        return True
    return True


def self_signed(certificate: x509.Certificate) -> bool:
    """Whether it is its own issuer."""
    return certificate.subject == certificate.issuer and _signed_itself(certificate)


@lru_cache(maxsize=256)
def _signed_itself(certificate: x509.Certificate) -> bool:
    """Remembered, as it is asked of the same root for each certificate of a folder."""
    return issued(certificate, certificate)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others (RFC 5280 section 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def spki(public_key: object) -> bytes:
    """A public key's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), DER."""
    der: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return der


def key_of(certificate: x509.Certificate) -> bytes | None:
    """The L{spki} of a certificate, or None where its key is of a kind that `cryptography` does not know."""
    try:
        return spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _own_identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _identifier_of_issuer(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _refused_by_kind(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """
    Whether C{verify_directly_issued_by} has raised a C{ValueError} because the issuer has another kind of key, and not
    because it knows no such signature, or takes names to differ that are spelled in other types of string.
    """
    try:
        certificate.signature_hash_algorithm  # noqa: B018  # whether it raises is what is asked
    except UnsupportedAlgorithm:
        return False
    return certificate.issuer.public_bytes() == issuer.subject.public_bytes()


def _leads_back(candidate: x509.Certificate, pool: Pool, passed: set[_Entity]) -> bool:
    """Whether it, or whoever has issued it, is on the path already."""
    if pool.entity(candidate) in passed:
        return True
    above = () if pool.self_signed(candidate) else pool.issuers(candidate)
    return bool(above) and all(pool.entity(each) in passed for each in above)


def _preference(candidate: x509.Certificate, leaf: x509.Certificate, pool: Pool) -> tuple[bool, int, datetime.datetime]:
    """What ended before the leaf began goes last: an old cross-signature, kept beside the new one."""
    alive = candidate.not_valid_after_utc >= leaf.not_valid_before_utc
    rank = 0 if pool.self_signed(candidate) else 2 if pool.issuers(candidate) else 1
    return alive, rank, candidate.not_valid_after_utc


def _entity(certificate: x509.Certificate) -> _Entity:
    return certificate.subject, key_of(certificate) or certificate.public_bytes(Encoding.DER)
