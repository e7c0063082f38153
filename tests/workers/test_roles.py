"""What a parent, a worker and one alone do differently with what is said."""

from __future__ import annotations

import os
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.events import Draining, Reloaded, ReloadFailed
from mytls.reload import NotNow
from mytls.settings import Limits, ListenerSettings, Log, Settings
from mytls.tls import files as tls_files
from mytls.tls.files import Contents
from mytls.workers.attendant import Failures
from mytls.workers.child import Child, Ended, Launch
from mytls.workers.estate import lineage_of_nobody
from mytls.workers.roles import Alone, Parent, Single, Worker, divided, role_of
from mytls.workers.seat import Seat

SEAT = Seat(2, 3, 9, {})


def launch() -> Launch:
    """How workers are started."""
    return Launch(("--handler", "echo", "--workers", "2"), "/srv", "poll")


class RoleTests(SynchronousTestCase):
    """L{role_of}."""

    def test_by_what_is_said(self) -> None:
        """One is alone, more have a parent, and a worker is one whatever is said."""
        self.assertIsInstance(role_of(Settings(), launch, None), Alone)
        self.assertIsInstance(role_of(Settings(workers=2), launch, None), Parent)
        self.assertIsInstance(role_of(Settings(workers=2), launch, SEAT), Worker)

    def test_who_can_be_succeeded(self) -> None:
        """Where twistd runs it; not from within a sandbox, nor with a place that is one process's."""
        role = role_of(Settings(), launch, None, lineage_of_nobody())
        assert isinstance(role, Single)
        listener = ListenerSettings.of("mytls:over=stdio\\:", {}, {})
        for settings, why in (
            (Settings(), ""),
            (Settings(sandbox=True), "the sandbox lets it start nothing"),
            (Settings(listeners=(listener,)), "stdio: is one process's"),
        ):
            self.assertIs(role.settings(settings), settings)
            self.assertEqual(role._estate.why_kept, why)

    def test_what_a_successor_may_not_read(self) -> None:
        """One alone holds it, until a reload has found all; where there cannot be a successor, nothing is held."""
        self.patch(tls_files, "_may", lambda path, how: False)
        for sandbox in (False, True):
            lineage = lineage_of_nobody()
            self.addCleanup(lineage.held.forget)
            role = role_of(Settings(), launch, None, lineage)
            role.settings(Settings(sandbox=sandbox))
            role.loaded(Contents({"/key.pem": b"secret"}))
            lineage.held.settle()
            self.assertEqual(bool(lineage.held.passed({}, {})[0]), not sandbox)
            self.successResultOf(role.applies(lambda plan: succeed([]))(cast(Any, None)))
            self.assertEqual(lineage.held.passed({}, {}), ({}, {}))

    def test_auto(self) -> None:
        """As many as there are cores for this process; one alone where there is one."""
        self.patch(os, "sched_getaffinity", lambda pid: {3})
        self.assertIsInstance(role_of(Settings(workers=0), launch, None), Alone)
        self.patch(os, "sched_getaffinity", lambda pid: {0, 3, 5})
        role = cast(Parent, role_of(Settings(workers=0), launch, None))
        role.reactor(Clock())
        self.assertEqual(len(role._crew.places), 3)

    def test_no_stdio(self) -> None:
        """Processes cannot share standard input: one line, which names the place."""
        listener = ListenerSettings.of("mytls:over=stdio\\:", {}, {})
        with self.assertRaisesRegex(ConfigurationError, r"--endpoint mytls:over=stdio\S+: workers cannot share stdio:"):
            Parent(2, launch()).settings(Settings(listeners=(listener,)))
        self.assertEqual(Alone().settings(Settings(listeners=(listener,))).listeners, (listener,))

    def test_the_share_of_a_worker(self) -> None:
        """Limits are divided and rounded up; no limit stays none. Files are looked at by the parent alone."""
        self.assertEqual(
            divided(
                Limits(max_threads=512, max_connections=7, at_limit="wait"),
                3,
                "max_threads",
                "max_processes",
                "max_connections",
            ),
            Limits(max_threads=171, max_processes=171, max_connections=3, at_limit="wait"),
        )
        listener = ListenerSettings.of("mytls:443", {"max-connections": 10}, {})
        settings = Worker(SEAT).settings(Settings(workers=3, listeners=(listener,), reload_interval=10))
        self.assertEqual((settings.listeners[0].max_connections, settings.reload_interval), (4, 0))

    def test_the_lines_of_a_worker(self) -> None:
        """Of the same cause each worker has its part of the lines, and one at least; where all have lines, all."""
        for repeats, share in ((10, 4), (2, 1), (1, 1), (0, 0)):
            settings = Worker(SEAT).settings(Settings(workers=3, log=Log(repeats=repeats)))
            self.assertEqual(settings.log.repeats, share)

    def test_what_a_worker_logs(self) -> None:
        """Reloads and the drain the parent tells once; why a reload has failed is kept for it."""
        heard: list[Any] = []
        worker = Worker(SEAT)
        (failures,) = worker.observers()
        log = worker.log(heard.append)
        events = [ReloadFailed(lines=("a",)), Draining(connections=1, seconds=1), Reloaded(changes=())]
        for event in events:
            log(event)
        self.assertEqual(heard, [])
        failures(events[0])
        self.assertEqual(cast(Failures, failures).lines, ("a",))
        failures(events[2])
        self.assertEqual(cast(Failures, failures).lines, ())


