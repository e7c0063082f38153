"""What `--check` prints."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mytls.kinds import network
from mytls.loading import Loading, load
from mytls.running import Plan
from mytls.settings import HostSettings, ListenerSettings, Settings
from mytls.table import table
from mytls.tls.files import Files
from tests.files import folder, write_pair


class TableTests(SynchronousTestCase):
    """The table."""

    def setUp(self) -> None:
        self.key, self.chain = write_pair(folder(self), "localhost")

    def lines(self, *listeners: ListenerSettings) -> list[str]:
        """The lines of the table for these, their spaces made one."""
        loading = Loading(Files())
        plan = Plan(
            Settings(listeners),
            tuple((each, None if each.endpoint.startswith("tcp") else load(each, loading)) for each in listeners),
            ("something\nto know",),
        )
        return [" ".join(line.split()) for line in table(plan).splitlines()]

    def test_hosts(self) -> None:
        """Each host has its names, its certificate, its end, its rules a line each, and its handler."""
        host = HostSettings(
            names=("localhost", "a.example"),
            certificate=(self.chain,),
            private_key=(self.key,),
            profile="modern",
            alpn=("h2", "http/1.1"),
            client_auth="required",
            client_ca=(self.chain,),
            allow=("cn=a b", "dns=x.example"),
            deny=("serial=0A",),
            handler="echo",
        )
        lines = self.lines(ListenerSettings("mytls:1", hosts=(host,)))
        self.assertEqual(lines[0], "LISTENER NAMES CERTIFICATE NOT AFTER (UTC) TLS ALPN CLIENTS RULES HANDLER")
        self.assertRegex(
            lines[1],
            r"^mytls:1 localhost \S+localhost\.pem \d{4}-\d\d-\d\d 00:00 modern h2 required allow cn=a b echo$",
        )
        self.assertEqual(
            lines[2:5],
            ["a.example http/1.1 allow dns=x.example", "deny serial=0A", "mytls:1 any other name - - - - - - refused"],
        )

    def test_others(self) -> None:
        """One host for all names; one that is passed on; a place without TLS; then the warnings, a line each."""
        alone = HostSettings(certificate=(self.chain,), private_key=(self.key,), handler="discard")
        passed = HostSettings(names=("raw.example",), handler="passthrough:tcp:localhost:1")
        lines = self.lines(
            ListenerSettings("mytls:1", alone),
            ListenerSettings("mytls:2", hosts=(passed,), unknown_name="raw.example"),
            ListenerSettings("tcp:3", HostSettings(handler="echo")),
        )
        self.assertRegex(lines[1], r"^mytls:1 localhost \S+ \S+ 00:00 intermediate - off - discard$")
        self.assertEqual(lines[2], "and any other")
        self.assertEqual(lines[3], "mytls:2 raw.example - - passed on - off - passthrough:tcp:localhost:1")
        self.assertEqual(lines[4], "and any other")
        self.assertEqual(lines[5], "tcp:3 - - - none - - - echo")
        self.assertEqual(lines[-1], "warning: something\\x0ato know")

    def test_where_from(self) -> None:
        """Where clients may connect from stands above the rules: the listener's, and what a host has besides."""
        pair: Any = {"certificate": (self.chain,), "private_key": (self.key,), "handler": "echo"}
        listed = HostSettings(from_=(network("10.0.0.0/8"), network("::1")))
        first, second = (
            HostSettings(**pair),
            HostSettings(names=("b.example",), from_=(network("10.1.0.0/16"),), **pair),
        )
        lines = self.lines(
            ListenerSettings("mytls:1", listed, hosts=(first, second)),
            ListenerSettings("tcp:2", attrs.evolve(listed, handler="echo")),
        )
        self.assertRegex(lines[1], r" off from 10\.0\.0\.0/8 echo$")
        self.assertEqual(lines[2], "from ::1/128")
        self.assertRegex(lines[3], r" off from 10\.0\.0\.0/8 echo$")
        self.assertEqual(lines[4:6], ["from ::1/128", "from 10.1.0.0/16"])
        self.assertIn("tcp:2 - - - none - - from 10.0.0.0/8 echo", lines)
        alone = HostSettings(from_=(network("10.0.0.0/8"),), **pair)
        self.assertEqual("\n".join(self.lines(ListenerSettings("mytls:1", alone))).count("from 10.0.0.0/8"), 1)

    def test_proxies(self) -> None:
        """Who has to send a PROXY header is told beside it."""
        proxies = network("10.0.0.0/8"), "unix"
        base = HostSettings(certificate=(self.chain,), private_key=(self.key,), handler="echo")
        lines = self.lines(ListenerSettings("mytls:1", base=base, proxy_protocol=proxies))
        self.assertRegex(lines[1], r" off PROXY header from 10\.0\.0\.0/8 echo$")
        self.assertRegex(lines[2], "PROXY header from unix$")

    def test_policies(self) -> None:
        """Policies stand below the rules; where there is no rule they decide alone, and no rule is told."""
        pair: Any = {"certificate": (self.chain,), "private_key": (self.key,), "handler": "echo"}
        clients: Any = {"client_auth": "required", "client_ca": (self.chain,)}
        pins: Any = {"client_auth": "optional", "allow": ("spki=sha256:" + "A" * 43 + "=",)}
        policy = {"policy": "os.path:exists"}
        for said, rules in (
            (policy, ["policy os.path:exists"]),
            ({**clients, **policy}, ["policy os.path:exists"]),
            ({**clients, **policy, "deny": ("cn=a",)}, ["deny cn=a", "policy os.path:exists"]),
            ({**clients, **policy, "allow": ("all",)}, ["allow all", "policy os.path:exists"]),
            (pins, [f"allow {pins['allow'][0]}"]),
        ):
            lines = self.lines(ListenerSettings("mytls:1", HostSettings(**pair, **said)))
            shown = [lines[1].partition(f" {said.get('client_auth', 'off')} ")[2].removesuffix(" echo")]
            if len(rules) > 1:
                shown.append(lines[2].removeprefix("and any other "))
            self.assertEqual(shown, rules)

    def test_nobody(self) -> None:
        """A host that asks for certificates and lets nobody in says so."""
        host = HostSettings(
            certificate=(self.chain,), private_key=(self.key,), client_auth="required", client_ca=(self.chain,)
        )
        self.assertIn("- required nobody enters", self.lines(ListenerSettings("mytls:1", host))[1])
