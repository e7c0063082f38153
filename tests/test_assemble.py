"""A service: it listens, it stops, and where it cannot listen nothing is left behind."""

from __future__ import annotations

import os
import socket
from typing import Any

from cryptography import x509
from twisted.application.service import IService, MultiService
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import mytls.assemble
import mytls.endpoint
import mytls.loading
from mytls.assemble import development_endpoint, service, service_from_file
from mytls.endpoint import TLSServerEndpoint
from mytls.errors import ConfigurationError
from mytls.events import Closed, Event
from mytls.peer import serial_text
from mytls.running import CannotStart, TLSService
from mytls.settings import Deadlines, Settings
from mytls.sockets import TCPServer
from mytls.strings import listener_from_string
from tests.files import folder, write_pair
from tests.lines import log_lines
from tests.memory import Link, RecorderFactory, tls_options
from tests.test_running import Reactor
from tests.tls.authority import Authority
from tests.tls.trust_domains import issued, svid, telling
from twisted import internet


class ClosingPort(tcp.Port):
    """A port that closes the socket that it could not bind; Twisted's leaves that to the garbage collector."""

    def createInternetSocket(self) -> Any:
        """Remember it."""
        self.made = super().createInternetSocket()
        return self.made

    def startListening(self) -> None:
        """Listen, or leave nothing behind."""
        try:
            super().startListening()
        except Exception:
            self.made.close()
            raise


class PortReactor(MemoryReactorClock):
    """
    Opens real TCP ports, and runs nothing.

    @ivar ports: what was opened
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[tcp.Port] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> tcp.Port:
        """See C{IReactorTCP}."""
        made = ClosingPort(port, factory, backlog, interface, self)
        made.startListening()
        self.ports.append(made)
        return made


@implementer(IStreamServerEndpoint)
class Unwilling:
    """An endpoint that fails, and a reason."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See C{IStreamServerEndpoint}."""
        return fail(self.error)


class ServiceTests(SynchronousTestCase):
    """Files for TLS, and a reactor."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        key, chain = write_pair(folder(self))
        self.files = f"privateKey={key}:certKey={chain}"

    def started(self, *arguments: Any, **options: Any) -> TLSService:
        """A service that runs."""
        made = service(*arguments, reactor=self.reactor, **options)
        made.privilegedStartService()
        made.startService()
        return made


class StartTests(ServiceTests):
    """Starting."""

    def test_interface(self) -> None:
        """It is a service as any of Twisted's."""
        verifyObject(IService, service("tcp:80", reactor=self.reactor))

    def test_one_string(self) -> None:
        """One endpoint string and a handler string; echo where there is none."""
        self.started(f"ssl:8443:{self.files}")
        link = Link(factory=self.reactor.tcpServers[0][1])
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")

    def test_several(self) -> None:
        """Strings and endpoints, mixed, in their order; `ssl:` and `mytls:` are ours, the others Twisted's."""
        own = TLSServerEndpoint(self.reactor, 3, tls_options())
        made = self.started([f"ssl:1:{self.files}", f"mytls:2:{self.files}", own, "tcp:4"], "discard")
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [1, 2, 3, 4])
        self.assertEqual([each.port for each in made.addresses], [1, 2, 3, 4])
        factories = [type(each[1]).__name__ for each in self.reactor.tcpServers]
        self.assertEqual(factories, ["TLSFactory"] * 4)

    def test_prefix_in_capitals(self) -> None:
        """Twisted takes prefixes in capitals too; TLS is ours there as well."""
        self.started([f"SSL:1:{self.files}", f"Mytls:2:{self.files}"])
        self.assertEqual([type(each[1]).__name__ for each in self.reactor.tcpServers], ["TLSFactory", "TLSFactory"])
        self.assertEqual(self.reactor.sslServers, [])

    def test_one_endpoint(self) -> None:
        """An endpoint need not be in a list."""
        self.started(TLSServerEndpoint(self.reactor, 3, tls_options()))
        self.assertEqual(self.reactor.tcpServers[0][0], 3)

    def test_function(self) -> None:
        """A function in place of a handler is told how to say it."""
        with self.assertRaisesRegex(ConfigurationError, "^handler: expected a handler string such as serve:app:"):
            service("ssl:0:privateKey=x", lambda stream: None)  # type: ignore[arg-type]  # on purpose

    def test_factory(self) -> None:
        """A Twisted factory is a handler."""
        handler = RecorderFactory()
        self.started(f"ssl:1:{self.files}", handler)
        link = Link(handler=handler, factory=self.reactor.tcpServers[0][1])
        link.handshake()
        self.assertEqual(link.recorder.told, ["made"])

    def test_once(self) -> None:
        """It listens once, when twistd starts it in two steps and when an application does in one."""
        made = service(f"ssl:1:{self.files}", reactor=self.reactor)
        made.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertEqual(len(self.started(f"ssl:2:{self.files}").addresses), 1)

    def test_part_of_an_application(self) -> None:
        """It starts and stops with the service that it belongs to."""
        parent = MultiService()
        made = service(f"ssl:1:{self.files}", reactor=self.reactor)
        made.setServiceParent(parent)
        parent.startService()
        self.assertTrue(made.running)
        self.successResultOf(parent.stopService())
        self.assertFalse(made.running)

    def test_lines(self) -> None:
        """The log says what is served where, and then the greeting; braces are only letters."""
        lines = log_lines(self)
        made = service([f"ssl:1:{self.files}", "tcp6:2"], "echo", reactor=self.reactor)
        made.greeting = "connect with: {this}"
        made.startService()
        self.assertEqual(lines, ["serving echo at 0.0.0.0:1", "serving echo at [::]:2", "connect with: {this}"])

    def test_global_reactor(self) -> None:
        """Without a reactor it is the one that the process has."""
        installed = vars(internet)
        before = dict(installed)
        installed["reactor"] = self.reactor
        self.addCleanup(lambda: (installed.pop("reactor"), installed.update(before)))
        service("tcp:80").startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)


