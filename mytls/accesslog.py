"""
One plain line in twistd's log for each connection that ends, is refused or fails.

What strangers chose is escaped, so that each field is one word: no name, no certificate, adds a field or a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch

from twisted.logger import Logger, LogLevel

from mytls.errors import Cause, ConfigurationError, nearest, one_line, visible
from mytls.events import BackendFailed, Closed, ConnectionEvent, Event, HandshakeFailed, Refused, Reloaded, ReloadFailed
from mytls.peer import Peer

_log = Logger()

#: How many changes or errors of a reload a line has.
_MOST = 20

#: How long the words at its end may be. A certificate's names and its serial number fit, and which rule was against it.
_SENTENCE = 1000

#: What can be kept out of the log, and which events that is.
CLASSES: dict[str, Callable[[Event], bool]] = {
    "connections": lambda event: isinstance(event, Closed),
    "handshake-failures": lambda event: isinstance(event, HandshakeFailed),
    "backend-failures": lambda event: isinstance(event, BackendFailed),
    "health-checks": lambda event: _only_connected(event) or _of_a_proxy(event),
    "refusals": lambda event: isinstance(event, Refused),
}


class AccessLog:
    """An observer of events that writes the line, for those events that have one."""

    def __init__(self, quiet: Iterable[str] = ()) -> None:
        """
        @param quiet: the L{CLASSES} that have no line
        @raise ConfigurationError: one of them is none
        """
        for name in quiet:
            if name not in CLASSES:
                raise ConfigurationError(f"log-quiet: {name!r} is nothing to be quiet about{nearest(name, CLASSES)}")
        self._quiet = [CLASSES[name] for name in quiet]

    def __call__(self, event: Event) -> None:
        """Write the line, or not."""
        for silenced in self._quiet:
            if silenced(event):
                return
        line = _line(event)
        if line:
            _log.emit(LogLevel.warn if isinstance(event, ReloadFailed) else LogLevel.info, "{line}", line=line)


def _only_connected(event: Event) -> bool:
    """Somebody who connects, says nothing and goes: a health check, a port scan."""
    return isinstance(event, HandshakeFailed) and event.cause in (Cause.EOF, Cause.RESET) and event.server_name is None


def _of_a_proxy(event: Event) -> bool:
    """A trusted proxy that has connected for itself, and got as far as TLS."""
    header = event.peer.proxy_header if isinstance(event, Closed) else None
    return header is not None and header.local


@singledispatch
def _line(event: Event) -> str:
    return ""


@_line.register
def _(event: Refused) -> str:
    return f"refused {_ends(event)} cause={event.cause}: {_sentence(event.detail)}".removesuffix(": ")


@_line.register
def _(event: HandshakeFailed) -> str:
    return (
        f"handshake-failed {_ends(event)} name={_name(event.server_name)} "
        f"cause={event.cause} after {event.seconds:.3f}s: {_sentence(event.detail)}"
    )


@_line.register
def _(event: BackendFailed) -> str:
    return f"backend-failed {_ends(event)} {one_line(event.backend)}: {event.cause} ({_sentence(event.detail)})"


@_line.register
def _(event: Closed) -> str:
    peer = event.peer
    end = f"cause={event.cause} ({_sentence(event.detail)})" if event.cause else "clean"
    return (
        f"closed {_ends(event)} name={_name(peer.server_name)} "
        f"{peer.version or 'plain'} {peer.cipher or '-'} {peer.group or '-'} alpn={_name(peer.alpn)} "
        f"resumed={_RESUMED[peer.resumed]} client={_client(peer)} "
        f"in={event.bytes_in} out={event.bytes_out} {event.seconds:.3f}s {end}"
    )


@_line.register
def _(event: Reloaded) -> str:
    news = _several(event.changes) or ("all is well again" if event.mended else "nothing has changed")
    return f"reloaded: {news}"


@_line.register
def _(event: ReloadFailed) -> str:
    return f"reload-failed, the old stays: {_several(event.lines)}"


def _several(parts: Sequence[str]) -> str:
    """Of many the first few: a line stays one that can be read."""
    more = len(parts) - _MOST
    return "; ".join(map(one_line, parts[:_MOST])) + (f"; and {more} more" if more > 0 else "")


def _ends(event: ConnectionEvent) -> str:
    """Where from and where to. A client on a UNIX socket chooses its path."""
    via = "" if event.via is None else f" via={visible(event.via, 200)}"
    return f"{visible(event.address, 200)} at {visible(event.listener, 200)}{via}"


def _sentence(detail: str) -> str:
    """A few words, which may quote a stranger's. Those that are escaped already stay as they are."""
    parts = detail[:_SENTENCE].split("\\")
    return "\\".join(visible(part, _SENTENCE).replace("\\x20", " ") for part in parts)


def _name(name: str | None) -> str:
    return visible(name) if name else "-"


_RESUMED = {None: "-", True: "yes", False: "no"}


def _client(peer: Peer) -> str:
    """
    Whom its verified certificate names, as one word: `cn=build,dns=a.example,serial=0A`. What is between two commas is
    a kind and a name; a comma in a name is escaped, and so is all that a name could end the word with.
    """
    if peer.identity is None:
        return "-"
    return ",".join(each.replace(",", "\\x2c") for each in peer.identity.shown().split(" "))
