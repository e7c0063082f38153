"""
X.509-SVIDs, their keys and the CAs of trust domains, as one answer of a SPIFFE Workload API has them.

@see: U{https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md}
@see: U{https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md}
"""

from __future__ import annotations

import datetime
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from mytls.errors import ConfigurationError, one_line, visible
from mytls.peer import Identity
from mytls.tls import advice
from mytls.tls.certificates import KeyPair
from mytls.tls.chains import is_authority, key_of, spki
from mytls.tls.contents import PrivateKey, certificates_in, shown

if TYPE_CHECKING:
    from spiffe import X509Svid
    from spiffe.workloadapi.x509_context import X509Context


@attrs.frozen
class Issued:
    """
    One answer of an agent, whole.

    @ivar pairs: the X.509-SVIDs with their keys; the first is the default (SPIFFE Workload API, section 5.3)
    @ivar bundles: the CAs of each trust domain, our own and the federated ones, by its name
    """

    pairs: tuple[KeyPair, ...]
    bundles: Mapping[str, tuple[x509.Certificate, ...]] = attrs.field(hash=False)

    @classmethod
    def of(cls, context: X509Context, source: str) -> Issued:
        """
        @param source: where it is from, for whoever reads of its certificates
        @raise ConfigurationError: OpenSSL cannot use it; a line without the address
        """
        bundles = {each.trust_domain.name: each.x509_authorities for each in context.x509_bundle_set.bundles}
        return cls(
            tuple(_pair(each, source) for each in context.x509_svids),
            {name: _sorted(_readable(bundles[name])) for name in sorted(bundles)},
        )

    @classmethod
    def of_bytes(cls, written: bytes, source: str) -> Issued:
        """What bytes(issued) was, in another process of ours. @param source: as of L{of}"""
        told = json.loads(written)
        pairs = []
        for key, *chain in told["pairs"]:
            leaf, *rest = map(_certificate, chain)
            pairs.append(KeyPair(load_der_private_key(b64decode(key), None), leaf, tuple(rest), source))
        return cls(tuple(pairs), {name: tuple(map(_certificate, each)) for name, each in told["bundles"].items()})

    def __bytes__(self) -> bytes:
        """All of it, keys too, for another process of ours."""
        pairs = [[_written(each.key), *map(_text, (each.certificate, *each.chain))] for each in self.pairs]
        bundles = {name: [*map(_text, each)] for name, each in self.bundles.items()}
        return json.dumps({"pairs": pairs, "bundles": bundles}).encode("ascii")

    @property
    def pair(self) -> KeyPair:
        """The default X.509-SVID."""
        return self.pairs[0]

    @property
    def spiffe_id(self) -> str:
        """Of the default X.509-SVID."""
        return str(Identity.of(self.pair.certificate).spiffe_id)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The CAs of all trust domains, once each. Who a CA may vouch for is asked of L{refusal}."""
        return tuple(dict.fromkeys(each for bundle in self.bundles.values() for each in bundle))

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of it: there is nothing new where it is the same."""
        together = hashlib.sha256()
        for pair in self.pairs:
            together.update(pair.digest)
        for name, bundle in self.bundles.items():
            together.update(repr((name, [each.public_bytes(Encoding.DER) for each in bundle])).encode("ascii"))
        return together.digest()

    def warnings(self, now: datetime.datetime) -> tuple[str, ...]:
        """
        What an operator should know of the default X.509-SVID, a sentence each. It lives for an hour or so, and its
        name is none that a client asks for.
        """
        certificate = self.pair.certificate
        in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        dates = () if in_time else advice.of_dates(certificate, now)
        return tuple(map(one_line, (*dates, *advice.of_purpose(certificate), *advice.of_strength(certificate))))

    def refusal(self, identity: Identity, anchor: x509.Certificate) -> str | None:
        """
        Why a peer whose chain leads to one of these CAs is not who it says, in a few words; None where it is. OpenSSL
        knows no trust domains: to it each CA may vouch for everybody (SPIFFE Workload API, section 4.6; X509-SVID,
        section 5.2).

        @param anchor: the CA that its verified chain ends with
        """
        domain, _, path = (identity.spiffe_id or "").removeprefix("spiffe://").partition("/")
        if not path or is_authority(identity.certificate) or _signs(identity.certificate):
            return f"no X.509-SVID: {identity.shown()}"
        if anchor not in self.bundles.get(domain, ()):
            return f"{shown(anchor.subject)} is no CA of the trust domain {visible(domain)}: {identity.shown()}"
        return None


def _pair(svid: X509Svid, source: str) -> KeyPair:
    """Its chain counts as whole: what is above it is in the bundles of those who verify it."""
    leaf, *rest = _readable(svid.cert_chain)
    key = svid.private_key
    if not isinstance(key, PrivateKey):
        raise ConfigurationError(f"the key of {svid.spiffe_id} is of a kind that TLS servers do not have")
    if spki(key.public_key()) != key_of(leaf):
        raise ConfigurationError(f"the key of {svid.spiffe_id} does not fit its certificate")
    return KeyPair(key, leaf, tuple(rest), source)


def _readable(certificates: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """The same. @raise ConfigurationError: OpenSSL cannot read one"""
    found = list(certificates)
    for each in found:
        if not certificates_in(each.public_bytes(Encoding.DER)):
            raise ConfigurationError("a certificate is broken")
    return found


def _sorted(certificates: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """In an order that is always the same: the library's is not."""
    return tuple(sorted(certificates, key=lambda each: each.public_bytes(Encoding.DER)))


def _signs(certificate: x509.Certificate) -> bool:
    """Whether it may sign certificates or revocation lists (RFC 5280 section 4.2.1.3)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return usage.key_cert_sign or usage.crl_sign


def _text(certificate: x509.Certificate) -> str:
    return b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(b64decode(text))


def _written(key: PrivateKeyTypes) -> str:
    return b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode("ascii")
