"""Policies in Rego: the processes that they live in, what they are told, what is a yes."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards import policy, rego, rego_worker
from mytls.guards.bundle import Bundle, Query
from mytls.guards.policy import Unanswered, ask
from mytls.guards.rego import RegoPolicy, command, input_of, rego_digest, rego_policy, source_of
from mytls.guards.workers import IDLE, LONGEST, MOST_FOR_ONE, MOST_STARTS, MOST_WORKERS, UNAWAITED
from mytls.peer import Identity, Peer
from mytls.settings import HostSettings
from mytls.tls.files import Files
from tests.files import folder
from tests.tls.authority import Authority, ec_key

PEER = Peer(None)


class Process:
    """
    A process as a reactor has it.

    @ivar written: the lines on its standard input
    @ivar killed: the signals that it was sent
    """

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.written: list[Any] = []
        self.killed: list[str] = []
        self.exited = False
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        self.written += [json.loads(line) for line in data.splitlines()]

    def signalProcess(self, name: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.killed.append(name)

    def says(self, text: str) -> None:
        self.protocol.outReceived(text.encode())

    def ends(self, status: int | None = None, killed_by: int | None = None) -> None:
        self.exited = True
        ended = ProcessTerminated(status, killed_by, None) if status or killed_by else ProcessDone(0)
        self.protocol.processEnded(Failure(ended))


class Processes(Clock):
    """
    A reactor with processes in memory.

    @ivar started: all that were
    @ivar how: the arguments of the last
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Process] = []
        self.trouble: Exception | None = None

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **how: Any) -> Process:
        if self.trouble is not None:
            raise self.trouble
        self.how = {"executable": executable, "args": args, **how}
        self.started.append(Process(protocol))
        return self.started[-1]


