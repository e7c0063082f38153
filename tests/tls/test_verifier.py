"""Who verifies clients: who is let in, in a first handshake and in one that resumes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

import mytls.tls.refusals
import mytls.tls.verifier
from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.hosts import Host
from mytls.keys import HOST_KEYS
from mytls.peer import Identity
from mytls.settings import HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import host_options
from mytls.tls.refusals import MAX_CERTIFICATE, MAX_SENT, MAX_SENT_BYTES
from mytls.tls.trust import MAX_NAMES, ClientTrust
from mytls.tls.verifier import Vouch
from tests.files import folder
from tests.tls.authority import CLIENT, DAY, NOW, SERVER, Authority, ec_key
from tests.tls.clients import VERSIONS, Visit, client, host_for, set_time, trusting, verifier_of
from tests.tls.issuing import write
from tests.tls.trust_domains import issued, svid

_MOST = MAX_CERTIFICATE["client"]


def pin(pair: KeyPair) -> str:
    """The rule for this key."""
    return f"spki=sha256:{Identity.of(pair.certificate).pin('sha256')}"


def self_made(name: str = "friend", *more: x509.ExtensionType, since: Any = -DAY, until: Any = DAY) -> KeyPair:
    """A certificate that its owner has signed."""
    maker = Authority(name)
    return KeyPair(maker.key, maker._sign(maker.name, maker.key, *more, since=since, until=until))


def narrowed(authority: Authority) -> Authority:
    """A CA that may issue for other names alone (RFC 5280 section 4.2.1.10)."""
    constraints = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)
    basic = x509.BasicConstraints(ca=True, path_length=None)
    authority.certificate = authority._sign(authority.name, authority.key, basic, constraints)
    return authority


def of_version(certificate: x509.Certificate, key: Any, version: int) -> bytes:
    """The same certificate, with another version, signed with this key."""
    signed = certificate.tbs_certificate_bytes.replace(b"\xa0\x03\x02\x01\x02", bytes((0xA0, 3, 2, 1, version)), 1)
    signature: bytes = b"\0" + key.sign(signed, ECDSA(SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    body = signed + ecdsa_with_sha256 + bytes((3, len(signature))) + signature
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def refused_now(host: Host, pair: KeyPair) -> TLSFailure | None:
    """Why who has shown this before may not go on, or None."""
    try:
        between = [X509.from_cryptography(each) for each in pair.chain]
        verifier_of(host).check(X509.from_cryptography(pair.certificate), between)
    except TLSFailure as refusal:
        return refusal
    return None


class ClientAuthTests(SynchronousTestCase):
    """`client-auth`: who is let in."""

    def setUp(self) -> None:
        self.root = Authority("Root")
        self.between = Authority("Between", self.root)

    def enters(self, host: Host, pair: KeyPair | None, version: int) -> bool:
        """Whether the handler meets this client."""
        return Visit(host, client(pair, version)).enters

    def test_required(self) -> None:
        """Who has a certificate of the CA's enters, and nobody else."""
        for version in VERSIONS:
            host = host_for(trusting(self.root))
            self.assertTrue(self.enters(host, self.root.client(), version))
            self.assertTrue(self.enters(host, self.between.client(), version))
            self.assertFalse(self.enters(host, None, version))
            self.assertFalse(self.enters(host, Authority("Root").client(), version))

    def test_optional(self) -> None:
        """Who has none enters too; a wrong one is no better for that."""
        for version in VERSIONS:
            host = host_for(trusting(self.root), client_auth="optional")
            self.assertTrue(self.enters(host, self.root.client(), version))
            self.assertTrue(self.enters(host, None, version))
            self.assertFalse(self.enters(host, Authority("Root").client(), version))

    def test_off(self) -> None:
        """No certificate is asked for, and none is looked at."""
        for version in VERSIONS:
            host = host_for(trusting(self.root), client_auth="off")
            visit = Visit(host, client(Authority("Root").client(), version))
            assert visit.peer is not None
            self.assertEqual((visit.peer.certificate, visit.peer.chain), (None, ()))
            self.assertEqual(named(visit.client), [])

    def test_no_authority(self) -> None:
        """Nobody to verify with is an error, and never a host that lets everybody in."""
        for client_auth in ("required", "optional"):
            for nobody in (None, trusting()):
                for rules in ((), ("all",), (pin(self_made()), "cn=friend")):
                    with self.assertRaisesRegex(ConfigurationError, f"^client-auth={client_auth}: no CA to verify"):
                        host_for(nobody, client_auth=client_auth, allow=rules)

    def test_mode(self) -> None:
        """The context says itself that it verifies; one that does not is never given out."""
        for client_auth, mode in (
            ("required", SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT),
            ("optional", SSL.VERIFY_PEER),
        ):
            options = host_for(trusting(self.root), client_auth=client_auth).options
            assert options is not None
            self.assertEqual(options.getContext().get_verify_mode(), mode)
        self.patch(SSL.Context, "set_verify", lambda *arguments: None)
        self.assertRaises(RuntimeError, host_for, trusting(self.root))

    def test_authorities_are_named(self) -> None:
        """The client is told which CAs are meant, so that it can choose."""
        for version in VERSIONS:
            host = host_for(trusting(self.root, self.between), client_auth="optional")
            visit = Visit(host, client(None, version))
            self.assertEqual(named(visit.client), ["Root", "Between"])

    def test_intermediate_alone(self) -> None:
        """A CA is trusted by itself, without its root: for what it has issued, and nothing else of the root's."""
        root = self.root.certificate
        for version in VERSIONS:
            host = host_for(trusting(self.between))
            friend = self.between.client()
            for sent_too in ((), friend.chain, (*friend.chain, root)):
                self.assertTrue(self.enters(host, attrs.evolve(friend, chain=sent_too), version), len(sent_too))
            for stranger in (self.root.client(), Authority("Another", self.root).client()):
                self.assertFalse(self.enters(host, attrs.evolve(stranger, chain=(*stranger.chain, root)), version))

    def test_usage(self) -> None:
        """A certificate without extended key usages is for everything, so for clients too."""
        for version in VERSIONS:
            for usages in ((), (CLIENT,), (SERVER, CLIENT)):
                self.assertTrue(self.enters(host_for(trusting(self.root)), self.root.client(usages=usages), version))

    def test_chain(self) -> None:
        """What is known of a client has its verified chain, its own certificate first and the trusted CA last."""
        friend = self.between.client()
        expected = (friend.certificate, self.between.certificate, self.root.certificate)
        for version in VERSIONS:
            host = host_for(trusting(self.root))
            context = client(friend, version)
            first = Visit(host, context)
            for visit in (first, Visit(host, context, first)):
                assert visit.peer is not None
                self.assertEqual(visit.peer.chain, expected)
            self.assertTrue(visit.resumed)


