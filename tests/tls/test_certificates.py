"""Files in; certificate, key and chain out."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID

from mytls.errors import ConfigurationError
from mytls.peer import serial_text
from mytls.settings import HostSettings
from mytls.tls import advice
from mytls.tls.certificates import KeyPair, key_pairs
from mytls.tls.chains import spki
from mytls.tls.files import Files, read
from mytls.tls.ssldict import as_ssl_dict
from mytls.tls.trust import client_trust
from tests.tls.issuing import DAY, NOW, IssuingTests, Party, dsa_key, files, key_pem, pem, rsa_key, write

WROTE = {
    "private-key": "privateKey",
    "certificate": "certKey",
    "extra-cert-chain": "extraCertChain",
    "password-file": "passwordFile",
    "client-ca": "clientCA",
}


class PairTests(IssuingTests):
    """A root, an authority below it, a host's certificate with an EC key and one with an RSA key."""

    def setUp(self) -> None:
        super().setUp()
        self.host, self.rsa = Party("host.example"), Party("host.example", rsa_key())
        self.leaf = self.host.certified(self.authority, names=["host.example"])
        self.rsa_leaf = self.rsa.certified(self.authority, names=["host.example"])
        self.key, self.rsa_key = key_pem(self.host.key), key_pem(rsa_key())

    def pairs(self, reader: Files | None = None, **said: Any) -> tuple[KeyPair, ...]:
        """The pairs of these settings; texts and tuples of texts are paths in the folder."""
        values: dict[str, Any] = {
            key: tuple(str(self.folder / each) for each in value) if isinstance(value, tuple) else value
            for key, value in said.items()
        }
        settings, reading = HostSettings(**values, wrote=WROTE), reader or files()
        return key_pairs(settings, reading, client_trust(settings, reading))

    def pair(self, **said: Any) -> KeyPair:
        """The one pair of these settings."""
        (one,) = self.pairs(**said)
        return one

    def whole(self, *content: bytes) -> KeyPair:
        """The one pair of a file with this content."""
        return self.pair(certificate=(Path(self.write("all.pem", *content)).name,))

    def served(self, pair: KeyPair) -> tuple[x509.Certificate, ...]:
        """What a client gets; the key fits the first."""
        self.assertEqual(spki(pair.key.public_key()), spki(pair.certificate.public_key()))
        return (pair.certificate, *pair.chain)

    def plain(self, text: str) -> str:
        """A text without the folder's path."""
        return text.replace(str(self.folder), "DIR")

    def refused(self, line: str, **said: Any) -> None:
        """Assert that these settings are refused with this one line."""
        with self.assertRaises(ConfigurationError) as caught:
            self.pairs(**said)
        self.assertEqual(self.plain(str(caught.exception)), line)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)


