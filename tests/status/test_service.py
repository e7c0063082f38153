"""The status service beside what it tells of."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.status.crowd import CrowdedEndpoint
from mytls.status.place import StatusPlace
from mytls.status.service import StatusService
from tests.lines import log_lines
from tests.status.looked_at import Told


class Port:
    """Listens, in words."""

    def __init__(self, address: object) -> None:
        self.address = address
        self.listens = True
        self.trouble: Exception | None = None

    def getHost(self) -> object:
        return self.address

    def stopListening(self) -> Deferred[None]:
        self.listens = False
        return succeed(None) if self.trouble is None else fail(self.trouble)


class Endpoint:
    """Listens as it is told to."""

    def __init__(self, result: Port | Exception | Deferred[IListeningPort]) -> None:
        self.result = result

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        if isinstance(self.result, Exception):
            return fail(self.result)
        if isinstance(self.result, Deferred):
            return self.result
        return succeed(self.result)  # type: ignore[arg-type]  # all that is asked of one


class ServiceTests(SynchronousTestCase):
    """From the start to the end."""

    def made(self, result: Port | Exception | Deferred[IListeningPort], scheme: str = "http") -> StatusService:
        self.clock, self.overview = Clock(), Told()
        below = CrowdedEndpoint(self.clock, Endpoint(result), 3)  # type: ignore[arg-type]  # as above
        return StatusService(self.clock, StatusPlace("--status tcp:9443", below, below, scheme), self.overview)

    def test_from_start_to_end(self) -> None:
        """It takes samples while it listens, and leaves nothing behind."""
        port = Port(IPv4Address("TCP", "127.0.0.1", 9443))
        service = self.made(port)
        service.listen()
        self.assertEqual((self.overview.asked, len(self.clock.getDelayedCalls())), (["start"], 1))
        self.successResultOf(service.stop())
        self.assertEqual((self.overview.asked, self.clock.getDelayedCalls()), (["start", "stop"], []))
        self.assertFalse(port.listens)
        self.successResultOf(service.stop())
        self.assertEqual(self.overview.asked, ["start", "stop"])

    def test_a_socket_that_cannot_be_removed(self) -> None:
        """That holds up nothing: the log says so, and the next start takes it over."""
        lines = log_lines(self)
        port = Port(UNIXAddress("/run/status.sock"))
        port.trouble = PermissionError(13, "Permission denied")
        service = self.made(port)
        service.listen()
        self.successResultOf(service.stop())
        self.assertIn("--status tcp:9443: the socket stays behind: Permission denied", lines)

    def test_address(self) -> None:
        """The log says what to open."""
        lines = log_lines(self)
        for address, scheme, said in (
            (IPv4Address("TCP", "127.0.0.1", 9443), "http", "status service at http://127.0.0.1:9443/"),
            (UNIXAddress("/run/status.sock"), "https", "status service at /run/status.sock (https)"),
        ):
            self.made(Port(address), scheme).listen()
            self.assertIn(said, lines)

    def test_in_use(self) -> None:
        """One line names the place and says so, and no sample is taken."""
        busy = OSError(98, "Address already in use")
        for error, said in (
            (CannotListenError("127.0.0.1", 9443, busy), "cannot listen: address already in use"),
            (
                CannotListenError(None, "/run/x", "Cannot acquire lock"),
                "cannot listen: the socket is in use by another process",
            ),
            (ConfigurationError("nothing there"), "cannot listen: nothing there"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.made(error).listen()
            self.assertEqual(str(caught.exception), f"--status tcp:9443: {said}")
            self.assertEqual((self.overview.asked, self.clock.getDelayedCalls()), ([], []))

    def test_an_endpoint_that_takes_its_time(self) -> None:
        """Where it fails later, the log says so; where it listens too late, it is stopped."""
        lines = log_lines(self)
        slow: Deferred[IListeningPort] = Deferred()
        service = self.made(slow)
        service.listen()
        slow.errback(CannotListenError("127.0.0.1", 9443, OSError(98, "Address already in use")))
        self.assertIn("--status tcp:9443: cannot listen: address already in use", lines)
        self.successResultOf(service.stop())
        slow, late = Deferred(), Port(IPv4Address("TCP", "127.0.0.1", 9443))
        service = self.made(slow)
        service.listen()
        self.successResultOf(service.stop())
        slow.callback(late)  # type: ignore[arg-type]  # all that is asked of one
        self.assertFalse(late.listens)