class RevocationTests(SynchronousTestCase):
    """`crl`, and what `stale-crl` makes of a list that is old."""

    def setUp(self) -> None:
        self.root = Authority("Root", until=9 * DAY)
        self.between = Authority("Between", self.root, until=9 * DAY)

    def enters(self, host: Host, pair: KeyPair) -> bool:
        """Whether the handler meets this client, in either version."""
        (found,) = {Visit(host, client(pair, version)).enters for version in VERSIONS}
        return found

    def test_revocation(self) -> None:
        """Who is not on the list of his CA enters."""
        alone = trusting(self.between, revocations=[self.between.revoking()])
        self.assertTrue(self.enters(host_for(alone), self.between.client()))
        revoked = self.root.client("foe").certificate
        for revocations in (
            (self.root.revoking(revoked),),
            (self.root.revoking(revoked), self.between.revoking(revoked)),
            (self.between.revoking(revoked),),
        ):
            host = host_for(trusting(self.root, self.between, revocations=revocations))
            issuer = self.root if len(revocations) == 2 or revocations[0].issuer == self.root.name else self.between
            self.assertTrue(self.enters(host, issuer.client()))

    def test_lists_of_all(self) -> None:
        """Where each CA above has a list too, all are looked at, whatever other authorities have."""
        lists = self.root.revoking(), self.between.revoking()
        revoked = self.root.revoking(self.between.certificate), self.between.revoking()
        for more in ((), (Authority("Other"),)):
            for revocations, good in ((lists, True), (revoked, False)):
                for stale_crl in ("refuse", "accept"):
                    trust = trusting(self.root, self.between, *more, revocations=revocations)
                    self.assertIs(self.enters(host_for(trust, stale_crl=stale_crl), self.between.client()), good)

    def test_revoked_authority(self) -> None:
        """An authority that is revoked, or is below one, vouches for nobody, whatever other authorities have."""
        below = Authority("Below", self.between)
        lonely = Authority("Lonely", Authority("Elsewhere"))
        lists = [each.revoking() for each in (self.between, below, lonely)]
        revoked = [self.root.revoking(self.between.certificate), *lists]
        for issuer in (self.between, below, lonely):
            for revocations, good in ((lists, True), (revoked, issuer is lonely)):
                trust = trusting(self.root, self.between, below, lonely, revocations=revocations)
                self.assertIs(self.enters(host_for(trust), issuer.client()), good, issuer.name)

    def test_newer_list_that_has_ended(self) -> None:
        """
        Who is on the newest list stays out also when that has ended, whatever older one is still good; who is not on it
        enters with `accept` alone, as without the older.
        """
        friend, foe = self.root.client(), self.root.client("foe")
        old = self.root.revoking(since=-8 * DAY, until=8 * DAY)
        ended = self.root.revoking(foe.certificate, since=-2 * DAY, until=-DAY / 2)
        for lists in ((old, ended), (ended, old)):
            for stale_crl, good in (("accept", True), ("refuse", False)):
                host = self.stale(*lists, stale_crl=stale_crl)
                self.assertFalse(self.enters(host, foe))
                self.assertIs(self.enters(host, friend), good)
                for pair, may in ((foe, False), (friend, good)):
                    self.assertIs(refused_now(host, pair) is None, may)

    def test_list_that_ends(self) -> None:
        """So it is for a list that ends while it is in use, in a handshake and where a session is resumed."""
        foe = self.root.client("foe", until=9 * DAY)
        old = self.root.revoking(since=-8 * DAY, until=8 * DAY)
        host = self.stale(old, self.root.revoking(foe.certificate, until=DAY), stale_crl="refuse")
        for moment in (NOW, NOW + 2 * DAY):
            set_time(host, moment)
            self.assertFalse(self.enters(host, foe))
            self.assertIs(getattr(refused_now(host, foe), "cause", None), Cause.REVOKED)

    def test_issuer_in_another_spelling(self) -> None:
        """A CA that is revoked vouches for nobody, however its certificate spells the name of its own issuer."""
        other = Authority("Elsewhere")
        for spelling in ("ROOT", "Root", " root"):
            root = Authority("Root")
            root.name, name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spelling)]), root.name
            between = Authority("Between", root)
            root.name = name
            pair = between.client()
            for more in ((), (Authority("Lonely", other),)):
                lists = [each.revoking() for each in (between, *more)]
                for revoked, good in (((), True), ((between.certificate,), False)):
                    trust = trusting(root, between, *more, revocations=[root.revoking(*revoked), *lists])
                    self.assertIs(self.enters(host_for(trust), pair), good, (spelling, more, good))

    def test_delta(self) -> None:
        """A delta of a list, which OpenSSL would pass over, is refused."""
        builder = x509.CertificateRevocationListBuilder(self.root.name, NOW - DAY, NOW + DAY)
        delta = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True).sign(self.root.key, SHA256())
        clients = trusting(self.root, revocations=[self.root.revoking(), delta], paths=("a.crl", "b.crl"))
        for stale_crl in ("refuse", "accept"):
            with self.assertRaisesRegex(ConfigurationError, "^crl=b.crl: a delta of a revocation list, which is not"):
                host_for(clients, stale_crl=stale_crl)

    def stale(self, *lists: x509.CertificateRevocationList, **said: Any) -> Host:
        """A host that goes by old lists."""
        return host_for(trusting(self.root, self.between, revocations=lists), **{"stale_crl": "accept", **said})

    def test_stale(self) -> None:
        """With `accept` who is on no list enters, however old it is; with `refuse`, which is the default, nobody."""
        old, older = self.root.revoking(until=-DAY / 2), self.between.revoking(until=-DAY / 2)
        for lists, friend in (
            ((old,), self.root.client()),
            ((older,), self.between.client()),
            ((old, older), self.between.client()),
        ):
            self.assertTrue(self.enters(self.stale(*lists), friend))
            self.assertIsNone(refused_now(self.stale(*lists), friend))
            self.assertFalse(self.enters(self.stale(*lists, stale_crl="refuse"), friend))

    def test_revoked_by_a_stale_list(self) -> None:
        """Who is on the list stays out; so does a client of a CA that is, and now too who has entered before."""
        friend, below = self.root.client(), self.between.client()
        for lists, pair in (
            ((self.root.revoking(friend.certificate, until=-DAY / 2),), friend),
            ((self.between.revoking(below.certificate, until=-DAY / 2),), below),
            (
                (
                    self.root.revoking(self.between.certificate, until=-DAY / 2),
                    self.between.revoking(until=-DAY / 2),
                ),
                below,
            ),
        ):
            host = self.stale(*lists)
            for version in VERSIONS:
                visit = Visit(host, client(pair, version))
                self.assertEqual((visit.failed.cause, visit.alert), (Cause.REVOKED, "certificate revoked"))
            self.assertIs(getattr(refused_now(host, pair), "cause", None), Cause.REVOKED)

    def test_stale_and_no_list(self) -> None:
        """Who has no list of his CA's at all, or one of tomorrow's, stays out."""
        friend = self.root.client()
        for lists, words in (
            ((self.root.revoking(since=DAY / 2, until=DAY),), "list is not valid yet"),
            ((self.between.revoking(until=-DAY / 2),), "there is no revocation list of its issuer's"),
        ):
            host = self.stale(*lists)
            for version in VERSIONS:
                failed = Visit(host, client(friend, version)).failed
                self.assertIs(failed.cause, Cause.REVOKED)
                self.assertIn(words, failed.detail)
            self.assertIn(words, str(refused_now(host, friend)))

    def test_stale_and_expired(self) -> None:
        """An old list makes no certificate younger, nor a CA."""
        late = self.root.client(until=-DAY / 2)
        early = self.root.client(since=DAY / 2)
        old = Authority("Old", self.root, until=-DAY / 2)
        lists = [each.revoking(until=-DAY / 2) for each in (self.root, old)]
        host = self.stale(*lists)
        for pair, cause in (
            (late, Cause.EXPIRED),
            (early, Cause.NOT_YET_VALID),
            (old.client(), Cause.EXPIRED),
            (Authority("Root").client(), Cause.UNKNOWN_CA),
        ):
            for version in VERSIONS:
                self.assertIs(Visit(host, client(pair, version)).failed.cause, cause)
        self.assertIs(getattr(refused_now(self.stale(lists[0]), late), "cause", None), Cause.EXPIRED)
        below = Authority("Below", old)
        authorities = (old, below, self.root)
        lists = [each.revoking(until=-DAY / 2) for each in authorities]
        host = host_for(trusting(*authorities, revocations=lists), stale_crl="accept")
        self.assertIs(Visit(host, client(below.client())).failed.cause, Cause.EXPIRED)
        self.assertIs(getattr(refused_now(host, below.client()), "cause", None), Cause.EXPIRED)

    def test_stale_and_resumed(self) -> None:
        """A list that grows old ends no session with `accept`, and the chain is the same; with `refuse` it does."""
        for friend, lists in (
            (self.root.client(), [self.root.revoking()]),
            (self.between.client(), [self.between.revoking()]),
            (self.between.client(), [self.root.revoking(), self.between.revoking()]),
        ):
            for version in VERSIONS:
                for stale_crl, cause in (("accept", None), ("refuse", Cause.REVOKED)):
                    host, context = self.stale(*lists, stale_crl=stale_crl), client(friend, version)
                    first = Visit(host, context)
                    set_time(host, NOW + 2 * DAY)
                    again = Visit(host, context, first)
                    self.assertTrue(again.resumed)
                    self.assertIs(getattr(again.events[-1], "cause", None), cause)
                    if cause is None:
                        assert first.peer is not None
                        assert again.peer is not None
                        self.assertEqual(again.peer.chain, first.peer.chain)


