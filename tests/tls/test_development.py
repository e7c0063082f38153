"""The development certificate: made once, kept, renewed in time, and good for this machine alone."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.tls.certificates import KeyPair
from mytls.tls.development import DevelopmentCertificate, development_certificate, state_folder
from tests.files import folder
from tests.memory import Link, tls_options

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def days(number: float) -> datetime.timedelta:
    """So many days."""
    return datetime.timedelta(days=number)


class Made(SynchronousTestCase):
    """A folder with a development certificate in it."""

    def setUp(self) -> None:
        self.folder = folder(self) / "state" / "mytls"
        self.files = self.make()

    def make(self, now: datetime.datetime = NOW) -> DevelopmentCertificate:
        """What a start at this time finds or makes."""
        return development_certificate(self.folder, now)

    def contents(self) -> dict[str, bytes]:
        """All files of the folder."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def leaf(self) -> x509.Certificate:
        """The certificate for localhost."""
        return x509.load_pem_x509_certificates(self.files.chain.read_bytes())[0]

    def authority(self) -> x509.Certificate:
        """The CA's."""
        return x509.load_pem_x509_certificate(self.files.ca.read_bytes())


class FileTests(Made):
    """What lies in the folder."""

    def test_files(self) -> None:
        """Four files, and nothing half made beside them."""
        self.assertEqual(sorted(self.contents()), ["ca.key", "ca.pem", "localhost.key", "localhost.pem"])

    def test_modes(self) -> None:
        """Folder and files are their owner's alone, whatever the umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.folder = self.folder.parent / "other"
        self.make()
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual({path.stat().st_mode & 0o777 for path in self.folder.iterdir()}, {0o600})

    def test_is_a_key_pair(self) -> None:
        """Key and chain are files as a user's are: the certificate, then the CA's."""
        pair = KeyPair.from_files(str(self.files.key), str(self.files.chain))
        self.assertEqual((pair.certificate, pair.chain), (self.leaf(), (self.authority(),)))

    def test_folder_cannot_be_made(self) -> None:
        """Where it cannot be kept, the folder and the reason are told in one line."""
        self.folder.parent.joinpath("file").write_text("in the way")
        self.folder = self.folder.parent / "file" / "mytls"
        with self.assertRaisesRegex(
            ConfigurationError, f"^the development certificate cannot be kept in {self.folder}: Not a directory$"
        ):
            self.make()

    def test_nothing_half_written(self) -> None:
        """A write that fails leaves the old files as they were, and none beside them."""
        before = self.contents()

        def full(source: object, target: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "replace", full)
        self.assertRaisesRegex(ConfigurationError, "No space left on device$", self.make, NOW + days(80))
        self.assertEqual(self.contents(), before)


class StateFolderTests(SynchronousTestCase):
    """Where the folder is."""

    def in_environment(self, **variables: str | None) -> Path:
        """The folder with these variables."""
        for variable, value in variables.items():
            changed = {key: each for key, each in os.environ.items() if key != variable}
            self.patch(os, "environ", changed if value is None else changed | {variable: value})
        return state_folder()

    def test_xdg(self) -> None:
        """C{XDG_STATE_HOME} says where state is kept."""
        self.assertEqual(self.in_environment(XDG_STATE_HOME="/var/state"), Path("/var/state/mytls"))

    def test_default(self) -> None:
        """Without it, or with one that is empty or relative, which is to be ignored, it is the home's."""
        for value in (None, "", "state"):
            self.assertEqual(
                self.in_environment(XDG_STATE_HOME=value, HOME="/home/dev"), Path("/home/dev/.local/state/mytls")
            )


