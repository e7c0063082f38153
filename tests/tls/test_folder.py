"""A folder of certificates, keys and chains, sorted out."""

from __future__ import annotations

import errno
import os

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.chains import spki
from mytls.tls.files import Files
from mytls.tls.folder import pairs_in
from tests.tls.issuing import DAY, NOW, IssuingTests, Party, dsa_key, files, key_pem, pem, rsa_key


class FolderTests(IssuingTests):
    """An authority below a root, and a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.notes: tuple[str, ...] = ()

    def hosts(self, password: str | None = None, reader: Files | None = None, **said: object) -> list[list[KeyPair]]:
        """The hosts of the folder; each pair's key fits its certificate."""
        wrote = {"hosts": "hosts", "client-ca": "clientCA"}
        settings = HostSettings(password_file=password, wrote=wrote, **said)  # type: ignore[arg-type]  # as they are
        found, notes = pairs_in(settings, str(self.folder), reader or files())
        self.notes = tuple(each.replace(str(self.folder), "DIR") for each in notes)
        for pair in (each for pairs in found for each in pairs):
            self.assertEqual(spki(pair.key.public_key()), spki(pair.certificate.public_key()))
        return [list(pairs) for pairs in found]

    def served(self, **said: object) -> list[list[tuple[x509.Certificate, ...]]]:
        """What clients get, for each host and pair."""
        return [[(each.certificate, *each.chain) for each in pairs] for pairs in self.hosts(**said)]  # type: ignore[arg-type]

    def refused(self, line: str, where: str = "") -> None:
        """Assert that the folder is refused with this one line."""
        with self.assertRaises(ConfigurationError) as caught:
            pairs_in(HostSettings(), str(self.folder / where), files())
        self.assertEqual(str(caught.exception).replace(str(self.folder), "DIR"), line)

    def host(self, name: str, *others: str, key: object = None) -> tuple[Party, x509.Certificate]:
        """A party, and its certificate by the authority."""
        party = Party(name, key)
        return party, party.certified(self.authority, names=[name, *others])


class SortingTests(FolderTests):
    """What goes with what."""

    def test_hosts(self) -> None:
        """Each certificate that a key fits is a host, however its parts lie about."""
        (a, of_a), (b, of_b), (c, of_c) = map(self.host, ("a.example", "b.example", "c.example"))
        self.write("a.pem", pem(of_a, self.middle), key_pem(a.key))
        self.write("b/cert", pem(of_b))
        self.write("keys/all", key_pem(c.key), key_pem(b.key))
        self.write("c.p12", serialize_key_and_certificates(None, c.key, of_c, None, BestAvailableEncryption(b"open")))
        os.environ["MYTLS_PASSWORD"] = "open"
        self.assertEqual(self.served(), [[(of_a, self.middle)], [(of_b, self.middle)], [(of_c, self.middle)]])
        self.assertEqual(self.notes, ())

    def test_source(self) -> None:
        """Each pair says which file its certificate is in; of several, the one with the chain."""
        a, of_a = self.host("a.example")
        self.write("cert.pem", pem(of_a))
        path = self.write("fullchain.pem", pem(of_a, self.middle))
        self.write("privkey.pem", key_pem(a.key))
        ((pair,),) = self.hosts()
        self.assertEqual((pair.source, (pair.certificate, *pair.chain)), (path, (of_a, self.middle)))

    def test_certbot(self) -> None:
        """certbot's folders: links to the newest beside the archive with all of them."""
        party, new = self.host("a.example")
        old_party = Party("a.example")
        old = old_party.certified(self.authority, names=["a.example"], end=50 * DAY)
        for number, made, key in ((1, old, old_party.key), (2, new, party.key)):
            self.write(f"archive/a.example/fullchain{number}.pem", pem(made, self.middle))
            self.write(f"archive/a.example/privkey{number}.pem", key_pem(key))
        self.write("live/README", b"This directory contains your keys and certificates.\n")
        os.makedirs(self.folder / "live" / "a.example")
        for name in ("fullchain", "privkey"):
            os.symlink(f"../../archive/a.example/{name}2.pem", self.folder / "live" / "a.example" / f"{name}.pem")
        self.assertEqual(self.served(), [[(new, self.middle)]])

    def test_kubernetes(self) -> None:
        """A secret that Kubernetes has mounted."""
        party, made = self.host("a.example")
        self.write("..2024/tls.crt", pem(made, self.middle))
        self.write("..2024/tls.key", key_pem(party.key))
        os.symlink("..2024", self.folder / "..data")
        for name in ("tls.crt", "tls.key"):
            os.symlink(f"..data/{name}", self.folder / name)
        self.assertEqual(self.served(), [[(made, self.middle)]])

    def test_kinds_of_keys(self) -> None:
        """RSA and EC certificates with the same names, in whatever order and spelling, are one host."""
        one, of_one = self.host("a.example", "b.example")
        two, of_two = self.host("B.example", "a.example", key=rsa_key())
        self.write("1.pem", pem(of_one), key_pem(one.key))
        self.write("2.pem", pem(of_two), key_pem(two.key))
        self.assertEqual(self.served(), [[(of_one,), (of_two,)]])

    def test_other_names(self) -> None:
        """Certificates with other names are other hosts, also where they share some."""
        one, of_one = self.host("a.example")
        two, of_two = self.host("a.example", "b.example", key=rsa_key())
        self.write("1.pem", pem(of_one), key_pem(one.key))
        self.write("2.pem", pem(of_two), key_pem(two.key))
        self.assertEqual(self.served(), [[(of_one,)], [(of_two,)]])

    def test_renewed(self) -> None:
        """Of the same names and kind, the one that is valid now and lasts longest, whichever is read first."""
        parties = [Party("a.example") for _ in range(4)]
        old, new, coming, ended = (
            party.certified(self.authority, names=["a.example"], begin=begin * DAY, end=end * DAY)
            for party, begin, end in zip(parties, (-80, -10, 1, -800), (10, 80, 900, -1), strict=True)
        )
        made = list(zip(parties, (old, new, coming, ended), strict=True))
        for order in (made, made[::-1]):
            for number, (party, certificate) in enumerate(order):
                self.write(f"{number}.pem", pem(certificate), key_pem(party.key))
            self.assertEqual(self.served(), [[(new,)]])

    def test_all_ended(self) -> None:
        """Where none is valid now, the one that ends last is served, with its warning."""
        one, two = Party("a.example"), Party("a.example")
        older = one.certified(self.authority, names=["a.example"], end=-2 * DAY)
        newer = two.certified(self.authority, names=["a.example"], end=-DAY)
        self.write("1.pem", pem(newer), key_pem(two.key))
        self.write("2.pem", pem(older), key_pem(one.key))
        ((pair,),) = self.hosts()
        self.assertEqual(pair.certificate, newer)
        self.assertIn("the certificate expired on 2026-05-31: renew it", pair.warnings(NOW))

    def test_copies(self) -> None:
        """The same certificate in many files is one."""
        party, made = self.host("a.example")
        for number in range(5):
            self.write(f"{number}.pem", pem(made, made, self.middle), key_pem(party.key))
        self.assertEqual(self.served(), [[(made, self.middle)]])


