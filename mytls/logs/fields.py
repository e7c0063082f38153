"""
An event as an object for machines: names that stay, numbers as numbers, None for what is not known.

Text of strangers is as it came, cut to a length, also where C{detail} and C{hint} quote it: JSON escapes what it has
to, and no value has an end in it.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from mytls.errors import unescaped
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
from mytls.logs.recurring import Recurred
from mytls.peer import Identity, Peer

#: How long a text may be, and how many of a list are told.
_LONGEST, _MOST = 1000, 20
#: The same of the names in a certificate.
_LONGEST_NAME, _MOST_NAMES = 256, 4

_WORDS = {
    Refused: "refused",
    HandshakeFailed: "handshake-failed",
    BackendFailed: "backend-failed",
    HandlerFailed: "handler-failed",
    Closed: "closed",
    Draining: "draining",
    Reloaded: "reloaded",
    ReloadFailed: "reload-failed",
}


def word_of(event: object) -> str | None:
    """What the field `event` says of it; None where it has no line."""
    return _WORDS.get(event.kind if isinstance(event, Recurred) else type(event))


def fields_of(event: object) -> dict[str, Any]:
    """All that a line says of an event, but for the time and how much it matters."""
    about = {"event": word_of(event), **_told(event)}
    return {name: _bounded(value) for name, value in about.items()}


def as_json(fields: Mapping[str, Any]) -> str:
    """One line of JSON (RFC 8259), all ASCII."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def stamp(when: datetime.datetime) -> str:
    """A time as ISO 8601 has it, with milliseconds: `2030-01-31T12:00:00.000Z`. @param when: in UTC"""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"


@singledispatch
def _told(event: object) -> dict[str, Any]:
    return {}


@_told.register
def _(event: Refused) -> dict[str, Any]:
    return {
        **_whence(event),
        "cause": event.cause,
        "detail": _quoting(event.detail),
        "limit": event.limit or None,
        "hint": _quoting(event.hint),
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: HandshakeFailed) -> dict[str, Any]:
    offer = event.offer
    return {
        **_whence(event),
        "server_name": event.server_name,
        "cause": event.cause,
        "detail": _quoting(event.detail),
        "limit": event.limit or None,
        "hint": _quoting(event.hint),
        "ended_by": event.ended_by,
        "silent": event.silent,
        "offered_versions": list(offer.versions),
        "offered_groups": list(offer.groups),
        "offered_alpn": list(offer.alpn),
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: Closed) -> dict[str, Any]:
    return {
        **_whence(event),
        **_of_peer(event.peer),
        "cause": event.cause,
        "detail": _quoting(event.detail),
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: BackendFailed) -> dict[str, Any]:
    return {
        **_whence(event),
        "backend": event.backend,
        "cause": event.cause,
        "detail": _quoting(event.detail),
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: HandlerFailed) -> dict[str, Any]:
    return {
        **_whence(event),
        "server_name": event.peer.server_name,
        "cause": event.cause,
        "detail": _quoting(event.detail),
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: Recurred) -> dict[str, Any]:
    return {
        "listener": event.listener,
        "cause": event.cause,
        "detail": event.where,
        "backend": event.backend,
        "repeated": event.count,
        "addresses": event.addresses,
        "examples": list(event.examples),
        "seconds": _seconds(event.seconds),
    }


@_told.register
def _(event: Draining) -> dict[str, Any]:
    return {"connections": event.connections, "seconds": event.seconds or None}


@_told.register
def _(event: Reloaded) -> dict[str, Any]:
    return {"changes": list(event.changes), "mended": event.mended}


@_told.register
def _(event: ReloadFailed) -> dict[str, Any]:
    return {"errors": list(event.lines)}


def _quoting(words: str) -> str | None:
    """A sentence that quotes strangers in the escapes of the lines for people: as they have said it."""
    return unescaped(words) or None


def _whence(event: ConnectionEvent) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "connection": event.connection,
        "listener": event.listener,
        "address": event.address,
        "via": event.via,
        "host": event.host,
        "handler": event.handler,
    }


def _of_peer(peer: Peer) -> dict[str, Any]:
    return {
        "server_name": peer.server_name,
        "version": peer.version,
        "cipher": peer.cipher,
        "group": peer.group,
        "alpn": peer.alpn,
        "resumed": peer.resumed,
        "identity": None if peer.identity is None else _identity(peer.identity),
    }


def _identity(shown: Identity) -> dict[str, Any]:
    """What rules go by."""
    names = {"cn": shown.cn, "dns": shown.dns, "uri": shown.uri, "email": shown.email, "ip": shown.ip}
    return {
        **{kind: [_text(each, _LONGEST_NAME) for each in values[:_MOST_NAMES]] for kind, values in names.items()},
        "serial": _text(shown.serial, _LONGEST_NAME),
        "issuer": _text(shown.issuer, _LONGEST_NAME),
        "sha256": shown.fingerprints["sha256"],
    }


def _seconds(seconds: float) -> float:
    return round(seconds, 3)


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value, _LONGEST)
    if isinstance(value, Sequence):
        return [_bounded(each) for each in value[:_MOST]]
    return value


def _text(text: str, longest: int) -> str:
    """Text that every reader of JSON takes: half of a surrogate pair is none."""
    return str(text[:longest]).encode("utf-8", "backslashreplace").decode("utf-8")
