"""Client CAs and their revocation lists: files in, values out. A file that says nothing is an error, never nobody."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.contents import certificates_in, revocations_in, shown
from mytls.tls.files import Files, read
from mytls.tls.revocations import Listed, by_name, newest, signer

_Value = TypeVar("_Value", x509.Certificate, x509.CertificateRevocationList)

#: How many bytes the names of CAs may have that a client is told (RFC 8446 section 4.2.4, RFC 5246 section 7.4.4). With
#: what stands beside them there are 64 KiB, and OpenSSL makes no handshake where they are more.
MAX_NAMES = 60 * 1024


@attrs.frozen
class ClientTrust:
    """
    Who vouches for clients.

    @ivar authorities: the CAs
    @ivar revocations: the revocation lists of some of them
    @ivar paths: the files of the revocation lists, in their order
    @ivar stale: whether a list past its next update is gone by
    @ivar current: whether of each CA the list that counts is there alone
    """

    authorities: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...] = ()
    paths: tuple[str, ...] = ()
    stale: bool = False
    current: bool = attrs.field(default=False, eq=False, repr=False)

    @property
    def listed(self) -> tuple[Listed, ...]:
        """The revocation lists, each with its file."""
        paths = (*self.paths, *("" for _ in self.revocations[len(self.paths) :]))
        return tuple(zip(paths, self.revocations, strict=True))

    @property
    def named(self) -> tuple[x509.Certificate, ...]:
        """
        The CAs whose names clients are told, so that they can choose a certificate: all, or none where the names are
        more than a handshake carries. Told of none, a client may show any.
        """
        size = sum(2 + len(each.subject.public_bytes()) for each in self.authorities)
        return self.authorities if size <= MAX_NAMES else ()

    def newest(self, settings: HostSettings) -> ClientTrust:
        """
        The same with those revocation lists that count.

        @raise ConfigurationError: a list that is not whole; two of one CA, of which neither is the newer
        """
        if self.current:
            return self
        found = newest(settings, self.authorities, self.listed)
        paths, lists = tuple(path for path, _ in found), tuple(each for _, each in found)
        return attrs.evolve(self, revocations=lists, paths=paths, current=True)

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
        return (*self._of_authorities(now), *self._of_names(), *self._of_revocations(now))

    def _of_authorities(self, now: datetime.datetime) -> Iterable[str]:
        for each in self.authorities:
            if now > each.not_valid_after_utc:
                yield (
                    f"the client CA {shown(each.subject)} expired on {each.not_valid_after_utc:%Y-%m-%d}, so none of "
                    "its clients can enter: put its new certificate into client-ca"
                )

    def _of_names(self) -> Iterable[str]:
        if self.authorities and not self.named:
            yield (
                f"the names of {len(self.authorities)} client CAs are over {MAX_NAMES // 1024} KiB, more than a "
                "handshake carries, so clients are told none: each has to know by itself which certificate to show"
            )

    def _of_revocations(self, now: datetime.datetime) -> Iterable[str]:
        for path, each in self.listed:
            if now < each.last_update_utc:
                yield (
                    f"{path}{': ' if path else ''}the revocation list of {shown(each.issuer)} begins on "
                    f"{each.last_update_utc:%Y-%m-%d %H:%M} UTC, so none of its clients can enter until then"
                )
            if each.next_update_utc is not None and now > each.next_update_utc:
                who = "whoever was revoked since enters" if self.stale else "none of its clients can enter"
                yield (
                    f"{path}{': ' if path else ''}the revocation list of {shown(each.issuer)} ended on "
                    f"{each.next_update_utc:%Y-%m-%d}, so {who}: get the new one"
                )


def client_trust(settings: HostSettings, files: Files) -> ClientTrust | None:
    """
    The CAs of a host and the revocation lists that count, or None where it asks clients for no certificate.

    @raise ConfigurationError: a file that cannot be read or has none in it, a list that no CA of these has signed or
        that is of no use
    """
    if settings.client_auth == "off":
        return None
    authorities = all_in(settings, "client-ca", settings.client_ca, files, certificates_in, "CA certificate")
    revocations = all_in(settings, "crl", settings.crl, files, revocations_in, "revocation list")
    named = by_name(each for each, _ in authorities)
    for each, path in revocations:
        if signer(each, named) is None:
            raise settings.wrong(
                "crl",
                path,
                f"the revocation list of {shown(each.issuer)} is signed by no CA of client-ca; add that CA, or leave "
                "the list out",
            )
    if not authorities and not settings.pinned:
        raise settings.wrong("client-auth", settings.client_auth, "no CA to verify clients with; say client-ca")
    everything = ClientTrust(
        tuple(each for each, _ in authorities),
        tuple(each for each, _ in revocations),
        tuple(path for _, path in revocations),
        stale=settings.stale_crl == "accept",
    )
    return everything.newest(settings)


def all_in(
    settings: HostSettings,
    key: str,
    paths: Iterable[str],
    files: Files,
    parse: Callable[[bytes], tuple[_Value, ...]],
    what: str,
) -> list[tuple[_Value, str]]:
    """
    What is in these files, once each, and the file that it is in.

    @param parse: what is in the content of one; raises L{ConfigurationError}
    @raise ConfigurationError: a file that cannot be read or has none in it
    """
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
