"""What an operator should do about a certificate before its clients complain, a sentence each."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from mytls.errors import one_line, visible
from mytls.tls.chains import is_authority
from mytls.tls.contents import shown
from mytls.tls.ssldict import as_ssl_dict

_SOON = datetime.timedelta(days=30)
#: Bits; what NIST SP 800-57 part 1 (table 2) counts as 112 bits of strength.
_LEAST_RSA = 2048
_LEAST_EC = 224
#: How many files a sentence lists.
_SHOWN = 3


def of_dates(certificate: x509.Certificate, now: datetime.datetime) -> Iterator[str]:
    """It has expired, will soon, or is not valid yet."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        yield f"the certificate expired on {end:%Y-%m-%d}: renew it"
    elif now < begin:
        yield f"the certificate is not valid before {begin:%Y-%m-%d %H:%M} UTC: wait until then, or set the clock right"
    elif end - now <= _SOON:
        yield f"the certificate expires {_in_days((end - now).days)}, on {end:%Y-%m-%d}: renew it"


def of_chains(ends: Iterable[tuple[x509.Certificate, str]]) -> Iterator[str]:
    """
    Chains may lack their intermediate: a sentence for each issuer. The issuer of a CA's certificate is taken for the
    root, which need not be sent, unless it says where it is to be had, as those of public CAs do. So is an issuer that
    has signed itself, where its certificate says so. Else nobody can tell.

    @param ends: the end of each chain, whose issuer is not at hand, and the file that the issuer belongs in
    """
    lacking: dict[tuple[str, str | None], dict[str, None]] = {}
    for top, source in ends:
        place = _issuer_is_at(top)
        if _issued_by_a_root(top):
            continue
        if (place or not is_authority(top)) and as_ssl_dict(top)["issuer"] not in system_roots():
            lacking.setdefault((shown(top.issuer), place), {})[source] = None
    for (issuer, place), sources in lacking.items():
        where = f" ({visible(place)})" if place else "; if it is the root, clients need it"
        yield one_line(
            f"{_listed([*sources])}: the issuer {issuer} is not sent: if it is an intermediate, append its "
            f"certificate{where}"
        )


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(files[:_SHOWN]) + more


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


def of_purpose(certificate: x509.Certificate) -> Iterator[str]:
    """It is for something else (RFC 5280 section 4.2.1.12); without the extension it is for all."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage}:
        yield "the certificate is not for servers, so clients refuse it: get one with the extended key usage serverAuth"


def of_secret_file(what: str, path: str, mode: int) -> Iterator[str]:
    """Others on this machine may read it. @param what: is in it @param mode: permission bits"""
    if mode & 0o004:
        yield f"every user of this machine may read {what}: chmod o-r {path}"


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


def _issued_by_a_root(certificate: x509.Certificate) -> bool:
    """Whether it says who has issued its issuer's certificate (RFC 5280 section 4.2.1.1), and that is the issuer."""
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    names = key.authority_cert_issuer or ()
    return any(isinstance(each, x509.DirectoryName) and each.value == certificate.issuer for each in names)


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
