"""Certificates of every kind, made of a few words, at a time that stands still."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from mytls.tls import advice
from mytls.tls.files import Files
from tests.files import folder

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def files(now: datetime.datetime = NOW) -> Files:
    """What reads the disk, at this time."""
    return Files(now.timestamp)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, for the whole run."""
    return rsa.generate_private_key(65537, bits)


@cache
def dsa_key() -> dsa.DSAPrivateKey:
    """A key that no TLS server has, for the whole run."""
    return dsa.generate_private_key(2048)


class Party:
    """
    Somebody with a name and a key.

    @ivar key: the private key
    """

    def __init__(self, name: str, key: Any = None) -> None:
        self.called = name
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])

    def certified(
        self,
        by: Party | None = None,
        *extensions: x509.ExtensionType,
        names: Sequence[str] = (),
        ca: bool = False,
        identified: bool = False,
        begin: datetime.timedelta = -100 * DAY,
        end: datetime.timedelta = 100 * DAY,
        serial: int | None = None,
    ) -> x509.Certificate:
        """
        A certificate for this one.

        @param by: who signs it; itself, if left out
        @param names: its dNSNames
        @param identified: whether it says which key is its own, and which its issuer's
        @param begin: counted from L{NOW}, as C{end}
        """
        by = by or self
        added: list[x509.ExtensionType] = list(extensions)
        if names:
            added.append(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]))
        if ca:
            added.append(x509.BasicConstraints(ca=True, path_length=None))
        if identified:
            added.append(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()))
            added.append(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()))
        number = x509.random_serial_number() if serial is None else serial
        builder = x509.CertificateBuilder(by.name, self.name, self.key.public_key(), number, NOW + begin, NOW + end)
        for each in added:
            builder = builder.add_extension(each, critical=False)
        plain = isinstance(by.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        return builder.sign(by.key, None if plain else SHA256())

    def revoking(
        self, *serials: int, begin: datetime.timedelta = -100 * DAY, end: datetime.timedelta = DAY
    ) -> x509.CertificateRevocationList:
        """Its revocation list."""
        builder = x509.CertificateRevocationListBuilder(self.name, NOW + begin, NOW + end)
        for each in serials:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(each, NOW - DAY).build())
        return builder.sign(self.key, SHA256())

    def answering(
        self,
        certificate: x509.Certificate,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        end: datetime.timedelta | None = DAY,
    ) -> bytes:
        """An OCSP response of this one for a certificate of its, DER."""
        revoked = NOW - DAY if status is ocsp.OCSPCertStatus.REVOKED else None
        until = None if end is None else NOW + end
        own = self.certified(ca=True)
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate, own, SHA256(), status, NOW - 100 * DAY, until, revoked, None
        )
        response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, own).sign(self.key, SHA256())
        return response.public_bytes(Encoding.DER)


def pem(*made: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """As text, one behind the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in made)


def key_pem(key: Any, password: bytes | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """A key as text, encrypted where there is a password."""
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    text: bytes = key.private_bytes(Encoding.PEM, form, how)
    return text


def write(path: Path, *content: bytes, mode: int = 0o600) -> str:
    """A file. @return: its path"""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(content))
    path.chmod(mode)
    return str(path)


class IssuingTests(SynchronousTestCase):
    """
    An authority below a root, and a folder; nothing else is trusted, and nothing is in the environment.

    @ivar of_root: the root's certificate
    @ivar middle: the authority's
    """

    def setUp(self) -> None:
        self.folder = folder(self)
        self.patch(os, "environ", {})
        self.patch(advice, "system_roots", frozenset)
        self.root, self.authority = Party("Root"), Party("Authority")
        self.of_root = self.root.certified(ca=True)
        self.middle = self.authority.certified(self.root, ca=True)

    def write(self, name: str, *content: bytes, mode: int = 0o600) -> str:
        """A file. @return: its path"""
        return write(self.folder / name, *content, mode=mode)
