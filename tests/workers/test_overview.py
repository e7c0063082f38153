"""A parent and its workers, as who looks on sees them."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.crew import PATIENCE, Crew
from mytls.workers.overview import CrewOverview
from mytls.workers.tallies import Tally
from tests.workers.test_crew import Child
from tests.workers.test_tallies import status


class Own:
    """What is to be told of the parent."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.drains: Any = None

    def start(self) -> None:
        self.heard.append("start")

    def stop(self) -> None:
        self.heard.append("stop")

    def drain(self) -> None:
        self.heard.append("drain")

    def reload(self) -> Deferred[bool]:
        self.heard.append("reload")
        return succeed(True)

    def snapshot(self) -> Any:
        return {"mytls_reloads_total": [[["changed"], 1]]}

    def status(self, *, whole: bool = True) -> Deferred[Any]:
        listener = {"address": "here", "handler": "echo", "open": 0, "accepted": 0, "refused": 0, "failed": 0}
        none = {"open": 0, "handshaking": 0, "accepted": 0}
        return succeed(
            {
                "version": "1",
                "drain": self.drains,
                "workers": [],
                "listeners": [listener],
                "connections": none,
                "refusals": {},
                "failures": {},
                "ends": {},
                "bytes": {"in": 0, "out": 0},
                "backends": [],
            }
        )


class OverviewTests(SynchronousTestCase):
    """L{CrewOverview}."""

    def setUp(self) -> None:
        self.clock, self.own, self.tally = Clock(), Own(), Tally()
        self.all: list[Child] = []
        self.crew = Crew(self.clock, 2, self.start, self.tally, lambda line: None)
        self.overview = CrewOverview(cast(Any, self.own), self.crew, self.tally)
        self.crew.start()
        for child in self.all:
            child.serves()
            child.told["status"] = child.answers["status"] = status(5, 2)
            child.told["metrics"] = child.answers["metrics"] = {
                "mytls_connections_accepted_total": [[["here"], 5]],
                "mytls_reloads_total": [[["changed"], 1]],
            }

    def start(self, number: int, generation: int) -> Any:
        self.all.append(Child(number, generation, self.clock))
        return self.all[-1]

    def test_status(self) -> None:
        """The parent's, with the numbers of all, and each worker."""
        told = self.successResultOf(self.overview.status())
        self.assertEqual(told["connections"], {"open": 4, "handshaking": 0, "accepted": 10})
        self.assertEqual((told["version"], told["bytes"], told["drain"]), ("1", {"in": 20, "out": 40}, None))
        self.assertEqual((told["listeners"][0]["accepted"], told["backends"][0]["open"]), (10, 4))
        self.assertEqual(
            [(each["worker"], each["pid"], each["up"]) for each in told["workers"]], [(1, 1001, True), (2, 1002, True)]
        )

    def test_how_many_are_left(self) -> None:
        """In a drain it is the workers who have the connections."""
        self.own.drains = {"left": 0, "until": None}
        self.assertEqual(self.successResultOf(self.overview.status())["drain"], {"left": 4, "until": None})

    def test_late(self) -> None:
        """Who does not answer counts as it was, and is up: it may be busy. Who is silent for longer is not."""
        del self.all[1].answers["status"]
        told = self.overview.status()
        self.assertNoResult(told)
        self.clock.advance(PATIENCE)
        said = self.successResultOf(told)
        self.assertEqual(
            ([each["up"] for each in said["workers"]], said["connections"]["accepted"]), ([True, True], 10)
        )
        self.patch(self.crew, "is_silent", lambda child: child is self.all[1])
        told = self.overview.status()
        self.clock.advance(PATIENCE)
        self.assertEqual([each["up"] for each in self.successResultOf(told)["workers"]], [True, False])

    def test_gone(self) -> None:
        """Nothing is forgotten, and nothing counted twice."""
        self.all[0].ends(1)
        told = self.successResultOf(self.overview.status())
        self.assertEqual((told["connections"]["open"], told["connections"]["accepted"]), (2, 10))
        metrics = self.successResultOf(self.overview.metrics()).decode()
        self.assertIn('mytls_connections_accepted_total{listener="here"} 10.0', metrics)
        self.assertIn('mytls_worker_up{worker="1"} 0.0', metrics)
        self.assertIn('mytls_worker_up{worker="2"} 1.0', metrics)

    def test_gone_while_others_are_asked(self) -> None:
        """Its numbers are counted once also then."""
        del self.all[1].answers["status"]
        told = self.overview.status()
        self.all[0].ends(1)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(told)["connections"]["accepted"], 10)

    def test_reloads_are_counted_once(self) -> None:
        """By the parent."""
        metrics = self.successResultOf(self.overview.metrics()).decode()
        self.assertIn('mytls_reloads_total{result="changed"} 1.0', metrics)

    def test_connections(self) -> None:
        """Those of all, the oldest first; an id says whose it is, and closes it there."""
        for child, since in zip(self.all, ([5, 1], [3]), strict=True):
            found = [{"id": str(at), "since": each} for at, each in enumerate(since)]
            child.answers["connections"] = {"total": 10 * len(found), "connections": found}
            child.answers["close"] = {"closed": child.number == 2}
        total, told = self.successResultOf(self.overview.connections())
        self.assertEqual((total, [each["id"] for each in told]), (30, ["1.1-1", "2.1-0", "1.1-0"]))
        total, told = self.successResultOf(self.overview.connections(2))
        self.assertEqual((total, [each["id"] for each in told]), (30, ["1.1-1", "2.1-0"]))
        self.assertEqual([child.said["connections"] for child in self.all], [{"limit": 2}] * 2)
        del self.all[0].answers["connections"]["total"]  # as of one that is older
        self.assertEqual(self.successResultOf(self.overview.connections(1))[0], 12)
        closed = [self.successResultOf(self.overview.close(each)) for each in ("2.1-0", "1.1-7", "9-1", "x")]
        self.assertEqual(closed, [True, False, False, False])

    def test_asked_for(self) -> None:
        """All that the parent does for its workers."""
        self.overview.start()
        self.assertTrue(self.successResultOf(self.overview.reload()))
        self.overview.drain()
        self.overview.stop()
        self.assertEqual(self.own.heard, ["start", "reload", "drain", "stop"])
