"""Bytes of connections that are there: each is asked, and not all at once."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.status.traffic import EVERY, FEW, PARTS, Looks, Traffic


class Wire:
    """A connection that says how much has passed, and how often it was asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.passed = (0, 0)
        self.asked = 0

    @property
    def traffic(self) -> tuple[int, int]:
        self.asked += 1
        return self.passed


class TrafficTests(SynchronousTestCase):
    """The sum of what was seen."""

    def test_what_has_passed_since(self) -> None:
        """Bytes are counted once, however often a connection is looked at."""
        traffic, wires = Traffic(), [Wire(1), Wire(2)]
        for passed in ((3, 10), (3, 10), (5, 40)):
            wires[0].passed = passed
            traffic.look(wires)
        self.assertEqual((traffic.bytes_in, traffic.bytes_out), (5, 40))

    def test_who_has_ended(self) -> None:
        """Their bytes are counted elsewhere; who was never looked at has none here, and who is gone shows none."""
        traffic, wires = Traffic(), [Wire(1), Wire(2)]
        wires[0].passed, wires[1].passed = (3, 10), (1, 1)
        traffic.look(wires)
        traffic.forget(1)
        traffic.forget(7)
        wires[0].passed = (0, 0)
        traffic.look(wires)
        self.assertEqual((traffic.bytes_in, traffic.bytes_out), (1, 1))


class LooksTests(SynchronousTestCase):
    """When connections are asked."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []
        self.traffic = Traffic()
        self.looks = Looks(self.clock, lambda: self.wires, self.traffic)
        self.looks.start()
        self.addCleanup(self.looks.stop)

    def come(self, count: int) -> None:
        """So many, with a byte each way."""
        self.wires = [Wire(number) for number in range(count)]
        for each in self.wires:
            each.passed = (1, 1)

    def test_few(self) -> None:
        """Few are asked whenever somebody wants to know, and not else."""
        self.come(FEW)
        self.clock.pump([EVERY] * PARTS * 3)
        self.assertEqual(self.traffic.bytes_in, 0)
        self.assertEqual(self.looks.now(), FEW)
        self.assertEqual(self.traffic.bytes_in, FEW)

    def test_many(self) -> None:
        """Of many a part is asked at a time, each about once a second, and none for somebody who wants to know."""
        self.come(FEW * 4)
        self.assertEqual(self.looks.now(), FEW * 4)
        self.assertEqual(self.traffic.bytes_in, 0)
        self.clock.advance(EVERY * PARTS)
        for part in range(1, PARTS + 1):
            self.assertEqual(self.traffic.bytes_in, part * FEW * 4 // PARTS)
            self.clock.advance(EVERY)
        self.assertEqual({each.asked for each in self.wires} | {1}, {1, 2})

    def test_stop(self) -> None:
        """Nothing is left in the reactor; it may be started twice, and stopped twice."""
        self.looks.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.looks.stop()
        self.looks.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