class PinTests(SynchronousTestCase):
    """Clients that are known by their keys alone, without a CA (RFC 7858 section 4.2)."""

    def pinned(self, *pairs: KeyPair, **said: Any) -> Host:
        """A host that knows these keys."""
        return host_for(trusting(), allow=tuple(pin(each) for each in pairs), **said)

    def causes(self, host: Host, pair: KeyPair | None) -> Cause | None:
        """Why this client is refused in either version; None where it enters, and then again with its session."""
        told = set()
        for version in VERSIONS:
            context = client(pair, version)
            visit = Visit(host, context)
            told.add(None if visit.enters else visit.failed.cause)
            if visit.enters:
                again = Visit(host, context, visit)
                self.assertEqual((again.enters, again.resumed), (True, True))
                assert pair is not None
                for peer in (visit.peer, again.peer):
                    assert peer is not None
                    self.assertEqual(peer.chain, (pair.certificate,))
        (one,) = told
        return one

    def test_self_made(self) -> None:
        """Who has the key of a pin enters, whether it may issue certificates or not; another of the name does not."""
        friend = Authority("Elsewhere").client()
        of_a_ca = self_made("ca", x509.BasicConstraints(ca=True, path_length=None))
        for client_auth in ("required", "optional"):
            host = self.pinned(friend, of_a_ca, client_auth=client_auth)
            self.assertIsNone(self.causes(host, friend))
            self.assertIsNone(self.causes(host, of_a_ca))
            self.assertIs(self.causes(host, self_made()), Cause.NOT_ALLOWED)
            self.assertIs(self.causes(host, Authority("Elsewhere").client()), Cause.NOT_ALLOWED)
        self.assertIs(self.causes(self.pinned(friend), None), Cause.NO_CERTIFICATE)
        self.assertTrue(Visit(self.pinned(friend, client_auth="optional"), client(None)).enters)

    def test_another_certificate_of_the_key(self) -> None:
        """The key is meant, not the certificate: a renewed one enters."""
        key = ec_key()
        first, second = Authority("A").client(key=key), Authority("B").client("other", key=key)
        self.assertIsNone(self.causes(self.pinned(first), second))

    def test_time_and_usage(self) -> None:
        """Out of its time, or for servers alone, a key that is known does not enter either."""
        for how, cause in (
            ({"until": -DAY / 2}, Cause.EXPIRED),
            ({"since": DAY / 2}, Cause.NOT_YET_VALID),
            ({"usages": (SERVER,)}, Cause.WRONG_USAGE),
        ):
            pair = Authority("Elsewhere").client(**how)
            self.assertIs(self.causes(self.pinned(pair), pair), cause)
            self.assertIs(self.causes(self.pinned(pair, self_made()), pair), cause)
        out_of_time: tuple[dict[str, Any], ...] = ({"until": -DAY / 2}, {"since": DAY / 2})
        for each, cause in zip(out_of_time, (Cause.EXPIRED, Cause.NOT_YET_VALID), strict=True):
            pair = self_made(**each)
            self.assertIs(self.causes(self.pinned(pair), pair), cause)

    def test_below_a_pin(self) -> None:
        """A key that is known vouches for itself and for nobody below it, however the chain is sent."""
        known = Authority("known")
        host = self.pinned(KeyPair(known.key, known.certificate))
        below = known.client()
        for chain in ((), (known.certificate,), (Authority("Between", known).certificate, known.certificate)):
            self.assertIs(self.causes(host, attrs.evolve(below, chain=chain)), Cause.NOT_ALLOWED)
        stranger = attrs.evolve(self_made(), chain=(known.certificate,))
        self.assertIs(self.causes(host, stranger), Cause.NOT_ALLOWED)

    def test_with_junk(self) -> None:
        """What else is sent makes no difference to a key that is known: with its CA, without it, with others' CAs."""
        root = Authority("Root", until=-DAY / 2)
        friend = root.client()
        narrow = narrowed(Authority("Root", key=root.key))
        for host in (self.pinned(friend), self.pinned(friend, verify_depth=0)):
            for chain in (
                (),
                (root.certificate,),
                (Authority("Root").certificate,),
                (narrow.certificate,),
                (narrowed(Authority("Root")).certificate,),
                (root.client("client").certificate,),
                tuple(Authority("Root", Authority("Root")).certificate for _ in range(3)),
                (friend.certificate, friend.certificate),
            ):
                self.assertIsNone(self.causes(host, attrs.evolve(friend, chain=chain)))

    def test_junk_is_not_kept(self) -> None:
        """Nothing of what strangers send along is kept."""
        junk = Authority("Junk", until=-DAY / 2)
        friend, stranger = junk.client(), junk.client()
        host = self.pinned(friend)
        for pair, enters in ((friend, True), (stranger, False)):
            visit = Visit(host, client(attrs.evolve(pair, chain=(junk.certificate,))))
            self.assertIs(visit.enters, enters)
        self.assertEqual(verifier_of(host)._between, {})

    def test_resumed_later(self) -> None:
        """A session ends with the certificate that it was made with."""
        friend = self_made()
        host = self.pinned(friend)
        self.assertIsNone(refused_now(host, friend))
        out_of_time: tuple[dict[str, Any], ...] = ({"until": -DAY / 2}, {"since": DAY / 2})
        for each, cause in zip(out_of_time, (Cause.EXPIRED, Cause.NOT_YET_VALID), strict=True):
            pair = self_made(**each)
            self.assertIs(getattr(refused_now(self.pinned(pair), pair), "cause", None), cause)
        self.assertIs(getattr(refused_now(host, self_made()), "cause", None), Cause.NOT_ALLOWED)

    def test_deny(self) -> None:
        """`deny` wins over a pin, by another; a name, which a client makes up, is no use there."""
        friend = self_made("foe")
        self.assertIs(self.causes(self.pinned(friend, deny=(pin(friend),)), friend), Cause.NOT_ALLOWED)
        with self.assertRaisesRegex(ConfigurationError, "^deny=cn=foe: of no use beside allow by spki= alone"):
            self.pinned(friend, deny=("cn=foe",))

    def test_no_chain_is_verified(self) -> None:
        """Whatever chain comes with a key, OpenSSL looks at no more of it than its beginning."""
        friend, junk = self_made(), Authority("Junk")
        for number in range(30):
            junk = Authority(f"Junk {number}", junk)
        calls: list[int] = []
        note = mytls.tls.verifier.Verifier._note

        def listening(verifier: Any, connection: Any, certificate: Any, number: int, depth: int, good: int) -> bool:
            calls.append(depth)
            return note(verifier, connection, certificate, number, depth, good)

        self.patch(mytls.tls.verifier.Verifier, "_note", listening)
        below = junk.client()
        for pair, cause in ((below, None), (attrs.evolve(self_made(), chain=below.chain), Cause.NOT_ALLOWED)):
            self.assertIs(self.causes(self.pinned(below, friend), pair), cause)
        self.assertLess(max(calls), 3)

    def test_pins_beside_a_ca(self) -> None:
        """Where there is a CA, a pin is a rule as any other: the CA has to vouch for the key too."""
        root = Authority("Root")
        friend, foreign = root.client(), self_made()
        host = host_for(trusting(root), client_ca=("root.pem",), allow=(pin(friend), pin(foreign)))
        self.assertTrue(Visit(host, client(friend)).enters)
        self.assertIs(Visit(host, client(foreign)).failed.cause, Cause.UNKNOWN_CA)
        self.assertIs(Visit(host, client(root.client())).failed.cause, Cause.NOT_ALLOWED)


