"""Clients who are there when a reload says that they may not enter any more."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

import mytls.hosts
import mytls.review
from mytls.changes import shut_out
from mytls.errors import Cause
from mytls.events import Closed, Established, Event, HandshakeFailed, Observers, Reloaded
from mytls.guards.sources import Sources
from mytls.hosts import Host, Hosts
from mytls.kinds import network
from mytls.listener import TLSFactory
from mytls.peer import Peer
from mytls.review import Reviewed
from mytls.running import TLSService
from mytls.settings import Deadlines
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import connection_maker
from mytls.tls.readmission import check_again
from mytls.tls.verifier import Verifier
from tests.memory import Link, RecorderFactory, client_context, tls_options
from tests.test_running import A, B, RunningTests
from tests.tls.authority import DAY, Authority, showing

CLOSE = '[reload]\non-reload = "close"\n'
RULES = A + '\nclient-ca = "clients.pem"\n'
ANN, BEN = 'allow = ["cn=ann"]', 'allow = ["cn=ben"]'
BOTH = 'allow = ["cn=ann", "cn=ben"]'


class ReviewTests(RunningTests):
    """A service, and clients with certificates."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Authority("Clients")
        self.trust(self.clients)
        self.ann, self.ben = self.clients.client("ann"), self.clients.client("ben")

    def trust(self, *authorities: Authority) -> None:
        """Write the CAs of clients."""
        pems = (each.certificate.public_bytes(Encoding.PEM) for each in authorities)
        self.path("clients.pem").write_bytes(b"".join(pems))

    def revoke(self, *revoked: x509.Certificate, until: datetime.timedelta = DAY) -> None:
        """Write the revocation list."""
        made = self.clients.revoking(*revoked, since=-2 * DAY, until=until)
        self.path("clients.crl").write_bytes(made.public_bytes(Encoding.PEM))

    def of_file(self, *listeners: str, more: str = "") -> TLSService:
        self.service = super().of_file(*listeners, more=more)
        return self.service

    def client(self, pair: KeyPair | None = None, name: bytes = b"a.example") -> Link:
        """Somebody who has entered."""
        context = client_context() if pair is None else showing(pair, client_context())
        link = Link(factory=self.reactor.listening[1], server_name=name, context=context)
        link.handshake()
        self.assertEqual(self.says(link, b"in"), b"in")
        return link

    def reload(self, *listeners: str, more: str = "") -> list[str]:
        """Serve what the file says now. @return: what has changed, by the event"""
        self.write(*listeners, more=more)
        self.events.clear()
        reloaded = self.service.reload()
        self.reactor.advance(0)
        self.assertTrue(self.successResultOf(reloaded))
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        return list(event.changes)

    def ends(self) -> list[tuple[Cause | None, str]]:
        """How connections have ended."""
        return [(each.cause, each.detail) for each in self.events if isinstance(each, Closed)]


