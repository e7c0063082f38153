"""
Reload: look at the files, build beside what is in use, swap; on any error the old stays whole.

One attempt at a time. What reads and computes runs aside, in a thread, where it holds up nobody; what touches running
parts runs on the event loop. A timer compares contents, so it makes no difference how a file was replaced: renamed
over, written in pieces, or behind a link as Kubernetes does it. An attempt that meets the middle of a change fails,
says so once, and is made again as soon as the files read differently.

What is loaded may be a user's module, which may do anything while it is imported: raise what would end a process, or
hang. Neither is the end of reloading, and a thread that hangs does not keep the process when it is to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import ConfigurationError
from mytls.events import Observers, Reloaded, ReloadFailed
from mytls.tls.files import Files

_log = Logger()

#: Seconds after which all is loaded again though no file has changed: dates pass, and an operator should hear of it.
DAY = 24 * 3600.0
#: Seconds that a look at the files, or loading them, may take.
LONGEST = 120.0
#: How many threads may hang before no more are started.
MOST_THREADS = 50

Plan = TypeVar("Plan")
#: Runs a function and its arguments where it holds up nobody.
Aside = Callable[..., "Deferred[Any]"]


def in_a_thread(reactor: Any) -> Aside:
    """Aside is in a thread of its own. The reactor's pool would wait for one that hangs when the process ends."""
    return _Threads(reactor)


class _Threads:
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._running = 0

    def __call__(self, work: Callable[..., Any], *about: Any) -> Deferred[Any]:
        if self._running >= MOST_THREADS:
            return fail(ConfigurationError(f"{MOST_THREADS} earlier ones hang still: expected a restart"))
        answered: Deferred[Any] = Deferred()
        try:
            Thread(target=self._work, args=(answered, work, about), name="mytls-reload", daemon=True).start()
        except RuntimeError as error:
            return fail(ConfigurationError(f"no thread could be started: {error}"))
        self._running += 1
        return answered

    def _work(self, answered: Deferred[Any], work: Callable[..., Any], about: tuple[Any, ...]) -> None:
        try:
            answer = work(*about)
        except BaseException:  # sys.exit of a user's module would end this thread alone, without an answer
            answer = Failure()
        self._reactor.callFromThread(self._done, answered, answer)

    def _done(self, answered: Deferred[Any], answer: Any) -> None:
        self._running -= 1
        answered.callback(answer)  # of no effect where nobody waits any more


class NotNow(ConfigurationError):
    """What the files say is right and cannot be had yet, as a port of another's: it is tried again at each look."""


class Reloader(Generic[Plan]):
    """
    Keeps what is served as the files say.

    @ivar outcomes: how many attempts have C{changed} something, were C{unchanged}, or have C{failed}
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        files: Files,
        build: Callable[[Files], Plan],
        apply: Callable[[Plan], Deferred[Sequence[str]]],
        aside: Aside,
        observers: Observers,
    ) -> None:
        """
        @param interval: seconds between two looks at the files; 0 is never
        @param files: what was read when the service was made
        @param build: reads files and makes of them what will be served; raises L{ConfigurationError}; runs aside
        @param apply: serves it, as a whole or not at all; tells what has changed
        """
        self.outcomes: Counter[str] = Counter()
        self._files = files
        self._clock = clock
        self._loaded_at = clock.seconds()
        self._interval = interval
        self._build = build
        self._apply = apply
        self._aside = aside
        self._observers = observers
        self._one_at_a_time = DeferredLock()
        self._waiting: list[Deferred[bool]] = []
        self._told: tuple[str, ...] = ()
        self._not_now = False
        self._running = False
        self._timer = LoopingCall(self._look)
        self._timer.clock = clock

    def start(self) -> None:
        """Look at the files from now on."""
        self._running = True
        if self._interval and not self._timer.running:
            self._timer.start(self._interval, now=False)

    def stop(self) -> None:
        """Look no more. An attempt under way changes nothing any more."""
        self._running = False
        if self._timer.running:
            self._timer.stop()

    def reload(self) -> Deferred[bool]:
        """
        Load everything, whether it has changed or not. Those who ask while an attempt is under way share the next.

        @return: fires with whether it is served now; never fails
        """
        done: Deferred[bool] = Deferred()
        self._waiting.append(done)
        if len(self._waiting) == 1:
            self._one_at_a_time.run(self._for_all)
        return done

    @inlineCallbacks
    def _for_all(self) -> Any:
        waiting, self._waiting = self._waiting, []
        served = yield self._attempt(True)
        for each in waiting:
            each.callback(served)

    @inlineCallbacks
    def _look(self) -> Any:
        if self._one_at_a_time.locked:
            return
        try:
            changed = yield self._in_time("the files were not looked at", self._files.changed)
        except ConfigurationError as error:
            self._failed(error.lines, False)
            return
        except Exception:  # a bug of ours must not end the timer
            _log.failure("looking at the files failed")
            return
        outdated = self._clock.seconds() - self._loaded_at >= DAY
        if (changed or outdated or self._not_now) and self._running:
            yield self._one_at_a_time.run(self._attempt, False)

    @inlineCallbacks
    def _attempt(self, asked: bool) -> Any:
        files = self._files.anew()
        self._loaded_at = self._clock.seconds()
        self._not_now = False
        try:
            plan = yield self._in_time("it has not finished", self._build, files)
            if not self._running:
                return False
            changes = yield maybeDeferred(self._apply, plan).addErrback(_as_error)
        except ConfigurationError as error:
            self._not_now = isinstance(error, NotNow)
            self._failed(error.lines, asked)
            return False
        except Exception as error:  # a bug of ours, or of a handler's code: what is served goes on
            _log.failure("a reload failed")
            self._failed((f"{type(error).__name__}; the traceback is above",), asked)
            return False
        finally:
            files.forget()
            self._files = files
        self.outcomes["changed" if changes else "unchanged"] += 1
        mended, self._told = bool(self._told), ()
        if changes or mended or asked:
            self._observers.tell(Reloaded(changes=tuple(changes), mended=mended))
        return True

    def _in_time(self, trouble: str, work: Callable[..., Any], *about: Any) -> Deferred[Any]:
        """Aside, but not for ever. @param trouble: what is said when the time is over"""

        def too_late(_: Any, seconds: float) -> Any:
            raise ConfigurationError(
                f"{trouble} within {seconds:g} s: a module that is imported hangs, or a file system"
            )

        done = maybeDeferred(self._aside, work, *about).addTimeout(LONGEST, self._clock, too_late)
        return done.addErrback(_as_error)

    def _failed(self, lines: tuple[str, ...], asked: bool) -> None:
        self.outcomes["failed"] += 1
        if asked or lines != self._told:
            self._observers.tell(ReloadFailed(lines=lines))
        self._told = lines


def _as_error(failure: Failure) -> Failure:
    """A failure that code which says C{except Exception} notices, as it is no end of the process."""
    if failure.check(Exception) is not None:
        return failure
    _log.failure("a reload failed", failure)
    return Failure(ConfigurationError(f"{type(failure.value).__name__}; the traceback is above"))
