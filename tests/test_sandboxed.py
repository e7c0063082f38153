"""A service with a sandbox, and after its privileges are given up: when, what with, and what a reload then says."""

from __future__ import annotations

import os
import pwd
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

import mytls.assemble
from mytls.assemble import service_from_file
from mytls.configfile import settings_from_file
from mytls.errors import ConfigurationError
from mytls.events import ReloadFailed
from mytls.guards import sandbox
from mytls.guards.sandbox import Permits, Unconfined
from mytls.privileges import Rights
from mytls.running import CannotStart, TLSService
from mytls.settings import SandboxSettings, Settings
from mytls.tap import Options
from mytls.workers.child import Launch
from mytls.workers.roles import Parent, Role
from tests.test_running import A, RunningTests

FILE = """
sandbox = true
core-dumps = "off"
sandbox-read = "templates"
sandbox-write = ["/var/lib/app"]
sandbox-connect = [5432, 6379]
[[listener]]
endpoint = "mytls:8443"
certificate = "a.pem"
handler = "echo"
"""


class Restricted(RunningTests):
    """A kernel that only remembers what it was told."""

    def setUp(self) -> None:
        super().setUp()
        self.entered: list[tuple[Permits, list[int]]] = []
        self.patch(sandbox, "_version", lambda wrote: 8)
        self.patch(sandbox, "_restrict", self.restrict)
        self.patch(Rights, "sandboxed", False)

    def restrict(self, permits: Permits) -> None:
        """See L{sandbox}."""
        self.entered.append((permits, sorted(self.reactor.listening)))

    def made(self, *more: str, role_for: Any = None) -> TLSService:
        """A service of a file with a sandbox."""
        path = self.write(A)
        with open(path, "r+", encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            file.write("".join(f"{each}\n" for each in ("sandbox = true", *more)) + text)
        how = {} if role_for is None else {"role_for": role_for}
        return service_from_file(path, reactor=self.reactor, observers=[self.events.append], **how)


class SandboxedTests(Restricted):
    """`sandbox = true`."""

    def test_when(self) -> None:
        """It is entered when all is loaded and listens, and the process has given up its privileges; and once."""
        made = self.made()
        made.privilegedStartService()
        self.assertEqual((len(self.reactor.listening), self.entered), (1, []))
        made.startService()
        self.addCleanup(made.stopService)
        ((permits, listening),) = self.entered
        self.assertEqual(listening, list(self.reactor.listening))
        self.assertIn(str(self.folder), permits.read)
        self.assertLessEqual({port for port in listening if port}, permits.bind)

    def test_it_fails(self) -> None:
        """Where the kernel refuses then, the service does not start: one line."""

        def refuse(permits: Permits) -> None:
            raise OSError(1, "Operation not permitted")

        self.patch(sandbox, "_restrict", refuse)
        made = self.made()
        made.privilegedStartService()
        error = self.assertRaises(CannotStart, made.startService)
        self.addCleanup(made.stopService)
        self.assertRegex(str(error), r"^mytls: .*mytls\.toml:1: sandbox: the kernel refuses: Operation not permitted$")

    def test_it_cannot_be_had(self) -> None:
        """Where there is none, nothing is made, and nothing has listened."""

        def none(wrote: str) -> int:
            raise ConfigurationError(f"{wrote}: this kernel has none")

        self.patch(sandbox, "_version", none)
        error = self.assertRaises(ConfigurationError, self.made)
        self.assertRegex(str(error), r"^.*mytls\.toml:1: sandbox: this kernel has none$")
        self.assertEqual(self.reactor.listening, {})

    def test_not_asked_for(self) -> None:
        """Without the key there is none, and nobody looks for it."""
        self.patch(sandbox, "_version", None)
        made = self.of_file(A)
        self.assertIsInstance(made.sandbox, Unconfined)
        self.assertEqual(self.entered, [])

    def test_parent(self) -> None:
        """The parent of workers has none, since it starts them; whether there is one for them is asked at its start."""

        def parent(settings: Settings) -> Role:
            self.assertTrue(settings.sandbox)
            return Parent(2, Launch((), "/"))

        self.assertIsInstance(self.made(role_for=parent).sandbox, Unconfined)

        def none(wrote: str) -> int:
            raise ConfigurationError("none")

        self.patch(sandbox, "_version", none)
        self.assertRaises(ConfigurationError, self.made, role_for=parent)

    def test_other_settings(self) -> None:
        """It is as at the start: a reload with others says so."""
        made = self.started(self.made())
        path = self.path("mytls.toml")
        path.write_text(path.read_text().replace("sandbox = true", 'sandbox = true\nsandbox-read = "/srv"', 1))
        self.assertTrue(self.successResultOf(made.reload()))
        self.assertIn("sandboxed: needs a restart", str(self.events[-1]))
        self.assertEqual(len(self.entered), 1)


class KeysTests(Restricted):
    """The keys."""

    def test_file(self) -> None:
        """The file has them at its top."""
        made = settings_from_file(str(self.path("mytls.toml")), FILE.encode())
        self.assertEqual((made.sandbox, made.core_dumps), (True, "off"))
        here = str(self.path("templates"))
        self.assertEqual(made.sandboxed, SandboxSettings((here,), ("/var/lib/app",), (5432, 6379)))

    def test_command_line(self) -> None:
        """The command line has them too, and wins."""
        made = settings_from_file(str(self.path("mytls.toml")), FILE.encode())
        merged = made.merged({"core-dumps": "on", "sandbox-connect": (1,)})
        self.assertEqual((merged.core_dumps, merged.sandbox, merged.sandboxed.connect), ("on", True, (1,)))
        self.assertEqual(merged.sandboxed.write, ("/var/lib/app",))

    def test_of_no_use(self) -> None:
        """What is let in a sandbox that nobody asked for is a mistake: one line, with the key."""
        path = self.write(A)
        text = self.path("mytls.toml").read_text()
        self.path("mytls.toml").write_text(f"sandbox-connect = 5432\n{text}")
        error = self.assertRaises(ConfigurationError, service_from_file, path, reactor=self.reactor)
        self.assertRegex(str(error), r"mytls\.toml:1: sandbox-connect: of no use without sandbox$")

    def test_core_dumps(self) -> None:
        """They are off before any key is read."""
        done: list[str] = []
        self.patch(mytls.assemble, "leave_no_core", lambda: done.append("no core"))

        def reads(*about: object) -> None:
            done.append("read")
            self.fail()

        self.patch(mytls.assemble, "_plan", reads)
        self.assertRaises(self.failureException, self.made, 'core-dumps = "off"')
        self.assertEqual(done, ["no core", "read"])
        done.clear()
        self.assertRaises(self.failureException, self.made)
        self.assertEqual(done, ["read"])


class GivenUpTests(RunningTests):
    """A reload of a service that is another user by now."""

    def test_port(self) -> None:
        """A port that cannot be bound any more is told with the reason, and not tried again at each look."""
        made = self.of_file(A)
        denied = CannotListenError("", 443, PermissionError(13, "Permission denied"))

        def refuse(*about: object, **more: object) -> None:
            raise denied

        self.patch(self.reactor, "listenTCP", refuse)
        user = os.geteuid()
        self.patch(os, "geteuid", lambda: user + 1)
        self.write(A, A.replace("mytls:1", "mytls:443"))
        self.assertFalse(self.successResultOf(made.reload()))
        event = self.events[-1]
        assert isinstance(event, ReloadFailed)
        self.assertIn("cannot listen: port 443: permission denied", event.lines[0])
        self.assertTrue(event.lines[0].endswith("given up the privileges that it was started with; restart it"))
        count = made.reloads["failed"]
        self.reactor.pump([10.0] * 5)
        self.assertEqual(made.reloads["failed"], count)

    def test_key(self) -> None:
        """A new key for root alone is told once, as whom it cannot be read and why; the old one is served."""
        made = self.of_file(A)
        before = made.plan
        self.issue("a")
        opened, user = os.open, os.geteuid()

        def denied(path: Any, *about: Any, **more: Any) -> int:
            if str(path).endswith("a.pem"):
                raise PermissionError(13, "Permission denied", path)
            return opened(path, *about, **more)

        self.patch(os, "open", denied)
        self.patch(os, "geteuid", lambda: user + 1)
        self.reactor.pump([10.0] * 5)
        (event,) = [each for each in self.events if isinstance(each, ReloadFailed)]
        self.assertIn("cannot be read: Permission denied as user ", event.lines[0])
        self.assertEqual((made.plan, made.reloads["failed"]), (before, 1))


class AccountTests(SynchronousTestCase):
    """twistd's own --uid."""

    def test_unknown_user(self) -> None:
        """A number that no user has ends the start with one line, before anything is read."""
        number = 4_000_000_000
        self.assertRaises(KeyError, pwd.getpwuid, number)
        options: Any = Options()
        options.parent = {"uid": number}
        error = self.assertRaises(SystemExit, options.parseOptions, [])
        self.assertEqual(
            error.code, f"mytls: --uid {number}: this machine has no such user, and so no groups of it either"
        )
