"""Who is at the other end: what a certificate says, and what happens where it says it wrongly."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from mytls.guards.access import Access
from mytls.peer import Identity, Peer, certificate_of, serial_text
from mytls.tls.ssldict import as_ssl_dict
from tests.guards.test_access import CN, NOW, ORGANIZATION, OU, attribute, certificate, changed, dns, key, named, uri

WHERE = IPv4Address("TCP", "192.0.2.1", 50000)
PROPERTIES = sorted(name for name, value in vars(Identity).items() if isinstance(value, property))
EVERY_RULE = Access.of(
    [
        "cn=x",
        "o=x",
        "dns=x.example",
        "uri=urn:**",
        "email=x@x.example",
        "ip=::1",
        "issuer=x",
        "issuer=CN=x",
        "serial=5",
    ],
    ["ou=x", f"spki=sha256:{base64.b64encode(bytes(32)).decode()}"],
)


def told(identity: Identity) -> Iterator[tuple[str, Any]]:
    """All that can be asked of it."""
    yield from ((name, getattr(identity, name)) for name in PROPERTIES)
    asked: dict[str, Callable[[], Any]] = {
        "shown": identity.shown,
        "repr": lambda: repr(Peer(None, identity=identity)),
        "getpeercert": lambda: as_ssl_dict(identity.certificate),
        "refusal": lambda: EVERY_RULE.refusal(identity),
        "hash": lambda: hash(identity),
    }
    yield from ((name, ask()) for name, ask in asked.items())


def everything() -> x509.Certificate:
    """A certificate with each kind of name."""
    return certificate(
        attribute(NameOID.COUNTRY_NAME, "DE"), attribute(ORGANIZATION, "Example"), attribute(OU, "ci"),
        attribute(OU, "ops"), attribute(CN, "build"), attribute(CN, "second"),
        names=[
            x509.DNSName("A.example"), x509.DNSName("*.b.example"), x509.RFC822Name("Ann@example.com"),
            x509.UniformResourceIdentifier("spiffe://example/ci/build"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.7")), x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\5\0"),
            x509.DirectoryName(x509.Name([attribute(CN, "elsewhere")])),
        ],
        issuer=[attribute(ORGANIZATION, "Example, Inc"), attribute(CN, "Example CA")],
    )  # fmt: skip


def lengthened(der: bytes, old: bytes, new: bytes) -> bytes:
    """A certificate with other bytes at the beginning of what is signed; its signature is no good then."""
    body, alone = der[8:].replace(old, new, 1), int.from_bytes(der[6:8], "big") + len(new) - len(old)
    return b"\x30\x82" + (len(body) + 4).to_bytes(2, "big") + b"\x30\x82" + alone.to_bytes(2, "big") + body


class IdentityTests(SynchronousTestCase):
    """What a certificate says."""

    def test_names(self) -> None:
        """Each kind of name, all of them, in their order and as they stand there."""
        identity = Identity.of(everything())
        self.assertEqual((identity.cn, identity.ou, identity.o), (("build", "second"), ("ci", "ops"), ("Example",)))
        self.assertEqual(
            identity.subject,
            (("C", "DE"), ("O", "Example"), ("OU", "ci"), ("OU", "ops"), ("CN", "build"), ("CN", "second")),
        )
        self.assertEqual((identity.dns, identity.email), (("A.example", "*.b.example"), ("Ann@example.com",)))
        self.assertEqual(identity.uri, ("spiffe://example/ci/build",))
        self.assertEqual(identity.ip, ("192.0.2.7", "2001:db8::7"))
        self.assertEqual(identity.issuer, "CN=Example CA,O=Example\\, Inc")

    def test_numbers(self) -> None:
        """The serial number, the fingerprints, the pins, the times, and what the CA has signed it with."""
        made = everything()
        identity, der = Identity.of(made), made.public_bytes(Encoding.DER)
        self.assertEqual(identity.serial, "0A1B")
        self.assertEqual(
            identity.fingerprints,
            {"sha256": hashlib.sha256(der).hexdigest(), "sha1": made.fingerprint(SHA1()).hex()},
        )
        public = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pin = base64.b64encode(hashlib.sha384(public).digest()).decode("ascii")
        self.assertEqual([each.partition(":")[0] for each in identity.spki], ["sha256", "sha384", "sha512"])
        self.assertIn(f"sha384:{pin}", identity.spki)
        self.assertIsNone(Access.of([f"spki={identity.spki[2]}"]).refusal(identity))
        self.assertEqual((identity.not_before, identity.not_after), (NOW, NOW + datetime.timedelta(days=1)))
        self.assertEqual(identity.signature, "ecdsa-with-sha256")

    def test_nothing(self) -> None:
        """A certificate that names nobody."""
        identity = Identity.of(certificate())
        names = (identity.subject, identity.cn, identity.ou, identity.o, identity.dns, identity.uri, identity.email)
        self.assertEqual((*names, identity.ip, identity.spiffe_id), ((),) * 8 + (None,))
        empty = named()
        self.assertEqual(Identity.of(empty).dns, ())

    def test_spiffe_id(self) -> None:
        """The SPIFFE ID is the only URI, well formed as its standard says; a certificate of two is nobody's."""
        for good in ("spiffe://example", "spiffe://example/a", "spiffe://a.b-c_1/ns/A/..b/..."):
            self.assertEqual(Identity.of(uri(good)).spiffe_id, good)
        for bad in (
            "spiffe://Example/a", "SPIFFE://example/a", "spiffe://example/", "spiffe://example//a", "spiffe:///a",
            "spiffe://example/a/../b", "spiffe://example/.", "spiffe://example/a?b", "spiffe://example/a#b",
            "spiffe://example:1/a", "spiffe://u@example/a", "spiffe://example/%61", "https://example/a", "",
            "spiffe://example/a\n",
        ):  # fmt: skip
            self.assertIsNone(Identity.of(uri(bad)).spiffe_id, bad)
        two = named(*(x509.UniformResourceIdentifier(f"spiffe://example/{each}") for each in "ab"))
        self.assertIsNone(Identity.of(two).spiffe_id)

    def test_equal(self) -> None:
        """Two of the same certificate are one."""
        made = everything()
        again = x509.load_der_x509_certificate(made.public_bytes(Encoding.DER))
        self.assertEqual({Identity.of(made), Identity.of(again)}, {Identity.of(made)})
        self.assertEqual(Identity.of_der(made.public_bytes(Encoding.DER)), Identity.of(made))
        self.assertNotEqual(Identity.of(made), Identity.of(certificate()))

    def test_serial_text(self) -> None:
        """Hex, two digits for each octet, as OpenSSL has it; also of numbers that none should be."""
        spelled = {1: "01", 0xA1B: "0A1B", 0xFF: "FF", 0x100: "0100", 0: "00", -5: "-05", -0x100: "-0100"}
        self.assertEqual({number: serial_text(number) for number in spelled}, spelled)

    def test_shown(self) -> None:
        """One name of each kind and the serial number; the whole subject where it has none of these."""
        self.assertEqual(
            Identity.of(everything()).shown(),
            "cn=build dns=A.example uri=spiffe://example/ci/build email=Ann@example.com ip=192.0.2.7 serial=0A1B",
        )
        self.assertEqual(Identity.of(certificate()).shown(), "serial=0A1B")
        nobody = Identity.of(certificate(attribute(ORGANIZATION, "Example, Inc")))
        self.assertEqual(nobody.shown(), r"subject=O=Example\x5c,\x20Inc serial=0A1B")

    def test_shown_is_bounded(self) -> None:
        """However long the names, and however many of their characters are escaped."""
        for text in ("a" * 300, "\0" * 300, "\U0010ffff" * 300):
            shown = Identity.of(certificate(attribute(CN, text))).shown()
            self.assertLess(len(shown), 160)
            self.assertTrue(shown.endswith("... serial=0A1B"), shown)

    test_shown_is_bounded.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_a_long_serial_number_is_cut(self) -> None:
        """A serial number may have as many digits as its maker likes, and a line has not."""
        der = everything().public_bytes(Encoding.DER)
        self.assertIn(b"\x02\x02\x0a\x1b", der)
        long = Identity.of_der(lengthened(der, b"\x02\x02\x0a\x1b", b"\x02\x82\x08\x00" + b"\x7f" * 2048))
        self.assertEqual(len(long.serial), 4096)
        self.assertTrue(long.shown().endswith(f" serial={'7F' * 32}..."), long.shown())

    def test_no_warnings(self) -> None:
        """A stranger's odd names are no warnings in the log: cryptography has one for each length of his."""
        country, organization = b"\x55\x04\x06", b"\x55\x04\x0a"
        made = changed(certificate(attribute(ORGANIZATION, "Example")), organization, country)
        der = made.public_bytes(Encoding.DER).hex()
        program = f"from mytls.peer import Identity; print(Identity.of_der(bytes.fromhex({der!r})).subject)"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual((ran.stdout, ran.stderr), ("(('C', 'Example'),)\n", ""))