class ParentTests(SynchronousTestCase):
    """L{Parent}."""

    def test_first_the_parent_then_the_workers(self) -> None:
        """What a plan changes is told when all workers have it; what one of them says is tried again."""
        parent, order = Parent(2, launch()), list[str]()
        parent.reactor(Clock())
        troubles: list[str] = []

        def here(plan: Any) -> Deferred[Any]:
            order.append("here")
            return succeed(["a change"])

        def there(sockets: Any) -> Deferred[Any]:
            order.append("there")
            return succeed(troubles)

        self.patch(parent._crew, "reload", there)
        apply = parent.applies(here)
        self.assertEqual(self.successResultOf(apply(cast(Any, None))), ["a change"])
        self.assertEqual(order, ["here", "there"])
        troubles.append("worker 2: no such file")
        self.failureResultOf(apply(cast(Any, None)), NotNow)

    def test_workers_of_another_version(self) -> None:
        """A roll that has brought other code ends with a successor; one that has not, or has failed, does not."""
        parent, asked = Parent(2, launch()), list[str]()
        parent.reactor(Clock())
        self.patch(parent._estate, "hand_over", lambda: asked.append("handed over"))
        for place in parent._crew.places:
            place.child = Child(place.number)
        for done, code in ((True, parent._code), (False, "other"), (True, "other")):
            self.assertEqual(asked, [])
            for place in parent._crew.places:
                assert place.child is not None
                place.child.code = code
            self.patch(parent._crew, "roll", lambda done=done: succeed(done))
            parent._roll()
        self.assertEqual(asked, ["handed over"])


class LaunchTests(SynchronousTestCase):
    """How workers are started, and how they have ended."""

    def test_the_words_that_were_typed(self) -> None:
        """A worker gets them as they were, and the parent's reactor."""
        command = launch().command()
        self.assertIn("--reactor=poll", command)
        self.assertEqual(command[command.index("mytls") :], ["mytls", "--handler", "echo", "--workers", "2"])

    def test_ended(self) -> None:
        """By a status, by a signal with its name, or by one without."""
        self.assertEqual(
            [str(Ended(3)), str(Ended(None, 9)), str(Ended(None, 250))],
            [
                "ended with exit status 3",
                "was ended by signal 9 (SIGKILL)",
                "was ended by signal 250",
            ],
        )
