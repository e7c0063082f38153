"""A service, and what systemd is told of it; everything in memory."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.events import Draining, Reloaded
from mytls.systemd.notify import Nobody
from mytls.systemd.supervised import EVERY, Supervised, Supervision, status_sentence
from mytls.systemd.watchdog import Fed, Watchdog


class Told:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[dict[str, object]] = []

    def tell(self, **said: object) -> None:
        self.said.append(said)


class Served(Service):
    """A service that ends when it is told to."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.on_reload: Any = None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.ended


def status(**more: Any) -> dict[str, Any]:
    """How a service is that is all well."""
    numbers = {"open": 3, "handshaking": 1, "accepted": 9, "refused": 2, "failed": 4, "established": 5, "closed": 2}
    return {
        "draining": False,
        "drain": None,
        "workers": [],
        "listeners": [{"listening": True}],
        "reload": {"attempts": 0, "failures": 0, "last": None},
        "connections": numbers,
        **more,
    }


SENTENCE = "3 connections open, 1 of them in handshakes; 9 accepted, 2 refused, 4 without a handshake"


class Case(SynchronousTestCase):
    """A service that is supervised."""

    def setUp(self) -> None:
        self.clock, self.told, self.served = Clock(), Told(), Served()
        self.status: Any = status()
        supervision = Supervision(self.told)
        made = supervision.of(self.clock, self.served, self.answer)
        assert isinstance(made, Supervised)
        self.served.on_reload = supervision.reloading
        self.supervision, self.made = supervision, made

    def answer(self) -> Deferred[Any]:
        """Asked how it is."""
        return fail(self.status) if isinstance(self.status, Exception) else succeed(self.status)

    def start(self) -> None:
        """It listens."""
        self.made.startService()
        self.clock.advance(0)
        self.told.said.clear()

    def said(self) -> list[dict[str, object]]:
        """What was said since the last time."""
        found, self.told.said = self.told.said, []
        return found


class ReadyTests(Case):
    """READY=1."""

    def test_when_all_listen(self) -> None:
        """It is said when each place is listened at, and not before."""
        self.status = status(listeners=[{"listening": True}, {"listening": False}])
        self.made.startService()
        self.clock.pump([0, 1, 1])
        self.assertTrue(self.served.running)
        self.assertEqual(self.said(), [])
        self.status = status()
        self.clock.advance(1)
        self.assertEqual(self.said(), [{"READY": 1, "STATUS": SENTENCE}])

    def test_when_all_workers_serve(self) -> None:
        """A worker that is not there yet is waited for."""
        self.status = status(workers=[{"up": True}, {"up": False}])
        self.made.startService()
        self.clock.pump([0, 1])
        self.assertEqual(self.said(), [])
        self.status = status(workers=[{"up": True}, {"up": True}])
        self.clock.advance(1)
        self.assertEqual(self.said()[0]["READY"], 1)

    def test_a_service_that_cannot_start(self) -> None:
        """Then nothing is said."""

        def broken() -> None:
            raise SystemExit("mytls: cannot listen")

        self.patch(self.served, "startService", broken)
        self.assertRaises(SystemExit, self.made.startService)
        self.clock.advance(10)
        self.assertEqual(self.said(), [])

    def test_nobody_wants_to_know(self) -> None:
        """Then the service is as it was."""
        supervision = Supervision(Nobody(), 30.0)
        self.assertIs(supervision.of(self.clock, self.served, self.answer), self.served)
        supervision.heard(Draining(connections=1, seconds=1.0))
        supervision.reloading(Deferred())
        self.assertEqual(supervision.observers, ())
        self.assertFalse(supervision.wanted)
        self.assertFalse(Supervision.asked({}).wanted)


class StatusTests(Case):
    """STATUS=, for `systemctl status`."""

    def test_when_changed(self) -> None:
        """It is said when it is new, every few seconds at most."""
        self.start()
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.said(), [])
        for accepted in range(100):
            self.status = status(connections={**status()["connections"], "accepted": accepted})
            self.clock.advance(0.1)
        self.assertTrue(2 <= len(self.said()) <= 10 / EVERY + 1)

    def test_failed_reload(self) -> None:
        """A reload that has failed is said as long as it is the last."""
        self.start()
        self.status = status(reload={"last": {"served": False, "lines": ["a.pem: cut off", "b.pem: cut off"]}})
        self.clock.advance(EVERY)
        self.assertEqual(self.said(), [{"STATUS": f"{SENTENCE}; the last reload has failed: a.pem: cut off"}])
        self.status = status(reload={"last": {"served": True, "lines": []}})
        self.clock.advance(EVERY)
        self.assertEqual(self.said(), [{"STATUS": SENTENCE}])

    def test_a_look_that_fails(self) -> None:
        """It is in the log, and the next look may be better."""
        self.start()
        self.status = ZeroDivisionError()
        self.clock.advance(EVERY)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.status = status(draining=True)
        self.clock.advance(EVERY)
        self.assertEqual(self.said(), [{"STOPPING": 1, "STATUS": "Stopping"}])

    def test_sentence(self) -> None:
        """While it stops, it is told how many are left."""
        self.assertEqual(
            status_sentence(status(draining=True, drain={"left": 7, "until": None})), "Stopping: 7 connections left"
        )


