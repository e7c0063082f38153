"""`proxy:` and `passthrough:`: the string, the dial, and a client and a backend that meet."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectBindError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, ISSLTransport, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mytls.errors import Cause, ConfigurationError
from mytls.handlers import handler_from_string
from mytls.handlers.backends import Balance
from mytls.handlers.health import EVERY
from mytls.handlers.places import Place, places
from mytls.handlers.proxy import (
    MAX_GONE,
    Client,
    OnTruncation,
    PassthroughFactory,
    ProxyFactory,
    client_endpoint,
    plainly,
)
from mytls.handlers.splice import LINGER, MAX_WAITING, QUIET, Phase
from mytls.interfaces import IEndable
from mytls.settings import Deadlines
from tests.files import folder
from tests.lines import log_lines
from tests.memory import CLIENT_ADDRESS, Link, SocketInMemory, authority, key_pair

BACKEND = "tcp:backend.example:8080"


class ProxyTests(SynchronousTestCase):
    """A proxy on a reactor that dials nobody, and what it tells the log."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.lines = log_lines(self)

    def factory(self, string: str = f"proxy:{BACKEND}") -> Any:
        """The handler of a string."""
        return handler_from_string(self.reactor, string)

    def client(self, factory: Any = None) -> tuple[Client, SocketInMemory]:
        """A client on a plain connection, as a `tcp:` listener has it."""
        protocol = (factory or self.factory()).buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        return protocol, socket

    def accept(self, at: int = 0) -> SocketInMemory:
        """The backend accepts what was dialled. @return: our end of it"""
        protocol: Any = self.reactor.tcpClients[at][2].buildProtocol(None)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        return socket

    def dial_fails(self, error: Exception, at: int = 0) -> None:
        """What was dialled does not answer."""
        factory, connector = self.reactor.tcpClients[at][2], self.reactor.connectors[at]
        factory.clientConnectionFailed(connector, Failure(error))

    def pending(self) -> list[Any]:
        """The timers that run."""
        return list(self.reactor.getDelayedCalls())


class StringTests(ProxyTests):
    """What stands behind `proxy:`."""

    def wrong(self, argument: str) -> str:
        """What is said of a wrong string."""
        with self.assertRaises(ConfigurationError) as raised:
            handler_from_string(self.reactor, f"proxy:{argument}")
        line = str(raised.exception)
        self.assertNotIn("\n", line)
        return line.partition(f"proxy:{argument}: ")[2]

    def test_factories(self) -> None:
        """Both are factories that keep the string; whoever would decrypt can tell them apart."""
        made, passes = self.factory(), self.factory(f"passthrough:{BACKEND}")
        verifyObject(IProtocolFactory, made)
        self.assertEqual((made.description, passes.description), (BACKEND, BACKEND))
        self.assertNotIsInstance(made, PassthroughFactory)
        self.assertIsInstance(passes, PassthroughFactory)
        self.assertEqual((made.logPrefix(), passes.logPrefix()), (f"proxy:{BACKEND}", f"passthrough:{BACKEND}"))

    def test_good_strings(self) -> None:
        """What Twisted's endpoints know is known here."""
        for string in (
            "tcp:localhost:80",
            "TCP:host=localhost:port=80:timeout=3:bindAddress=127.0.0.1",
            "tcp:80:host=localhost",
            "tcp:localhost:port=80",
            r"tcp:\:\:1:80",
            "unix:/run/app.sock",
            "unix:path=/run/app.sock:lockfile=1:timeout=2",
            "tls:db.example:5432",
            "tls:db.example:5432:10",
            "tls:host=db.example:port=5432:timeout=10",
            r"tls:db.example:443:endpoint=tcp\:127.0.0.1\:8443",
            "ssl:db.example:5432:hostname=db.example",
        ):
            verifyObject(IStreamClientEndpoint, client_endpoint(self.reactor, string))

    def test_no_string(self) -> None:
        """Nothing is no endpoint."""
        expected = "expected a client endpoint such as tcp:127.0.0.1:8080 or unix:/run/app.sock"
        self.assertEqual([self.wrong(""), self.wrong(":80")], [expected, expected])

    def test_unknown_type(self) -> None:
        """An endpoint type that nobody has is named, and the nearest one."""
        self.assertEqual(self.wrong("tpc:localhost:80"), "there is no endpoint type 'tpc'; did you mean 'tcp'?")
        self.assertIn("there is no endpoint type 'gopher'; expected one of: ", self.wrong("gopher:x"))

    def test_unknown_word(self) -> None:
        """A word that the endpoint does not know is named, and the nearest one."""
        said = {
            "tcp:a:80:timeot=3": "timeot= is no word of tcp:; did you mean 'timeout'?",
            "tls:a:80:trustRoot=3": "trustRoot= is no word of tls:; did you mean 'trustRoots'?",
            "unix:/a:mode=600": "mode= is no word of unix:; expected one of: path, timeout, lockfile",
        }
        self.assertEqual({string: self.wrong(string) for string in said}, said)

    def test_missing_words(self) -> None:
        """What is missing is named."""
        said = {
            "tcp": "tcp: needs host and port, as in tcp:host:port",
            "tcp:localhost": "tcp: needs port, as in tcp:host:port",
            "tcp:port=80": "tcp: needs host, as in tcp:host:port",
            "tls:localhost": "tls: needs port, as in tls:host:port",
            "unix": "unix: needs path, as in unix:path",
        }
        self.assertEqual({string: self.wrong(string) for string in said}, said)

    def test_too_many_words(self) -> None:
        """A colon that was meant as itself is recognized."""
        for string in ("tcp:::1:80", "unix:/run/a:b", "tcp:a:80:host=a"):
            self.assertRegex(self.wrong(string), r"^too many words for \w+:; a colon in a value is written \\:$")

    def test_wrong_numbers(self) -> None:
        """Ports and times are looked at before anybody is dialled."""
        said = {
            "tcp:localhost:http": "port=http: 'http' is not a port; expected a number from 0 to 65535",
            "tls:localhost:65536": "port=65536: '65536' is not a port; expected a number from 0 to 65535",
            "tcp:a:port=": "port=: '' is not a port; expected a number from 0 to 65535",
            "tcp:a:80:timeout=1s": "timeout=1s: '1s' is not a number; expected a whole number from 1 on",
        }
        self.assertEqual({string: self.wrong(string) for string in said}, said)

    def test_what_twisted_refuses(self) -> None:
        """What only Twisted's parser finds is one line too."""
        where = folder(self)
        self.assertEqual(
            self.wrong(f"tls:a:443:certificate={where}/none.pem"), f"No such file or directory: {where}/none.pem"
        )
        (where / "empty.pem").write_text("")
        self.assertTrue(self.wrong(f"tls:a:443:certificate={where}/empty.pem"))
        self.assertEqual(self.wrong(r"tls:a:443:endpoint=tpc\:a"), "Unknown endpoint type: 'tpc'")
        self.assertEqual(self.wrong("tcp:a:80\\"), "the string ends in the middle of a backslash pair")


