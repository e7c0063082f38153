"""What an operator should do about a certificate before its clients complain, a sentence each."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from mytls.errors import visible
from mytls.tls.chains import is_authority
from mytls.tls.contents import shown
from mytls.tls.ssldict import as_ssl_dict

_SOON = datetime.timedelta(days=30)
#: Bits; what NIST SP 800-57 part 1 (table 2) counts as 112 bits of strength.
_LEAST_RSA = 2048
_LEAST_EC = 224


def of_dates(certificate: x509.Certificate, now: datetime.datetime) -> Iterator[str]:
    """It has expired, will soon, or is not valid yet."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        yield f"the certificate expired on {end:%Y-%m-%d}: renew it"
    elif now < begin:
        yield f"the certificate is not valid before {begin:%Y-%m-%d %H:%M} UTC: wait until then, or set the clock right"
    elif end - now <= _SOON:
        yield f"the certificate expires {_in_days((end - now).days)}, on {end:%Y-%m-%d}: renew it"


def of_chain(top: x509.Certificate, source: str) -> Iterator[str]:
    """
    The chain lacks its intermediate. The issuer of a CA's certificate is taken for the root, which need not be sent,
    unless it says where it is to be had, as those of public CAs do.

    @param top: the end of the chain, whose issuer is not at hand
    @param source: the file that the issuer belongs in
    """
    place = _issuer_is_at(top)
    if (place or not is_authority(top)) and as_ssl_dict(top)["issuer"] not in system_roots():
        yield (
            f"the chain ends with {shown(top.subject)}, issued by {shown(top.issuer)}, which is not sent: if that is "
            f"an intermediate, append its certificate to {source}{f' ({visible(place)})' if place else ''}"
        )


def of_strength(certificate: x509.Certificate) -> Iterator[str]:
    """Its key or its signature is weak."""
    try:
        key = certificate.public_key()
        signed_with = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA:
        yield f"the key is weak, RSA with {key.key_size} bits: make one with {_LEAST_RSA} bits or more, or EC P-256"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _LEAST_EC:
        yield f"the key is weak, EC with {key.key_size} bits: make one on P-256"
    if signed_with is not None and signed_with.name in ("md5", "sha1"):
        yield f"the certificate is signed with {signed_with.name.upper()}, which clients refuse: renew it"


def of_key_file(path: str, mode: int) -> Iterator[str]:
    """Others on this machine may read the key. @param mode: permission bits"""
    if mode & 0o004:
        yield f"every user of this machine may read the private key: chmod o-r {path}"


@cache
def system_roots() -> frozenset[object]:
    """The subjects of the roots that this system trusts, as the ssl module shows them; looked up once."""
    paths = ssl.get_default_verify_paths()
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for place in _places(paths.cafile, paths.capath):
        with suppress(OSError):  # a store that cannot be read vouches for nobody
            store.load_verify_locations(place)
    return frozenset(root["subject"] for root in store.get_ca_certs())


def _places(file: str | None, folder: str | None) -> list[Path]:
    """The file; where there is none, those of the folder, by the names that `openssl rehash` gives them."""
    if file is not None:
        return [Path(file)]
    return sorted(Path(folder).glob("*.[0-9]*")) if folder is not None else []


def _issuer_is_at(certificate: x509.Certificate) -> str | None:
    """Where the issuer's certificate is (RFC 5280 section 4.2.2.1, caIssuers)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
    for each in access:
        uri = each.access_location
        if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            uri, x509.UniformResourceIdentifier
        ):
            return uri.value
    return None


def _in_days(days: int) -> str:
    return "in less than a day" if days == 0 else f"in {days} day{'s' if days > 1 else ''}"