class ReuseTests(Made):
    """What is good is kept."""

    def test_reused(self) -> None:
        """A second start, also weeks later, changes nothing."""
        before = self.contents()
        for later in (0, 1, 59):
            self.assertEqual(self.make(NOW + days(later)), self.files)
            self.assertEqual(self.contents(), before)

    def test_renewed_near_its_end(self) -> None:
        """A month before its end it is made anew, by the same CA: who trusted the last one trusts this one."""
        leaf, authority, before = self.leaf(), self.authority(), self.contents()
        self.make(NOW + days(61))
        self.assertEqual(self.authority(), authority)
        self.assertEqual(self.contents()["ca.key"], before["ca.key"])
        self.assertNotEqual(self.leaf(), leaf)
        self.assertGreater(self.leaf().not_valid_after_utc, NOW + days(150))
        self.leaf().verify_directly_issued_by(authority)

    def test_authority_near_its_end(self) -> None:
        """A CA that would not outlive a new certificate is made anew with it."""
        authority = self.authority()
        late = authority.not_valid_after_utc - days(100)
        self.make(late)
        self.assertNotEqual(self.authority(), authority)
        self.assertGreater(self.authority().not_valid_after_utc, self.leaf().not_valid_after_utc)
        self.leaf().verify_directly_issued_by(self.authority())

    def test_clock_that_was_wrong(self) -> None:
        """A certificate of the future is made anew."""
        leaf = self.leaf()
        self.make(NOW - days(400))
        self.assertNotEqual(self.leaf(), leaf)

    def remade(self, broken: Path, content: bytes | None) -> None:
        """Break a file, start, and assert that what is there fits together again."""
        if content is None:
            broken.unlink()
        else:
            broken.write_bytes(content)
        self.make()
        pair = KeyPair.from_files(str(self.files.key), str(self.files.chain))
        pair.certificate.verify_directly_issued_by(self.authority())
        authority_key = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        self.assertEqual(authority_key.public_key(), self.authority().public_key())

    def test_broken_files(self) -> None:
        """A file that is missing, empty or something else is made anew, and what belongs to it."""
        for called in ("ca.pem", "localhost.key", "localhost.pem"):
            for content in (None, b"", b"not a PEM\n"):
                self.remade(self.folder / called, content)

    def test_broken_leaf_keeps_the_authority(self) -> None:
        """For a broken certificate of localhost nobody has to trust a new CA."""
        authority = self.authority()
        for path in (self.files.key, self.files.chain):
            self.remade(path, b"")
            self.assertEqual(self.authority(), authority)

    def test_lost_authority_key(self) -> None:
        """Without the CA's key the certificate is good until it has to be renewed, and then there is a new CA."""
        authority, leaf = self.authority(), self.leaf()
        (self.folder / "ca.key").unlink()
        self.make()
        self.assertEqual((self.authority(), self.leaf()), (authority, leaf))
        self.make(NOW + days(61))
        self.assertNotEqual(self.authority(), authority)
        self.leaf().verify_directly_issued_by(self.authority())

    def test_foreign_key(self) -> None:
        """A key of another certificate is not served with this one."""
        other = folder(self)
        foreign = development_certificate(other, NOW)
        self.remade(self.files.key, foreign.key.read_bytes())

    def test_foreign_authority(self) -> None:
        """Neither is a certificate of another CA."""
        foreign = development_certificate(folder(self), NOW)
        self.remade(self.files.ca, foreign.ca.read_bytes())


class TrustTests(Made):
    """What trusting the CA gives, and what it does not."""

    def verify(self, certificate: x509.Certificate, subject: x509.DNSName | x509.IPAddress) -> None:
        """As a client does that trusts the CA and nobody else."""
        policy = PolicyBuilder().store(Store([self.authority()])).time(NOW)
        policy.build_server_verifier(subject).verify(certificate, [])

    def issued(self, *names: x509.GeneralName) -> x509.Certificate:
        """What whoever steals the CA's key could make."""
        leaf, authority = self.leaf(), self.authority()
        key = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        builder = x509.CertificateBuilder(
            subject_name=leaf.subject,
            issuer_name=authority.subject,
            public_key=leaf.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=leaf.not_valid_before_utc,
            not_valid_after=leaf.not_valid_after_utc,
        )
        for each in leaf.extensions:
            own = isinstance(each.value, x509.SubjectAlternativeName)
            builder = builder.add_extension(x509.SubjectAlternativeName(names) if own else each.value, each.critical)
        return builder.sign(key, hashes.SHA256())

    def test_good_for_this_machine(self) -> None:
        """The certificate is good for localhost and its two addresses."""
        self.verify(self.leaf(), x509.DNSName("localhost"))
        for address in ("127.0.0.1", "::1"):
            self.verify(self.leaf(), x509.IPAddress(ipaddress.ip_address(address)))

    def test_for_no_other_name(self) -> None:
        """It is good for no other name."""
        self.assertRaises(VerificationError, self.verify, self.leaf(), x509.DNSName("example.com"))

    def test_authority_is_bound_to_this_machine(self) -> None:
        """The CA is believed for loopback names alone: its key, stolen, opens no other site."""
        self.verify(self.issued(x509.DNSName("localhost")), x509.DNSName("localhost"))
        for stranger in (x509.DNSName("example.com"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))):
            self.assertRaises(VerificationError, self.verify, self.issued(stranger), stranger)

    def test_elliptic_curve(self) -> None:
        """Both keys are of P-256, which every client takes."""
        for certificate in (self.leaf(), self.authority()):
            key = certificate.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            self.assertEqual(key.curve.name, "secp256r1")

    def test_openssl_program(self) -> None:
        """The openssl program agrees: strictly, for the name and the addresses, and not for another's."""
        program = shutil.which("openssl")
        if program is None:
            self.skipTest("there is no openssl program")
        stolen = self.folder / "stolen.pem"
        stolen.write_bytes(self.issued(x509.DNSName("example.com")).public_bytes(Encoding.PEM))

        def verifies(certificate: Path, *options: str) -> bool:
            at = ["-attime", str(int(NOW.timestamp())), "-purpose", "sslserver", "-x509_strict"]
            command = [program, "verify", "-CAfile", str(self.files.ca), *at, *options, str(certificate)]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        self.assertTrue(verifies(self.files.chain, "-verify_hostname", "localhost"))
        self.assertTrue(verifies(self.files.chain, "-verify_ip", "::1"))
        self.assertFalse(verifies(self.files.chain, "-verify_hostname", "example.com"))
        self.assertFalse(verifies(stolen, "-verify_hostname", "example.com"))

    def test_serves(self) -> None:
        """It serves a client, which gets the certificate and the CA's."""
        link = Link(options=tls_options(KeyPair.from_files(str(self.files.key), str(self.files.chain))))
        link.handshake()
        self.assertEqual(link.client.get_peer_cert_chain(as_cryptography=True), [self.leaf(), self.authority()])
