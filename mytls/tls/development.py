"""
A certificate for a developer's own machine: a small CA and a certificate for localhost, made once and kept.

The CA may sign for this machine's loopback names alone (a critical name constraint, RFC 5280 section 4.2.1.10), so
trusting it gives nothing away.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from fcntl import LOCK_EX, flock
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mytls.errors import ConfigurationError

_CA_DAYS = 3650
_LEAF_DAYS = 90
_RENEW_DAYS = 30
_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)
_PERMITTED = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
    x509.IPAddress(ipaddress.ip_network("::1/128")),
)


@attrs.frozen
class DevelopmentCertificate:
    """
    Where the three files are.

    @ivar ca: what a client trusts
    @ivar chain: the certificate for localhost and the CA's
    @ivar key: its private key
    """

    ca: Path
    chain: Path
    key: Path


def state_folder() -> Path:
    """The folder for what mytls keeps between runs (XDG Base Directory Specification, C{XDG_STATE_HOME})."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = os.path.expanduser("~")
    if not os.path.isabs(base) and not os.path.isabs(home):
        raise ConfigurationError("there is no home folder to keep the development certificate in; set XDG_STATE_HOME")
    return (Path(base) if os.path.isabs(base) else Path(home) / ".local" / "state") / "mytls"


def development_certificate(folder: Path, now: datetime.datetime) -> DevelopmentCertificate:
    """
    The development certificate in C{folder}: found there, renewed when near its end, made where there is none.

    @raise ConfigurationError: the folder cannot be written
    """
    files = DevelopmentCertificate(folder / "ca.pem", folder / "localhost.pem", folder / "localhost.key")
    if _still_good(files, now):
        return files
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder, os.O_RDONLY)
        try:
            flock(lock, LOCK_EX)  # two first starts at the same time make one certificate
            _make(files, folder, now)
        finally:
            os.close(lock)
    except OSError as error:
        raise ConfigurationError(f"the development certificate cannot be kept in {folder}: {error.strerror}") from None
    return files


def _make(files: DevelopmentCertificate, folder: Path, now: datetime.datetime) -> None:
    if not _still_good(files, now):
        ca_key, ca = _authority(folder, now)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _localhost(key, ca_key, ca, now)
        _write(files.key, _key_pem(key))
        _write(files.chain, leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM))


def _still_good(files: DevelopmentCertificate, now: datetime.datetime) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        leaf = x509.load_pem_x509_certificate(files.chain.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), None)
        leaf.verify_directly_issued_by(ca)
    except Exception:  # whatever is missing or broken is made anew
        return False
    return leaf.public_key() == key.public_key() and _lasts(leaf, now) and _lasts(ca, now)


def _lasts(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    return (
        certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - datetime.timedelta(days=_RENEW_DAYS)
    )


def _authority(folder: Path, now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The CA in the folder, so that a renewed certificate is trusted by whoever trusted the last; or a new one."""
    try:
        key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        lasting = _lasts(ca, now + datetime.timedelta(days=_LEAF_DAYS))
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == ca.public_key() and lasting:
            return key, ca
    except Exception:  # as above
        pass
    made = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate_authority(made, now)
    _write(folder / "ca.key", _key_pem(made))
    _write(folder / "ca.pem", ca.public_bytes(Encoding.PEM))
    return made, ca


def _certificate_authority(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mytls development CA {secrets.token_hex(4)}")])
    return (
        _builder(name, name, key.public_key(), now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=_PERMITTED, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _localhost(
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    now: datetime.datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    return (
        _builder(name, ca.subject, key.public_key(), now, _LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Write beside and rename, mode 0600 from the first byte: whoever reads meanwhile sees the old file or the new."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
