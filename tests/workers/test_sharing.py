"""Reactors that share listening sockets, without clients."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.sharing import Binding, Inheriting, adopted_name, tcp_name


class Port:
    """A port of a reactor in memory."""

    def __init__(self, factory: Any, number: int) -> None:
        self.factory = factory
        self.number = number
        self.paused = self.disconnecting = False
        factory.doStart()

    def pauseProducing(self) -> None:
        self.paused = True

    def fileno(self) -> int:
        return self.number

    def stopListening(self) -> None:
        self.disconnecting = True

    def stopped(self) -> None:
        self.factory.doStop()


class Reactor(Clock):
    """Makes ports, and opens nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.adopted: list[tuple[int, int]] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        self.ports.append(Port(factory, 100 + len(self.ports)))
        return self.ports[-1]

    def listenUNIX(self, address: Any, factory: Any, backlog: int, mode: int, wantPID: bool) -> Port:
        return self.listenTCP(0, factory)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        self.adopted.append((os.fstat(descriptor).st_ino, family))
        return Port(factory, descriptor)


class BindingTests(SynchronousTestCase):
    """What the parent binds."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.binding = Binding(self.reactor)

    def test_accepts_nobody(self) -> None:
        """A port is bound and paused; the factory that was to have its clients is not started."""
        factory = Factory()
        self.successResultOf(TCP4ServerEndpoint(self.binding, 443).listen(factory))
        (port,) = self.reactor.ports
        self.assertEqual((port.paused, factory.numPorts), (True, 0))
        self.assertIsNone(port.factory.buildProtocol(None))

    def test_what_is_bound_now(self) -> None:
        """What has stopped is passed on no more."""
        for number in (443, 444):
            self.successResultOf(TCP4ServerEndpoint(self.binding, number).listen(Factory()))
        self.assertEqual(self.binding.descriptors, {tcp_name("", 443): 100, tcp_name("", 444): 101})
        (first, _) = self.reactor.ports
        first.stopListening()
        self.assertEqual(self.binding.descriptors, {tcp_name("", 444): 101})
        first.stopped()
        self.assertEqual(list(self.binding.ports), [tcp_name("", 444)])

    def test_any_port_twice(self) -> None:
        """Port 0 is another port each time."""
        for _ in range(2):
            self.successResultOf(serverFromString(self.binding, "tcp:0").listen(Factory()))
        self.assertEqual(sorted(self.binding.descriptors.values()), [100, 101])

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
        binding, named, inodes = Binding(Reactor()), {}, []
        for string in words:
            self.successResultOf(serverFromString(binding, string).listen(Factory()))
            descriptor, inode = self.socket()
            named[list(binding.descriptors)[-1]] = descriptor
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
