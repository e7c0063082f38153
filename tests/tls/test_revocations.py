"""Which revocation lists count."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.name import _ASN1Type as Kind
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.revocations import Listed, by_name, canonical, newest, revoked, signer
from tests.tls.authority import DAY, NOW, Authority, ec_key

SETTINGS = HostSettings(wrote={"crl": "crl"})


def spelled(*common: tuple[str, Kind]) -> x509.Name:
    """A name of these, as strings of these types."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, text, kind) for text, kind in common]
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), *attributes])


def kinds_of(text: str) -> list[Kind]:
    """The types that a string of this text may have."""
    printable = text.isascii() and text.replace(" ", "").replace(".", "").isalnum()
    narrow = [Kind.IA5String] if text.isascii() else []
    return [
        Kind.UTF8String,
        Kind.BMPString,
        Kind.UniversalString,
        *narrow,
        *([Kind.PrintableString] if printable else []),
    ]


def listing(
    authority: Authority, *more: x509.ExtensionType, since: Any = -DAY, serial: int = 1, key: Any = None
) -> x509.CertificateRevocationList:
    """A revocation list of this CA, with these extensions."""
    builder = x509.CertificateRevocationListBuilder(authority.name, NOW + since, NOW + DAY)
    for each in more:
        builder = builder.add_extension(each, critical=not isinstance(each, x509.CRLNumber))
    entry = x509.RevokedCertificateBuilder(serial, NOW - DAY).build()
    return builder.add_revoked_certificate(entry).sign(key or authority.key, SHA256())


def numbered(authority: Authority, number: int, since: Any = -DAY, serial: int = 1) -> x509.CertificateRevocationList:
    """One with a number."""
    return listing(authority, x509.CRLNumber(number), since=since, serial=serial)


class CanonicalTests(SynchronousTestCase):
    """Names, one spelling for each."""

    def test_as_openssl(self) -> None:
        """Two names are the same here exactly where they are to OpenSSL."""
        texts = ("Root CA", "ROOT ca", " Root  CA\t", "Root\n\r\x0b\x0cCA", "RootCA", "Root C\u00c4", "root c\u00e4",
                 "Root \u212aA", "Root kA", "Root\u00a0CA", "Root CA.")  # fmt: skip
        names = [spelled((text, kind)) for text in texts for kind in kinds_of(text)]
        names += [spelled(*((each, Kind.UTF8String) for each in order)) for order in ("ab", "ba")]
        both = [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in "ab"]
        names += [x509.Name([x509.RelativeDistinguishedName(each)]) for each in (both, both[::-1], both[:1])]
        names.append(x509.Name([]))
        key, shown = ec_key(), []
        for name in names:
            builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW - DAY, NOW + DAY)
            shown.append(X509.from_cryptography(builder.sign(key, SHA256())))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            subjects = [each.get_subject() for each in shown]
        pairs = list(itertools.combinations(range(len(names)), 2))
        ours = {(a, b) for a, b in pairs if canonical(names[a]) == canonical(names[b])}
        theirs = {(a, b) for a, b in pairs if subjects[a] == subjects[b]}
        self.assertEqual(ours, theirs)
        self.assertGreater(len(ours), 20)

    def test_bits(self) -> None:
        """A value that is no text is compared as it is."""
        names = [
            x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, bits, Kind.BitString)])
            for bits in (b"\0A", b"\0a", b"\0A")
        ]
        one, other, same = map(canonical, names)
        self.assertEqual((one == same, one == other), (True, False))


