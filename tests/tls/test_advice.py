"""What an operator should do about a certificate."""

from __future__ import annotations

import datetime
import os
import ssl
import warnings

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from twisted.trial.unittest import SynchronousTestCase

from mytls.tls import advice
from mytls.tls.ssldict import as_ssl_dict
from tests.files import folder
from tests.tls.issuing import DAY, NOW, Party, pem, rsa_key, write
from tests.tls.test_chains import with_other_bytes

HOUR = datetime.timedelta(hours=1)
ABOUT = AuthorityInformationAccessOID
URI = x509.UniformResourceIdentifier


def subjects(*made: x509.Certificate) -> frozenset[object]:
    """Their subjects, as the ssl module shows them."""
    return frozenset(as_ssl_dict(each)["subject"] for each in made)


def access(*places: tuple[x509.ObjectIdentifier, x509.GeneralName]) -> x509.AuthorityInformationAccess:
    """Where to ask."""
    return x509.AuthorityInformationAccess([x509.AccessDescription(*each) for each in places])


class DateTests(SynchronousTestCase):
    """Dates."""

    def told(self, **dates: datetime.timedelta) -> list[str]:
        """What is said of a certificate of these dates."""
        return list(advice.of_dates(Party("host.example").certified(**dates), NOW))  # type: ignore[arg-type]  # two names

    def test_in_its_time(self) -> None:
        """Nothing, from the first second to a month before the last."""
        self.assertEqual(self.told(), [])
        self.assertEqual(self.told(begin=0 * DAY, end=30 * DAY + HOUR), [])

    def test_soon(self) -> None:
        """Within a month: how many days there are, and the date."""
        for left, words in (
            (30 * DAY, "in 30 days, on 2026-07-01"),
            (12 * DAY + HOUR, "in 12 days, on 2026-06-13"),
            (DAY, "in 1 day, on 2026-06-02"),
            (23 * HOUR, "in less than a day, on 2026-06-02"),
            (0 * DAY, "in less than a day, on 2026-06-01"),
        ):
            self.assertEqual(self.told(end=left), [f"the certificate expires {words}: renew it"])

    def test_expired(self) -> None:
        """From the second after the last."""
        second = datetime.timedelta(seconds=1)
        self.assertEqual(self.told(end=-second), ["the certificate expired on 2026-06-01: renew it"])

    def test_not_yet_valid(self) -> None:
        """Before the first second."""
        self.assertEqual(
            self.told(begin=HOUR),
            ["the certificate is not valid before 2026-06-01 13:00 UTC: wait until then, or set the clock right"],
        )


class StrengthTests(SynchronousTestCase):
    """Keys and signatures."""

    def told(self, key: object) -> list[str]:
        """What is said of a certificate with this key."""
        return list(advice.of_strength(Party("host.example", key).certified()))

    def test_strong(self) -> None:
        """Nothing of the keys of today."""
        for key in (rsa_key(), ec.generate_private_key(ec.SECP224R1()), None, ed25519.Ed25519PrivateKey.generate()):
            self.assertEqual(self.told(key), [])

    def test_weak_keys(self) -> None:
        """What to make instead."""
        self.assertEqual(
            self.told(rsa_key(1024)),
            ["the key is weak, RSA with 1024 bits: make one with 2048 bits or more, or EC P-256"],
        )
        self.assertEqual(
            self.told(ec.generate_private_key(ec.SECP192R1())),
            ["the key is weak, EC with 192 bits: make one on P-256"],
        )

    def test_weak_signatures(self) -> None:
        """SHA-1 and MD5."""
        made = Party("host.example", rsa_key()).certified()
        for last, name in (("05", "SHA1"), ("04", "MD5")):
            sha256, other = (bytes.fromhex(f"06092a864886f70d0101{each}") for each in ("0b", last))
            self.assertEqual(
                list(advice.of_strength(with_other_bytes(made, sha256, other))),
                [f"the certificate is signed with {name}, which clients refuse: renew it"],
            )

    def test_unknown(self) -> None:
        """Nothing of what the library does not know."""
        made = Party("host.example", rsa_key()).certified()
        for old, new in (("0b", "63"), ("01", "63")):
            known, unknown = (bytes.fromhex(f"06092a864886f70d0101{each}") for each in (old, new))
            self.assertEqual(list(advice.of_strength(with_other_bytes(made, known, unknown))), [])


class KeyFileTests(SynchronousTestCase):
    """Who may read the key."""

    def test_mode(self) -> None:
        """The owner and the group may, others may not."""
        for mode in (0o600, 0o640, 0o400, 0o663):
            self.assertEqual(list(advice.of_secret_file("the private key", "a.key", mode)), [])
        for mode in (0o644, 0o604, 0o777):
            self.assertEqual(
                list(advice.of_secret_file("the private key", "a.key", mode)),
                ["every user of this machine may read the private key: chmod o-r a.key"],
            )


