"""Who may enter: each rule, each way to write it wrong, and certificates that try to look like another's."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards.access import Access
from mytls.peer import Identity
from mytls.settings import HostSettings

CN, ORGANIZATION, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


@cache
def key() -> ec.EllipticCurvePrivateKey:
    """One key for the whole run."""
    return ec.generate_private_key(ec.SECP256R1())


def attribute(oid: ObjectIdentifier, value: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.NameAttribute[Any]:
    """An attribute, in the ASN.1 string type that is asked for."""
    return x509.NameAttribute(oid, value, _type=kind, _validate=False)


def certificate(
    *subject: x509.NameAttribute[Any] | x509.RelativeDistinguishedName,
    names: Sequence[x509.GeneralName] = (),
    more: Sequence[x509.ExtensionType] = (),
    issuer: Sequence[x509.NameAttribute[Any]] = (attribute(CN, "Example CA"),),
    serial: int = 0x0A1B,
) -> x509.Certificate:
    """A certificate with this subject, these alternative names and more extensions, as it comes off the wire."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([_alone(each) for each in subject]))
        .issuer_name(x509.Name(issuer))
        .public_key(key().public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=1))
    )
    for each in (*([x509.SubjectAlternativeName(names)] if names else ()), *more):
        builder = builder.add_extension(each, critical=False)
    return x509.load_der_x509_certificate(builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER))


def _alone(part: x509.NameAttribute[Any] | x509.RelativeDistinguishedName) -> x509.RelativeDistinguishedName:
    return part if isinstance(part, x509.RelativeDistinguishedName) else x509.RelativeDistinguishedName([part])


