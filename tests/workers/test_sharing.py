"""Reactors that share listening sockets, without clients."""

from __future__ import annotations

import gc
import os
import socket
import stat
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.sharing import Binding, Inheriting, adopted_name, tcp_name
from tests.files import folder


class Reactor(Clock):
    """
    Waits for nobody.

    @ivar reading: the ports that it would look at
    @ivar adopted: the sockets that it was given, and their families
    """

    def __init__(self) -> None:
        super().__init__()
        self.reading: set[Any] = set()
        self.adopted: list[tuple[int, int]] = []

    def addReader(self, reader: Any) -> None:
        self.reading.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.reading.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """There is none."""

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        self.adopted.append((os.fstat(descriptor).st_ino, family))


class BindingTests(SynchronousTestCase):
    """What the parent binds."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.binding = Binding(self.reactor)

    def listening(self, string: str = "tcp:0:interface=127.0.0.1") -> Any:
        """A port of an endpoint string's, which is closed at the end."""
        port = self.successResultOf(serverFromString(self.binding, string).listen(Factory()))
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(port.stopListening)
        return port

    def test_accepts_nobody(self) -> None:
        """A port is bound, and nobody looks at it; the factory that was to have its clients is not started."""
        factory = Factory()
        port = self.successResultOf(TCP4ServerEndpoint(self.binding, 0, interface="127.0.0.1").listen(factory))
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(port.stopListening)
        self.assertEqual((self.reactor.reading, factory.numPorts), (set(), 0))
        with socket.create_connection(("127.0.0.1", port.getHost().port)):
            self.assertEqual(list(self.binding.descriptors.values()), [port.fileno()])

    def test_who_is_in_the_way(self) -> None:
        """A port that is another's cannot be had, and what is bound stays as it is."""
        number = self.listening().getHost().port
        endpoint = TCP4ServerEndpoint(self.binding, number, interface="127.0.0.1")
        self.failureResultOf(endpoint.listen(Factory()), CannotListenError)
        self.assertEqual(len(self.binding.ports), 1)
        gc.collect()  # to which some versions of Twisted leave the socket of a port that is busy
        self.flushWarnings()

    def test_what_is_bound_now(self) -> None:
        """What ends is passed on no more, from then on; others who have the socket go on to accept there."""
        first, second = self.listening(), self.listening()
        with socket.socket(fileno=os.dup(first.fileno())) as worker:
            first.stopListening()
            self.assertEqual(list(self.binding.descriptors.values()), [second.fileno()])
            self.reactor.advance(0)
            self.assertEqual(list(self.binding.ports.values()), [second])
            with socket.create_connection(worker.getsockname()[:2]):
                worker.settimeout(10)
                worker.accept()[0].close()

    def test_a_unix_socket(self) -> None:
        """Its file has the mode that was asked for, and goes with it; others who have the socket go on."""
        path = folder(self) / "socket"
        port = self.listening(f"unix:{path}:mode=600")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        with socket.socket(fileno=os.dup(port.fileno())) as worker, socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
            port.stopListening()
            self.reactor.advance(0)
            self.assertFalse(path.exists())
            worker.settimeout(10)
            worker.accept()[0].close()

    def test_any_port_twice(self) -> None:
        """Port 0 is another port each time."""
        self.assertNotEqual(self.listening().getHost(), self.listening().getHost())
        self.assertEqual(len(self.binding.descriptors), 2)

    def test_all_else_is_the_reactor_s(self) -> None:
        """Who asks for the time gets that of the reactor."""
        self.reactor.advance(3)
        self.assertEqual((self.binding.seconds(), self.binding.ports), (3, {}))


class InheritingTests(SynchronousTestCase):
    """What a worker takes."""

    def setUp(self) -> None:
        self.reactor = Reactor()

    def socket(self) -> tuple[int, int]:
        """A descriptor of a listening socket, and what it is."""
        made = socket.create_server(("127.0.0.1", 0))
        inode = os.fstat(made.fileno()).st_ino
        return made.detach(), inode

    def is_open(self, descriptor: int) -> bool:
        """Whether it is."""
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    def test_the_same_words_find_the_same_socket(self) -> None:
        """An endpoint of the same string listens with the parent's socket, in its family; our copy is closed."""
        words = {"tcp:443": socket.AF_INET, r"tcp:443:interface=\:\:": socket.AF_INET6}
        named, inodes = {}, []
        for name in (tcp_name("", 443), tcp_name("::", 443)):
            named[name], inode = self.socket()
            inodes.append(inode)
        inheriting = Inheriting(self.reactor, named)
        for string in reversed(words):
            self.successResultOf(serverFromString(inheriting, string).listen(Factory()))
        self.assertEqual(self.reactor.adopted, list(zip(inodes, words.values(), strict=True))[::-1])
        self.assertFalse([each for each in named.values() if self.is_open(each)])

    def test_no_such_socket(self) -> None:
        """What the parent has not bound cannot be had, also a second time."""
        descriptor, _ = self.socket()
        endpoint = TCP4ServerEndpoint(Inheriting(self.reactor, {tcp_name("", 443): descriptor}), 443)
        self.successResultOf(endpoint.listen(Factory()))
        self.failureResultOf(endpoint.listen(Factory()), CannotListenError)

    def test_what_nobody_listens_at(self) -> None:
        """It is closed, so that its clients go to those who do; others come in its place."""
        (one, _), (two, inode) = self.socket(), self.socket()
        inheriting = Inheriting(self.reactor, {tcp_name("", 1): one})
        inheriting.inherits({tcp_name("", 2): two})
        self.assertFalse(self.is_open(one))
        self.successResultOf(TCP4ServerEndpoint(inheriting, 2).listen(Factory()))
        self.assertEqual(self.reactor.adopted, [(inode, socket.AF_INET)])

    def test_what_systemd_has_passed(self) -> None:
        """It keeps its number, whichever it comes with later, and is not closed."""
        (place, _), (new, inode) = self.socket(), self.socket()
        inheriting = Inheriting(self.reactor, {adopted_name(place): place})
        inheriting.inherits({adopted_name(place): new})
        inheriting.forget()
        self.assertEqual((self.is_open(new), os.fstat(place).st_ino), (False, inode))
        inheriting.adoptStreamPort(place, socket.AF_INET, Factory())
        self.assertEqual(self.reactor.adopted, [(inode, socket.AF_INET)])
        os.close(place)
