"""The benchmarks measure whom they name."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.rows import AIMS, ROWS
from benchmarks.servers import all_servers


class RowTests(SynchronousTestCase):
    """Rows, servers and aims."""

    def test_servers(self) -> None:
        """Each row has mytls and somebody to compare it with, and each that it names is there."""
        servers = all_servers()
        for row in ROWS:
            taking = [name for name in servers if row.run.takes(name)]
            self.assertIn("mytls", taking, row.name)
            self.assertGreater(len(taking), 1, row.name)
            self.assertLessEqual(set(row.run.servers), set(servers), row.name)

    def test_aims(self) -> None:
        """Each aim is one of a row, and of a server that has a turn in it."""
        rows = {row.name: row for row in ROWS}
        self.assertEqual(len(rows), len(ROWS))
        for name, aims in AIMS.items():
            for server in aims:
                self.assertTrue(rows[name].run.takes(server), f"{name}: {server}")

    def test_a_server_of_some_rows(self) -> None:
        """Mytls without log and metrics is compared with mytls that has them, and with nobody else."""
        taking = {row.name for row in ROWS if row.run.takes("unwatched")}
        self.assertEqual(taking, {"watched-full", "watched-ping-64"})