class DialTests(ProxyTests):
    """From a client that is let in to a backend that is there."""

    def test_dialled_when_the_client_is_there(self) -> None:
        """A factory dials nobody; each client of it has a connection of its own."""
        factory = self.factory()
        self.assertEqual(self.reactor.tcpClients, [])
        self.client(factory)
        self.client(factory)
        self.assertEqual([each[:2] for each in self.reactor.tcpClients], [("backend.example", 8080)] * 2)

    def test_after_the_handshake(self) -> None:
        """Over TLS nobody is dialled for a client whose handshake is not done."""
        link = Link(handler=self.factory(), clock=self.reactor)
        self.assertEqual(self.reactor.tcpClients, [])
        link.handshake()
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_unix(self) -> None:
        """A UNIX socket is dialled, and not asked for what only TCP has."""
        _, socket = self.client(self.factory("proxy:unix:/run/app.sock"))
        path, factory = self.reactor.unixClients[0][:2]

        class Unix(SocketInMemory):
            def getPeer(self) -> Any:
                return UNIXAddress(b"/run/app.sock")

            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError("Operation not supported")

        protocol = factory.buildProtocol(None)
        backend = Unix(protocol)
        protocol.makeConnection(backend)
        protocol.dataReceived(b"hello")
        self.assertEqual((path, bytes(socket.wire)), ("/run/app.sock", b"hello"))

    def test_no_delay(self) -> None:
        """The last piece of an answer does not wait for Nagle's algorithm."""
        self.client()
        self.assertTrue(self.accept().no_delay)

    def test_bytes_that_come_early(self) -> None:
        """What the client says while the backend is dialled is the first that it hears; much of it is not read."""
        client, socket = self.client()
        client.dataReceived(b"x" * MAX_WAITING)
        self.assertFalse(socket.reading)
        backend = self.accept()
        self.assertTrue(socket.reading)
        self.assertEqual(bytes(backend.wire), b"x" * MAX_WAITING)

    def test_refused(self) -> None:
        """Where the backend cannot be reached in time the client is dropped; each dial has a line that says why."""
        factory = self.factory()
        _, socket = self.client(factory)
        dials = 0
        while socket.lost is None:
            self.dial_fails(ConnectionRefusedError(), dials)
            dials += 1
            self.reactor.advance(1)
        self.assertGreaterEqual(dials, 5)
        self.assertLessEqual(self.reactor.seconds(), factory.connect + 1)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(self.lines, [f"no backend at {BACKEND}: Connection was refused by other side"] * dials)
        self.assertEqual(self.pending(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_refused_for_a_moment(self) -> None:
        """A backend that restarts costs its clients nothing: what they said first is the first that it hears."""
        client, socket = self.client()
        client.dataReceived(b"question")
        self.dial_fails(ConnectionRefusedError())
        client.dataReceived(b", and more")
        self.assertIsNone(socket.lost)
        self.reactor.advance(1)
        backend = self.accept(1)
        self.assertEqual(bytes(backend.wire), b"question, and more")
        self.assertEqual(self.pending(), [])

    def test_refused_at_once(self) -> None:
        """An endpoint that fails before it returns, or raises, is no different."""

        @implementer(IStreamClientEndpoint)
        class Fails:
            def connect(self, factory: IProtocolFactory) -> Any:
                return fail(DNSLookupError("no such\nhost"))

        @implementer(IStreamClientEndpoint)
        class Raises:
            def connect(self, factory: IProtocolFactory) -> Any:
                raise ConnectBindError(osError=99, string="no such address")

        for endpoint in (Fails(), Raises()):
            _, socket = self.client(ProxyFactory(self.reactor, [Place("x:y", endpoint)], connect=0.05))
            self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(
            self.lines,
            [
                "no backend at x:y: DNS lookup failed: no such host",
                "no backend at x:y: Couldn't bind: 99: no such address",
            ],
        )
        self.assertEqual(self.pending(), [])

    def test_reached_at_once(self) -> None:
        """An endpoint that connects before it returns is joined."""
        sockets = []

        @implementer(IStreamClientEndpoint)
        class AtOnce:
            def connect(self, factory: IProtocolFactory) -> Any:
                protocol: Any = factory.buildProtocol(CLIENT_ADDRESS)
                sockets.append(SocketInMemory(protocol))
                protocol.makeConnection(sockets[0])
                made: Deferred[Any] = Deferred()
                made.callback(protocol)
                return made

        client, socket = self.client(ProxyFactory(self.reactor, [Place("x:y", AtOnce())]))
        client.dataReceived(b"hello")
        self.assertEqual(bytes(sockets[0].wire), b"hello")
        socket.lose(ConnectionDone())
        self.assertEqual(type(sockets[0].lost), ConnectionDone)
        self.assertEqual(self.pending(), [])

    def test_late(self) -> None:
        """A backend that does not accept in time is given up: the dial is cancelled, the client dropped."""
        factory = self.factory()
        _, socket = self.client(factory)
        self.reactor.advance(factory.connect - 0.1)
        self.assertIsNone(socket.lost)
        self.reactor.advance(0.1)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.lines, [f"no backend at {BACKEND}: it was not ready within 10 s"])
        self.assertEqual(self.pending(), [])

    def test_in_time(self) -> None:
        """Who accepts in time has no deadline any more."""
        factory = self.factory()
        _, socket = self.client(factory)
        backend = self.accept()
        self.reactor.advance(2 * factory.connect)
        self.assertEqual((socket.lost, backend.lost, self.lines), (None, None, []))

    def test_memory(self) -> None:
        """What was between a client and a backend goes with them, and not when garbage is looked for."""
        client, socket = self.client()
        backend = self.accept()
        kept: list[Any] = [weakref.ref(client), weakref.ref(client._other)]
        client.readConnectionLost()
        backend.protocol.readConnectionLost()
        self.reactor.tcpClients.clear()
        self.reactor.connectors.clear()
        gc.disable()
        self.addCleanup(gc.enable)
        del socket.protocol, backend.protocol, client
        self.assertEqual([each() for each in kept], [None, None])

    def test_no_deadline(self) -> None:
        """A deadline of 0 is none."""
        endpoint = TCP4ClientEndpoint(self.reactor, "backend.example", 8080)
        _, socket = self.client(ProxyFactory(self.reactor, [Place(BACKEND, endpoint)], connect=0))
        self.assertEqual(self.pending(), [])
        self.reactor.advance(10_000)
        self.assertIsNone(socket.lost)

    def test_client_gone_while_dialling(self) -> None:
        """Where a client has gone that has said nothing, nobody is dialled any more; nothing is said of the backend."""
        for reason in (ConnectionDone(), ConnectionLost()):
            _, socket = self.client()
            socket.lose(reason)
            self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.assertEqual((self.lines, self.pending()), ([], []))

    def test_reset_after_the_end_while_dialling(self) -> None:
        """Who has said all and is reset before there is a backend has its say delivered, and an ordinary end."""
        client, socket = self.client()
        client.dataReceived(b"all of it")
        client.readConnectionLost()
        socket.lose(ConnectionLost())
        backend = self.accept()
        self.assertEqual((bytes(backend.wire), backend.fin_sent, backend.lost), (b"all of it", True, None))
        backend.protocol.dataReceived(b"an answer for nobody")
        backend.protocol.readConnectionLost()
        self.assertEqual(type(backend.lost), ConnectionDone)
        self.assertEqual((self.pending(), client.factory.gone), ([], 0))

    def test_reset_in_the_middle_while_dialling(self) -> None:
        """Who is reset before it has said all has what came delivered, and then a reset."""
        client, socket = self.client()
        client.dataReceived(b"half of it")
        socket.lose(ConnectionLost())
        backend = self.accept()
        self.assertEqual((bytes(backend.wire), type(backend.lost)), (b"half of it", ConnectionAborted))
        self.assertEqual((self.pending(), client.factory.gone), ([], 0))

    def test_gone_and_no_backend(self) -> None:
        """The say of one that has gone is not kept for ever, nor that of many, nor of one that we have cut off."""
        made = ProxyFactory(self.reactor, places(self.reactor, BACKEND), connect=0)
        for _ in range(MAX_GONE + 1):
            client, socket = self.client(made)
            client.dataReceived(b"question")
            socket.lose(ConnectionLost())
        self.assertEqual((made.gone, client.phase), (MAX_GONE, Phase.ENDED))
        self.reactor.advance(LINGER)
        self.assertEqual((made.gone, made.health()[0].open), (0, 0))
        client, socket = self.client(made)
        client.dataReceived(b"question")
        socket.disconnecting = True
        socket.lose(ConnectionLost())
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)

    def test_backend_that_comes_too_late(self) -> None:
        """A backend that accepts when the client is gone is dropped, and hears nothing."""

        @implementer(IStreamClientEndpoint)
        class Deaf:
            """Cannot be cancelled."""

            def connect(self, factory: IProtocolFactory) -> Any:
                self.factory: Any = factory
                return Deferred(lambda _: None)

        endpoint = Deaf()
        _, socket = self.client(ProxyFactory(self.reactor, [Place("x:y", endpoint)]))
        socket.lose(ConnectionDone())
        protocol: Any = endpoint.factory.buildProtocol(None)
        backend = SocketInMemory(protocol)
        protocol.makeConnection(backend)
        protocol.dataReceived(b"hello?")
        self.assertEqual(type(backend.lost), ConnectionAborted)
        self.assertEqual(backend.writes, [])

    def test_hears_half_closes(self) -> None:
        """What Twisted's endpoints put between a backend's transport and us lets the end of one direction through."""
        self.client()
        between: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        between.makeConnection(SocketInMemory(between))
        self.assertTrue(IHalfCloseableProtocol.providedBy(between))

    def test_half_closed_while_dialling(self) -> None:
        """Who asks, ends its direction and waits is answered."""
        client, socket = self.client()
        client.dataReceived(b"question")
        client.readConnectionLost()
        backend = self.accept()
        self.assertEqual((bytes(backend.wire), backend.fin_sent), (b"question", True))
        backend.protocol.dataReceived(b"answer")
        backend.protocol.readConnectionLost()
        self.assertEqual(bytes(socket.wire), b"answer")
        self.assertEqual((type(socket.lost), type(backend.lost)), (ConnectionDone, ConnectionDone))


