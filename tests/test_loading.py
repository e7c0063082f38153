"""Settings in, hosts out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import mytls.loading
from mytls.changes import changes
from mytls.errors import ConfigurationError, TLSFailure
from mytls.events import Observers
from mytls.guards import rego
from mytls.guards.sources import Proxies
from mytls.handlers.builtin import EchoFactory
from mytls.hosts import Host
from mytls.kinds import network
from mytls.listener import TLSFactory
from mytls.loading import Loaded, Loading, contexts, load
from mytls.peer import Identity, serial_text
from mytls.settings import Deadlines, HostSettings, ListenerSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.files import Files
from mytls.tls.hello import ClientHello
from mytls.tls.svids import Issued
from tests.files import folder
from tests.memory import Link, client_context
from tests.tls.authority import DAY, Authority
from tests.tls.clients import VERSIONS, Visit, client
from tests.tls.trust_domains import issued, svid, telling


class LoadingTests(SynchronousTestCase):
    """Certificates in a folder."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(self.path("ca.pem"))

    def path(self, name: str) -> str:
        """A file's path."""
        return str(self.folder / name)

    def issue(self, file: str, *names: str, ca: trustme.CA | None = None) -> str:
        """Write a certificate for these names, with its key and its root. @return: the path"""
        issued = (ca or self.ca).issue_cert(*names, key_type=trustme.KeyType.ECDSA)
        root = (ca or self.ca).cert_pem.bytes()
        path = Path(self.path(file))
        path.write_bytes(issued.private_key_and_cert_chain_pem.bytes() + root)
        path.chmod(0o600)
        return str(path)

    def host(self, file: str, *names: str, **said: Any) -> HostSettings:
        """A host with a certificate for these names."""
        return HostSettings(names=names, certificate=(self.issue(file, *(names or ("localhost",))),), **said)

    def load(self, *hosts: HostSettings, made: Any = None, **said: Any) -> Loaded:
        """Load a listener of these hosts; of one without a name where there is one."""
        settings = ListenerSettings("mytls:1", hosts=hosts, **said)
        return load(settings, Loading(Files(), made or {}))

    def refused(self, text: str, *hosts: HostSettings, **said: Any) -> None:
        """Assert that loading is refused in these words."""
        error = self.assertRaises(ConfigurationError, self.load, *hosts, **said)
        self.assertIn(text, str(error))

    def meets(self, loaded: Loaded, name: str | None) -> Host | None:
        """The host that a client with this name meets; None where it is refused."""
        try:
            return loaded.hosts.choose(ClientHello(0x303, (1,), server_name=name.encode() if name else None))
        except TLSFailure:
            return None


