"""A service that keeps what it serves as its files say."""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionAborted
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

import mytls.assemble
from mytls.assemble import service, service_from_file
from mytls.connection import ServerConnection
from mytls.endpoint import TLSServerEndpoint
from mytls.errors import Cause, ConfigurationError
from mytls.events import Event, Refused, Reloaded, ReloadFailed
from mytls.exitstatus import ExitStatus
from mytls.listener import TLSFactory, TurnedAway
from mytls.peer import Identity, serial_text
from mytls.running import CannotStart, TLSService
from tests.files import folder
from tests.lines import log_lines
from tests.memory import CLIENT_ADDRESS, Link, RecorderFactory, SocketInMemory, client_context
from tests.tls.authority import Authority, showing


class Reactor(MemoryReactorClock):
    """
    Remembers who listens where, and refuses ports that are taken.

    @ivar taken: ports that another has
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()
        self.listening: dict[int, Any] = {}

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See C{IReactorTCP}."""
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        made = super().listenTCP(port, factory, backlog, interface)
        self.listening[port] = factory
        factory.doStart()

        def stop() -> None:
            del self.listening[port]
            factory.doStop()

        made.stopListening = stop
        return made

    def callFromThread(self, callable: Any, *args: object, **kwargs: object) -> None:
        """At once."""
        callable(*args, **kwargs)


class RunningTests(SynchronousTestCase):
    """A folder, a reactor, and no threads."""

    def setUp(self) -> None:
        self.patch(mytls.assemble, "in_a_thread", lambda reactor: maybeDeferred)
        self.folder = folder(self)
        self.reactor: Any = Reactor()
        self.ca = trustme.CA()
        self.events: list[Event] = []
        self.issue("a")
        self.issue("b")

    def path(self, name: str) -> Path:
        """A file's path."""
        return self.folder / name

    def issue(self, name: str) -> int:
        """Write a new certificate for name.example, with key and root in one file. @return: the serial number"""
        issued = self.ca.issue_cert(f"{name}.example", key_type=trustme.KeyType.ECDSA)
        path = self.path(f"{name}.pem")
        path.write_bytes(issued.private_key_and_cert_chain_pem.bytes() + self.ca.cert_pem.bytes())
        path.chmod(0o600)
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    def write(self, *listeners: str, more: str = "") -> str:
        """Write the file: tables of listeners. @return: its path"""
        path = self.path("mytls.toml")
        path.write_text("".join(f"[[listener]]\n{each}\n" for each in listeners) + more)
        return str(path)

    def started(self, made: TLSService) -> TLSService:
        """It runs until the end of the test."""
        made.privilegedStartService()
        made.startService()
        self.addCleanup(made.stopService)
        return made

    def of_file(self, *listeners: str, more: str = "") -> TLSService:
        """The service of a file, running."""
        path = self.write(*listeners, more=more)
        return self.started(service_from_file(path, reactor=self.reactor, observers=[self.events.append]))

    def serial(self, port: int, name: bytes = b"a.example") -> int:
        """The serial number that a client is shown."""
        link = self.link(port, name)
        certificate: Any = link.client.get_peer_certificate(as_cryptography=True)
        return int(certificate.serial_number)

    def link(self, port: int, name: bytes = b"a.example") -> Link:
        """A client that has gone through its handshake."""
        factory = self.reactor.listening[port]
        assert isinstance(factory, TLSFactory)
        link = Link(factory=factory, server_name=name)
        link.handshake()
        return link

    def says(self, link: Link, text: bytes) -> bytes:
        """What is answered."""
        link.client.send(text)
        link.pump()
        return bytes(link.received)


A = 'endpoint = "mytls:1"\nhandler = "echo"\ncertificate = "a.pem"'
B = 'endpoint = "mytls:2"\nhandler = "echo"\ncertificate = "b.pem"'


