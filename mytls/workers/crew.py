"""
The workers of a parent: all are kept running, told the same, and end together.

One that dies is started again, later each time. A roll puts a new process in the place of each, one after the other:
the new one serves before the old one is told to take no more clients, and the old one ends when it has finished with
its own. Reloads and rolls come one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, gatherResults, inlineCallbacks
from twisted.logger import Logger

from mytls.workers.backoff import Backoff
from mytls.workers.channel import Unanswered, Values
from mytls.workers.child import LONGEST_SILENCE, Child, Ended
from mytls.workers.silence import Silences

_log = Logger()

#: Seconds that a worker may take until it serves, and to load everything again.
LONGEST_START, LONGEST_RELOAD = 60.0, 130.0
#: Seconds to wait for an answer to who looks on; who is late is told of as it was.
PATIENCE = 1.5
#: Seconds that an end may take that is to be at once.
LONGEST_END = 3.0


class Kept(Protocol):
    """What goes on to count of workers that are gone."""

    def keep(self, told: Mapping[str, Any]) -> None:
        """One is gone. @param told: the last of what it has told"""


class Place:
    """
    The place of a worker.

    @ivar child: who has it; None between one that has died and the next
    @ivar restarts: how often one that has died was followed by another
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.restarts = 0
        self.generation = 0
        self.backoff = Backoff()
        self.timer: Any = None