class BrokenCertificateTests(SynchronousTestCase):
    """What does not parse is nobody: no rule meets it, not even `all`."""

    def refused(self, shown: x509.Certificate) -> None:
        """There is no identity of it."""
        with self.assertRaisesRegex(ValueError, "^the certificate does not parse: [A-Za-z0-9]+$"):
            Identity.of(shown)

    def test_subject(self) -> None:
        """Text that is none."""
        self.refused(changed(certificate(attribute(CN, "bu__uild")), b"bu__uild", b"bu\xff\xffuild"))

    def test_bits_for_a_name(self) -> None:
        """A CN that is no text."""
        self.refused(changed(certificate(attribute(CN, "\0ab")), b"\x0c\x03\0ab", b"\x03\x03\0ab"))

    def test_alternative_names(self) -> None:
        """A host name that is no text, an extension that is cut short, a kind that nobody reads."""
        self.refused(changed(dns("abcdef.example"), b"abcdef.example", b"abc\xffef.example"))
        self.refused(changed(dns("abcdef.example"), b"\x82\x0eabcdef", b"\x82\x7fabcdef"))
        self.refused(changed(dns("abcdef.example"), b"\x82\x0eabcdef", b"\xa3\x0eabcdef"))

    def test_addresses(self) -> None:
        """An address has four octets or sixteen: not five, and not those of a network."""
        five = changed(dns("abcde"), b"\x82\x05abcde", b"\x87\x05abcde")
        self.refused(five)
        for network in ("10.0.0.0/8", "2001:db8::/32"):
            self.refused(named(x509.IPAddress(ipaddress.ip_network(network))))

    def test_version(self) -> None:
        """A version that there is not is told as anything else that does not parse."""
        made = named(x509.DNSName("a.example"))
        der = made.public_bytes(Encoding.DER)
        for version in (1, 3, 77):
            changed_der = der.replace(b"\xa0\x03\x02\x01\x02", bytes((0xA0, 3, 2, 1, version)), 1)
            for parse in (Identity.of_der, certificate_of):
                with self.assertRaisesRegex(ValueError, "^the certificate does not parse: InvalidVersion$"):
                    parse(changed_der)

    def test_same_extension_twice(self) -> None:
        """Two extensions of one kind (RFC 5280 section 4.2)."""
        two = certificate(
            names=[x509.DNSName("a.example")], more=[x509.IssuerAlternativeName([x509.DNSName("b.example")])]
        )
        self.refused(changed(two, b"\x06\x03\x55\x1d\x12", b"\x06\x03\x55\x1d\x11"))

    def test_key(self) -> None:
        """A key of a kind that nobody knows, on a curve that nobody knows, a point that is on no curve."""
        curve, kind = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d0201")
        for old in (curve, kind):
            self.refused(changed(certificate(), old, old[:-1] + b"\x7f"))
        point = key().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.refused(changed(certificate(), point, point[:-1] + bytes((point[-1] ^ 1,))))

    def test_bytes(self) -> None:
        """Bytes that are no certificate, and one of a version that there is not, are refused in the same words."""
        der = everything().public_bytes(Encoding.DER)
        version = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
        self.assertNotEqual(version, der)
        for wrong in (b"", b"\x30\x00", der[:-1], der + b"\0", version):
            with self.assertRaisesRegex(ValueError, "^the certificate does not parse: [A-Za-z0-9]+$"):
                Identity.of_der(wrong)