class WhoAnswersTests(LoadingTests):
    """Who answers to which name."""

    def test_alone(self) -> None:
        """A listener's own certificate answers to every name, and to none."""
        loaded = self.load(base=self.host("a.pem", "a.example"))
        for name in ("a.example", "other", None):
            self.assertIsNotNone(self.meets(loaded, name))

    def test_alone_and_strict(self) -> None:
        """With `reject` it answers to its names alone; those of the certificate where none are said."""
        base = HostSettings(certificate=(self.issue("a.pem", "a.example", "*.b.example"),))
        loaded = self.load(base=base, unknown_name="reject")
        self.assertIsNotNone(self.meets(loaded, "A.example"))
        self.assertIsNotNone(self.meets(loaded, "x.b.example"))
        self.assertIsNone(self.meets(loaded, "b.example"))
        self.assertIsNone(self.meets(loaded, None))

    def test_named(self) -> None:
        """Where hosts are named, an unknown name is refused."""
        loaded = self.load(self.host("a.pem", "a.example"), self.host("b.pem", "b.example"))
        self.assertEqual(getattr(self.meets(loaded, "b.example"), "names", None), ("b.example",))
        self.assertIsNone(self.meets(loaded, "c.example"))
        self.assertIsNone(self.meets(loaded, None))

    def test_unknown_name(self) -> None:
        """Or answered by the host that has this name, in whatever spelling."""
        hosts = self.host("a.pem", "a.example"), self.host("b.pem", "b.example")
        loaded = self.load(*hosts, unknown_name="B.example.")
        for name in ("c.example", None, "b.example"):
            self.assertEqual(getattr(self.meets(loaded, name), "names", None), ("b.example",))
        self.refused("unknown-name=c.example: expected reject, or one of the names", *hosts, unknown_name="c.example")

    def test_folder(self) -> None:
        """Each certificate of a folder is a host; a host that is named keeps its name."""
        named = self.host("named.pem", "a.example", profile="modern")
        (self.folder / "more").mkdir()
        self.issue("more/1.pem", "a.example", "b.example")
        self.issue("more/2.pem", "c.example")
        loaded = self.load(named, directory=self.path("more"))
        self.assertEqual(getattr(self.meets(loaded, "a.example"), "settings", None), named)
        self.assertEqual(getattr(self.meets(loaded, "b.example"), "names", None), ("b.example",))
        self.assertIsNotNone(self.meets(loaded, "c.example"))
        self.assertIsNone(self.meets(loaded, None))

    def test_same_name(self) -> None:
        """Two hosts of one name are refused, unless their protocols tell them apart."""
        self.refused(
            "two hosts have the name a.example", self.host("a.pem", "a.example"), self.host("b.pem", "a.example")
        )
        web, acme = self.host("a.pem", "a.example", alpn=("h2",)), self.host("b.pem", "a.example", alpn=("acme-tls/1",))
        loaded = self.load(web, acme)
        hello = ClientHello(0x303, (1,), server_name=b"a.example", alpn=(b"acme-tls/1",))
        self.assertEqual(loaded.hosts.choose(hello).settings, acme)

    def test_passed_on(self) -> None:
        """A host that is passed on has a name and no certificate."""
        loaded = self.load(HostSettings(names=("raw.example",), handler="passthrough:tcp:localhost:1"))
        host = self.meets(loaded, "raw.example")
        assert host is not None
        self.assertIsNone(host.maker)

    def test_all_errors(self) -> None:
        """Whatever is wrong with any of the hosts is told, a line each."""
        wrong = (
            HostSettings(names=("a",), certificate=("one.pem",)),
            HostSettings(names=("b",), certificate=("two.pem",)),
        )
        error = self.assertRaises(ConfigurationError, self.load, *wrong)
        self.assertEqual(len(error.lines), 2)
        for name, line in zip(("one.pem", "two.pem"), error.lines, strict=True):
            self.assertIn(f"certificate={name}: no such file", line)

    def test_all_errors_of_a_host(self) -> None:
        """Whatever is wrong with one host is told at once."""
        wrong = HostSettings(
            names=("a",),
            certificate=("none.pem",),
            client_auth="required",
            client_ca=("no-ca.pem",),
            ciphers=("NO",),
            ciphersuites=("NEIN",),
            groups=("non",),
            allow=("cn", "zz=1"),
            deny=("ip=x",),
        )
        error = self.assertRaises(ConfigurationError, self.load, wrong)
        self.assertEqual(
            [line.partition(":")[0] for line in error.lines],
            [
                "client-ca=no-ca.pem",
                "certificate=none.pem",
                "ciphers=NO",
                "ciphersuites=NEIN",
                "groups=non",
                "allow=cn",
                "allow=zz=1",
                "deny=ip=x",
            ],
        )
        (self.folder / "empty").mkdir()
        of_folder = HostSettings(groups=("non",), client_auth="required", client_ca=("no-ca.pem",))
        error = self.assertRaises(ConfigurationError, self.load, base=of_folder, directory=self.path("empty"))
        self.assertEqual([line.partition(":")[0] for line in error.lines], ["client-ca=no-ca.pem", "groups=non"])

    def test_proxies(self) -> None:
        """Who is in front of the listener is so for all its hosts."""
        hosts = self.host("a.pem", "a.example"), self.host("b.pem", "b.example")
        self.assertEqual(
            self.load(*hosts, proxy_protocol=(network("10.0.0.0/8"), "unix")).hosts.proxies,
            Proxies((network("10.0.0.0/8"),), unix=True),
        )
        self.assertEqual(self.load(*hosts).hosts.proxies, Proxies())


