"""Client CAs and their revocation lists."""

from __future__ import annotations

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

import mytls.tls.trust
from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.trust import ClientTrust, client_trust
from tests.files import folder
from tests.tls.issuing import DAY, NOW, Party, files, key_pem, pem, rsa_key, write
from tests.tls.test_chains import with_other_bytes


def named(organization: str, common: str) -> x509.Certificate:
    """A CA's certificate with a name of some length."""
    party = Party(common)
    attributes = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common))
    party.name = x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])
    return party.certified(ca=True)


class TrustTests(SynchronousTestCase):
    """Files in, CAs and lists out."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.one, self.two = Party("CA One"), Party("CA Two", rsa_key())
        self.of_one, self.of_two = self.one.certified(ca=True), self.two.certified(ca=True)

    def write(self, name: str, *content: bytes) -> str:
        """A file. @return: its path"""
        return write(self.folder / name, *content)

    def trust(self, *authorities: str, crl: tuple[str, ...] = ()) -> ClientTrust:
        """What these files say."""
        wrote = {"client-ca": "clientCA", "crl": "crl", "client-auth": "clientAuth"}
        settings = HostSettings(client_auth="required", client_ca=authorities, crl=crl, wrote=wrote)
        found = client_trust(settings, files())
        assert found is not None
        return found

    def refused(self, line: str, *authorities: str, crl: tuple[str, ...] = ()) -> None:
        """Assert that these files are refused with this one line."""
        with self.assertRaises(ConfigurationError) as caught:
            self.trust(*authorities, crl=crl)
        self.assertEqual(str(caught.exception).replace(str(self.folder), "DIR"), line)

    def test_off(self) -> None:
        """Where clients are asked for nothing there is nothing to read."""
        self.assertIsNone(client_trust(HostSettings(client_ca=("nowhere.pem",)), files()))

    def test_authorities(self) -> None:
        """Several files, several CAs in one, each once, as PEM or DER; for `optional` too."""
        both = self.write("both.pem", b"# ours\n", pem(self.of_one, self.of_two))
        der = self.write("one.der", self.of_one.public_bytes(Encoding.DER))
        self.assertEqual(self.trust(both, der).authorities, (self.of_one, self.of_two))
        optional = HostSettings(client_auth="optional", client_ca=(der,))
        self.assertEqual(client_trust(optional, files()), ClientTrust((self.of_one,)))

    def test_authorities_that_are_none(self) -> None:
        """A file that is missing, empty, a key, or cut is an error, also beside a good one."""
        good = self.write("good.pem", pem(self.of_one))
        self.refused("clientCA=DIR/none: no such file", good, str(self.folder / "none"))
        self.refused("clientCA=DIR: cannot be read: Is a directory", good, str(self.folder))
        for content in (b"", b"nothing", key_pem(self.one.key), pem(self.one.revoking())):
            path = self.write("wrong.pem", content)
            self.refused("clientCA=DIR/wrong.pem: there is no CA certificate in it; expected PEM or DER", good, path)
        path = self.write("cut.pem", pem(self.of_one)[:-30])
        self.refused(
            "clientCA=DIR/cut.pem: a CERTIFICATE block in it lacks its beginning or its end: it is cut off, or still "
            "being written",
            path,
        )

    def test_nobody(self) -> None:
        """No CA at all is never trust in nobody, nor in all."""
        self.refused("clientAuth=required: no CA to verify clients with; say client-ca")

    def test_revocations(self) -> None:
        """Lists of the CAs, in one file or several, as PEM or DER; each with its file."""
        of_one, of_two = self.one.revoking(1), self.two.revoking(2)
        authorities = self.write("both.pem", pem(self.of_one, self.of_two))
        together = self.write("together.pem", pem(of_one, of_two))
        self.assertEqual(self.trust(authorities, crl=(together,)).revocations, (of_one, of_two))
        der = self.write("two.crl", of_two.public_bytes(Encoding.DER))
        found = self.trust(authorities, crl=(der, together))
        self.assertEqual((found.revocations, found.paths), ((of_two, of_one), (der, together)))

    def test_newest_revocations(self) -> None:
        """Of each CA the newest list counts, with its file, and the older ones are as if they were not there."""
        authorities = self.write("both.pem", pem(self.of_one, self.of_two))
        old, new = self.one.revoking(1), self.one.revoking(1, 2, begin=-DAY)
        other = self.two.revoking(2)
        paths = (self.write("new.crl", pem(new)), self.write("rest.crl", pem(old, other)))
        found = self.trust(authorities, crl=paths)
        self.assertEqual((found.revocations, found.paths), ((new, other), paths))
        alone = self.trust(authorities, crl=(paths[0], self.write("other.crl", pem(other))))
        self.assertEqual(found.digest, alone.digest)
        self.assertEqual(found.newest(HostSettings()), found)

    def test_revocations_that_do_not_count(self) -> None:
        """A part of a list is an error of one line, and so are two of which neither is the newer."""
        authority = self.write("one.pem", pem(self.of_one))
        builder = x509.CertificateRevocationListBuilder(self.one.name, NOW - DAY, NOW + DAY)
        delta = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True).sign(self.one.key, SHA256())
        part = self.write("part.crl", pem(delta))
        whole = self.write("whole.crl", pem(self.one.revoking(1)))
        line = "crl=DIR/part.crl: a delta of a revocation list, which is not used; expected the whole list"
        for paths in ((part,), (whole, part)):
            self.refused(line, authority, crl=paths)
        same = self.write("same.crl", pem(self.one.revoking(2)))
        self.refused(
            "crl=DIR/whole.crl: whether this revocation list of CN=CA One or the one in DIR/same.crl is the newer "
            "cannot be told by their numbers and dates; leave one out",
            authority,
            crl=(whole, same),
        )

    def test_old_revocations(self) -> None:
        """Whether an old list is gone by is what the host says."""
        authority = self.write("one.pem", pem(self.of_one))
        by_default = HostSettings(client_auth="required", client_ca=(authority,))
        for settings, stale in (
            (by_default, False),
            (attrs.evolve(by_default, stale_crl="refuse"), False),
            (attrs.evolve(by_default, stale_crl="accept"), True),
        ):
            found = client_trust(settings, files())
            assert found is not None
            self.assertIs(found.stale, stale)

    def test_pins_alone(self) -> None:
        """Where clients are known by their keys alone there is nobody to trust; a list of somebody's is an error."""
        pinned = HostSettings(client_auth="required", allow=("spki=sha256:AAAA",))
        self.assertEqual(client_trust(pinned, files()), ClientTrust(()))
        path = self.write("one.crl", pem(self.one.revoking(1)))
        with self.assertRaisesRegex(ConfigurationError, "is signed by no CA of client-ca"):
            client_trust(attrs.evolve(pinned, crl=(path,)), files())
        with self.assertRaisesRegex(ConfigurationError, "no CA to verify clients with"):
            client_trust(attrs.evolve(pinned, allow=(*pinned.allow, "cn=friend")), files())

    def test_revocations_that_are_none(self) -> None:
        """As of CAs."""
        authority = self.write("one.pem", pem(self.of_one))
        self.refused("crl=DIR/none: no such file", authority, crl=(str(self.folder / "none"),))
        self.refused("crl=DIR: cannot be read: Is a directory", authority, crl=(str(self.folder),))
        for content in (b"", b"nothing", pem(self.of_one)):
            path = self.write("wrong.crl", content)
            self.refused(
                "crl=DIR/wrong.crl: there is no revocation list in it; expected PEM or DER", authority, crl=(path,)
            )

    def test_revocations_of_others(self) -> None:
        """A list of none of the CAs, or of one of the same name and another key, would revoke nobody: an error."""
        authority = self.write("one.pem", pem(self.of_one))
        for other in (self.two, Party("CA One"), Party("CA One", rsa_key())):
            path = self.write("other.crl", pem(other.revoking(1)))
            self.refused(
                f"crl=DIR/other.crl: the revocation list of CN={other.called} is signed "
                "by no CA of client-ca; add that CA, or leave the list out",
                authority,
                crl=(path,),
            )

    def test_key_that_nobody_can_verify(self) -> None:
        """A CA whose key the library does not know counts by its name; OpenSSL verifies for itself."""
        rsa_encryption, unknown = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("01", "63"))
        odd = self.write("odd.pem", pem(with_other_bytes(self.of_two, rsa_encryption, unknown)))
        path = self.write("two.crl", pem(self.two.revoking(1)))
        self.assertEqual(len(self.trust(odd, crl=(path,)).revocations), 1)
        path = self.write("other.crl", pem(Party("Other").revoking(1)))
        self.refused(
            "crl=DIR/other.crl: the revocation list of CN=Other is signed by no CA of client-ca; add that CA, or leave "
            "the list out",
            odd,
            crl=(path,),
        )

    def test_digest(self) -> None:
        """It is the same for the same CAs and lists, and another for others."""
        lists = self.one.revoking(1), self.one.revoking(2)
        values = [
            ClientTrust(()), ClientTrust((self.of_one,)), ClientTrust((self.of_one, self.of_two)),
            ClientTrust((self.of_one,), lists[:1]), ClientTrust((self.of_one,), lists[1:]),
        ]  # fmt: skip
        self.assertEqual(len({each.digest for each in values}), len(values))
        self.assertEqual(
            ClientTrust((self.of_one,), lists, ("a", "b")).digest, ClientTrust((self.of_one,), lists).digest
        )