class DepthTests(SynchronousTestCase):
    """`verify-depth`: so many CAs between a client and a CA that is trusted, and no more."""

    def test_exact(self) -> None:
        """Exactly so many, in a first handshake, in one that resumes, and for who is looked at again."""
        authorities = [Authority("CA 0")]
        for number in range(1, 4):
            authorities.append(Authority(f"CA {number}", authorities[-1]))
        table = {
            (depth, trusted, between): self.outcome(depth, authorities[trusted], authorities[trusted + between])
            for depth in (None, 0, 1, 2)
            for trusted in (0, 1)
            for between in range(4 - trusted)
        }
        expected = {key: "enters" if key[0] is None or key[2] <= key[0] else "too deep" for key in table}
        self.assertEqual(table, expected)

    def test_default(self) -> None:
        """Where nobody says it, it is what the reference says."""
        options = host_for(trusting(Authority("Root"))).options
        assert options is not None
        (key,) = (each for each in HOST_KEYS if each.name == "verify-depth")
        self.assertEqual(str(options.getContext().get_verify_depth()), key.default)
        issuer = trusted = Authority("Root")
        for number in range(12):
            issuer = Authority(f"CA {number}", issuer)
        self.assertEqual(self.outcome(None, trusted, issuer), "enters")

    def outcome(self, depth: int | None, trusted: Authority, issuer: Authority) -> str:
        """What becomes of a client of this issuer, in every way."""
        pair = issuer.client()
        told = set()
        for version in VERSIONS:
            host, context = host_for(trusting(trusted), verify_depth=depth), client(pair, version)
            visit = Visit(host, context)
            told.add("enters" if visit.enters else self.too_deep(visit.failed.detail))
            if visit.enters:
                again = Visit(host, context, visit)
                self.assertTrue(again.resumed)
                told.add("enters" if again.enters else "too deep")
            refusal = refused_now(host, pair)
            told.add("enters" if refusal is None else self.too_deep(refusal.detail))
        (one,) = told
        return one

    def too_deep(self, detail: str) -> str:
        """A short word for it."""
        self.assertRegex(
            detail, r"^there are more CAs above it than verify-depth allows: .*client certificate cn=friend"
        )
        return "too deep"


