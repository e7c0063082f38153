"""What `--check` prints."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

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

    def test_nobody(self) -> None:
        """A host that asks for certificates and lets nobody in says so."""
        host = HostSettings(
            certificate=(self.chain,), private_key=(self.key,), client_auth="required", client_ca=(self.chain,)
        )
        self.assertIn("- required nobody enters", self.lines(ListenerSettings("mytls:1", host))[1])
