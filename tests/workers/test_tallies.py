"""Several workers, counted as one."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.tallies import Tally, at_listeners, summed


def status(accepted: int, opened: int, state: str = "up") -> dict[str, Any]:
    """What a worker says."""
    return {
        "connections": {"open": opened, "accepted": accepted},
        "refusals": {"limit": 1},
        "failures": {},
        "ends": {"clean": accepted - opened},
        "bytes": {"in": 10, "out": 20},
        "listeners": [{"address": "here", "open": opened, "accepted": accepted, "refused": 1, "failed": 0}],
        "backends": [
            {"handler": "proxy:x", "backend": "x", "state": state, "open": opened, "since": 5.0, "failures": 2}
        ],
    }


class TallyTests(SynchronousTestCase):
    """What goes on to count."""

    def test_summed(self) -> None:
        """Numbers are added up; a backend is as the worker finds it that has the least of it."""
        found = summed([status(5, 2), {}, status(7, 3, "down")])
        self.assertEqual(found["connections"], {"open": 5, "accepted": 12})
        self.assertEqual((found["refusals"], found["bytes"]), ({"limit": 2}, {"in": 20, "out": 40}))
        (backend,) = found["backends"]
        self.assertEqual((backend["state"], backend["open"], backend["failures"]), ("down", 5, 4))

    def test_who_is_gone_counts_on(self) -> None:
        """What a worker has counted stays, what it had open does not, however many follow it."""
        tally = Tally()
        for _ in range(3):
            tally.keep({"status": status(5, 2)})
        tally.keep({})
        found = summed([status(1, 1), tally.status])
        self.assertEqual(found["connections"]["accepted"], 16)
        self.assertEqual(found["connections"]["open"], 1)
        self.assertEqual(found["ends"], {"clean": 9})
        own = [{"address": "here", "handler": "echo", "open": 0, "accepted": 0, "refused": 0, "failed": 0}]
        self.assertEqual(
            at_listeners(own, found["listeners"]),
            [{"address": "here", "handler": "echo", "open": 1, "accepted": 16, "refused": 4, "failed": 0}],
        )

    def test_metrics_of_who_is_gone(self) -> None:
        """Counters stay and gauges do not; reloads are the parent's to count."""
        tally = Tally()
        tally.keep(
            {
                "metrics": {
                    "mytls_connections_accepted_total": [[["here"], 3]],
                    "mytls_connections_open": [[["here"], 3]],
                    "mytls_reloads_total": [[["changed"], 1]],
                }
            }
        )
        self.assertEqual(tally.metrics, {"mytls_connections_accepted_total": [[["here"], 3]]})