class ChainTests(SynchronousTestCase):
    """The end of a chain."""

    def setUp(self) -> None:
        self.root = Party("Root")
        self.store()

    def store(self, *roots: Party) -> None:
        """This system trusts these."""
        trusted = subjects(*(each.certified() for each in roots))
        self.patch(advice, "system_roots", lambda: trusted)

    def told(self, *extensions: x509.ExtensionType, ca: bool = False) -> list[str]:
        """What is said of a chain that ends with a certificate of the root."""
        return list(advice.of_chains([(Party("End").certified(self.root, *extensions, ca=ca), "ho\nst.pem")]))

    def line(self, place: str = "") -> list[str]:
        """What is expected."""
        file = "ho\\x0ast.pem"
        place = place or "; if it is the root, clients need it"
        return [f"{file}: the issuer CN=Root is not sent: if it is an intermediate, append its certificate{place}"]

    def test_certificate_alone(self) -> None:
        """The certificate is sent alone, and its issuer is not at hand."""
        self.assertEqual(self.told(), self.line())

    def test_once_for_each_issuer(self) -> None:
        """Many certificates of one issuer are one sentence with a few of the files, each once."""
        other = Party("Other")
        ends = [(Party(f"{each}.example").certified(self.root), f"{each}.pem") for each in "abcdea"]
        told = list(advice.of_chains([*ends, (Party("x.example").certified(other), "x.pem")]))
        self.assertEqual(
            [each.partition(" is not sent")[0] for each in told],
            ["a.pem, b.pem, c.pem and 2 more: the issuer CN=Root", "x.pem: the issuer CN=Other"],
        )

    def test_private_root(self) -> None:
        """The issuer of an authority is taken for a private root, which nobody needs to send."""
        self.assertEqual(self.told(ca=True), [])

    def test_issuer_signed_by_itself(self) -> None:
        """Nothing is missing where the certificate says that its issuer has signed itself; else it may be."""
        for signer, expected in ((self.root, []), (Party("Above"), self.line())):
            above = x509.AuthorityKeyIdentifier(b"key", [x509.DirectoryName(signer.name)], 1)
            self.assertEqual(self.told(above), expected)

    def test_root_of_the_system(self) -> None:
        """An issuer that this system trusts need not be sent."""
        self.store(Party("Other"), self.root)
        for ca in (False, True):
            self.assertEqual(self.told(access((ABOUT.CA_ISSUERS, URI("http://ca.example"))), ca=ca), [])

    def test_place(self) -> None:
        """Where the issuer's certificate is, as far as the certificate says it; public authorities do."""
        places = access(
            (ABOUT.OCSP, URI("http://ocsp.example")),
            (ABOUT.CA_ISSUERS, x509.DNSName("ca.example")),
            (ABOUT.CA_ISSUERS, URI("http://ca.example/\x1bmiddle.der")),
        )
        for ca in (False, True):
            self.assertEqual(self.told(places, ca=ca), self.line(" (http://ca.example/\\x1bmiddle.der)"))

    def test_no_place(self) -> None:
        """The place of something else is not its; extensions that do not parse have none."""
        other = access((ABOUT.OCSP, URI("http://ocsp.example")))
        self.assertEqual((self.told(other), self.told(other, ca=True)), (self.line(), []))
        self.assertEqual(self.told(x509.UnrecognizedExtension(access().oid, b"\xff")), self.line())


class SystemTests(SynchronousTestCase):
    """The roots of this system."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.one, self.two = Party("One").certified(ca=True), Party("Two").certified(ca=True)
        advice.system_roots.cache_clear()
        self.addCleanup(advice.system_roots.cache_clear)
        self.looked = 0

    def roots(self, file: str | None, place: str | None) -> frozenset[object]:
        """The roots of a system whose file and folder are these."""
        advice.system_roots.cache_clear()

        def look() -> object:
            self.looked += 1
            return ssl.DefaultVerifyPaths(file, place, "", "", "", "")  # type: ignore[arg-type]  # None too, says ssl.py

        self.patch(ssl, "get_default_verify_paths", look)
        return advice.system_roots()

    def test_file(self) -> None:
        """One file with all of them; it is read once."""
        file = write(self.folder / "roots.pem", pem(self.one, self.two))
        self.assertEqual(self.roots(file, str(self.folder)), subjects(self.one, self.two))
        advice.system_roots()
        self.assertEqual(self.looked, 1)

    def test_folder(self) -> None:
        """A folder with a file for each, by the names that OpenSSL looks for; others are not read."""
        write(self.folder / "0123abcd.0", pem(self.one))
        os.symlink("0123abcd.0", self.folder / "4567cdef.10")
        write(self.folder / "two.pem", pem(self.two))
        self.assertEqual(self.roots(None, str(self.folder)), subjects(self.one))

    def test_this_system(self) -> None:
        """Whatever roots this system has, looking at them warns of nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertIsInstance(advice.system_roots(), frozenset)

    def test_odd_roots(self) -> None:
        """Roots of long ago, whose serial numbers `cryptography` warns of, are roots, and nothing is warned of."""
        party = Party("Odd")
        der = party.certified(ca=True, serial=0x1234).public_bytes(Encoding.DER)
        odd = ssl.DER_cert_to_PEM_cert(der.replace(b"\x02\x02\x12\x34", b"\x02\x02\x80\x34"))
        file = write(self.folder / "odd.pem", odd.encode("ascii"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(self.roots(file, None), subjects(party.certified()))

    def test_no_store(self) -> None:
        """A store that is not there, or is broken, trusts nobody."""
        broken = write(self.folder / "broken.pem", b"nothing")
        missing = str(self.folder / "none")
        for file, place in ((None, None), (None, missing), (missing, None), (broken, None)):
            self.assertEqual(self.roots(file, place), frozenset())