class TellingSocket(SocketInMemory):
    """A transport that keeps account of what happens to its client, as that of a TLS listener does."""

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol)
        self.told: list[tuple[str, ...]] = []

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        self.told.append((backend, cause, detail))

    def abort_because(self, cause: Cause, detail: str) -> None:
        self.told.append((cause, detail))
        self.abortConnection()


class SeveralTests(ProxyTests):
    """More than one backend."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.several()

    def several(self, count: int = 3, **how: Any) -> ProxyFactory:
        """A proxy to backends on the ports 1, 2, 3."""
        described = ",".join(f"tcp:10.0.0.1:{port}" for port in range(1, count + 1))
        return ProxyFactory(self.reactor, places(self.reactor, described), **how)

    def telling(self) -> tuple[Client, TellingSocket]:
        """A client whose transport keeps account."""
        client = self.made.buildProtocol(CLIENT_ADDRESS)
        socket = TellingSocket(client)
        client.makeConnection(socket)
        return client, socket

    @property
    def ports(self) -> list[int]:
        """Who was dialled, in order."""
        return [each[1] for each in self.reactor.tcpClients]

    def states(self, factory: ProxyFactory | None = None) -> list[tuple[str, int]]:
        """How each backend is, and how many have it."""
        return [(each.state, each.open) for each in (factory or self.made).health()]

    def test_of_a_string(self) -> None:
        """A string with commas is a proxy to each, as is one for ciphertext."""
        for handler in ("proxy", "passthrough"):
            made = self.factory(f"{handler}:tcp:a:1,tls:b:2,unix:/c,d")
            self.assertEqual([each.description for each in made.places], ["tcp:a:1", "tls:b:2", "unix:/c,d"])
            self.assertEqual(made.logPrefix(), f"{handler}:tcp:a:1,tls:b:2,unix:/c,d")

    def test_turns(self) -> None:
        """Clients go to the backends in turn."""
        for _ in range(4):
            self.client(self.made)
        self.assertEqual(self.ports, [1, 2, 3, 1])
        self.assertEqual(self.states(), [("up", 2), ("up", 1), ("up", 1)])

    def test_the_first(self) -> None:
        """Where the first is wanted all go to it, and to the next only while it is gone."""
        self.made = self.several(balance=Balance.FIRST)
        self.client(self.made)
        self.client(self.made)
        self.dial_fails(ConnectionRefusedError(), 1)
        self.client(self.made)
        self.assertEqual(self.ports, [1, 1, 2, 2])
        self.reactor.advance(1)
        self.client(self.made)
        self.assertEqual(self.ports, [1, 1, 2, 2, 1])

    def test_the_least(self) -> None:
        """Where the least is wanted a client goes to the backend with the fewest; who has gone counts no more."""
        self.made = self.several(2, balance=Balance.LEAST_CONNECTIONS)
        sockets = [self.client(self.made)[1] for _ in range(4)]
        backend = self.accept(1)
        sockets[1].lose(ConnectionDone())
        self.assertIsNotNone(backend.lost)
        sockets[3].lose(ConnectionDone())
        self.assertEqual(self.states(), [("up", 2), ("up", 0)])
        self.client(self.made)
        self.client(self.made)
        self.assertEqual(self.ports, [1, 2, 1, 2, 2, 2])

    def test_failover(self) -> None:
        """Who is refused by one goes to the next at once, with all that it has said; no one else hears of that."""
        client, socket = self.telling()
        client.dataReceived(b"question")
        self.dial_fails(ConnectionRefusedError())
        client.dataReceived(b"!")
        client.readConnectionLost()
        self.dial_fails(DNSLookupError("no such host"), 1)
        backend = self.accept(2)
        self.assertEqual((bytes(backend.wire), backend.fin_sent), (b"question!", True))
        backend.protocol.dataReceived(b"answer")
        self.assertEqual(bytes(socket.wire), b"answer")
        refused = ("tcp:10.0.0.1:1", "backend-refused", "Connection was refused by other side")
        unknown = ("tcp:10.0.0.1:2", "backend-refused", "DNS lookup failed: no such host")
        self.assertEqual((socket.told, self.lines), ([refused, unknown], []))
        self.assertEqual(self.states(), [("down", 0), ("down", 0), ("up", 1)])

    def test_left_out(self) -> None:
        """Who has refused one client is not the first to be tried for the next, until a while is over."""
        self.client(self.made)
        self.dial_fails(ConnectionRefusedError())
        self.accept(1)
        self.client(self.made)
        self.client(self.made)
        self.assertEqual(self.ports, [1, 2, 3, 2])
        self.reactor.advance(1)
        self.client(self.made)
        self.client(self.made)
        self.accept(5)
        self.assertEqual(self.ports, [1, 2, 3, 2, 3, 1])
        self.assertEqual(self.states()[0], ("up", 1))

    def test_silent(self) -> None:
        """One that does not answer has its part of the time, and the next one the rest."""
        client, socket = self.telling()
        client.dataReceived(b"question")
        self.reactor.advance(self.made.connect / 3)
        self.assertEqual(self.ports, [1, 2])
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.reactor.advance(self.made.connect / 3)
        self.assertEqual(bytes(self.accept(2).wire), b"question")
        causes = [cause for _, cause, _ in socket.told]
        self.assertEqual((causes, self.pending()), (["backend-timeout", "backend-timeout"], []))

    def test_all_silent(self) -> None:
        """Where none answers the client's time is the one that it has with a single backend, and then it is over."""
        _, socket = self.telling()
        for _ in range(3):
            self.assertIsNone(socket.lost)
            self.reactor.advance(self.made.connect / 3)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(socket.told[-1][0], "backend-timeout")
        self.assertIn("no backend at tcp:10.0.0.1:3: it was not ready within", socket.told[-1][1])
        self.assertEqual((self.states(), self.pending()), ([("up", 0), ("up", 0), ("down", 0)], []))  # back-off is over

    def test_again_after_all(self) -> None:
        """Where all refuse each is tried once, and a moment later once more."""
        self.made = self.several(2)
        client, socket = self.telling()
        client.dataReceived(b"question")
        for at in range(2):
            self.dial_fails(ConnectionRefusedError(), at)
        self.assertEqual(self.ports, [1, 2])
        self.reactor.advance(1)
        self.dial_fails(ConnectionRefusedError(), 2)
        self.assertEqual(sorted(self.ports), [1, 1, 2, 2])
        self.assertEqual(bytes(self.accept(3).wire), b"question")
        self.assertEqual((socket.lost, self.pending()), (None, []))

    def test_nobody_is_refused_without_a_try(self) -> None:
        """Where all are left out a client is not turned away: those that are due first are tried first."""
        self.made = self.several(2)
        self.client(self.made)
        self.dial_fails(ConnectionRefusedError(), 0)
        self.dial_fails(ConnectionRefusedError(), 1)
        before = len(self.ports)
        self.client(self.made)
        self.assertEqual(len(self.ports), before + 1)

    def test_gone_while_it_waits(self) -> None:
        """A client that goes before the next try leaves nothing behind; so does one when the service stops."""
        self.made = self.several(1)
        for end in (lambda client: client.transport.lose(ConnectionLost()), lambda client: client.end()):
            client, socket = self.client(self.made)
            self.dial_fails(ConnectionRefusedError(), -1)
            self.assertEqual(len(self.pending()), 1)
            end(client)
            self.assertIsNotNone(socket.lost)
            self.assertEqual((self.pending(), self.states()), ([], [("down", 0)]))

    def test_gone_while_it_is_dialled(self) -> None:
        """A client that goes while a backend is dialled is no failure of that backend."""
        _, socket = self.client(self.made)
        socket.lose(ConnectionDone())
        self.assertEqual((self.states()[0], self.ports, self.lines), (("up", 0), [1], []))

    def test_a_backend_that_resets(self) -> None:
        """Once a backend has heard the client nobody else does: its reset is the client's, with the word for it."""
        client, socket = self.telling()
        client.dataReceived(b"question")
        self.accept().lose(ConnectionLost())
        self.assertEqual((type(socket.lost), self.ports), (ConnectionAborted, [1]))
        self.assertEqual(socket.told, [("reset", "the connection of the backend was reset")])

    def test_unhealthy(self) -> None:
        """Who is not well is left out; its clients are told in the log, once, and so is its return."""
        made = self.made = self.several(2, health="tcp")
        made.doStart()
        self.dial_fails(ConnectionRefusedError(), 0)
        accepted = self.accept(1)
        self.assertIsNotNone(accepted.lost)
        self.assertEqual(self.states(), [("unhealthy", 0), ("up", 0)])
        self.client(made)
        self.client(made)
        self.assertEqual(self.ports, [1, 2, 2, 2])
        self.accept(2)
        self.accept(3)
        self.reactor.advance(EVERY)
        self.accept(4)
        self.assertEqual(self.states()[0], ("up", 0))
        made.doStop()
        self.assertEqual(
            self.lines,
            [
                "tcp:10.0.0.1:1 is unhealthy, and left out: Connection was refused by other side",
                "tcp:10.0.0.1:1 is healthy again",
            ],
        )

    def test_checks_stop(self) -> None:
        """When nobody can come any more nobody is looked at."""
        made = self.several(2, health="tcp")
        made.doStart()
        self.accept(0)
        made.doStop()
        self.assertTrue(self.reactor.connectors[1].stoppedConnecting)
        self.reactor.advance(10 * EVERY)
        self.assertEqual((self.ports, self.pending()), ([1, 2], []))

    def test_half_close(self) -> None:
        """When the backend has ended its direction a client that says nothing is let go, with the word for it."""
        self.made = self.several(half_close=30)
        client, socket = self.telling()
        backend = self.accept()
        backend.protocol.readConnectionLost()
        self.reactor.advance(29)
        client.dataReceived(b"still here")
        self.reactor.advance(29)
        self.assertIsNone(socket.lost)
        self.reactor.advance(1)
        self.assertEqual((type(socket.lost), type(backend.lost)), (ConnectionAborted, ConnectionAborted))
        said = "the backend had ended its direction, and nothing has come from the client for 30 s"
        self.assertEqual((socket.told, self.pending()), ([("half-close", said)], []))

    def test_on_truncation(self) -> None:
        """What our own TLS looks at on both sides is as the user has said."""
        for how, carries in ((OnTruncation.EOF, True), (OnTruncation.RESET, False)):
            self.made = self.several(on_truncation=how)
            client, _ = self.telling()
            self.accept(-1)
            assert client._other is not None
            self.assertEqual((client.carries_truncation_on, client._other.carries_truncation_on), (carries, carries))