class WrongTests(ServiceTests):
    """What is wrong is one line, before anything listens."""

    def test_endpoint(self) -> None:
        """The string is told as it was written."""
        with self.assertRaisesRegex(ConfigurationError, "^--endpoint tpc:1: there is no endpoint type 'tpc'; did you"):
            service(["tcp:1", "tpc:1"], reactor=self.reactor)
        self.assertEqual(self.reactor.tcpServers, [])

    def test_handler(self) -> None:
        """The handler's too."""
        with self.assertRaisesRegex(ConfigurationError, "^--handler ehco: there is no handler 'ehco'"):
            service("tcp:1", "ehco", reactor=self.reactor)

    def test_on_reload(self) -> None:
        """What a reload does with clients who are there is one of two words."""
        with self.assertRaisesRegex(ConfigurationError, "^on_reload: 'cut' is not known here; expected one of"):
            service("tcp:1", on_reload="cut", reactor=self.reactor)
        self.assertEqual(service("tcp:1", on_reload="close", reactor=self.reactor).plan.settings.on_reload, "close")


class EventTests(ServiceTests):
    """What happens is told."""

    def test_observers(self) -> None:
        """Each observer hears of each connection, and the log has its line."""
        events: list[Event] = []
        self.started(f"ssl:1:{self.files}", observers=[events.append])
        lines = log_lines(self)
        link = Link(factory=self.reactor.tcpServers[0][1])
        link.handshake()
        link.client.shutdown()
        link.pump()
        self.assertEqual([type(event).__name__ for event in events], ["Accepted", "Established", "Closed"])
        (line,) = lines
        self.assertRegex(line, r"^closed 192\.0\.2\.1:50000 at 0\.0\.0\.0:1 name=localhost TLSv1\.3 .* clean$")

    def test_deadlines(self) -> None:
        """The deadlines are those that were given."""
        self.started(f"ssl:1:{self.files}", deadlines=Deadlines(handshake=1))
        link = Link(factory=self.reactor.tcpServers[0][1])
        self.reactor.advance(1.1)
        self.assertIsNotNone(link.socket.lost)


class StopTests(ServiceTests):
    """Stopping: every client first."""

    def connected(self) -> tuple[TLSService, Link, list[Event]]:
        """A service, and a client of it."""
        events: list[Event] = []
        made = self.started(f"ssl:1:{self.files}", observers=[events.append], deadlines=Deadlines(close=5, drain=2))
        link = Link(factory=self.reactor.tcpServers[0][1])
        link.handshake()
        return made, link, events

    def test_nobody_there(self) -> None:
        """With no connection open it is done at once."""
        made = self.started(f"ssl:1:{self.files}")
        self.successResultOf(made.stopService())
        self.assertEqual((made.addresses, made.running), ([], False))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_says_goodbye(self) -> None:
        """A client may go on, gets close_notify at the drain deadline, and the service waits for its answer."""
        made, link, _ = self.connected()
        done = made.stopService()
        link.client.send(b"x")
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"x", False))
        self.reactor.advance(2)
        self.assertNoResult(done)
        link.pump()
        self.assertTrue(link.peer_finished)
        link.client.shutdown()
        link.pump()
        link.fin()
        self.successResultOf(done)

    def test_silent_client(self) -> None:
        """A client that never answers is waited for no longer than the two deadlines say, and a second."""
        made, link, events = self.connected()
        done = made.stopService()
        for _ in range(81):
            self.reactor.advance(0.1)
        self.assertIsNotNone(link.socket.lost)
        self.successResultOf(done)
        self.assertIsInstance(events[-1], Closed)

    def test_in_its_handshake(self) -> None:
        """A client that is not through its handshake is dropped."""
        made = self.started(f"ssl:1:{self.files}")
        link = Link(factory=self.reactor.tcpServers[0][1])
        done = made.stopService()
        self.assertIsNotNone(link.socket.lost)
        self.successResultOf(done)

    def test_again(self) -> None:
        """A service that was stopped can be started again."""
        made = self.started(f"ssl:1:{self.files}")
        self.successResultOf(made.stopService())
        made.startService()
        self.assertEqual(len(made.addresses), 1)


