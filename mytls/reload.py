"""
Reload: look at the files, build beside what is in use, swap; on any error the old stays whole.

One attempt at a time. What reads and computes runs aside, in a thread, where it holds up nobody; what touches running
parts runs on the event loop. A timer compares contents, so it makes no difference how a file was replaced: renamed
over, written in pieces, or behind a link as Kubernetes does it. An attempt that meets the middle of a change fails,
says so once, and is made again as soon as the files read differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mytls.errors import ConfigurationError
from mytls.events import Observers, Reloaded, ReloadFailed
from mytls.tls.files import Files

_log = Logger()

#: Seconds after which all is loaded again though no file has changed: dates pass, and an operator should hear of it.
DAY = 24 * 3600.0

Plan = TypeVar("Plan")
#: Runs a function and its arguments where it holds up nobody.
Aside = Callable[..., "Deferred[Any]"]


def in_a_thread(reactor: Any) -> Aside:
    """Aside is in a thread of the reactor's pool."""
    return lambda work, *about: deferToThreadPool(reactor, reactor.getThreadPool(), work, *about)


class NotNow(ConfigurationError):
    """What the files say is right and cannot be had yet, as a port of another's: it is tried again at each look."""


class Reloader(Generic[Plan]):
    """Keeps what is served as the files say."""

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
            changed = yield self._aside(self._files.changed)
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
            plan = yield self._aside(self._build, files)
            if not self._running:
                return False
            changes = yield self._apply(plan)
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
        mended, self._told = bool(self._told), ()
        if changes or mended or asked:
            self._observers.tell(Reloaded(changes=tuple(changes), mended=mended))
        return True

    def _failed(self, lines: tuple[str, ...], asked: bool) -> None:
        if asked or lines != self._told:
            self._observers.tell(ReloadFailed(lines=lines))
        self._told = lines
