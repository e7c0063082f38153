"""
A service hands over to a successor: a whole new process, which runs what is installed now.

The successor is started with the same words and has the listening sockets, so that nobody in the queue of one is lost.
When it serves, this process accepts nobody any more and finishes with its own clients. Until then nothing changes here:
a successor that cannot start, or takes too long, is told of in one line, and is no more.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls import __version__
from mytls.errors import one_line
from mytls.systemd.notify import Turn
from mytls.workers.channel import Channel, Unanswered, Values, opened
from mytls.workers.child import LAST_WORDS, Ended
from mytls.workers.held import Held
from mytls.workers.inheritance import Inheritance
from mytls.workers.relaunch import PidFile, Relaunch, append_to
from mytls.workers.sharing import Keeping

_log = Logger()

#: Seconds that a successor may take until it serves.
LONGEST_START = 60.0
#: How much of what a successor has said at its start is kept.
_LONGEST = 16 * 1024


@attrs.frozen
class Lineage:
    """
    Where a process stands in the line of those that serve one after the other.

    @ivar relaunch: how the next one is started
    @ivar pidfile: twistd's
    @ivar turn: what is told systemd
    @ivar inheritance: what this one has from the one before; None where it is the first
    @ivar held: what this one could read, and the next one may not
    """

    relaunch: Relaunch
    pidfile: PidFile
    turn: Turn
    inheritance: Inheritance | None = None
    held: Held = attrs.field(factory=Held, repr=False, eq=False)


class Leaves(Protocol):
    """What a process does when its successor serves."""

    def retire(self) -> None:
        """Accept nobody any more, finish with all clients, and end."""

    def cut(self) -> object:
        """Drop every client who is still there."""

    @property
    def left(self) -> int:
        """How many connections there are."""

    @property
    def attempts(self) -> int:
        """How many reloads there were."""


class Succession:
    """
    The hand-over, as the process sees it that is to end.

    It is one of those with whom a service drains: who is stopped before it has handed over stops its successor too.
    """

    left = 0

    def __init__(
        self, reactor: Any, lineage: Lineage, keeps: Sequence[Keeping], leaves: Leaves, why_not: Callable[[], str]
    ) -> None:
        """
        @param keeps: what this process listens with
        @param why_not: why there can be no successor now; empty where there can
        """
        self._why_not = why_not
        self._reactor = reactor
        self._lineage = lineage
        self._keeps = keeps
        self._leaves = leaves
        self._next: _Successor | None = None
        self._over = self._ending = False
        self._attempts = 0
        self._waiting: list[Deferred[int]] = []

    @property
    def under_way(self) -> bool:
        """Whether there is a successor."""
        return self._next is not None

    def begin(self) -> None:
        """Start a successor, unless there is one."""
        if self._ending or self._over:
            return
        if self._next is not None:
            _log.info("process {pid} is about to take over already", pid=self._next.pid)
            return
        why = self._why_not()
        if why:
            _log.error("{line}", line=f"cannot hand over: {why}; a new version needs a restart")
            return
        self._attempts = self._leaves.attempts
        try:
            self._next = self._started()
        except OSError as error:
            line = one_line(f"cannot hand over: {error.filename or sys.executable}: {error.strerror}")
            _log.error("{line}", line=line)
            return
        _log.info("starting process {pid}, to hand over to it", pid=self._next.pid)

    def drain(self) -> Deferred[int]:
        """The process stops. Fires when the successor is gone; where it has taken over, at once."""
        self._ending = True
        if self._next is None or self._over:
            return succeed(0)
        self._next.signal("TERM")
        waiting: Deferred[int] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def cut(self) -> None:
        """End the successor at once; where it has taken over, nothing."""
        if self._next is not None and not self._over:
            self._next.signal("KILL")

    def _started(self) -> _Successor:
        """@raise OSError: there are no descriptors, or no processes"""
        started = _Successor(self._reactor, self._is_ready, self._leaves.cut, self._has_ended)
        sockets = {name: number for keep in self._keeps for name, number in keep.descriptors.items()}
        started.start(self._lineage.relaunch, sockets, self._lineage.held)
        return started

    def _is_ready(self, said: Values) -> Values:
        """It serves. @return: what is its own from now on"""
        if self._ending or self._next is None:
            raise Unanswered("it was stopped")
        pid, version, taken = self._next.pid, one_line(str(said.get("version", ""))), said.get("taken", ())
        self._over = True
        _log.info("handing over to mytls {version} (process {pid})", version=version, pid=pid)
        append_to(self._lineage.relaunch.log)
        for keep in self._keeps:
            keep.hand_over(taken)
        self._leaves.retire()
        self._lineage.turn.end(MAINPID=pid)
        _log.info("handed over: {left} connections left", left=self._leaves.left)
        path = self._lineage.pidfile.leave()
        reload = self._leaves.attempts != self._attempts
        return {"version": __version__, "pid": os.getpid(), "pidfile": path, "reload": reload}

    def _has_ended(self, how: str) -> None:
        assert self._next is not None
        pid, self._next = self._next.pid, None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(0)
        if self._over:
            _log.error("the successor (process {pid}) {how}", pid=pid, how=how)
        elif not self._ending:
            line = f"cannot hand over: process {pid} {how}; mytls {__version__} goes on as it was"
            _log.error("{line}", line=line)


class _Successor(ProcessProtocol):
    """Its process, and the way to speak to it. @ivar pid: the process"""

    def __init__(
        self,
        reactor: Any,
        ready: Callable[[Values], Values],
        cut: Callable[[], object],
        ended: Callable[[str], object],
    ) -> None:
        """
        @param ready: called with what it says when it serves
        @param cut: called where it wants an end at once
        @param ended: called with how it has ended
        """
        self.pid = 0
        self._reactor = reactor
        self._ready = ready
        self._ended = ended
        self._said = b""
        self._late = self._answered = False
        self._timer: Any = None
        self._last_words: Any = None
        self._channel = Channel({"ready": self._serves, "cut": lambda said, _: cut()}, lambda: None)

    def start(self, relaunch: Relaunch, sockets: Any, held: Held) -> None:
        """@raise OSError: there are no descriptors, or no processes, or its folder is not this user's to enter"""
        os.stat(os.path.join(relaunch.folder, "."))
        mine, its = socket.socketpair()
        with mine, its, open(os.devnull, "rb", buffering=0) as nothing:
            numbers = its.fileno(), 2, nothing.fileno()
            environ, descriptors = Inheritance.of(sockets, relaunch.of_systemd, *numbers)
            environ, descriptors = held.passed({**relaunch.environ, **environ}, descriptors)
            opened(self._reactor, mine.detach(), self._channel)
            command = relaunch.program()
            started = self._reactor.spawnProcess(
                self,
                command[0],
                command,
                environ,
                relaunch.folder,
                childFDs={0: nothing.fileno(), 1: 1, 2: "r", **descriptors},
            )
        self.pid = started.pid
        self._timer = self._reactor.callLater(LONGEST_START, self._is_late)

    def signal(self, name: str) -> None:
        """Send it a signal, if it is there. @param name: as TERM"""
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess(name)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """What it says before it serves: why it cannot."""
        self._said = (self._said + data)[-_LONGEST:]

    def processExited(self, reason: Failure) -> None:
        """It is gone; what it has started may have its standard error for ever."""
        assert self.transport is not None
        self._last_words = self._reactor.callLater(LAST_WORDS, self.transport.closeChildFD, 2)

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and all that it has said is here."""
        for timer in (self._timer, self._last_words):
            if timer is not None and timer.active():
                timer.cancel()
        self._channel.finish()
        why: Any = reason.value  # ProcessDone, or ProcessTerminated
        how = "was not ready in time" if self._late else str(Ended(why.exitCode, why.signal))
        words = "" if self._answered else last_words(self._said.decode("utf-8", "backslashreplace"))
        self._ended(f"{how}: {words}" if words else how)

    def _serves(self, said: Values, descriptors: Sequence[int]) -> Values:
        self._timer.cancel()
        self._answered = True
        return self._ready(said)

    def _is_late(self) -> None:
        self._late = True
        self.signal("KILL")


def last_words(said: str) -> str:
    """
    What a process has said at its end, in one line: its own words, or the end of a traceback and where it was.

    @param said: its standard error
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("mytls: ") for line in lines if line.startswith("mytls: ")]
    places = [line for line in lines if line.startswith("File ")]
    found = "; ".join(own) or " ".join([*lines[-1:], *(f"({each})" for each in places[-1:])])
    return one_line(found)
