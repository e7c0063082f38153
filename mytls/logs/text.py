"""
An event as a line for people.

What strangers chose is escaped, so that each field is one word: no name, no certificate, adds a field or a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch

from mytls.errors import one_line, sentence, visible
from mytls.events import (
    BackendFailed,
    Closed,
    ConnectionEvent,
    Draining,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
    ReloadFailed,
)
from mytls.logs.fields import word_of
from mytls.logs.recurring import MOST_ADDRESSES, Recurred
from mytls.peer import Peer

#: How many changes or errors of a reload a line has; how many versions, groups or protocols.
_MOST, _FEW = 20, 6
#: How long the words at its end may be. A certificate's names and its serial number fit, and which rule was against it.
_SENTENCE = 1000


@singledispatch
def text_of(event: object) -> str:
    """The line, without its end; empty where the event has none."""
    return ""


@text_of.register
def _(event: Refused) -> str:
    return f"refused {_ends(event)} cause={event.cause}: {_explained(event)}".removesuffix(": ")


@text_of.register
def _(event: HandshakeFailed) -> str:
    offer = event.offer
    return (
        f"handshake-failed {_ends(event)} name={_name(event.server_name)} "
        f"cause={event.cause} after {event.seconds:.3f}s by={event.ended_by} {_met(event)} "
        f"versions={_words(offer.versions)} groups={_words(offer.groups)} alpn={_words(offer.alpn)}: "
        f"{_explained(event)}"
    )


@text_of.register
def _(event: BackendFailed) -> str:
    return f"backend-failed {_ends(event)} {one_line(event.backend)}: {event.cause} ({_sentence(event.detail)})"


@text_of.register
def _(event: HandlerFailed) -> str:
    name = _name(event.peer.server_name)
    return (
        f"handler-failed {_ends(event)} name={name} cause={event.cause} after {event.seconds:.3f}s {_met(event)}: "
        f"{_sentence(event.detail)}"
    )


@text_of.register
def _(event: Closed) -> str:
    peer = event.peer
    end = f"cause={event.cause} ({_sentence(event.detail)})" if event.cause else "clean"
    return (
        f"closed {_ends(event)} name={_name(peer.server_name)} "
        f"{peer.version or 'plain'} {peer.cipher or '-'} {peer.group or '-'} alpn={_name(peer.alpn)} "
        f"resumed={_RESUMED[peer.resumed]} client={_client(peer)} {_met(event)} "
        f"in={event.bytes_in} out={event.bytes_out} {event.seconds:.3f}s {end}"
    )


@text_of.register
def _(event: Recurred) -> str:
    what = f"{event.cause} by {one_line(event.backend)}" if event.backend else str(event.cause)
    what += f" ({_sentence(event.where)})" if event.where else ""
    more = " or more" if event.addresses >= MOST_ADDRESSES else ""
    few = ", ".join(visible(each, 200) for each in event.examples)
    plural = "es" if event.addresses > 1 else ""
    return (
        f"{word_of(event)} at {visible(event.listener, 200)} cause={what}: {event.count} more in "
        f"{event.seconds:.0f}s from {event.addresses}{more} address{plural}, such as {few}"
        f"{' (they have said nothing)' if event.silent else ''}"
    )


@text_of.register
def _(event: Draining) -> str:
    longest = f"for up to {event.seconds:g}s" if event.seconds else "for as long as they take"
    many = "1 connection" if event.connections == 1 else f"{event.connections} connections"
    return f"draining: {many} may go on {longest}"


@text_of.register
def _(event: Reloaded) -> str:
    news = _several(event.changes) or ("all is well again" if event.mended else "nothing has changed")
    return f"reloaded: {news}"


@text_of.register
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


def _met(event: ConnectionEvent) -> str:
    """Whom it was for."""
    host = "*" if event.host == "any name" else _name(event.host)
    return f"host={host} handler={_name(event.handler)}"


def _explained(event: Refused | HandshakeFailed) -> str:
    hint = f"; hint: {_sentence(event.hint)}" if event.hint else ""
    return f"{_sentence(event.detail)}{hint}"


def _sentence(detail: str) -> str:
    """A few words, which may quote a stranger's. Those that are escaped already stay as they are."""
    parts = detail[:_SENTENCE].split("\\")
    return "\\".join(sentence(part, _SENTENCE) for part in parts)


def _name(name: str | None) -> str:
    return visible(name) if name else "-"


def _words(words: Iterable[str]) -> str:
    """A few words as one; a comma in one of them is escaped."""
    found = [visible(each, 40).replace(",", "\\x2c") for each in words]
    return ",".join(found[:_FEW] + ["..."] * (len(found) > _FEW)) or "-"


_RESUMED = {None: "-", True: "yes", False: "no"}


def _client(peer: Peer) -> str:
    """
    Whom its verified certificate names, as one word: `cn=build,dns=a.example,serial=0A`. What is between two commas is
    a kind and a name; a comma in a name is escaped, and so is all that a name could end the word with.
    """
    if peer.identity is None:
        return "-"
    return ",".join(each.replace(",", "\\x2c") for each in peer.identity.shown().split(" "))
