"""What is measured: families, snapshots of several processes as one, Prometheus's text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from mytls.metrics import FAMILIES, Kind, Snapshot, added, ended, of_workers, rendered

ONE: Snapshot = {
    "mytls_connections_accepted_total": [[["a:1"], 3], [["b:2"], 1]],
    "mytls_connections_open": [[["a:1"], 2]],
    "mytls_certificate_expiry_seconds": [[["a.example"], 50.0], [["b.example"], 70.0]],
    "mytls_reactor_lag_seconds": [[[], 0.2]],
    "mytls_connection_duration_seconds": [[["a:1"], [1, 0, 2, *[0] * 10, 4, 5.5]]],
}
OTHER: Snapshot = {
    "mytls_connections_accepted_total": [[["a:1"], 4]],
    "mytls_connections_open": [[["a:1"], 5]],
    "mytls_certificate_expiry_seconds": [[["a.example"], 49.0]],
    "mytls_reactor_lag_seconds": [[[], 0.1]],
    "mytls_connection_duration_seconds": [[["a:1"], [0, 1, 2, *[0] * 10, 1, 2.0]]],
}


def parsed(text: bytes) -> dict[tuple[str, ...], float]:
    """The values of Prometheus's text, by their names and the values of their labels, sorted by the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode("utf-8"))
        for sample in family.samples
    }


class FamilyTests(SynchronousTestCase):
    """Names after Prometheus's conventions."""

    def test_names(self) -> None:
        """What is counted ends with _total, what is measured with its unit; a histogram has buckets that rise."""
        for family in FAMILIES.values():
            self.assertRegex(family.name, r"\A(mytls|process)_[a-z_]+\Z")
            self.assertEqual(family.kind is Kind.COUNTER, family.name.endswith("_total"), family.name)
            self.assertEqual(family.kind is Kind.HISTOGRAM, bool(family.buckets), family.name)
            self.assertEqual(list(family.buckets), sorted(set(family.buckets)))
            self.assertTrue(family.meaning.endswith("."), family.name)

    def test_words(self) -> None:
        """Those that dashboards and alerts are written for."""
        promised = """
            mytls_connections_accepted_total{listener} mytls_connections_refused_total{listener,cause}
            mytls_handshakes_total{listener,version,group,resumed} mytls_handshake_failures_total{listener,cause}
            mytls_connections_closed_total{listener,cause} mytls_connections_open{listener}
            mytls_bytes_total{listener,direction} mytls_handshake_duration_seconds{listener}
            mytls_connection_duration_seconds{listener} mytls_certificate_expiry_seconds{host}
            mytls_reloads_total{result} mytls_backend_failures_total{listener,cause}
            mytls_handler_errors_total{listener} mytls_reactor_lag_seconds{} mytls_worker_up{worker}
        """
        found = {f"{family.name}{{{','.join(family.labels)}}}" for family in FAMILIES.values()}
        self.assertEqual(set(promised.split()) - found, set())


class AddedTests(SynchronousTestCase):
    """Several processes as one."""

    def both(self) -> dict[str, Any]:
        """The two, as they come from other processes."""
        return dict(added(json.loads(json.dumps([ONE, OTHER]))))

    def test_counted(self) -> None:
        """What is counted, and what is there now, is summed for each combination of labels."""
        self.assertEqual(self.both()["mytls_connections_accepted_total"], [[["a:1"], 7], [["b:2"], 1]])
        self.assertEqual(self.both()["mytls_connections_open"], [[["a:1"], 7]])

    def test_expiry(self) -> None:
        """The soonest."""
        found = self.both()["mytls_certificate_expiry_seconds"]
        self.assertEqual(found, [[["a.example"], 49.0], [["b.example"], 70.0]])

    def test_lag(self) -> None:
        """The longest."""
        self.assertEqual(self.both()["mytls_reactor_lag_seconds"], [[[], 0.2]])

    def test_histograms(self) -> None:
        """Bucket by bucket; the sum too."""
        found = self.both()["mytls_connection_duration_seconds"]
        self.assertEqual(found, [[["a:1"], [1, 1, 4, *[0] * 10, 5, 7.5]]])

    def test_nothing_changes(self) -> None:
        """Those that were added up are as before, so they can be added up again."""
        before = json.dumps([ONE, OTHER])
        added([ONE, OTHER])
        self.assertEqual(json.dumps([ONE, OTHER]), before)

    def test_gone(self) -> None:
        """Of a process that is gone what it has counted stays, and nothing of what was there."""
        self.assertEqual(set(ended(ONE)), {"mytls_connections_accepted_total", "mytls_connection_duration_seconds"})
        without, before = dict(added([ended(ONE), OTHER])), self.both()
        self.assertEqual(without["mytls_connections_open"], [[["a:1"], 5]])
        self.assertEqual(without["mytls_connections_accepted_total"], before["mytls_connections_accepted_total"])

    def test_another_version(self) -> None:
        """What a worker of another version says besides, or has other buckets for, is left out."""
        other = {"mytls_new_total": [[["a:1"], 1]], "mytls_connection_duration_seconds": [[["a:1"], [1, 2.0]]]}
        self.assertEqual(added([ONE, other]), added([ONE]))
        self.assertEqual(ended(other), {"mytls_connection_duration_seconds": [[["a:1"], [1, 2.0]]]})


