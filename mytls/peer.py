"""
Who is at the other end: one frozen value, made once, when the handshake is done.

    peer.cn, peer.dns, peer.uri    # as the rules call them: each a tuple of text
    peer.certificate               # cryptography's own, for all else

What a certificate says is taken from its parsed attributes. It is text of whoever has had the certificate signed: it
goes into a log or a header through L{mytls.errors.visible} only.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import warnings
from collections.abc import Iterator
from datetime import datetime

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier, SignatureAlgorithmOID
from twisted.internet.interfaces import IAddress

from mytls.errors import visible
from mytls.proxyheader import ProxyHeader

#: How much of each name of a certificate a log line has; and of one that is long for its escapes.
_SHOWN, _SHOWN_OF_ESCAPES = 64, 8

_UNPARSED = (
    ValueError,
    TypeError,
    KeyError,
    Warning,  # which is raised where somebody has said so
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

# cryptography warns of attributes that are too long or too short. Here a stranger has written them, and each length of
# his would be a line in the log.
warnings.filterwarnings("ignore", category=UserWarning, module=r"mytls\.peer\Z")

#: What an IP address among the names is: four octets, or sixteen (RFC 5280 section 4.2.1.6).
ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)

#: The hashes of a pin, by the words that rules have for them (RFC 7469 section 2.4 has the first alone).
PINS = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


@attrs.frozen(repr=False)
class Identity:
    """
    What a certificate says of who shows it, parsed whole, so that nobody meets a part of it that does not parse.

    Its properties never raise. They are read from the certificate each time, in microseconds.

    @ivar certificate: cryptography's own
    @ivar names: its subject alternative names (RFC 5280 section 4.2.1.6)
    @ivar key: its SubjectPublicKeyInfo, DER
    """

    certificate: x509.Certificate
    names: tuple[x509.GeneralName, ...] = attrs.field(eq=False)
    key: bytes = attrs.field(eq=False)

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Identity:
        """@raise ValueError: some of it does not parse; a few words that say what"""
        try:
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            made = cls(certificate, _alternatives(certificate), key)
            _ = made.subject, made.issuer, made.serial, made.not_before, made.not_after  # whether they parse
        except _UNPARSED as error:
            raise _unparsed(error) from None
        return made

    @classmethod
    def of_der(cls, der: bytes) -> Identity:
        """The same from the bytes, whosever they are. @raise ValueError: likewise"""
        return cls.of(certificate_of(der))

    @property
    def subject(self) -> tuple[tuple[str, str], ...]:
        """The subject's attributes in their order, each with its name as RFC 4514 has it, else its number."""
        return tuple((each.rfc4514_attribute_name, _text(each.value)) for each in self.certificate.subject)

    @property
    def cn(self) -> tuple[str, ...]:
        """The subject's common names."""
        return self._of_subject(NameOID.COMMON_NAME)

    @property
    def ou(self) -> tuple[str, ...]:
        """The subject's organizational units."""
        return self._of_subject(NameOID.ORGANIZATIONAL_UNIT_NAME)

    @property
    def o(self) -> tuple[str, ...]:
        """The subject's organizations."""
        return self._of_subject(NameOID.ORGANIZATION_NAME)

    @property
    def dns(self) -> tuple[str, ...]:
        """The host names, as they stand there."""
        return tuple(self.named(x509.DNSName))

    @property
    def uri(self) -> tuple[str, ...]:
        """The URIs, as they stand there."""
        return tuple(self.named(x509.UniformResourceIdentifier))

    @property
    def email(self) -> tuple[str, ...]:
        """The mailboxes, as they stand there."""
        return tuple(self.named(x509.RFC822Name))

    @property
    def ip(self) -> tuple[str, ...]:
        """The IP addresses, in their shortest spelling."""
        return tuple(str(each.value) for each in self.names if isinstance(each, x509.IPAddress))

    @property
    def spiffe_id(self) -> str | None:
        """
        The SPIFFE ID, where the certificate is an X.509-SVID: then it is the only URI.

        @see: U{https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md}, section 2
        """
        uris = self.uri
        return uris[0] if len(uris) == 1 and _SPIFFE.fullmatch(uris[0]) else None

    @property
    def issuer(self) -> str:
        """The issuer's name, as RFC 4514 writes it."""
        return self.certificate.issuer.rfc4514_string()

    @property
    def serial(self) -> str:
        """The serial number: an even count of hex digits in upper case, behind a `-` where it is less than 0."""
        return serial_text(self.certificate.serial_number)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hashes of the certificate, in hex, by `sha256` and `sha1`."""
        der = self.certificate.public_bytes(Encoding.DER)
        sha1 = hashlib.sha1(der, usedforsecurity=False)
        return {"sha256": hashlib.sha256(der).hexdigest(), "sha1": sha1.hexdigest()}

    @property
    def spki(self) -> tuple[str, ...]:
        """The pins of its key, as a rule `spki=` has them: `sha256:BASE64`, sha384 and sha512."""
        return tuple(f"{name}:{self.pin(name)}" for name in PINS)

    def pin(self, name: str) -> str:
        """One pin of its key, in base64 (RFC 7469 section 2.4). @param name: of the hash, one of L{PINS}"""
        return base64.b64encode(PINS[name](self.key).digest()).decode("ascii")

    @property
    def not_before(self) -> datetime:
        """From when on it is valid, in UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Until when it is valid, in UTC."""
        return self.certificate.not_valid_after_utc

    @property
    def signature(self) -> str:
        """What its issuer has signed it with: `ecdsa-with-sha256`; a number where it has no name."""
        oid = self.certificate.signature_algorithm_oid
        return _SIGNATURES.get(oid, oid.dotted_string)

    def named(self, kind: type[x509.GeneralName]) -> Iterator[str]:
        """The text of its alternative names of one kind."""
        return (each.value for each in self.names if isinstance(each, kind))

    def shown(self) -> str:
        """Whom it names, for a log line: one name of each kind, escaped, and its serial number."""
        kinds = {"cn": self.cn, "dns": self.dns, "uri": self.uri, "email": self.email, "ip": self.ip}
        found = [f"{word}={_shown(values[0])}" for word, values in kinds.items() if values]
        if not found and self.subject:
            found = [f"subject={_shown(self.certificate.subject.rfc4514_string())}"]
        return " ".join((*found, f"serial={_shown(self.serial)}"))

    def __repr__(self) -> str:
        return f"<Identity {self.shown()}>"

    def _of_subject(self, oid: ObjectIdentifier) -> tuple[str, ...]:
        return tuple(_text(each.value) for each in self.certificate.subject.get_attributes_for_oid(oid))


_SIGNATURES = {
    oid: name.lower().replace("_", "-") for name, oid in vars(SignatureAlgorithmOID).items() if name.isupper()
}

#: A trust domain, and a path without empty segments, `.` and `..` (SPIFFE-ID.md, section 2).
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)*")


def certificate_of(der: bytes) -> x509.Certificate:
    """A certificate from its bytes, whosever they are. @raise ValueError: they are none; a few words that say what"""
    try:
        return x509.load_der_x509_certificate(der)
    except _UNPARSED as error:
        raise _unparsed(error) from None


def serial_text(number: int) -> str:
    """A serial number as OpenSSL writes it. None should be less than 1, and some are (RFC 5280 section 4.1.2.2)."""
    digits = f"{abs(number):X}"
    return f"{'-' if number < 0 else ''}{'0' * (len(digits) % 2)}{digits}"


def _unparsed(error: Exception) -> ValueError:
    return ValueError(f"the certificate does not parse: {type(error).__name__}")


def _alternatives(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """Its alternative names. One of a network, which is for the constraints of a CA, is nobody's address."""
    try:
        names = tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()
    if any(isinstance(each, x509.IPAddress) and not isinstance(each.value, ADDRESSES) for each in names):
        raise ValueError
    return names