class PlaceTests(PairTests):
    """Where key, certificate and chain may be."""

    def test_apart(self) -> None:
        """The key in a file of its own, the certificate with its chain or without."""
        self.write("a.key", self.key)
        self.write("leaf.pem", pem(self.leaf))
        self.write("chain.pem", pem(self.leaf, self.middle))
        self.assertEqual(self.served(self.pair(private_key=("a.key",), certificate=("leaf.pem",))), (self.leaf,))
        pair = self.pair(private_key=("a.key",), certificate=("chain.pem",))
        self.assertEqual(self.served(pair), (self.leaf, self.middle))
        self.assertEqual(self.plain(pair.source), "DIR/chain.pem")

    def test_one_file(self) -> None:
        """All in one, in any order, with words between, named as certificate, as key, or as both."""
        for content in (
            (self.key, pem(self.leaf, self.middle)),
            (b"subject: me\r\n", pem(self.middle, self.leaf), b"\n# the key\n", self.key),
        ):
            self.write("all.pem", *content)
            for said in ({"certificate": ("all.pem",)}, {"private_key": ("all.pem",)},
                         {"certificate": ("all.pem",), "private_key": ("all.pem",)}):  # fmt: skip
                self.assertEqual(self.served(self.pair(**said)), (self.leaf, self.middle))

    def test_chain_in_its_own_file(self) -> None:
        """Certificate and chain in two files, as certbot makes them, and the key in a third of the same list."""
        self.write("cert.pem", pem(self.leaf))
        self.write("chain.pem", pem(self.middle))
        self.write("privkey.pem", self.key)
        pair = self.pair(certificate=("chain.pem", "cert.pem"), private_key=("privkey.pem",))
        self.assertEqual(self.served(pair), (self.leaf, self.middle))
        self.assertEqual(self.plain(pair.source), "DIR/cert.pem")
        pair = self.pair(certificate=("chain.pem", "cert.pem", "privkey.pem"))
        self.assertEqual(self.served(pair), (self.leaf, self.middle))

    def test_fullest_file(self) -> None:
        """Where the certificate is in several files, the one with its chain is the one to name."""
        self.write("cert.pem", pem(self.leaf), self.key)
        self.write("fullchain.pem", pem(self.leaf, self.middle))
        self.assertEqual(self.plain(self.pair(certificate=("cert.pem", "fullchain.pem")).source), "DIR/fullchain.pem")

    def test_windows_line_ends(self) -> None:
        """A file that came from elsewhere is read too."""
        pair = self.whole((pem(self.leaf, self.middle) + self.key).replace(b"\n", b"\r\n"))
        self.assertEqual(self.served(pair), (self.leaf, self.middle))

    def test_pkcs12(self) -> None:
        """PKCS#12 as the only file, with a password and without; and for the key alone."""
        self.write("password", b"open sesame\n")
        password = str(self.folder / "password")
        for how in (NoEncryption(), BestAvailableEncryption(b"open sesame")):
            made = serialize_key_and_certificates(b"me", self.host.key, self.leaf, [self.middle], how)
            self.write("all.p12", made)
            pair = self.pair(certificate=("all.p12",), password_file=password)
            self.assertEqual(self.served(pair), (self.leaf, self.middle))
        self.write("leaf.pem", pem(self.leaf))
        pair = self.pair(private_key=("all.p12",), certificate=("leaf.pem",), password_file=password)
        self.assertEqual(self.served(pair), (self.leaf,))

    def test_encrypted_keys(self) -> None:
        """The password from a file, from a variable that is named, and from ours."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.write("all.pem", key_pem(self.host.key, b"open sesame", form), pem(self.leaf))
            os.environ["OTHER"] = "open sesame"
            os.environ.pop("MYTLS_PASSWORD", None)
            for said in (self.write("password", b"open sesame\n"), "env:OTHER"):
                self.assertEqual(self.served(self.pair(certificate=("all.pem",), password_file=said)), (self.leaf,))
            os.environ["MYTLS_PASSWORD"] = "open sesame"
            self.assertEqual(self.served(self.pair(certificate=("all.pem",))), (self.leaf,))

    def test_key_that_is_not_asked_for(self) -> None:
        """An encrypted key beside the certificate needs no password, where the key is said to be elsewhere."""
        self.write("locked.pem", key_pem(self.host.key, b"open sesame"), pem(self.leaf))
        self.write("a.key", self.key)
        self.assertEqual(self.served(self.pair(private_key=("a.key",), certificate=("locked.pem",))), (self.leaf,))

    def test_every_file_once(self) -> None:
        """A file that several keys name is read once, and all that is read is looked at for changes."""
        reader = files()
        path = self.write("all.pem", self.key, pem(self.leaf))
        extra = self.write("extra.pem", pem(self.middle))
        password = self.write("password", b"unused")
        self.pairs(
            reader,
            certificate=("all.pem",),
            private_key=("all.pem",),
            extra_cert_chain=("extra.pem",),
            password_file=password,
        )
        for each in (path, extra, password):
            self.assertFalse(reader.changed())
            before = Path(each).read_bytes()
            write(Path(each), b"changed")
            self.assertTrue(reader.changed(), each)
            write(Path(each), before)

    def test_read_for_others(self) -> None:
        """The door for other files of a host is here too."""
        self.assertEqual(read(HostSettings(), "dh-parameters", self.write("dh.pem", b"x"), files()), b"x")


class ChainTests(PairTests):
    """What is sent behind the certificate."""

    def test_in_order(self) -> None:
        """The path is sent in its order, a root that the user put there too, at the end."""
        for content in (pem(self.leaf, self.middle, self.of_root), pem(self.of_root, self.leaf, self.middle),
                        pem(self.middle, self.of_root, self.leaf)):  # fmt: skip
            self.assertEqual(self.served(self.whole(content, self.key)), (self.leaf, self.middle, self.of_root))

    def test_twice(self) -> None:
        """What stands twice in the file is sent once."""
        pair = self.whole(pem(self.leaf, self.leaf, self.middle, self.middle), self.key, self.key)
        self.assertEqual(self.served(pair), (self.leaf, self.middle))

    def test_others(self) -> None:
        """What else the user put there follows in the file's order: cross-signed certificates, of whatever use."""
        other, cross = Party("Other").certified(ca=True), self.root.certified(Party("Old"), ca=True)
        pair = self.whole(pem(self.leaf, other, self.of_root, self.middle, cross), self.key)
        self.assertEqual(self.served(pair), (self.leaf, self.middle, cross, other, self.of_root))

    def test_extra_chain(self) -> None:
        """More certificates from files of their own are in the path, or behind it; the leaf is not sent twice."""
        other = Party("Other").certified(ca=True)
        self.write("all.pem", self.key, pem(self.leaf))
        self.write("extra.pem", pem(self.leaf, other, self.middle))
        pair = self.pair(certificate=("all.pem",), extra_cert_chain=("extra.pem",))
        self.assertEqual(self.served(pair), (self.leaf, self.middle, other))

    def test_self_signed(self) -> None:
        """A certificate that has signed itself is alone."""
        alone = self.host.certified()
        self.assertEqual(self.served(self.whole(self.key, pem(alone))), (alone,))


