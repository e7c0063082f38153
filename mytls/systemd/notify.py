"""
What a service tells systemd, or whoever else has started it and reads the same (sd_notify(3)): datagrams of lines
C{NAME=value} to the socket in the environment variable C{NOTIFY_SOCKET}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Protocol

from twisted.logger import Logger

from mytls.errors import ConfigurationError, one_line

_log = Logger()

#: Seconds that a datagram may wait for whoever reads them, who is busy at the start of a machine.
_PATIENCE = 1.0


class Notified(Protocol):
    """Whoever is told."""

    def tell(self, **said: object) -> None:
        """Say these, in one datagram: C{tell(READY=1, STATUS="12 connections")}."""


class Nobody:
    """There is nobody to tell."""

    def tell(self, **said: object) -> None:
        """Say nothing."""


class NotifySocket:
    """A socket that somebody reads. One who does not read it any more does not harm the service."""

    def __init__(self, address: str) -> None:
        """
        @param address: the path of the socket, or C{@} and a name of the abstract namespace (unix(7))
        @raise ConfigurationError: it is neither
        """
        if address[:1] not in ("/", "@") or len(address) == 1:
            raise ConfigurationError(f"NOTIFY_SOCKET={address}: expected a path, or @ and a name")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told_of_trouble = False

    def tell(self, **said: object) -> None:
        """See L{Notified.tell}."""
        lines = "\n".join(f"{name}={one_line(str(value))}" for name, value in said.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
                speaker.settimeout(_PATIENCE)
                speaker.sendto(lines.encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._told_of_trouble:
            _log.warn("NOTIFY_SOCKET: systemd cannot be told: {why}", why=error.strerror or "it does not read")
        self._told_of_trouble = True


class Turn:
    """
    Whose turn it is to speak: systemd listens to one process alone. A successor waits until it may, and says then what
    it would have said; a predecessor is silent afterwards.
    """

    def __init__(self, told: Notified, *, waits: bool = False) -> None:
        """@param waits: whether another speaks still"""
        self._told = told
        self._waits, self._ended = waits, False
        self._waiting: dict[str, object] = {}

    def tell(self, **said: object) -> None:
        """See L{Notified.tell}."""
        if self._waits:
            self._waiting.update(said)
        elif not self._ended:
            self._told.tell(**said)

    def begin(self) -> None:
        """Speak from now on."""
        self._waits = False
        waiting, self._waiting = self._waiting, {}
        if waiting:
            self.tell(**waiting)

    def end(self, **said: object) -> None:
        """Say these, and nothing any more."""
        self.tell(**said)
        self._ended = True


def notified(environ: MutableMapping[str, str]) -> Notified:
    """
    Whom the environment names. The name is taken out: programs that we start have nothing to say.

    @param environ: C{os.environ}
    @raise ConfigurationError: what it names is no socket
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    return NotifySocket(address) if address else Nobody()


def watchdog_seconds(environ: MutableMapping[str, str]) -> float:
    """
    How long we may be silent before systemd ends us (sd_watchdog_enabled(3)); 0 is for ever. Taken out likewise.

    @raise ConfigurationError: it is no number
    """
    written, for_whom = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not written or for_whom not in ("", str(os.getpid())):
        return 0.0
    if not (written.isascii() and written.isdigit()):
        raise ConfigurationError(f"WATCHDOG_USEC={written}: expected a number of microseconds")
    return int(written) / 1_000_000