def _shown(name: str) -> str:
    """One name, escaped; never more than twice what is shown of one without escapes."""
    escaped = visible(name, _SHOWN)
    return escaped if len(escaped) <= 2 * _SHOWN else visible(name, _SHOWN_OF_ESCAPES)


def _text(value: str | bytes) -> str:
    """A BIT STRING, which some attributes are, as text that a rule cannot be made to match."""
    return value if isinstance(value, str) else f"#{value.hex()}"


@attrs.frozen
class Peer:
    """
    What the handshake has shown of the other side; the same for a session that was resumed, but for C{resumed} itself,
    and for the fingerprints, since a client that resumes says so in its ClientHello.

    @ivar address: where it connects from; of a client that a trusted proxy has passed on, what that has said
    @ivar server_name: the name it asked for (RFC 6066 section 3), or None
    @ivar alpn: the application protocol agreed on (RFC 7301), or None
    @ivar version: the TLS version, as OpenSSL writes it: `TLSv1.3`; None on a plain connection
    @ivar cipher: the cipher suite, as OpenSSL writes it
    @ivar cipher_bits: the secret bits of that suite
    @ivar group: the group of the key exchange, as OpenSSL writes it: `X25519MLKEM768`
    @ivar resumed: whether the session of an earlier connection goes on; None where that cannot be told
    @ivar identity: what its verified certificate says, or None
    @ivar chain: the verified certificates: its own first, the CA that is trusted last
    @ivar ja3: the fingerprint of its ClientHello, in hex (U{https://github.com/salesforce/ja3})
    @ivar ja4: the same, sorted (U{https://github.com/FoxIO-LLC/ja4})
    @ivar proxy_address: who has passed the connection on, or None
    @ivar proxy_header: what that proxy has said of it, with its TLVs; also where it has connected for itself (LOCAL);
        or None
    """

    address: IAddress | None
    server_name: str | None = None
    alpn: str | None = None
    version: str | None = None
    cipher: str | None = None
    cipher_bits: int | None = None
    group: str | None = None
    resumed: bool | None = None
    identity: Identity | None = None
    chain: tuple[x509.Certificate, ...] = attrs.field(default=(), repr=lambda chain: f"<{len(chain)} certificates>")
    ja3: str | None = None
    ja4: str | None = None
    proxy_address: IAddress | None = None
    proxy_header: ProxyHeader | None = None

    @property
    def certificate(self) -> x509.Certificate | None:
        """The verified certificate of the peer, or None."""
        return None if self.identity is None else self.identity.certificate

    @property
    def subject(self) -> tuple[tuple[str, str], ...]:
        """See L{Identity.subject}."""
        return () if self.identity is None else self.identity.subject

    @property
    def cn(self) -> tuple[str, ...]:
        """See L{Identity.cn}."""
        return () if self.identity is None else self.identity.cn

    @property
    def ou(self) -> tuple[str, ...]:
        """See L{Identity.ou}."""
        return () if self.identity is None else self.identity.ou

    @property
    def o(self) -> tuple[str, ...]:
        """See L{Identity.o}."""
        return () if self.identity is None else self.identity.o

    @property
    def dns(self) -> tuple[str, ...]:
        """See L{Identity.dns}."""
        return () if self.identity is None else self.identity.dns

    @property
    def uri(self) -> tuple[str, ...]:
        """See L{Identity.uri}."""
        return () if self.identity is None else self.identity.uri

    @property
    def email(self) -> tuple[str, ...]:
        """See L{Identity.email}."""
        return () if self.identity is None else self.identity.email

    @property
    def ip(self) -> tuple[str, ...]:
        """See L{Identity.ip}."""
        return () if self.identity is None else self.identity.ip

    @property
    def spiffe_id(self) -> str | None:
        """See L{Identity.spiffe_id}."""
        return None if self.identity is None else self.identity.spiffe_id

    @property
    def issuer(self) -> str | None:
        """See L{Identity.issuer}."""
        return None if self.identity is None else self.identity.issuer

    @property
    def serial(self) -> str | None:
        """See L{Identity.serial}."""
        return None if self.identity is None else self.identity.serial

    @property
    def fingerprints(self) -> dict[str, str]:
        """See L{Identity.fingerprints}."""
        return {} if self.identity is None else self.identity.fingerprints

    @property
    def spki(self) -> tuple[str, ...]:
        """See L{Identity.spki}."""
        return () if self.identity is None else self.identity.spki

    @property
    def not_before(self) -> datetime | None:
        """See L{Identity.not_before}."""
        return None if self.identity is None else self.identity.not_before

    @property
    def not_after(self) -> datetime | None:
        """See L{Identity.not_after}."""
        return None if self.identity is None else self.identity.not_after

    @property
    def signature(self) -> str | None:
        """See L{Identity.signature}."""
        return None if self.identity is None else self.identity.signature
