"""A worker, as its parent sees it: a process, its log, and the way to speak to it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import one_line
from mytls.guards.board import Column
from mytls.workers.channel import Channel, Values, opened
from mytls.workers.held import Held
from mytls.workers.lines import Receiver
from mytls.workers.seat import Passed, without_seat

_log = Logger()

#: Seconds for the last of its log after its end: a program that it has started may hold the pipe for ever.
LAST_WORDS = 1.0
#: Seconds without a word of a worker until it is killed, where systemd gives no time of its own.
LONGEST_SILENCE = 30.0
#: What a worker tells by itself, and can be asked for.
_REPORTED = ("status", "metrics")


@attrs.frozen
class Ended:
    """
    How a process has ended.

    @ivar status: its exit status; None where a signal has ended it
    @ivar signal: that signal
    """

    status: int | None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is None:
            return f"ended with exit status {self.status}"
        try:
            return f"was ended by signal {self.signal} ({signal.Signals(self.signal).name})"
        except ValueError:
            return f"was ended by signal {self.signal}"


@attrs.frozen
class Launch:
    """
    How workers are started.

    @ivar words: what stood behind the command `mytls`, as it was typed
    @ivar folder: where it was typed
    @ivar reactor: the reactor that was asked for, or None
    @ivar environ: the parent's environment
    @ivar of_systemd: the names of the sockets that systemd has passed to the parent
    @ivar longest_silence: seconds without a word of one until it is killed
    @ivar held: what the parent has read for those that may not
    """

    words: tuple[str, ...]
    folder: str
    reactor: str | None = None
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    of_systemd: tuple[str, ...] = ()
    longest_silence: float = LONGEST_SILENCE
    held: Held = attrs.field(factory=Held, repr=False, eq=False)

    def command(self) -> list[str]:
        """The program and its arguments. It runs where its parent does, as soon as it has read them."""
        reactor = [] if self.reactor is None else [f"--reactor={self.reactor}"]
        return [
            sys.executable,
            "-P",
            "-m",
            "mytls.workers.worker",
            *reactor,
            f"--rundir={os.getcwd()}",
            "mytls",
            *self.words,
        ]


class Child(ProcessProtocol):
    """
    One worker.

    @ivar number: which it is; one that is started in place of another has its number
    @ivar name: what it is called where there are several of that number
    @ivar since: when it was started, as C{time.time}; C{clocked}: by the clock
    @ivar pid: its process
    @ivar serving: whether it has said that it serves
    @ivar version: of mytls, as it has said when it served; one that is started later may have another than its parent
    @ivar code: a digest of its code, likewise
    @ivar ready: fires with whether it serves; not, if it ends before
    @ivar ended: fires with how it has ended
    @ivar told: the last of what it has told, by the word
    @ivar spoke: whether it has said anything; whoever counts how long it is silent takes it back
    """

    def __init__(self, number: int, generation: int = 1) -> None:
        self.number = number
        self.name = str(number) if generation == 1 else f"{number}.{generation}"
        self.since = time.time()
        self.clocked = 0.0
        self.pid = 0
        self.serving = False
        self.version = ""
        self.code = ""
        self.ready: Deferred[bool] = Deferred()
        self.ended: Deferred[Ended] = Deferred()
        self.told: dict[str, Any] = {}
        self.spoke = False
        self._reactor: Any = None
        self._last_words: Any = None
        self._channel = Channel({"ready": self._is_ready, "report": self._reports}, lambda: None)
        self._lines = Receiver(f"worker {number}")

    def start(
        self,
        reactor: Any,
        launch: Launch,
        workers: int,
        sockets: Mapping[str, int],
        counts: Column | None = None,
    ) -> None:
        """
        Start its process.

        @param reactor: provides C{IReactorProcess} and C{IReactorSocket}
        @param workers: how many there are
        @param sockets: the listening sockets, by their names
        @param counts: where it counts with the others
        """
        self._reactor = reactor
        self.clocked = reactor.seconds()
        try:
            self._start(launch, workers, sockets, counts)
        except OSError as error:
            what = one_line(error.filename or sys.executable)
            _log.error("worker {number}: {what}: {why}", number=self.number, what=what, why=error.strerror)
            reactor.callLater(0, self._has_ended, Ended(1))

    def ask(self, word: str, said: Values | None = None, descriptors: Sequence[int] = ()) -> Deferred[Values]:
        """See L{Channel.ask}. What it answers of what it tells by itself is kept as that is."""
        answer = self._channel.ask(word, said, descriptors)
        return answer.addCallback(self._keep, word) if word in _REPORTED else answer

    def tell(self, word: str) -> None:
        """See L{Channel.tell}."""
        self._channel.tell(word)

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._signal(signal.SIGKILL)

    def abort(self) -> None:
        """End it, and let it say where it is; one that was stopped hears nothing of it."""
        self._signal(signal.SIGABRT)

    def _signal(self, number: int) -> None:
        if self.pid and self._last_words is None and not self.ended.called:
            os.kill(self.pid, number)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It has written something: lines of its log."""
        self._lines.received(data)

    def processExited(self, reason: Failure) -> None:
        """It is gone; what it has written comes soon, or is held back by a program that it has started."""
        self._last_words = self._reactor.callLater(LAST_WORDS, self._has_ended, _ended(reason))

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and all that it has written is here."""
        if self._last_words is not None and self._last_words.active():
            self._last_words.cancel()
        self._lines.ended()
        if not self.ended.called:
            self._has_ended(_ended(reason))

    def _start(self, launch: Launch, workers: int, sockets: Mapping[str, int], counts: Column | None) -> None:
        """@raise OSError: there are no descriptors, or no processes, or its folder is not this user's to enter"""
        os.stat(os.path.join(launch.folder, "."))
        mine, its = socket.socketpair()
        with mine, its, open(os.devnull, "rb", buffering=0) as nothing:
            its_seat = self.number, workers, its.fileno(), sockets, launch.of_systemd, nothing.fileno(), counts
            passed = Passed.to(*its_seat)
            opened(self._reactor, mine.detach(), self._channel)
            command = launch.command()
            environ = {**without_seat(launch.environ), **passed.environ}
            environ, descriptors = launch.held.passed(environ, passed.descriptors)
            started = self._reactor.spawnProcess(
                self,
                command[0],
                command,
                environ,
                launch.folder,
                childFDs={0: nothing.fileno(), 1: "r", 2: "r", **descriptors},
            )
            self.pid = started.pid

    def _has_ended(self, how: Ended) -> None:
        self.serving = False
        if not self.ready.called:
            self.ready.callback(False)
        self.ended.callback(how)

    def _is_ready(self, said: Values, descriptors: Sequence[int]) -> None:
        self.serving = self.spoke = True
        self.version = str(said.get("version", ""))
        self.code = str(said.get("code", ""))
        if not self.ready.called:
            self.ready.callback(True)

    def _reports(self, said: Values, descriptors: Sequence[int]) -> None:
        self.told.update(said)
        self.spoke = True

    def _keep(self, said: Values, word: str) -> Values:
        self.told[word] = said
        return said


def _ended(reason: Failure) -> Ended:
    why: Any = reason.value  # ProcessDone, or ProcessTerminated
    return Ended(why.exitCode, why.signal)
