"""
Which revocation lists count: whole ones, and of each issuer the newest.

OpenSSL takes the list that fits best. One that is in time fits better than a newer one that has ended, and then nobody
knows whom the newer has revoked; of parts of a list it takes those that it can use, and passes over the others. So it
is given whole lists alone, and of each issuer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mytls.settings import HostSettings
from mytls.tls.chains import key_of
from mytls.tls.contents import shown

#: A list, and the file that it is in; no file where it is from none.
Listed = tuple[str, x509.CertificateRevocationList]
#: A name, in one spelling.
Name = tuple[frozenset[tuple[x509.ObjectIdentifier, str | bytes]], ...]

_SPACES = re.compile(r"[ \t\n\v\f\r]+")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def canonical(name: x509.Name) -> Name:
    """
    The same for all names that OpenSSL holds for the same (`X509_NAME_cmp(3)`): the case of ASCII's letters, spaces in
    a row or around, and the type of a string make no difference (RFC 5280 section 7.1 in short).
    """
    return tuple(frozenset((each.oid, _folded(each.value)) for each in relative) for relative in name.rdns)


def newest(
    settings: HostSettings, authorities: Iterable[x509.Certificate], listed: Iterable[Listed]
) -> tuple[Listed, ...]:
    """
    The newest list of each issuer, which is a name and a key.

    @raise ConfigurationError: a list that is not whole; two of one issuer, of which neither is the newer
    """
    issuers: dict[tuple[Name, bytes | None], list[Listed]] = {}
    named = by_name(authorities)
    for path, each in listed:
        _refuse_parts(settings, path, each)
        by = signer(each, named)
        known = issuers.setdefault((canonical(each.issuer), b"" if by is None else key_of(by)), [])
        if all(each != other for _, other in known):
            known.append((path, each))
    return tuple(_newest(settings, each) for each in issuers.values())


def by_name(authorities: Iterable[x509.Certificate]) -> dict[Name, list[x509.Certificate]]:
    """These CAs by their subjects."""
    found: dict[Name, list[x509.Certificate]] = {}
    for each in authorities:
        found.setdefault(canonical(each.subject), []).append(each)
    return found


def signer(
    revocations: x509.CertificateRevocationList, authorities: Mapping[Name, Sequence[x509.Certificate]]
) -> x509.Certificate | None:
    """Who of these CAs has signed this list, or None. @param authorities: as L{by_name} has them"""
    named = authorities.get(canonical(revocations.issuer), ())
    return next((each for each in named if _has_signed(each, revocations)), None)


def revoked(
    authorities: Sequence[x509.Certificate], lists: Iterable[x509.CertificateRevocationList]
) -> frozenset[Name]:
    """The authorities that a list has revoked, and those below them."""
    by_issuer: dict[Name, list[x509.CertificateRevocationList]] = {}
    for one in lists:
        by_issuer.setdefault(canonical(one.issuer), []).append(one)
    above = [(canonical(each.subject), canonical(each.issuer), each.serial_number) for each in authorities]
    gone: set[Name] = set()
    more = {
        subject
        for subject, issuer, number in above
        if any(one.get_revoked_certificate_by_serial_number(number) for one in by_issuer.get(issuer, ()))
    }
    while more:
        gone |= more
        more = {subject for subject, issuer, _ in above if issuer in gone} - gone
    return frozenset(gone)


def _folded(value: str | bytes) -> str | bytes:
    return value if isinstance(value, bytes) else _SPACES.sub(" ", value).strip(" ").translate(_LOWER)


def _has_signed(authority: x509.Certificate, revocations: x509.CertificateRevocationList) -> bool:
    """Whether its key has. What `cryptography` cannot verify counts as signed: OpenSSL verifies it again."""
    try:
        return revocations.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # a TypeError otherwise
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return True


# --- the newest


def _newest(settings: HostSettings, lists: Sequence[Listed]) -> Listed:
    """
    Of several lists of one issuer.

    @raise ConfigurationError: there is none that is newer than all others, or one is for a part of the certificates
    """
    for path, each in lists if len(lists) > 1 else ():
        if _of_a_point(each):
            trouble = "a revocation list for the certificates of one distribution point alone, beside another"
            raise settings.wrong("crl", path, f"{trouble} of {shown(each.issuer)}; leave one out")
    first = [one for one in lists if all(_not_older(one[1], other[1]) for other in lists)]
    if len(first) == 1:
        return first[0]
    (path, one), (other, _) = (first or lists)[:2]
    trouble = f"whether this revocation list of {shown(one.issuer)} or the one in {other} is the newer cannot be told"
    raise settings.wrong("crl", path, f"{trouble} by their numbers and dates; leave one out")


def _not_older(one: x509.CertificateRevocationList, other: x509.CertificateRevocationList) -> bool:
    """By the date and, where both have one, by the number (RFC 5280 section 5.2.3)."""
    numbers = _number(one), _number(other)
    in_order = numbers[0] is None or numbers[1] is None or numbers[0] >= numbers[1]
    return in_order and one.last_update_utc >= other.last_update_utc


def _number(revocations: x509.CertificateRevocationList) -> int | None:
    try:
        return revocations.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


# --- whole lists


def _refuse_parts(settings: HostSettings, path: str, revocations: x509.CertificateRevocationList) -> None:
    """@raise ConfigurationError: it is no whole list"""
    for what in _parts(revocations):
        raise settings.wrong("crl", path, f"{what}, which is not used; expected the whole list")


def _parts(revocations: x509.CertificateRevocationList) -> Iterator[str]:
    """What it is in place of a whole list (RFC 5280 sections 5.2.4 and 5.2.5)."""
    for extension in revocations.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            yield "a delta of a revocation list"
        elif isinstance(value, x509.IssuingDistributionPoint):
            yield from (f"a revocation list {of_what}" for of_what in _scope(value))


def _scope(point: x509.IssuingDistributionPoint) -> Iterator[str]:
    if point.indirect_crl:
        yield "with certificates of other issuers (indirect)"
    if point.only_some_reasons:
        yield "for some reasons alone (onlySomeReasons)"
    if point.only_contains_user_certs or point.only_contains_ca_certs or point.only_contains_attribute_certs:
        yield "for some kinds of certificates alone (onlyContains...)"


def _of_a_point(revocations: x509.CertificateRevocationList) -> bool:
    """
    Whether it is for the certificates that name its distribution point (RFC 5280 section 5.2.5). By itself that does no
    harm: OpenSSL lets in nobody else.
    """
    try:
        point = revocations.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return False
    return bool(point.full_name or point.relative_name)