class CertificateTests(RunningTests):
    """New certificates."""

    def test_timer(self) -> None:
        """Within the interval the new one is served; what was there goes on; the log says what has changed."""
        made = self.of_file(A)
        old = self.serial(1)
        link = self.link(1)
        new = self.issue("a")
        self.reactor.advance(9)
        self.assertEqual(self.serial(1), old)
        self.reactor.advance(1)
        self.assertEqual(self.serial(1), new)
        self.assertEqual(self.says(link, b"still here"), b"still here")
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertRegex(event.changes[0], f"serial {serial_text(old)} -> serial {serial_text(new)} until ")
        self.assertTrue(made.running)

    def test_of_a_string(self) -> None:
        """The files of an endpoint string are looked at as well."""
        self.started(service(f"mytls:1:certKey={self.path('a.pem')}", reactor=self.reactor))
        new = self.issue("a")
        self.reactor.advance(10)
        self.assertEqual(self.serial(1), new)

    def test_asked(self) -> None:
        """Whoever calls reload() need not wait."""
        made = self.started(service(f"mytls:1:certKey={self.path('a.pem')}", reactor=self.reactor, reload_interval=0))
        new = self.issue("a")
        self.assertTrue(self.successResultOf(made.reload()))
        self.assertEqual(self.serial(1), new)

    def test_broken(self) -> None:
        """What is broken changes nothing, of no host, until it is right."""
        made = self.of_file(A, B)
        a, b = self.serial(1), self.serial(2, b"b.example")
        self.issue("a")
        whole = self.path("b.pem").read_bytes()
        self.path("b.pem").write_bytes(whole[:300])
        self.assertFalse(self.successResultOf(made.reload()))
        self.reactor.pump([10.0] * 3)
        self.assertEqual((self.serial(1), self.serial(2, b"b.example")), (a, b))
        (event,) = [each for each in self.events if isinstance(each, ReloadFailed)]
        self.assertRegex(event.lines[0], r"mytls\.toml:8: certificate=.*b\.pem: ")
        self.path("b.pem").write_bytes(whole)
        self.reactor.advance(10)
        self.assertNotEqual(self.serial(1), a)

    def test_missing_for_a_while(self) -> None:
        """A file that is gone and comes again is noticed, also where the configuration file is what names it."""
        self.of_file(A)
        whole = self.path("a.pem").read_bytes()
        self.path("a.pem").unlink()
        self.reactor.advance(10)
        self.assertEqual(len([each for each in self.events if isinstance(each, ReloadFailed)]), 1)
        self.path("a.pem").write_bytes(whole)
        new = self.issue("a")
        self.reactor.advance(10)
        self.assertEqual(self.serial(1), new)

    def test_stopped(self) -> None:
        """A service that has stopped looks at nothing."""
        made = self.of_file(A)
        made.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ListenerTests(RunningTests):
    """The file's listeners."""

    def test_come_and_go(self) -> None:
        """A new one listens, one that is gone finishes with its clients; the other keeps its port and connections."""
        made = self.of_file(A)
        factory, link = self.reactor.listening[1], self.link(1)
        self.write(A, B)
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [1, 2])
        self.assertEqual([each.port for each in made.addresses], [1, 2])
        gone = self.link(2, b"b.example")
        self.write(A)
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [1])
        self.assertEqual(self.says(gone, b"not yet"), b"not yet")
        self.reactor.advance(30)
        gone.pump()
        self.assertTrue(gone.peer_finished)
        self.assertIs(self.reactor.listening[1], factory)
        self.assertEqual(self.says(link, b"still here"), b"still here")
        told = [each.changes for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(told, [("0.0.0.0:2 is new",), ("0.0.0.0:2 is gone",)])

    def test_port_of_another(self) -> None:
        """A port that is not to be had: nothing of the change is served, and no new port stays open."""
        self.of_file(A)
        old = self.serial(1)
        self.issue("a")
        self.reactor.taken.add(3)
        self.write(A, B, B.replace(":2", ":3"))
        self.reactor.advance(10)
        self.assertEqual((sorted(self.reactor.listening), self.serial(1)), ([1], old))
        (event,) = [each for each in self.events if isinstance(each, ReloadFailed)]
        self.assertRegex(event.lines[0], r"cannot listen: port 3: address already in use \(.*mytls\.toml:10: endpoint=")
        self.write(A, B)
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [1, 2])

    def test_other_place(self) -> None:
        """A listener that has moved listens there, and no more where it was."""
        self.of_file(A)
        self.write(A.replace(":1", ":4"))
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [4])

    def test_hosts(self) -> None:
        """Hosts that are new in the file are served on the same port."""
        self.of_file(A)
        self.write(
            'endpoint = "mytls:1"\nhandler = "echo"\n'
            '[[listener.host]]\nnames = ["a.example"]\ncertificate = "a.pem"\n'
            '[[listener.host]]\nnames = ["b.example"]\ncertificate = "b.pem"\nhandler = "discard"'
        )
        self.reactor.advance(10)
        self.assertNotEqual(self.serial(1), self.serial(1, b"b.example"))
        self.assertEqual(self.says(self.link(1), b"x"), b"x")
        self.assertEqual(self.says(self.link(1, b"b.example"), b"x"), b"")

    def test_without_tls(self) -> None:
        """The handler of a plain listener changes too, where it stands."""
        self.of_file('endpoint = "tcp:5"\nhandler = "echo"')
        factory = self.reactor.listening[5]
        self.assertEqual(self.answer(factory), b"hello")
        self.write('endpoint = "tcp:5"\nhandler = "discard"')
        self.reactor.advance(10)
        self.assertIs(self.reactor.listening[5], factory)
        self.assertEqual(self.answer(factory), b"")
        self.assertEqual(
            [each.changes for each in self.events if isinstance(each, Reloaded)],
            [("0.0.0.0:5: handler echo -> discard",)],
        )

    def answer(self, factory: TLSFactory) -> bytes:
        """What a client without TLS hears when it says hello."""
        protocol: Any = factory.buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        protocol.dataReceived(b"hello")
        return bytes(socket.wire)

    def test_where_from_without_tls(self) -> None:
        """A plain listener takes who comes from its networks, and closes on others before a handler is made."""
        plain = 'endpoint = "tcp:5"\nhandler = "echo"\n'
        self.of_file(plain + 'from = "192.0.2.0/24"')
        factory = self.reactor.listening[5]
        there, elsewhere = IPv4Address("TCP", "192.0.2.1", 1), IPv4Address("TCP", "10.0.0.1", 1)
        self.assertIsInstance(factory.buildProtocol(there), ServerConnection)
        for address in (elsewhere, None):
            self.assertIsInstance(factory.buildProtocol(address), TurnedAway)
        refused = [(each.listener, each.address, each.cause) for each in self.events if isinstance(each, Refused)]
        self.assertEqual(
            refused,
            [("0.0.0.0:5", "10.0.0.1:1", Cause.FROM), ("0.0.0.0:5", "unknown", Cause.FROM)],
        )
        self.write(plain + 'from = "10.0.0.0/8"')
        self.reactor.advance(10)
        self.assertIsInstance(factory.buildProtocol(elsewhere), ServerConnection)
        self.assertIsInstance(factory.buildProtocol(there), TurnedAway)
        self.assertEqual(
            [each.changes for each in self.events if isinstance(each, Reloaded)], [("0.0.0.0:5: other from",)]
        )

    def test_proxies(self) -> None:
        """Other proxies in front of a listener are told."""
        listener = 'endpoint = "mytls:1"\nhandler = "echo"\ncertificate = "a.pem"\n'
        self.of_file(listener)
        self.write(listener + 'proxy-protocol = { from = "192.0.2.1" }\n')
        self.reactor.advance(10)
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(event.changes, ("0.0.0.0:1: other proxy-protocol",))

    def test_where_from(self) -> None:
        """Other networks are told as what they are: a change of the listener, or of a host."""
        host = '[[listener.host]]\nnames = ["a.example"]\ncertificate = "a.pem"\n'
        listener = 'endpoint = "mytls:1"\nhandler = "echo"\n'
        self.of_file(listener + host)
        for more, last, told in (
            ('from = "192.0.2.1"\n', "", ("0.0.0.0:1: other from",)),
            ('from = "192.0.2.1"\n', 'from = "192.0.2.1"\n', ("a.example: other from",)),
        ):
            self.events.clear()
            self.write(listener + more + host + last)
            self.reactor.advance(10)
            self.assertEqual([each.changes for each in self.events if isinstance(each, Reloaded)], [told])

    def test_folder(self) -> None:
        """What holds for a listener holds for the hosts of its folder: pins, networks, a look after a reload."""
        self.path("certificates").mkdir()
        self.path("a.pem").rename(self.path("certificates/a.pem"))
        pair = Authority("Nobody knows").client("ann")
        pin = Identity.of(pair.certificate).pin("sha256")
        said = 'endpoint = "mytls:1"\nhosts = "certificates"\nhandler = "echo"\nclient-auth = "required"\n'
        said += f'allow = ["spki=sha256:{pin}"]\n'
        close = '[reload]\non-reload = "close"\n'
        self.of_file(said + 'from = "192.0.2.0/24"', more=close)
        link = Link(
            factory=self.reactor.listening[1], server_name=b"a.example", context=showing(pair, client_context())
        )
        link.handshake()
        self.assertEqual(self.says(link, b"x"), b"x")
        self.write(said + 'from = "10.0.0.0/8"', more=close)
        self.reactor.advance(10)
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(
            event.changes,
            ("0.0.0.0:1: other from", "1 connection of a client who may not enter any more: closed"),
        )

    def test_handler_that_is_none(self) -> None:
        """A wrong handler string is refused with its line, and the old handler stays."""
        self.of_file(A)
        self.write(A.replace("echo", "ehco"))
        self.reactor.advance(10)
        (event,) = [each for each in self.events if isinstance(each, ReloadFailed)]
        self.assertRegex(
            event.lines[0], r"mytls\.toml:3: handler=ehco: there is no handler 'ehco'; did you mean 'echo'"
        )
        self.assertEqual(self.says(self.link(1), b"x"), b"x")
        self.write(A)
        self.reactor.advance(10)
        self.assertEqual(self.says(self.link(1), b"x"), b"x")

    def test_handler_that_cannot_start(self) -> None:
        """A handler that raises when it starts is told with its traceback, and the old one stays for every host."""
        made = self.of_file(A)
        module = types.ModuleType("starts_badly")
        module.Bad = type("Bad", (Factory,), {"startFactory": lambda self: 1 // 0})  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, "starts_badly": module})
        self.issue("a")
        self.write(A.replace("echo", "factory:starts_badly:Bad"), B)
        self.reactor.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.says(self.link(1), b"x"), b"x")
        self.assertEqual([each.port for each in made.addresses], [1])
        self.assertEqual(sorted(self.reactor.listening), [1])

    def test_handler_that_cannot_stop(self) -> None:
        """A handler that raises when it stops is told with its traceback; the new one is served."""
        module = types.ModuleType("stops_badly")
        module.Bad = type("Bad", (Factory,), {"stopFactory": lambda self: 1 // 0})  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, "stops_badly": module})
        self.of_file(A.replace("echo", "factory:stops_badly:Bad"))
        self.write(A, B)
        self.reactor.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.says(self.link(1), b"x"), b"x")
        self.assertEqual(sorted(self.reactor.listening), [1, 2])
        self.assertEqual([each for each in self.events if isinstance(each, ReloadFailed)], [])
        self.write(A)
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [1])

    def test_port_of_our_own(self) -> None:
        """A listener that changes what it is on the same port needs a restart, and is told so."""
        self.of_file(A)
        self.reactor.taken.add(1)
        self.write('endpoint = "tcp:1"\nhandler = "echo"')
        self.reactor.pump([10.0] * 3)
        (event,) = self.events
        assert isinstance(event, ReloadFailed)
        self.assertRegex(event.lines[0], r"in use \(.*\): this service has that port already; restart it$")

    def test_port_that_becomes_free(self) -> None:
        """A port that another has is told once, and taken as soon as it is free."""
        self.of_file(A)
        self.reactor.taken.add(2)
        self.write(A, B)
        self.reactor.pump([10.0] * 3)
        self.reactor.taken.clear()
        self.reactor.advance(10)
        self.assertEqual(sorted(self.reactor.listening), [1, 2])
        self.assertEqual([type(each) for each in self.events if not hasattr(each, "number")], [ReloadFailed, Reloaded])

    def test_stopped_while_a_port_opens(self) -> None:
        """A service that stops while a reload waits for a place to listen at is not listening there afterwards."""
        made = self.of_file(A)
        waiting: Deferred[None] = Deferred()
        original = TLSServerEndpoint.listen
        self.patch(
            TLSServerEndpoint,
            "listen",
            lambda endpoint, factory: waiting.addCallback(lambda _: original(endpoint, factory)),
        )
        self.write(A, B)
        asked = made.reload()
        made.stopService()
        waiting.callback(None)
        self.assertFalse(self.successResultOf(asked))
        self.assertEqual(sorted(self.reactor.listening), [])

    def test_told_beside_others(self) -> None:
        """At the start it is told together with what is wrong with the certificates."""
        self.path("a.pem").write_bytes(b"nothing")
        path = self.write(A.replace("echo", "ehco"), B)
        error = self.assertRaises(ConfigurationError, service_from_file, path, reactor=self.reactor)
        self.assertEqual([line.split(":")[1] for line in error.lines], ["4", "3"])

    def test_same_handler(self) -> None:
        """A handler whose string is the same is the same object: its state lives on."""
        self.of_file(A)
        before = self.reactor.listening[1].hosts.handlers
        self.issue("a")
        self.reactor.advance(10)
        self.assertEqual(self.reactor.listening[1].hosts.handlers, before)

    def test_programs_own(self) -> None:
        """A handler object and an endpoint that the program has made are left alone."""
        handler = RecorderFactory()
        made = self.started(service(f"mytls:1:certKey={self.path('a.pem')}", handler, reactor=self.reactor))
        self.issue("a")
        self.assertTrue(self.successResultOf(made.reload()))
        self.link(1)
        self.assertEqual(len(handler.made), 1)


class OnlyAtStartTests(RunningTests):
    """What holds from the start."""

    def test_said(self) -> None:
        """A reload that finds what holds from the start says that it needs a restart, once."""
        self.of_file(A)
        self.write(A, more='[log]\nformat = "json"\n')
        self.reactor.pump([10.0] * 3)
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(event.changes, ("log: needs a restart",))

    def test_deadlines(self) -> None:
        """Other deadlines hold at once, and are told once."""
        self.of_file(A)
        factory = self.reactor.listening[1]
        self.write(A, more='[deadlines]\nhandshake = "3s"\nidle = "20s"\nlifetime = "1h"\nclose = "1s"\n')
        self.reactor.pump([10.0] * 3)
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(event.changes, ("other deadlines",))
        self.assertEqual((factory.handshake.seconds, factory.close.seconds), (3, 1))
        self.assertEqual((factory.ages.idle, factory.ages.lifetime), (20, 3600))

    def test_deadline_of_the_drain(self) -> None:
        """That of the last reload holds."""
        made = self.of_file(A)
        self.write(A, more='[deadlines]\ndrain = "3s"\n')
        self.reactor.pump([10.0] * 2)
        self.link(1)
        made.drain()
        self.assertEqual(made.until, self.reactor.seconds() + 3)

    def test_limits(self) -> None:
        """Other limits hold at once for who comes; how many threads there may be holds from the start."""
        self.of_file(A)
        self.link(1)
        self.write(A, more="[limits]\nmax-connections = 1\nmax-threads = 3\n")
        self.reactor.pump([10.0] * 2)
        told = [each.changes for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(told, [("max threads: needs a restart", "other limits")])
        self.assertIsInstance(self.reactor.listening[1].buildProtocol(CLIENT_ADDRESS), TurnedAway)

    def test_new_listener(self) -> None:
        """A listener that comes later has the deadlines of the last reload, as the others."""
        self.of_file(A)
        more = '[deadlines]\nhandshake = "3s"\n'
        for listeners in ((A,), (A, B)):
            self.write(*listeners, more=more)
            self.reactor.pump([10.0])
        self.assertEqual(self.reactor.listening[2].handshake.seconds, 3)

    def test_back_again(self) -> None:
        """What is said again as it was at the start needs no restart, nor is it told twice."""
        self.of_file(A)
        for more in ('[log]\nformat = "json"\n', '[log]\nformat = "json"\n# the same\n', ""):
            self.write(A, more=more)
            self.reactor.pump([10.0])
        told = [change for each in self.events if isinstance(each, Reloaded) for change in each.changes]
        self.assertEqual(told, ["log: needs a restart"])

    def test_keylog(self) -> None:
        """The key log has every connection's secrets, is its owner's alone, and each start warns of it."""
        seen = log_lines(self)
        path = self.path("keys.log")
        self.of_file(A, more='[deadlines]\nhandshake = "3s"\n').stopService()
        self.assertFalse(path.exists())
        config = self.path("mytls.toml")
        config.write_text(f'keylog = "keys.log"\n{config.read_text()}')
        self.started(service_from_file(str(config), reactor=self.reactor))
        self.link(1)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertIn("CLIENT_TRAFFIC_SECRET_0 ", path.read_text())
        self.assertEqual(len([line for line in seen if "keys.log: the secrets of every connection" in line]), 1)

    def test_keylog_of_another(self) -> None:
        """A key log that cannot be its owner's alone is refused."""
        os.mkfifo(self.path("pipe"))
        self.addCleanup(os.close, os.open(self.path("pipe"), os.O_RDONLY | os.O_NONBLOCK))
        self.path("link").symlink_to(self.path("mytls.toml"))
        for name in ("link", "pipe", "nowhere/keys.log"):
            self.write(A)
            config = self.path("mytls.toml")
            config.write_text(f'keylog = "{name}"\n{config.read_text()}')
            error = self.assertRaises(ConfigurationError, service_from_file, str(config), reactor=self.reactor)
            self.assertIn("keylog", str(error))

    def test_keylog_that_is_gone(self) -> None:
        """A key log that cannot be made at the start is one line, and nothing listens."""
        self.path("logs").mkdir()
        self.write(A)
        config = self.path("mytls.toml")
        config.write_text(f'keylog = "logs/keys.log"\n{config.read_text()}')
        made = service_from_file(str(config), reactor=self.reactor)
        self.path("logs").rmdir()
        line = str(self.assertRaises(CannotStart, made.privilegedStartService))
        self.assertRegex(line, r"^mytls: .*mytls\.toml:1: keylog=.*keys\.log: cannot be written: no such folder$")
        self.assertEqual(self.reactor.listening, {})

    def test_working_directory(self) -> None:
        """The file, and what it names, are found again wherever a daemon has gone by then."""
        self.write(A)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        made = self.started(service_from_file("mytls.toml", reactor=self.reactor))
        os.chdir("/")
        new = self.issue("a")
        self.assertTrue(self.successResultOf(made.reload()))
        self.assertEqual(self.serial(1), new)


class WarningTests(RunningTests):
    """What an operator should know."""

    def test_once(self) -> None:
        """A warning is logged at the start, not at each reload; one that is new is logged then."""
        seen = log_lines(self)
        self.path("a.pem").chmod(0o644)
        made = self.of_file(A, B)
        self.successResultOf(made.reload())
        self.path("b.pem").chmod(0o644)
        self.successResultOf(made.reload())
        for name in ("a.pem", "b.pem"):
            self.assertEqual(len([line for line in seen if f"chmod o-r {self.path(name)}" in line]), 1)


class HangupTests(RunningTests):
    """The signal HUP."""

    def setUp(self) -> None:
        super().setUp()
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)

    def test_reloads(self) -> None:
        """It reloads, where the service was told to take it."""
        made = service(f"mytls:1:certKey={self.path('a.pem')}", reactor=self.reactor, reload_interval=0)
        made.reloads_on_hangup = True
        self.started(made)
        new = self.issue("a")
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.serial(1), new)
        made.stopService()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def heeding(self) -> tuple[TLSService, Link, list[Any]]:
        """A service that TERM ends, a client, and what the event loop has to do."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        made = service(f"mytls:1:certKey={self.path('a.pem')}", reactor=self.reactor, reload_interval=0)
        made.exit_status = ExitStatus(at_exit=lambda call: None)
        turn: list[Any] = []
        self.reactor.callWhenRunning = turn.append
        self.reactor.callFromThread = turn.append
        self.started(made)
        turn.pop()()
        return made, self.link(1), turn

    def test_end_of_a_drain(self) -> None:
        """TERM in a drain that something else has begun cuts nobody; the second one does."""
        made, link, turn = self.heeding()
        made.drain()
        signal.raise_signal(signal.SIGTERM)
        turn.pop()()
        self.assertIsNone(link.socket.lost)
        signal.raise_signal(signal.SIGTERM)
        turn.pop()()
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_end_twice(self) -> None:
        """The second TERM cuts, also where both come before the event loop has its turn."""
        made, link, turn = self.heeding()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        for each in turn:
            each()
        self.assertIsInstance(link.socket.lost, ConnectionAborted)
        assert made.exit_status is not None
        self.assertEqual(made.exit_status.value, 1)

    def test_left_alone(self) -> None:
        """In another's program the signal is that program's."""
        before = signal.getsignal(signal.SIGHUP)
        self.started(service(f"mytls:1:certKey={self.path('a.pem')}", reactor=self.reactor)).stopService()
        self.assertIs(signal.getsignal(signal.SIGHUP), before)