few = settings(
    max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


class OddCertificateTests(SynchronousTestCase):
    """What is made never raises, however odd its certificate."""

    def test_odd(self) -> None:
        """Numbers below one, empty names, text of other kinds, bits, a far end, an unknown signature."""
        five = certificate(attribute(CN, "x"), serial=5)
        bits = certificate(attribute(NameOID.X500_UNIQUE_IDENTIFIER, "\0ab"))
        odd = {
            "zero": changed(five, b"\x02\x01\x05", b"\x02\x01\0"),
            "negative": changed(five, b"\x02\x01\x05", b"\x02\x01\xfb"),
            "bits": changed(bits, b"\x0c\x03\0ab", b"\x03\x03\0ab"),
            "empty": certificate(attribute(CN, "")),
            "far": changed(five, b"\x17\x0d300102000000Z", b"\x17\x0d491231235959Z"),
            "signature": changed(five, bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")),
            "no names": named(),
            "all": everything(),
        }
        seen = {what: dict(told(Identity.of(each))) for what, each in odd.items()}
        self.assertEqual(
            (seen["zero"]["serial"], seen["negative"]["serial"], seen["bits"]["subject"]),
            ("00", "-05", (("2.5.4.45", "#006162"),)),
        )
        self.assertEqual(seen["negative"]["getpeercert"]["serialNumber"], "-05")
        self.assertEqual((seen["empty"]["cn"], seen["far"]["not_after"].year), (("",), 2049))
        self.assertEqual(seen["signature"]["signature"], "1.2.840.10045.4.3.127")

    test_odd.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    @few
    @given(st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), min_size=1, max_size=3))
    def test_changed_bytes(self, made: list[tuple[int, int]]) -> None:
        """With any bytes changed there is either no identity, or one of which all can be asked."""
        der = bytearray(EVERYTHING)
        for at, value in made:
            der[at % len(der)] = value
        try:
            identity = Identity.of_der(bytes(der))
        except ValueError:
            return
        self.assertEqual(len(dict(told(identity))), len(PROPERTIES) + 5)

    test_changed_bytes.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]


