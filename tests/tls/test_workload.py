"""The newest of what a SPIFFE Workload API issues is at hand, whatever happens to the agent."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import skipIf

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.peer import Identity
from mytls.settings import HostSettings
from mytls.tls import agent
from mytls.tls.agent import ask, socket_path
from mytls.tls.contexts import host_options
from mytls.tls.svids import Issued
from mytls.tls.workload import Following, Workload
from tests.files import folder
from tests.lines import log_lines
from tests.tls.authority import Authority, showing
from tests.tls.issuing import dsa_key

ABSENT = importlib.util.find_spec("spiffe") is None
if not ABSENT:
    import grpc

    from tests.tls.workload_server import PATIENCE, Agent, Svid, TrustDomain

_Value = TypeVar("_Value")
with_spiffe = skipIf(ABSENT, "the package spiffe is not installed")

#: What a process does that asks, becomes a daemon as twistd does, and follows.
DAEMON = """
import os, sys, queue
from mytls.tls.workload import Workload
workload = Workload(sys.argv[1])
workload.fetch()
child = os.fork()
if not child:
    heard = queue.SimpleQueue()
    workload.follow(lambda: heard.put(workload.newest.spiffe_id), heard.put)
    print("follows", flush=True)
    print(heard.get(timeout=20), flush=True)
    workload.stop()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def error_of(call: Callable[[], object]) -> str:
    """The line of the L{ConfigurationError} that this raises."""
    try:
        call()
    except ConfigurationError as error:
        (line,) = str(error).splitlines()
        return line
    raise AssertionError("it raised nothing")


class AddressTests(SynchronousTestCase):
    """Where the agent is, as SPIFFE_ENDPOINT_SOCKET has it."""

    def test_both_spellings(self) -> None:
        """A path with and without an empty authority is the same."""
        for address in ("unix:/run/a.sock", "unix:///run/a.sock"):
            self.assertEqual(socket_path(address), "/run/a.sock")

    def test_other_addresses(self) -> None:
        """What is no absolute path of a UNIX socket is refused before anybody waits for it."""
        for address in (
            "",
            "/run/a",
            "unix:a",
            "unix:",
            "unix:/",
            "unix://host/a",
            "unix:/a?b",
            "unix:/a#b",
            "unix:/\n",
        ):
            line = error_of(lambda: socket_path(address))  # noqa: B023
            self.assertEqual(line, "expected unix:/path/of/the/socket")

    def test_tcp(self) -> None:
        """TCP, which SPIFFE knows and the package does not, is refused with the reason."""
        self.assertEqual(
            error_of(lambda: Workload("tcp:127.0.0.1:8000")),
            "expected unix:/path/of/the/socket (the package spiffe speaks over UNIX sockets alone)",
        )

    def test_package_missing(self) -> None:
        """Who has not installed the package reads what to install."""
        self.patch(agent, "find_spec", lambda name: None)
        self.patch(sys, "modules", {name: each for name, each in sys.modules.items() if name != "spiffe"})
        line = error_of(lambda: Workload("unix:/run/a.sock"))
        self.assertEqual(line, "the package spiffe is not installed: pip install 'mytls[spiffe]'")


class Case(SynchronousTestCase):
    """Has an agent, which listens once it is started."""

    def setUp(self) -> None:
        self.path = str(folder(self) / "agent.sock")
        self.agent = Agent(self.path)
        self.addCleanup(self.agent.stop)
        self.domain = TrustDomain("example.org")

    def workload(self, wait: float = PATIENCE if not ABSENT else 0, first_pause: float = 0.01) -> Workload:
        """One that knows nothing yet."""
        pauses = (first_pause, 0.05)
        made = Workload(f"unix:{self.path}", wait=wait, pauses=pauses, ask=partial(ask, pauses=pauses))
        self.addCleanup(made.stop)
        return made

    def serving(self, *svids: Any, **more: Any) -> None:
        """The agent issues these, and listens."""
        self.agent.issue(*svids, **more)
        self.agent.start()