class JoinedTests(ProxyTests):
    """A client over TLS, a backend over TCP, with Twisted's own wrapping between."""

    def setUp(self) -> None:
        super().setUp()
        self.link = Link(handler=self.factory(), clock=self.reactor)
        self.link.handshake()
        self.backend = self.accept()

    def turns(self) -> None:
        """Let everything that is under way arrive."""
        for _ in range(20):
            self.link.pump()
            self.reactor.advance(0)

    def from_backend(self, data: bytes) -> None:
        """The backend says something, if it is read from."""
        self.backend.protocol.dataReceived(data)

    def test_both_ways(self) -> None:
        """Bytes go both ways."""
        self.link.client.send(b"question")
        self.link.pump()
        self.from_backend(b"answer")
        self.link.pump()
        self.assertEqual((bytes(self.backend.wire), bytes(self.link.received)), (b"question", b"answer"))

    def test_tiny_writes(self) -> None:
        """Records of one byte, in pieces of one byte, are as good as any."""
        sent = b"a question that takes its time"
        for at in range(len(sent)):
            self.link.client.send(sent[at : at + 1])
            self.link.pump(piece=1)
            self.from_backend(sent[at : at + 1])
        self.turns()
        self.assertEqual((bytes(self.backend.wire), bytes(self.link.received)), (sent, sent))

    def test_backend_that_does_not_read(self) -> None:
        """The client is not read from, what is held is bounded, and all arrives when the backend reads again."""
        self.backend.peer_reads = False
        sent = 0
        while self.link.socket.reading and sent < 1 << 20:
            self.link.client.send(b"x" * 16384)
            sent += 16384
            self.link.pump()
        self.assertLess(sent, 1 << 18)
        self.backend.peer_reads = True
        self.backend.flush()
        self.turns()
        self.assertTrue(self.link.socket.reading)
        self.assertEqual(len(self.backend.wire), sent)

    def test_client_that_does_not_read(self) -> None:
        """The backend is not read from, and the client may still talk to it."""
        self.link.socket.peer_reads = False
        sent = 0
        while self.backend.reading and sent < 1 << 20:
            self.from_backend(b"x" * 16384)
            sent += 16384
        self.assertLess(sent, 1 << 18)
        self.link.client.send(b"still here")
        self.link.pump()
        self.assertEqual(bytes(self.backend.wire), b"still here")
        self.link.socket.peer_reads = True
        self.link.socket.flush()
        self.turns()
        self.assertTrue(self.backend.reading)
        self.assertEqual(len(self.link.received), sent)

    def test_client_through_first(self) -> None:
        """The client's close_notify is the backend's FIN, and the answer comes whole before ours."""
        self.link.client.send(b"question")
        self.link.client.shutdown()
        self.link.pump()
        self.assertEqual((bytes(self.backend.wire), self.backend.fin_sent), (b"question", True))
        self.assertFalse(self.link.peer_finished)
        self.from_backend(b"a long answer " * 10_000)
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.assertEqual(bytes(self.link.received), b"a long answer " * 10_000)
        self.assertTrue(self.link.peer_finished)
        self.assertEqual((type(self.backend.lost), type(self.link.socket.lost)), (ConnectionDone, ConnectionDone))
        self.assertEqual(self.link.kinds()[-1], "Closed")

    def test_backend_through_first(self) -> None:
        """The backend's FIN is our close_notify, after its last byte, and the client may say the rest."""
        self.from_backend(b"greeting")
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.assertEqual((bytes(self.link.received), self.link.peer_finished), (b"greeting", True))
        self.assertIsNone(self.link.socket.lost)
        self.link.client.send(b"the rest")
        self.link.pump()
        self.assertEqual((bytes(self.backend.wire), self.backend.fin_sent), (b"the rest", False))
        self.link.client.shutdown()
        self.turns()
        self.assertEqual((type(self.backend.lost), type(self.link.socket.lost)), (ConnectionDone, ConnectionDone))

    def test_backend_through_and_client_that_does_not_read(self) -> None:
        """A client that reads our last bytes only when it has said all can do so: neither waits for the other."""
        self.link.socket.peer_reads = False
        self.from_backend(b"x" * 200_000)
        self.backend.protocol.readConnectionLost()
        for _ in range(20):
            self.link.client.send(b"y" * 16384)
            self.link.pump()
            self.reactor.advance(0)
        self.assertEqual(len(self.backend.wire), 20 * 16384)
        self.link.socket.peer_reads = True
        self.link.socket.flush()
        self.turns()
        self.assertEqual((len(self.link.received), self.link.peer_finished), (200_000, True))

    def test_backend_closed(self) -> None:
        """A backend that ends both directions at once ends the client's properly, after its last bytes."""
        self.from_backend(b"farewell")
        self.backend.lose(ConnectionDone())
        self.turns()
        self.assertEqual((bytes(self.link.received), self.link.peer_finished), (b"farewell", True))

    def test_client_reset(self) -> None:
        """A client that is reset resets the backend."""
        self.link.reset()
        self.assertEqual(type(self.backend.lost), ConnectionAborted)
        self.assertEqual(self.lines, [])

    def test_client_reset_after_its_end(self) -> None:
        """A client that has said all and reads nothing is no reset, to the backend or in the log."""
        self.link.client.send(b"all of it")
        self.link.client.shutdown()
        self.link.pump()
        self.link.reset()
        self.assertEqual((bytes(self.backend.wire), self.backend.fin_sent), (b"all of it", True))
        self.assertIsNone(self.backend.lost)
        self.assertEqual(self.closed(), (None, ""))

    def closed(self) -> tuple[Any, str]:
        """How the client's connection has ended, as observers hear it."""
        event: Any = self.link.events[-1]
        self.assertEqual(type(event).__name__, "Closed")
        return event.cause, event.detail

    def test_truncated(self) -> None:
        """An end without close_notify is an end to the backend, whose answer still comes; the log says what it was."""
        self.link.client.send(b"question")
        self.link.pump()
        self.link.fin()
        self.turns()
        self.assertEqual(
            (bytes(self.backend.wire), self.backend.fin_sent, self.backend.lost), (b"question", True, None)
        )
        self.from_backend(b"answer")
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.assertEqual((bytes(self.link.received), self.link.peer_finished), (b"answer", True))
        self.assertEqual((type(self.backend.lost), type(self.link.socket.lost)), (ConnectionDone, ConnectionDone))
        self.assertEqual(self.closed(), ("eof", "truncated: the peer closed the connection without close_notify"))

    def test_truncated_after_our_end(self) -> None:
        """Nor is it a reset where the backend had ended first, which most clients answer so."""
        self.from_backend(b"answer")
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.link.fin()
        self.turns()
        self.assertEqual((type(self.backend.lost), type(self.link.socket.lost)), (ConnectionDone, ConnectionDone))
        self.assertEqual(self.closed()[0], "eof")

    def test_truncated_is_a_reset(self) -> None:
        """Where the user wants it so, nobody takes half a question for the whole."""
        made = ProxyFactory(self.reactor, places(self.reactor, BACKEND), on_truncation=OnTruncation.RESET)
        self.link = Link(handler=made, clock=self.reactor)
        self.link.handshake()
        backend = self.accept(-1)
        self.link.client.send(b"half a questi")
        self.link.pump()
        self.link.fin()
        self.turns()
        self.assertEqual(type(backend.lost), ConnectionAborted)
        self.assertEqual(self.closed()[0], "eof")

    def test_causes(self) -> None:
        """Observers hear of each backend that could not be had, and why the client's connection has ended."""
        self.backend.lose(ConnectionLost())
        self.assertEqual(self.closed(), ("reset", "the connection of the backend was reset"))
        made = ProxyFactory(self.reactor, places(self.reactor, "tcp:a:1,tcp:b:1"), connect=0.05)
        self.link = Link(handler=made, clock=self.reactor)
        self.link.handshake()
        self.dial_fails(ConnectionRefusedError(), 1)
        self.reactor.advance(0.05)
        told: list[Any] = [each for each in self.link.events if type(each).__name__ == "BackendFailed"]
        self.assertEqual(
            [(each.backend, each.cause, each.detail) for each in told],
            [
                ("tcp:a:1", "backend-refused", "Connection was refused by other side"),
                ("tcp:b:1", "backend-timeout", "it was not ready within 0.05 s"),
            ],
        )
        self.assertEqual(self.closed(), ("backend-timeout", "no backend at tcp:b:1: it was not ready within 0.05 s"))
        self.link.pump()
        self.assertFalse(self.link.peer_finished)

    def test_half_close(self) -> None:
        """A client that keeps a connection whose backend has ended is let go."""
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.reactor.advance(Deadlines().half_close)
        self.assertEqual(type(self.backend.lost), ConnectionAborted)
        self.assertEqual(self.closed()[0], "half-close")

    def test_backend_reset(self) -> None:
        """A backend that is reset resets the client: no close_notify makes half an answer look whole."""
        self.from_backend(b"half an answ")
        self.backend.lose(ConnectionLost())
        self.assertEqual(type(self.link.socket.lost), ConnectionAborted)
        self.link.pump()
        self.assertFalse(self.link.peer_finished)

    def test_last_bytes(self) -> None:
        """What both said last arrives, also where both end in the same moment."""
        self.link.client.send(b"goodbye")
        self.link.client.shutdown()
        self.from_backend(b"farewell")
        self.backend.protocol.readConnectionLost()
        self.turns()
        self.assertEqual((bytes(self.backend.wire), bytes(self.link.received)), (b"goodbye", b"farewell"))
        self.assertTrue(self.link.peer_finished)

    def test_drain(self) -> None:
        """When the service stops, what is going on goes on; in a pause both are closed properly."""
        self.link.factory.end_connections()
        self.from_backend(b"the rest of ")
        self.reactor.advance(QUIET)
        self.from_backend(b"the answer")
        self.reactor.advance(QUIET)
        self.assertIsNone(self.backend.lost)
        self.reactor.advance(QUIET)
        self.turns()
        self.assertEqual((bytes(self.link.received), self.link.peer_finished), (b"the rest of the answer", True))
        self.assertEqual(type(self.backend.lost), ConnectionDone)

    def test_cut(self) -> None:
        """Who does not come to an end when the service stops is cut, and the backend with it."""
        self.link.factory.end_connections()
        for _ in range(20):
            self.from_backend(b"more ")
            self.reactor.advance(QUIET / 2)
        self.assertEqual((type(self.link.socket.lost), type(self.backend.lost)), (ConnectionAborted,) * 2)


