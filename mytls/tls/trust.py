"""Client CAs and their revocation lists: files in, values out. A file that says nothing is an error, never nobody."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.contents import certificates_in, revocations_in, shown
from mytls.tls.files import Files, read

_Value = TypeVar("_Value", x509.Certificate, x509.CertificateRevocationList)


@attrs.frozen
class ClientTrust:
    """
    Who vouches for clients.

    @ivar authorities: the CAs
    @ivar revocations: the revocation lists of some of them
    @ivar paths: the files of the revocation lists, in their order
    @ivar stale: whether a list past its next update is gone by
    """

    authorities: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...] = ()
    paths: tuple[str, ...] = ()
    stale: bool = False

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of it: the same clients may enter where it is the same."""
        together = hashlib.sha256()
        for der in (
            *(each.public_bytes(Encoding.DER) for each in self.authorities),
            *(each.public_bytes(Encoding.DER) for each in self.revocations),
        ):
            together.update(len(der).to_bytes(8, "big") + der)
        return together.digest()

    def warnings(self, now: datetime.datetime) -> tuple[str, ...]:
        """What an operator should do about them, a sentence each."""
        return (*self._of_authorities(now), *self._of_revocations(now))

    def _of_authorities(self, now: datetime.datetime) -> Iterable[str]:
        for each in self.authorities:
            if now > each.not_valid_after_utc:
                yield (
                    f"the client CA {shown(each.subject)} expired on {each.not_valid_after_utc:%Y-%m-%d}, so none of "
                    "its clients can enter: put its new certificate into client-ca"
                )

    def _of_revocations(self, now: datetime.datetime) -> Iterable[str]:
        for path, each in zip_longest(self.paths, self.revocations, fillvalue=""):
            assert not isinstance(each, str)
            if each.next_update_utc is not None and now > each.next_update_utc:
                who = "whoever was revoked since enters" if self.stale else "none of its clients can enter"
                yield (
                    f"{path}{': ' if path else ''}the revocation list of {shown(each.issuer)} ended on "
                    f"{each.next_update_utc:%Y-%m-%d}, so {who}: get the new one"
                )


def client_trust(settings: HostSettings, files: Files) -> ClientTrust | None:
    """
    The CAs and revocation lists of a host, or None where it asks clients for no certificate.

    @raise ConfigurationError: a file that cannot be read or has none in it, a list that no CA of these has signed
    """
    if settings.client_auth == "off":
        return None
    authorities = _all(settings, "client-ca", settings.client_ca, files, certificates_in, "CA certificate")
    revocations = _all(settings, "crl", settings.crl, files, revocations_in, "revocation list")
    for each, path in revocations:
        if not any(_signed(each, authority) for authority, _ in authorities):
            raise settings.wrong(
                "crl",
                path,
                f"the revocation list of {shown(each.issuer)} is signed by no CA of client-ca; add that CA, or leave "
                "the list out",
            )
    if not authorities and not settings.pinned:
        raise settings.wrong("client-auth", settings.client_auth, "no CA to verify clients with; say client-ca")
    return ClientTrust(
        tuple(each for each, _ in authorities),
        tuple(each for each, _ in revocations),
        tuple(path for _, path in revocations),
        stale=settings.stale_crl == "accept",
    )


def refuse_deltas(settings: HostSettings, clients: ClientTrust) -> None:
    """
    OpenSSL passes over deltas (RFC 5280 section 5.2.4), and with them over what they revoke.

    @raise ConfigurationError: there is one among the lists
    """
    for path, each in zip_longest(clients.paths, clients.revocations, fillvalue=""):
        assert not isinstance(each, str)
        if any(extension.oid == ExtensionOID.DELTA_CRL_INDICATOR for extension in each.extensions):
            trouble = "a delta of a revocation list, which is not used; expected the whole list"
            raise settings.wrong("crl", path, trouble)


def revoked_authorities(clients: ClientTrust) -> set[x509.Name]:
    """The authorities that a list has revoked, and those below them."""
    gone: set[x509.Name] = set()
    for _ in clients.authorities:  # so deep is the longest chain
        for each in clients.authorities:
            lists = (one for one in clients.revocations if one.issuer == each.issuer)
            number = each.serial_number
            if each.issuer in gone or any(one.get_revoked_certificate_by_serial_number(number) for one in lists):
                gone.add(each.subject)
    return gone


def _all(
    settings: HostSettings,
    key: str,
    paths: Iterable[str],
    files: Files,
    parse: Callable[[bytes], tuple[_Value, ...]],
    what: str,
) -> list[tuple[_Value, str]]:
    """What is in these files, once each, and the file that it is in."""
    found: dict[bytes, tuple[_Value, str]] = {}
    for path in paths:
        content = read(settings, key, path, files)
        try:
            inside = parse(content)
        except ConfigurationError as error:
            raise settings.wrong(key, path, str(error)) from None
        if not inside:
            raise settings.wrong(key, path, f"there is no {what} in it; expected PEM or DER")
        for each in inside:
            found.setdefault(each.public_bytes(Encoding.DER), (each, path))
    return list(found.values())


def _signed(revocations: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Whether this CA has. What `cryptography` cannot verify counts by the name: OpenSSL verifies it again."""
    if revocations.issuer != authority.subject:
        return False
    try:
        return revocations.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # a TypeError otherwise
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return True