def changed(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """The same with other bytes of the same length; nobody looks at its signature here."""
    der = certificate.public_bytes(Encoding.DER)
    assert old in der
    assert len(old) == len(new)
    return x509.load_der_x509_certificate(der.replace(old, new))


def named(*names: x509.GeneralName) -> x509.Certificate:
    """A certificate with these alternative names, and no CN."""
    return certificate(names=names)


def dns(*names: str) -> x509.Certificate:
    """A certificate for these host names."""
    return named(*(x509.DNSName(each) for each in names))


def uri(text: str) -> x509.Certificate:
    """A certificate for this URI."""
    return named(x509.UniformResourceIdentifier(text))


def refusal(access: Access, shown: x509.Certificate) -> str | None:
    """Why this certificate may not enter."""
    return access.refusal(Identity.of(shown))


def enters(rule: str, shown: x509.Certificate) -> bool:
    """Whether one rule alone lets a certificate in. That `deny` sees it in the same way is asserted too."""
    identity = Identity.of(shown)
    allowed = Access.of([rule]).refusal(identity) is None
    denied = Access.of(["all"], [rule]).refusal(identity) is not None
    assert allowed == denied
    return allowed


class RulesTests(SynchronousTestCase):
    """What rules do together."""

    def test_no_rule(self) -> None:
        """Without a rule nobody enters."""
        shown = certificate(attribute(CN, "build"))
        self.assertEqual(refusal(Access.of([]), shown), "there is no allow rule: cn=build serial=0A1B")
        self.assertIsNotNone(refusal(Access(), shown))

    def test_any_allows(self) -> None:
        """One rule that matches is enough."""
        access = Access.of(["cn=build", "cn=deploy"])
        self.assertIsNone(refusal(access, certificate(attribute(CN, "build"))))
        self.assertIsNone(refusal(access, certificate(attribute(CN, "deploy"))))
        self.assertIsNotNone(refusal(access, certificate(attribute(CN, "test"))))

    def test_all(self) -> None:
        """`all` is everybody with a certificate."""
        self.assertTrue(enters("all", certificate()))

    def test_deny_wins(self) -> None:
        """Who is denied does not enter, whatever allows it."""
        access = Access.of(["cn=build", "all"], ["o=Test", "cn=build"])
        self.assertEqual(
            refusal(access, certificate(attribute(CN, "build"))), "deny cn=build matches cn=build serial=0A1B"
        )
        self.assertIsNone(refusal(access, certificate(attribute(CN, "deploy"))))

    def test_deny_alone(self) -> None:
        """To deny some is not to allow the others."""
        self.assertIsNotNone(refusal(Access.of([], ["cn=build"]), certificate(attribute(CN, "deploy"))))

    def test_as_written(self) -> None:
        """The rules are given back as they were written."""
        access = Access.of(["cn=Build", "dns=*.Example"], ["serial=0A:1B"])
        self.assertEqual(access.rules, ("allow cn=Build", "allow dns=*.Example", "deny serial=0A:1B"))
        self.assertEqual(str(access), "allow cn=Build, allow dns=*.Example, deny serial=0A:1B")
        self.assertEqual(str(Access()), "nobody")

    def test_values(self) -> None:
        """The same rules are equal."""
        self.assertEqual(Access.of(["cn=a"], ["cn=b"]), Access.of(["cn=a"], ["cn=b"]))
        self.assertNotEqual(Access.of(["cn=a"]), Access.of(["cn=b"]))


class RefusalTests(SynchronousTestCase):
    """What the log is told."""

    def test_who(self) -> None:
        """The refused client's names are in the text, one of each kind."""
        shown = certificate(
            attribute(CN, "build"),
            attribute(CN, "second"),
            names=[
                x509.DNSName("a.example"),
                x509.DNSName("b.example"),
                x509.UniformResourceIdentifier("spiffe://example/a"),
                x509.RFC822Name("ann@example.com"),
            ],
        )
        self.assertEqual(
            refusal(Access.of(["cn=x"]), shown),
            "no allow rule matches cn=build dns=a.example uri=spiffe://example/a email=ann@example.com serial=0A1B",
        )

    def test_nameless(self) -> None:
        """One without a name is known by its serial number."""
        self.assertEqual(refusal(Access.of(["cn=x"]), certificate()), "no allow rule matches serial=0A1B")

    def test_what_a_stranger_wrote(self) -> None:
        """A name cannot end the line, forge another or fill the log."""
        shown = certificate(attribute(CN, 'a"\n2030-01-01 established cn=root\x1b[31m\0' + "x" * 1000))
        said = refusal(Access.of(["cn=x"]), shown) or ""
        self.assertTrue(said.isprintable() and said.isascii())
        self.assertNotIn(" established", said)
        self.assertLess(len(said), 250)

    test_what_a_stranger_wrote.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_what_the_user_wrote(self) -> None:
        """A rule with a line end in it stays on its line."""
        access = Access.of(["all"], ["cn=a\nb"])
        self.assertEqual(access.rules, ("allow all", "deny cn=a\\x0ab"))
        said = refusal(access, certificate(attribute(CN, "a\nb")))
        self.assertEqual(said, "deny cn=a\\x0ab matches cn=a\\x0ab serial=0A1B")


class SubjectTests(SynchronousTestCase):
    """`cn=`, `ou=` and `o=` are compared with attributes, not with a name as text."""

    def test_each_word(self) -> None:
        """Each word is about its own attribute."""
        shown = certificate(attribute(CN, "build"), attribute(OU, "ci"), attribute(ORGANIZATION, "Example"))
        found = [enters(f"{word}={value}", shown) for value in ("build", "ci", "Example") for word in ("cn", "ou", "o")]
        self.assertEqual(found, [True, False, False, False, True, False, False, False, True])

    def test_exactly(self) -> None:
        """Case, spaces and parts of a name count."""
        shown = certificate(attribute(CN, "build"))
        for near in ("Build", "build ", " build", "buil", "build1", "*", "b*"):
            self.assertFalse(enters(f"cn={near}", shown), near)

    def test_several(self) -> None:
        """Any of several is one."""
        shown = certificate(attribute(OU, "ci"), attribute(CN, "first"), attribute(OU, "ops"), attribute(CN, "second"))
        self.assertTrue(all(enters(rule, shown) for rule in ("cn=first", "cn=second", "ou=ci", "ou=ops")))

    def test_one_attribute_is_not_two(self) -> None:
        """What looks like another attribute in a printed name is part of its own."""
        for text in ("guest,CN=build", "guest/CN=build", "guest+CN=build", "guest\nCN=build", "guest, CN = build"):
            shown = certificate(attribute(CN, text), attribute(ORGANIZATION, text))
            self.assertFalse(enters("cn=build", shown), text)
            self.assertTrue(enters(f"cn={text}", shown), text)

    def test_nul(self) -> None:
        """A NUL does not end a name."""
        shown = certificate(attribute(CN, "build\0.evil.example"))
        self.assertFalse(enters("cn=build", shown))
        self.assertTrue(enters("cn=build\0.evil.example", shown))

    def test_string_types(self) -> None:
        """A name is the same in each of ASN.1's strings."""
        kinds = _ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString
        for kind in kinds:
            self.assertTrue(enters("cn=bücher", certificate(attribute(CN, "bücher", kind))), kind)
            self.assertFalse(enters("cn=\0b\0ü", certificate(attribute(CN, "bü", kind))), kind)
        self.assertTrue(enters("cn=build", certificate(attribute(CN, "build", _ASN1Type.PrintableString))))

    def test_equals_in_the_value(self) -> None:
        """Only the first `=` is the rule's."""
        self.assertTrue(enters("cn=a=b", certificate(attribute(CN, "a=b"))))

    def test_a_cn_is_no_host_name(self) -> None:
        """`dns=` does not look at the CN (RFC 9525 section 6.1), nor `cn=` at host names."""
        self.assertFalse(enters("dns=a.example", certificate(attribute(CN, "a.example"))))
        self.assertFalse(enters("cn=a.example", dns("a.example")))


def cn(*values: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Certificate:
    """A certificate with these CNs, in the ASN.1 string type that is asked for."""
    return certificate(*(attribute(CN, each, kind) for each in values))


def ip(text: str) -> x509.Certificate:
    """A certificate for this address."""
    return named(x509.IPAddress(ipaddress.ip_address(text)))


def email(text: str) -> x509.Certificate:
    """A certificate for this mailbox."""
    return named(x509.RFC822Name(text))


def beyond_ascii(make: Callable[[str], x509.Certificate], text: str) -> x509.Certificate:
    """A certificate whose name, which is to be ASCII, has other letters in it; they stand there as UTF-8."""
    placeholder = text.encode("utf-8").translate(bytes(range(128)) + b"x" * 128)
    return changed(make(placeholder.decode("ascii")), placeholder, text.encode("utf-8"))


def awkward_names() -> dict[str, tuple[x509.Certificate, list[str], list[str]]]:
    """Certificates by what is awkward about their subject: each with rules that let it in, and rules that do not."""
    together = x509.RelativeDistinguishedName([attribute(CN, "a"), attribute(OU, "b")])
    ci, ops = attribute(OU, "ci"), attribute(OU, "ops")
    comma = certificate(issuer=[attribute(CN, "Example CA,O=Example")])
    bmp, universal, printable = _ASN1Type.BMPString, _ASN1Type.UniversalString, _ASN1Type.PrintableString
    return {
        "two CNs": (cn("one", "two"), ["cn=one", "cn=two"], ["cn=onetwo", "cn=one,two", "cn=one,CN=two"]),
        "CN and OU in one RDN": (certificate(together), ["cn=a", "ou=b"], ["cn=a+OU=b", "ou=a", "cn=b"]),
        "NUL": (cn("a\0.evil"), ["cn=a\0.evil"], ["cn=a", "cn=a.evil", "cn=a\\x00.evil"]),
        "newline": (cn("a\nroot"), ["cn=a\nroot"], ["cn=a", "cn=root", "cn=a root", "cn=a\\nroot"]),
        "comma": (cn("a,OU=b"), ["cn=a,OU=b"], ["cn=a", "ou=b"]),
        "CN=a,OU=b as one CN": (cn("CN=a,OU=b"), ["cn=CN=a,OU=b"], ["cn=a", "cn=CN=a", "ou=b"]),
        "CN=*": (cn("*"), ["cn=*"], ["cn=a", "dns=*.example", "uri=urn:**"]),
        "CN=all": (cn("all"), ["cn=all"], ["cn=*", "cn=a"]),
        "a host name as CN": (cn("a.example"), ["cn=a.example"], ["dns=a.example", "dns=*.example"]),
        "a letter of another script": (cn("\u0430dmin"), ["cn=\u0430dmin"], ["cn=admin"]),
        "a combining mark": (cn("u\u0308"), ["cn=u\u0308"], ["cn=\u00fc", "cn=u"]),
        "300 letters": (cn("a" * 300), ["cn=" + "a" * 300], ["cn=" + "a" * 64, "cn=" + "a" * 299]),
        "an empty CN": (cn(""), ["serial=0A1B"], ["cn=a", "cn=*"]),
        "an empty subject": (certificate(), ["issuer=Example CA", "serial=0A1B"], ["cn=*", "o=*", "cn=Example CA"]),
        "BMPString": (cn("b\u00fc", kind=bmp), ["cn=b\u00fc"], ["cn=\0b\0\u00fc", "cn=b"]),
        "BMPString, two units": (cn("\U0001f600", kind=bmp), ["cn=\U0001f600"], ["cn=\u00d8", "cn=?"]),
        "UTF8String": (cn("b\u00fc"), ["cn=b\u00fc"], ["cn=b\u00c3\u00bc", "cn=b"]),
        "UniversalString": (cn("b\u00fc", kind=universal), ["cn=b\u00fc"], ["cn=\0\0\0b\0\0\0\u00fc"]),
        "PrintableString": (cn("a b", kind=printable), ["cn=a b"], ["cn=a  b", "cn=A B", "cn=a"]),
        "several OUs": (certificate(ci, attribute(CN, "a"), ops), ["ou=ci", "ou=ops"], ["ou=ci,ops", "ou=a", "cn=ci"]),
        "a comma in the CN of the CA": (
            comma,
            ["issuer=CN=Example CA\\,O\\=Example"],
            ["issuer=Example CA", "issuer=CN=Example CA,O=Example"],
        ),
    }


def awkward_alternatives() -> dict[str, tuple[x509.Certificate, list[str], list[str]]]:
    """The same for alternative names. Which rule matches none of them is told apart by the serial number."""
    serial = "serial=0A1B"
    return {
        "IDNA": (
            dns("xn--bcher-kva.example"),
            ["dns=b\u00fccher.example", "dns=B\u00dcCHER.example", "dns=XN--BCHER-KVA.example", "dns=*.example"],
            ["dns=bucher.example", "dns=cher.example"],
        ),
        "IDNA in UTF-8": (
            beyond_ascii(dns, "b\u00fccher.example"),
            [serial],
            ["dns=b\u00fccher.example", "dns=*.example", "dns=bxxcher.example"],
        ),
        "upper case": (
            dns("API.Example.COM"),
            ["dns=api.example.com", "dns=*.example.com", "dns=API.EXAMPLE.com"],
            ["dns=*.com", "dns=*.api.example.com"],
        ),
        "a dot at the end": (dns("a.example."), ["dns=a.example", "dns=*.example"], ["dns=a", "dns=b.a.example"]),
        "NUL in a host name": (
            changed(dns("a.example_b.example"), b"_b", b"\0b"),
            [serial],
            ["dns=a.example", "dns=b.example", "dns=*.example"],
        ),
        "a wildcard of the client's": (
            dns("*.svc.example"),
            ["dns=*.svc.example", "dns=*.SVC.example"],
            ["dns=db.svc.example", "dns=svc.example", "dns=*.example", "dns=*.db.svc.example"],
        ),
        "a wildcard for a part": (dns("d*.svc.example"), [serial], ["dns=db.svc.example", "dns=*.svc.example"]),
        "a wildcard alone": (dns("*"), [serial], ["dns=*.example", "dns=a.example"]),
        "an address as host name": (dns("192.0.2.7"), [serial], ["ip=192.0.2.7", "ip=0.0.0.0/0"]),
        "IPv4": (
            ip("192.0.2.7"),
            ["ip=192.0.2.7", "ip=192.0.2.0/24"],
            ["ip=192.0.2.8", "ip=::ffff:192.0.2.7", "ip=::/0"],
        ),
        "IPv6": (
            ip("2001:db8::7"),
            ["ip=2001:db8::7", "ip=2001:DB8:0:0:0:0:0:7", "ip=2001:db8::/32"],
            ["ip=2001:db8::8", "ip=2001:db9::/32", "ip=0.0.0.0/0"],
        ),
        "IPv4 mapped into IPv6": (
            ip("::ffff:192.0.2.7"),
            ["ip=::ffff:192.0.2.7", "ip=::ffff:c000:207", "ip=::ffff:0:0/96"],
            ["ip=192.0.2.7", "ip=192.0.2.0/24", "ip=0.0.0.0/0"],
        ),
        "URI, case": (
            uri("SPIFFE://Example.ORG/NS/a"),
            ["uri=spiffe://example.org/NS/a", "uri=Spiffe://EXAMPLE.org/NS/*"],
            ["uri=spiffe://example.org/ns/a", "uri=spiffe://example.org/NS/A"],
        ),
        "URI, the Kelvin sign": (
            beyond_ascii(uri, "spiffe://ban\u212a/a"),
            ["uri=spiffe://ban\u212a/a"],
            ["uri=spiffe://bank/a", "uri=spiffe://banK/**"],
        ),
        "URI, a slash that is encoded": (
            uri("spiffe://example/a%3Fb"),
            ["uri=spiffe://example/a%3fb", "uri=spiffe://example/*"],
            ["uri=spiffe://example/a?b", "uri=spiffe://example/*?b", "uri=spiffe://example/a"],
        ),
        "URI, a letter that is encoded": (
            uri("spiffe://ex%61mple/%61dm%69n"),
            ["uri=spiffe://example/admin", "uri=spiffe://example/%61dmin", "uri=spiffe://%65xample/ad*"],
            ["uri=spiffe://example/Admin", "uri=spiffe://example/%41dmin", "uri=spiffe://example/%2561dmin"],
        ),
        "URI, a star of the client's": (
            uri("spiffe://example/*"),
            ["uri=spiffe://example/*", "uri=spiffe://example/**"],
            ["uri=spiffe://example/a", "uri=spiffe://other/*"],
        ),
        "URI, a user that looks like a host": (
            uri("spiffe://example@evil/a"),
            ["uri=spiffe://example@evil/a"],
            ["uri=spiffe://example/a", "uri=spiffe://evil/a", "uri=spiffe://example/**"],
        ),
        "mailbox": (
            email("Ann@Example.COM"),
            ["email=Ann@example.com", "email=Ann@EXAMPLE.com"],
            ["email=ann@example.com", "email=Ann@b.example.com", "dns=example.com"],
        ),
        "mailbox with two @": (
            changed(email("ann_example.com@evil.example"), b"ann_", b"ann@"),
            ["email=ann@example.com@evil.example"],
            ["email=ann@example.com", "email=ann@evil.example"],
        ),
    }


class AwkwardCertificateTests(SynchronousTestCase):
    """Names that try to look like another's."""

    def test_table(self) -> None:
        """Each rule lets in, and keeps out, whom it should: what is expected and what is seen are equal."""
        expected, seen = {}, {}
        for what, (shown, good, bad) in {**awkward_names(), **awkward_alternatives()}.items():
            for rule in ("all", *good, *bad):
                expected[what, rule] = rule not in bad
                seen[what, rule] = enters(rule, shown)
        self.assertEqual(seen, expected)
        self.assertGreater(len(seen), 150)

    test_table.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]


class HostNameTests(SynchronousTestCase):
    """`dns=`."""

    def test_exact(self) -> None:
        """A name is the whole name; case and a dot at the end do not count."""
        for shown in ("a.example", "A.Example", "a.example."):
            for rule in ("a.example", "A.EXAMPLE", "a.example."):
                self.assertTrue(enters(f"dns={rule}", dns(shown)), (rule, shown))
        for shown in ("b.a.example", "a.example.org", "xa.example", "example"):
            self.assertFalse(enters("dns=a.example", dns(shown)), shown)

    def test_any_of_several(self) -> None:
        """Any of the certificate's names will do."""
        self.assertTrue(enters("dns=b.example", dns("a.example", "b.example")))

    def test_wildcard(self) -> None:
        """A wildcard stands for one label."""
        self.assertTrue(enters("dns=*.svc.example", dns("db.svc.example")))
        self.assertTrue(enters("dns=*.svc.example", dns("DB.SVC.example.")))
        for shown in ("svc.example", "a.db.svc.example", "db.svc.example.org", ".svc.example"):
            self.assertFalse(enters("dns=*.svc.example", dns(shown)), shown)

    def test_wildcard_of_the_client(self) -> None:
        """A wildcard in a certificate stands for itself, and for no name under it."""
        self.assertTrue(enters("dns=*.svc.example", dns("*.svc.example")))
        for rule in ("db.svc.example", "*.example", "*.db.svc.example"):
            self.assertFalse(enters(f"dns={rule}", dns("*.svc.example")), rule)
        self.assertFalse(enters("dns=*.svc.example", dns("d*.svc.example")))
        self.assertFalse(enters("dns=*.svc.example", dns("*.*.svc.example")))

    def test_international(self) -> None:
        """A name in the user's letters is the name on the wire (RFC 5890)."""
        self.assertTrue(enters("dns=bücher.example", dns("xn--bcher-kva.example")))
        self.assertTrue(enters("dns=*.BÜCHER.example", dns("a.xn--bcher-kva.example")))

    def test_no_host_names(self) -> None:
        """A NUL or a line end in a certificate's name makes it nobody's."""
        good = dns("abcdef.example")
        for new in (b"abc\0ef.example", b"abc\nef.example", b"abc ef.example"):
            shown = changed(good, b"abcdef.example", new)
            self.assertFalse(enters("dns=abc", shown))
            self.assertFalse(enters("dns=*.example", shown))


class URITests(SynchronousTestCase):
    """`uri=`."""

    def matches(self, rule: str, *good: str) -> None:
        """The rule matches all of these."""
        self.assertEqual([each for each in good if not enters(f"uri={rule}", uri(each))], [])

    def differs(self, rule: str, *bad: str) -> None:
        """The rule matches none of these."""
        self.assertEqual([each for each in bad if enters(f"uri={rule}", uri(each))], [])

    def test_exact(self) -> None:
        """It is the whole URI."""
        rule = "spiffe://example/ns/ci/sa/build"
        self.matches(rule, rule)
        self.differs(rule, rule + "/", rule + "x", rule[:-1], "x" + rule, rule + "?a", rule + "#a", rule + "\n")

    def test_one_segment(self) -> None:
        """`*` is one segment of the path, and not an empty one."""
        rule = "spiffe://example/ns/*/sa/build"
        self.matches(rule, "spiffe://example/ns/ci/sa/build", "spiffe://example/ns/%3F/sa/build")
        self.differs(
            rule,
            "spiffe://example/ns/sa/build",
            "spiffe://example/ns/a/b/sa/build",
            "spiffe://example/ns/a?b/sa/build",
            "spiffe://example/ns/a#b/sa/build",
            "spiffe://other/ns/ci/sa/build",
        )
        self.matches("https://a.example/app-*.json", "https://a.example/app-7.json")
        self.differs("https://a.example/app-*.json", "https://a.example/app-7/8.json", "https://a.example/app-7xjson")

    def test_anything(self) -> None:
        """`**` is anything, nothing too."""
        self.matches("spiffe://example/**", "spiffe://example/", "spiffe://example/a/b", "spiffe://example/a?b#c\nd")
        self.differs("spiffe://example/**", "spiffe://example", "spiffe://example.org/a", "spiffe://examplex/a")
        self.matches("spiffe://example/**/sa/*", "spiffe://example/a/b/sa/c")
        self.matches("spiffe://example/a**/sa", "spiffe://example/a/sa", "spiffe://example/ab/c/sa")
        self.differs("spiffe://example/**/sa/*", "spiffe://example/a/b/sa/c/d")
        self.matches("urn:example:**", "urn:example:a:b/c")

    def test_case(self) -> None:
        """Scheme and host in any case, the path as it is (RFC 3986 section 6.2.2.1)."""
        self.matches("SPIFFE://Example.ORG/ns/A", "spiffe://example.org/ns/A", "Spiffe://EXAMPLE.org/ns/A")
        self.differs("spiffe://example.org/ns/A", "spiffe://example.org/ns/a", "spiffe://example.org/NS/A")
        self.matches("https://Ann@a.example/", "https://Ann@A.example/")
        self.differs("https://Ann@a.example/", "https://ann@a.example/")

    def test_percent_encoding(self) -> None:
        """What needs no encoding is the same with it (RFC 3986 section 6.2.2.2), on either side, and once."""
        self.matches("spiffe://example/a-Z.7_~", "spiffe://example/%61%2D%5a%2e%37%5F%7e", "spiffe://ex%41mple/a-Z.7_~")
        self.matches("spiffe://ex%61mple/%61%2dZ.7_~", "spiffe://example/a-Z.7_~")
        self.differs("spiffe://example/a", "spiffe://example/%2561", "spiffe://example/%41", "%73piffe://example/a")
        self.differs("spiffe://example/a?b", "spiffe://example/a%3Fb")
        self.matches("spiffe://example/a%3fb%c3%bc", "spiffe://example/a%3Fb%C3%BC")

    def test_deny_is_not_evaded(self) -> None:
        """Whoever is denied by a URI is denied in each spelling of it."""
        access = Access.of(["uri=spiffe://example/**"], ["uri=spiffe://example/admin/**"])
        self.assertIsNone(refusal(access, uri("spiffe://example/build/x")))
        for path in (
            "admin/x",
            "%61dmin/x",
            "admi%6e/x",
            "/admin/x",
            "admin%2fx",
            "admin%5Cx",
            "./admin/x",
            "%2e/admin/x",
        ):
            self.assertIsNotNone(refusal(access, uri(f"spiffe://example/{path}")), path)
            self.assertIsNotNone(refusal(access, uri(f"spiffe://ex%61mple/{path}")), path)

    def test_pattern_characters(self) -> None:
        """What regular expressions are made of is text."""
        self.matches("https://a.example/(x)+[y]?z=.", "https://a.example/(x)+[y]?z=.")
        self.differs("https://a.example/a.c", "https://a.example/abc")

    def test_not_a_host_by_its_path(self) -> None:
        """What looks like the host of a rule elsewhere in a URI is not."""
        self.differs("https://a.example/**", "https://evil.example/https:/a.example/x", "https://a.example@evil/x")
        self.differs("https://a.example/**", "https://evil.example/?https://a.example/x")

    def test_dot_segments(self) -> None:
        """
        A URI with . or .. in its path, with an empty segment, or with what may be a slash or not, enters by no rule
        with a star, and past no rule: what it means depends on who reads it.
        """
        dots = ("..", ".", "../a", "a/..", "a/../b", "./a", "a/%2e%2E/b", "a/.%2e?c", "a/.#c", "../../x", "a/..;x/b")
        empty = ("/", "/a", "a//b", "a//", "a//?b")
        slashes = ("a%2Fb", "a%2fb", "%2F", "a%5Cb", "a%5cb", "..%2Fa")
        for path in (*dots, *empty, *slashes):
            shown = uri(f"spiffe://example/ns/{path}")
            for allow, deny in (("uri=spiffe://example/**", ()), ("all", ("uri=spiffe://other/**",))):
                said = refusal(Access.of([allow], deny), shown)
                self.assertEqual(said, f"the certificate's URI leads nowhere certain: spiffe://example/ns/{path}")
            self.assertIsNone(refusal(Access.of(["all"]), shown))
        self.matches(
            "spiffe://example/**",
            "spiffe://example/...",
            "spiffe://example/a./.b",
            "spiffe://example/a/",
            "spiffe://example/a?/../b//c%2Fd",
            "spiffe://example/a#//%5C",
        )

    def test_spelled_out(self) -> None:
        """A rule that spells such a URI out means it, and it alone."""
        for path in ("a%2Fb", "a/../b", "a//b"):
            rule = f"uri=spiffe://example/ns/{path}"
            self.assertIsNone(refusal(Access.of([rule]), uri(f"spiffe://example/ns/{path}")))
            self.assertIsNotNone(refusal(Access.of(["all"], [rule]), uri(f"spiffe://example/ns/{path}")))
        self.assertIsNone(refusal(Access.of(["uri=https://e/a%2Fb"]), uri("HTTPS://E/a%2fb")))
        for rule in ("uri=https://e/a/b", "uri=https://e/*", "uri=https://e/a/*"):
            self.assertIsNotNone(refusal(Access.of([rule]), uri("https://e/a%2Fb")))

    def test_backslash(self) -> None:
        """Some take a backslash for a slash, also where the host ends."""
        for shown in ("https://a.example/a\\b", "https://a.example\\a/b", "https://a.example%5Ca/b", "https://a%2Fb/c"):
            said = refusal(Access.of(["all"], ["uri=https://a.example/**"]), uri(shown))
            self.assertIn("the certificate's URI leads nowhere certain: https://a", str(said))

    def test_no_uri(self) -> None:
        """What is no URI matches nothing."""
        self.differs("spiffe://example/**", "example", "")


class OtherNameTests(SynchronousTestCase):
    """`email=` and `ip=`."""

    def test_email(self) -> None:
        """The part before the @ exactly, the domain as a host name."""
        shown = named(x509.RFC822Name("Ann@Example.com"))
        self.assertTrue(enters("email=Ann@example.COM", shown))
        for near in ("ann@example.com", "Ann@b.example.com", "Ann@example.co", "xAnn@example.com"):
            self.assertFalse(enters(f"email={near}", shown), near)
        self.assertTrue(enters('email="a@b"@example.com', named(x509.RFC822Name('"a@b"@example.com'))))

    def test_an_email_in_the_subject(self) -> None:
        """An address in the subject is not looked at."""
        self.assertFalse(enters("email=a@b.example", certificate(attribute(NameOID.EMAIL_ADDRESS, "a@b.example"))))

    def test_ip(self) -> None:
        """An address, however it is written."""
        six = named(x509.IPAddress(ipaddress.ip_address("2001:db8::7")))
        four = named(x509.IPAddress(ipaddress.ip_address("192.0.2.7")))
        self.assertTrue(enters("ip=2001:DB8:0:0:0:0:0:7", six))
        self.assertTrue(enters("ip=192.0.2.7", four))
        self.assertFalse(enters("ip=192.0.2.8", four))
        self.assertFalse(enters("ip=192.0.2.7", dns("192.0.2.7")))

    def test_network(self) -> None:
        """An address in a network; versions do not mix."""
        four = named(x509.IPAddress(ipaddress.ip_address("192.0.2.7")))
        self.assertTrue(enters("ip=192.0.2.0/24", four))
        self.assertFalse(enters("ip=192.0.3.0/24", four))
        self.assertFalse(enters("ip=::/0", four))


class IssuerTests(SynchronousTestCase):
    """`issuer=`."""

    NAME = (attribute(NameOID.COUNTRY_NAME, "DE"), attribute(ORGANIZATION, "Example, Inc"), attribute(CN, "Example CA"))

    def test_cn(self) -> None:
        """Without an `=` it is the CN of the CA."""
        shown = certificate(attribute(CN, "x"), issuer=self.NAME)
        self.assertTrue(enters("issuer=Example CA", shown))
        self.assertFalse(enters("issuer=Example", shown))
        self.assertFalse(enters("issuer=x", shown))

    def test_whole_name(self) -> None:
        """With one it is the whole name, as RFC 4514 writes it."""
        shown = certificate(issuer=self.NAME)
        self.assertTrue(enters("issuer=CN=Example CA,O=Example\\, Inc,C=DE", shown))
        self.assertTrue(enters("issuer=2.5.4.3=Example CA,O=Example\\2C Inc,C=DE", shown))
        for near in (
            "CN=Example CA",
            "O=Example\\, Inc,CN=Example CA,C=DE",
            "CN=Example CA,O=Example,O=Inc,C=DE",
            "CN=Example CA+O=Example\\, Inc,C=DE",
        ):
            self.assertFalse(enters(f"issuer={near}", shown), near)

    def test_openssl_words(self) -> None:
        """Attributes that OpenSSL prints by names of its own are known too."""
        shown = certificate(issuer=[attribute(CN, "ca"), attribute(NameOID.EMAIL_ADDRESS, "a@b")])
        self.assertTrue(enters("issuer=emailAddress=a@b,CN=ca", shown))


class SerialTests(SynchronousTestCase):
    """`serial=`."""

    def test_spellings(self) -> None:
        """With colons, without, in either case, with leading zeros."""
        for rule in ("0A:1B", "a:1b", "0a1b", "A1B", "00:0A:1B"):
            self.assertTrue(enters(f"serial={rule}", certificate(serial=0x0A1B)), rule)
        self.assertFalse(enters("serial=1B", certificate(serial=0x0A1B)))

    def test_less_than_one(self) -> None:
        """Zero, and less, as some have made it (RFC 5280 section 4.1.2.2), in OpenSSL's spelling."""
        five = certificate(serial=5)
        for number, rule, other in ((b"\0", "00", "05"), (b"\xfb", "-05", "FB")):
            shown = changed(five, b"\x02\x01\x05", b"\x02\x01" + number)
            self.assertTrue(enters(f"serial={rule}", shown))
            self.assertFalse(enters(f"serial={other}", shown))

    test_less_than_one.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_longest(self) -> None:
        """Twenty octets (RFC 5280 section 4.1.2.2)."""
        self.assertTrue(enters("serial=" + ":".join(["7F"] * 20), certificate(serial=int("7f" * 20, 16))))


class PinTests(SynchronousTestCase):
    """`spki=`."""

    def test_each_hash(self) -> None:
        """A pin is the hash of the key with its algorithm (RFC 7469 section 2.4)."""
        der = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for name in ("sha256", "sha384", "sha512"):
            digest = hashlib.new(name, der).digest()
            self.assertTrue(enters(f"spki={name}:{base64.b64encode(digest).decode()}", certificate()), name)
            other = bytes([digest[0] ^ 1]) + digest[1:]
            self.assertFalse(enters(f"spki={name}:{base64.b64encode(other).decode()}", certificate()), name)


class WrongRuleTests(SynchronousTestCase):
    """What is said of a rule that is none."""

    def wrong(self, rule: str) -> str:
        """What is said, behind the rule itself."""
        with self.assertRaises(ConfigurationError) as raised:
            Access.of(["all", rule])
        line = str(raised.exception)
        self.assertTrue(line.startswith(f"allow={rule}: "), line)
        return line.removeprefix(f"allow={rule}: ")

    def test_unknown_word(self) -> None:
        """An unknown word is named, and the nearest one."""
        self.assertEqual(self.wrong("seriall=0A"), "there is no rule 'seriall'; did you mean 'serial'?")
        self.assertEqual(self.wrong("CN=build"), "there is no rule 'CN'; did you mean 'cn'?")
        self.assertEqual(self.wrong("al"), "there is no rule 'al'; did you mean 'all'?")
        self.assertIn("; expected one of: cn, ou, o, dns, ", self.wrong("fingerprint=00"))
        self.assertIn("there is no rule ''", self.wrong(""))

    def test_empty(self) -> None:
        """A rule without a value would be easy to take for everybody."""
        words = {
            "cn": "cn=TEXT",
            "ou": "ou=TEXT",
            "o": "o=TEXT",
            "dns": "dns=NAME",
            "uri": "uri=URI",
            "email": "email=MAILBOX",
            "ip": "ip=ADDRESS",
            "issuer": "issuer=NAME",
            "serial": "serial=HEX",
            "spki": "spki=sha256:BASE64",
        }
        for word, expected in words.items():
            self.assertEqual([self.wrong(f"{word}="), self.wrong(word)], [f"expected {expected}"] * 2)

    def test_all_with_a_value(self) -> None:
        """`all` is a word for itself."""
        self.assertEqual([self.wrong("all="), self.wrong("all=x")], ["expected all, without a value"] * 2)

    def test_names(self) -> None:
        """Names that can be nobody's."""
        for rule in ("dns=*", "dns=a.*.example", "dns=*a.example", "dns=a b", "dns=192.0.2.1"):
            self.assertIn("is no host name", self.wrong(rule))
        for rule in ("email=example.com", "email=@example.com", "email=ann@*.example.com"):
            self.assertEqual(self.wrong(rule), "expected a mailbox, as in email=ann@example.com")
        self.assertIn("is no host name", self.wrong("email=ann@"))

    def test_uri(self) -> None:
        """Wildcards where they would let in more than they seem to."""
        self.assertEqual(
            {self.wrong("uri=example"), self.wrong("uri=//example/a"), self.wrong("uri=**")},
            {"expected a URI with its scheme, as in uri=spiffe://example/ns/*/sa/build"},
        )
        self.assertEqual(
            {self.wrong("uri=spiffe://*/a"), self.wrong("uri=spiffe://**"), self.wrong("uri=*://a/b")},
            {"* and ** stand in the path alone, not in a scheme or host"},
        )
        for rule in ("spiffe://a/***", "spiffe://a/**/b/**", "spiffe://a/*b*", "spiffe://a/****", "urn:a:**b*c"):
            self.assertEqual(self.wrong(f"uri={rule}"), "** may stand once, and one of the two in a segment")

    def test_ip(self) -> None:
        """What is no address, and a network with a host's bits in it."""
        for rule in ("ip=192.0.2", "ip=localhost", "ip=192.0.2.7/24", "ip=192.0.2.0/33", "ip=fe80::1%eth0"):
            self.assertEqual(
                self.wrong(rule), "expected an address such as 192.0.2.7, or a network such as 2001:db8::/32"
            )

    def test_issuer(self) -> None:
        """A name that is not written as RFC 4514 has it."""
        for rule in ("issuer=CN=a, O=b", "issuer=/CN=a", "issuer=Foo=a", "issuer=CN=a,", "issuer=CN="):
            self.assertEqual(
                self.wrong(rule),
                "expected the CN of a CA, or its name as `openssl x509 -noout -subject -nameopt RFC2253` prints it",
            )

    def test_serial(self) -> None:
        """What is no hex number."""
        for number in ("0x1B", "0A:1", "0A1:1B", "--05", ":", "xyz", "1" * 43):
            said = self.wrong(f"serial={number}")
            self.assertEqual(said, "expected hex digits, with colons or without, as in serial=0A:1B", number)

    def test_pin(self) -> None:
        """An unknown hash, a wrong length, what is no base64."""
        self.assertEqual(self.wrong("spki=sha25:AAAA"), "there is no pin with 'sha25'; did you mean 'sha256'?")
        self.assertIn("expected the name of a hash in front, as in spki=sha256:", self.wrong("spki=AAAA"))
        self.assertEqual(self.wrong("spki=sha256:AAAA"), "a sha256 pin is base64 of 32 bytes, and these are 3")
        for text in ("A", "####", "ÄÄÄÄ", "AAAA AAAA"):
            self.assertEqual(self.wrong(f"spki=sha512:{text}"), "what stands behind the colon is no base64")

    def test_names_beside_pins(self) -> None:
        """Who is known by his key alone writes every name himself, so `deny` by a name would keep out nobody."""
        pins = [f"spki=sha256:{base64.b64encode(bytes(32)).decode()}"]
        for rule in ("cn=foe", "serial=0A:1B", "dns=foe.example", "issuer=Foe", "all"):
            with self.assertRaises(ConfigurationError) as caught:
                Access.of(pins, [rule, *pins])
            trouble = "of no use beside allow by spki= alone: who has the key writes all else himself; expected spki="
            self.assertEqual(str(caught.exception), f"deny={rule}: {trouble}")
        self.assertEqual(len(Access.of(pins, pins).deny), 1)
        self.assertEqual(len(Access.of([*pins, "cn=friend"], ["cn=foe"]).deny), 1)
        beside = HostSettings(client_ca=("ca.pem",), allow=tuple(pins), deny=("cn=foe",))
        self.assertEqual(len(Access.of_host(beside).deny), 1)

    def test_where(self) -> None:
        """The error says which list it is of, and where the user wrote it."""
        with self.assertRaisesRegex(ConfigurationError, r"^deny=cnn=a: there is no rule 'cnn'"):
            Access.of(["all"], ["cnn=a"])
        settings = HostSettings(allow=("cnn=a",), wrote={"allow": "mytls.toml:12: allow"})
        with self.assertRaisesRegex(ConfigurationError, r"^mytls.toml:12: allow=cnn=a: there is no rule 'cnn'"):
            Access.of_host(settings)

    def test_of_host(self) -> None:
        """A host's settings give its rules."""
        settings = HostSettings(allow=("cn=a",), deny=("cn=b",))
        self.assertEqual(Access.of_host(settings), Access.of(["cn=a"], ["cn=b"]))
