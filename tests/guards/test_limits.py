"""How many may be there, how many may come, and who is refused."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.guards.buckets import Bucket
from mytls.guards.descriptors import LEAST_RESERVE, Budget
from mytls.guards.limits import Door, Place, Room
from mytls.guards.visitors import Visitors, key_of
from mytls.settings import Limits


def v4(host: str = "192.0.2.1") -> IPv4Address:
    """An address."""
    return IPv4Address("TCP", host, 50000)


class BucketTests(SynchronousTestCase):
    """Tokens."""

    def test_rate(self) -> None:
        """Twice as many at once as a second brings, then as many as time brings, and never more than that."""
        bucket = Bucket(0, 5)
        self.assertEqual([bucket.take(0, 5) for _ in range(11)], [True] * 10 + [False])
        self.assertAlmostEqual(bucket.wait(0, 5), 0.2)
        self.assertEqual([bucket.take(0.5, 5) for _ in range(3)], [True, True, False])
        self.assertEqual(sum(bucket.take(1000, 5) for _ in range(100)), 10)

    def test_clock_set_back(self) -> None:
        """A clock that is set back takes no tokens, and they come back from then on."""
        bucket = Bucket(1000, 5)
        self.assertTrue(bucket.take(10, 5))
        self.assertEqual(sum(bucket.take(10, 5) for _ in range(20)), 9)
        self.assertTrue(bucket.take(10.5, 5))


class BudgetTests(SynchronousTestCase):
    """Descriptors."""

    def test_reserve(self) -> None:
        """A tenth is kept for all else, or what is needed at least; somebody can always come."""
        self.assertEqual(Budget.of(1024, 24), Budget(1024 - 24 - 102, 1024))
        self.assertEqual(Budget.of(64, 10), Budget(64 - 10 - LEAST_RESERVE, 64))
        self.assertEqual(Budget.of(16, 16).most, 1)

    def test_of_process(self) -> None:
        """That of this process is less than its limit."""
        budget = Budget.of_process()
        self.assertTrue(budget == Budget() or 0 < budget.most < budget.limit)


class KeyTests(SynchronousTestCase):
    """What an address counts as."""

    def test_keys(self) -> None:
        """IPv4 is itself, also in IPv6; IPv6 is its /64, the zone left out; a socket's path is nobody."""
        for address, key in (
            (v4(), "192.0.2.1"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8:1:2:3::4", 1), "2001:db8:1:2::/64"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
            (UNIXAddress(b"x"), None),
            (None, None),
        ):
            self.assertEqual(key_of(address), key)


class VisitorTests(SynchronousTestCase):
    """The table of addresses."""

    def test_forgotten(self) -> None:
        """Who has nothing open and a full bucket is forgotten when others come."""
        table = Visitors()
        for number in range(100):
            table.visit(str(number), 0, 1, 1)
        for number in range(100):
            table.visit(f"x{number}", 3, 1, 1)
        self.assertEqual(len(table), 100)

    def test_bounded(self) -> None:
        """It has so many at most; of those who are in it the oldest without a connection makes room."""
        table = Visitors(3)
        one, two, three = (table.visit(key, 0, 1, 1) for key in "abc")
        one.open = three.open = 1
        table.visit("d", 0, 1, 1)
        self.assertEqual(len(table), 3)
        self.assertIs(table.visit("a", 0, 1, 1), one)
        self.assertIsNot(table.visit("b", 0, 1, 1), two)

    def test_all_open(self) -> None:
        """Where all have connections, others count together; nobody's count is lost."""
        table = Visitors(2)
        for key in "ab":
            table.visit(key, 0, 1, 1).open = 1
        others = table.visit("c", 0, 1, 1)
        self.assertIs(table.visit("d", 0, 1, 1), others)
        self.assertEqual((len(table), table.visit("a", 0, 1, 1).open), (2, 1))


class Port:
    """What accepts."""

    def __init__(self) -> None:
        self.looked = 0

    def look(self) -> None:
        self.looked += 1


class DoorTests(SynchronousTestCase):
    """Each limit, and what is said of it."""

    def room(self, budget: Budget | None = None, **limits: Any) -> Room:
        """What holds."""
        self.clock = Clock()
        return Room(self.clock, Limits(**limits), budget)

    def enter(self, door: Door, *addresses: Any) -> list[Place]:
        """All of these come in."""
        places = []
        for address in addresses:
            self.assertIsNone(door.refusal(address))
            places.append(door.enter(address))
        return places

    def refused(self, door: Door, address: Any = None) -> tuple[Cause, str, bool]:
        """Why that one does not."""
        refusal = door.refusal(address or v4())
        assert refusal is not None
        return refusal.cause, refusal.detail, refusal.full

    def test_no_limits(self) -> None:
        """Without limits anybody comes, and no address is kept."""
        door = Door(self.room())
        self.enter(door, *[v4(f"192.0.2.{number}") for number in range(200)])
        self.assertEqual((door.open, door.room.open), (200, 200))

    def test_all(self) -> None:
        """All listeners together; who leaves makes room."""
        room = self.room(max_connections=2)
        one, other = Door(room), Door(room)
        first, _ = *self.enter(one, v4()), *self.enter(other, v4())
        said = (Cause.LIMIT, "2 connections are there, and limits.max-connections is 2", True)
        self.assertEqual((self.refused(one), self.refused(other)), (said, said))
        first.leave()
        self.enter(other, v4())

    def test_listener(self) -> None:
        """One listener; the others go on."""
        room = self.room()
        own = Door(room, 1)
        self.enter(own, v4())
        said = "1 connection of this listener is there, and its max-connections is 1"
        self.assertEqual(self.refused(own), (Cause.LIMIT, said, True))
        self.enter(Door(room), v4())

    def test_address(self) -> None:
        """One address, or a /64; others go on, and so does it when it has ended one."""
        door = Door(self.room(max_connections_per_address=2))
        v6 = [IPv6Address("TCP", f"2001:db8::{number}", 1) for number in (1, 2, 3)]
        first, *_ = self.enter(door, v6[0], v6[1])
        said = "2 connections of 2001:db8::/64 are there, and limits.max-connections-per-address is 2"
        self.assertEqual(self.refused(door, v6[2]), (Cause.LIMIT, said, False))
        self.enter(door, v4(), v4("192.0.2.2"), IPv6Address("TCP", "2001:db8:0:1::1", 1))
        first.leave()
        self.enter(door, v6[2])

    def test_rate(self) -> None:
        """So many a second, all together."""
        door = Door(self.room(accepts_per_second=2))
        self.enter(door, *[v4()] * 4)
        said = (Cause.RATE, "too many connections a second, and limits.accepts-per-second is 2", True)
        self.assertEqual(self.refused(door), said)
        self.clock.advance(0.5)
        self.enter(door, v4())

    def test_rate_of_an_address(self) -> None:
        """A flood of one address takes nothing of what is for all."""
        door = Door(self.room(accepts_per_second=5, accepts_per_second_per_address=1))
        self.enter(door, v4(), v4())
        for _ in range(100):
            refused = self.refused(door)
            said = "too many connections a second of 192.0.2.1, and limits.accepts-per-second-per-address is 1"
            self.assertEqual(refused, (Cause.RATE, said, False))
        self.enter(door, v4("192.0.2.2"), v4("192.0.2.2"), v4("192.0.2.3"))

    def test_handshakes_under_way(self) -> None:
        """So many are not through their handshake; who is, counts no more."""
        door = Door(self.room(max_handshakes=1))
        (place,) = self.enter(door, v4())
        said = "1 handshake is under way, and limits.max-handshakes is 1"
        self.assertEqual(self.refused(door), (Cause.LIMIT, said, True))
        place.met()
        place.met()
        (other,) = self.enter(door, v4())
        place.leave()
        self.assertEqual(door.room.handshaking, 1)
        other.leave()
        self.assertEqual((door.room.handshaking, door.room.open), (0, 0))

    def test_handshakes_a_second(self) -> None:
        """So many begin one; who says nothing costs none."""
        door = Door(self.room(handshakes_per_second=2, handshakes_per_second_per_address=1))
        places = self.enter(door, *[v4()] * 50, *[v4("192.0.2.2")] * 3)
        for place in places[:2]:
            place.begin_handshake()
        error = self.assertRaises(TLSFailure, places[2].begin_handshake)
        said = "too many handshakes a second of 192.0.2.1, and limits.handshakes-per-second-per-address is 1"
        self.assertEqual((error.cause, error.detail), (Cause.RATE, said))
        for place in places[50:52]:
            place.begin_handshake()
        self.clock.advance(0.4)
        places = self.enter(door, v4("192.0.2.3"))
        error = self.assertRaises(TLSFailure, places[0].begin_handshake)
        self.assertEqual(error.detail, "too many handshakes a second, and limits.handshakes-per-second is 2")

    def test_descriptors(self) -> None:
        """The budget counts what each connection needs, and says what the system would."""
        room = self.room(Budget(5, 64))
        single, double = Door(room), Door(room)
        double.descriptors = 2
        places = self.enter(double, v4(), v4())
        said = (Cause.LIMIT, "too many open files: 2 connections are there, of 64 files", True)
        self.assertEqual(self.refused(double), said)
        self.enter(single, v4())
        self.assertEqual(self.refused(single)[1], "too many open files: 3 connections are there, of 64 files")
        places[0].leave()
        self.enter(double, v4())

    def test_known_later(self) -> None:
        """Whose a connection is that a proxy passes on is known later, and counts then."""
        door = Door(self.room(max_connections_per_address=1))
        one, other, third = self.enter(door, None, None, None)
        one.belongs_to(v4())
        self.assertIs(self.assertRaises(TLSFailure, other.belongs_to, v4()).cause, Cause.LIMIT)
        other.leave()
        third.belongs_to(v4("192.0.2.2"))
        one.leave()
        self.enter(door, v4())

    def test_which(self) -> None:
        """A refusal says the key of the limit, which each has for itself."""
        for limit, most in (("max_connections", 1), ("max_connections_per_address", 1), ("max_handshakes", 1)):
            door = Door(self.room(None, **{limit: most}))
            self.enter(door, v4())
            refusal = door.refusal(v4())
            assert refusal is not None
            self.assertEqual(refusal.limit, limit.replace("_", "-"))
        for limit in ("accepts_per_second", "accepts_per_second_per_address"):
            door = Door(self.room(None, **{limit: 1}))
            self.enter(door, v4(), v4())
            refusal = door.refusal(v4())
            assert refusal is not None
            self.assertEqual(refusal.limit, limit.replace("_", "-"))
        for limit in ("handshakes_per_second", "handshakes_per_second_per_address"):
            first, second, third = self.enter(Door(self.room(None, **{limit: 1})), v4(), v4(), v4())
            first.begin_handshake()
            second.begin_handshake()
            self.assertEqual(self.assertRaises(TLSFailure, third.begin_handshake).limit, limit.replace("_", "-"))
        own = Door(self.room(), 1)
        self.enter(own, v4())
        few = Door(self.room(Budget(1, 64)))
        self.enter(few, v4())
        for door, which in ((own, "listener-max-connections"), (few, "open-files")):
            refusal = door.refusal(v4())
            assert refusal is not None
            self.assertEqual(refusal.limit, which)

    def test_wait(self) -> None:
        """Where who comes beyond waits, the door is shut, and who accepts hears when there may be room."""
        door, port = Door(self.room(max_connections=1, at_limit="wait")), Port()
        self.assertIsNone(door.shut())
        (place,) = self.enter(door, v4())
        shut = door.shut()
        assert shut is not None
        self.assertEqual(shut.detail, "1 connection is there, and limits.max-connections is 1")
        door.room.wait(port)
        place.leave()
        self.assertEqual((port.looked, door.shut()), (1, None))
        self.enter(door, v4())[0].leave()
        self.assertEqual(port.looked, 1)

    def test_wait_for_time(self) -> None:
        """Where it is the rate, the clock tells."""
        door, port = Door(self.room(accepts_per_second=1, at_limit="wait")), Port()
        self.enter(door, v4(), v4())
        self.assertIsNotNone(door.shut())
        door.room.wait(port)
        self.clock.advance(1)
        self.assertEqual((port.looked, door.shut()), (1, None))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_own_at_limit(self) -> None:
        """What a listener says of its own limit holds for that, and not for those of all."""
        room = self.room(max_connections=2, at_limit="refuse")
        waits, refuses = Door(room, 1, "wait"), Door(attrs_room(room, "wait"), 1, "refuse")
        self.enter(waits, v4())
        self.assertIsNotNone(waits.shut())
        refuses.open = 1
        self.assertIsNone(refuses.shut())


def attrs_room(room: Room, at_limit: str) -> Room:
    """Another, where at_limit is this."""
    return Room(room.clock, attrs.evolve(room.limits, at_limit=at_limit))
