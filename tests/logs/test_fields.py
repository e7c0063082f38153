"""Events as objects for machines."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls import events
from mytls.accesslog import line_of
from mytls.errors import Cause, one_line, sentence, unescaped, visible
from mytls.events import (
    Accepted,
    BackendFailed,
    ConnectionEvent,
    Draining,
    Event,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
    ReloadFailed,
)
from mytls.logs.fields import word_of
from mytls.logs.recurring import Recurred
from mytls.offers import Offer
from mytls.peer import Peer
from tests.logs.events import NASTY, WHERE, closed, failed, identity

NOON = 1893498000.1239


def told(event: Event | Recurred) -> dict[str, Any]:
    """What the line of an event says to whoever reads JSON."""
    text = line_of(event, NOON, json=True).text
    assert text.isascii(), text
    assert text.isprintable(), text
    read: dict[str, Any] = json.loads(text)
    return read


ONE_OF_EACH: dict[str, Event | Recurred] = {
    "refused": Refused(**WHERE, cause=Cause.RATE),
    "handshake-failed": failed(),
    "closed": closed(),
    "backend-failed": BackendFailed(**WHERE, backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail="refused"),
    "handler-failed": HandlerFailed(**WHERE, peer=Peer(None), detail="KeyError", where="KeyError at a.py:1"),
    "draining": Draining(connections=3, seconds=30.0),
    "reloaded": Reloaded(changes=("a",)),
    "reload-failed": ReloadFailed(lines=("a", "b")),
    "what is summed up": Recurred(
        kind=HandshakeFailed,
        listener="l",
        cause=Cause.EOF,
        silent=True,
        backend=None,
        count=90,
        addresses=2,
        examples=("192.0.2.1",),
        seconds=60.0,
    ),
}


def documented() -> dict[str, set[str]]:
    """The fields of each kind of object, as the table in docs/ has them."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    table = page.partition("### The log as JSON")[2].partition("### Causes")[0]
    found: dict[str, set[str]] = {word: set() for word in ONE_OF_EACH}
    for names, kinds in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table, re.M):
        for word, event in ONE_OF_EACH.items():
            of_connections = kinds == "connections" and isinstance(event, ConnectionEvent)
            if kinds in ("all", word) or of_connections or word in kinds.strip("`").split():
                found[word] |= {*re.findall(r"`(\w+)`", names)}
    return found