class WarningTests(SynchronousTestCase):
    """What an operator should do."""

    def test_nothing(self) -> None:
        """Nothing, where all is in its time."""
        authority = Party("CA")
        trust = ClientTrust((authority.certified(ca=True),), (authority.revoking(1),), ("a.crl",))
        self.assertEqual(trust.warnings(NOW), ())

    def test_names(self) -> None:
        """Clients are told of each CA, or of none where a handshake has no room for the names; then there is a word."""
        few = tuple(named("x" * 60, str(number)) for number in range(3))
        self.assertEqual((ClientTrust(few).named, ClientTrust(few).warnings(NOW)), (few, ()))
        size = sum(2 + len(each.subject.public_bytes()) for each in few)
        self.patch(mytls.tls.trust, "MAX_NAMES", size)
        self.assertEqual(ClientTrust(few).named, few)
        self.patch(mytls.tls.trust, "MAX_NAMES", size - 1)
        self.assertEqual(ClientTrust(few).named, ())
        (warning,) = ClientTrust(few).warnings(NOW)
        self.assertRegex(
            warning, "^the names of 3 client CAs are over 0 KiB, more than a handshake carries, so clients "
        )
        self.assertEqual(ClientTrust(()).warnings(NOW), ())

    def test_list_of_tomorrow(self) -> None:
        """A list that is not valid yet lets nobody in until it is."""
        authority = Party("CA")
        early = authority.revoking(1, begin=DAY / 2)
        trust = ClientTrust((authority.certified(ca=True),), (early,), ("a.crl",), stale=True)
        line = "a.crl: the revocation list of CN=CA begins on 2026-06-02 00:00 UTC, so none of its clients can enter"
        self.assertEqual(trust.warnings(NOW), (f"{line} until then",))

    def test_old_list(self) -> None:
        """A list past its time loads, and OpenSSL then refuses the clients of its CA."""
        authority = Party("CA")
        old = authority.revoking(1, end=-DAY)
        line = "the revocation list of CN=CA ended on 2026-05-31, so none of its clients can enter: get the new one"
        own = (authority.certified(ca=True),)
        self.assertEqual(ClientTrust(own, (old,), ("a.crl",)).warnings(NOW), (f"a.crl: {line}",))
        self.assertEqual(ClientTrust(own, (old,)).warnings(NOW), (line,))

    def test_old_list_that_is_gone_by(self) -> None:
        """With `stale-crl = accept` it lets in whoever is not on it, and the warning says what that means."""
        authority = Party("CA")
        old = authority.revoking(1, end=-DAY)
        trust = ClientTrust((authority.certified(ca=True),), (old,), ("a.crl",), stale=True)
        line = "the revocation list of CN=CA ended on 2026-05-31, so whoever was revoked since enters: get the new one"
        self.assertEqual(trust.warnings(NOW), (f"a.crl: {line}",))

    def test_old_authority(self) -> None:
        """So is a CA's certificate."""
        trust = ClientTrust((Party("CA").certified(ca=True, end=-DAY),))
        self.assertEqual(
            trust.warnings(NOW),
            (
                "the client CA CN=CA expired on 2026-05-31, so none of its clients can enter: put its new certificate "
                "into client-ca",
            ),
        )