class DrainTests(ProxyTests):
    """A service that stops while a backend is dialled."""

    def test_drainable(self) -> None:
        """The client's side is asked to finish, and not simply closed."""
        verifyObject(IEndable, self.client()[0])

    def test_dialling(self) -> None:
        """Who has no backend yet is closed, and nobody is dialled any more."""
        client, socket = self.client()
        client.end()
        self.assertEqual(type(socket.lost), ConnectionDone)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual((self.lines, self.pending()), ([], []))

    def test_over(self) -> None:
        """Who is gone has nothing to finish."""
        client, socket = self.client()
        socket.lose(ConnectionDone())
        client.end()
        self.assertEqual(self.pending(), [])


class PassthroughTests(ProxyTests):
    """Ciphertext as it is."""

    def test_ciphertext(self) -> None:
        """A client and a backend make their handshake with each other, through us."""
        client, socket = self.client(self.factory(f"passthrough:{BACKEND}"))
        tls = Link(clock=self.reactor)
        hello = b""
        try:
            tls.client.do_handshake()
        except SSL.WantReadError:
            hello = tls.outgoing()
        client.dataReceived(hello[:10])
        client.dataReceived(hello[10:])
        backend = self.accept()
        self.assertEqual(bytes(backend.wire), hello)
        tls.to_server(hello)
        backend.protocol.dataReceived(bytes(tls.socket.wire))
        self.assertEqual(socket.wire, tls.socket.wire)
        tls.handshake()
        self.assertEqual(tls.kinds(), ["Accepted", "Established"])