class WorkerTests(SynchronousTestCase):
    """Who answers, and when it is killed."""

    def setUp(self) -> None:
        self.reactor = Processes()
        bundle = Bundle({"p.rego": "package mytls"}, {"x": 1})
        self.policy = RegoPolicy("p.rego", b"", bundle, Query.of("data.mytls.allow"))

        self.asked = 0

    def ask(self, name: str = "a.example", address: str | None = None) -> Deferred[object]:
        """Ask about somebody. @param address: where from; from elsewhere than all others, if nothing is said"""
        self.asked += 1
        address = address or f"192.0.2.{self.asked}"
        return self.policy.decide(Peer(IPv4Address("TCP", address, 1), name), self.reactor)

    def names(self) -> list[str]:
        """Who was asked about, in the order in which the processes were started, and were asked."""
        return [line["server_name"][0] for each in self.reactor.started for line in each.written[1:]]

    def unanswered(self, answer: Deferred[object]) -> str:
        return str(self.failureResultOf(answer, Unanswered).value)

    def all_quiet(self) -> None:
        """Nothing is left that would happen by itself."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_first_question(self) -> None:
        """A process is started for the first question: isolated, with nothing of ours but three pipes."""
        self.assertEqual(self.reactor.started, [])
        answer = self.ask()
        (process,) = self.reactor.started
        how = self.reactor.how
        self.assertEqual(how["executable"], sys.executable)
        self.assertEqual(how["args"], command("serve"))
        self.assertEqual(how["args"][1:3], ["-I", "-S"])
        self.assertEqual((how["env"], how["path"], how["childFDs"]), ({}, "/", {0: "w", 1: "r", 2: "r"}))
        policy, question = process.written
        self.assertEqual(
            policy, {"modules": {"p.rego": "package mytls"}, "data": {"x": 1}, "query": "data.mytls.allow"}
        )
        peer = Peer(IPv4Address("TCP", "192.0.2.1", 1), "a.example")
        self.assertEqual(question, json.loads(json.dumps(input_of(peer))))
        self.assertNoResult(answer)
        process.says("true\n")
        self.assertIs(self.successResultOf(answer), True)

    def test_answers(self) -> None:
        """True is true, and nothing else is; whatever is no answer is none."""
        for said in ("false", "1", '"true"', "null", "[true]"):
            answer = self.ask()
            self.reactor.started[0].says(said + "\n")
            self.assertIs(self.successResultOf(answer), False, said)
        answer = self.ask()
        self.reactor.started[0].says('{"error": "its query fails\\n"}\n')
        self.assertEqual(self.unanswered(answer), r"its query fails\x0a")
        answer = self.ask()
        self.reactor.started[0].says("tru")
        self.reactor.started[0].says("e\n")
        self.assertIs(self.successResultOf(answer), True)
        self.assertEqual(len(self.reactor.started), 1)

    def test_nonsense(self) -> None:
        """A process that says what it was not asked, or does not stop to talk, is killed, and nobody enters by it."""
        for said in ("true\ntrue\n", "x" * 5000):
            answer = self.ask()
            process = self.reactor.started[-1]
            process.says(said)
            self.assertEqual(self.unanswered(answer), "its process says what it was not asked")
            self.assertEqual(process.killed, ["KILL"])
            process.ends(killed_by=9)
        answer = self.ask()
        self.reactor.started[-1].says("nonsense\n")
        self.assertEqual(self.unanswered(answer), "its process says what is no answer")
        self.reactor.started[-1].says("true\n")
        self.assertEqual(self.reactor.started[-1].killed, ["KILL"])
        self.all_quiet()

    def test_a_few_at_a_time(self) -> None:
        """One question at a time each, and so many processes; the next question is the first that can be asked."""
        answers = [self.ask(str(number)) for number in range(MOST_WORKERS + 2)]
        self.assertEqual(len(self.reactor.started), MOST_WORKERS)
        self.assertEqual([len(each.written) for each in self.reactor.started], [2] * MOST_WORKERS)
        slow, quick = self.reactor.started[0], self.reactor.started[1]
        for number in (MOST_WORKERS, MOST_WORKERS + 1):
            quick.says("true\n")
            self.assertEqual(quick.written[-1]["server_name"], [str(number)])
        quick.says("false\n")
        self.assertEqual([answer.called for answer in answers].count(False), MOST_WORKERS - 1)
        self.assertIs(self.successResultOf(answers[-1]), False)
        self.assertEqual(len(slow.written), 2)

    def test_no_line_has_all(self) -> None:
        """However many questions somebody has, a process is left for others; it is theirs when it is free."""
        evil = [self.ask(f"evil {number}", "203.0.113.1") for number in range(10)]
        self.assertEqual(len(self.reactor.started), MOST_FOR_ONE)
        honest = self.ask("honest")
        self.assertEqual(len(self.reactor.started), MOST_WORKERS)
        self.reactor.started[-1].says("true\n")
        self.assertIs(self.successResultOf(honest), True)
        self.assertEqual(self.names(), ["evil 0", "evil 1", "evil 2", "honest"])
        self.reactor.started[0].says("false\n")
        self.assertEqual(self.reactor.started[0].written[-1]["server_name"], ["evil 3"])
        self.reactor.started[1].ends(killed_by=9)
        self.unanswered(evil[1])
        self.assertEqual(self.reactor.started[-1].written[-1]["server_name"], ["evil 4"])

    def test_in_turn(self) -> None:
        """Whoever asks has a turn after everybody who waits, however many questions they have."""
        for number in range(MOST_WORKERS):
            self.ask("first", f"198.51.100.{number}")
        for name, address in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")):
            self.ask(name, f"2001:db8:0:{address}::1")
        process = self.reactor.started[0]
        for _ in range(6):
            process.says("true\n")
        asked = [line["server_name"][0] for line in process.written[2:]]
        self.assertEqual(asked, ["a1", "b1", "c1", "a2", "b2", "a3"])

    def test_too_many(self) -> None:
        """When too many wait whoever has most of them loses the last; then whoever has come last. It is told seldom."""
        self.patch(policy, "MOST_WAITING", 4)
        for number in range(MOST_WORKERS):
            self.ask("first", f"198.51.100.{number}")
        with capturedLogs() as events:
            evil = [self.ask("evil", "203.0.113.1") for _ in range(10)]
            self.assertEqual([each.called for each in evil], [False] * 4 + [True] * 6)
            honest = [self.ask() for _ in range(4)]
            waiting = (*evil[:4], *honest)
            self.assertEqual([each.called for each in waiting], [False, True, True, True, False, False, False, True])
        for each in (*evil[1:], honest[3]):
            self.assertEqual(self.unanswered(each), "4 others wait for it")
        self.assertEqual(
            [formatEvent(event) for event in events], ["rego=p.rego: 4 wait for its answer, others are refused"]
        )

    def test_starts_are_seldom(self) -> None:
        """Processes that end again and again are started anew so many times in a second; who waits has the next."""
        for _ in range(MOST_STARTS):
            answer = self.ask()
            self.reactor.started[-1].ends(killed_by=6)
            self.unanswered(answer)
        answers = [self.ask(), self.ask()]
        self.reactor.advance(0.9)
        self.assertEqual(len(self.reactor.started), MOST_STARTS)
        self.reactor.advance(0.2)
        self.assertEqual(len(self.reactor.started), MOST_STARTS + 2)
        for process, answer in zip(self.reactor.started[-2:], answers, strict=True):
            process.says("true\n")
            self.assertIs(self.successResultOf(answer), True)

    def test_clock_is_set(self) -> None:
        """A clock that is set back to yesterday keeps nobody waiting until then."""
        self.reactor.rightNow = 86400.0
        for _ in range(MOST_STARTS):
            answer = self.ask()
            self.reactor.started[-1].ends(killed_by=6)
            self.unanswered(answer)
        self.reactor.rightNow = 0.0
        answer = self.ask()
        self.reactor.started[-1].says("true\n")
        self.assertIs(self.successResultOf(answer), True)

    def test_nobody_waits_for_a_start(self) -> None:
        """Where nobody waits for a process any more, by whatever way, none is thought of."""
        answers = [self.ask() for _ in range(MOST_STARTS)]
        for process in tuple(self.reactor.started[1:]):
            process.ends(killed_by=6)
        waiting = [self.ask(), self.ask()]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.reactor.started[0].says("true\n")
        self.reactor.started[0].says("true\n")
        self.assertIs(self.successResultOf(waiting[1]), True)
        self.assertIs(self.successResultOf(answers[0]), True)
        for answer in answers[1:]:
            self.unanswered(answer)
        gone = self.ask("gone", "203.0.113.1")
        self.reactor.started[0].ends(killed_by=6)
        last = self.ask("gone", "203.0.113.1")
        last.cancel()
        self.unanswered(gone)
        self.failureResultOf(last, CancelledError)
        self.all_quiet()
        self.assertEqual(len(self.reactor.started), MOST_STARTS)

    def test_too_long(self) -> None:
        """A question without an end has one: its process is killed, and the next question gets another."""
        answer, waiting = self.ask(), [self.ask() for _ in range(MOST_WORKERS)]
        self.reactor.advance(LONGEST - 1)
        self.assertNoResult(answer)
        self.reactor.advance(1)
        self.assertEqual(self.unanswered(answer), f"its query took over {LONGEST:.0f} seconds")
        self.assertEqual(self.reactor.started[0].killed, ["KILL"])
        self.assertEqual(len(self.reactor.started), MOST_WORKERS + 1)
        self.reactor.started[0].ends(killed_by=9)
        self.reactor.started[-1].says("true\n")
        self.assertIs(self.successResultOf(waiting[-1]), True)
        for each in waiting[:-1]:
            self.unanswered(each)

    def test_nobody_waits_any_more(self) -> None:
        """A question that nobody waits for is over soon, or its process is; one that was not asked yet never is."""
        answers = [self.ask() for _ in range(MOST_WORKERS + 1)]
        for answer in answers:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        quick, *slow = self.reactor.started
        quick.says("true\n")
        self.reactor.advance(UNAWAITED)
        self.assertEqual((quick.killed, [each.killed for each in slow]), ([], [["KILL"]] * len(slow)))
        self.assertEqual([len(each.written) for each in self.reactor.started], [2] * MOST_WORKERS)
        answer = self.ask()
        quick.says("true\n")
        self.assertIs(self.successResultOf(answer), True)

    def test_process_ends(self) -> None:
        """A process that ends refuses the question that it was asked, and no other."""
        answer = self.ask()
        self.reactor.started[0].ends(killed_by=signal.SIGABRT)
        self.assertEqual(self.unanswered(answer), "its process has ended with signal 6")
        answer = self.ask()
        self.reactor.started[1].ends()
        self.assertEqual(self.unanswered(answer), "its process has ended with status 0")
        answer = self.ask()
        self.reactor.started[2].says("true\n")
        self.reactor.started[2].ends(1)
        self.assertIs(self.successResultOf(answer), True)
        self.all_quiet()

    def test_ended_already(self) -> None:
        """To kill what has ended by itself in this moment is no error."""
        answer = self.ask()
        self.reactor.started[0].exited = True
        self.reactor.advance(LONGEST)
        self.unanswered(answer)
        self.all_quiet()

    def test_idle(self) -> None:
        """A process that has nothing to do for a while is let go."""
        self.ask()
        self.reactor.started[0].says("true\n")
        self.reactor.advance(IDLE - 1)
        self.ask()
        self.reactor.started[0].says("true\n")
        self.reactor.advance(IDLE - 1)
        self.assertEqual(self.reactor.started[0].killed, [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.started[0].killed, ["KILL"])
        self.reactor.started[0].ends(killed_by=9)
        self.all_quiet()

    def test_stop(self) -> None:
        """Processes that have nothing to do are gone at once; others when those who wait have their answers."""
        answers = [self.ask() for _ in range(3)]
        idle, busy, unawaited = self.reactor.started
        idle.says("true\n")
        answers[2].cancel()
        self.failureResultOf(answers[2], CancelledError)
        self.policy.stop()
        self.assertEqual([each.killed for each in (idle, busy, unawaited)], [["KILL"], [], ["KILL"]])
        busy.says("true\n")
        self.assertIs(self.successResultOf(answers[1]), True)
        self.assertEqual(busy.killed, ["KILL"])
        self.all_quiet()

    def test_stop_and_nobody_waits(self) -> None:
        """After a stop a question that nobody waits for is killed at once."""
        answer = self.ask()
        self.policy.stop()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reactor.started[0].killed, ["KILL"])
        self.all_quiet()

    def test_asked_after_stop(self) -> None:
        """Whoever is still asking, as another listener, gets an answer."""
        self.policy.stop()
        answer = self.ask()
        self.reactor.started[0].says("true\n")
        self.assertIs(self.successResultOf(answer), True)

    def test_asked_again_by_who_was_answered(self) -> None:
        """Who has an answer may ask at once, or stop it all; no question is lost by it."""
        answers = [self.ask(str(number)) for number in range(MOST_WORKERS + 1)]
        process = self.reactor.started[0]
        again: list[Deferred[object]] = []
        answers[0].addCallback(lambda _: again.append(self.ask("again")))
        process.says("true\n")
        for asked in ([str(MOST_WORKERS)], ["again"]):
            self.assertEqual(process.written[-1]["server_name"], asked)
            process.says("true\n")
        self.assertIs(self.successResultOf(answers[-1]), True)
        self.assertIs(self.successResultOf(again[0]), True)
        self.ask().addCallback(lambda _: self.policy.stop())
        process.says("true\n")
        self.assertEqual(process.killed, ["KILL"])

    def test_cannot_be_started(self) -> None:
        """Where the system gives no process, the peer is refused."""
        self.reactor.trouble = OSError(11, "Resource temporarily unavailable")
        self.assertIn("Resource temporarily unavailable", self.unanswered(self.ask()))
        self.reactor.trouble = None
        answer = self.ask()
        self.reactor.started[0].says("true\n")
        self.assertIs(self.successResultOf(answer), True)

    def test_who_is_asked_for(self) -> None:
        """Who shows a certificate has the line of that, from wherever; others have that of their address."""
        root = Authority("Root")
        friend, other = (Identity.of(root.client(name).certificate) for name in ("friend", "other"))
        one, two = IPv4Address("TCP", "192.0.2.1", 5), IPv4Address("TCP", "192.0.2.2", 6)
        network = [IPv6Address("TCP", f"2001:db8::{at}", 5) for at in ("1", "ffff:1", "1:0:0:0:1")]
        lines = (
            (Peer(one, identity=friend), Peer(two, identity=friend)),
            (Peer(one, identity=other),),
            (Peer(one), Peer(one, "b.example")),
            (Peer(two),),
            (Peer(network[0]), Peer(network[1])),
            (Peer(network[2]),),
            (Peer(None), Peer(UNIXAddress(b"/x"))),
        )
        whose = [{rego._whose(peer) for peer in line} for line in lines]
        self.assertEqual([len(each) for each in whose], [1] * len(lines))
        self.assertEqual(len(set.union(*whose)), len(lines))


class InputTests(SynchronousTestCase):
    """What a policy is told."""

    def refusal(self, peer: Peer) -> str:
        """Why a policy is not asked."""
        policy = RegoPolicy("p.rego", b"", Bundle({}, {}), Query.of("data.mytls.allow"))
        reactor = Processes()
        refusal = self.successResultOf(ask([policy], peer, reactor))
        self.assertEqual(reactor.started, [])
        return str(refusal)

    def is_asked(self, peer: Peer) -> bool:
        """Whether a policy is."""
        policy, reactor = RegoPolicy("p.rego", b"", Bundle({}, {}), Query.of("data.mytls.allow")), Processes()
        self.assertNoResult(ask([policy], peer, reactor))
        return len(reactor.started) == 1

    def test_many_names(self) -> None:
        """Who has very many names is not asked about; a hundred are not too many."""
        for count, few in ((100, True), (101, False)):
            names = x509.SubjectAlternativeName([x509.DNSName(f"a{number}.example") for number in range(count)])
            certificate = Authority("Root")._sign(x509.Name([]), ec_key(), names)
            peer = Peer(None, identity=Identity.of(certificate))
            if few:
                self.assertTrue(self.is_asked(peer))
            else:
                self.assertEqual(
                    self.refusal(peer),
                    "rego=p.rego has not answered: the certificate has 101 names of the kind dns, over 100",
                )

    def test_misread(self) -> None:
        """Who has a character for which Rego's functions see others is not asked about; all others are."""
        for character in ('"', "\\", "\0", "\x08", "\n", "\x1f", "\x7f"):
            self.assertEqual(
                self.refusal(Peer(None, f"admin{character}b")),
                "rego=p.rego has not answered: server_name has a character that Rego would misread",
            )
            pair = Authority("Root").client("x")
            named = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{character}uild")])
            peer = Peer(None, identity=Identity.of(Authority("Root")._sign(named, pair.key)))
            self.assertIn("ou has a character", self.refusal(peer))
        for text in ("a b", "a'b`", "{}[]", "caf\u00e9", "\u2028", "\U0001f600", "\x80"):
            self.assertTrue(self.is_asked(Peer(None, text)), repr(text))

    def test_misread_issuer(self) -> None:
        """The name of a CA may have a comma, which RFC 4514 writes with a backslash; but no control character."""
        for name, fine in (("Example, Inc.", True), ('The "Root"', True), ("Ro\bot", False)):
            peer = Peer(None, identity=Identity.of(Authority(name).client("friend").certificate))
            if fine:
                self.assertTrue(self.is_asked(peer), name)
            else:
                self.assertIn("issuer has a character", self.refusal(peer))

    def test_certificate(self) -> None:
        """The words of rules, as lists of text."""
        certificate = Authority("Root").client("friend").certificate
        identity = Identity.of(certificate)
        told = input_of(Peer(IPv4Address("TCP", "192.0.2.1", 5), "a.example", "h2", "TLSv1.3", identity=identity))
        self.assertEqual(
            {name: told[name] for name in ("cn", "ou", "dns", "issuer", "serial", "spki", "spiffe")},
            {
                "cn": ["friend"],
                "ou": [],
                "dns": ["friend"],
                "issuer": ["CN=Root"],
                "serial": [identity.serial],
                "spki": list(identity.spki),
                "spiffe": [],
            },
        )
        self.assertEqual(
            [told[name] for name in ("address", "server_name", "alpn", "version")],
            [["192.0.2.1"], ["a.example"], ["h2"], ["TLSv1.3"]],
        )
        self.assertTrue(all(pin.startswith(("sha256:", "sha384:", "sha512:")) for pin in told["spki"]))

    def test_nothing(self) -> None:
        """Where there is nothing the lists are empty, so that no comparison is with nothing."""
        self.assertEqual({tuple(each) for each in input_of(Peer(None)).values()}, {()})
        self.assertEqual(input_of(Peer(UNIXAddress(b"/x")))["address"], [])
        self.assertEqual(input_of(Peer(IPv6Address("TCP", "2001:db8::1", 5)))["address"], ["2001:db8::1"])