class RuleTests(SynchronousTestCase):
    """Rules are asked in the handshake, and each time a session is resumed."""

    def setUp(self) -> None:
        self.root = Authority("Root")

    def test_refused_in_the_handshake(self) -> None:
        """Who is not allowed hears of it by an alert; TLS 1.2 ends before its handshake is done."""
        pair = self.root.client()
        rules: tuple[dict[str, Any], ...] = (
            {"allow": ("cn=other",)},
            {"allow": ("all",), "deny": ("cn=friend",)},
            {"deny": ("cn=other",)},
        )
        for said in rules:
            for client_auth in ("required", "optional"):
                for version in VERSIONS:
                    visit = Visit(host_for(trusting(self.root), client_auth=client_auth, **said), client(pair, version))
                    self.assertEqual(visit.alert, "certificate unknown")
                    self.assertIs(visit.failed.cause, Cause.NOT_ALLOWED)
                    self.assertIn(Identity.of(pair.certificate).shown(), visit.failed.detail)
                    if version == SSL.TLS1_2_VERSION:
                        self.assertRaises(SSL.Error, visit.client.do_handshake)

    def test_chain_first(self) -> None:
        """Rules are not asked about who is not verified."""
        asked: list[Identity] = []
        host = host_for(trusting(self.root), admit=lambda identity: asked.append(identity))
        for pair in (Authority("Root").client(), self.root.client(until=-DAY / 2), self.root.client(usages=(SERVER,))):
            for version in VERSIONS:
                self.assertFalse(Visit(host, client(pair, version)).enters)
        self.assertEqual(asked, [])

    def test_asked_of_each(self) -> None:
        """They are asked once in each handshake, also in one that resumes; what they say now holds."""
        for version in VERSIONS:
            answers = [None, None, "not any more"]
            asked: list[Identity] = []

            def admit(
                identity: Identity, answers: list[str | None] = answers, asked: list[Identity] = asked
            ) -> str | None:
                asked.append(identity)
                return answers[len(asked) - 1]

            host, context = host_for(trusting(self.root), admit=admit), client(self.root.client(), version)
            first = Visit(host, context)
            second = Visit(host, context, first)
            third = Visit(host, context, second)
            self.assertEqual([each.resumed for each in (first, second, third)], [False, True, True])
            self.assertEqual([each.enters for each in (first, second)], [True, True])
            self.assertEqual((third.failed.cause, third.failed.detail), (Cause.NOT_ALLOWED, "not any more"))
            self.assertEqual(len(asked), 3)

    def test_raises(self) -> None:
        """A rule that raises is no yes, in a first handshake and in a later one: one traceback each."""
        for version in VERSIONS:
            broken: list[bool] = []

            def admit(identity: Identity, broken: list[bool] = broken) -> None:
                if broken:
                    raise ZeroDivisionError

            host, context = host_for(trusting(self.root), admit=admit), client(self.root.client(), version)
            first = Visit(host, context)
            broken.append(True)
            for visit, resumed in ((Visit(host, context), False), (Visit(host, context, first), True)):
                self.assertEqual((visit.failed.cause, visit.resumed), (Cause.HANDLER, resumed))
                self.assertRegex(visit.failed.detail, "^the rules raised ZeroDivisionError: cn=friend ")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_not_asked(self) -> None:
        """Who OpenSSL lets in without having asked us does not enter."""
        for version in VERSIONS:
            host = host_for(trusting(self.root), allow=("all",))
            assert host.options is not None
            context = host.options.getContext()
            context.set_verify(context.get_verify_mode(), lambda *facts: True)
            for pair in (self.root.client(), Authority("Other").client()):
                visit = Visit(host, client(pair, version))
                self.assertIs(visit.failed.cause, Cause.NOT_ALLOWED)
                self.assertRegex(visit.failed.detail, "^the rules were not asked; it was for client certificate cn=fr")

    def test_no_door(self) -> None:
        """With a pyOpenSSL that has no way to say why, who is refused is refused, by another alert."""
        self.patch(mytls.tls.verifier, "_lib", None)
        for version in VERSIONS:
            visit = Visit(host_for(trusting(self.root), allow=("cn=other",)), client(self.root.client(), version))
            self.assertEqual((visit.failed.cause, visit.alert), (Cause.NOT_ALLOWED, "internal error"))

    def test_nothing_is_kept(self) -> None:
        """What OpenSSL calls goes with its context, and without a collection: a reload makes many."""
        gc.collect()
        before = len(mytls.tls.verifier._doors)
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(3):
            host_for(trusting(self.root), allow=("all",))
        self.assertEqual(len(mytls.tls.verifier._doors), before)

    def test_last_word(self) -> None:
        """OpenSSL's last call is about the client's own certificate, found good; an error after it is still a no."""
        narrow = narrowed(Authority("Narrow"))
        calls: list[tuple[int, int]] = []
        note = mytls.tls.verifier.Verifier._note

        def listening(verifier: Any, connection: Any, certificate: Any, number: int, depth: int, good: int) -> bool:
            calls.append((depth, good))
            return note(verifier, connection, certificate, number, depth, good)

        self.patch(mytls.tls.verifier.Verifier, "_note", listening)
        for version in VERSIONS:
            host = host_for(trusting(narrow, self.root))
            self.assertFalse(Visit(host, client(narrow.client(), version)).enters)
            self.assertEqual(calls, [(1, 1), (0, 1), (0, 0)], "name constraints come last")
            calls.clear()
            self.assertTrue(Visit(host, client(Authority("Between", self.root).client(), version)).enters)
            self.assertEqual(calls, [(2, 1), (1, 1), (0, 1)])
            calls.clear()

    def test_does_not_parse(self) -> None:
        """A certificate that OpenSSL takes and nobody can read enters nowhere, also where there are no rules."""
        strange = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x07\x87\x05\x01\x02\x03\x04\x05")
        friend = self.root.client()
        usage = x509.ExtendedKeyUsage([CLIENT])
        certificate = self.root._sign(friend.certificate.subject, friend.key, strange, usage)
        pair = attrs.evolve(friend, certificate=certificate)
        serial = f"{pair.certificate.serial_number:X}"
        for client_auth in ("required", "optional"):
            for version in VERSIONS:
                visit = Visit(host_for(trusting(self.root), client_auth=client_auth), client(pair, version))
                self.assertIs(visit.failed.cause, Cause.NOT_ALLOWED)
                expected = f"nobody can tell whom it names: client certificate that does not parse, serial={serial}"
                self.assertEqual((visit.failed.detail, visit.alert), (expected, "certificate unknown"))

    def test_version_that_there_is_not(self) -> None:
        """Nor does who has a certificate of a version that nobody knows; no traceback is a stranger's to have."""
        for version in (1, 3, 77):
            for issuer, cause in ((self.root, Cause.NOT_ALLOWED), (Authority("Root"), Cause.UNKNOWN_CA)):
                pair = issuer.client()
                der = of_version(pair.certificate, issuer.key, version)
                hosts = (
                    (host_for(trusting(self.root)), cause),
                    (host_for(trusting(), allow=(pin(pair),)), Cause.NOT_ALLOWED),
                )
                for host, expected in hosts:
                    for each in VERSIONS:
                        visit = Visit(host, self.raw(der, pair, each))
                        self.assertIs(visit.failed.cause, expected)
                        self.assertRegex(
                            visit.failed.detail, ": client certificate that does not parse, serial=[0-9A-F]+$"
                        )
        self.assertEqual(self.flushLoggedErrors(), [])

    def raw(self, der: bytes, pair: KeyPair, version: int) -> SSL.Context:
        """A client that shows bytes, with the key of this pair."""
        path = write(folder(self) / "own.der", der)
        context = client(None, version)
        context.use_certificate_file(path, FILETYPE_ASN1)
        context.use_privatekey(pair.key)  # type: ignore[arg-type]  # keys of kinds that OpenSSL takes
        return context

    def test_chain_that_does_not_parse(self) -> None:
        """Nor does who has a CA above that nobody can read; what is known of a client is known whole."""
        between = Authority("Between", self.root)
        pair, serial = between.client(), between.certificate.serial_number
        parsed = mytls.tls.refusals.parsed

        def broken(certificate: X509) -> x509.Certificate:
            if certificate.get_serial_number() == serial:
                raise ValueError
            return parsed(certificate)

        self.patch(mytls.tls.verifier, "parsed", broken)
        for version in VERSIONS:
            failed = Visit(host_for(trusting(self.root)), client(pair, version)).failed
            self.assertIs(failed.cause, Cause.NOT_ALLOWED)
            self.assertRegex(failed.detail, "^nobody can tell whom it names: CA of the client's chain cn=Between ")

    def test_nothing_is_decrypted_after_a_refusal(self) -> None:
        """Who is refused when the handshake is done is told so, and what it sends on is thrown away as it is."""
        for version in VERSIONS:
            answers = iter((None, "not any more"))
            host = host_for(trusting(self.root), admit=lambda identity, answers=answers: next(answers))  # type: ignore[misc]
            context = client(self.root.client(), version)
            visit = Visit(host, context, Visit(host, context))
            self.assertEqual((visit.failed.cause, visit.resumed), (Cause.NOT_ALLOWED, True))
            self.assertTrue(visit.socket.fin_sent)
            self.assertTrue(visit.socket.reading, "the peer's last bytes are read")
            fed: list[bytes] = []
            transport: Any = visit.protocol._tls
            patched = self.patch(type(transport._tunnel), "feed", lambda _, data, fed=fed: fed.append(data))
            for _ in range(10):
                visit.client.send(b"x" * 16384)
                visit.to_server(visit.outgoing())
            patched.restore()
            self.assertEqual(fed, [])
            visit.fin()
            self.assertIsInstance(visit.socket.lost, ConnectionDone)


