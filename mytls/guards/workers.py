"""
Processes that answer questions, and may take for ever to.

One question at a time each; a few processes, so that one slow question does not stop all others. They are started when
there is something to ask, killed when a question takes too long, and let go when there was nothing for a while.

Whoever asks has a line of their own. The lines have their turns one after the other, and none has all processes, so
that those whose questions are slow hold up themselves. Where too many wait, the longest line loses its last.

To start a process blocks the reactor, the longer the more descriptors are open: so there are so many in a second.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import ConfigurationError, sentence
from mytls.guards.policy import Crowd, Unanswered

_log = Logger()

#: How many processes there are for one policy.
MOST_WORKERS = 4
#: How many of them answer one line of questions.
MOST_FOR_ONE = MOST_WORKERS - 1
#: How many are started within a second.
MOST_STARTS = 4
#: What a question may take, in seconds, whatever the deadline of policies is.
LONGEST = 30.0
#: What a question may still take when nobody waits for its answer any more.
UNAWAITED = 0.25
#: After how many seconds without a question a process is let go.
IDLE = 60.0

#: A line of an answer is a word or two.
_LONGEST_LINE = 4096
_DESCRIPTORS = {0: "w", 1: "r", 2: "r"}


class Workers:
    """
    The processes of one policy.

    @ivar written: the policy, as the user wrote it
    @ivar source: what each process is given first
    """

    def __init__(self, written: str, source: bytes, command: Callable[[], Sequence[str]]) -> None:
        """@param command: what to run, and with which arguments; raises L{ConfigurationError}"""
        self.written = written
        self.source = source
        self._command = command
        self._crowd = Crowd(written)
        self._lines = _Lines()
        self._workers: list[_Worker] = []
        self._starts: deque[float] = deque(maxlen=MOST_STARTS)
        self._later: Any = None

    def ask(self, line: bytes, whose: Hashable, reactor: Any) -> Deferred[object]:
        """
        Ask, now or when it is their turn.

        @param whose: who asks
        @return: fires with True or False, or fails with L{Unanswered}; may be cancelled
        """
        question = _Question(line, whose, self)
        is_full = self._crowd.is_full(self._lines.count)
        self._lines.add(question)
        if is_full:
            self._lines.last_of_longest().fail(str(self._crowd.turns_away(reactor)))
        self._go_on(reactor)
        return question.answer

    def stop(self) -> None:
        """Nobody asks for a while. Whoever is waiting gets an answer still."""
        for worker in tuple(self._workers):
            worker.finish()

    def unawaited(self, question: _Question) -> None:
        """Nobody wants to know any more."""
        self._lines.remove(question)
        self._hush()
        for worker in tuple(self._workers):
            if worker.question is question:
                worker.hurry()

    def ready(self, worker: _Worker) -> None:
        """It has nothing to do."""
        question = self._lines.next_of(self._has_turn)
        self._hush()
        if question is not None:
            worker.ask(question)

    def gone(self, worker: _Worker, reactor: Any) -> None:
        """It is no more."""
        self._workers.remove(worker)
        self._go_on(reactor)

    def _go_on(self, reactor: Any) -> None:
        while self._lines.count:
            worker = next((each for each in self._workers if each.question is None), None)
            if worker is None and not self._may_start(reactor):
                return
            question = self._lines.next_of(self._has_turn)
            if question is None:
                return
            if worker is None:
                worker = self._started(question, reactor)
            if worker is not None:
                worker.ask(question)

    def _has_turn(self, whose: Hashable) -> bool:
        busy = [each for each in self._workers if each.question is not None and each.question.whose == whose]
        return len(busy) < MOST_FOR_ONE

    def _may_start(self, reactor: Any) -> bool:
        """Whether a process more may be started now; where it is too early for that, it is thought of again."""
        if len(self._workers) >= MOST_WORKERS:
            return False
        early = self._starts[0] + 1 - reactor.seconds() if len(self._starts) == MOST_STARTS else 0
        is_early = 0 < early <= 1  # and not more: then somebody has set the clock
        if is_early and self._later is None:
            self._later = reactor.callLater(early, self._think_again, reactor)
        return not is_early

    def _think_again(self, reactor: Any) -> None:
        self._later = None
        self._go_on(reactor)

    def _hush(self) -> None:
        if self._later is not None and not self._lines.count:
            self._later.cancel()
            self._later = None

    def _started(self, question: _Question, reactor: Any) -> _Worker | None:
        worker = _Worker(self, reactor)
        self._starts.append(reactor.seconds())
        try:
            reactor.spawnProcess(worker, sys.executable, self._command(), env={}, path="/", childFDs=_DESCRIPTORS)
        except (OSError, ConfigurationError) as error:
            question.fail(f"its process could not be started: {error}")
            return None
        self._workers.append(worker)
        return worker


class _Lines:
    """
    Questions that wait: a line for each who asks. The line in front has the next turn.

    @ivar count: how many wait
    """

    def __init__(self) -> None:
        self.count = 0
        self._lines: OrderedDict[Hashable, deque[_Question]] = OrderedDict()

    def add(self, question: _Question) -> None:
        """It is the last of its line."""
        self._lines.setdefault(question.whose, deque()).append(question)
        self.count += 1

    def remove(self, question: _Question) -> None:
        """It waits no more, if it has."""
        line = self._lines.get(question.whose)
        if line is not None and question in line:
            line.remove(question)
            self._one_less(question.whose)

    def next_of(self, has_turn: Callable[[Hashable], bool]) -> _Question | None:
        """The first question of the first line that has a turn, taken out; its line goes to the end."""
        for whose, line in self._lines.items():
            if has_turn(whose):
                question = line.popleft()
                self._lines.move_to_end(whose)
                self._one_less(whose)
                return question
        return None

    def last_of_longest(self) -> _Question:
        """The last question of the longest line, taken out; of several, of that which is farthest from its turn."""
        whose = max(reversed(self._lines), key=lambda each: len(self._lines[each]))
        question = self._lines[whose].pop()
        self._one_less(whose)
        return question

    def _one_less(self, whose: Hashable) -> None:
        self.count -= 1
        if not self._lines[whose]:
            del self._lines[whose]


class _Question:
    """
    One peer's.

    @ivar line: what the policy is given
    @ivar whose: who asks
    @ivar answer: fires with whether it says yes
    @ivar awaited: whether somebody wants to know it
    """

    def __init__(self, line: bytes, whose: Hashable, workers: Workers) -> None:
        self.line = line
        self.whose = whose
        self.awaited = True
        self.answer: Deferred[object] = Deferred(lambda _: self._cancelled(workers))

    def fail(self, text: str) -> None:
        """There will be no answer."""
        if self.awaited:
            self.answer.errback(Failure(Unanswered(text)))

    def answered(self, answer: object) -> None:
        """What the worker says."""
        if isinstance(answer, dict):
            self.fail(sentence(str(answer.get("error"))))
        elif self.awaited:
            self.answer.callback(answer is True)

    def _cancelled(self, workers: Workers) -> None:
        self.awaited = False
        workers.unawaited(self)


class _Worker(ProcessProtocol):
    """
    A process.

    @ivar question: what it is asked now, or None
    """

    transport: Any

    def __init__(self, workers: Workers, reactor: Any) -> None:
        self.question: _Question | None = None
        self._workers = workers
        self._reactor = reactor
        self._said = bytearray()
        self._timer: Any = None
        self._last = False
        self._gone = False

    def connectionMade(self) -> None:
        """It runs."""
        self.transport.write(self._workers.source)

    def ask(self, question: _Question) -> None:
        """It has nothing to do, but this."""
        self.question = question
        self._within(LONGEST, self._too_long)
        self.transport.write(question.line)

    def hurry(self) -> None:
        """Nobody waits for the answer any more; a question that is over in no time need not cost a process."""
        if self._last:
            self._kill()
        else:
            self._within(UNAWAITED, self._too_long)

    def finish(self) -> None:
        """This question, if there is one that somebody waits for, is the last."""
        self._last = True
        if self.question is None or not self.question.awaited:
            self._kill()

    def outReceived(self, data: bytes) -> None:
        """A line is an answer."""
        self._said += data
        line, newline, rest = self._said.partition(b"\n")
        if newline and self.question is not None and not rest:
            self._said.clear()
            question, self.question = self.question, None
            question.answered(_answer(bytes(line)))
            self._at_rest()
        elif newline or len(self._said) > _LONGEST_LINE:
            self._kill("its process says what it was not asked")

    def errReceived(self, data: bytes) -> None:
        """What the library prints is for nobody."""

    def processEnded(self, reason: Failure) -> None:
        """It is gone, by us or by itself."""
        status: Any = reason.value
        self._let_go(f"its process has ended with {ending(status.status, status.signal)}")

    def _at_rest(self) -> None:
        if self._is_free():
            self._workers.ready(self)
        if not self._is_free():
            return
        if self._last:
            self._kill()
        else:
            self._within(IDLE, self._kill)

    def _is_free(self) -> bool:
        """Whoever was answered may have asked again by now, or stopped it all."""
        return self.question is None and not self._gone

    def _too_long(self) -> None:
        _log.warn("{policy}: a question took too long, its process is killed", policy=self._workers.written)
        self._kill(f"its query took over {LONGEST:.0f} seconds")

    def _kill(self, why: str = "") -> None:
        if not self._gone:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
        self._let_go(why)

    def _let_go(self, why: str) -> None:
        if self._gone:
            return
        self._gone = True
        self._within(0, None)
        question, self.question = self.question, None
        if question is not None:
            question.fail(why)
        self._workers.gone(self, self._reactor)

    def _within(self, seconds: float, then: Any) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if then is None else self._reactor.callLater(seconds, then)


def ending(status: int | None, signal: int | None) -> str:
    """How a process has ended, as a few words."""
    return f"signal {signal}" if signal else f"status {status}"


def _answer(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return {"error": "its process says what is no answer"}
