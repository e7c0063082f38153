"""
What a successor has from its predecessor: the listening sockets, the way to speak to it, and its place once it is gone.

The successor starts as any other process, but that it binds nothing that it was given. When it serves, it says so; then
the predecessor accepts nobody any more, and answers what is the successor's from now on. One whose predecessor ends
before that ends too: it was not asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls import __version__
from mytls.errors import one_line
from mytls.systemd.notify import Turn
from mytls.workers.channel import Channel, Values, opened
from mytls.workers.relaunch import PidFile
from mytls.workers.seat import NOTHING, passed_on
from mytls.workers.sharing import FIRST, Handed, Keeping, adopted_name, is_ours

_log = Logger()

_SUCCEEDS, _COUNT, _NAMES = "MYTLS_SUCCEEDS", "LISTEN_FDS", "LISTEN_FDNAMES"
#: Seconds between two looks whether all serve.
_LOOK = 0.05


@attrs.frozen
class Inheritance:
    """
    What this process was given.

    @ivar channel: the descriptor of the socket to the predecessor
    @ivar stderr: a descriptor of standard error; until the end of the start that goes to the predecessor
    @ivar sockets: the descriptors of listening sockets that the predecessor has bound, by their names
    @ivar of_systemd: the names of the sockets that systemd has passed
    """

    channel: int
    stderr: int
    sockets: Mapping[str, int]
    of_systemd: tuple[str, ...] = ()

    @classmethod
    def taken(cls, environ: MutableMapping[str, str]) -> Inheritance | None:
        """
        What there is; None where this process is nobody's successor. Its own children hear nothing of it.

        @param environ: C{os.environ}
        """
        if _SUCCEEDS not in environ:
            return None
        channel, stderr = (int(each) for each in environ.pop(_SUCCEEDS).split())
        names = [each for each in environ.pop(_NAMES, "").split(":") if each]
        for descriptor in (*range(FIRST, FIRST + len(names)), channel, stderr):
            os.set_inheritable(descriptor, False)
        sockets = {name: at for at, name in enumerate(names, FIRST) if is_ours(name)}
        return cls(channel, stderr, sockets, tuple(name for name in names if not is_ours(name)))

    @staticmethod
    def of(
        sockets: Mapping[str, int], of_systemd: Sequence[str], channel: int, stderr: int, nothing: int
    ) -> tuple[dict[str, str], dict[int, int]]:
        """
        What a successor is given.

        @param sockets: the listening sockets, by their names
        @param of_systemd: the names of those of systemd's; also of these that nobody listens at
        @param channel: the successor's end of the channel
        @param stderr: standard error
        @param nothing: a descriptor of C{/dev/null}
        @return: of its environment what tells of it, and descriptors of this process by what they are in the other
        """
        theirs = {adopted_name(at): at for at, name in enumerate(of_systemd, FIRST) if name != NOTHING}
        names, descriptors = passed_on({**theirs, **sockets}, of_systemd, nothing)
        last = FIRST + len(names)
        environ = {_SUCCEEDS: f"{last} {last + 1}", _COUNT: str(len(names)), _NAMES: ":".join(names)}
        return environ, {**descriptors, last: channel, last + 1: stderr}


class Heir:
    """
    A successor, as it comes to be the one that serves.

    It is one of those with whom a service drains: systemd kills what the main process leaves behind, so that waits for
    the clients of its predecessor.

    @ivar over: whether it has taken over, or does not any more
    """

    left = 0

    def __init__(self, reactor: Any, inheritance: Inheritance, pidfile: PidFile, turn: Turn) -> None:
        """@param turn: what it tells systemd, once it may"""
        self.handed = Handed(inheritance.sockets)
        self._reactor = reactor
        self._inheritance = inheritance
        self._pidfile = pidfile
        self._turn = turn
        self._serves: Callable[[], bool] = lambda: False
        self._ends: Callable[[], object] = _nothing
        self._reload: Callable[[], object] = _nothing
        self._keeps: Sequence[Keeping] = ()
        self.over = self._gone = False
        self._waiting: list[Deferred[int]] = []
        self._channel = Channel({}, self._is_gone)
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor

    def start(
        self,
        keeps: Sequence[Keeping],
        serves: Callable[[], bool],
        ends: Callable[[], object],
        reload: Callable[[], object],
    ) -> None:
        """
        It listens; say so when all serve.

        @param keeps: what it listens with
        @param serves: whether all do
        @param ends: ends this process
        @param reload: loads everything again
        """
        self._keeps, self._serves, self._ends, self._reload = keeps, serves, ends, reload
        opened(self._reactor, self._inheritance.channel, self._channel)
        self._looks.start(_LOOK, now=False)

    def drain(self) -> Deferred[int]:
        """Fires when the predecessor is gone. Of what it had to cut it tells itself."""
        if self._gone or not self.over:
            self.over = True  # whoever ends now takes nothing over
            return succeed(0)
        waiting: Deferred[int] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def cut(self) -> None:
        """Let it end at once."""
        self._channel.tell("cut")

    def _look(self) -> None:
        if self.over:
            self._looks.stop()
        elif self._serves():
            self._looks.stop()
            self.handed.forget()
            said = {"version": __version__, "taken": sorted(self.handed.taken)}
            self._channel.ask("ready", said).addCallbacks(self._takes_over, self._not_wanted)

    def _takes_over(self, said: Values) -> None:
        self.over = True
        os.dup2(self._inheritance.stderr, 2)
        os.close(self._inheritance.stderr)
        for keep in self._keeps:
            keep.take_over()
        pidfile = str(said.get("pidfile", ""))
        try:
            self._pidfile.take(pidfile)
        except OSError as error:
            _log.error("{path}: cannot be written: {why}", path=pidfile, why=error.strerror)
        self._turn.begin()
        _log.info(
            "mytls {own} has taken over from mytls {old} (process {pid})",
            own=__version__,
            old=one_line(str(said.get("version", ""))),
            pid=one_line(str(said.get("pid", ""))),
        )
        if said.get("reload"):
            self._reload()

    def _not_wanted(self, failure: Failure) -> None:
        _log.error("the predecessor does not hand over: {why}", why=one_line(failure.getErrorMessage()))
        self._ends()

    def _is_gone(self) -> None:
        self._gone = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(0)
        if not self.over:
            _log.error("the predecessor is gone before it has handed over: this process ends")
            self._ends()


def _nothing() -> None:
    """It does not listen yet."""
