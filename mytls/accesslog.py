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
    return f"refused {event.address} at {event.listener}: {event.cause} {event.detail}".rstrip()


@_line.register
def _(event: HandshakeFailed) -> str:
    name = _name(event.server_name)
    return (
        f"handshake-failed {event.address} at {event.listener} name={name} "
        f"cause={event.cause} after {event.seconds:.3f}s: {visible(event.detail, 200)}"
    ).replace("\\x20", " ")


@_line.register
def _(event: Closed) -> str:
    peer = event.peer
    end = f"cause={event.cause} ({event.detail})" if event.cause else "clean"
    return (
        f"closed {event.address} at {event.listener} name={_name(peer.server_name)} "
        f"{peer.version or 'plain'} {peer.cipher or '-'} {peer.group or '-'} alpn={_name(peer.alpn)} "
        f"in={event.bytes_in} out={event.bytes_out} {event.seconds:.3f}s {end}"
    )


def _name(name: str | None) -> str:
    return visible(name) if name else "-"
