"""Settings in, hosts out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import trustme
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.changes import changes
from mytls.errors import ConfigurationError, TLSFailure
from mytls.events import Observers
from mytls.guards import rego
from mytls.handlers.builtin import EchoFactory
from mytls.hosts import Host
from mytls.listener import TLSFactory
from mytls.loading import Loaded, Loading, contexts, load
from mytls.settings import Deadlines, HostSettings, ListenerSettings
from mytls.tls.files import Files
from mytls.tls.hello import ClientHello
from tests.files import folder
from tests.memory import Link, client_context


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


class WarningTests(LoadingTests):
    """What an operator should know."""

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
        self.assertRegex(change, rf"^a\.example: serial {serial:X} -> serial [0-9A-F]+ until \d{{4}}-\d\d-\d\d$")


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
