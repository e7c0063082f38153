"""Files in; certificate, key and chain out. A wrong file is one line of text."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mytls.errors import ConfigurationError, one_line
from mytls.names import host_name
from mytls.peer import serial_text
from mytls.settings import HostSettings
from mytls.tls import advice
from mytls.tls.chains import Pool, chain_of, is_authority, key_of, self_signed, spki
from mytls.tls.contents import Parts, PrivateKey, kind_of, parts_of, shown
from mytls.tls.files import Files, read
from mytls.tls.passwords import Password, password_of
from mytls.tls.staples import staples
from mytls.tls.trust import ClientTrust


@attrs.frozen
class KeyPair:
    """
    A private key, the certificate that it fits, and what is sent with it.

    @ivar chain: the rest of the chain, as it is sent
    @ivar source: the file with the certificate
    @ivar staple: an OCSP response that says that it is good, DER, or None
    @ivar open_end: the end of the chain, where its issuer was not found; None where it leads to a root
    @ivar notes: what was noticed while it was read, a sentence each
    """

    key: PrivateKeyTypes = attrs.field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    source: str = ""
    staple: bytes | None = attrs.field(default=None, repr=False)
    open_end: x509.Certificate | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_files(cls, private_key: str, certificate: str, extra_chain: str | None = None) -> KeyPair:
        """
        The pair of a PEM key and the PEM certificates that go with it, as of an endpoint string.

        @raise ConfigurationError: one line, which names the word of the endpoint string and the file
        """
        wrote = {"private-key": "privateKey", "certificate": "certKey", "extra-cert-chain": "extraCertChain"}
        extra = () if extra_chain is None else (extra_chain,)
        settings = HostSettings(
            certificate=(certificate,), private_key=(private_key,), extra_cert_chain=extra, wrote=wrote
        )
        return key_pairs(settings, Files())[0]

    @property
    def names(self) -> tuple[str, ...]:
        """
        The server names that it is for, in the spelling of L{mytls.names}: the dNSNames, or the common name where there
        is none (RFC 9525 section 6.3 knows dNSNames alone, old private CAs do not).
        """
        written = _dns_names(self.certificate)
        common = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(dict.fromkeys(_spelled(written or [str(each.value) for each in common])))

    @property
    def digest(self) -> bytes:
        """SHA-256 over all that is served: pairs that are the same to clients have the same."""
        together = hashlib.sha256()
        key = self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        sent = (each.public_bytes(Encoding.DER) for each in (self.certificate, *self.chain))
        for each in (key, self.staple or b"", *sent):
            together.update(len(each).to_bytes(8, "big") + each)
        return together.digest()

    def warnings(self, now: datetime.datetime) -> tuple[str, ...]:
        """What an operator should do about it, a sentence each."""
        found = [*advice.of_dates(self.certificate, now)]
        found += [*advice.of_purpose(self.certificate), *advice.of_strength(self.certificate)]
        if not self.names and not _addresses(self.certificate):
            found.append("the certificate has no name that a client could ask for: make one with a dNSName")
        elif not _dns_names(self.certificate) and not _addresses(self.certificate):
            found.append("the certificate's name is in its CN, and clients look at subjectAltName alone: renew it")
        return (*map(one_line, found), *map(one_line, self.notes))


@attrs.frozen
class Fit:
    """
    A key and a certificate that fit.

    @ivar paths: the files with the certificate; the one with most certificates first
    @ivar key_path: the file with the key
    """

    key: PrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate
    paths: tuple[str, ...]
    key_path: str


def key_pairs(settings: HostSettings, files: Files, clients: ClientTrust | None = None) -> tuple[KeyPair, ...]:
    """
    The pairs of a host, one for each kind of key, in the order of their certificates.

    @param clients: the host's client CAs, whose roots are known to be roots
    @raise ConfigurationError: one line, which names the key as the user wrote it, and the file
    """
    found = _all_parts(settings, files)
    of_certificates = [each for each in found if each.path in (settings.certificate or settings.private_key)]
    own = fits(found, of_certificates)
    _refuse_unfit_keys(settings, found, own)
    _refuse_same_kinds(settings, own)
    extra = _extra_chain(settings, files)
    pool = Pool((*(each for parts in of_certificates for each in parts.certificates), *extra))
    paths = {fit.certificate: chain_of(fit.certificate, pool) for fit in own}
    _refuse_keyless(settings, of_certificates, paths)
    chains = {leaf: (*path, *_rest(leaf, of_certificates, extra, paths)) for leaf, path in paths.items()}
    return made(settings, [(fit, paths[fit.certificate], chains[fit.certificate]) for fit in own], files, clients)


def fits(of_keys: Iterable[Parts], of_certificates: Iterable[Parts]) -> list[Fit]:
    """Which certificate is for which key, each certificate once."""
    keys = {spki(key.public_key()): (key, parts.path) for parts in reversed([*of_keys]) for key in parts.keys}
    places: dict[x509.Certificate, list[Parts]] = {}
    for parts in of_certificates:
        for each in dict.fromkeys(parts.certificates):
            places.setdefault(each, []).append(parts)
    found = []
    for certificate, inside in places.items():
        key = keys.get(key_of(certificate) or b"")
        if key is not None:
            fullest_first = sorted(inside, key=lambda parts: -len(parts.certificates))
            found.append(Fit(key[0], certificate, tuple(parts.path for parts in fullest_first), key[1]))
    return found


def made(
    settings: HostSettings,
    own: Sequence[tuple[Fit, Sequence[x509.Certificate], tuple[x509.Certificate, ...]]],
    files: Files,
    clients: ClientTrust | None,
) -> tuple[KeyPair, ...]:
    """
    The pairs of these fits.

    @param own: each with its path upwards and with what is sent
    @param clients: as of L{key_pairs}
    @raise ConfigurationError: an OCSP response that is of no use
    """
    anchors = Pool(each for each in (() if clients is None else clients.authorities) if self_signed(each))
    answers = staples(settings, [(fit.certificate, fit.paths) for fit, _, _ in own], files)
    pairs = []
    for (fit, path, sent), staple in zip(own, answers, strict=True):
        top = path[-1] if path else fit.certificate
        known = self_signed(top) or anchors.issuers(top)
        notes = (*advice.of_secret_file("the private key", fit.key_path, files.mode(fit.key_path)), *staple.notes)
        pairs.append(
            KeyPair(fit.key, fit.certificate, sent, fit.paths[0], staple.response, None if known else top, notes)
        )
    return tuple(pairs)


def _all_parts(settings: HostSettings, files: Files) -> list[Parts]:
    """What is in the files of both keys; each has what it is named for."""
    password = password_of(settings, files)
    certificates = settings.certificate or settings.private_key
    keys = settings.private_key or settings.certificate
    if not certificates:
        raise ConfigurationError(
            f"{settings.place('certificate')}: missing; expected the file with the certificate and its chain"
        )
    found = []
    for path in dict.fromkeys((*certificates, *keys)):
        word = _word(settings, path)
        content = read(settings, word, path, files)
        try:
            parts = parts_of(path, content, password, keys=path in keys) or Parts(path)
        except ConfigurationError as error:
            raise settings.wrong(word, path, str(error)) from None
        found.append(parts)
    _refuse_empty(settings, found, certificates, keys)
    return found


def _word(settings: HostSettings, path: str) -> str:
    return "certificate" if path in settings.certificate else "private-key"


def _refuse_empty(
    settings: HostSettings, found: Sequence[Parts], certificates: Sequence[str], keys: Sequence[str]
) -> None:
    """Where both keys are said, each file has what its key says; where one is, all together have both."""
    by_path = {parts.path: parts for parts in found}
    both = bool(settings.certificate and settings.private_key)
    for word, paths, what in (("private-key", keys, "private key"), ("certificate", certificates, "certificate")):
        empty = [
            path for path in paths if not (by_path[path].keys if what == "private key" else by_path[path].certificates)
        ]
        if empty and (both or len(empty) == len(paths)):
            word = word if both else _word(settings, empty[0])
            forgotten = what == "private key" and not settings.private_key and any(each.certificates for each in found)
            expected = f"say {settings.spelled('private-key')}, or put the key into this file"
            raise settings.wrong(
                word,
                empty[0],
                f"there is no {what} in it; {expected if forgotten else 'expected PEM or PKCS#12'}",
            )
    for parts in found:
        if not parts.keys and not parts.certificates:
            word = _word(settings, parts.path)
            raise settings.wrong(word, parts.path, "there is neither a certificate nor a private key in it")


def _refuse_unfit_keys(settings: HostSettings, found: Iterable[Parts], own: Iterable[Fit]) -> None:
    fitting = {spki(fit.key.public_key()) for fit in own}
    word = "certificate" if settings.certificate else "private-key"
    place = f"{settings.place(word)}={', '.join(settings.certificate or settings.private_key)}"
    for parts in found:
        if any(spki(key.public_key()) not in fitting for key in parts.keys):
            word = "private-key" if parts.path in settings.private_key else "certificate"
            raise settings.wrong(word, parts.path, f"the key does not fit the certificate in {place}")


def _refuse_same_kinds(settings: HostSettings, own: Iterable[Fit]) -> None:
    taken: dict[str, Fit] = {}
    for fit in own:
        kind = kind_of(fit.key)
        other = taken.setdefault(kind, fit)
        if other is not fit:
            raise settings.wrong(
                _word(settings, fit.paths[0]),
                fit.paths[0],
                f"{_described(fit.certificate)} has an {kind} key, as {_described(other.certificate)} in "
                f"{other.paths[0]}; a host has one certificate for each kind of key, so leave one out",
            )


def _refuse_keyless(
    settings: HostSettings, found: Iterable[Parts], paths: dict[x509.Certificate, tuple[x509.Certificate, ...]]
) -> None:
    """A certificate that is of no chain and issues nobody is one whose key was forgotten."""
    used = {*paths, *(each for path in paths.values() for each in path)}
    for parts in found:
        for each in parts.certificates:
            if each not in used and not is_authority(each):
                word = _word(settings, parts.path)
                add = f"add its key to {settings.spelled('private-key')}"
                raise settings.wrong(word, parts.path, f"no private key fits {_described(each)}; {add}")


def _rest(
    leaf: x509.Certificate,
    found: Iterable[Parts],
    extra: Iterable[x509.Certificate],
    paths: dict[x509.Certificate, tuple[x509.Certificate, ...]],
) -> list[x509.Certificate]:
    """What the user wants sent besides the path, as cross-signed certificates; but nothing of another key's."""
    placed = {*paths, *(each for path in paths.values() for each in path)}
    near = [
        parts.certificates for parts in found if leaf in parts.certificates or not paths.keys() & {*parts.certificates}
    ]
    return [each for each in dict.fromkeys((*(one for some in near for one in some), *extra)) if each not in placed]


def _extra_chain(settings: HostSettings, files: Files) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for path in settings.extra_cert_chain:
        content = read(settings, "extra-cert-chain", path, files)
        try:
            parts = parts_of(path, content, Password(), keys=False)
        except ConfigurationError as error:
            raise settings.wrong("extra-cert-chain", path, str(error)) from None
        if parts is None or not parts.certificates:
            raise settings.wrong("extra-cert-chain", path, "there is no certificate in it; expected PEM")
        found.extend(parts.certificates)
    return found


def _described(certificate: x509.Certificate) -> str:
    return f"the certificate {shown(certificate.subject)} (serial {serial_text(certificate.serial_number)})"


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _dns_names(certificate: x509.Certificate) -> list[str]:
    names = _alternative_names(certificate)
    return [] if names is None else names.get_values_for_type(x509.DNSName)


def _addresses(certificate: x509.Certificate) -> bool:
    names = _alternative_names(certificate)
    return names is not None and bool(names.get_values_for_type(x509.IPAddress))


def _spelled(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        try:
            yield host_name(name)
        except ConfigurationError:  # an old certificate's name that nobody can ask for
            continue
