"""Who verifies clients: who is let in, in a first handshake and in one that resumes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.trial.unittest import SynchronousTestCase

import mytls.tls.verifier
from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.hosts import Host
from mytls.peer import Identity
from mytls.tls.certificates import KeyPair
from tests.tls.authority import CLIENT, DAY, NOW, SERVER, Authority, ec_key
from tests.tls.clients import VERSIONS, Visit, client, host_for, set_time, trusting, verifier_of


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
        """`deny` wins over a pin."""
        friend = self_made("foe")
        self.assertIs(self.causes(self.pinned(friend, deny=("cn=foe",)), friend), Cause.NOT_ALLOWED)

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

    def test_chain_that_does_not_parse(self) -> None:
        """Nor does who has a CA above that nobody can read; what is known of a client is known whole."""
        between = Authority("Between", self.root)
        pair, serial = between.client(), between.certificate.serial_number
        read = X509.to_cryptography

        def broken(certificate: X509) -> x509.Certificate:
            if certificate.get_serial_number() == serial:
                raise ValueError
            return read(certificate)

        self.patch(X509, "to_cryptography", broken)
        for version in VERSIONS:
            failed = Visit(host_for(trusting(self.root)), client(pair, version)).failed
            self.assertIs(failed.cause, Cause.NOT_ALLOWED)
            self.assertRegex(failed.detail, "^nobody can tell whom it names: CA of the client's chain that does not pa")


class SessionTests(SynchronousTestCase):
    """A session lets nobody in who would not be let in without it."""

    #: TLS 1.2 by ticket and by number, TLS 1.3.
    WAYS = ((SSL.TLS1_2_VERSION, 0), (SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET), (SSL.TLS1_3_VERSION, 0))

    def setUp(self) -> None:
        self.root = Authority("Clients' CA")

    def contexts(self, pair: KeyPair | None) -> Iterator[SSL.Context]:
        """A client in each way."""
        for version, option in self.WAYS:
            context = client(pair, version)
            context.set_options(option)
            yield context

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
        self.assertEqual(kept, {own.certificate, self.root.certificate})


def named(connection: SSL.Connection) -> list[Any]:
    """The names of the CAs that the server has asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return [each.commonName for each in connection.get_client_ca_list()]