class LostLater(SocketInMemory):
    """A socket whose end is told in the next turn of the reactor, as Twisted's TLS has to have it."""

    def __init__(self, protocol: Any, reactor: MemoryReactorClock) -> None:
        super().__init__(protocol)
        self.reactor = reactor

    def lose(self, error: Exception) -> None:
        self.reactor.callLater(0, super().lose, error)


class TLSBackend:
    """A backend that speaks TLS, played by hand, behind a socket of ours."""

    def __init__(self, reactor: MemoryReactorClock, name: str, wants_certificate: bool) -> None:
        self.reactor = reactor
        protocol: Any = reactor.tcpClients[-1][2].buildProtocol(None)
        self.socket = LostLater(protocol, self.reactor)
        context = SSL.Context(SSL.TLS_METHOD)
        pair: Any = key_pair(name)
        context.use_privatekey(pair.key)
        context.use_certificate(pair.certificate)
        if wants_certificate:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.tls = SSL.Connection(context)
        self.tls.set_accept_state()
        self.received = bytearray()
        self.finished = False
        protocol.makeConnection(self.socket)

    def pump(self) -> None:
        """Carry bytes both ways until there are none."""
        for _ in range(20):
            self.reactor.advance(0)
            if self.socket.wire:
                self.tls.bio_write(bytes(self.socket.wire))
                self.socket.wire.clear()
                self._read()
            self.send_out()

    def _read(self) -> None:
        try:
            while True:
                self.received += self.tls.recv(65536)
        except SSL.ZeroReturnError:
            self.finished = True
        except SSL.Error:  # it wants more, or has failed, which its alert says
            pass

    def send_out(self) -> None:
        """What the backend has for us arrives."""
        try:
            data = self.tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return
        if self.socket.lost is None:
            self.socket.protocol.dataReceived(data)