class WarningTests(LoadingTests):
    """What an operator should know."""

    def test_proxies_everywhere(self) -> None:
        """Where everybody is believed, nobody's address means anything."""
        host, wrote = self.host("a.pem", "a.example"), {"proxy-protocol": "m.toml:3: proxy-protocol"}
        found = self.load(host, proxy_protocol=(network("0.0.0.0/0"),), wrote=wrote).warnings
        self.assertEqual(found, ("m.toml:3: proxy-protocol: whoever connects may say that it is somebody else",))
        self.assertEqual(self.load(host, proxy_protocol=(network("10.0.0.0/8"),)).warnings, ())

    def test_old_profile(self) -> None:
        """TLS 1.0 is for those who cannot do without."""
        wrote = {"profile": "m.toml:3: profile"}
        (warning,) = self.load(self.host("a.pem", "a.example", profile="old", wrote=wrote)).warnings
        self.assertEqual(
            warning, "m.toml:3: profile=old: TLS 1.0 and 1.1 are broken in parts: for clients of long ago only"
        )

    def test_readable_password(self) -> None:
        """A password that everybody may read protects nothing; one of the environment is in no file."""
        secret = Path(self.path("secret"))
        secret.write_bytes(b"secret\n")
        host = self.host("a.pem", "a.example", password_file=str(secret))
        for mode, expected in (
            (0o640, ()),
            (0o644, (f"every user of this machine may read the password: chmod o-r {secret}",)),
        ):
            secret.chmod(mode)
            self.assertEqual(self.load(host).warnings, expected)
        self.patch(os, "environ", {**os.environ, "SECRET": "x"})
        self.assertEqual(self.load(attrs.evolve(host, password_file="env:SECRET")).warnings, ())

    def test_chains(self) -> None:
        """Chains that lack the same intermediate are one warning."""
        middle = self.ca.create_child_ca()
        hosts = []
        for name in ("a.example", "b.example"):
            issued = middle.issue_cert(name)
            path = Path(self.path(f"{name}.pem"))
            path.write_bytes(issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes())
            path.chmod(0o600)
            hosts.append(HostSettings(names=(name,), certificate=(str(path),)))
        (warning,) = self.load(*hosts).warnings
        files = ", ".join(each.certificate[0] for each in hosts)
        self.assertTrue(warning.startswith(f"{files}: the issuer "), warning)

    def test_nothing(self) -> None:
        """A host that is as it should be gives no cause."""
        self.assertEqual(self.load(self.host("a.pem", "a.example")).warnings, ())

    def test_name_not_covered(self) -> None:
        """A name that the certificate is not for."""
        path = self.issue("a.pem", "a.example", "*.w.example")
        loaded = self.load(HostSettings(names=("a.example", "x.w.example", "b.example"), certificate=(path,)))
        self.assertEqual(
            loaded.warnings, (f"{path}: the certificate is not for b.example: clients that ask for it refuse it",)
        )

    def test_nobody_enters(self) -> None:
        """Certificates are required and no rule lets anybody in."""
        host = self.host("a.pem", "a.example", client_auth="required", client_ca=(self.path("ca.pem"),))
        (warning,) = self.load(host).warnings
        self.assertIn("nobody enters; allow=all", warning)


