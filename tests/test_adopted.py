"""Listening sockets that somebody else has made; real ones, and a reactor that does nothing by itself."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet import unix
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls.adopted import AdoptedEndpoint, shared
from mytls.errors import ConfigurationError
from mytls.sockets import UNIXServer, write_at_once
from tests.files import folder
from tests.memory import Recorder
from tests.test_sockets import IdleReactor


class Case(SynchronousTestCase):
    """A folder for the path of a socket."""

    def setUp(self) -> None:
        self.path = Path(os.path.relpath(folder(self) / "s.sock"))  # a long path is none of a socket's
        self.reactor = IdleReactor()

    def listening(self, mode: int = 0o600) -> socket.socket:
        """What the maker of the socket has."""
        made = socket.socket(socket.AF_UNIX)
        self.addCleanup(made.close)
        made.bind(os.fspath(self.path))
        self.path.chmod(mode)
        made.listen(5)
        return made

    def port(self, made: socket.socket, factory: Any = None) -> Any:
        """It is adopted."""
        endpoint = AdoptedEndpoint(self.reactor, made.fileno(), socket.AF_UNIX)
        port: Any = self.successResultOf(endpoint.listen(factory or Factory()))
        self.addCleanup(port.socket.close)
        return port

    def connect(self) -> socket.socket:
        """A client comes to the path."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(os.fspath(self.path))
        return client

    def stop(self, port: Any) -> None:
        """It listens no more."""
        stopped = port.stopListening()
        self.reactor.advance(0)
        self.successResultOf(stopped)


class UNIXTests(Case):
    """A socket with a path."""

    def test_path_stays(self) -> None:
        """When we stop, the path is there, and the next who has the socket is reached by it."""
        made = self.listening()
        self.stop(self.port(made))
        self.assertTrue(stat.S_ISSOCK(self.path.stat().st_mode))
        self.connect().sendall(b"for whoever comes next")
        accepted, _ = made.accept()
        self.addCleanup(accepted.close)
        self.assertEqual(accepted.recv(100), b"for whoever comes next")

    def test_mode_stays(self) -> None:
        """Who may connect is what the maker of the socket has said."""
        self.port(self.listening(0o640))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_twisteds_own_deletes(self) -> None:
        """A path of ours is deleted when we stop, so that the next start can have it."""
        port = unix.Port(os.fsencode(self.path), Factory(), reactor=self.reactor)
        port.startListening()
        self.stop(port)
        self.assertFalse(self.path.exists())

    def test_clients_are_served(self) -> None:
        """Who comes there meets the handler, on a transport that writes at once; the path is in the log."""
        factory = Factory.forProtocol(Recorder)
        port = self.port(self.listening(), factory)
        write_at_once(port)
        self.assertEqual(port.transport, UNIXServer)
        self.assertEqual(port.getHost().name, os.fsencode(self.path))
        client = self.connect()
        port.doRead()
        (transport,) = self.reactor.readers - {port}
        self.addCleanup(transport.socket.close)
        client.sendall(b"hello")
        transport.doRead()
        self.assertEqual(transport.protocol.data, b"hello")

    def test_again(self) -> None:
        """A listener that a reload has taken away can come back."""
        made = self.listening()
        self.stop(self.port(made))
        again = self.port(made, Factory.forProtocol(Recorder))
        self.connect()
        again.doRead()
        self.assertEqual(len(self.reactor.readers), 2)
        for each in self.reactor.readers:
            self.addCleanup(each.socket.close)

    def test_no_program_inherits_it(self) -> None:
        """A program that a handler runs cannot accept in our place."""
        made = self.listening()
        os.set_inheritable(made.fileno(), True)
        port = self.port(made)
        self.assertEqual([os.get_inheritable(each.fileno()) for each in (made, port)], [False, False])


class WrongSocketTests(Case):
    """A socket that is not what it was said to be is told of, and nothing is served."""

    def refused(self, descriptor: int, family: int) -> str:
        """What is said of it."""
        failed = self.failureResultOf(AdoptedEndpoint(self.reactor, descriptor, family).listen(Factory()))
        failed.trap(ConfigurationError)
        self.assertEqual(self.reactor.readers, set())
        return str(failed.getErrorMessage())

    def test_other_domain(self) -> None:
        """It is of another domain."""
        self.assertEqual(
            self.refused(self.listening().fileno(), socket.AF_INET),
            "domain=INET: the socket that was passed is one of domain=UNIX",
        )

    def test_does_not_listen(self) -> None:
        """It is a connection, as with C{Accept=yes}, or has no connections at all."""
        ours, theirs = socket.socketpair()
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (ours, theirs, datagrams):
            self.addCleanup(each.close)
        for each in (ours, datagrams):
            self.assertIn("expected a stream socket that listens", self.refused(each.fileno(), socket.AF_UNIX))

    def test_not_there(self) -> None:
        """Nothing was passed by that number."""
        descriptor = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        self.assertIn("expected a listening socket", self.refused(descriptor, socket.AF_UNIX))
        self.assertIn("Bad file descriptor", self.refused(2**20, socket.AF_UNIX))


class SharedTests(SynchronousTestCase):
    """Which endpoints are meant."""

    def test_adopting(self) -> None:
        """Twisted's own that adopts a socket; any other stays."""
        reactor = MemoryReactorClock()
        tcp = TCP4ServerEndpoint(reactor, 0)
        self.assertIs(shared(tcp), tcp)
        self.assertIsInstance(shared(AdoptedStreamServerEndpoint(reactor, 3, socket.AF_INET)), AdoptedEndpoint)