class ReloadTests(Case):
    """RELOADING=1, and READY=1 when it is done."""

    def test_reload(self) -> None:
        """With the time of its beginning in microseconds, on the clock that systemd compares it with."""
        self.patch(self.made, "_monotonic", lambda: 1234.5)
        self.start()
        done: Deferred[bool] = Deferred()
        self.served.on_reload(done)
        self.assertEqual(self.said(), [{"RELOADING": 1, "MONOTONIC_USEC": 1_234_500_000, "STATUS": "Reloading"}])
        self.clock.advance(EVERY)
        self.assertEqual(self.said(), [])
        done.callback(True)
        self.assertEqual(self.said(), [{"READY": 1, "STATUS": SENTENCE}])
        self.assertIs(self.successResultOf(done), True)

    def test_failed(self) -> None:
        """One that has failed has ended too: what was served is served, and the status says why."""
        self.start()
        done: Deferred[bool] = Deferred()
        self.served.on_reload(done)
        self.said()
        self.status = status(reload={"last": {"served": False, "lines": ["a.pem: cut off"]}})
        done.callback(False)
        self.assertEqual(
            self.said(), [{"READY": 1, "STATUS": f"{SENTENCE}; the last reload has failed: a.pem: cut off"}]
        )

    def test_two_at_a_time(self) -> None:
        """The end of one is not the end of another that was asked for later."""
        self.start()
        first, second = Deferred[bool](), Deferred[bool]()
        self.served.on_reload(first)
        self.served.on_reload(second)
        self.assertEqual([each["RELOADING"] for each in self.said()], [1, 1])
        first.callback(True)
        self.assertEqual(self.said(), [])
        second.callback(True)
        self.assertEqual(self.said(), [{"READY": 1, "STATUS": SENTENCE}])

    def test_while_it_stops(self) -> None:
        """A stop is not taken back."""
        self.start()
        done: Deferred[bool] = Deferred()
        self.served.on_reload(done)
        self.made.stopService()
        self.said()
        done.callback(False)
        self.served.on_reload(Deferred())
        self.assertEqual(self.said(), [])


class StopTests(Case):
    """STOPPING=1."""

    def test_stop(self) -> None:
        """It is said at once, and until all have gone how many are left."""
        self.start()
        stopped = self.made.stopService()
        self.assertEqual(self.said(), [{"STOPPING": 1, "STATUS": "Stopping"}])
        for left in (2, 1):
            self.status = status(draining=True, drain={"left": left, "until": None})
            self.clock.advance(EVERY)
        self.assertEqual(
            self.said(), [{"STATUS": "Stopping: 2 connections left"}, {"STATUS": "Stopping: 1 connections left"}]
        )
        self.assertNoResult(stopped)
        self.served.ended.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain(self) -> None:
        """A drain that the signal TERM has begun is said at once, though the process stops only after it."""
        self.start()
        self.status = status(draining=True, drain={"left": 2, "until": None})
        self.supervision.heard(Reloaded(changes=()))
        self.assertEqual(self.said(), [])
        self.supervision.heard(Draining(connections=2, seconds=30.0))
        self.assertEqual(self.said(), [{"STOPPING": 1, "STATUS": "Stopping: 2 connections left"}])
        self.made.stopService()
        self.assertEqual(self.said(), [])

    def test_before_it_listens(self) -> None:
        """Who stops before it was ready is never ready."""
        self.status = status(listeners=[{"listening": False}])
        self.made.startService()
        self.clock.advance(0)
        self.made.stopService()
        self.status = status()
        self.clock.pump([1.0] * 5)
        self.assertNotIn("READY", {name for each in self.said() for name in each})


class AliveTests(SynchronousTestCase):
    """WATCHDOG=1."""

    def test_until_all_are_gone(self) -> None:
        """It is said while the service drains too, or systemd would end it."""
        clock, told, served = Clock(), Told(), Served()
        watchdog = Watchdog(clock, 1.0, Fed(lambda: told.tell(WATCHDOG=1)))
        made = Supervised(clock, served, lambda: succeed(status()), told, watchdog)
        made.startService()
        made.stopService()
        told.said.clear()
        clock.pump([1.0] * 5)
        self.assertEqual(told.said.count({"WATCHDOG": 1}), 5)
        served.ended.callback(None)
        told.said.clear()
        clock.pump([1.0] * 5)
        self.assertEqual(told.said, [])
