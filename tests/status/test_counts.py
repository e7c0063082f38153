"""What has happened, counted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.events import (
    Accepted,
    BackendFailed,
    Closed,
    Established,
    Event,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
)
from mytls.peer import Peer
from mytls.status.counts import MOST, Counts, Histogram

WHOSE: dict[str, Any] = {"connection": 1, "listener": "127.0.0.1:1", "address": "192.0.2.1:5"}
PEER = Peer(None, version="TLSv1.3", group="X25519", resumed=False)


def closed(cause: Cause | None = None, **about: Any) -> Closed:
    """An end. @param about: what is otherwise"""
    said: dict[str, Any] = {"peer": PEER, "detail": "", "bytes_in": 3, "bytes_out": 5, "seconds": 0.7}
    return Closed(**WHOSE, cause=cause, **{**said, **about})


def counted(*events: Event) -> Counts:
    """What has been counted of these."""
    counts = Counts(lambda: 1000.0)
    for event in events:
        counts(event)
    return counts


class CountsTests(SynchronousTestCase):
    """Each event, where it belongs."""

    def test_connections(self) -> None:
        """Accepted, and then established or failed; refused; closed."""
        listener = counted(
            Accepted(**WHOSE),
            Accepted(**WHOSE),
            Refused(**WHOSE, cause=Cause.LIMIT, limit="max-connections"),
            HandshakeFailed(**WHOSE, cause=Cause.UNKNOWN_CA, detail="", server_name="a", seconds=1),
            Established(**WHOSE, peer=PEER, seconds=0.003),
            closed(),
            closed(Cause.RESET),
        ).at(WHOSE["listener"])
        self.assertEqual((listener.accepted, listener.established), (2, 1))
        self.assertEqual(dict(listener.refused), {"limit": 1})
        self.assertEqual(dict(listener.limited), {"max-connections": 1})
        self.assertEqual(dict(listener.failed), {"unknown-ca": 1})
        self.assertEqual(dict(listener.closed), {"clean": 1, "reset": 1})
        self.assertEqual((listener.bytes_in, listener.bytes_out), (6, 10))
        self.assertEqual(dict(listener.handshakes), {("TLSv1.3", "X25519", "no"): 1})
        self.assertEqual(listener.handshake_seconds.counts[:3], [0, 0, 1])
        self.assertEqual(listener.connection_seconds.total, 1.4)

    def test_silent(self) -> None:
        """Who connects, says nothing and goes is a health check or a port scan: counted, and no failure."""
        about: dict[str, Any] = {**WHOSE, "detail": "", "server_name": None, "seconds": 0.1}
        listener = counted(
            HandshakeFailed(**about, cause=Cause.EOF, silent=True),
            HandshakeFailed(**about, cause=Cause.RESET, silent=True),
            HandshakeFailed(**about, cause=Cause.EOF),
            HandshakeFailed(**about, cause=Cause.HANDSHAKE_TIMEOUT, silent=True),
        ).at(WHOSE["listener"])
        self.assertEqual(listener.silent, 2)
        self.assertEqual(dict(listener.failed), {"eof": 1, "handshake-timeout": 1})

    def test_without_tls(self) -> None:
        """A connection without TLS of ours is established, and there was no handshake."""
        listener = counted(Established(**WHOSE, peer=Peer(None), seconds=0.1)).at(WHOSE["listener"])
        self.assertEqual((listener.established, listener.handshakes.total()), (1, 0))
        self.assertEqual(listener.handshake_seconds.total, 0)

    def test_failures_behind(self) -> None:
        """Of handlers, and of backends by the handler's string and their own."""
        counts = counted(
            HandlerFailed(**WHOSE, peer=PEER, detail="KeyError"),
            BackendFailed(**WHOSE, handler="proxy:tcp:a:1", backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail=""),
        )
        listener = counts.at(WHOSE["listener"])
        self.assertEqual((listener.handler_errors, dict(listener.backend_failures)), (1, {"backend-refused": 1}))
        self.assertEqual(dict(counts.backends), {("proxy:tcp:a:1", "tcp:a:1"): 1})

    def test_of_the_service(self) -> None:
        """The last reload, and when that was."""
        reloaded = Reloaded(changes=("a",))
        self.assertEqual(counted(Reloaded(changes=()), reloaded).last_reload, (1000.0, reloaded))

    def test_others(self) -> None:
        """An event that nobody counts is nothing."""

        class OfAPlugin(Event):
            pass

        self.assertEqual(counted(OfAPlugin()).listeners, {})

    def test_sum(self) -> None:
        """By cause, at all listeners."""
        elsewhere = {**WHOSE, "listener": "127.0.0.1:2"}
        found = counted(Refused(**WHOSE, cause=Cause.RATE), Refused(**elsewhere, cause=Cause.RATE)).sum("refused")
        self.assertEqual(dict(found), {"rate": 2})


class BoundedTests(SynchronousTestCase):
    """Whatever comes, there are so many labels."""

    def test_causes(self) -> None:
        """A cause that is on no list is one of the others."""
        for cause in ("made-up", "made-up-too"):
            odd: Any = cause
            counts = counted(Refused(**WHOSE, cause=odd))
            self.assertEqual(dict(counts.at(WHOSE["listener"]).refused), {"other": 1})

    def test_kinds_of_handshakes(self) -> None:
        """Versions and groups beyond the bound are others, and nothing that was told apart is lost."""
        peers = [Peer(None, version="TLSv1.3", group=f"g{at}", resumed=None) for at in range(2 * MOST)]
        listener = counted(*(Established(**WHOSE, peer=peer, seconds=0) for peer in peers)).at(WHOSE["listener"])
        self.assertEqual(len(listener.handshakes), MOST + 1)
        self.assertEqual(listener.handshakes.total(), 2 * MOST)
        self.assertEqual(listener.handshakes["other", "other", "other"], MOST)

    def test_many_of_ours(self) -> None:
        """What is configured is told apart, however much of it there is: each listener has numbers of its own."""
        about = {**WHOSE, "cause": Cause.BACKEND_REFUSED, "detail": "", "handler": "proxy:x"}
        places = [f"127.0.0.1:{port}" for port in range(1, 3 * MOST)]
        counts = counted(*(Accepted(**{**WHOSE, "listener": place}) for place in places))
        for place in places:
            counts(BackendFailed(**{**about, "listener": place, "backend": f"tcp:{place}"}))
        self.assertEqual({counts.at(place).accepted for place in places}, {1})
        self.assertEqual({counts.backends["proxy:x", f"tcp:{place}"] for place in places}, {1})

    def test_names_of_strangers(self) -> None:
        """Names that clients ask for, and their addresses, are kept nowhere."""
        counts = counted(
            *(
                HandshakeFailed(
                    connection=at,
                    listener="a",
                    address=f"192.0.2.1:{at}",
                    cause=Cause.UNKNOWN_NAME,
                    detail=f"stranger{at}",
                    server_name=f"stranger{at}",
                    seconds=0,
                )
                for at in range(50)
            )
        )
        self.assertEqual(list(counts.listeners), ["a"])
        self.assertEqual(dict(counts.at("a").failed), {"unknown-name": 50})


class HistogramTests(SynchronousTestCase):
    """Values between bounds."""

    def test_bounds(self) -> None:
        """A bound is in its bucket, as Prometheus has it; what is above the last is counted too."""
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 2.0, 9.0):
            histogram.observe(value)
        self.assertEqual(histogram.value, [2, 2, 1, 14.0])
