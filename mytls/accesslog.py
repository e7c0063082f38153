"""One plain line in twistd's log for each connection that ends, is refused or fails."""

from __future__ import annotations

from functools import singledispatch

from twisted.logger import Logger

from mytls.errors import visible
from mytls.events import Closed, Event, HandshakeFailed, Refused

_log = Logger()


def access_log(event: Event) -> None:
    """An observer of events that writes the line, for those events that have one."""
    line = _line(event)
    if line:
        _log.info("{line}", line=line)


@singledispatch
def _line(event: Event) -> str:
    return ""


@_line.register
def _(event: Refused) -> str:
    return f"refused {_ends(event)}: {event.cause} {_sentence(event.detail)}".rstrip()


@_line.register
def _(event: HandshakeFailed) -> str:
    return (
        f"handshake-failed {_ends(event)} name={_name(event.server_name)} "
        f"cause={event.cause} after {event.seconds:.3f}s: {_sentence(event.detail)}"
    )


@_line.register
def _(event: Closed) -> str:
    peer = event.peer
    end = f"cause={event.cause} ({_sentence(event.detail)})" if event.cause else "clean"
    return (
        f"closed {_ends(event)} name={_name(peer.server_name)} "
        f"{peer.version or 'plain'} {peer.cipher or '-'} {peer.group or '-'} alpn={_name(peer.alpn)} "
        f"in={event.bytes_in} out={event.bytes_out} {event.seconds:.3f}s {end}"
    )


def _ends(event: Event) -> str:
    """Where from and where to. A client on a UNIX socket chooses its path."""
    return f"{visible(event.address, 200)} at {visible(event.listener, 200)}"


def _sentence(detail: str) -> str:
    """A few words, which may quote a stranger's."""
    return visible(detail, 200).replace("\\x20", " ")


def _name(name: str | None) -> str:
    return visible(name) if name else "-"