class ChainTests(FolderTests):
    """Chains from the pool that is the folder."""

    def test_root(self) -> None:
        """A self-signed root in the folder is not sent, is nobody's missing certificate, and stops nothing."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        self.write("ca.pem", pem(self.of_root, self.middle))
        ((pair,),) = self.hosts()
        self.assertEqual((pair.chain, pair.warnings(NOW)), ((self.middle,), ()))

    def test_no_intermediate(self) -> None:
        """Where the authority is missing, the chain's end is known."""
        party, made = self.host("a.example")
        path = self.write("a.pem", pem(made), key_pem(party.key))
        ((pair,),) = self.hosts()
        self.assertEqual((pair.open_end, pair.source), (made, path))

    def test_self_signed(self) -> None:
        """A host whose certificate has signed itself is one, also where it says that it is an authority."""
        for number, ca in enumerate((False, True)):
            party = Party(f"{number}.example")
            made = party.certified(names=[f"{number}.example"], ca=ca)
            self.write(f"{number}.pem", pem(made), key_pem(party.key))
            self.assertIn([(made,)], self.served())

    def test_cross_signed(self) -> None:
        """Authorities that have signed each other in circles end no walk and no chain."""
        left, right = Party("Left"), Party("Right")
        of_right = right.certified(ca=True)
        left_by_right = left.certified(right, ca=True)
        party = Party("a.example")
        made = party.certified(left, names=["a.example"])
        for name, each in (("1", left.certified(ca=True)), ("2", right.certified(left, ca=True)), ("3", of_right),
                           ("4", left_by_right), ("5", made)):  # fmt: skip
            self.write(name, pem(each))
        self.write("6", key_pem(party.key))
        self.assertEqual(self.served(), [[(made, left_by_right)]])

    def test_authority_with_its_key(self) -> None:
        """
        An authority whose key lies in the folder too is no host: neither one that has issued others here, nor one
        that has no host's name.
        """
        party, made = self.host("a.example")
        named = Party("ca.example")
        host = Party("b.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        self.write("ca.pem", pem(self.middle), key_pem(self.authority.key))
        self.write("named.pem", pem(named.certified(names=["ca.example"], ca=True)), key_pem(named.key))
        self.write("b.pem", pem(of_b := host.certified(named, names=["b.example"])), key_pem(host.key))
        alone = Party("Root of others")
        self.write("alone.pem", pem(alone.certified(ca=True)), key_pem(alone.key))
        self.assertEqual(self.served(), [[(made, self.middle)], [(of_b,)]])
        self.assertEqual(self.notes, ())


class NeighbourTests(FolderTests):
    """What else lies in folders."""

    def test_other_files(self) -> None:
        """Files that are none of ours are left alone: text, DER, requests, lists, parameters, keys of nobody."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        request = x509.CertificateSigningRequestBuilder(party.name).sign(party.key, SHA256())
        for name, content in (
            ("README", b"Keys. -- The management\n---\n"), ("empty", b""), ("a.der", made.public_bytes(Encoding.DER)),
            ("a.csr", request.public_bytes(Encoding.PEM)), ("a.crl", pem(self.authority.revoking(1))),
            ("a.crl.der", self.authority.revoking(1).public_bytes(Encoding.DER)), ("zeros", bytes(5000)),
            ("dh.pem", b"-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"),
            ("old.key", key_pem(Party("old").key)), (".hidden.pem", pem(made)[:50]),
        ):  # fmt: skip
            self.write(name, content)
        self.assertEqual(self.served(), [[(made,)]])
        self.assertEqual(self.notes, ())

    def test_staple(self) -> None:
        """The response beside a certificate's file is sent with it."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        self.write("a.pem.ocsp", good := self.authority.answering(made))
        ((pair,),) = self.hosts()
        self.assertEqual(pair.staple, good)

    def test_forgotten_key(self) -> None:
        """A certificate without its key is not served, and the operator is told, once; an authority needs none."""
        party, made = self.host("a.example")
        _, forgotten = self.host("b.example")
        self.write("a.pem", pem(made, self.middle), key_pem(party.key))
        self.write("b.pem", pem(forgotten, self.of_root))
        self.write("c.pem", pem(forgotten))
        self.assertEqual(self.served(), [[(made, self.middle)]])
        self.assertEqual(
            self.notes,
            ("DIR/b.pem: no private key in the folder fits the certificate CN=b.example: it is not served",),
        )

    def test_no_name(self) -> None:
        """So is one that no client can ask for by a name."""
        party, made = self.host("a.example")
        nobody = Party("John Doe")
        self.write("a.pem", pem(made), key_pem(party.key))
        self.write("b.pem", pem(nobody.certified(self.authority)), key_pem(nobody.key))
        self.assertEqual(self.served(), [[(made,)]])
        self.assertEqual(
            self.notes, ("DIR/b.pem: the certificate has no name that a client could ask for: it is not served",)
        )

    def test_changes(self) -> None:
        """A file that comes, goes or is another is a change; what was read and is as it was is none."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        reader = files()
        self.hosts(reader=reader)
        reader.forget()
        self.assertFalse(reader.changed())
        self.write("b.pem", b"")
        self.assertTrue(reader.changed())
        os.unlink(self.folder / "b.pem")
        self.assertFalse(reader.changed())
        self.write("a.pem", key_pem(party.key))
        self.assertTrue(reader.changed())


class RefusalTests(FolderTests):
    """Folders that do not do."""

    def test_nothing_in_it(self) -> None:
        """No folder, an empty one, one without a pair that has a name."""
        self.refused("hosts=DIR/none: no such file", "none")
        self.refused("hosts=DIR/README: cannot be read: Not a directory", os.path.basename(self.write("README")))
        line = "hosts=DIR: there is no certificate with its private key and a name in this folder"
        self.refused(line)
        root = Party("Root of us")
        self.write("ca.pem", pem(root.certified(ca=True)), key_pem(root.key))
        self.refused(line)
        self.write("a.pem", pem(self.host("a.example")[1]))
        self.refused(line)

    def test_unreadable(self) -> None:
        """A file or folder in it that cannot be read is an error: its hosts would be missing."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        reader = files()

        def refuse(path: str) -> bytes:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        for what in ("read", "entries"):
            reader = files()
            self.patch(reader, what, refuse)
            with self.assertRaisesRegex(ConfigurationError, r"^hosts=.*: cannot be read: Permission denied$"):
                pairs_in(HostSettings(), str(self.folder), reader)

    def test_wrong_files(self) -> None:
        """A file that is cut, a key of no server, a locked key: errors that name the file."""
        party, made = self.host("a.example")
        self.write("a.pem", pem(made), key_pem(party.key))
        for content, trouble in (
            (
                pem(made)[:90],
                "a CERTIFICATE block in it lacks its beginning or its end: it is cut off, or still being written",
            ),
            (
                key_pem(dsa_key()),
                "a private key in it cannot be used: TLS servers have no keys of the kind DSA; "
                "expected RSA, EC, Ed25519 or Ed448",
            ),
            (
                key_pem(party.key, b"open"),
                "it is encrypted, and nobody is asked for its password: write it into a file and say password-file "
                "(passwordFile in an endpoint string), or set the environment variable MYTLS_PASSWORD",
            ),
        ):
            path = self.write("b.pem", content)
            self.refused(f"hosts=DIR/b.pem: {trouble}")
            os.unlink(path)


class ManyTests(FolderTests):
    """A large folder."""

    def test_many(self) -> None:
        """Five hundred hosts of one authority, each with the whole chain in its file: all are found, in their order."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.authority.key = key
        made = []
        for number in range(500):
            party, certificate = self.host(f"{number:03}.example")
            self.write(f"{number:03}.pem", pem(certificate, self.middle, self.of_root), key_pem(party.key))
            made.append([(certificate,)])
        self.assertEqual(self.served(), made)
