"""
The sockets of syslog and of the journal: a datagram for each line, with its priority.

Whoever listens there may be slow, gone or new each time: a datagram goes to the path, at once or never.

@see: RFC 3164 section 4.1, for syslog, as its local socket has it
@see: U{https://systemd.io/JOURNAL_NATIVE_PROTOCOL/}
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mytls.errors import ConfigurationError, one_line
from mytls.logs.lines import Line, Losses

#: Where syslog listens: on Linux, and on macOS and the BSDs.
SYSLOG = ("/dev/log", "/var/run/syslog", "/var/run/log")
JOURNAL = "/run/systemd/journal/socket"
#: How lines are told from those of others.
IDENT = "mytls"
_DAEMON = 3  # RFC 5424 section 6.2.1: system daemons


class Datagrams:
    """A place that is a socket."""

    def __init__(
        self,
        path: str,
        encode: Callable[[Line], bytes],
        name: str,
        seconds: Callable[[], float],
        *,
        needed: bool = False,
    ) -> None:
        """
        @param path: of the socket
        @param encode: makes a datagram of a line
        @param name: of the place, as the user wrote it
        @param seconds: tells the time
        @param needed: whether somebody has to listen there when the service starts
        @raise ConfigurationError: nobody does
        """
        self._path = path
        self._encode = encode
        self._losses = Losses(name, seconds)
        self._socket: socket.socket | None = None
        if needed and not os.path.exists(path):
            raise ConfigurationError(f"{name}: there is none here: {path} does not exist")

    def open(self) -> None:
        """Lines will come. That syslog is not there yet is no reason not to start."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        if not os.path.exists(self._path):
            self._losses.trouble(f"nobody listens at {self._path}: lines are lost until somebody does")

    def write(self, line: Line) -> None:
        """Send it."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(self._encode(line), self._path)
        except BlockingIOError:
            self._losses.lost("they are not read fast enough")
        except OSError as error:
            self._losses.lost(f"{self._path}: {error.strerror}")
        else:
            self._losses.well()

    def reopen(self) -> None:
        """There is nothing to be opened again."""

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def of_syslog(line: Line, now: Callable[[], float] = time.time) -> bytes:
    """A datagram of syslog's. @param now: tells seconds since 1970"""
    moment = time.localtime(now())
    stamp = f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2} {time.strftime('%H:%M:%S', moment)}"
    head = f"<{_DAEMON * 8 + line.priority}>{stamp} {IDENT}[{os.getpid()}]: "
    return f"{head}{line.text}".encode("utf-8", "backslashreplace")


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def of_journal(line: Line) -> bytes:
    """A datagram of the journal's: a field a line. No value has a line's end in it."""
    fields = {
        "MESSAGE": line.text,
        "PRIORITY": int(line.priority),
        "SYSLOG_IDENTIFIER": IDENT,
        "SYSLOG_FACILITY": _DAEMON,
        **dict(_own(line.fields())),
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode("utf-8", "backslashreplace")


def _own(fields: Mapping[str, Any], above: str = "MYTLS") -> Iterator[tuple[str, str]]:
    """What the line says, by names of our own; what is not known is left out. What has parts has a field for each."""
    for key, value in fields.items():
        name = f"{above}_{key.upper()}"
        if isinstance(value, Mapping):
            yield name, json.dumps(value)
            yield from _own(value, name)
        elif value not in (None, "", []):
            yield name, one_line(_word(value))


def _word(value: Any) -> str:
    """Text as it is, lists with commas, all else as JSON has it."""
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    return str(value) if isinstance(value, str) else json.dumps(value)