class SizeTests(SynchronousTestCase):
    """What a client may send, and what it costs."""

    def setUp(self) -> None:
        self.root = Authority("Root")

    def large(self, size: int) -> KeyPair:
        """A client with a certificate of so many bytes, up to the few that a signature may have or not."""
        key, usage, filled = ec_key(), x509.ExtendedKeyUsage([CLIENT]), 0
        for _ in range(3):
            filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(filled))
            made = self.root._sign(_name("large"), key, usage, filler)
            filled += size - len(made.public_bytes(Encoding.DER))
        return KeyPair(key, made, ())

    def test_large_certificate(self) -> None:
        """A certificate of 16 KiB enters, also with two tickets that each have it; a larger one is not even read."""
        good, bad = self.large(_MOST - 10), self.large(_MOST + 10)
        of_der = Identity.of_der
        read: list[bytes] = []

        def reading(der: bytes) -> Identity:
            read.append(der)
            return of_der(der)

        self.patch(Identity, "of_der", reading)
        for host in (host_for(trusting(self.root)), host_for(trusting(), allow=(pin(good), pin(bad)))):
            for version in VERSIONS:
                context = client(good, version)
                first = Visit(host, context)
                self.assertTrue(first.enters)
                self.assertEqual(first.kinds()[-1], "Established", "and is not closed again")
                self.assertTrue(Visit(host, context, first).resumed)
                visit = Visit(host, client(bad, version))
                self.assertIs(visit.failed.cause, Cause.NOT_ALLOWED)
                size = len(bad.certificate.public_bytes(Encoding.DER))
                expected = f"client certificate that is too large to be read, with {size} bytes"
                self.assertEqual(visit.failed.detail, f"nobody can tell whom it names: {expected}")
        self.assertEqual({len(each) for each in read}, {len(good.certificate.public_bytes(Encoding.DER))})

    def test_large_certificate_of_a_stranger(self) -> None:
        """Nor is one read for the line that says why its owner was refused."""
        self.patch(Identity, "of_der", None)
        bad = self.large(_MOST + 10)
        for version in VERSIONS:
            visit = Visit(host_for(trusting(Authority("Root"))), client(bad, version))
            self.assertIs(visit.failed.cause, Cause.UNKNOWN_CA)
            self.assertRegex(
                visit.failed.detail, "^no CA of client-ca has issued it: client certificate that is too large"
            )

    def test_junk(self) -> None:
        """Who sends more certificates than anybody needs is refused, though one of them would let him in."""
        friend = self.root.client()
        few = tuple(Authority(f"Junk {number}", Authority("Junk")).certificate for number in range(MAX_SENT))
        more = (*few, Authority("Junk").certificate)
        large = (self.large(30000).certificate,) * 2
        bytes_left = MAX_SENT_BYTES - 60000
        for chain, good in (
            (few, True),
            (more, False),
            ((*large, self.large(bytes_left - 20).certificate), True),
            ((*large, self.large(bytes_left + 20).certificate), False),
        ):
            for version in VERSIONS:
                visit = Visit(host_for(trusting(self.root)), client(attrs.evolve(friend, chain=chain), version))
                self.assertIs(visit.enters, good, len(chain))
                if not good:
                    self.assertIs(visit.failed.cause, Cause.BAD_HELLO)
                    self.assertRegex(
                        visit.failed.detail, "^the client has sent too many certificates besides its own: more"
                    )

    def test_names_of_many_authorities(self) -> None:
        """With as many CAs as a handshake has names for, and with more, a client enters and stays."""
        some = [self.lengthy(number) for number in range(MAX_NAMES // 400)]
        size = sum(2 + len(each.subject.public_bytes()) for each in some)
        while size + 400 <= MAX_NAMES:
            some.append(self.lengthy(len(some)))
            size += 2 + len(some[-1].subject.public_bytes())
        self.assertGreater(size, MAX_NAMES - 800)
        root = self.root.certificate
        for authorities, told in ((some, len(some) + 1), ([*some, *some[:3]], 0)):
            host = host_for(ClientTrust((root, *authorities)))
            for version in VERSIONS:
                visit = Visit(host, client(self.root.client(), version))
                self.assertTrue(visit.enters)
                self.assertEqual(visit.kinds()[-1], "Established", "and is not closed again")
                self.assertEqual(len(named(visit.client)), told)
                if version == SSL.TLS1_2_VERSION:  # and has answers left to ask for
                    visit.client.renegotiate()
                    self.assertRaises(SSL.WantReadError, visit.client.do_handshake)
                    visit.to_server(visit.outgoing())
                    self.assertTrue(visit.socket.wire, "there is an answer")
                    self.assertEqual(visit.kinds()[-1], "Established")

    def lengthy(self, number: int) -> x509.Certificate:
        """A CA with a long name."""
        kinds = (NameOID.ORGANIZATION_NAME, NameOID.LOCALITY_NAME, NameOID.STATE_OR_PROVINCE_NAME,
                 NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME)  # fmt: skip
        name = x509.Name([x509.NameAttribute(kind, f"{number:060}") for kind in kinds])
        return self.root._sign(name, self.root.key, x509.BasicConstraints(True, None))


class SessionTests(SynchronousTestCase):
    """A session lets nobody in who would not be let in without it."""

    def setUp(self) -> None:
        self.root = Authority("Clients' CA")

    def contexts(self, pair: KeyPair | None) -> Iterator[SSL.Context]:
        """A client in each version."""
        for version in VERSIONS:
            yield client(pair, version)

    def test_by_number(self) -> None:
        """A host that asks for certificates keeps no sessions: each would have all that its client has sent."""
        trust = trusting(self.root)
        for pair, client_auth, kept in (
            (self.root.client(), "required", False),
            (self.root.client(), "optional", False),
            (None, "optional", False),
            (None, "off", True),
        ):
            host, context = host_for(trust, client_auth=client_auth), client(pair, SSL.TLS1_2_VERSION)
            context.set_options(SSL.OP_NO_TICKET)
            again = Visit(host, context, Visit(host, context))
            self.assertEqual((again.enters, again.resumed), (True, kept))

    def test_no_way_around_certificates(self) -> None:
        """A session of an open host, or of one where certificates are optional, opens no host that requires them."""
        trust = trusting(self.root)
        for client_auth in ("off", "optional"):
            for context in self.contexts(None):
                host = host_for(trust, client_auth=client_auth)
                first = Visit(host, context)
                self.assertTrue(Visit(host, context, first).resumed, "the session is good")
                self.assertIs(Visit(host_for(trust), context, first).failed.cause, Cause.NO_CERTIFICATE)

    def test_outdated(self) -> None:
        """A session ends with the client's certificate, with a CA that the client has sent, and with a list."""
        root = Authority("Root", until=9 * DAY)
        between = Authority("Between", root)
        lasting: dict[str, Any] = {"until": 9 * DAY}
        for pair, revocations, cause in (
            (root.client(), (), Cause.EXPIRED),
            (between.client(**lasting), (), Cause.EXPIRED),
            (root.client(**lasting), (root.revoking(),), Cause.REVOKED),
            (root.client(**lasting), (root.revoking(until=9 * DAY),), None),
            (Authority("Lasting", root, **lasting).client(**lasting), (), None),
        ):
            for context in self.contexts(pair):
                host = host_for(trusting(root, revocations=revocations))
                first = Visit(host, context)
                set_time(host, NOW + 2 * DAY)
                again = Visit(host, context, first)
                self.assertTrue(again.resumed)
                if cause is None:
                    self.assertTrue(again.enters)
                else:
                    self.assertIs(again.failed.cause, cause)
                    self.assertIn(Identity.of(pair.certificate).shown(), again.failed.detail)

    def test_last_used_between(self) -> None:
        """Of the CAs that clients have sent those are kept that were used last, in a handshake or by a session."""
        self.patch(mytls.tls.verifier, "_MAX_BETWEEN", 2)
        pairs = {name: Authority(name, self.root).client() for name in ("A", "B", "C")}
        for version in VERSIONS:
            host = host_for(trusting(self.root))
            contexts = {name: client(pair, version) for name, pair in pairs.items()}
            first = {name: Visit(host, contexts[name]) for name in ("A", "B")}
            self.assertTrue(Visit(host, contexts["A"], first["A"]).enters)
            first["C"] = Visit(host, contexts["C"])
            for name, good in (("A", True), ("C", True), ("B", False)):
                self.assertIs(Visit(host, contexts[name], first[name]).enters, good, name)
            self.assertEqual(len(verifier_of(host)._between), 2)

    def test_many_between(self) -> None:
        """Who has no CA of a client's any more lets nobody in with it: what is kept of strangers has a bound."""
        self.patch(mytls.tls.verifier, "_MAX_BETWEEN", 0)
        for context in self.contexts(Authority("Between", self.root).client()):
            host = host_for(trusting(self.root))
            first = Visit(host, context)
            self.assertIs(Visit(host, context, first).failed.cause, Cause.UNKNOWN_CA)

    def test_unverified_are_not_kept(self) -> None:
        """Of the CAs that clients send only those are kept that were issued by one that is trusted."""
        host = host_for(trusting(self.root))
        foreign, own = Authority("Foreign", Authority("Elsewhere")), Authority("Between", self.root)
        for authority in (foreign, own):
            Visit(host, client(authority.client()))
        kept = {each.to_cryptography() for each in verifier_of(host)._between.values()}
        self.assertEqual(kept, {own.certificate})


class VouchingTests(SynchronousTestCase):
    """A CA vouches for its own trust domain, and for no other that is known here."""

    def setUp(self) -> None:
        self.home, self.partner = Authority("Home"), Authority("Partner")
        self.issued = issued(svid(self.home), example=self.home, partner=self.partner)

    def host(self, vouch: Vouch | None = None, *more: Authority, **said: Any) -> Host:
        """A host that trusts the CAs of both domains."""
        settings = HostSettings(**{"client_auth": "required", "spiffe": "unix:/agent", **said})
        authorities = ClientTrust((*self.issued.authorities, *(each.certificate for each in more)))
        options = host_options(settings, [self.issued.pair], authorities, vouch=vouch or self.issued.refusal)
        return Host(options.serverConnectionForTLS, options=options, settings=settings)

    def test_own(self) -> None:
        """Who shows an SVID of his own domain's CA enters, with CAs between and without, at first and later."""
        for by, uri in ((self.home, "spiffe://example.org/web"), (self.partner, "spiffe://partner.org/web")):
            for issuer in (by, Authority("Between", by), Authority("Below", Authority("Between", by))):
                for version in VERSIONS:
                    pair, host = svid(issuer, uri), self.host()
                    context = client(pair, version)
                    first = Visit(host, context)
                    again = Visit(host, context, first)
                    self.assertEqual((first.enters, again.enters, again.resumed), (True, True, True))
                    assert again.peer is not None
                    self.assertEqual((again.peer.spiffe_id, again.peer.chain[-1]), (uri, by.certificate))
                    self.assertIsNone(refused_now(host, pair))

    def test_another(self) -> None:
        """A CA that is trusted for another domain vouches for nobody of ours, whatever its client sends besides."""
        home = self.home.certificate
        for issuer in (self.partner, Authority("Between", self.partner), Authority("Home", self.partner)):
            pair = svid(issuer)
            for sent in (pair, attrs.evolve(pair, chain=(*pair.chain, self.partner.certificate, home))):
                for client_auth in ("required", "optional"):
                    for version in VERSIONS:
                        visit = Visit(self.host(client_auth=client_auth), client(sent, version))
                        self.assertEqual((visit.failed.cause, visit.alert), (Cause.NOT_ALLOWED, "certificate unknown"))
                        self.assertRegex(
                            visit.failed.detail, "^CN=Partner is no CA of the trust domain example.org: .*uri=spiffe://"
                        )
                refusal = refused_now(self.host(), sent)
                self.assertIs(getattr(refusal, "cause", None), Cause.NOT_ALLOWED)

    def test_no_svid(self) -> None:
        """A certificate of these CAs that is no X.509-SVID does not enter."""
        for version in VERSIONS:
            for uri in ("https://example.org/web", "spiffe://example.org", "spiffe://elsewhere.org/web"):
                self.assertFalse(Visit(self.host(), client(svid(self.home, uri), version)).enters, uri)
            self.assertFalse(Visit(self.host(), client(self.home.client(), version)).enters)

    def test_asked_first(self) -> None:
        """Rules are not asked about who is not vouched for."""
        for version in VERSIONS:
            visit = Visit(self.host(allow=("cn=nobody",)), client(svid(self.partner), version))
            self.assertRegex(visit.failed.detail, "is no CA of the trust domain")

    def test_asked_of_the_trusted(self) -> None:
        """What is asked about is the CA that is trusted: the first on the way, whatever is sent from above it."""
        between = Authority("Between", self.home)
        for version in VERSIONS:
            asked: list[tuple[str | None, x509.Certificate]] = []

            def vouch(
                identity: Identity,
                anchor: x509.Certificate,
                asked: list[tuple[str | None, x509.Certificate]] = asked,
            ) -> None:
                asked.append((identity.spiffe_id, anchor))

            host = self.host(vouch, between)
            pair = svid(Authority("Below", between))
            context = client(attrs.evolve(pair, chain=(*pair.chain, self.home.certificate)), version)
            first = Visit(host, context)
            self.assertTrue(Visit(host, context, first).resumed)
            self.assertIsNone(refused_now(host, pair))
            anchors = {each for _, each in asked}
            assert first.peer is not None
            self.assertEqual(anchors, {first.peer.chain[-1]})
            self.assertEqual({uri for uri, _ in asked}, {"spiffe://example.org/web"})

    def test_not_any_more(self) -> None:
        """A session does not outlive what its CA may vouch for."""
        for version in VERSIONS:
            gone: list[str] = []
            host = self.host(lambda identity, anchor, gone=gone: gone[0] if gone else None)  # type: ignore[misc]
            context = client(svid(self.home), version)
            first = Visit(host, context)
            self.assertTrue(first.enters)
            gone.append("not any more")
            again = Visit(host, context, first)
            self.assertTrue(again.resumed)
            self.assertEqual((again.failed.cause, again.failed.detail), (Cause.NOT_ALLOWED, "not any more"))

    def test_raises(self) -> None:
        """Whoever raises vouches for nobody."""

        def broken(identity: Identity, anchor: x509.Certificate) -> None:
            raise ZeroDivisionError

        for version in VERSIONS:
            visit = Visit(self.host(broken), client(svid(self.home), version))
            self.assertIs(visit.failed.cause, Cause.HANDLER)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_seen_otherwise(self) -> None:
        """Where the handshake was told of a better CA than the one at the end of its chain, it is no good."""
        home = X509.from_cryptography(self.home.certificate)
        for version in VERSIONS:
            host = self.host()
            self.patch(verifier_of(host), "_anchors", Wrong(home))
            visit = Visit(host, client(svid(self.partner), version))
            self.assertRegex(visit.failed.detail, "^CN=Partner is no CA of the trust domain example.org: ")

    def test_unknown_ca(self) -> None:
        """Who is of no trusted CA is refused as ever, and the log says whose CAs are meant."""
        for version in VERSIONS:
            visit = Visit(self.host(), client(svid(Authority("Nobody")), version))
            self.assertEqual((visit.failed.cause, visit.alert), (Cause.UNKNOWN_CA, "unknown ca"))
            self.assertRegex(visit.failed.detail, "^no CA of spiffe has issued it: client certificate ")


class Wrong(dict[Any, X509]):
    """Says of every connection that its chain ends with this CA."""

    def __init__(self, anchor: X509) -> None:
        super().__init__()
        self.anchor = anchor

    def setdefault(self, key: Any, default: Any = None) -> X509:
        """See C{dict}."""
        return super().setdefault(key, self.anchor)


def named(connection: SSL.Connection) -> list[Any]:
    """The names of the CAs that the server has asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return [each.commonName for each in connection.get_client_ca_list()]