class SeveralTests(PairTests):
    """A pair for each kind of key."""

    def test_four_kinds(self) -> None:
        """RSA, EC, Ed25519 and Ed448, all in one file or each in its own, in the order of the certificates."""
        others = [Party("host.example", each.generate()) for each in (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)]
        parties = [self.host, self.rsa, *others]
        leaves = [each.certified(self.authority) for each in parties]
        keys = [key_pem(each.key) for each in reversed(parties)]
        self.write("all.pem", *keys, pem(*leaves, self.middle))
        pairs = self.pairs(certificate=("all.pem",))
        self.assertEqual([self.served(each) for each in pairs], [(leaf, self.middle) for leaf in leaves])
        names = [f"{number}.pem" for number in range(4)]
        for name, leaf, key in zip(names, leaves, reversed(keys), strict=True):
            self.write(name, key, pem(leaf, self.middle))
        pairs = self.pairs(certificate=tuple(names))
        self.assertEqual([self.served(each) for each in pairs], [(leaf, self.middle) for leaf in leaves])
        self.assertEqual([self.plain(each.source) for each in pairs], [f"DIR/{name}" for name in names])

    def test_each_its_chain(self) -> None:
        """Each gets its own chain, and nothing of the other's, in two files and in one."""
        other = Party("RSA Authority", rsa_key(1024))
        of_other = other.certified(self.root, ca=True)
        leaf = self.rsa.certified(other)
        expected = [(self.leaf, self.middle, self.of_root), (leaf, of_other, self.of_root)]
        self.write("ec.pem", self.key, pem(self.leaf, self.middle, self.of_root))
        self.write("rsa.pem", self.rsa_key, pem(leaf, of_other))
        pairs = self.pairs(certificate=("ec.pem", "rsa.pem"))
        self.assertEqual([self.served(each) for each in pairs], expected)
        pair = self.pairs(certificate=(Path(self.write("all.pem", self.key, pem(self.leaf, of_other, self.of_root, leaf,
                                                       self.middle), self.rsa_key)).name,))  # fmt: skip
        self.assertEqual([self.served(each) for each in pair], expected)

    def test_each_its_others(self) -> None:
        """What is in one's file besides its path goes with that one; what is in a file without either, with both."""
        for_ec, for_both, extra = (Party(name).certified(ca=True) for name in ("EC", "Both", "Extra"))
        self.write("ec.pem", self.key, pem(self.leaf, for_ec))
        self.write("rsa.pem", self.rsa_key, pem(self.rsa_leaf))
        self.write("both.pem", pem(for_both))
        self.write("extra.pem", pem(extra))
        first, second = self.pairs(certificate=("ec.pem", "rsa.pem", "both.pem"), extra_cert_chain=("extra.pem",))
        self.assertEqual(self.served(first), (self.leaf, for_ec, for_both, extra))
        self.assertEqual(self.served(second), (self.rsa_leaf, for_both, extra))

    def test_same_kind(self) -> None:
        """Two certificates with the same kind of key: both are named, whether the key is the same or not."""
        again = self.host.certified(self.authority, serial=0xABC)
        other = Party("host.example", ec.generate_private_key(ec.SECP384R1()))
        serial = serial_text(self.leaf.serial_number)
        self.write("one.pem", self.key, pem(self.leaf))
        for made, key in ((again, b""), (other.certified(self.authority, serial=0xABC), key_pem(other.key))):
            self.write("two.pem", key, pem(made))
            self.refused(
                "certKey=DIR/two.pem: the certificate CN=host.example (serial 0ABC) has an EC key, as the certificate "
                f"CN=host.example (serial {serial}) in DIR/one.pem; a host has one certificate for each kind of key, "
                "so leave one out",
                certificate=("one.pem", "two.pem"),
            )