class PortTests(ServiceTests):
    """Real ports."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = PortReactor()
        self.addCleanup(self.close)

    def close(self) -> None:
        """Whatever a test has left open."""
        for port in self.reactor.ports:
            port.stopListening()
        self.reactor.advance(0)

    def open(self) -> list[tcp.Port]:
        """The ports that listen."""
        self.reactor.advance(0)
        return [port for port in self.reactor.ports if port.connected]

    def test_listens_and_stops(self) -> None:
        """A client can connect while it runs, and cannot afterwards."""
        made = self.started(f"ssl:0:interface=127.0.0.1:{self.files}")
        (address,) = made.addresses
        socket.create_connection((address.host, address.port)).close()
        done = made.stopService()
        self.reactor.advance(0)
        self.successResultOf(done)
        self.assertRaises(ConnectionRefusedError, socket.create_connection, (address.host, address.port))

    def test_writes_at_once(self) -> None:
        """Its connections are our own, on other endpoints of Twisted's too."""
        self.started([f"ssl:0:interface=127.0.0.1:{self.files}", "tcp:0:interface=127.0.0.1"])
        self.assertEqual([port.transport for port in self.reactor.ports], [TCPServer, TCPServer])

    def test_dual_stack(self) -> None:
        r"""C{interface=\:\:} serves IPv6 and IPv4."""
        if not socket.has_ipv6:
            self.skipTest("there is no IPv6")
        made = self.started(rf"ssl:0:interface=\:\::{self.files}")
        (address,) = made.addresses
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, address.port)).close()

    def taken(self) -> int:
        """A port that somebody else listens at."""
        taker = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taker.close)
        port: int = taker.getsockname()[1]
        return port

    def test_port_in_use(self) -> None:
        """A port in use ends the start in one line, and what was listened at already is closed."""
        number = self.taken()
        busy = f"ssl:{number}:interface=127.0.0.1:{self.files}"
        made = service([f"ssl:0:interface=127.0.0.1:{self.files}", busy], reactor=self.reactor)
        with self.assertRaises(CannotStart) as caught:
            made.privilegedStartService()
        self.assertEqual(
            str(caught.exception), f"mytls: cannot listen: port {number}: address already in use (--endpoint {busy})"
        )
        self.assertEqual(len(self.reactor.ports), 1)
        self.assertEqual((self.open(), made.addresses, made.running), ([], [], 0))

    def test_what_comes_behind_is_not_tried(self) -> None:
        """Nothing listens, not even for a moment, at places behind the one that is not to be had."""
        number = self.taken()
        made = service([f"tcp:{number}:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"], reactor=self.reactor)
        lines = log_lines(self)
        self.assertRaises(CannotStart, made.startService)
        self.assertEqual(self.reactor.ports, [])
        self.assertNotIn("drain", "".join(lines))  # nobody was served

    def test_start_again(self) -> None:
        """When the port is free it can be started."""
        taker = socket.create_server(("127.0.0.1", 0))
        made = service(f"tcp:{taker.getsockname()[1]}:interface=127.0.0.1", reactor=self.reactor)
        self.assertRaises(CannotStart, made.startService)
        taker.close()
        made.startService()
        self.assertEqual(len(self.open()), 1)

    def test_other_reasons(self) -> None:
        """An address that is not this machine's, a port that is none, a socket's path that is too long."""
        for endpoint, reason in (
            ("tcp:0:interface=192.0.2.1", "port 0: cannot assign requested address"),
            ("tcp:99999:interface=127.0.0.1", "port must be 0-65535"),
        ):
            with self.assertRaises(CannotStart) as caught:
                service(endpoint, reactor=self.reactor).startService()
            self.assertRegex(str(caught.exception), rf"^mytls: cannot listen: .*{reason}\.? \(--endpoint {endpoint}\)$")


