"""How a process of twistd's is started anew, with the same words, and whose the pid file is then."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from mytls.workers.seat import without_seat

#: Where twistd logs as a daemon.
_LOG = "twistd.log"
#: With what a successor is started, which stays where its predecessor is.
_OWN = "--nodaemon", "--pidfile="
#: What systemd tells one process alone; its successor is another.
_OF_ONE = ("WATCHDOG_PID", "LISTEN_PIDFDID")


@attrs.frozen
class Relaunch:
    """
    How a successor is started.

    @ivar options: twistd's own, as they were typed
    @ivar words: the command, and what stood behind it
    @ivar folder: where it was typed
    @ivar environ: the environment at that time
    @ivar of_systemd: the names of the sockets that systemd has passed
    @ivar log: twistd's log file; empty where it has none
    @ivar daemon: whether it has left the terminal
    @ivar why_not: why there can be no successor; empty where there can
    """

    options: tuple[str, ...]
    words: tuple[str, ...]
    folder: str
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    of_systemd: tuple[str, ...] = ()
    log: str = ""
    daemon: bool = False
    why_not: str = ""

    @classmethod
    def of(
        cls,
        typed: Sequence[str],
        command: str,
        words: Sequence[str],
        of_twistd: Mapping[str, Any],
        environ: Mapping[str, str],
        of_systemd: Sequence[str],
    ) -> Relaunch:
        """
        As this process was started.

        @param typed: C{sys.argv}
        @param command: the command of twistd
        @param words: what stood behind it
        @param of_twistd: twistd's own options
        @param environ: as it was at the start
        """
        at = len(typed) - len(words) - 1
        found = at > 0 and list(typed[at:]) == [command, *words]
        daemon, log = _log(of_twistd)
        return cls(
            tuple(typed[1:at]),
            (command, *words),
            os.getcwd(),
            {name: value for name, value in without_seat(environ).items() if name not in _OF_ONE},
            tuple(of_systemd),
            log,
            daemon,
            _why_not(found, of_twistd),
        )

    def program(self) -> list[str]:
        """The program and its arguments. What stands last wins: it does not look for the pid file, nor leave twice."""
        log = (f"--logfile={self.log}",) if self.daemon and self.log else ()
        typed = self.options if self.options[-2:] == _OWN else (*self.options, *log, *_OWN)
        return [sys.executable, "-P", "-m", "mytls.workers.successor", *typed, *self.words]


class PidFile:
    """twistd's pid file. It removes the one that its options name when it ends."""

    def __init__(self, of_twistd: MutableMapping[str, Any]) -> None:
        """@param of_twistd: twistd's own options"""
        self._of_twistd = of_twistd

    @property
    def path(self) -> str:
        """Where it is; empty where there is none."""
        return self._of_twistd.get("pidfile") or ""

    def why_not(self) -> str:
        """Why another process of this user could not have it; empty where it could."""
        lost = bool(self.path) and not os.access(self.path, os.W_OK)
        return f"--pidfile {self.path}: this user may not write it" if lost else ""

    def leave(self) -> str:
        """It is another's from now on. @return: where it is"""
        path = self.path
        self._of_twistd["pidfile"] = ""
        return path

    def take(self, path: str) -> None:
        """It is ours from now on. @raise OSError: it cannot be written"""
        if path:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
                file.truncate()  # now: whoever reads it meanwhile never finds it empty
            self._of_twistd["pidfile"] = path


def append_to(path: str) -> None:
    """
    From now on what this process writes to a file stands at its end, also where another writes there too: twistd's log
    would write over the lines of a successor.

    @param path: the file, which is open; empty for none
    """
    for name in _descriptors() if path else ():
        with suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(int(name))):
                flags = fcntl.fcntl(int(name), fcntl.F_GETFL)
                fcntl.fcntl(int(name), fcntl.F_SETFL, flags | os.O_APPEND)


def _descriptors() -> list[str]:
    """Those of this process; none where a sandbox lets nobody look."""
    try:
        return os.listdir("/proc/self/fd")
    except OSError:
        return []


def _log(of_twistd: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it is a daemon, and the path of its log file."""
    daemon = not of_twistd.get("nodaemon")
    log = of_twistd.get("logfile") or (_LOG if daemon else "-")
    return daemon, "" if log == "-" or of_twistd.get("syslog") else os.path.abspath(log)


def _why_not(found: bool, of_twistd: Mapping[str, Any]) -> str:
    if of_twistd.get("chroot") is not None:
        return "there is no Python in --chroot"
    return "" if found else "it was not started as twistd mytls"