class FieldsTests(SynchronousTestCase):
    """The fields."""

    def test_closed(self) -> None:
        """An end has the time, whom it was for, what was agreed on, and numbers as numbers; None is not known."""
        event = attrs.evolve(closed(), host="a.example", handler="echo")
        self.assertEqual(
            told(event),
            {
                "time": "2030-01-01T11:40:00.123Z",
                "level": "info",
                "event": "closed",
                "pid": os.getpid(),
                "connection": 7,
                "listener": "127.0.0.1:8443",
                "address": "192.0.2.1:50000",
                "via": None,
                "host": "a.example",
                "handler": "echo",
                "server_name": "a.example",
                "version": "TLSv1.3",
                "cipher": None,
                "group": None,
                "alpn": None,
                "resumed": False,
                "identity": None,
                "cause": None,
                "detail": None,
                "bytes_in": 10,
                "bytes_out": 20,
                "seconds": 1.235,
            },
        )

    def test_handshake_failed(self) -> None:
        """A failure has who has ended it, what was offered and the hint."""
        offer = Offer(("TLSv1.0",), ("x25519",), ("h2",))
        read = told(failed(cause=Cause.OLD_VERSION, offer=offer, hint="update it", server_name="b.example"))
        expected = {
            "event": "handshake-failed",
            "level": "notice",
            "cause": "old-version",
            "hint": "update it",
            "ended_by": "server",
            "silent": False,
            "server_name": "b.example",
            "offered_versions": ["TLSv1.0"],
            "offered_groups": ["x25519"],
            "offered_alpn": ["h2"],
            "seconds": 0.01,
        }
        self.assertEqual({name: read[name] for name in expected}, expected)

    def test_identity(self) -> None:
        """An end has the names of the client's certificate, as rules go by them."""
        read = told(closed(peer=Peer(UNIXAddress(None), identity=identity("build"))))["identity"]
        self.assertEqual(len(read.pop("sha256")), 64)
        expected = {"cn": ["build"], "dns": ["a.example"], "uri": [], "email": [], "ip": []}
        self.assertEqual(read, expected | {"serial": "0A1B", "issuer": ""})

    def test_others(self) -> None:
        """Each kind of event has its word, as the metrics and the documentation call it."""
        backend = BackendFailed(**WHERE, backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail="refused")
        for event, word, facts in (
            (Refused(**WHERE, cause=Cause.RATE), "refused", {"cause": "rate", "detail": None}),
            (backend, "backend-failed", {"backend": "tcp:a:1", "level": "warning"}),
            (HandlerFailed(**WHERE, peer=Peer(None), detail="KeyError"), "handler-failed", {"level": "error"}),
            (Draining(connections=3, seconds=30.0), "draining", {"connections": 3, "seconds": 30.0}),
            (Draining(connections=3, seconds=0.0), "draining", {"seconds": None}),
            (Reloaded(changes=("a",)), "reloaded", {"changes": ["a"], "mended": False}),
            (ReloadFailed(lines=("a", "b")), "reload-failed", {"errors": ["a", "b"]}),
        ):
            read = told(event)
            self.assertEqual({name: read[name] for name in ("event", *facts)}, {"event": word} | facts)

    def test_words(self) -> None:
        """Each event that has a line has a word, and what goes well has none before its end."""
        all_there = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)]
        kinds = {*all_there} - {Event, ConnectionEvent}
        without = {kind.__name__ for kind in kinds if word_of(object.__new__(kind)) is None}
        self.assertEqual(without, {"Accepted", "Established"})
        self.assertIsNone(word_of(Accepted(**WHERE)))

    def test_recurred(self) -> None:
        """What was summed up has the word of what it was, how often, and from how many addresses."""
        event = Recurred(
            kind=HandshakeFailed,
            listener="l",
            cause=Cause.EOF,
            silent=True,
            backend=None,
            count=90,
            addresses=2,
            examples=("192.0.2.1", "192.0.2.2"),
            seconds=60.0,
        )
        read = told(event)
        del read["time"]
        self.assertEqual(
            read,
            {
                "level": "info",
                "event": "handshake-failed",
                "listener": "l",
                "cause": "eof",
                "detail": None,
                "backend": None,
                "repeated": 90,
                "addresses": 2,
                "examples": ["192.0.2.1", "192.0.2.2"],
                "seconds": 60.0,
            },
        )

    def test_documented(self) -> None:
        """Each event that has a line has those fields that the table in docs/ says, in text too, and no others."""
        table = documented()
        everyone = [*vars(events).values()]
        kinds = {
            word_of(object.__new__(each)) for each in everyone if isinstance(each, type) and issubclass(each, Event)
        }
        self.assertEqual({*ONE_OF_EACH}, kinds - {None} | {"what is summed up"})
        for word, event in ONE_OF_EACH.items():
            found = told(event)
            self.assertEqual({*found}, table[word], word)
            if isinstance(event, ConnectionEvent):
                self.assertIsInstance(found["seconds"], float)
        self.assertEqual(told(ONE_OF_EACH["handler-failed"])["cause"], "handler")

    def test_quotes_as_they_came(self) -> None:
        """What a sentence quotes of a stranger is escaped by JSON alone; the line of text has its own escapes."""
        for text in (NASTY.replace("\ud800", ""), "\\x1b", "\u2028\U0010ffff", "\x7f\x9b31m"):
            for quote in (visible(text, 400), sentence(text, 400), one_line(text)):
                event = failed(detail=f'no host has the name "{quote}"', hint=f"look at {quote}")
                line = line_of(event, NOON, json=True).text
                expected = text if quote != one_line(text) else unescaped(quote)
                self.assertEqual(json.loads(line)["detail"], f'no host has the name "{expected}"')
                self.assertEqual(json.loads(line)["hint"], f"look at {expected}")
                self.assertTrue(line.isascii() and line.isprintable(), line)
                self.assertTrue(line_of(event, NOON).text.isprintable())
        self.assertIn(r'"detail":"a\u001bb"', line_of(failed(detail=visible("a\x1bb")), NOON, json=True).text)
        self.assertIn(r": a\x1bb", line_of(failed(detail=visible("a\x1bb")), NOON).text)

    def test_nasty(self) -> None:
        """Newlines, quotes, escapes, braces and half a surrogate pair are text in one line of JSON, and come out."""
        text = NASTY.replace("\ud800", "\\ud800")
        read = told(failed(server_name=NASTY, detail=NASTY, offer=Offer(alpn=(NASTY, "h2"))))
        self.assertEqual((read["server_name"], read["detail"], read["offered_alpn"]), (text, text, [text, "h2"]))
        self.assertEqual(told(attrs.evolve(failed(), address=NASTY))["address"], text)
        name = NASTY.replace("\ud800", "")
        self.assertEqual(told(closed(peer=Peer(None, identity=identity(name))))["identity"]["cn"], [name])

    test_nasty.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_long(self) -> None:
        """A line has an end, whatever a stranger sends."""
        event = failed(server_name="\x00" * 9999, detail="x" * 9999, offer=Offer(alpn=("\x00" * 255,) * 12))
        self.assertLess(len(line_of(event, NOON, json=True).text), 32768)
