"""An authority that issues whatever a test asks for: out of time, for other uses, with weak keys, revoked."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from mytls.tls.certificates import KeyPair

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@cache
def rsa_key(bits: int = 2048, which: int = 0) -> rsa.RSAPrivateKey:
    """An RSA key for the whole run. @param which: another number is another key"""
    return rsa.generate_private_key(65537, bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """
    A CA.

    @ivar certificate: its own
    """

    def __init__(self, name: str = "Root", above: Authority | None = None, key: Any = None, **how: Any) -> None:
        self.key = key or ec_key()
        self.above = above
        issuer = above or self
        self.name = _name(name)
        self.certificate = issuer._sign(self.name, self.key, *_of_a_ca(self.key), **how)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What is sent behind a certificate of its: itself and those above it, without the root."""
        return () if self.above is None else (self.certificate, *self.above.chain)

    def issue(self, name: str = "localhost", key: Any = None, usages: Sequence[Any] = (SERVER,), **how: Any) -> KeyPair:
        """A certificate, its key and chain. @param usages: the extended key usages; none, for no such extension"""
        key = key or ec_key()
        extensions: list[x509.ExtensionType] = [x509.SubjectAlternativeName([x509.DNSName(name)])]
        if usages:
            extensions.append(x509.ExtendedKeyUsage(usages))
        return KeyPair(key, self._sign(_name(name), key, *extensions, **how), self.chain)

    def client(self, name: str = "friend", **how: Any) -> KeyPair:
        """A client's certificate."""
        return self.issue(name, **{"usages": (CLIENT,), **how})

    def revoking(
        self, *revoked: x509.Certificate, since: Any = -DAY, until: Any = DAY
    ) -> x509.CertificateRevocationList:
        """A revocation list. @param since: from when on it holds, counted from now"""
        builder = x509.CertificateRevocationListBuilder(self.name, NOW + since, NOW + until)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder(each.serial_number, NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256())

    def staple(self, certificate: x509.Certificate, until: Any = DAY) -> bytes:
        """An OCSP response that says that this certificate is good."""
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate, self.certificate, SHA256(), ocsp.OCSPCertStatus.GOOD, NOW - 2 * DAY, NOW + until, None, None
        )
        response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate).sign(self.key, SHA256())
        return response.public_bytes(Encoding.DER)

    def _sign(
        self, name: x509.Name, key: Any, *extensions: x509.ExtensionType, since: Any = -DAY, until: Any = DAY
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(NOW + since).not_valid_after(NOW + until)
        for each in (*extensions, x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())):
            builder = builder.add_extension(each, critical=isinstance(each, x509.BasicConstraints | x509.KeyUsage))
        return builder.sign(self.key, SHA256())


def _of_a_ca(key: Any) -> tuple[x509.ExtensionType, ...]:
    """What makes a certificate a CA's (RFC 5280 section 4.2.1)."""
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    return (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def showing(pair: KeyPair, context: SSL.Context) -> SSL.Context:
    """A client's context that shows this certificate."""
    context.use_certificate(pair.certificate)
    context.use_privatekey(pair.key)  # type: ignore[arg-type]  # keys of kinds that OpenSSL takes
    for each in pair.chain:
        context.add_extra_chain_cert(each)
    return context