class CheckTests(SynchronousTestCase):
    """What is found before anybody is asked."""

    def policy(self, source: str, **said: Any) -> RegoPolicy:
        return rego_policy(HostSettings(rego="rules/p.rego", **said), source.encode())

    def refused(self, source: str, **said: Any) -> str:
        wrote = {"rego": "m.toml:3: rego", "rego-query": "m.toml:4: rego-query"}
        return str(self.assertRaises(ConfigurationError, self.policy, source, wrote=wrote, **said))

    def test_good(self) -> None:
        """A policy that compiles and has the rule."""
        made = self.policy('package mytls\nimport rego.v1\ndefault allow := false\nallow if "x" in input.cn')
        self.assertEqual(made.written, "rego=rules/p.rego")

    def test_errors(self) -> None:
        """Whatever is wrong with a policy is one line, with the place in it where that is known."""
        self.assertEqual(
            self.refused("package mytls\n\nallow if {"), "m.toml:3: rego=rules/p.rego: p.rego:3:10: this is unclosed"
        )
        self.assertIn("is each function there?", self.refused("package mytls\nallow if { nothing(1) }"))
        self.assertEqual(self.refused("\0"), "m.toml:3: rego=rules/p.rego: p.rego: there is a NUL in it")

    def test_query(self) -> None:
        """A query with a mistake in it, which would be a no for everybody, is one too."""
        source = "package mytls\nallow := true"
        self.assertEqual(
            self.refused(source, rego_query="data.mytls.alow"),
            "m.toml:4: rego-query=data.mytls.alow: there is no such rule; did you mean 'data.mytls.allow'?",
        )
        self.assertEqual(
            self.refused(source, rego_query="true"),
            "m.toml:4: rego-query=true: expected the name of a rule, such as data.mytls.allow",
        )

    def test_no_query(self) -> None:
        """Where nobody has said a query, it is the file that has not the rule that is asked for."""
        self.assertEqual(
            self.refused("package other\nallow := true"),
            "m.toml:3: rego=rules/p.rego: it has no rule data.mytls.allow, and rego-query says no other",
        )

    def test_hangs(self) -> None:
        """A policy that does not come to an end without any peer does not start the service."""
        self.patch(rego, "CHECK", 0.3)
        self.assertEqual(self.refused(ENDLESS % "true"), "m.toml:3: rego=rules/p.rego: " + NOT_IN_TIME)

    def test_library(self) -> None:
        """Without the library there is one line that says how to get it."""
        self.patch(rego, "find_spec", lambda name: None)
        self.assertEqual(
            self.refused("package mytls\nallow := true"),
            "m.toml:3: rego=rules/p.rego: policies in Rego need another library: pip install 'mytls[rego]'",
        )

    def test_no_process(self) -> None:
        """Where the system gives no process that is the line."""

        def no_more(*arguments: Any, **words: Any) -> None:
            raise OSError(11, "Resource temporarily unavailable")

        self.patch(subprocess, "run", no_more)
        self.assertIn("could not be started", self.refused("package mytls\nallow := true"))

    def test_no_room(self) -> None:
        """A policy that is too much for its process is one line."""
        self.patch(rego, "MEMORY", 50 << 20)
        self.assertRegex(self.refused(GREEDY), "^m.toml:3: rego=rules/p.rego: its process has ended with signal 6")

    def test_digest(self) -> None:
        """What is another file's content, or another query, is another policy."""
        where = folder(self)
        path = where / "p.rego"
        path.write_bytes(b"package mytls")
        settings = HostSettings(rego=str(path))
        content = source_of(settings, Files())
        self.assertEqual(rego_digest(settings, content), rego_digest(settings, b"package mytls"))
        other = HostSettings(rego=str(path), rego_query="data.x")
        self.assertEqual(len({rego_digest(settings, content), rego_digest(settings, b""), rego_digest(other, b"")}), 3)
        self.assertRaises(ConfigurationError, source_of, HostSettings(rego="nowhere.rego"), Files())


