"""A service that is looked at, from its start to its end."""

from __future__ import annotations

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls import ConfigurationError, service
from mytls.running import CannotStart, NothingBeside
from mytls.status.service import StatusService

HERE = "tcp:{}:interface=127.0.0.1"


class Reactor(MemoryReactorClock):
    """
    Has ports, in memory.

    @ivar events: what has happened to them, in order
    @ivar busy: those that somebody else has
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.busy: set[int] = set()

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> object:
        if port in self.busy:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        listening = super().listenTCP(port, factory, backlog, interface)
        self.events.append(f"{port} listens")
        listening.stopListening = lambda: self.events.append(f"{port} stops")
        return listening


class BesideTests(SynchronousTestCase):
    """The status service beside it."""

    def test_first_and_last(self) -> None:
        """It listens before the service does, and until the last connection of that has ended."""
        reactor = Reactor()
        made = service(HERE.format(8443), reactor=reactor, status=HERE.format(9443))
        made.startService()
        self.assertEqual(reactor.events, ["9443 listens", "8443 listens"])
        self.successResultOf(made.stopService())
        self.assertEqual(reactor.events[2:], ["8443 stops", "9443 stops"])

    def test_off(self) -> None:
        """Unless it is asked for, there is none."""
        self.assertIsInstance(service(HERE.format(8443), reactor=Reactor()).beside, NothingBeside)

    def test_strangers(self) -> None:
        """In a program too it has to be said that strangers are let in."""
        with self.assertRaises(ConfigurationError) as caught:
            service(HERE.format(8443), reactor=Reactor(), status="tcp:9443")
        self.assertTrue(str(caught.exception).startswith("status=tcp:9443: strangers may reach it there"))
        self.assertTrue(str(caught.exception).endswith("unsafe_status=True lets it"))
        let = service(HERE.format(8443), reactor=Reactor(), status="tcp:9443", unsafe_status=True)
        self.assertIsInstance(let.beside, StatusService)

    def test_a_busy_port(self) -> None:
        """It ends the start before the service listens."""
        reactor = Reactor()
        reactor.busy = {9443}
        made = service(HERE.format(8443), reactor=reactor, status=HERE.format(9443))
        with self.assertRaises(CannotStart) as caught:
            made.startService()
        said = "mytls: status=tcp:9443:interface=127.0.0.1: cannot listen: address already in use"
        self.assertEqual((str(caught.exception), reactor.events), (said, []))

    def test_a_listener_that_cannot_listen(self) -> None:
        """Nothing is left of the status service either."""
        reactor = Reactor()
        reactor.busy = {8443}
        made = service(HERE.format(8443), reactor=reactor, status=HERE.format(9443))
        with self.assertRaises(CannotStart):
            made.startService()
        self.assertEqual(reactor.events, ["9443 listens", "9443 stops"])
