"""
Bytes of a file in; the certificates, keys and revocation lists in them out.

Text is cut into PEM blocks by `pem`, and what stands between them does not count. A block whose end is missing is an
error: the file is still being written, or was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import attrs
import pem
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from OpenSSL.crypto import X509, X509Store
from OpenSSL.crypto import Error as OpenSSLError

from mytls.errors import ConfigurationError, sentence
from mytls.tls.passwords import Password

_Value = TypeVar("_Value")

#: The keys that a TLS server can have (RFC 8446 section 4.2.3).
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
_KINDS = ((rsa.RSAPrivateKey, "RSA"), (ec.EllipticCurvePrivateKey, "EC"), (ed25519.Ed25519PrivateKey, "Ed25519"),
          (ed448.Ed448PrivateKey, "Ed448"))  # fmt: skip

_MARK = re.compile(rb"----[- ](BEGIN|END) ([A-Z0-9 ]+)[- ]----")
_HALF_A_MARK = re.compile(rb"-----[BE][A-Z0-9 ]*-{0,4}")
#: PFX is a SEQUENCE that begins with the version 3 (RFC 7292 section 4); no other file of these does.
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)
_LOCKED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


@attrs.frozen
class Parts:
    """
    What is in a file that is PEM or PKCS#12.

    @ivar path: the file
    """

    path: str
    certificates: tuple[x509.Certificate, ...] = ()
    keys: tuple[PrivateKey, ...] = attrs.field(default=(), repr=False)


def parts_of(path: str, content: bytes, password: Password, *, keys: bool = True) -> Parts | None:
    """
    The certificates and keys of a file, or None where it is neither PEM nor PKCS#12.

    @param keys: whether keys are asked for; a key in a PEM file that nobody asks for needs no password
    @raise ConfigurationError: something in it is cut, broken, locked, or of no use; the text is without the path
    """
    if _PKCS12.match(content):
        return _of_pkcs12(path, content, password)
    blocks = _blocks(content)
    if not blocks:
        return None
    certificates = tuple(_certificate(each) for each in blocks if isinstance(each, pem.Certificate))
    found = [_key(each, password) for each in blocks if keys and isinstance(each, pem.PrivateKey)]
    return Parts(path, certificates, tuple(found))


def certificates_in(content: bytes) -> tuple[x509.Certificate, ...]:
    """
    The certificates of a PEM file, or the one of a DER file; none where it is neither.

    @raise ConfigurationError: one is cut or broken
    """
    blocks = [each for each in _blocks(content) if isinstance(each, pem.Certificate)]
    return tuple(map(_certificate, blocks)) or _der(lambda der: _whole(x509.load_der_x509_certificate(der)), content)


def revocations_in(content: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """
    The revocation lists of a PEM file, or the one of a DER file; none where it is neither.

    @raise ConfigurationError: one is cut or broken
    """
    blocks = [each for each in _blocks(content) if isinstance(each, pem.CertificateRevocationList)]
    return tuple(map(_revocation, blocks)) or _der(lambda der: _whole_list(x509.load_der_x509_crl(der)), content)


def kind_of(key: PrivateKey) -> str:
    """`RSA`, `EC`, `Ed25519` or `Ed448`; OpenSSL takes one certificate of each."""
    return next(name for kind, name in _KINDS if isinstance(key, kind))


def shown(name: x509.Name) -> str:
    """A name in a certificate of our own as a line may have it (RFC 4514)."""
    return sentence(name.rfc4514_string()) or "(no name)"


def in_short(error: Exception) -> str:
    """What a library says of a broken file, as part of a line."""
    return " ".join(str(error).split())[:150]


def _blocks(content: bytes) -> list[pem.AbstractPEMObject]:
    lines = b"\n".join(line.rstrip() for line in content.splitlines())
    _refuse_halves(lines)
    return pem.parse(lines)


def _refuse_halves(lines: bytes) -> None:
    """A block within another, one that does not end, one that has no beginning, half a mark at the end."""
    begun = None
    for word, label in _MARK.findall(lines):
        if (word == b"BEGIN") != (begun is None) or (word == b"END" and label != begun):
            raise _cut_off(label if begun is None else begun)
        begun = label if word == b"BEGIN" else None
    if begun is not None:
        raise _cut_off(begun)
    last = lines.rstrip().rpartition(b"\n")[2]
    if _HALF_A_MARK.fullmatch(last) and not _MARK.fullmatch(last):
        raise ConfigurationError("it ends in the middle of a PEM line: it is cut off, or still being written")


def _cut_off(label: bytes) -> ConfigurationError:
    kind = label.decode("ascii")
    return ConfigurationError(
        f"a {kind} block in it lacks its beginning or its end: it is cut off, or still being written"
    )


def _certificate(block: pem.AbstractPEMObject) -> x509.Certificate:
    if isinstance(block, pem.OpenSSLTrustedCertificate):
        raise ConfigurationError(
            "a TRUSTED CERTIFICATE is OpenSSL's own; make a plain one: openssl x509 -in OLD -out NEW"
        )
    try:
        return _whole(x509.load_pem_x509_certificate(block.as_bytes()))
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigurationError(f"a certificate in it is broken: {in_short(error)}") from None


def _revocation(block: pem.AbstractPEMObject) -> x509.CertificateRevocationList:
    try:
        return _whole_list(x509.load_pem_x509_crl(block.as_bytes()))
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigurationError(f"a revocation list in it is broken: {in_short(error)}") from None


def _whole(certificate: x509.Certificate) -> x509.Certificate:
    """
    The same, with those parts looked at that are parsed when somebody asks for them, also by OpenSSL.

    @raise ValueError: one is broken
    """
    try:
        _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except KeyError as error:  # what older versions of the library say of a name that is a number
        raise ValueError(f"a name of the unknown type {error}") from None
    try:
        X509.from_cryptography(certificate)
    except OpenSSLError:
        raise ValueError("OpenSSL cannot read it") from None
    return certificate


def _whole_list(revocations: x509.CertificateRevocationList) -> x509.CertificateRevocationList:
    """As L{_whole}."""
    _ = revocations.issuer, revocations.last_update_utc, revocations.next_update_utc
    try:
        _ = revocations.extensions
        X509Store().add_crl(revocations)
    except (OpenSSLError, x509.DuplicateExtension):
        raise ValueError("OpenSSL cannot read it") from None
    return revocations


def _der(load: Callable[[bytes], _Value], content: bytes) -> tuple[_Value, ...]:
    try:
        return (load(content),)
    except (ValueError, x509.InvalidVersion):
        return ()


def _key(block: pem.PrivateKey, password: Password) -> PrivateKey:
    text = block.as_bytes()
    locked = any(mark in text for mark in _LOCKED)
    if locked and password.secret is None:
        raise _no_password()
    try:
        # Whether an RSA key's numbers are primes takes 40 ms a key, and only proves that whoever made it meant well.
        # That it fits its certificate is looked at anyway.
        key = load_pem_private_key(text, password.secret if locked else None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _locked(password) if locked else _unusable(in_short(error)) from None
    return _for_servers(key)


def _of_pkcs12(path: str, content: bytes, password: Password) -> Parts:
    for secret in dict.fromkeys((password.secret, None)):
        try:
            opened = load_pkcs12(content, secret)
            certificates = [_whole(each.certificate) for each in (opened.cert, *opened.additional_certs) if each]
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            continue
        return Parts(path, tuple(certificates), () if opened.key is None else (_for_servers(opened.key),))
    raise _no_password("encrypted, or broken") if password.secret is None else _locked(password)


def _for_servers(key: object) -> PrivateKey:
    if not isinstance(key, PrivateKey):
        raise _unusable(f"TLS servers have no keys of the kind {type(key).__name__.removesuffix('PrivateKey')}")
    return key


def _no_password(how: str = "encrypted") -> ConfigurationError:
    return ConfigurationError(
        f"it is {how}, and nobody is asked for its password: write it into a file and say password-file "
        "(passwordFile in an endpoint string), or set the environment variable MYTLS_PASSWORD"
    )


def _locked(password: Password) -> ConfigurationError:
    return ConfigurationError(f"it cannot be decrypted: the password of {password.place} is wrong, or it is broken")


def _unusable(trouble: str) -> ConfigurationError:
    return ConfigurationError(f"a private key in it cannot be used: {trouble}; expected RSA, EC, Ed25519 or Ed448")
