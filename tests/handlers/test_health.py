"""Whether backends are well."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.handlers.backends import NotWell
from mytls.handlers.health import EVERY, Checks, answered, look_for
from mytls.handlers.places import Preamble, nothing, places
from mytls.handlers.preamble import of_look
from tests.memory import SocketInMemory


class ChecksTests(SynchronousTestCase):
    """When somebody is looked at."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[tuple[int, Deferred[None]]] = []
        self.found: list[tuple[int, str]] = []
        self.checks = Checks(self.clock, 2, self.look, lambda at, why: self.found.append((at, why)))

    def look(self, at: int) -> Deferred[None]:
        """A look that takes its time."""
        made: Deferred[None] = Deferred()
        self.looks.append((at, made))
        return made

    def test_again_and_again(self) -> None:
        """Each is looked at when the service begins, and some seconds after each look; never twice at once."""
        self.checks.start()
        self.assertEqual([at for at, _ in self.looks], [0, 1])
        self.looks[0][1].callback(None)
        self.clock.advance(EVERY)
        self.assertEqual([at for at, _ in self.looks], [0, 1, 0])
        self.looks[1][1].errback(NotWell("it answered 503"))
        self.clock.advance(EVERY - 1)
        self.assertEqual(len(self.looks), 3)
        self.clock.advance(1)
        self.assertEqual([at for at, _ in self.looks], [0, 1, 0, 1])
        self.assertEqual(self.found, [(0, ""), (1, "it answered 503")])

    def test_stop(self) -> None:
        """When it is stopped, looks under way are given up and find nothing; it can be started again."""
        self.checks.start()
        self.looks[0][1].callback(None)
        self.checks.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.found), ([], [(0, "")]))
        self.checks.start()
        self.assertEqual(len(self.looks), 4)


class LookTests(SynchronousTestCase):
    """What is looked for."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.places = places(self.reactor, r"tcp:10.0.0.1:80,tcp:\:\:1:80")

    def look(self, said: str, preamble: Preamble = nothing) -> Any:
        return look_for(self.reactor, said, self.places, 10, preamble)

    def dialled(self, at: int = -1) -> SocketInMemory:
        """What was dialled accepts."""
        protocol: Any = self.reactor.tcpClients[at][2].buildProtocol(None)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        return socket

    def test_off(self) -> None:
        """Nobody is looked at where nobody wants it."""
        self.assertIsNone(self.look("off"))

    def test_wrong(self) -> None:
        """What is no check is told when it is read."""
        for said in (
            "on",
            "https://a/",
            "http://",
            "http:///health",
            "http://a:x/",
            "http://[/",
            "http://a/ b",
            "http://ä/",
        ):
            with self.assertRaises(ConfigurationError) as raised:
                self.look(said)
            self.assertIn(
                "is no health check; expected off, tcp or an address such as http://*/health", str(raised.exception)
            )
        self.places = places(self.reactor, "unix:/run/app.sock")
        with self.assertRaises(ConfigurationError) as raised:
            self.look("http://*/health")
        self.assertEqual(
            str(raised.exception),
            "backend-health=http://*/health: unix:/run/app.sock has no host that could stand for the *",
        )

    def test_tcp(self) -> None:
        """Who accepts is well, and nothing is said to it; who refuses or is silent is not."""
        look = self.look("tcp")
        well = look(0)
        socket = self.dialled()
        self.assertIsNone(self.successResultOf(well))
        self.assertEqual((socket.writes, type(socket.lost).__name__), ([], "ConnectionDone"))
        refused = look(0)
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(ConnectionRefusedError()))
        self.assertEqual(str(self.failureResultOf(refused, NotWell).value), "Connection was refused by other side")
        silent = look(0)
        self.reactor.advance(10)
        self.assertEqual(str(self.failureResultOf(silent, NotWell).value), "it was not ready within 10 s")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_headers(self) -> None:
        """
        A backend that wants a PROXY header first has one, which says that the connection is our own: in a dial, and in
        a question that goes to the same port.
        """
        local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
        well = self.look("tcp", of_look("v2-tls"))(0)
        self.assertEqual(bytes(self.dialled().wire), local)
        self.assertIsNone(self.successResultOf(well))
        for address, first in {"http://*/": local, "http://*:81/": b"", "http://10.0.0.9/": b""}.items():
            self.look(address, of_look("v2"))(0).addErrback(lambda _: None)
            self.assertTrue(bytes(self.dialled().wire).startswith(first + b"GET / HTTP/1.1\r\n"), address)
        self.look("tcp", of_look("v1"))(0)
        self.assertRegex(bytes(self.dialled().wire), rb"\APROXY TCP4 \S+ \S+ \d+ \d+\r\n\Z")

    def test_hosts(self) -> None:
        """The `*` of an address is each backend's own host."""
        asked = []
        for said in ("http://*:8081/*", "http://10.0.0.9:8082/"):
            look = self.look(said)
            for at in range(2):
                found = look(at)
                asked.append(bytes(self.dialled().wire).split(b"\r\n")[0:3:2])
                found.addErrback(lambda _: None)
        self.assertEqual(
            asked,
            [
                [b"GET /* HTTP/1.1", b"Host: 10.0.0.1:8081"],
                [b"GET /* HTTP/1.1", b"Host: [::1]:8081"],
                [b"GET / HTTP/1.1", b"Host: 10.0.0.9:8082"],
                [b"GET / HTTP/1.1", b"Host: 10.0.0.9:8082"],
            ],
        )

    def test_http(self) -> None:
        """An address that answers 200 is well; one that answers anything else, or nothing, is not."""
        for answer, why in ((b"200 OK", None), (b"204 No Content", "204"), (b"503 Unavailable", "503")):
            found = answered(self.reactor, "http://10.0.0.1:8080/health", 10)
            socket = self.dialled()
            self.assertTrue(bytes(socket.wire).startswith(b"GET /health HTTP/1.1\r\n"))
            socket.protocol.dataReceived(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 1000000\r\n\r\nmuch")
            if why is None:
                self.assertIsNone(self.successResultOf(found))
            else:
                said = f"it answered {why}, and not 200"
                self.assertEqual(str(self.failureResultOf(found, NotWell).value), said)
            self.assertIsNotNone(socket.lost)
        found = answered(self.reactor, "http://10.0.0.1:8080/health", 10)
        self.dialled()
        self.reactor.advance(10)
        self.assertEqual(str(self.failureResultOf(found, NotWell).value), "no answer within 10 s")