@with_spiffe
class FetchTests(Case):
    """The first answer, which a service waits for before it listens."""

    def test_first(self) -> None:
        """What is issued is at hand, as cryptography's own: key, certificate, what is between, CAs."""
        svid = self.domain.svid("web", between=True)
        self.serving(svid)
        issued = self.workload().fetch()
        self.assertEqual(issued.spiffe_id, "spiffe://example.org/web")
        self.assertEqual(_der(issued.pair.certificate, *issued.pair.chain), svid.chain)
        key = issued.pair.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.assertEqual((key, len(issued.pair.chain)), (svid.key, 1))
        self.assertEqual(issued.bundles, {"example.org": (self.domain.certificate,)})

    def test_default(self) -> None:
        """Of two SVIDs the first is the default, and the other is there."""
        self.serving(self.domain.svid("first"), self.domain.svid("second"))
        issued = self.workload().fetch()
        self.assertEqual(issued.spiffe_id, "spiffe://example.org/first")
        ids = [Identity.of(each.certificate).spiffe_id for each in issued.pairs]
        self.assertEqual(ids, ["spiffe://example.org/first", "spiffe://example.org/second"])

    def test_federated(self) -> None:
        """The bundles of other trust domains are there under their names, with all of their CAs."""
        partner, renewed = TrustDomain("partner.example"), TrustDomain("partner.example")
        self.serving(self.domain.svid(), federated={"partner.example": partner.bundle + renewed.bundle})
        issued = self.workload().fetch()
        self.assertEqual(sorted(issued.bundles), ["example.org", "partner.example"])
        self.assertEqual({*issued.bundles["partner.example"]}, {partner.certificate, renewed.certificate})
        self.assertEqual(len(issued.authorities), 3)

    def test_agent_comes_late(self) -> None:
        """An agent that starts at the same time as the service is waited for."""
        workload, fetched = self.workload(), SimpleQueue[Issued]()
        self.agent.issue(self.domain.svid())
        threading.Thread(target=lambda: fetched.put(workload.fetch())).start()
        self.agent.start()
        self.assertEqual(fetched.get(timeout=PATIENCE).spiffe_id, "spiffe://example.org/web")

    def test_registered_late(self) -> None:
        """A refusal while the identity is not known to the agent yet is waited out."""
        self.agent.refuse(grpc.StatusCode.PERMISSION_DENIED)
        self.agent.start()
        workload, fetched = self.workload(), SimpleQueue[Issued]()
        threading.Thread(target=lambda: fetched.put(workload.fetch())).start()
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.issue(self.domain.svid())
        self.assertEqual(fetched.get(timeout=PATIENCE).spiffe_id, "spiffe://example.org/web")

    def test_known(self) -> None:
        """What is known is not asked for again, so a reload goes on without the agent."""
        self.serving(self.domain.svid())
        workload = self.workload()
        first = workload.fetch()
        self.agent.stop()
        self.assertIs(workload.fetch(), first)

    def test_no_socket(self) -> None:
        """Where there is no socket, one line says so in the time that was given."""
        self.assertEqual(error_of(self.workload(wait=0.05).fetch), "no such socket; waited 0.05 seconds")

    def test_nobody_listens(self) -> None:
        """A socket that was left behind is nobody's."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        self.assertEqual(
            error_of(self.workload(wait=0.05).fetch),
            "nobody answers there (UNAVAILABLE: Connection refused); waited 0.05 seconds",
        )

    def test_silence(self) -> None:
        """An agent that accepts and says nothing holds up nobody for longer than was given."""
        self.agent.start()
        self.assertEqual(
            error_of(self.workload(wait=0.2, first_pause=0.2).fetch),
            "somebody listens there and does not answer (DEADLINE_EXCEEDED); waited 0.2 seconds",
        )

    def test_denied(self) -> None:
        """Who is not registered reads that, and nothing that the agent has to say in more lines."""
        self.agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no\nidentity")
        self.agent.start()
        self.assertEqual(
            error_of(self.workload(wait=0.05).fetch),
            "the agent knows no identity for this process; register the workload with it (PERMISSION_DENIED); waited "
            "0.05 seconds",
        )

    def test_no_workload_api(self) -> None:
        """Whoever does not understand the question is not asked again (SPIFFE Workload Endpoint, section 6)."""
        self.agent.refuse(grpc.StatusCode.UNIMPLEMENTED)
        self.agent.start()
        self.assertEqual(error_of(self.workload().fetch), "this is no SPIFFE Workload API (UNIMPLEMENTED)")
        self.agent.refuse(grpc.StatusCode.INVALID_ARGUMENT)
        self.assertRegex(error_of(self.workload().fetch), "expected a SPIFFE Workload API")
        self.assertEqual(self.agent.asked.qsize(), 2)

    def test_of_no_use(self) -> None:
        """An answer that nobody could serve with is an error at once, without a byte of the key."""
        good = self.domain.svid()
        foreign = self.domain.svid(key=ec.generate_private_key(ec.SECP256R1()))
        cases = {
            "response is empty": (),
            "does not fit its certificate": (foreign,),
            "TLS servers do not have": (self.domain.svid(key=dsa_key()),),
            "Unable to parse DER": (Svid(good.spiffe_id, good.chain[:-1], good.key, good.bundle),),
            "cRLSign": (self.domain.svid(signs=True),),
            "path component is required": (self.domain.svid(""),),
            "deserialize": (Svid(good.spiffe_id, good.chain, good.key[:40], good.bundle),),
        }
        self.agent.start()
        for expected, svids in cases.items():
            self.agent.issue(*svids)
            self.assertRegex(error_of(self.workload().fetch), f"^what the agent has issued is of no use: .*{expected}")

    def test_aside(self) -> None:
        """Another process asks the same and hands on all of it."""
        self.serving(
            self.domain.svid("web", between=True),
            self.domain.svid("other"),
            federated={"partner.example": TrustDomain("partner.example").bundle},
        )
        aside, here = Workload(f"unix:{self.path}", wait=PATIENCE).fetch(), self.workload().fetch()
        self.assertEqual((aside.digest, aside.bundles), (here.digest, here.bundles))
        self.assertEqual([each.certificate for each in aside.pairs], [each.certificate for each in here.pairs])

    def test_aside_in_vain(self) -> None:
        """Why it has no answer is the same line."""
        self.assertEqual(
            error_of(Workload(f"unix:{self.path}", wait=0.05).fetch), "no such socket; waited 0.05 seconds"
        )

    def test_nothing_of_grpc(self) -> None:
        """Who has fetched may fork: gRPC is not even loaded."""
        self.serving(self.domain.svid())
        program = (
            "import sys; from mytls.tls.workload import Workload; Workload(sys.argv[1]).fetch(); "
            "print([name for name in sys.modules if name.partition('.')[0] in ('grpc', 'spiffe')])"
        )
        command = [sys.executable, "-c", program, f"unix:{self.path}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        self.assertEqual((answer.stdout, answer.returncode), ("[]\n", 0), answer.stderr)

    def test_no_key_in_sight(self) -> None:
        """No representation has the key, and no file."""
        self.serving(self.domain.svid())
        workload = self.workload()
        issued = workload.fetch()
        for each in (workload, issued, issued.pair):
            self.assertNotRegex(repr(each), "(?i)privatekey|BEGIN")
        self.assertEqual(os.listdir(Path(self.path).parent), ["agent.sock"])


@with_spiffe
class FollowTests(Case):
    """What is issued later."""

    def setUp(self) -> None:
        super().setUp()
        self.changes: SimpleQueue[str] = SimpleQueue()
        self.troubles: SimpleQueue[str] = SimpleQueue()

    def following(self) -> Workload:
        """One that knows what the agent issues, and follows it."""
        made = self.workload()
        made.fetch()
        made.follow(lambda: self.changes.put(made.fetch().spiffe_id), self.troubles.put)
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.asked.get(timeout=PATIENCE)
        return made

    def test_rotation(self) -> None:
        """A new SVID and new CAs are there when the change is told, and the change is told once."""
        self.serving(self.domain.svid("old"))
        workload = self.following()
        self.agent.issue(self.domain.svid("new"), federated={"partner.example": TrustDomain("partner.example").bundle})
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/new")
        self.assertIn("partner.example", workload.fetch().bundles)
        self.agent.issue(self.domain.svid("newer"))
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/newer")
        self.assertNotIn("partner.example", workload.fetch().bundles)
        self.assertTrue(self.changes.empty())

    def test_same_again(self) -> None:
        """What is issued a second time is no change, so nothing is reloaded; also after a connection was lost."""
        same = self.domain.svid("same")
        self.serving(same)
        self.following()
        self.agent.issue(same)
        self.agent.stop()
        self.agent.start()
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.issue(self.domain.svid("other"))
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/other")

    def test_restart(self) -> None:
        """An agent that was restarted is followed again, and what it issues by then is taken."""
        self.serving(self.domain.svid("before"))
        self.following()
        self.agent.stop()
        self.assertRegex(self.troubles.get(timeout=PATIENCE), "UNAVAILABLE|CANCELLED|no such socket")
        self.agent.issue(self.domain.svid("after"))
        self.agent.start()
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/after")

    def test_gone(self) -> None:
        """While the agent is gone, what it issued last stays, and the trouble is told once."""
        self.serving(self.domain.svid("last"))
        workload = self.following()
        self.agent.stop()
        heard = [self.troubles.get(timeout=PATIENCE)]
        while heard[-1] != "no such socket":
            heard.append(self.troubles.get(timeout=PATIENCE))
        self.assertEqual(workload.fetch().spiffe_id, "spiffe://example.org/last")
        workload.stop()
        self.assertTrue(self.troubles.empty())
        self.assertTrue(self.changes.empty())

    def test_denied(self) -> None:
        """A refusal is told, what was issued stays, and the next SVID is taken."""
        self.serving(self.domain.svid("before"))
        workload = self.following()
        self.agent.refuse(grpc.StatusCode.PERMISSION_DENIED)
        self.assertRegex(self.troubles.get(timeout=PATIENCE), "knows no identity.*PERMISSION_DENIED")
        self.assertEqual(workload.fetch().spiffe_id, "spiffe://example.org/before")
        self.agent.issue(self.domain.svid("after"))
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/after")
        self.agent.refuse(grpc.StatusCode.PERMISSION_DENIED)
        self.assertRegex(self.troubles.get(timeout=PATIENCE), "PERMISSION_DENIED")

    def test_broken(self) -> None:
        """A broken answer changes nothing, and does not end the following."""
        self.serving(self.domain.svid("before"))
        workload = self.following()
        self.agent.issue(self.domain.svid("wrong", key=ec.generate_private_key(ec.SECP256R1())))
        self.assertRegex(self.troubles.get(timeout=PATIENCE), "no use.*does not fit")
        self.agent.issue()
        self.assertRegex(self.troubles.get(timeout=PATIENCE), "no use.*empty")
        self.assertEqual(workload.fetch().spiffe_id, "spiffe://example.org/before")
        self.agent.issue(self.domain.svid("after"))
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/after")

    def test_raising(self) -> None:
        """Who is told and raises does not end the following; it is logged."""
        self.serving(self.domain.svid("before"))
        workload = self.workload()
        raised: SimpleQueue[str] = SimpleQueue()

        def changed() -> None:
            raised.put(workload.fetch().spiffe_id)
            raise ZeroDivisionError

        workload.follow(changed, self.troubles.put)
        self.assertEqual(raised.get(timeout=PATIENCE), "spiffe://example.org/before")
        self.agent.issue(self.domain.svid("after"))
        self.assertEqual(raised.get(timeout=PATIENCE), "spiffe://example.org/after")
        workload.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_stop(self) -> None:
        """After stop() the thread has ended and nobody is told of anything."""
        self.serving(self.domain.svid("last"))
        workload = self.following()
        workload.stop()
        workload.stop()
        self.assertNotIn("mytls-workload", [each.name for each in threading.enumerate()])
        self.agent.issue(self.domain.svid("unheard"))
        self.agent.stop()
        self.assertTrue(self.changes.empty() and self.troubles.empty())
        self.assertEqual(workload.fetch().spiffe_id, "spiffe://example.org/last")

    def test_again(self) -> None:
        """Who has stopped may follow again, and hears of what has come in between."""
        self.serving(self.domain.svid("before"))
        workload = self.following()
        workload.stop()
        self.agent.issue(self.domain.svid("between"))
        workload.follow(lambda: self.changes.put(workload.fetch().spiffe_id), self.troubles.put)
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/between")
        self.agent.issue(self.domain.svid("after"))
        self.assertEqual(self.changes.get(timeout=PATIENCE), "spiffe://example.org/after")

    def test_for_a_service(self) -> None:
        """A service hears on its event loop of those that it names, and of no others; of troubles the log does."""
        self.serving(self.domain.svid("before"))
        calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        reactor: Any = SimpleNamespace(
            callFromThread=lambda call, *about, **named: calls.put(partial(call, *about, **named))
        )
        workload, rotated = self.workload(), []
        workload.fetch()
        following = Following(reactor, lambda: rotated.append(workload.fetch().spiffe_id))
        following.only(workload)
        following.only(workload)
        self.agent.issue(self.domain.svid("after"))
        calls.get(timeout=PATIENCE)()
        self.assertEqual(rotated, ["spiffe://example.org/after"])
        self.agent.stop()
        lines = log_lines(self)
        calls.get(timeout=PATIENCE)()
        (line,) = lines
        self.assertRegex(line, f"^spiffe=unix:{self.path}: .*; what it has issued before is served on$")
        following.only()
        self.assertNotIn("mytls-workload", [each.name for each in threading.enumerate()])
        following.only(workload)
        self.agent.issue(self.domain.svid("last"))
        self.agent.start()
        while len(rotated) < 2:
            calls.get(timeout=PATIENCE)()
        self.assertEqual(rotated[1:], ["spiffe://example.org/last"])
        following.only()

    def test_stop_in_silence(self) -> None:
        """It ends at once too while the agent has said nothing yet."""
        self.agent.start()
        workload = self.workload()
        workload.follow(lambda: None, self.troubles.put)
        self.agent.asked.get(timeout=PATIENCE)
        workload.stop()
        self.assertNotIn("mytls-workload", [each.name for each in threading.enumerate()])
        self.assertIsNone(workload.newest)

    def test_stop_while_gone(self) -> None:
        """It ends at once too while it waits for the next attempt."""
        self.serving(self.domain.svid())
        workload = Workload(f"unix:{self.path}", wait=PATIENCE, pauses=(600.0, 600.0), ask=ask)
        workload.fetch()
        workload.follow(lambda: None, self.troubles.put)
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.asked.get(timeout=PATIENCE)
        self.agent.stop()
        self.troubles.get(timeout=PATIENCE)
        workload.stop()
        self.assertNotIn("mytls-workload", [each.name for each in threading.enumerate()])

    def test_daemon(self) -> None:
        """A process that forks between the first answer and the following hears of a rotation in the child."""
        self.serving(self.domain.svid("parent"))
        command = [sys.executable, "-c", DAEMON, f"unix:{self.path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "follows\n")
            self.agent.issue(self.domain.svid("child"))
            self.assertEqual(process.stdout.readline(), "spiffe://example.org/child\n")
        self.assertEqual(process.returncode, 0)


class VouchingTests(SynchronousTestCase):
    """Which trust domain a CA may speak for, which OpenSSL does not know."""

    def setUp(self) -> None:
        self.home, self.partner = Authority("home"), Authority("partner")
        bundles = {"example.org": (self.home.certificate,), "partner.example": (self.partner.certificate,)}
        self.issued = Issued((self.home.issue(),), bundles)

    def refusal(self, by: Authority, *uris: str, ca: bool = False, signs: bool = False) -> str | None:
        """What is said of a certificate with these URIs."""
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(each) for each in uris])
        usage = x509.KeyUsage(True, False, False, False, False, False, signs, False, False)
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = (names, x509.BasicConstraints(ca, None), usage)
        certificate = by._sign(by.name, key, *extensions)
        return self.issued.refusal(Identity.of(certificate), by.certificate)

    def test_own(self) -> None:
        """A CA vouches for its own trust domain, federated or not."""
        self.assertIsNone(self.refusal(self.home, "spiffe://example.org/web"))
        self.assertIsNone(self.refusal(self.partner, "spiffe://partner.example/a/b"))

    def test_another(self) -> None:
        """A federated CA that issues an identity of ours is refused (SPIFFE Workload API, section 4.6)."""
        refusal = self.refusal(self.partner, "spiffe://example.org/admin")
        self.assertRegex(
            str(refusal), "^CN=partner is no CA of the trust domain example.org: .*uri=spiffe://example.org"
        )

    def test_unknown_domain(self) -> None:
        """A trust domain without a bundle has no CA."""
        self.assertRegex(str(self.refusal(self.home, "spiffe://nowhere/web")), "no CA of the trust domain nowhere")

    def test_no_svid(self) -> None:
        """What is no X.509-SVID is refused, whoever signed it (X509-SVID, sections 2 and 5.2)."""
        web = "spiffe://example.org/web"
        for uris, how in (
            ((), {}),
            (("https://example.org/web",), {}),
            ((web, "spiffe://example.org/two"), {}),
            (("spiffe://example.org",), {}),
            (("spiffe://example.org/",), {}),
            ((web,), {"ca": True}),
            ((web,), {"signs": True}),
        ):
            self.assertRegex(str(self.refusal(self.home, *uris, **how)), "^no X.509-SVID: ", (uris, how))

    def test_without_usage(self) -> None:
        """A certificate that says nothing of what its key is for signs nobody."""
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/web")])
        certificate = self.home._sign(self.home.name, ec.generate_private_key(ec.SECP256R1()), name)
        self.assertIsNone(self.issued.refusal(Identity.of(certificate), self.home.certificate))

    def test_digest(self) -> None:
        """Another key, another CA, another trust domain for a CA: each is another answer."""
        pair, bundles = self.issued.pair, self.issued.bundles
        others = (
            Issued((self.home.issue(),), bundles),
            Issued((pair, pair), bundles),
            Issued((pair,), {"example.org": bundles["example.org"]}),
            Issued((pair,), dict(zip(bundles, reversed([*bundles.values()]), strict=True))),
        )
        digests = {each.digest for each in (self.issued, *others)}
        self.assertEqual(len(digests), 5)
        self.assertEqual(self.issued.digest, Issued((pair,), dict(bundles)).digest)


@with_spiffe
class ServingTests(Case):
    """What is issued serves."""

    def test_handshake(self) -> None:
        """A server with an SVID, and a client that trusts the bundle and shows another SVID, meet."""
        self.serving(self.domain.svid("web", between=True))
        served = self.workload().fetch()
        self.agent.issue(self.domain.svid("client"))
        client = self.workload().fetch()
        context = host_options(HostSettings(), [served.pair]).getContext()
        self.assertEqual(_shown_to(_trusting(client), context), served.pair.certificate)


def _trusting(issued: Issued) -> SSL.Context:
    context = showing(issued.pair, SSL.Context(SSL.TLS_METHOD))
    context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, number, depth, good: bool(good))
    store = context.get_cert_store()
    assert store is not None
    for each in issued.authorities:
        store.add_cert(_openssl(each))
    return context


def _openssl(certificate: x509.Certificate) -> Any:
    from OpenSSL.crypto import X509

    return X509.from_cryptography(certificate)


def _shown_to(trusting: SSL.Context, serving: SSL.Context) -> x509.Certificate | None:
    """What the client of a whole handshake has verified."""
    client, server = SSL.Connection(trusting), SSL.Connection(serving)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(one.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
    return client.get_peer_certificate(as_cryptography=True)


def _der(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.DER) for each in certificates)