class NewestTests(SynchronousTestCase):
    """Of each issuer one list."""

    def setUp(self) -> None:
        self.root = Authority("Root")

    def kept(self, *lists: x509.CertificateRevocationList, by: tuple[Authority, ...] = ()) -> list[Any]:
        """What counts of these; the same in each order, up to the order."""
        authorities = [each.certificate for each in by or (self.root,)]
        found = [
            newest(SETTINGS, authorities, [(str(lists.index(each)), each) for each in order])
            for order in itertools.permutations(lists)
        ]
        for each in found:
            self.assertEqual({path for path, _ in each}, {path for path, _ in found[0]})
        return [each for _, each in sorted(found[0], key=lambda one: one[0])]

    def refused(self, *listed: Listed) -> str:
        """Why none counts."""
        with self.assertRaises(ConfigurationError) as caught:
            newest(SETTINGS, [self.root.certificate], listed)
        return str(caught.exception)

    def test_by_date(self) -> None:
        """The one that was made last, in whatever order they come, and whatever their ends are."""
        lists = [self.root.revoking(since=since, until=until) for since, until in (
            (-3 * DAY, 9 * DAY), (-DAY, -DAY / 2), (-2 * DAY, DAY))]  # fmt: skip
        self.assertEqual(self.kept(*lists), [lists[1]])

    def test_by_number(self) -> None:
        """Of the same date the one with the higher number; of the same number, or where one has none, by the date."""
        one, two, three = numbered(self.root, 1), numbered(self.root, 2), numbered(self.root, 3, -DAY / 2)
        self.assertEqual(self.kept(one, three, two), [three])
        self.assertEqual(self.kept(one, two), [two])
        later = numbered(self.root, 1, -DAY / 2)
        self.assertEqual(self.kept(later, one), [later])
        without = self.root.revoking(since=-DAY / 4)
        self.assertEqual(self.kept(one, two, without), [without])

    def test_the_same_twice(self) -> None:
        """A list that is there twice is one."""
        one = self.root.revoking()
        found = newest(SETTINGS, [self.root.certificate], [("a", one), ("b", one)])
        self.assertEqual(found, (("a", one),))

    def test_cannot_be_told(self) -> None:
        """Two of one date that say something else, and two that each are the newer, are an error of one line."""
        for one, other in (
            (listing(self.root, serial=1), listing(self.root, serial=2)),
            (numbered(self.root, 7, serial=1), numbered(self.root, 7, serial=2)),
            (numbered(self.root, 8, -2 * DAY), numbered(self.root, 7, -DAY)),
        ):
            self.assertEqual(
                self.refused(("a.crl", one), ("b.crl", other)),
                "crl=a.crl: whether this revocation list of CN=Root or the one in b.crl is the newer cannot be told by "
                "their numbers and dates; leave one out",
            )
            self.assertEqual(len(self.kept(one, other, numbered(self.root, 9, -DAY / 2))), 1)

    def test_each_issuer(self) -> None:
        """Another CA's list is another matter; so is that of one with the same name and another key."""
        other, namesake = Authority("Other"), Authority("Root")
        lists = [self.root.revoking(since=-3 * DAY), other.revoking(), namesake.revoking(), self.root.revoking()]
        self.assertEqual(self.kept(*lists, by=(self.root, other, namesake)), lists[1:])

    def test_one_name_in_two_spellings(self) -> None:
        """A CA is the same however its lists spell it."""
        old = self.root.revoking(since=-3 * DAY)
        self.root.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, " ROOT ", Kind.PrintableString)])
        new = self.root.revoking()
        self.root = Authority("Root", key=self.root.key)
        self.assertEqual(signer(new, by_name([self.root.certificate])), self.root.certificate)
        self.assertEqual(self.kept(old, new), [new])

    def test_forged(self) -> None:
        """What nobody of these has signed takes nothing from what they have."""
        real = self.root.revoking(since=-3 * DAY)
        forged = Authority("Root").revoking()
        self.assertIsNone(signer(forged, by_name([self.root.certificate])))
        self.assertEqual(self.kept(real, forged), [real, forged])

    def test_of_a_distribution_point(self) -> None:
        """A list for one distribution point is used by itself, and beside another of its CA it is an error."""
        url = [x509.UniformResourceIdentifier("http://a/1")]
        relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
        whole = self.root.revoking(since=-2 * DAY)
        point = x509.IssuingDistributionPoint
        for extension in (
            point(url, None, False, False, None, False, False),
            point(None, relative, False, False, None, False, False),
        ):
            part = listing(self.root, extension)
            self.assertEqual(self.kept(part), [part])
            line = (
                "crl=b.crl: a revocation list for the certificates of one distribution point alone, beside another of "
                "CN=Root; leave one out"
            )
            self.assertEqual(self.refused(("a.crl", whole), ("b.crl", part)), line)
            self.assertEqual(self.refused(("b.crl", part), ("a.crl", whole)), line)

    def test_parts(self) -> None:
        """What is no whole list is an error of one line, beside a whole list and without one."""
        point = x509.IssuingDistributionPoint
        reasons = frozenset([x509.ReasonFlags.key_compromise])
        kinds = "a revocation list for some kinds of certificates alone (onlyContains...)"
        table: tuple[tuple[x509.ExtensionType, str], ...] = (
            (x509.DeltaCRLIndicator(1), "a delta of a revocation list"),
            (point(None, None, True, False, None, False, False), kinds),
            (point(None, None, False, True, None, False, False), kinds),
            (point(None, None, False, False, None, False, True), kinds),
            (point(None, None, False, False, reasons, False, False),
             "a revocation list for some reasons alone (onlySomeReasons)"),
            (point(None, None, False, False, None, True, False),
             "a revocation list with certificates of other issuers (indirect)"),
        )  # fmt: skip
        whole = self.root.revoking(since=-2 * DAY)
        for extension, what in table:
            part = listing(self.root, extension)
            line = f"crl=b.crl: {what}, which is not used; expected the whole list"
            self.assertEqual(self.refused(("a.crl", whole), ("b.crl", part)), line)
            self.assertEqual(self.refused(("b.crl", part)), line)


class RevokedTests(SynchronousTestCase):
    """Which authorities are revoked."""

    def test_below(self) -> None:
        """Who is on the list of his issuer, and whoever is below him; however the issuer is spelled."""
        root, other = Authority("Root"), Authority("Other")
        root.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ROOT")])
        between = Authority("Between", root)
        below = Authority("Below", between)
        beside = Authority("Beside", root)
        authorities = [each.certificate for each in (below, beside, between, root, other)]
        root.name = root.certificate.subject
        lists = [root.revoking(between.certificate), other.revoking(beside.certificate)]
        gone = revoked(authorities, lists)
        self.assertEqual(gone, {canonical(each.certificate.subject) for each in (between, below)})
        self.assertEqual(revoked(authorities, []), frozenset())