class RenderedTests(SynchronousTestCase):
    """The text that Prometheus reads."""

    def test_text(self) -> None:
        """Each family has its meaning and its kind, and each sample once."""
        text = rendered([ONE, OTHER]).decode("utf-8")
        self.assertIn("# TYPE mytls_connections_accepted_total counter\n", text)
        self.assertIn("# HELP mytls_connections_open Connections that are there.\n", text)
        self.assertIn('mytls_connections_accepted_total{listener="a:1"} 7.0\n', text)
        names = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        self.assertEqual(len(names), len(set(names)))
        self.assertNotIn("_created", text)

    def test_buckets(self) -> None:
        """Prometheus wants how many are at most so much; the last bucket has all."""
        found = parsed(rendered([ONE, OTHER]))
        name = "mytls_connection_duration_seconds"
        self.assertEqual([found[f"{name}_bucket", at, "a:1"] for at in ("0.01", "0.1", "0.5", "86400.0")], [1, 2, 6, 6])
        self.assertEqual(found[f"{name}_bucket", "+Inf", "a:1"], 11)
        self.assertEqual((found[f"{name}_count", "a:1"], found[f"{name}_sum", "a:1"]), (11, 7.5))

    def test_workers(self) -> None:
        """Which of the workers are up, and how often each was started again."""
        found = parsed(rendered([ONE, of_workers({1: True, 2: False}, {1: 0, 2: 3})]))
        self.assertEqual((found["mytls_worker_up", "1"], found["mytls_worker_up", "2"]), (1, 0))
        self.assertEqual(found["mytls_worker_restarts_total", "2"], 3)

    def test_labels(self) -> None:
        """A socket's path may be anything; it stays one label."""
        path = '/run/a "b"\n\\c.sock'
        found = parsed(rendered([{"mytls_connections_open": [[[path], 1]]}]))
        self.assertEqual(found, {("mytls_connections_open", path): 1})

    def test_nothing(self) -> None:
        """A process that has nothing to say yet is no error."""
        self.assertEqual(rendered([]).strip(), b"")
        self.assertIsNone(re.search(rb"Traceback", rendered([{}])))


class DocumentationTests(SynchronousTestCase):
    """What operators read."""

    def test_table(self) -> None:
        """The page has each metric with its type, its labels and what it means, and no other."""
        page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `((?:mytls|process)_\w+)` \| (\w+) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
        expected = [
            (each.name, str(each.kind), " ".join(f"`{label}`" for label in each.labels) or "-", each.meaning)
            for each in FAMILIES.values()
        ]
        self.assertEqual(rows, expected)


class StartTests(SynchronousTestCase):
    """What a service without them pays."""

    def test_light_start(self) -> None:
        """The library is not even imported where nobody asks for its text."""
        program = "import sys; import mytls.assemble, mytls.status.process; print('prometheus_client' in sys.modules)"
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual((answer.stdout.strip(), answer.returncode), ("False", 0), answer.stderr)