class CloseTests(ReviewTests):
    """They are closed, where that is said."""

    def test_rule_gone(self) -> None:
        """Who has lost his rule is cut off, without close_notify, and heard no more; the others notice nothing."""
        self.of_file(RULES + BOTH, more=CLOSE)
        ann, ben = self.client(self.ann), self.client(self.ben)
        told = self.reload(RULES + BEN, more=CLOSE)
        self.assertEqual(told[-1], "1 connection of a client who may not enter any more: closed")
        ann.client.send(b"too late")
        ann.pump()
        self.assertEqual((ann.socket.fin_sent, ann.peer_finished), (True, False))
        self.assertEqual(bytes(ann.received), b"in")
        ann.fin()
        ((cause, detail),) = self.ends()
        self.assertIs(cause, Cause.NOT_ALLOWED)
        self.assertIn("cn=ann", detail)
        self.assertEqual(self.says(ben, b"!"), b"in!")

    def test_revoked(self) -> None:
        """A certificate that is on a new list."""
        self.revoke()
        listener = RULES + BOTH + '\ncrl = "clients.crl"'
        self.of_file(listener, more=CLOSE)
        self.client(self.ann)
        ben = self.client(self.ben)
        self.revoke(self.ann.certificate)
        told = self.reload(listener, more=CLOSE)
        self.assertIn("1 connection of a client who may not enter any more: closed", told)
        self.reactor.advance(6)
        self.assertEqual([cause for cause, _ in self.ends()], [Cause.REVOKED])
        self.assertEqual(self.says(ben, b"!"), b"in!")

    def test_list_past_its_end(self) -> None:
        """A new list that is old already says of nobody whether he was revoked."""
        self.revoke()
        listener = RULES + BOTH + '\ncrl = "clients.crl"'
        self.of_file(listener, more=CLOSE)
        self.client(self.ann)
        self.revoke(until=-DAY)
        self.reload(listener, more=CLOSE)
        self.reactor.advance(6)
        self.assertEqual([cause for cause, _ in self.ends()], [Cause.REVOKED])

    def test_authority_gone(self) -> None:
        """A CA that is trusted no more, beside one that still is."""
        other = Authority("Others")
        self.trust(self.clients, other)
        self.of_file(RULES + BOTH, more=CLOSE)
        self.client(self.ann)
        ben = self.client(other.client("ben"))
        self.trust(other)
        self.reload(RULES + BOTH, more=CLOSE)
        self.reactor.advance(6)
        self.assertEqual([cause for cause, _ in self.ends()], [Cause.UNKNOWN_CA])
        self.assertEqual(self.says(ben, b"!"), b"in!")

    def test_below_an_intermediate(self) -> None:
        """Who has a CA between is not taken for a stranger, since that CA was sent then."""
        below = Authority("Below", self.clients)
        self.of_file(RULES + BOTH, more=CLOSE)
        ann = self.client(below.client("ann"))
        self.assertNotIn("who may not enter", " ".join(self.reload(RULES + ANN, more=CLOSE)))
        self.assertEqual(self.says(ann, b"!"), b"in!")

    def test_decided_once(self) -> None:
        """Who may enter by the new rules is not looked at again before there are other ones."""
        self.of_file(RULES + BOTH, more=CLOSE)
        self.client(self.ann)
        self.reload(RULES + ANN, more=CLOSE)
        self.patch(mytls.hosts, "check_again", lambda *about: self.fail("looked at"))
        self.assertEqual(self.reload(RULES + ANN, B, more=CLOSE), ["0.0.0.0:2 is new"])

    def test_certificate_wanted(self) -> None:
        """Who has shown none, where one is required by now."""
        self.of_file(A, more=CLOSE)
        self.client()
        self.reload(RULES + ANN, more=CLOSE)
        self.reactor.advance(6)
        self.assertEqual(self.ends(), [(Cause.NO_CERTIFICATE, "there is no client certificate")])

    def test_where_from(self) -> None:
        """Who is where nobody may connect from by now, also where nothing else has changed."""
        self.of_file(A, more=CLOSE)
        self.client()
        told = self.reload(A + '\nfrom = "10.0.0.0/8"', more=CLOSE)
        self.assertEqual(told[-1], "1 connection of a client who may not enter any more: closed")
        self.reactor.advance(6)
        self.assertEqual(self.ends(), [(Cause.FROM, "192.0.2.1 is in no network of from")])

    def test_name_gone(self) -> None:
        """Who has asked for a name that nobody has any more."""
        hosts = [f'[[listener.host]]\nnames = ["{name}.example"]\ncertificate = "{name}.pem"\n' for name in "ab"]
        listener = 'endpoint = "mytls:1"\nhandler = "echo"\n'
        self.of_file(listener + "".join(hosts), more=CLOSE)
        first = self.client()
        self.client(name=b"b.example")
        self.reload(listener + hosts[0], more=CLOSE)
        self.reactor.advance(6)
        self.assertEqual(self.ends(), [(Cause.UNKNOWN_NAME, "no host has the name b.example")])
        self.assertEqual(self.says(first, b"!"), b"in!")

    def test_client_that_holds_on(self) -> None:
        """Who answers no goodbye, and reads nothing, is cut a second after the close deadline."""
        self.of_file(RULES + BOTH, more=CLOSE)
        link = self.client(self.ann)
        link.socket.peer_reads = False
        self.reload(RULES + BEN, more=CLOSE)
        self.reactor.advance(4.9)
        self.assertEqual(self.ends(), [])
        self.reactor.advance(1.2)
        self.assertEqual([cause for cause, _ in self.ends()], [Cause.NOT_ALLOWED])
        self.assertIsNotNone(link.socket.lost)

    def test_all_of_many(self) -> None:
        """Equal certificates are verified once, however many connections have them."""
        self.of_file(RULES + BOTH, more=CLOSE)
        links = [self.client(self.ann) for _ in range(30)]
        verified = []

        def check(clients: Verifier, chain: Sequence[x509.Certificate]) -> None:
            verified.append(chain)
            check_again(clients, chain)

        self.patch(mytls.hosts, "check_again", check)
        told = self.reload(RULES + BEN, more=CLOSE)
        self.assertEqual(told[-1], "30 connections of clients who may not enter any more: closed")
        self.assertEqual(len(verified), 1)
        for link in links:
            link.pump()
        self.assertTrue(all(link.socket.fin_sent for link in links))

    def test_nothing_of_theirs_has_changed(self) -> None:
        """Where another host has changed nobody of this one is looked at."""
        hosts = [f'[[listener.host]]\nnames = ["{name}.example"]\ncertificate = "{name}.pem"\n' for name in "ab"]
        listener = 'endpoint = "mytls:1"\nhandler = "echo"\nclient-ca = "clients.pem"\n' + ANN + "\n"
        self.of_file(listener + "".join(hosts), more=CLOSE)
        self.client(self.ann)
        self.patch(mytls.hosts, "check_again", lambda *about: self.fail("looked at"))
        told = self.reload(listener + hosts[0] + hosts[1] + "verify-depth = 3\n", more=CLOSE)
        self.assertEqual(told, ["b.example: other verify-depth"])

    def test_bug(self) -> None:
        """Who cannot be decided about may not stay; the traceback is in the log, and all others are looked at."""
        self.of_file(RULES + BOTH, more=CLOSE)
        self.client(self.ann)
        self.client(self.ben)
        self.patch(mytls.hosts, "check_again", lambda *about: 1 // 0)
        told = self.reload(RULES + BEN, more=CLOSE)
        self.assertEqual(told[-1], "2 connections of clients who may not enter any more: closed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_bug_at_the_end(self) -> None:
        """Where one connection cannot be ended the others are."""
        self.of_file(RULES + BOTH, more=CLOSE)
        links = [self.client(self.ann) for _ in range(3)]
        self.patch(links[1].protocol, "shut", lambda failure: 1 // 0)
        told = self.reload(RULES + BEN, more=CLOSE)
        self.assertEqual(told[-1], "3 connections of clients who may not enter any more: closed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.advance(6)
        self.assertEqual(len(self.ends()), 3)

    def test_stopped_meanwhile(self) -> None:
        """A service that stops in the middle of it finishes with everybody."""
        made = self.of_file(RULES + BOTH, more=CLOSE)
        self.client(self.ann)
        self.write(RULES + BEN, more=CLOSE)
        asked = made.reload()
        self.assertNoResult(asked)
        made.stopService()
        for _ in range(40):
            self.reactor.advance(1)
        self.successResultOf(asked)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class KeepTests(ReviewTests):
    """They are left, where nothing else is said."""

    def test_left(self) -> None:
        """They go on, and are counted at each reload; nobody new enters."""
        self.of_file(RULES + BOTH)
        ann = self.client(self.ann)
        self.assertEqual(
            self.reload(RULES + BEN),
            ["a.example: other allow", "1 connection of a client who may not enter any more: left"],
        )
        self.assertEqual(self.says(ann, b"!"), b"in!")
        self.issue("b")
        self.assertEqual(
            self.reload(RULES + BEN, A.replace(":1", ":2")),
            ["0.0.0.0:2 is new", "1 connection of a client who may not enter any more: left"],
        )

    def test_closed_after_all(self) -> None:
        """Who was left before is closed as soon as the file says so: that needs no restart."""
        self.of_file(RULES + BOTH)
        self.client(self.ann)
        self.reload(RULES + BEN)
        self.assertEqual(
            self.reload(RULES + BEN, more=CLOSE),
            ["on-reload keep -> close", "1 connection of a client who may not enter any more: closed"],
        )
        self.reactor.advance(6)
        self.assertEqual([cause for cause, _ in self.ends()], [Cause.NOT_ALLOWED])

    def test_allowed_again(self) -> None:
        """Who may enter again is counted no more."""
        self.of_file(RULES + BOTH)
        self.client(self.ann)
        self.reload(RULES + BEN)
        self.assertEqual(self.reload(RULES + BOTH), ["a.example: other allow"])


class Asked:
    """A policy whose answers the test gives."""

    def __init__(self, *answers: object) -> None:
        self.written = "policy=test"
        self.digest = b""
        self.answers = list(answers)
        self.peers: list[Peer] = []
        self.stopped = 0

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        """The next answer; a Deferred is one that is still to come."""
        self.peers.append(peer)
        answer = self.answers.pop(0)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def stop(self) -> None:
        """Written down."""
        self.stopped += 1


class PolicyTests(RunningTests):
    """Policies that are others."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.maker = connection_maker(tls_options())
        self.handler = RecorderFactory()

    def hosts(self, *policies: Asked) -> Hosts:
        """A host that these decide about."""
        return Hosts(Host(self.maker, policies=policies))

    def served(self, *policies: Asked, patience: float = 5.0) -> TLSFactory:
        """A listener with it."""
        told = Observers([self.events.append])
        return TLSFactory(self.hosts(*policies), self.handler, self.clock, Deadlines(policy=patience), told)

    def client(self, factory: TLSFactory) -> Link:
        """Somebody who has entered, or is waiting."""
        link = Link(factory=factory, handler=self.handler)
        link.handshake()
        return link

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of this kind."""
        return [each for each in self.events if isinstance(each, kind)]

    def test_asked_again(self) -> None:
        """Another policy is asked about who is there; who has its no is ended, and told by its cause."""
        factory = self.served()
        self.client(factory), self.client(factory)
        factory.swap(self.hosts(Asked(True, "not you")))
        reviewed = factory.review(close=True)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reviewed), Reviewed(1))
        self.clock.advance(6)
        ((cause, detail),) = [(each.cause, each.detail) for each in self.of(Closed)]
        self.assertEqual((cause, detail), (Cause.POLICY, "policy=test says: not you"))

    def test_the_same_policy(self) -> None:
        """One that has let them in already is not asked again, and neither is one that they have passed since."""
        policy, other = Asked(True), Asked(True)
        factory = self.served(policy)
        self.client(factory)
        for each in (policy, other, other):
            factory.swap(self.hosts(each))
            reviewed = factory.review(close=True)
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(reviewed), Reviewed())
        self.assertEqual((len(policy.peers), len(other.peers)), (1, 1))

    def test_hangs(self) -> None:
        """A policy that does not answer is a no after its deadline; whose turn does not come is left as he is."""
        factory = self.served()
        for _ in range(mytls.review._AT_ONCE * 7):
            self.client(factory)
        policy = Asked(*(Deferred() for _ in range(400)))
        factory.swap(self.hosts(policy))
        reviewed = factory.review(close=True)
        self.clock.pump([0.0, *[5.0] * 7])
        self.assertEqual(len(policy.peers), mytls.review._AT_ONCE * 6)  # in half a minute
        found = Reviewed(mytls.review._AT_ONCE * 6, undecided=mytls.review._AT_ONCE)
        self.assertEqual(self.successResultOf(reviewed), found)
        self.clock.advance(6)
        self.assertEqual(len(self.of(Closed)), found.out)
        policy.answers = [True] * found.undecided
        reviewed = factory.review(close=True)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reviewed), Reviewed())
        self.assertEqual(len(policy.answers), 0)

    def test_out_of_time(self) -> None:
        """A policy that was asked and had less than its time has not said no."""
        for patience in (0.0, 40.0):
            factory = self.served(patience=patience)
            self.client(factory)
            factory.swap(self.hosts(Asked(Deferred())))
            reviewed = factory.review(close=True)
            self.clock.pump([0.0, 29.0])
            self.assertNoResult(reviewed)
            self.clock.advance(1)
            self.assertEqual(self.successResultOf(reviewed), Reviewed(undecided=1))
            self.clock.advance(6)
            self.assertEqual(self.of(Closed), [])

    def test_told(self) -> None:
        """Who was not decided about is not called one who may not enter."""
        self.assertEqual(shut_out(Reviewed(), close=True), [])
        self.assertEqual(
            shut_out(Reviewed(2) + Reviewed(1, 5), close=True),
            [
                "3 connections of clients who may not enter any more: closed",
                "5 connections of clients whom the policy had no time to decide about: left",
            ],
        )
        self.assertEqual(
            shut_out(Reviewed(undecided=1), close=False),
            ["1 connection of a client whom the policy had no time to decide about: left"],
        )

    def test_bug(self) -> None:
        """Where an answer cannot be judged, by a bug of ours, that is logged, and it is a no."""
        factory = self.served()
        self.client(factory)
        self.patch(mytls.review, "ask", lambda *about: fail(ZeroDivisionError()))
        factory.swap(self.hosts(Asked()))
        reviewed = factory.review(close=True)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reviewed), Reviewed(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(6)
        self.assertEqual(len(self.of(Closed)), 1)

    def test_gone_meanwhile(self) -> None:
        """Who has gone before the answer comes is not counted."""
        factory = self.served()
        link = self.client(factory)
        answer: Deferred[object] = Deferred()
        factory.swap(self.hosts(Asked(answer)))
        reviewed = factory.review(close=True)
        self.clock.advance(0)
        link.reset()
        answer.callback(False)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reviewed), Reviewed())

    def test_waiting_at_the_reload(self) -> None:
        """Who was waiting for an answer is let in by the policy that is served by now, whatever the old one says."""
        first: Deferred[object] = Deferred()
        for later, entered in ((True, 1), (False, 0)):
            self.events.clear()
            first = Deferred()
            old, new = Asked(first), Asked(later)
            factory = self.served(old)
            self.client(factory)
            factory.swap(self.hosts(new))
            self.assertEqual(old.stopped, 1)
            first.callback(not later)
            self.assertEqual(len(new.peers), 1)
            self.assertEqual(len(self.of(Established)), entered)
            self.assertEqual([each.cause for each in self.of(HandshakeFailed)], [Cause.POLICY] * (1 - entered))