class TLSBackendTests(ProxyTests):
    """A backend over Twisted's TLS."""

    def setUp(self) -> None:
        super().setUp()
        root = Certificate.loadPEM(authority().cert_pem.bytes())
        options = optionsForClientTLS("localhost", trustRootFromCertificates([root]))
        self.made = self.over_tls(options)
        self.wants_certificate = False

    def over_tls(self, options: Any) -> ProxyFactory:
        """A proxy to one backend, whose certificate these options verify."""
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(self.reactor, "localhost", 443), self.reactor)
        return ProxyFactory(self.reactor, [Place("tls:localhost:443", endpoint)])

    def dialled(self, name: str = "localhost") -> tuple[Client, SocketInMemory, TLSBackend]:
        """A client, and the backend that was dialled for it, before its handshake."""
        client, socket = self.client(self.made)
        return client, socket, TLSBackend(self.reactor, name, self.wants_certificate)

    def test_joined_after_the_handshake(self) -> None:
        """The backend hears nothing of the client before it has shown who it is; then everything."""
        client, socket, backend = self.dialled()
        client.dataReceived(b"question")
        self.assertTrue(self.pending())
        backend.pump()
        self.assertEqual(bytes(backend.received), b"question")
        self.assertEqual(self.pending(), [])
        backend.tls.send(b"answer")
        backend.pump()
        self.assertEqual((bytes(socket.wire), socket.lost), (b"answer", None))

    def test_wrong_name(self) -> None:
        """A backend with another's certificate gets nothing and gives nothing; the line says so."""
        client, socket, backend = self.dialled("other.example")
        client.dataReceived(b"secret")
        backend.pump()
        backend.pump()
        self.assertEqual((bytes(backend.received), bytes(socket.wire)), (b"", b""))
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(self.lines, ["no backend at tls:localhost:443: its certificate is for another name"])
        self.assertEqual(self.pending(), [])

    def test_failover(self) -> None:
        """A backend that is not who it should be loses the client to the next one, and heard nothing of it."""
        tls = self.made.places[0]
        self.made = ProxyFactory(self.reactor, [tls, tls])
        client, socket, impostor = self.dialled("other.example")
        client.dataReceived(b"secret")
        impostor.pump()
        self.assertEqual(len(self.reactor.tcpClients), 2)
        backend = TLSBackend(self.reactor, "localhost", False)
        backend.pump()
        self.assertEqual((bytes(impostor.received), bytes(backend.received)), (b"", b"secret"))
        self.assertIsNone(socket.lost)

    def test_unknown_authority(self) -> None:
        """Nor does one whose authority is not trusted."""
        options = optionsForClientTLS("localhost", trustRootFromCertificates([]))
        self.made = self.over_tls(options)
        client, socket, backend = self.dialled()
        client.dataReceived(b"secret")
        backend.pump()
        self.assertEqual(bytes(backend.received), b"")
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(self.lines, ["no backend at tls:localhost:443: TLS: certificate verify failed"])

    def test_plain_bytes_before_the_handshake(self) -> None:
        """What a backend says in the clear never reaches the client."""
        _, socket, backend = self.dialled()
        backend.socket.protocol.dataReceived(b"220 mail.example ESMTP\r\n")
        self.reactor.advance(0)
        self.assertEqual(bytes(socket.wire), b"")
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertRegex(self.lines[0], "^no backend at tls:localhost:443: TLS: wrong version number")

    def other_tls(self) -> tuple[SocketInMemory, Any, SocketInMemory]:
        """A client, and the protocol and transport of a backend over a TLS that is not Twisted's."""

        @implementer(ISSLTransport)
        class OtherTLS(SocketInMemory):
            def getPeerCertificate(self) -> None:
                return None

        client, socket = self.client()
        client.dataReceived(b"question")
        protocol: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        backend = OtherTLS(protocol)
        protocol.makeConnection(backend)
        return socket, protocol, backend

    def test_a_transport_that_delivers_before_its_handshake(self) -> None:
        """Nor does it where the TLS below is not Twisted's, and hands it up."""
        socket, protocol, backend = self.other_tls()
        self.assertIsNone(socket.lost)
        protocol.dataReceived(b"220 mail.example ESMTP\r\n")
        self.assertEqual((bytes(socket.wire), bytes(backend.wire)), (b"", b""))
        self.assertEqual((type(socket.lost), type(backend.lost)), (ConnectionAborted, ConnectionAborted))
        self.assertEqual(self.lines, [f"no backend at {BACKEND}: it sent data before its TLS handshake was done"])

    def test_a_handshake_that_was_given_up(self) -> None:
        """A handshake that is done on a connection that is being closed already joins nobody."""
        socket, protocol, backend = self.other_tls()
        backend.disconnecting = True
        protocol.handshakeCompleted()
        self.assertEqual(backend.writes, [])
        backend.lose(VerificationError([]))
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(self.lines, [f"no backend at {BACKEND}: its certificate is for another name"])

    def test_another_tls(self) -> None:
        """Otherwise it is joined when its handshake is done."""
        _, protocol, backend = self.other_tls()
        self.assertEqual(backend.writes, [])
        protocol.handshakeCompleted()
        self.assertEqual(bytes(backend.wire), b"question")

    def test_closed_during_the_handshake(self) -> None:
        """A backend that goes in the middle of its handshake is told of."""
        self.made.connect = 0.05
        _, socket, backend = self.dialled()
        backend.socket.lose(ConnectionDone())
        self.reactor.advance(0)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertEqual(
            self.lines, ["no backend at tls:localhost:443: it closed the connection during its TLS handshake"]
        )

    def test_late_handshake(self) -> None:
        """A backend that accepts and says nothing is given up when the time is over."""
        _, socket, backend = self.dialled()
        self.reactor.advance(self.made.connect)
        self.reactor.advance(0)
        self.assertEqual((type(socket.lost), type(backend.socket.lost)), (ConnectionAborted,) * 2)
        self.assertEqual(self.lines, ["no backend at tls:localhost:443: it was not ready within 10 s"])

    def test_client_gone_during_the_handshake(self) -> None:
        """A client that goes while the backend shakes hands takes the backend's connection with it."""
        _, socket, backend = self.dialled()
        socket.lose(ConnectionDone())
        self.reactor.advance(0)
        self.assertEqual(type(backend.socket.lost), ConnectionAborted)
        self.assertEqual((self.lines, self.pending()), ([], []))

    def test_half_close(self) -> None:
        """The client's end is the backend's close_notify, never a bare FIN, and the answer still comes."""
        client, socket, backend = self.dialled()
        backend.pump()
        client.dataReceived(b"question")
        client.readConnectionLost()
        backend.pump()
        self.assertEqual((bytes(backend.received), backend.finished), (b"question", True))
        self.assertFalse(backend.socket.fin_sent or backend.socket.write_disconnecting)
        backend.tls.send(b"answer")
        backend.tls.shutdown()
        backend.pump()
        self.assertEqual(bytes(socket.wire), b"answer")
        self.assertEqual((type(socket.lost), type(backend.socket.lost)), (ConnectionDone, ConnectionDone))

    def test_truncated_answer(self) -> None:
        """A backend that ends without close_notify resets the client."""
        _, socket, backend = self.dialled()
        backend.pump()
        backend.tls.send(b"half an answ")
        backend.send_out()
        backend.socket.lose(ConnectionDone())
        self.reactor.advance(0)
        self.assertEqual(type(socket.lost), ConnectionAborted)

    def test_refused_last(self) -> None:
        """TLS 1.3 tells a client last that its certificate is missing: the line names the backend and says why."""
        self.wants_certificate = True
        _, socket, backend = self.dialled()
        backend.pump()
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertRegex("".join(self.lines), "^lost tls:localhost:443: TLS: tls.* alert certificate required$")

    def test_backpressure(self) -> None:
        """A backend that does not read pauses the client; a client that does not read pauses the backend."""
        client, socket, backend = self.dialled()
        backend.pump()
        backend.socket.peer_reads = False
        sent = 0
        while socket.reading and sent < 1 << 20:
            client.dataReceived(b"x" * 16384)
            self.reactor.advance(0)
            sent += 16384
        self.assertLess(sent, 1 << 18)
        socket.peer_reads = False
        said = 0
        while backend.socket.reading and said < 1 << 20:
            backend.tls.send(b"y" * 16384)
            backend.send_out()
            said += 16384
        self.assertLess(said, 1 << 18)
        for each in (socket, backend.socket):
            each.peer_reads = True
            each.flush()
        backend.pump()
        self.assertEqual((len(backend.received), len(socket.wire)), (sent, said))


class PlainTests(SynchronousTestCase):
    """Errors of others, in a line."""

    def test_one_line(self) -> None:
        """Whatever is raised is one line that says something."""
        self.assertEqual(plainly(ValueError("a\nb  c.")), "a b c")
        self.assertEqual(plainly(ValueError("\x1b[31m")), "\\x1b[31m")
        self.assertEqual(plainly(KeyError()), "KeyError")
        self.assertEqual(plainly(SSL.Error([])), "TLS: the connection failed")
        self.assertEqual(plainly(FileNotFoundError(2, "No such file", "x\ny")), "No such file: x\\x0ay")