class AgainTests(LoadingTests):
    """Loading once more, as a reload does."""

    def client(self, version: int) -> SSL.Context:
        """A client with a certificate."""
        context = client_context(version)
        context.use_certificate_file(self.path("client.pem"))
        context.use_privatekey_file(self.path("client.pem"))
        return context

    def visit(self, loaded: Loaded, context: SSL.Context, session: Any = None) -> tuple[Any, int]:
        """
        A client of this listener, which is answered.

        @return: its session, and how many bytes the handshake took: with a certificate in it, or without
        """
        factory = TLSFactory(loaded.hosts, EchoFactory(), Clock(), Deadlines(), Observers())
        link = Link(factory=factory, context=context, server_name=b"a.example")
        if session is not None:
            link.client.set_session(session)
        link.handshake()
        size = sum(map(len, link.socket.writes))
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")
        link.client.shutdown()  # OpenSSL forgets the session of a connection that is dropped
        return link.client.get_session(), size

    def resumes(self, before: Loaded, after: Loaded) -> set[bool]:
        """Whether a session of before is resumed, in TLS 1.2 and 1.3."""
        found = set()
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = self.client(version)
            session, whole = self.visit(before, context)
            _, size = self.visit(after, context, session)
            found.add(size < whole - 400)
        return found

    def host_with_clients(self, ca: str, **said: Any) -> HostSettings:
        """A host that asks for certificates of this CA."""
        self.issue("client.pem", "client.example")
        given: dict[str, Any] = {"client_auth": "required", "client_ca": (self.path(ca),), "allow": ("all",), **said}
        return self.host("a.pem", "a.example", **given)

    def test_same_context(self) -> None:
        """What has not changed keeps its context, and its sessions resume."""
        host = self.host_with_clients("ca.pem")
        before = self.load(host)
        after = self.load(host, made=contexts(before))
        self.assertEqual(contexts(before), contexts(after))
        self.assertEqual(self.resumes(before, after), {True})

    def test_other_policy(self) -> None:
        """Where the client CAs or the rules are others, no session of before resumes."""
        host = self.host_with_clients("ca.pem")
        before = self.load(host)
        Path(self.path("more.pem")).write_bytes(self.ca.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
        for other in (
            attrs.evolve(host, client_ca=(self.path("more.pem"),)),
            attrs.evolve(host, allow=("dns=client.example",)),
        ):
            after = self.load(other, made=contexts(before))
            self.assertEqual(self.resumes(before, before), {True})
            self.assertEqual(self.resumes(before, after), {False})

    def test_other_files(self) -> None:
        """A certificate that was replaced is served; the other host keeps its context."""
        one, other = self.host("a.pem", "a.example"), self.host("b.pem", "b.example")
        before = self.load(one, other)
        self.issue("a.pem", "a.example")
        after = self.load(one, other, made=contexts(before))
        self.assertEqual(len(set(contexts(before)) & set(contexts(after))), 1)

    def test_handler_alone(self) -> None:
        """Another handler needs no new context; other names do, so that no two hosts ever share one."""
        host = self.host("a.pem", "a.example", handler="echo")
        before = self.load(host)
        after = self.load(attrs.evolve(host, handler="discard"), made=contexts(before))
        self.assertEqual(contexts(before), contexts(after))
        both = self.load(host, attrs.evolve(host, names=("b.example",)), made=contexts(before))
        self.assertEqual(len({id(maker) for maker in contexts(both).values()}), 2)

    def test_one_of_two_certificates(self) -> None:
        """Of several certificates those are told that have changed."""
        host = HostSettings(names=("a.example",), certificate=(self.issue("a.pem", "a.example"),))
        rsa = self.ca.issue_cert("a.example", key_type=trustme.KeyType.RSA)
        pem = rsa.private_key_and_cert_chain_pem.bytes() + self.ca.cert_pem.bytes()
        Path(self.path("rsa.pem")).write_bytes(pem)
        both = attrs.evolve(host, certificate=(self.path("a.pem"), self.path("rsa.pem")))
        before = self.load(both)
        self.issue("a.pem", "a.example")
        (change,) = changes("1:443", before.hosts, self.load(both).hosts)
        self.assertEqual(change.count("serial"), 2)
        (change,) = changes(
            "1:443", before.hosts, self.load(attrs.evolve(both, certificate=(self.path("rsa.pem"),))).hosts
        )
        self.assertRegex(change, "^a.example: serial [0-9A-F]+ -> no certificate$")

    def test_changes(self) -> None:
        """What has changed is told: names, serials, not-after; hosts that come and go, handlers, rules, settings."""
        one, other = self.host("a.pem", "a.example", handler="echo"), self.host("b.pem", "b.example")
        before = self.load(one, other)

        def told(*hosts: HostSettings, **said: Any) -> list[str]:
            return changes("1:443", before.hosts, self.load(*hosts, **said).hosts)

        self.assertEqual(told(one, other), [])
        self.assertEqual(told(one), ["1:443: host b.example is gone"])
        self.assertEqual(told(attrs.evolve(one, handler="discard"), other), ["a.example: handler echo -> discard"])
        ca = (self.path("ca.pem"),)
        with_clients = attrs.evolve(one, profile="modern", client_auth="optional", client_ca=ca)
        self.assertEqual(told(with_clients, other), ["a.example: other profile, client-auth, client-ca"])
        self.assertEqual(told(attrs.evolve(one, deny=("cn=x",)), other), ["a.example: other deny"])
        first = self.load(with_clients)
        trustme.CA().cert_pem.write_to_path(self.path("ca.pem"))
        self.assertEqual(
            changes("1:443", first.hosts, self.load(with_clients).hosts), ["a.example: other client-ca or crl files"]
        )
        self.assertEqual(told(one, other, unknown_name="b.example"), ["1:443: unknown names: refused, now b.example"])
        serial = before.hosts.all[0].pairs[0].certificate.serial_number
        self.issue("a.pem", "a.example")
        (change,) = told(one, other)
        self.assertRegex(
            change, rf"^a\.example: serial {serial_text(serial)} -> serial [0-9A-F]+ until \d{{4}}-\d\d-\d\d$"
        )


class PolicyTests(LoadingTests):
    """Who else is asked."""

    REGO = "package mytls\nallow := true\n"

    def setUp(self) -> None:
        super().setUp()
        module: Any = ModuleType("rules_of_a_test")
        module.allow = module.other = lambda peer: True
        self.patch(sys, "modules", {**sys.modules, "rules_of_a_test": module})
        self.rego = self.path("policy.rego")
        Path(self.rego).write_text(self.REGO)

    def policies(self, loaded: Loaded) -> list[str]:
        return [policy.written for policy in loaded.hosts.policies]

    def test_none(self) -> None:
        """Nobody is asked where nothing is said."""
        self.assertEqual(self.policies(self.load(self.host("a.pem", "a.example"))), [])

    def test_both(self) -> None:
        """A function and a policy in Rego are both asked."""
        loaded = self.load(self.host("a.pem", "a.example", policy="rules_of_a_test:allow", rego=self.rego))
        self.assertEqual(self.policies(loaded), ["policy=rules_of_a_test:allow", f"rego={self.rego}"])

    def test_shared(self) -> None:
        """Hosts with the same policy have it together, so that its threads and processes are bounded once."""
        said: dict[str, Any] = {"policy": "rules_of_a_test:allow", "rego": self.rego}
        others: dict[str, Any] = {
            "policy": "rules_of_a_test:other",
            "rego": self.rego,
            "rego_query": "data.mytls.allow",
        }
        one, other = self.host("a.pem", "a.example", **said), self.host("b.pem", "b.example", **said)
        self.assertEqual(len(self.load(one, other).hosts.policies), 2)
        third = self.host("c.pem", "c.example", **others)
        self.assertEqual(len(self.load(one, other, third).hosts.policies), 3)

    def test_folder(self) -> None:
        """The hosts of a folder are asked about too."""
        (self.folder / "more").mkdir()
        self.issue("more/1.pem", "a.example")
        base = HostSettings(policy="rules_of_a_test:allow")
        loaded = self.load(base=base, directory=self.path("more"))
        self.assertEqual(self.policies(loaded), ["policy=rules_of_a_test:allow"])

    def test_kept(self) -> None:
        """A policy that has not changed goes on, with its threads and processes; nothing is tried again."""
        host = self.host("a.pem", "a.example", policy="rules_of_a_test:allow", rego=self.rego)
        before = self.load(host)
        self.patch(rego, "command", None)
        after = self.load(host, made=contexts(before))
        self.assertEqual(list(map(id, before.hosts.policies)), list(map(id, after.hosts.policies)))

    def test_other_file(self) -> None:
        """A policy file that has changed is noticed, and is another policy; the host keeps its context."""
        host = self.host("a.pem", "a.example", policy="rules_of_a_test:allow", rego=self.rego)
        files = Files()
        before = load(ListenerSettings("mytls:1", hosts=(host,)), Loading(files))
        self.assertFalse(files.changed())
        Path(self.rego).write_text(self.REGO + "# more")
        self.assertTrue(files.changed())
        after = self.load(host, made=contexts(before))
        (function, old), (same, new) = before.hosts.policies, after.hosts.policies
        self.assertIs(function, same)
        self.assertIsNot(old, new)
        self.assertIs(before.hosts.all[0].options, after.hosts.all[0].options)

    def test_errors(self) -> None:
        """What is wrong with policies is told with all else, each line once; the same policy is tried once."""
        calls: list[str] = []
        command = rego.command

        def counted(what: str) -> list[str]:
            calls.append(what)
            return command(what)

        self.patch(rego, "command", counted)
        Path(self.rego).write_text("package mytls\nallow if {")
        wrong: dict[str, Any] = {"policy": "rules_of_a_test:alow", "rego": self.rego, "groups": ("non",)}
        hosts = self.host("a.pem", "a.example", **wrong), self.host("b.pem", "b.example", **wrong)
        error = self.assertRaises(ConfigurationError, self.load, *hosts)
        self.assertEqual(
            sorted(line.partition(":")[0] for line in error.lines),
            ["groups=non", "policy=rules_of_a_test", f"rego={self.rego}"],
        )
        self.assertEqual(calls, ["check"])
        missing = self.host("a.pem", "a.example", rego="nowhere.rego")
        self.refused("rego=nowhere.rego: no such file", missing)

    def test_decides_alone(self) -> None:
        """Where there is a policy and no allow, the policy alone decides about verified clients; deny still wins."""
        said: dict[str, Any] = {"client_auth": "required", "client_ca": (self.path("ca.pem"),), "deny": ("cn=x",)}
        for policy in ({"policy": "rules_of_a_test:allow"}, {"rego": self.rego}):
            host = self.load(self.host("a.pem", "a.example", **said, **policy)).hosts.all[0]
            assert host.access is not None
            self.assertEqual((len(host.access.allow), len(host.access.deny)), (1, 1))
            self.assertEqual(self.load(self.host("a.pem", "a.example", **said, **policy)).warnings, ())
        self.assertIn("nobody enters", str(self.load(self.host("a.pem", "a.example", **said)).warnings))


class IssuedTests(LoadingTests):
    """`spiffe`: what a Workload API issues, in the place of files."""

    def setUp(self) -> None:
        super().setUp()
        self.home, self.partner = Authority("Home"), Authority("Partner")
        self.answer = self.answered()

    def answered(self, pair: KeyPair | None = None, **domains: Authority) -> Issued:
        """The agent at unix:/agent issues this from now on, and no other agent is there."""
        made = issued(pair or svid(self.home), **{"example": self.home, **domains})
        self.workloads = telling(agent=made)
        self.patch(mytls.loading, "Workload", self.workloads)
        return made

    def issued_host(self, *names: str, **said: Any) -> HostSettings:
        """A host whose certificate is issued."""
        return HostSettings(names=names, **{"spiffe": "unix:/agent", **said})

    def enters(self, loaded: Loaded, pair: KeyPair) -> bool:
        """Whether this client meets a handler."""
        (found,) = {Visit(loaded.hosts, client(pair, version), server_name=b"a.example").enters for version in VERSIONS}
        return found

    def test_served(self) -> None:
        """The certificate and its key are those that are issued; clients are asked for none."""
        loaded = self.load(base=self.issued_host())
        (host,) = loaded.hosts.all
        self.assertEqual((host.pairs, loaded.workloads), ((self.answer.pair,), tuple(self.workloads.made)))
        visit = Visit(loaded.hosts, client(None))
        self.assertEqual(visit.client.get_peer_certificate(as_cryptography=True), self.answer.pair.certificate)
        self.assertTrue(visit.enters)

    def test_clients(self) -> None:
        """Who has an SVID enters as the rules say, each domain by its own CA."""
        self.answered(partner=self.partner)
        rules = ("uri=spiffe://example.org/**", "uri=spiffe://partner.org/db")
        loaded = self.load(base=self.issued_host(client_auth="required", allow=rules))
        for by, uri, enters in (
            (self.home, "spiffe://example.org/web", True),
            (self.partner, "spiffe://partner.org/db", True),
            (self.partner, "spiffe://partner.org/web", False),
            (self.partner, "spiffe://example.org/web", False),
            (Authority("Home"), "spiffe://example.org/web", False),
        ):
            self.assertIs(self.enters(loaded, svid(by, uri)), enters, (by.name, uri))

    def test_pins(self) -> None:
        """Pins are rules beside the CAs here, and do not stand alone."""
        known, made = svid(self.home), svid(Authority("Nobody"))
        rules = tuple(f"spki=sha256:{Identity.of(each.certificate).pin('sha256')}" for each in (known, made))
        loaded = self.load(base=self.issued_host(client_auth="required", allow=rules))
        self.assertEqual((self.enters(loaded, known), self.enters(loaded, made)), (True, False))

    def test_files_of_clients(self) -> None:
        """With client-ca those of its files enter, and no others."""
        ca = Authority("Clients")
        Path(self.path("clients.pem")).write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        said = {"client_auth": "required", "client_ca": (self.path("clients.pem"),), "allow": ("all",)}
        loaded = self.load(base=self.issued_host(**said))
        self.assertEqual((self.enters(loaded, ca.client()), self.enters(loaded, svid(self.home))), (True, False))

    def test_one_question(self) -> None:
        """Hosts with the same agent ask once, and have the same."""
        loaded = self.load(self.issued_host("a.example"), self.issued_host("b.example"))
        self.assertEqual([each.asked for each in self.workloads.made], [1])
        self.assertEqual(len(loaded.workloads), 1)

    def test_kept(self) -> None:
        """A reload goes on with whom it has; where nothing is new the context stays, and with it the sessions."""
        said = {"client_auth": "required", "allow": ("all",)}
        before = self.load(base=self.issued_host(**said))
        after = self.load(base=self.issued_host(**said), made=contexts(before))
        self.assertEqual(contexts(before), contexts(after))
        self.assertEqual(after.workloads, before.workloads)

    def test_rotated(self) -> None:
        """A new SVID makes a new context, and so do other CAs or domains, where clients are verified with them."""
        answers = self.workloads.answers
        both = {"example.org": (self.home.certificate, self.partner.certificate)}
        for client_auth, by_authorities in (("required", 4), ("off", 0)):
            allow = ("all",) if client_auth == "required" else ()
            base = self.issued_host(client_auth=client_auth, allow=allow)
            made: dict[int, Any] = {}
            pair = self.answer.pair
            for each in (
                self.answer,
                issued(pair, example=self.home, partner=self.partner),
                issued(pair, example=self.partner, partner=self.home),
                Issued((pair,), both),
                issued(pair, example=Authority("Home")),
                issued(svid(self.home), example=self.home),
            ):
                answers["unix:/agent"] = each
                (host,) = self.load(base=base).hosts.all
                made[len(made)] = host.digest
            self.assertEqual(len({*made.values()}), 2 + by_authorities)

    def test_change(self) -> None:
        """The log says which serial has come for which."""
        before = self.load(base=self.issued_host())
        self.workloads.answers["unix:/agent"] = new = issued(svid(self.home), example=self.home)
        (change,) = changes("1:443", before.hosts, self.load(base=self.issued_host()).hosts)
        serials = [f"serial {serial_text(each.pair.certificate.serial_number)}" for each in (self.answer, new)]
        self.assertTrue(change.startswith(f"any name: {serials[0]} -> {serials[1]} until "), change)

    def test_not_there(self) -> None:
        """An agent that is not there is one line for each host, which names the key; nobody waits for it twice."""
        trouble = "no such socket; waited 10 seconds"
        hosts = [
            self.issued_host(name, spiffe="unix:/no", client_auth="required", wrote={"spiffe": f"m:{line}: spiffe"})
            for line, name in enumerate(("a.example", "b.example"))
        ]
        error = self.assertRaises(ConfigurationError, self.load, *hosts)
        self.assertEqual(error.lines, tuple(f"m:{line}: spiffe=unix:/no: {trouble}" for line in (0, 1)))
        self.assertEqual([each.asked for each in self.workloads.made], [1])

    def test_environment(self) -> None:
        """The address may be in an environment variable, as others have it; one that is not there is an error."""
        self.patch(os, "environ", {"SPIFFE_ENDPOINT_SOCKET": "unix:/agent"})
        loaded = self.load(base=self.issued_host(spiffe="env:SPIFFE_ENDPOINT_SOCKET"))
        self.assertEqual([each.address for each in loaded.workloads], ["unix:/agent"])
        self.refused(
            "spiffe=env:OTHER: there is no such environment variable", base=self.issued_host(spiffe="env:OTHER")
        )

    def test_no_name(self) -> None:
        """Hosts that are told apart need names, and an SVID has none."""
        self.refused("names=: the certificate has no name to choose the host by; say names", self.issued_host())

    def test_rules_run_together(self) -> None:
        """Two rules in one text are one rule, which matches nobody: as a denial it would let everybody in."""
        said: dict[str, Any] = {"client_auth": "required", "client_ca": (self.path("ca.pem"),)}
        rules = ("issuer=CN=Mytls,O=Mytls", "o=Smith, Jones", "cn=a,b=c", "dns=a.example")
        self.assertEqual(self.load(self.host("a.pem", allow=rules, **said)).warnings, ())
        loaded = self.load(
            self.host("a.pem", allow=("cn=x , dns=y,ip=z", "all"), deny=("cn=x,cn=" + "y" * 300,), **said)
        )
        self.assertEqual(
            loaded.warnings,
            (
                'allow=cn=x , dns=y,ip=z is one rule; for several write ["cn=x", "dns=y", "ip=z"]',
                f'deny=cn=x,cn={"y" * 192}... is one rule; for two write ["cn=x", "cn={"y" * 188}...]',
            ),
        )

    def test_warnings(self) -> None:
        """That an SVID lives for an hour and has no host's name is no cause to warn; that it has expired is."""
        hour = DAY / 24
        self.answered(svid(self.home, until=hour))
        loaded = self.load(self.issued_host("a.example"))
        self.assertEqual(loaded.warnings, ())
        self.answered(svid(self.home, until=-hour))
        (warning,) = self.load(self.issued_host("a.example")).warnings
        self.assertRegex(warning, "^spiffe=unix:/agent: the certificate expired on ")
        self.answered()
        (warning,) = self.load(base=self.issued_host(client_auth="required")).warnings
        self.assertIn("nobody enters; allow=all", warning)

    def test_curve(self) -> None:
        """What TLS does not have is told of the key that it comes from."""
        pair = svid(self.home)
        self.answered(attrs.evolve(pair, key=ec.generate_private_key(ec.SECP256K1())))
        self.refused("spiffe=unix:/agent: its key is on a curve that TLS does not have", base=self.issued_host())
