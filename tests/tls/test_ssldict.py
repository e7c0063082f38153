"""A certificate as the ssl module tells it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from mytls.tls.ssldict import as_ssl_dict
from tests.files import folder

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime.datetime(2020, 1, 5, 3, 4, 5, tzinfo=datetime.UTC)
END = datetime.datetime(2051, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A name of these, each by itself."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


NOBODY = name((NameOID.COMMON_NAME, "nobody"))


def certificate(
    subject: x509.Name = NOBODY,
    *extensions: x509.ExtensionType,
    serial: int = 5,
    begin: datetime.datetime = BEGIN,
    end: datetime.datetime = END,
) -> x509.Certificate:
    """A certificate that has signed itself."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(KEY.public_key())
    builder = builder.serial_number(serial).not_valid_before(begin).not_valid_after(end)
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def pem(made: x509.Certificate) -> bytes:
    """As text."""
    return made.public_bytes(Encoding.PEM)


URI = x509.UniformResourceIdentifier
DNS = x509.DNSName
IP = x509.IPAddress


class SSLDictTests(SynchronousTestCase):
    """The shape of C{ssl.SSLSocket.getpeercert()}, beside what CPython itself makes of the same certificate."""

    def setUp(self) -> None:
        self.decode: Any = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
        if self.decode is None:
            self.skipTest("this Python's ssl module shows no certificate that is in a file")
        self.path = folder(self) / "certificate.pem"

    def same(self, made: x509.Certificate) -> dict[str, Any]:
        """Assert that every field is CPython's. @return: the fields"""
        self.path.write_bytes(pem(made))
        theirs, ours = self.decode(str(self.path)), as_ssl_dict(made)
        for field in sorted(theirs.keys() | ours.keys()):
            self.assertEqual(ours.get(field), theirs.get(field), field)
        return ours

    def test_plain(self) -> None:
        """One name, two dates."""
        found = self.same(certificate())
        self.assertEqual(found["subject"], ((("commonName", "nobody"),),))
        self.assertEqual(
            (found["notBefore"], found["notAfter"]), ("Jan  5 03:04:05 2020 GMT", "Dec 31 23:59:59 2051 GMT")
        )
        self.assertEqual(ssl.cert_time_to_seconds(found["notBefore"]), BEGIN.timestamp())

    def test_every_month(self) -> None:
        """Months are English, whatever the locale."""
        for month in range(1, 13):
            self.same(certificate(begin=datetime.datetime(2020, month, 28, tzinfo=datetime.UTC)))

    def test_serial_numbers(self) -> None:
        """Serial numbers have an even number of digits."""
        for serial in (1, 0xF, 0x10, 0xABC, 2**159 - 1):
            self.same(certificate(serial=serial))

    def test_alternative_names(self) -> None:
        """Several names of every kind: DNS, IPv4, IPv6, URI, email, a directory name, an identifier, another."""
        person = name((NameOID.COUNTRY_NAME, "DE"), (NameOID.COMMON_NAME, "Zoë"))
        names = x509.SubjectAlternativeName(
            [
                DNS("a.example"), DNS("*.b.example"), DNS("xn--bcher-kva.example"),
                IP(ipaddress.ip_address("192.0.2.1")), IP(ipaddress.ip_address("::1")),
                IP(ipaddress.ip_address("2001:db8::abcd:1")), IP(ipaddress.ip_address("::ffff:192.0.2.1")),
                URI("spiffe://example.org/a:b?c=d"), x509.RFC822Name("zoe@example.org"), x509.DirectoryName(person),
                x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")), x509.RegisteredID(NameOID.COMMON_NAME),
                x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a"),
            ]
        )  # fmt: skip
        found = self.same(certificate(NOBODY, names))["subjectAltName"]
        self.assertEqual(len(found), 13)
        self.assertIn(("IP Address", "2001:DB8:0:0:0:0:ABCD:1"), found)
        self.assertIn(("DirName", ((("countryName", "DE"),), (("commonName", "Zoë"),))), found)

    def test_no_alternative_names(self) -> None:
        """A list that is empty, and one that is not there."""
        self.same(certificate(NOBODY, x509.SubjectAlternativeName([])))
        self.assertNotIn("subjectAltName", self.same(certificate()))

    def test_names(self) -> None:
        """No subject, a repeated field, several in one, letters of all scripts, a comma, a newline."""
        self.same(certificate(x509.Name([])))
        self.same(certificate(name((NameOID.COMMON_NAME, "Ünï ✓"), (NameOID.COMMON_NAME, "a,b=c+d\n/CN=e"))))
        both = [x509.NameAttribute(NameOID.COMMON_NAME, "m"), x509.NameAttribute(NameOID.USER_ID, "u")]
        self.assertEqual(len(self.same(certificate(x509.Name([x509.RelativeDistinguishedName(both)])))["subject"]), 1)

    def test_every_field_of_a_name(self) -> None:
        """Each kind of field has OpenSSL's long name; what OpenSSL has no name for is its number."""
        letters = {NameOID.COUNTRY_NAME, NameOID.JURISDICTION_COUNTRY_NAME}
        kinds = [oid for oid in vars(NameOID).values() if isinstance(oid, x509.ObjectIdentifier)]
        for oid in (*kinds, x509.ObjectIdentifier("1.2.3.4.5")):
            if oid == NameOID.X500_UNIQUE_IDENTIFIER:  # a string of bits
                continue
            self.same(certificate(name((oid, "DE" if oid in letters else "text"))))

    def test_authority_information(self) -> None:
        """Where to ask, and where the issuer's certificate is: the addresses, and nothing else."""
        about = AuthorityInformationAccessOID
        access = x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(about.OCSP, URI("http://ocsp.example")),
                x509.AccessDescription(about.OCSP, DNS("ocsp.example")),
                x509.AccessDescription(about.CA_ISSUERS, URI("http://ca.example/ca.der")),
                x509.AccessDescription(about.OCSP, URI("http://ocsp2.example")),
            ]
        )
        found = self.same(certificate(NOBODY, access))
        self.assertEqual(found["OCSP"], ("http://ocsp.example", "http://ocsp2.example"))
        self.assertEqual(found["caIssuers"], ("http://ca.example/ca.der",))

    def test_revocation_lists(self) -> None:
        """Where the lists are; a point that is named otherwise has no address."""
        relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "r")])
        points = x509.CRLDistributionPoints(
            [
                x509.DistributionPoint([URI("http://a.example"), DNS("z.example")], None, None, None),
                x509.DistributionPoint(None, relative, None, None),
                x509.DistributionPoint([URI("http://b.example")], None, None, None),
            ]
        )
        found = self.same(certificate(NOBODY, points))
        self.assertEqual(found["crlDistributionPoints"], ("http://a.example", "http://b.example"))

    def test_extension_that_does_not_parse(self) -> None:
        """A certificate whose extensions cannot be read still has a subject, and no names that nobody has read."""
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff")
        found = as_ssl_dict(certificate(NOBODY, broken))
        self.assertEqual(found["subject"], ((("commonName", "nobody"),),))
        self.assertNotIn("subjectAltName", found)
