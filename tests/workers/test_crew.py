"""The workers of a parent, without processes."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls import __version__
from mytls.workers.channel import Unanswered
from mytls.workers.child import LONGEST_SILENCE, Ended
from mytls.workers.crew import LONGEST_END, LONGEST_START, PATIENCE, Crew
from mytls.workers.silence import GRACE, NOTICED
from mytls.workers.tallies import Tally
from tests.lines import log_lines


class Child:
    """A worker that does what the test says."""

    def __init__(self, number: int, generation: int, clock: Clock) -> None:
        self.number = number
        self.name = f"{number}.{generation}"
        self.pid = 1000 * generation + number
        self.clocked = self.since = clock.seconds()
        self.serving = False
        self.version = __version__
        self.code = "ours"
        self.killed = self.aborted = False
        self.ready: Deferred[bool] = Deferred()
        self.ended: Deferred[Ended] = Deferred()
        self.told: dict[str, Any] = {}
        self.spoke = True
        self.words: list[str] = []
        self.said: dict[str, Any] = {}
        self.answers: dict[str, Any] = {"reload": {"served": True, "lines": []}}

    def serves(self) -> None:
        self.serving = True
        self.ready.callback(True)

    def ends(self, status: int | None = 0, signal: int | None = None) -> None:
        self.serving = False
        if not self.ready.called:
            self.ready.callback(False)
        self.ended.callback(Ended(status, signal))

    def ask(self, word: str, said: Any = None, descriptors: Any = ()) -> Deferred[Any]:
        self.words.append(word)
        self.said[word] = said
        answer = self.answers.get(word)
        return Deferred() if answer is None else succeed(answer)

    def tell(self, word: str) -> None:
        self.words.append(word)

    def kill(self) -> None:
        self.killed = True

    def abort(self) -> None:
        self.aborted = True


def _too_many(descriptor: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class CrewTests(SynchronousTestCase):
    """L{Crew}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.all: list[Child] = []
        self.hopeless: list[str] = []
        self.crew = Crew(self.clock, 2, self.start, Tally(), self.hopeless.append)
        self.lines = log_lines(self)

    def start(self, number: int, generation: int) -> Any:
        self.all.append(Child(number, generation, self.clock))
        return self.all[-1]

    def served(self) -> tuple[Child, Child]:
        """Two that serve."""
        self.crew.start()
        for child in self.all:
            child.serves()
        one, two = self.all
        return one, two

    def test_one_that_dies_is_started_again(self) -> None:
        """After a second, then later each time; the line says how it has ended, and when it comes again."""
        one, _ = self.served()
        one.ends(None, 9)
        self.assertIn(
            "worker 1 (process 1001) was ended by signal 9 (SIGKILL); it is started again in 1 s", self.lines[-1]
        )
        self.clock.advance(0.9)
        self.assertEqual(len(self.all), 2)
        self.clock.advance(0.2)
        self.assertEqual((self.all[2].number, self.crew.places[0].restarts), (1, 1))
        self.all[2].ends(1)
        self.assertIn("ended with exit status 1; it is started again in 2 s", self.lines[-1])

    def test_none_can_be_started(self) -> None:
        """Where all die before any has served, that is the end; not so where one serves."""
        self.crew.start()
        self.all[0].ends(1)
        self.assertEqual(self.hopeless, [])
        self.all[1].ends(1)
        self.assertIn("no worker can be started: worker 2", self.hopeless[0])

    def test_one_that_has_served_is_no_end(self) -> None:
        """All die after they have served: they are started again."""
        one, two = self.served()
        one.ends(1)
        two.ends(1)
        self.clock.advance(1)
        self.assertEqual((self.hopeless, len(self.all)), ([], 4))

    def test_roll(self) -> None:
        """A new one serves before the old is told to take no more, and the next comes after that."""
        one, two = self.served()
        rolled = self.crew.roll()
        self.assertEqual(([each.number for each in self.all], one.words), ([1, 2, 1], []))
        self.all[2].serves()
        self.assertEqual((one.words, two.words, len(self.all)), (["retire"], [], 4))
        self.all[3].serves()
        self.assertEqual(two.words, ["retire"])
        self.assertTrue(self.successResultOf(rolled))
        self.assertEqual(len(self.crew.children), 4)
        one.ends(0)
        two.ends(1)
        self.assertEqual(self.crew.children, self.all[2:])
        self.assertEqual(self.crew.places[0].restarts, 0)

    def test_a_new_one_that_does_not_serve(self) -> None:
        """The old one stays, whether the new one dies or takes too long; a line says so."""
        one, two = self.served()
        rolled = self.crew.roll()
        self.all[2].ends(1)
        self.assertFalse(self.successResultOf(rolled))
        rolled = self.crew.roll()
        self.clock.advance(LONGEST_START)
        self.assertFalse(self.successResultOf(rolled))
        self.assertTrue(self.all[3].killed)
        self.assertEqual((one.words, two.words, self.crew.places[0].child), ([], [], one))
        self.assertEqual(sum("does not serve; the old one stays" in line for line in self.lines), 2)

    def test_reload(self) -> None:
        """All are told, one that starts when it serves; what one cannot is told with its number."""
        one, two = self.served()
        two.answers["reload"] = {"served": False, "lines": ["a.pem: no such file"]}
        found = self.crew.reload(lambda: {"name": 0})
        self.assertEqual(self.successResultOf(found), ["worker 2: a.pem: no such file"])
        one.ends(1)
        self.clock.advance(1)
        two.answers["reload"] = {"served": True, "lines": []}
        found = self.crew.reload(dict)
        self.assertNoResult(found)
        self.all[2].serves()
        self.assertEqual((self.successResultOf(found), self.all[2].words), ([], ["reload"]))

    def test_drain(self) -> None:
        """All finish; how many connections did not is told by each, and one that was killed had at least one."""
        one, two = self.served()
        one.told["left"], two.told["left"] = 3, 4
        self.assertEqual(self.crew.left, 7)
        done = self.crew.drain()
        self.assertEqual((one.words, two.words), (["drain"], ["drain"]))
        one.told["unfinished"] = 2
        one.ends(1)
        self.assertNoResult(done)
        two.ends(None, 9)
        self.assertEqual((self.successResultOf(done), len(self.all)), (3, 2))
        self.clock.advance(100)
        self.assertEqual(len(self.all), 2)

    def test_drain_in_a_roll(self) -> None:
        """The new one, which does not serve yet, ends too, and no other is started."""
        self.served()
        rolled = self.crew.roll()
        done = self.crew.drain()
        self.assertEqual([each.words for each in self.all], [["drain"]] * 3)
        for child in self.all:
            child.ends(0)
        self.assertEqual((self.successResultOf(done), self.successResultOf(rolled), len(self.all)), (0, False, 3))

    def test_cut(self) -> None:
        """All are told; who has not ended soon is killed."""
        one, two = self.served()
        self.crew.drain()
        self.crew.cut()
        one.ends(1)
        self.clock.advance(LONGEST_END)
        self.assertEqual((one.words[-1], two.words[-1], one.killed, two.killed), ("cut", "cut", False, True))

    def test_rolls_that_are_asked_for_often(self) -> None:
        """While one is under way, those that are asked for are one more: nothing else has to wait for so many."""
        self.served()
        rolls = [self.crew.roll() for _ in range(20)]
        found = self.crew.reload(dict)
        for number in range(2, 6):
            self.all[number].serves()
        self.assertEqual([self.successResultOf(each) for each in rolls], [True, True, *[False] * 18])
        self.assertEqual((len(self.all), self.successResultOf(found)), (6, []))

    def test_a_roll_to_another_version(self) -> None:
        """It tells of which code those are who take clients."""
        self.served()
        self.crew.roll()
        for number in (2, 3):
            self.all[number].code = "other"
            self.all[number].serves()
        self.assertEqual((self.crew.codes, self.lines[-1]), ({"other"}, "all 2 workers are new"))

    def test_others_accept_from_now_on(self) -> None:
        """All retire, so that handshakes are finished, and nobody who has ended is replaced."""
        one, two = self.served()
        self.assertTrue(self.crew.serves)
        self.crew.retire()
        self.successResultOf(self.crew.roll())
        done = self.crew.drain()
        self.assertEqual((set(one.words), set(two.words)), ({"retire"}, {"retire"}))
        one.ends(0)
        two.ends(0)
        self.clock.advance(100)
        self.assertEqual((self.successResultOf(done), len(self.all)), (0, 2))

    def passes(self, seconds: float, *speaking: Child) -> None:
        """The time passes, and these tell each second how they are."""
        for _ in range(round(seconds)):
            for child in speaking:
                child.spoke = True
            self.clock.advance(1)

    def test_one_that_hangs_and_is_to_end(self) -> None:
        """Silent for long, it is ended and then killed, and a line says so; one that tells how it is has its time."""
        one, two = self.served()
        self.crew.roll()
        self.all[2].serves()
        self.all[3].serves()
        self.passes(LONGEST_SILENCE, *self.all[1:])
        self.assertEqual([each.aborted for each in self.all], [False, False, False, False])
        self.passes(1, *self.all[1:])
        self.assertEqual([each.aborted for each in self.all], [True, False, False, False])
        self.assertIn("worker 1.1 (process 1001) has said nothing for 30 s: it is killed", self.lines[-1])
        self.passes(GRACE, *self.all[1:])
        self.assertEqual([each.killed for each in self.all], [True, False, False, False])
        one.ends(None, 9)
        two.ends(0)
        done = self.crew.drain()
        self.passes(LONGEST_SILENCE + GRACE + 1)
        self.assertEqual([each.killed for each in self.all], [True, False, True, True])
        self.all[2].ends(None, 9)
        self.all[3].ends(None, 9)
        self.assertEqual(self.successResultOf(done), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_hangs(self) -> None:
        """It is spoken of after a few seconds, and is not up; after long it is ended, and another is started."""
        one, two = self.served()
        self.passes(2, two)
        self.assertFalse(self.crew.is_silent(one))  # type: ignore[arg-type]
        self.passes(NOTICED, two)
        self.assertTrue(self.crew.is_silent(one))  # type: ignore[arg-type]
        self.assertIn("worker 1.1 (process 1001) has said nothing for 5 s: its event loop", self.lines[-1])
        self.passes(LONGEST_SILENCE - NOTICED, two)
        self.assertEqual((one.aborted, one.killed, two.aborted), (True, False, False))
        one.ends(None, 6)
        self.assertIn("was ended by signal 6 (SIGABRT); it is started again", self.lines[-1])
        self.passes(1, two)
        self.assertEqual(len(self.all), 3)
        self.assertFalse(self.crew.is_silent(one))  # type: ignore[arg-type]

    def test_one_that_speaks_again(self) -> None:
        """That is said once, and it has all its time again."""
        one, two = self.served()
        self.passes(LONGEST_SILENCE - 1, two)
        self.passes(2, one, two)
        self.assertIn("worker 1.1 (process 1001) speaks again, after 28 s", self.lines[-1])
        self.passes(LONGEST_SILENCE - 1, two)
        self.assertFalse(one.aborted)

    def test_one_that_starts(self) -> None:
        """Who does not serve yet has nothing to say."""
        self.crew.start()
        self.passes(LONGEST_SILENCE * 2)
        self.assertEqual([each.aborted for each in self.all], [False, False])

    def test_a_parent_that_was_held_up(self) -> None:
        """It has heard nobody for as long, and kills nobody for it."""
        one, two = self.served()
        self.passes(1, one, two)
        self.clock.advance(1000)
        self.passes(1, one, two)
        self.assertEqual([each.aborted for each in self.all], [False, False])
        self.assertFalse([line for line in self.lines if "has said nothing" in line])

    def test_a_reload_without_descriptors(self) -> None:
        """Where the sockets cannot be passed on, that is what each says who has them not."""
        self.served()
        self.patch(os, "dup", _too_many)
        self.assertEqual(
            self.successResultOf(self.crew.reload(lambda: {"name": 0})),
            ["worker 1: Too many open files", "worker 2: Too many open files"],
        )
        self.assertNoResult(self.crew.roll())

    def test_who_is_late(self) -> None:
        """The others are told of, and who does not answer in time is told of as late."""
        one, two = self.served()
        one.answers["status"] = {"here": 1}
        found = self.crew.ask("status")
        self.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(found), [(one, {"here": 1}), (two, None)])

    def test_who_is_gone(self) -> None:
        """Who is just gone is late too."""
        one, two = self.served()
        two.answers["status"] = one.answers["status"] = {}
        self.patch(two, "ask", lambda word, said=None: fail(Unanswered("it is gone")))
        self.assertEqual(self.successResultOf(self.crew.ask("status")), [(one, {}), (two, None)])