class PassedOnTests(RunningTests):
    """Clients whose ciphertext is passed on."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.raw, self.handler = RecorderFactory(), RecorderFactory()

    def hosts(self, *sources: str, alpn: tuple[bytes, ...] = ()) -> Hosts:
        """A host that is passed on, whose clients come from these networks; with C{alpn}, behind one for nobody."""
        names = ("raw.example",)
        maker, nowhere = connection_maker(tls_options()), Sources((network("198.51.100.0/24"),))
        allowed = Sources(tuple(network(each) for each in sources))
        raw = Host(None, self.raw, names=names, alpn=alpn, sources=allowed)
        return Hosts.of([Host(maker, names=names, sources=nowhere), raw] if alpn else [raw], None)

    def client(self, hosts: Hosts, alpn: tuple[bytes, ...] = ()) -> TLSFactory:
        """Somebody whose ClientHello was passed on. @return: the listener"""
        told = Observers([self.events.append])
        factory = TLSFactory(hosts, self.handler, self.clock, Deadlines(), told)
        link = Link(
            factory=factory, handler=self.raw, server_name=b"raw.example", alpn=list(alpn) or None, clock=self.clock
        )
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        self.assertNotEqual(link.recorder.data, b"")
        return factory

    def reviewed(self, factory: TLSFactory, hosts: Hosts) -> Reviewed:
        """What is found after a swap."""
        factory.swap(hosts)
        reviewed = factory.review(close=True)
        self.clock.advance(0)
        found = self.successResultOf(reviewed)
        assert isinstance(found, Reviewed)
        return found

    def test_where_from(self) -> None:
        """They are cut where nobody may connect from any more."""
        factory = self.client(self.hosts())
        self.assertEqual(self.reviewed(factory, self.hosts("192.0.2.0/24")), Reviewed())
        self.assertEqual(self.reviewed(factory, self.hosts("10.0.0.0/8")), Reviewed(1))
        self.clock.advance(6)
        (closed,) = [each for each in self.events if isinstance(each, Closed)]
        self.assertIs(closed.cause, Cause.FROM)

    def test_by_protocol(self) -> None:
        """Their host is that of the protocols that they have offered: they agree on one with somebody else."""
        factory = self.client(self.hosts(alpn=(b"acme-tls/1",)), (b"acme-tls/1",))
        self.assertEqual(self.reviewed(factory, self.hosts("192.0.2.0/24", alpn=(b"acme-tls/1",))), Reviewed())
        self.assertEqual(self.reviewed(factory, self.hosts("10.0.0.0/8", alpn=(b"acme-tls/1",))), Reviewed(1))


class HandshakeTests(ReviewTests):
    """Handshakes that are under way."""

    def half_way(self, version: int) -> Link:
        """Ann has sent her ClientHello, and has the server's answer."""
        link = Link(
            factory=self.reactor.listening[1],
            server_name=b"a.example",
            context=showing(self.ann, client_context(version)),
        )
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_client()
        return link

    def test_rule_gone(self) -> None:
        """Who has begun under the old rules does not enter by them, whatever happens with those who are there."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for more in ("", CLOSE):
                made = self.of_file(RULES + BOTH, more=more)
                link = self.half_way(version)
                self.assertEqual(self.reload(RULES + BEN, more=more), ["a.example: other allow"])
                link.handshake()
                self.assertEqual(bytes(link.received), b"")
                (failed,) = [each for each in self.events if isinstance(each, HandshakeFailed)]
                self.assertIs(failed.cause, Cause.NOT_ALLOWED)
                self.assertEqual([each for each in self.events if isinstance(each, Established)], [])
                made.stopService()
                self.reactor.advance(60)

    def test_where_from(self) -> None:
        """Who is where nobody may connect from by now does not enter either."""
        self.of_file(RULES + BOTH)
        link = self.half_way(SSL.TLS1_3_VERSION)
        self.reload(RULES + BOTH + '\nfrom = "10.0.0.0/8"')
        link.handshake()
        (failed,) = [each for each in self.events if isinstance(each, HandshakeFailed)]
        self.assertEqual((failed.cause, failed.detail), (Cause.FROM, "192.0.2.1 is in no network of from"))

    def test_still_allowed(self) -> None:
        """Who may enter by the new rules too does, and no later look finds him."""
        self.of_file(RULES + BOTH, more=CLOSE)
        link = self.half_way(SSL.TLS1_3_VERSION)
        self.reload(RULES + ANN, more=CLOSE)
        link.handshake()
        self.assertEqual(self.says(link, b"in"), b"in")
        self.issue("b")
        self.assertEqual(self.reload(RULES + ANN, A.replace(":1", ":2"), more=CLOSE), ["0.0.0.0:2 is new"])