class Crew:
    """
    All of them.

    @ivar places: those of the workers, by their order
    @ivar ending: whether all are to end
    @ivar counted: says how many connections they have, where that is counted
    """

    counted: Callable[[], int] | None = None

    def __init__(
        self,
        clock: Any,
        workers: int,
        start: Callable[[int, int], Child],
        kept: Kept,
        hopeless: Callable[[str], object],
        longest_silence: float = LONGEST_SILENCE,
    ) -> None:
        """
        @param workers: how many
        @param longest_silence: seconds without a word of one until it is killed
        @param start: starts one, by its number and the number of those who had it, itself included
        @param hopeless: called with a line when none can be started
        """
        self._clock = clock
        self._start_child = start
        self._kept = kept
        self._hopeless = hopeless
        self.places = [Place(number) for number in range(1, workers + 1)]
        self.ending = False
        self._last_word = "drain"
        self._any_served = False
        self._unfinished = 0
        self._retired: list[Child] = []
        self._to_end: set[Child] = set()
        self._silences = Silences(clock, lambda: self._speaking, longest_silence)
        self._roll_waits = False
        self._one_at_a_time = DeferredLock()
        self._all_gone: list[Deferred[int]] = []

    @property
    def children(self) -> list[Child]:
        """All processes, also those that take no more clients."""
        return [*self._retired, *(place.child for place in self.places if place.child is not None)]

    @property
    def _speaking(self) -> list[Child]:
        """Those who are to tell how they are."""
        return [child for child in self.children if child.serving or child in self._to_end]

    def is_silent(self, child: Child) -> bool:
        """Whether it has said nothing for so long that it was spoken of."""
        return self._silences.is_silent(child)

    def start(self) -> None:
        """Start them."""
        self._silences.start()
        for place in self.places:
            self._fill(place)

    @inlineCallbacks
    def reload(self, sockets: Callable[[], Mapping[str, int]]) -> Any:
        """
        Let all load everything again.

        @param sockets: says which sockets there are, by their names
        @return: fires with what those say who cannot, a line each
        """
        yield self._one_at_a_time.acquire()
        try:
            found = yield gatherResults([self._reloaded(place, sockets) for place in self.places])
        finally:
            self._one_at_a_time.release()
        return [line for lines in found for line in lines]

    @inlineCallbacks
    def roll(self) -> Any:
        """
        Put a new process in the place of each.

        @return: fires with whether this has made all new; not so where another was waiting for its turn already
        """
        if self._roll_waits:
            return False
        self._roll_waits = True
        yield self._one_at_a_time.acquire()
        self._roll_waits = False
        try:
            for place in self.places:
                rolled = yield self._replaced(place)
                if not rolled:
                    return False
        finally:
            self._one_at_a_time.release()
        if not self.ending:
            _log.info("all {count} workers are new", count=len(self.places))
        return True

    @property
    def serves(self) -> bool:
        """Whether all do."""
        return all(place.child is not None and place.child.serving for place in self.places)

    @property
    def codes(self) -> set[str]:
        """Digests of the code of those that take clients."""
        return {place.child.code for place in self.places if place.child is not None}

    @property
    def left(self) -> int:
        """How many connections there are; as far as it was told, where they are not counted together."""
        if self.counted is not None:
            return self.counted()
        return sum(child.told.get("left", 0) for child in self.children)

    def drain(self) -> Deferred[int]:
        """Let all finish with their clients, and end. Fires with how many connections have not finished in time."""
        self.ending = True
        for place in self.places:
            _cancel(place)
        for child in self.children:
            self._let_end(child, self._last_word)
        done: Deferred[int] = Deferred()
        self._all_gone.append(done)
        self._look_whether_all_are_gone()
        return done

    def retire(self) -> None:
        """Others accept from now on: the same, but that handshakes under way are finished first."""
        self._last_word = "retire"
        self.drain()

    def cut(self) -> None:
        """Let all end at once."""
        for child in self.children:
            child.tell("cut")
        self._clock.callLater(LONGEST_END, self._kill)

    def ask(self, word: str, said: Values | None = None) -> Deferred[list[tuple[Child, Values | None]]]:
        """
        Ask all that serve, or have clients.

        @param said: besides
        @return: fires with their answers, in time; None is that of one that is late
        """
        return gatherResults([self.asked(child, word, said) for child in self.children])

    def asked(self, child: Child, word: str, said: Values | None = None) -> Deferred[tuple[Child, Values | None]]:
        """The same of one of them. @param said: besides"""
        answer = child.ask(word, said).addTimeout(PATIENCE, self._clock)
        return answer.addCallbacks(lambda told: (child, told), lambda _: (child, None))

    # --- one of them

    def _kill(self) -> None:
        for child in self.children:
            child.kill()

    def _let_end(self, child: Child, word: str) -> None:
        child.tell(word)
        self._to_end.add(child)

    def _fill(self, place: Place) -> Child:
        place.timer = None
        place.generation += 1
        child = self._start_child(place.number, place.generation)
        place.child = child
        self._watch(place, child)
        return child

    def _watch(self, place: Place, child: Child) -> None:
        child.ready.addCallback(self._serves)
        child.ended.addCallback(self._gone, place, child)

    def _serves(self, does: bool) -> bool:
        self._any_served = self._any_served or does
        return does

    def _gone(self, ended: Ended, place: Place, child: Child) -> Ended:
        self._kept.keep(child.told)
        self._to_end.discard(child)
        if self.ending and ended.status != 0:  # of who was killed nobody knows what it had
            self._unfinished += max(child.told.get("unfinished", 0), 1)
        if child in self._retired:
            self._retired.remove(child)
            _log.info("worker {name} (process {pid}) {ended}", name=child.name, pid=child.pid, ended=ended)
        elif place.child is child:
            place.child = None
            self._died(ended, place, child)
        self._look_whether_all_are_gone()
        return ended

    def _died(self, ended: Ended, place: Place, child: Child) -> None:
        if self.ending:
            return
        line = f"worker {child.number} (process {child.pid}) {ended}"
        if not self._any_served and not any(each.child for each in self.places):
            self._hopeless(f"no worker can be started: {line}; the lines above say why")
            return
        seconds = place.backoff.delay(self._lived(child))
        _log.error("{line}; it is started again in {seconds:g} s", line=line, seconds=seconds)
        place.timer = self._clock.callLater(seconds, self._again, place)

    def _again(self, place: Place) -> None:
        place.restarts += 1
        self._fill(place)

    def _lived(self, child: Child) -> float:
        return float(self._clock.seconds() - child.clocked)

    @inlineCallbacks
    def _reloaded(self, place: Place, sockets: Callable[[], Mapping[str, int]]) -> Any:
        child = place.child
        if child is None or self.ending:  # the next one loads everything
            return []
        served = yield self._served(child)
        if not served:
            return []
        with ExitStack() as copies:  # a reload may close the sockets
            try:
                named = {name: _copied(descriptor, copies) for name, descriptor in sockets().items()}
                asked = child.ask("reload", {"sockets": list(named)}, list(named.values()))
                answer = yield asked.addTimeout(LONGEST_RELOAD, self._clock)
            except (Unanswered, TimeoutError) as error:
                return [] if place.child is not child else [f"worker {child.number}: {error or 'it has not answered'}"]
            except OSError as error:
                return [f"worker {child.number}: {error.strerror}"]
        return [f"worker {child.number}: {line}" for line in answer.get("lines", ())]

    @inlineCallbacks
    def _replaced(self, place: Place) -> Any:
        if self.ending:
            return False
        _cancel(place)
        place.generation += 1
        new = self._start_child(place.number, place.generation)
        self._retired.append(new)  # until it serves it is nobody's
        self._watch(place, new)
        served = yield self._served(new)
        if self.ending:
            return False
        if not served:
            _log.error("the new worker {number} does not serve; the old one stays", number=place.number)
            new.kill()
            if place.child is None:
                self._fill(place)
            return False
        self._retired.remove(new)
        old, place.child = place.child, new
        _cancel(place)
        if old is not None:
            self._retired.append(old)
            self._let_end(old, "retire")
        return True

    def _served(self, child: Child) -> Deferred[bool]:
        """Whether it serves, when that is known."""
        waited: Deferred[bool] = Deferred()

        def known(served: bool) -> bool:
            if not waited.called:
                waited.callback(served)
            return served

        child.ready.addCallback(known)
        return waited.addTimeout(LONGEST_START, self._clock).addErrback(lambda _: False)

    def _look_whether_all_are_gone(self) -> None:
        if self.ending and not self.children:
            self._silences.stop()
            waiting, self._all_gone = self._all_gone, []
            for each in waiting:
                each.callback(self._unfinished)


def _copied(descriptor: int, copies: ExitStack) -> int:
    copy = os.dup(descriptor)
    copies.callback(os.close, copy)
    return copy


def _cancel(place: Place) -> None:
    if place.timer is not None and place.timer.active():
        place.timer.cancel()
    place.timer = None