EVERYTHING = everything().public_bytes(Encoding.DER)


class PeerTests(SynchronousTestCase):
    """The value."""

    def test_as_its_certificate(self) -> None:
        """All that can be asked of the certificate can be asked of the peer, and the answer is the same."""
        identity = Identity.of(everything())
        peer = Peer(WHERE, identity=identity)
        for name in PROPERTIES:
            self.assertEqual(getattr(peer, name), getattr(identity, name), name)
        self.assertEqual(peer.certificate, identity.certificate)

    def test_nobody(self) -> None:
        """A peer that has shown no certificate has nothing of one: lists are empty, all else is None."""
        peer = Peer(WHERE)
        shown = {name: getattr(peer, name) for name in PROPERTIES}
        lists = {"subject", "cn", "ou", "o", "dns", "uri", "email", "ip", "spki"}
        self.assertEqual({name for name, value in shown.items() if value == ()}, lists)
        self.assertEqual(shown.pop("fingerprints"), {})
        self.assertEqual({value for name, value in shown.items() if name not in lists}, {None})
        self.assertEqual((peer.certificate, peer.chain, peer.identity), (None, (), None))

    def test_frozen(self) -> None:
        """Nobody who is given it changes what the next one is given."""
        peer = Peer(WHERE, identity=Identity.of(everything()))
        for name in ("server_name", "identity", "cn"):
            with self.assertRaises(AttributeError):
                setattr(peer, name, None)
        self.assertEqual({peer, attrs.evolve(peer)}, {peer})
        peer.fingerprints["sha256"] = ""
        self.assertNotEqual(peer.fingerprints["sha256"], "")

    def test_repr(self) -> None:
        """It can be read, is one line whatever strangers wrote, and has nobody's key in it."""
        shown = certificate(attribute(CN, "a\nb\x1b"), names=[x509.DNSName("a.example")])
        identity = Identity.of(shown)
        text = repr(Peer(WHERE, "a\nb", identity=identity, chain=(shown, shown)))
        self.assertIn(r"identity=<Identity cn=a\x0ab\x1b dns=a.example serial=0A1B>, chain=<2 certificates>", text)
        self.assertTrue(text.isprintable())
        self.assertIn(r"server_name='a\nb'", text)
        self.assertNotIn("Certificate(", text)
        self.assertNotIn(identity.key.hex(), text)