class RefusalTests(PairTests):
    """Files that do not do."""

    def test_nothing_said(self) -> None:
        """Neither a certificate nor a key is named."""
        self.refused("certKey: missing; expected the file with the certificate and its chain")

    def test_missing(self) -> None:
        """A file that is not there is named with the key that names it."""
        self.write("a.key", self.key)
        self.write("a.pem", pem(self.leaf))
        both = {"private_key": ("a.key",), "certificate": ("a.pem",)}
        for key, word in (
            ("private_key", "privateKey"),
            ("certificate", "certKey"),
            ("extra_cert_chain", "extraCertChain"),
        ):
            self.refused(f"{word}=DIR/none: no such file", **{**both, key: ("none",)})
        self.refused("passwordFile=none: no such file", **both, password_file="none")

    def test_folder(self) -> None:
        """A folder is no file."""
        self.refused("certKey=DIR: cannot be read: Is a directory", certificate=("",))

    def test_no_key(self) -> None:
        """A certificate where a key is due, an empty file, DER."""
        self.write("a.pem", pem(self.leaf))
        der = self.host.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for content in (pem(self.leaf), b"", der):
            self.write("wrong", content)
            self.refused(
                "privateKey=DIR/wrong: there is no private key in it; expected PEM or PKCS#12",
                private_key=("wrong",),
                certificate=("a.pem",),
            )
        self.refused(
            "certKey=DIR/a.pem: there is no private key in it; say privateKey, or put the key into this file",
            certificate=("a.pem",),
        )
        self.refused(
            "privateKey=DIR/a.pem: there is no private key in it; expected PEM or PKCS#12", private_key=("a.pem",)
        )

    def test_no_certificate(self) -> None:
        """A key where a certificate is due, an empty file, DER."""
        self.write("a.key", self.key)
        for content in (self.key, b"", self.leaf.public_bytes(Encoding.DER)):
            self.write("wrong", content)
            self.refused(
                "certKey=DIR/wrong: there is no certificate in it; expected PEM or PKCS#12",
                private_key=("a.key",),
                certificate=("wrong",),
            )
            self.write("all.pem", self.key, pem(self.leaf))
            if content != self.key:
                self.refused(
                    "extraCertChain=DIR/wrong: there is no certificate in it; expected PEM",
                    certificate=("all.pem",),
                    extra_cert_chain=("wrong",),
                )
        self.refused(
            "privateKey=DIR/a.key: there is no certificate in it; expected PEM or PKCS#12", private_key=("a.key",)
        )

    def test_one_file_of_several(self) -> None:
        """A file that has nothing of what its key says is an error beside good ones too."""
        self.write("a.key", self.key)
        self.write("a.pem", pem(self.leaf))
        self.write("empty", b"")
        self.refused(
            "certKey=DIR/empty: there is no certificate in it; expected PEM or PKCS#12",
            private_key=("a.key",),
            certificate=("a.pem", "empty"),
        )
        self.refused(
            "certKey=DIR/empty: there is neither a certificate nor a private key in it",
            certificate=("a.pem", "a.key", "empty"),
        )

    def test_wrong_key(self) -> None:
        """A key that fits no certificate, of the same kind and of another; also beside one that fits."""
        self.write("a.pem", pem(self.leaf))
        for other in (Party("other").key, rsa_key(), ed25519.Ed25519PrivateKey.generate()):
            for content in ((key_pem(other),), (self.key, key_pem(other))):
                self.write("other.key", *content)
                self.refused(
                    "privateKey=DIR/other.key: the key does not fit the certificate in certKey=DIR/a.pem",
                    private_key=("other.key",),
                    certificate=("a.pem",),
                )
        self.write("all.pem", self.rsa_key, pem(self.leaf))
        self.refused(
            "certKey=DIR/all.pem: the key does not fit the certificate in certKey=DIR/all.pem", certificate=("all.pem",)
        )
        self.refused(
            "privateKey=DIR/all.pem: the key does not fit the certificate in privateKey=DIR/all.pem",
            private_key=("all.pem",),
        )

    def test_forgotten_key(self) -> None:
        """A certificate of a host whose key is in none of the files; an authority's needs none."""
        self.write("ec.pem", self.key, pem(self.leaf, self.middle))
        self.write("rsa.pem", pem(self.rsa_leaf, self.of_root))
        self.refused(
            "certKey=DIR/rsa.pem: no private key fits the certificate CN=host.example (serial "
            f"{serial_text(self.rsa_leaf.serial_number)}); add its key to privateKey",
            certificate=("ec.pem", "rsa.pem"),
        )

    def test_old_authority(self) -> None:
        """An authority of long ago that does not say that it is one is still on the path."""
        old = Party("Old Authority")
        own = old.certified()
        leaf = self.host.certified(old)
        self.assertEqual(self.served(self.whole(self.key, pem(leaf, own))), (leaf, own))

    def test_cut(self) -> None:
        """A file that is still being written."""
        self.write("a.key", self.key[:80])
        self.write("a.pem", pem(self.leaf))
        self.write("cut.pem", pem(self.leaf, self.middle)[:-40])
        trouble = "block in it lacks its beginning or its end: it is cut off, or still being written"
        self.refused(f"privateKey=DIR/a.key: a PRIVATE KEY {trouble}", private_key=("a.key",), certificate=("a.pem",))
        self.write("a.key", self.key)
        for key, said in (("certKey", "certificate"), ("extraCertChain", "extra_cert_chain")):
            both = {"private_key": ("a.key",), "certificate": ("a.pem",)}
            self.refused(f"{key}=DIR/cut.pem: a CERTIFICATE {trouble}", **{**both, said: ("cut.pem",)})

    def test_locked(self) -> None:
        """An encrypted key without a password: what to say. With a wrong one: where that came from."""
        made = serialize_key_and_certificates(
            b"me", self.host.key, self.leaf, None, BestAvailableEncryption(b"open sesame")
        )
        asked = (
            ", and nobody is asked for its password: write it into a file and say password-file (passwordFile in an "
            "endpoint string), or set the environment variable MYTLS_PASSWORD"
        )
        for content, how in (
            (key_pem(self.host.key, b"open sesame") + pem(self.leaf), "encrypted"),
            (made, "encrypted, or broken"),
        ):
            self.write("locked", content)
            os.environ.pop("MYTLS_PASSWORD", None)
            self.refused(f"certKey=DIR/locked: it is {how}{asked}", certificate=("locked",))
            wrong = self.write("password", b"alibaba\n")
            self.refused(
                "certKey=DIR/locked: it cannot be decrypted: the password of DIR/password is wrong, or it is broken",
                certificate=("locked",),
                password_file=wrong,
            )
            os.environ["MYTLS_PASSWORD"] = "alibaba"
            self.refused(
                "certKey=DIR/locked: it cannot be decrypted: the password of the environment variable MYTLS_PASSWORD "
                "is wrong, or it is broken",
                certificate=("locked",),
            )

    def test_key_of_no_server(self) -> None:
        """A DSA key."""
        self.write("dsa.pem", key_pem(dsa_key()), pem(Party("host.example", dsa_key()).certified()))
        self.refused(
            "certKey=DIR/dsa.pem: a private key in it cannot be used: TLS servers have no keys of the kind DSA; "
            "expected RSA, EC, Ed25519 or Ed448",
            certificate=("dsa.pem",),
        )

    def test_from_files(self) -> None:
        """The short door has the words of an endpoint string."""
        key, chain = self.write("a.key", self.key), self.write("a.pem", pem(self.leaf))
        extra = self.write("extra.pem", pem(self.middle))
        self.assertEqual(self.served(KeyPair.from_files(key, chain)), (self.leaf,))
        self.assertEqual(self.served(KeyPair.from_files(key, chain, extra)), (self.leaf, self.middle))
        for line, paths in (
            ("privateKey=none: no such file", ("none", chain)),
            ("certKey=none: no such file", (key, "none")),
            ("extraCertChain=none: no such file", (key, chain, "none")),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                KeyPair.from_files(*paths)
            self.assertEqual(str(caught.exception), line)


class ValueTests(PairTests):
    """What a pair tells."""

    def names(self, *extensions: x509.ExtensionType, common: str = "common.example", **how: Any) -> tuple[str, ...]:
        """The names of a certificate like this."""
        return KeyPair(self.host.key, Party(common).certified(None, *extensions, **how)).names

    def test_names(self) -> None:
        """The dNSNames, as clients spell them, each once; then the common name does not count."""
        names = ["A.Example", "a.example", "*.B.example", "xn--bcher-kva.example", "c.example."]
        self.assertEqual(self.names(names=names), ("a.example", "*.b.example", "xn--bcher-kva.example", "c.example"))

    def test_odd_names(self) -> None:
        """Names that no client can ask for are left out."""
        self.assertEqual(
            self.names(names=["a..b", "f*.example", "*", "a b", "ok.example", "", "192.0.2.1"]), ("ok.example",)
        )

    def test_common_name(self) -> None:
        """The common name, where there is no dNSName; if it can be a server's name."""
        self.assertEqual(self.names(common="Host.Example"), ("host.example",))
        address = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://x/y")])
        self.assertEqual(self.names(address), ("common.example",))
        for common in ("", "John Doe", "192.0.2.1"):
            self.assertEqual(self.names(common=common), ())

    def test_broken_extensions(self) -> None:
        """Extensions that do not parse have no names; the common name stays."""
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff")
        self.assertEqual(self.names(broken), ("common.example",))

    def test_digest(self) -> None:
        """It is the same for what clients cannot tell apart, and another for whatever they can."""
        pair = KeyPair(self.host.key, self.leaf, (self.middle,))
        same = KeyPair(self.host.key, self.leaf, (self.middle,), "elsewhere.pem", None, self.of_root, ("a note",))
        self.assertEqual(pair.digest, same.digest)
        others = [
            pair,
            KeyPair(self.host.key, self.leaf),
            KeyPair(self.host.key, self.leaf, (self.middle, self.of_root)),
            KeyPair(self.host.key, self.leaf, (self.of_root, self.middle)),
            KeyPair(self.host.key, self.middle, (self.leaf,)),
            KeyPair(self.rsa.key, self.leaf, (self.middle,)),
            KeyPair(self.host.key, self.leaf, (self.middle,), staple=b"good"),
        ]
        self.assertEqual(len({each.digest for each in others}), len(others))

    def test_secrets_are_not_shown(self) -> None:
        """A pair that is printed tells nothing of its key."""
        self.assertNotIn("PrivateKey", repr(self.whole(self.key, pem(self.leaf))))

    def test_staple(self) -> None:
        """Each pair has the response that is beside its file, or named for it."""
        good, rsa_good = self.authority.answering(self.leaf), self.authority.answering(self.rsa_leaf)
        self.write("ec.pem", self.key, pem(self.leaf))
        self.write("rsa.pem", self.rsa_key, pem(self.rsa_leaf))
        self.write("ec.pem.ocsp", good)
        self.write("named", rsa_good)
        both = ("ec.pem", "rsa.pem")
        self.assertEqual([each.staple for each in self.pairs(certificate=both)], [good, None])
        self.assertEqual([each.staple for each in self.pairs(certificate=both, ocsp=("named",))], [None, rsa_good])


class WarningTests(PairTests):
    """What an operator should do."""

    def warnings(self, pair: KeyPair, now: datetime.datetime = NOW) -> list[str]:
        """What is said of it."""
        ends = () if pair.open_end is None else ((pair.open_end, pair.source),)
        return [self.plain(each) for each in (*pair.warnings(now), *advice.of_chains(ends))]

    def test_nothing(self) -> None:
        """Nothing, where all is well: a chain to a root that is sent, or a certificate that has signed itself."""
        self.assertEqual(self.warnings(self.whole(self.key, pem(self.leaf, self.middle, self.of_root))), [])
        self.assertEqual(self.warnings(self.whole(self.key, pem(self.host.certified(names=["a.example"])))), [])
        self.assertEqual(self.warnings(KeyPair(self.host.key, self.leaf)), [])

    def test_dates(self) -> None:
        """The dates count at the time of asking, not of reading."""
        pair = self.whole(self.key, pem(self.leaf, self.middle, self.of_root))
        self.assertEqual(self.warnings(pair, NOW + 101 * DAY), ["the certificate expired on 2026-09-09: renew it"])
        self.assertEqual(
            self.warnings(pair, NOW + 90 * DAY), ["the certificate expires in 10 days, on 2026-09-09: renew it"]
        )

    def test_no_intermediate(self) -> None:
        """The chain ends too early: whose certificate is missing, and in which file."""
        line = (
            "DIR/all.pem: the issuer CN=Authority is not sent: if it is an intermediate, append its certificate; "
            "if it is the root, clients need it"
        )
        self.assertEqual(self.warnings(self.whole(self.key, pem(self.leaf))), [line])
        self.assertEqual(self.warnings(self.whole(self.key, pem(self.leaf, self.middle))), [])

    def test_root_at_hand(self) -> None:
        """A chain whose root is the system's, or among the client CAs, is whole."""
        leaf = self.host.certified(self.root, names=["host.example"])
        self.write("all.pem", self.key, pem(leaf))
        self.write("root.pem", pem(self.of_root))
        self.write("other.pem", pem(Party("Other").certified(ca=True)))
        line = (
            "DIR/all.pem: the issuer CN=Root is not sent: if it is an intermediate, append its certificate; "
            "if it is the root, clients need it"
        )
        self.assertEqual(self.warnings(self.pair(certificate=("all.pem",))), [line])
        for name, expected in (("root.pem", []), ("other.pem", [line])):
            pair = self.pair(certificate=("all.pem",), client_ca=(name,), client_auth="optional")
            self.assertEqual(self.warnings(pair), expected)
        self.patch(advice, "system_roots", lambda: frozenset([as_ssl_dict(self.of_root)["subject"]]))
        self.assertEqual(self.warnings(self.pair(certificate=("all.pem",))), [])

    def test_intermediate_as_client_authority(self) -> None:
        """A client CA that is no root does not make a chain whole."""
        self.write("all.pem", self.key, pem(self.leaf))
        self.write("middle.pem", pem(self.middle))
        pair = self.pair(certificate=("all.pem",), client_ca=("middle.pem",), client_auth="optional")
        self.assertEqual(len(self.warnings(pair)), 1)

    def test_what_follows_the_path(self) -> None:
        """What else is sent behind the path is not its end."""
        self.assertEqual(
            self.warnings(self.whole(self.key, pem(self.leaf, self.of_root))),
            [
                "DIR/all.pem: the issuer CN=Authority is not sent: if it is an intermediate, append its certificate; "
                "if it is the root, clients need it"
            ],
        )

    def test_readable_key(self) -> None:
        """The key's file is open to all; the certificate's may be."""
        self.write("a.key", self.key, mode=0o644)
        self.write("a.pem", pem(self.leaf, self.middle, self.of_root), mode=0o644)
        both = {"private_key": ("a.key",), "certificate": ("a.pem",)}
        self.assertEqual(
            self.warnings(self.pair(**both)),
            ["every user of this machine may read the private key: chmod o-r DIR/a.key"],
        )
        self.write("a.key", self.key, mode=0o640)
        self.assertEqual(self.warnings(self.pair(**both)), [])

    def test_weak(self) -> None:
        """A weak key."""
        weak = Party("host.example", rsa_key(1024))
        self.assertEqual(
            self.warnings(self.whole(key_pem(weak.key), pem(weak.certified(names=["a.example"])))),
            ["the key is weak, RSA with 1024 bits: make one with 2048 bits or more, or EC P-256"],
        )

    def test_no_name(self) -> None:
        """A certificate for nobody; an address is a name."""
        nobody = Party("John Doe", self.host.key)
        line = "the certificate has no name that a client could ask for: make one with a dNSName"
        self.assertEqual(self.warnings(self.whole(self.key, pem(nobody.certified()))), [line])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
        self.assertEqual(self.warnings(self.whole(self.key, pem(nobody.certified(None, address)))), [])

    def test_common_name_alone(self) -> None:
        """A name that old clients alone look at."""
        line = "the certificate's name is in its CN, and clients look at subjectAltName alone: renew it"
        self.assertEqual(self.warnings(self.whole(self.key, pem(self.host.certified()))), [line])

    def test_purpose(self) -> None:
        """A certificate for clients alone; one for anything, or without a word of it, is for servers too."""
        line = (
            "the certificate is not for servers, so clients refuse it: get one with the extended key usage serverAuth"
        )
        of, names = ExtendedKeyUsageOID, ["a.example"]
        for usage, expected in (
            ((of.CLIENT_AUTH,), [line]),
            ((of.CLIENT_AUTH, of.SERVER_AUTH), []),
            ((of.ANY_EXTENDED_KEY_USAGE,), []),
        ):
            made = self.host.certified(None, x509.ExtendedKeyUsage(usage), names=names)
            self.assertEqual(self.warnings(self.whole(self.key, pem(made))), expected)

    def test_staple(self) -> None:
        """A response that is not sent."""
        self.write("all.pem.ocsp", b"nothing")
        self.assertEqual(
            self.warnings(self.whole(self.key, pem(self.leaf, self.middle, self.of_root))),
            ["DIR/all.pem.ocsp is not sent: not an OCSP response; expected DER"],
        )

    def test_one_line(self) -> None:
        """A file's name with a newline in it makes no second line."""
        pair = self.pair(certificate=(Path(self.write("a\nb.pem", self.key, pem(self.leaf), mode=0o644)).name,))
        for each in pair.warnings(NOW):
            self.assertEqual(len(each.splitlines()), 1)
            self.assertIn("a\\x0ab.pem", each)
