"""Who is told what."""

from __future__ import annotations

import attrs
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.events import Accepted, Closed, Event, HandshakeFailed, Observers, Refused
from mytls.peer import Peer

ACCEPTED = Accepted(connection=1, listener="127.0.0.1:8443", address="192.0.2.1:50000")


class EventTests(SynchronousTestCase):
    """The values."""

    def test_frozen(self) -> None:
        """Nobody who is told can change what the next one is told."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            ACCEPTED.address = "elsewhere"  # type: ignore[misc]  # that is the point

    def test_all_of_it(self) -> None:
        """An event cannot be made without saying which connection, where and whence."""
        with self.assertRaises(TypeError):
            Refused(connection=1, listener="", cause=Cause.LIMIT)  # type: ignore[call-arg]  # likewise

    def test_equal_by_value(self) -> None:
        """Two that tell the same are the same."""
        peer = Peer(IPv4Address("TCP", "192.0.2.1", 50000))
        first, second = (
            Closed(
                connection=2,
                listener="l",
                address="a",
                peer=peer,
                cause=None,
                detail="",
                bytes_in=1,
                bytes_out=2,
                seconds=3.0,
            )
            for _ in range(2)
        )
        self.assertEqual(first, second)
        self.assertNotEqual(first, attrs.evolve(first, cause=Cause.EOF))

    def test_nobody_verified(self) -> None:
        """A peer that has shown nothing has nothing: no name, no certificate."""
        peer = Peer(None)
        self.assertEqual(
            (peer.server_name, peer.alpn, peer.version, peer.certificate, peer.chain), (None, None, None, None, ())
        )


class ObserverTests(SynchronousTestCase):
    """Telling."""

    def test_each_in_turn(self) -> None:
        """Everyone is told everything, in the order in which they were given."""
        told: list[tuple[str, Event]] = []
        observers = Observers([lambda event: told.append(("a", event)), lambda event: told.append(("b", event))])
        observers.tell(ACCEPTED)
        self.assertEqual(told, [("a", ACCEPTED), ("b", ACCEPTED)])

    def test_nobody(self) -> None:
        """There may be nobody to tell."""
        Observers().tell(ACCEPTED)

    def test_one_that_raises(self) -> None:
        """What an observer raises is logged, and keeps the event from nobody."""
        told: list[Event] = []

        def wrong(event: Event) -> None:
            raise ZeroDivisionError("an observer's")

        Observers([wrong, told.append]).tell(ACCEPTED)
        self.assertEqual(told, [ACCEPTED])
        self.assertEqual([str(each.value) for each in self.flushLoggedErrors(ZeroDivisionError)], ["an observer's"])

    def test_failed_handshake_may_have_no_name(self) -> None:
        """A stranger's name is text, or None."""
        event = HandshakeFailed(
            connection=3, listener="l", address="a", cause=Cause.EOF, detail="d", server_name=None, seconds=0.5
        )
        self.assertIsNone(event.server_name)
