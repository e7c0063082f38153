"""Which certificate has issued which."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from mytls.tls.chains import Pool, chain_of, is_authority, issued, key_of, self_signed
from tests.tls.issuing import DAY, Party, rsa_key


class ChainTests(SynchronousTestCase):
    """A root, two authorities below it, and a leaf."""

    def setUp(self) -> None:
        self.root, self.middle, self.low, self.host = map(Party, ("Root", "Middle", "Low", "host.example"))
        self.of_root = self.root.certified(ca=True)
        self.of_middle = self.middle.certified(self.root, ca=True)
        self.of_low = self.low.certified(self.middle, ca=True)
        self.leaf = self.host.certified(self.low)

    def test_in_any_order(self) -> None:
        """The path goes from the issuer to the root, in whatever order the pool has them."""
        path = (self.of_low, self.of_middle, self.of_root)
        self.assertEqual(chain_of(self.leaf, path), path)
        self.assertEqual(chain_of(self.leaf, (*reversed(path), self.leaf)), path)
        self.assertEqual(chain_of(self.leaf, path * 3), path)

    def test_gap(self) -> None:
        """The path ends where its next issuer is missing, also where those above it are there."""
        self.assertEqual(chain_of(self.leaf, (self.of_low, self.of_root)), (self.of_low,))
        self.assertEqual(chain_of(self.leaf, (self.of_middle, self.of_root)), ())
        self.assertEqual(chain_of(self.leaf, ()), ())

    def test_strangers(self) -> None:
        """Certificates of others are not on the path."""
        other = Party("Other").certified(ca=True)
        self.assertEqual(chain_of(self.leaf, (other, self.of_low)), (self.of_low,))

    def test_self_signed_leaf(self) -> None:
        """A certificate that has signed itself needs nobody, and its like does not lead in circles."""
        alone, like = Party("localhost"), Party("localhost")
        own = alone.certified()
        self.assertEqual(chain_of(own, (own, like.certified(), alone.certified())), ())

    def test_same_name_other_key(self) -> None:
        """An issuer is known by its signature: one of the same name and another key is none."""
        for key in (None, rsa_key(), ed25519.Ed25519PrivateKey.generate()):
            impostor = Party("Low", key).certified(ca=True)
            self.assertEqual(chain_of(self.leaf, (impostor, self.of_low)), (self.of_low,))
            self.assertEqual(chain_of(self.leaf, (impostor,)), ())

    def test_one_signature_for_many(self) -> None:
        """Of an issuer that is cross-signed many times one signature is verified, and each of these may be the next."""
        many = [self.low.certified(Party(f"Other {number}"), ca=True) for number in range(10)]
        impostors = [Party("Low").certified(ca=True)] * 10
        with patch("mytls.tls.chains.issued", wraps=issued) as asked:
            self.assertEqual(Pool((*many, *impostors)).issuers(self.leaf), tuple(many))
        self.assertEqual(asked.call_count, 2)

    def test_every_kind_of_key(self) -> None:
        """Issuers with RSA and Ed25519 keys."""
        for key in (rsa_key(), ed25519.Ed25519PrivateKey.generate()):
            authority = Party("Authority", key)
            own = authority.certified(ca=True)
            self.assertEqual(chain_of(self.host.certified(authority), (self.of_root, own)), (own,))

    def test_cross_signed(self) -> None:
        """Of a root and its certificate by an older root, the one with a path above it is taken; order is nothing."""
        old = Party("Old")
        of_old, by_old = old.certified(ca=True), self.root.certified(old, ca=True)
        pool = (self.of_low, self.of_middle, self.of_root, by_old, of_old)
        path = (self.of_low, self.of_middle, by_old, of_old)
        self.assertEqual(chain_of(self.leaf, pool), path)
        self.assertEqual(chain_of(self.leaf, pool[::-1]), path)

    def test_cross_signed_by_one_who_is_not_here(self) -> None:
        """Rather than a self-signed root, which clients have or do not trust, one by a root that they may have."""
        by_old = self.root.certified(Party("Old"), ca=True)
        leaf = self.host.certified(self.root)
        self.assertEqual(chain_of(leaf, (self.of_root, by_old)), (by_old,))
        known = Party("Known")
        by_known, of_known = self.root.certified(known, ca=True), known.certified(ca=True)
        self.assertEqual(chain_of(leaf, (self.of_root, by_old, by_known, of_known)), (by_known, of_known))

    def test_cross_signed_pair(self) -> None:
        """Two roots that have signed each other: each is passed once, and the path ends at a root."""
        left, right = Party("Left"), Party("Right")
        of_left, of_right = left.certified(ca=True), right.certified(ca=True)
        left_by_right, right_by_left = left.certified(right, ca=True), right.certified(left, ca=True)
        leaf = self.host.certified(left)
        pool = (of_left, of_right, left_by_right, right_by_left)
        self.assertEqual(chain_of(leaf, pool), (left_by_right, of_right))
        self.assertEqual(chain_of(leaf, pool[::-1]), (left_by_right, of_right))
        self.assertEqual(chain_of(leaf, (left_by_right, right_by_left)), (left_by_right,))

    def test_circle_of_three(self) -> None:
        """Three that have signed each other in a circle, without a root."""
        one, two, three = map(Party, ("One", "Two", "Three"))
        pool = [one.certified(two, ca=True), two.certified(three, ca=True), three.certified(one, ca=True)]
        self.assertEqual(chain_of(self.host.certified(one), pool), tuple(pool[:2]))

    def test_lasts_longest(self) -> None:
        """Of equals, the one that lasts longest."""
        renewed = [self.low.certified(self.middle, ca=True, end=days * DAY) for days in (50, 300, 200)]
        self.assertEqual(chain_of(self.leaf, renewed), (renewed[1],))

    def test_ended_before(self) -> None:
        """A cross-signature that ended before the leaf began is not taken for the root that still holds."""
        old = self.root.certified(Party("Old"), ca=True, end=-101 * DAY, begin=-900 * DAY)
        leaf = self.host.certified(self.root)
        self.assertEqual(chain_of(leaf, (old, self.of_root)), (self.of_root,))
        self.assertEqual(chain_of(leaf, (old,)), (old,))

    def test_names_of_keys(self) -> None:
        """Where the leaf names its issuer's key, others of the same name cost nothing."""
        middle = self.middle.certified(self.root, ca=True, identified=True)
        others = [Party("Middle").certified(ca=True, identified=True) for _ in range(50)]
        leaf = self.host.certified(self.middle, identified=True)
        with patch("mytls.tls.chains.issued", side_effect=issued) as asked:
            self.assertEqual(Pool((*others, middle)).issuers(leaf), (middle,))
        self.assertEqual(asked.call_count, 1)

    def test_wrong_name_of_key(self) -> None:
        """A key identifier that is wrong does not hide the issuer."""
        wrong = x509.AuthorityKeyIdentifier(b"someone else's", None, None)
        stranger = Party("Low").certified(None, x509.SubjectKeyIdentifier(b"someone else's"), ca=True)
        leaf = self.host.certified(self.low, wrong)
        self.assertEqual(chain_of(leaf, (stranger, self.of_low)), (self.of_low,))

    def test_large_pool(self) -> None:
        """A chain as long as the pool is followed to its end, without recursion."""
        parties = [Party(f"Authority {number}") for number in range(1500)]
        above = [party.certified(by, ca=True) for party, by in pairwise(parties)]
        self.assertEqual(len(chain_of(self.host.certified(parties[0]), above)), 1499)