class CannotStartTests(ServiceTests):
    """The end of a start."""

    def why(self, error: Exception) -> str:
        """What is said when an endpoint fails with this."""
        with self.assertRaises(CannotStart) as caught:
            service(Unwilling(error), reactor=self.reactor).startService()
        said = str(caught.exception)
        return said.removeprefix("mytls: cannot listen: ").removesuffix(" (--endpoint Unwilling)")

    def test_system_exit(self) -> None:
        """It is a C{SystemExit} with the line as its code, so the program ends with it, and an C{Exception} too."""
        error = CannotStart("--endpoint x\ny: no")
        self.assertIsInstance(error, SystemExit)
        self.assertIsInstance(error, Exception)
        self.assertEqual(error.code, r"mytls: --endpoint x\x0ay: no")

    def test_reasons(self) -> None:
        """The system's reason, whatever an endpoint gives it as."""
        for error, line in (
            (CannotListenError("", 443, OSError(13, "Permission denied")), "port 443: permission denied"),
            (CannotListenError("/run/x", None, OSError(2, "No such file")), "/run/x: no such file"),
            (CannotListenError(None, None, "broken"), "the port: broken"),
            (ValueError("two\nlines"), "two lines"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(self.why(error), line)


class DevelopmentEndpointTests(SynchronousTestCase):
    """The endpoint with the development certificate."""

    def test_port(self) -> None:
        """The string and the command have the same port."""
        self.patch(os, "environ", os.environ | {"XDG_STATE_HOME": str(folder(self))})
        (string,), command = development_endpoint(9443)
        self.assertRegex(string, r"^ssl:9443:interface=127\.0\.0\.1:privateKey=.*:certKey=.*$")
        self.assertIn("-connect localhost:9443 ", command)


@implementer(IStreamServerEndpoint)
class _TakesItsTime:
    """An endpoint whose C{listen} answers when the test says so."""

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        return self.answer


class LateEndpointTests(SynchronousTestCase):
    """Endpoints that take their time."""

    def service(self) -> tuple[_TakesItsTime, TLSService]:
        late = _TakesItsTime()
        made = service(late, reactor=MemoryReactorClock())
        made.startService()
        return late, made

    def test_late_failure(self) -> None:
        """A failure that comes after the start is one line in the log."""
        seen = log_lines(self)
        late, _made = self.service()
        late.answer.errback(CannotListenError("", 1, OSError(98, "Address already in use")))
        (line,) = [each for each in seen if "in use" in each]
        self.assertIn("mytls: cannot listen: port 1: address already in use", line)

    def test_late_port(self) -> None:
        """A port that comes after the stop is closed again."""
        late, made = self.service()
        made.stopService()

        class Port:
            closed = False

            def getHost(self) -> IPv4Address:
                return IPv4Address("TCP", "127.0.0.1", 1)

            def stopListening(self) -> None:
                self.closed = True

        port = Port()
        late.answer.callback(port)
        self.assertTrue(port.closed)
        self.assertEqual(made.addresses, [])


class RotationTests(SynchronousTestCase):
    """What a Workload API issues is heard of while it is served, and served without a restart."""

    def setUp(self) -> None:
        for module in (mytls.assemble, mytls.endpoint):
            self.patch(module, "in_a_thread", lambda reactor: maybeDeferred)
        self.reactor: Any = Reactor()
        self.ca = Authority("CA")
        self.first = issued(svid(self.ca), example=self.ca)
        self.workloads = telling(one=self.first, two=issued(svid(self.ca), example=self.ca))
        self.patch(mytls.loading, "Workload", self.workloads)

    def started(self, *arguments: Any, **options: Any) -> TLSService:
        """A service that runs until the end of the test."""
        made = service(*arguments, reactor=self.reactor, **options)
        made.privilegedStartService()
        made.startService()
        self.addCleanup(made.stopService)
        return made

    def heard(self) -> list[str]:
        """The addresses of those that somebody hears from."""
        return [each.address for each in self.workloads.made if each.changed is not None]

    def rotate(self, name: str = "one") -> x509.Certificate:
        """The agent issues another. @return: its certificate"""
        pair = svid(self.ca)
        self.workloads.answers[f"unix:/{name}"] = issued(pair, example=self.ca)
        for each in self.workloads.made:
            if each.address == f"unix:/{name}" and each.changed is not None:
                each.changed()
        return pair.certificate

    def link(self) -> Link:
        """A client of port 1 that has gone through its handshake."""
        link = Link(factory=self.reactor.listening[1])
        link.handshake()
        return link

    def shown(self) -> x509.Certificate | None:
        """The certificate that clients of port 1 are shown."""
        return self.link().client.get_peer_certificate(as_cryptography=True)

    def test_rotated(self) -> None:
        """A new SVID is served at once, and who is there stays; the log says what has changed."""
        made = self.started(r"mytls:1:spiffe=unix\:/one", reload_interval=0)
        link = self.link()
        lines = log_lines(self)
        certificate = self.rotate()
        self.assertEqual(self.shown(), certificate)
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")
        self.reactor.pump([0] * 3)  # who is there is looked at a few at a time
        self.assertRegex(
            lines[0], f"^reloaded: any name: serial .* -> serial {serial_text(certificate.serial_number)} until "
        )
        self.assertTrue(made.running)

    def test_heard_while_it_runs(self) -> None:
        """Nobody listens to an agent before the start, since a fork may come, nor after the stop; but so again."""
        made = service([rf"mytls:{each}:spiffe=unix\:/one" for each in (1, 2)], reactor=self.reactor)
        self.assertEqual(self.heard(), [])
        made.privilegedStartService()
        self.assertEqual(self.heard(), [])
        made.startService()
        self.assertEqual(self.heard(), ["unix:/one"])
        self.successResultOf(made.stopService())
        self.assertEqual(self.heard(), [])
        made.startService()
        self.assertEqual(self.heard(), ["unix:/one"])
        self.successResultOf(made.stopService())

    def test_trouble(self) -> None:
        """That an agent is gone is a line of the log with its address; what it has issued is served on."""
        self.started(r"mytls:1:spiffe=unix\:/one")
        lines = log_lines(self)
        (workload,) = self.workloads.made
        assert workload.troubled is not None
        workload.troubled("nobody answers there (UNAVAILABLE)")
        trouble = "nobody answers there (UNAVAILABLE); what it has issued before is served on"
        self.assertEqual(lines, [f"spiffe=unix:/one: {trouble}"])
        self.assertEqual(self.shown(), self.first.pair.certificate)

    def test_not_there(self) -> None:
        """Where there is no agent there is no service, and one line that says why."""
        with self.assertRaisesRegex(
            ConfigurationError, r"^--endpoint mytls:1:spiffe=unix\\:/no: spiffe=unix:/no: no such socket; waited"
        ):
            service(r"mytls:1:spiffe=unix\:/no", reactor=self.reactor)

    def test_another_agent(self) -> None:
        """A reload hears from the agents that it names and no more from others; one that fails changes nothing."""

        def said(path: str, content: bytes, missing: object, folder: str) -> Settings:
            return Settings((listener_from_string(content.decode(), "echo"),))

        self.patch(mytls.assemble, "settings_from_file", said)
        file = folder(self) / "mytls.toml"

        def asks(name: str) -> bool:
            file.write_text(rf"mytls:1:spiffe=unix\:/{name}")
            done = made.reload()
            self.reactor.pump([0] * 3)
            return bool(self.successResultOf(done))

        file.write_text(r"mytls:1:spiffe=unix\:/one")
        made = service_from_file(str(file), reactor=self.reactor)
        made.startService()
        self.addCleanup(made.stopService)
        self.assertEqual((asks("no"), self.heard()), (False, ["unix:/one"]))
        self.assertEqual((asks("two"), self.heard()), (True, ["unix:/two"]))
        self.assertEqual(self.shown(), self.workloads.answers["unix:/two"].pair.certificate)
        self.assertEqual((asks("one"), self.heard()), (True, ["unix:/one"]))

    def test_in_every_twisted_program(self) -> None:
        """An endpoint of another's program is kept current as long as somebody listens at it."""
        self.patch(os, "environ", {"AGENT": "unix:/one"})
        endpoint = serverFromString(self.reactor, r"mytls:1:spiffe=env\:AGENT")
        self.assertEqual(self.heard(), [])
        self.successResultOf(endpoint.listen(RecorderFactory()))
        self.assertEqual(self.heard(), ["unix:/one"])
        self.assertEqual(self.rotate(), self.shown())
        self.assertEqual(self.heard(), ["unix:/one"])
        os.environ["AGENT"] = "unix:/two"
        self.rotate()
        self.assertEqual(self.heard(), ["unix:/two"])
        self.reactor.listening[1].doStop()
        self.assertEqual(self.heard(), [])