NOT_IN_TIME = "it was not read and tried within 0 seconds"

ENDLESS = """package mytls
import rego.v1
far := numbers.range(1, 1500)
allow if { %s; every i in far { every j in far { every k in far { i + j + k > 0 } } } }
"""

GREEDY = """package mytls
import rego.v1
allow if count([[i, j] | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000)]) == 1
"""


class RealWorkerTests(SynchronousTestCase):
    """The process itself."""

    def run_worker(
        self, source: str, *inputs: Any, data: Any = None, **limits: Any
    ) -> subprocess.CompletedProcess[bytes]:
        policy = {"modules": {"p.rego": source}, "data": data or {}, "query": "data.mytls.allow"}
        python, *words = command("serve")
        words[-3:-1] = [str(limits.get("memory", 512 << 20)), str(limits.get("seconds", 20))]
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in (policy, *inputs))
        return subprocess.run(
            [python, *words], input=lines, capture_output=True, env={}, timeout=60, check=False, cwd="/"
        )

    def answers(self, source: str, *inputs: Any, **words: Any) -> list[Any]:
        done = self.run_worker(source, *inputs, **words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_answers(self) -> None:
        """It answers each question in its order, and ends when there is nobody to ask."""
        source = "package mytls\nimport rego.v1\ndefault allow := false\nallow if input.cn == data.friends"
        asked: tuple[Any, ...] = ({"cn": ["x"]}, {"cn": ["a", "b"]}, {}, {"cn": ["a", "b"]})
        self.assertEqual(self.answers(source, *asked, data={"friends": ["a", "b"]}), [False, True, False, True])

    def test_exactly_true(self) -> None:
        """What is merely not false is no yes."""
        for value in ("1", '"true"', "[true]", '{"a": true}', "null"):
            self.assertEqual(self.answers(f"package mytls\nallow := {value}", {}), [False], value)

    def test_awkward_names(self) -> None:
        """A name equals itself and no other: NUL, quotes, backslashes, newlines, whatever stands in it."""
        names = ["ops", "ops\0", "ops\0x", "\0ops", 'o"ps', "o\\ps", "o\\\\ps", "ops\n", "ops\\n", "\\u006fps", "öps"]
        names += ["o\x7fps", "ops ", "o`ps", "{ops}", "${ops}", "\U0001f600", "\u2028", ""]
        written = [name for name in names if not any(ord(each) < 32 for each in name)]
        rules = "".join(
            f"allow if {{ input.is == {json.dumps(str(at))}; input.cn[_] == {json.dumps(name, ensure_ascii=False)} }}\n"
            for at, name in enumerate(written)
        )
        asked: list[tuple[int, str, str]] = [(at, own, other) for at, own in enumerate(written) for other in names]
        inputs = [{"is": str(at), "cn": [other]} for at, _, other in asked]
        expected = [own == other for _, own, other in asked]
        self.assertEqual(self.answers("package mytls\nimport rego.v1\n" + rules, *inputs), expected)
        for own in names:
            source = "package mytls\nimport rego.v1\nallow if data.own in input.cn"
            inputs = [{"cn": [other]} for other in names]
            self.assertEqual(
                self.answers(source, *inputs, data={"own": own}), [own == other for other in names], repr(own)
            )

    def test_characters(self) -> None:
        """Its functions see the characters of each text that a policy is asked about, those of other languages too."""
        texts = ("plain", "caf\u00e9", "\u65e5\u672c", "a\U0001f600", "e\u0301", "\u2028x", "\x80x", "a/b'`{x}$%")
        for text in texts:
            source = (
                "package mytls\nimport rego.v1\nallow if {\n"
                f"count(input.cn[0]) == {len(text)}\n"
                f"startswith(input.cn[0], data.first)\nendswith(input.cn[0], data.last)\n"
                f"contains(input.cn[0], data.last)\nsplit(input.cn[0], data.last)[0] == data.rest\n"
                'replace(input.cn[0], data.last, "") == data.rest\nsubstring(input.cn[0], 0, 1) == data.first\n'
                'concat("", [data.rest, data.last]) == input.cn[0]\n}'
            )
            data = {"first": text[0], "last": text[-1], "rest": text[:-1]}
            self.assertEqual(self.answers(source, {"cn": [text]}, data=data), [True], ascii(text))

    def test_fails(self) -> None:
        """A query that fails says so, and the next question is answered."""
        source = (
            "package mytls\nimport rego.v1\nallow if input.x == 1\nallow := 2 if input.x == 3\nallow if input.x == 3"
        )
        first, second, third = self.answers(source, {"x": 3, "y": 2}, {"x": 1}, {"x": "\ud800"})
        self.assertTrue(first["error"].startswith("its query fails"), first)
        self.assertIs(second, True)
        self.assertIn("UnicodeEncodeError", third["error"])

    def test_environment(self) -> None:
        """A policy sees nothing of the environment, of the disk or of the network."""
        source = "package mytls\nimport rego.v1\nallow if not opa.runtime().env.PATH"
        self.assertEqual(self.answers(source, {}), [True])
        self.assertNotEqual(self.run_worker('package mytls\nallow if http.send({"url": "x"})', {}).stdout, b"true\n")

    def test_takes_memory(self) -> None:
        """A query that takes memory without bound ends its process."""
        done = self.run_worker(GREEDY, {}, memory=100 << 20)
        self.assertEqual((done.stdout, done.returncode), (b"", -signal.SIGABRT))

    def test_takes_time(self) -> None:
        """A query that takes too long ends its process, also when nobody is there to kill it."""
        since = time.monotonic()
        done = self.run_worker(ENDLESS % "input.slow", {}, {"slow": True}, seconds=0.5)
        self.assertEqual((done.stdout, done.returncode), (b"false\n", -signal.SIGALRM))
        self.assertLess(time.monotonic() - since, 15)

    def test_no_core(self) -> None:
        """It leaves no core file, writes no file and starts no other process."""
        script = os.path.join(os.path.dirname(rego.__file__), "rego_worker.py")
        names = ("CORE", "FSIZE", "NPROC")
        limits = ", ".join(f"resource.getrlimit(resource.RLIMIT_{name})[1]" for name in names)
        code = f"import runpy, resource; w = runpy.run_path({script!r}); w['confine'](1 << 28, 0); print({limits})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
        self.assertEqual((done.stdout, done.stderr), ("0 0 0\n", ""))

    def test_first_to_go(self) -> None:
        """Where the machine has no memory left, it is what Linux ends first."""
        if sys.platform != "linux":
            self.skipTest("it is Linux that does")
        with subprocess.Popen(
            command("serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            policy = {"modules": {"p.rego": "package mytls\nallow := true"}, "data": {}, "query": "data.mytls.allow"}
            process.stdin.write(json.dumps(policy).encode() + b"\n{}\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"true\n")
            self.assertEqual(Path(f"/proc/{process.pid}/oom_score_adj").read_text(), "1000\n")
            self.assertNotIn("mytls.allow", Path(f"/proc/{process.pid}/cmdline").read_text())
            process.stdin.close()


class Outcome:
    """What regopy has found out."""

    def __init__(self, *expressions: Any, ok: bool = True) -> None:
        self.results = [self]
        self.expressions = list(expressions)
        self.ok = lambda: ok


class Library:
    """
    regopy's interpreter, as far as the script uses it.

    @ivar told: what it was given
    """

    def __init__(self, outcome: Any = None) -> None:
        self.told: list[Any] = []
        self._outcome = outcome

    def add_module(self, name: str, source: str) -> None:
        self.told.append((name, source))

    def add_data_json(self, text: str) -> None:
        self.told.append(text)

    def set_input_term(self, text: str) -> None:
        self.told.append(text)

    def build(self, query: str) -> str:
        return f"bundle of {query}"

    def query_bundle(self, bundle: str) -> Any:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def save_bundle(self, where: str, bundle: str) -> None:
        assert bundle == "bundle of data"
        paths = (["g0", "m", "allow"], ["g0", "query$1"])
        Path(where).mkdir()
        (Path(where) / "plan.json").write_text(json.dumps({"funcs": {"funcs": [{"path": each} for each in paths]}}))


class ScriptTests(SynchronousTestCase):
    """The script's parts, with a library that says what the test wants."""

    def test_answer(self) -> None:
        """One expression that is True is a yes; what is merely equal to it, and two of them, are none."""
        for outcome, expected in (
            (Outcome(True), True),
            (Outcome(False), False),
            (Outcome(1), False),
            (Outcome(True, True), False),
            (Outcome(), False),
            (Outcome(True, ok=False), {"error": "its query fails"}),
            (ZeroDivisionError("x"), {"error": "its query fails with ZeroDivisionError"}),
        ):
            self.assertIs(type(rego_worker.answer(Library(outcome), "b", b"{}")), type(expected))
            self.assertEqual(rego_worker.answer(Library(outcome), "b", b"{}"), expected)

    def test_strings(self) -> None:
        """What is text is given as JSON has it at its shortest, so that the same text is the same everywhere."""
        library = Library(Outcome(True))
        rego_worker.load(library, {"modules": {"p": "package m"}, "data": {"a": "caf\u00e9/"}})
        rego_worker.load(library, {"modules": {}, "data": {}})
        rego_worker.answer(library, "b", b'{"cn": ["\\u00e9\\u0000\\/"]}')
        self.assertEqual(library.told, [("p", "package m"), '{"a": "caf\u00e9/"}', '{"cn": ["\u00e9\\u0000/"]}'])

    def test_checked(self) -> None:
        """The rules that there are, without the query's own; and what fails."""
        told = rego_worker.checked(Library(Outcome(False)), "data.m.allow")
        self.assertEqual(told, {"rules": [["m", "allow"]], "error": None})
        self.assertEqual(rego_worker.checked(Library(Outcome(ok=False)), "data.m.allow")["error"], "its query fails")

    def test_no_temporary_folder(self) -> None:
        """Where a container has no folder for temporary files, there is the one of shared memory."""

        def none() -> str:
            raise FileNotFoundError

        self.patch(tempfile, "gettempdir", none)
        self.assertEqual(rego_worker.writable(), "/dev/shm")

    def test_tell(self) -> None:
        """An answer is one line."""
        end, start = os.pipe()
        self.addCleanup(os.close, end)
        rego_worker.tell(start, {"error": "a\nb"})
        os.close(start)
        self.assertEqual(os.read(end, 100), b'{"error": "a\\nb"}\n')


class ExampleTests(SynchronousTestCase):
    """The policies of `conf/examples/policies` do what they say."""

    where = Path(__file__).parent.parent.parent / "conf" / "examples" / "policies"

    def test_agree(self) -> None:
        """The one in Python and the one in Rego let in the same peers."""
        allow = runpy.run_path(str(self.where / "rules.py"))["allow"]
        settings = HostSettings(rego=str(self.where / "policy.rego"))
        policy = rego_policy(settings, source_of(settings, Files()))
        peers = [
            _Known(cn, ou, version)
            for cn in ((), ("build",), ("alice",), ("mallory", "alice"), ("Alice",))
            for ou in ((), ("ci",), ("ops", "ci"))
            for version in ("TLSv1.2", "TLSv1.3")
        ]
        lines = [json.dumps({"cn": each.cn, "ou": each.ou, "version": [each.version]}) for each in peers]
        done = subprocess.run(
            command("serve"),
            input=policy.source + "\n".join((*lines, "")).encode(),
            capture_output=True,
            env={},
            check=True,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(answers, [allow(each) is True for each in peers])
        self.assertEqual(answers.count(True), 4)
        self.assertEqual(allow(_Known(("build",), ("ci",), "TLSv1.2")), "build has to come with TLS 1.3")


@attrs.frozen
class _Known:
    """As much of a peer as these ask for."""

    cn: tuple[str, ...]
    ou: tuple[str, ...]
    version: str