def with_other_bytes(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """The certificate with other bytes of the same length."""
    der = certificate.public_bytes(Encoding.DER)
    assert old in der
    assert len(old) == len(new)
    return x509.load_der_x509_certificate(der.replace(old, new))


class SignatureTests(SynchronousTestCase):
    """Who has signed."""

    def setUp(self) -> None:
        self.authority = Party("Authority", rsa_key())
        self.own = self.authority.certified(ca=True)
        self.leaf = Party("host.example").certified(self.authority)

    def test_signed(self) -> None:
        """The issuer has, another has not, the leaf has nobody."""
        self.assertTrue(issued(self.leaf, self.own))
        self.assertFalse(issued(self.leaf, Party("Authority", rsa_key(1024)).certified()))
        self.assertFalse(issued(self.own, self.leaf))

    def test_unknown_algorithm(self) -> None:
        """A signature that the library cannot verify counts by the name."""
        sha256_with_rsa, unknown = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "63"))
        odd = with_other_bytes(self.leaf, sha256_with_rsa, unknown)
        self.assertTrue(issued(odd, self.own))
        self.assertFalse(issued(odd, Party("Another").certified()))

    def test_unknown_algorithm_leads_nowhere_twice(self) -> None:
        """Where names alone count, a path still passes nobody twice."""
        first, second = Party("Name"), Party("Name", rsa_key())
        sha256_with_rsa, unknown = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "63"))
        middle = Party("Middle")
        odd = with_other_bytes(middle.certified(second, ca=True), sha256_with_rsa, unknown)
        leaf, own = first.certified(middle), second.certified(ca=True)
        self.assertEqual(chain_of(leaf, (leaf, odd, own)), (odd, own))
        self.assertEqual(chain_of(leaf, (leaf, odd)), ())

    def test_unknown_key(self) -> None:
        """So does the signature of a key that the library does not know."""
        rsa_encryption, unknown = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("01", "63"))
        odd = with_other_bytes(self.own, rsa_encryption, unknown)
        self.assertIsNone(key_of(odd))
        self.assertTrue(issued(self.leaf, odd))
        self.assertEqual(chain_of(self.leaf, (odd,)), (odd,))

    def test_name_in_other_strings(self) -> None:
        """A name spelled in another type of string is the same name; such chains work everywhere else."""
        printable = x509.NameAttribute(NameOID.COMMON_NAME, "Authority", x509.name._ASN1Type.PrintableString)
        self.authority.name = x509.Name([printable])
        own = self.authority.certified(ca=True)
        self.assertTrue(issued(self.leaf, own))

    def test_self_signed(self) -> None:
        """By name and by signature."""
        self.assertTrue(self_signed(self.own))
        self.assertFalse(self_signed(self.leaf))
        self.assertFalse(self_signed(Party("Authority").certified(self.authority)))

    def test_authority(self) -> None:
        """Who may issue says so; where that does not parse, nobody does."""
        broken = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"\x30\x03\x82\x01\xff")
        self.assertTrue(is_authority(self.own))
        self.assertFalse(is_authority(self.leaf))
        self.assertFalse(is_authority(Party("Odd").certified(None, broken)))

    def test_broken_extensions(self) -> None:
        """A certificate whose extensions do not parse has an issuer still."""
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff")
        self.assertEqual(chain_of(Party("Odd").certified(self.authority, broken), (self.own,)), (self.own,))
        own = self.authority.certified(None, x509.UnrecognizedExtension(x509.SubjectKeyIdentifier.oid, b"\xff"))
        self.assertEqual(chain_of(self.leaf, (own,)), (own,))
