"""The client endpoint, in memory: a Clock, a socket that is none, and OpenSSL as the server."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mytls import client
from mytls.attempt import TLSConnectError
from mytls.client import LOOK, TLSClientEndpoint
from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.handlers.proxy import client_endpoint
from mytls.peer import Peer
from mytls.tls.servers import Servers
from mytls.tls.transport import TLSTransport
from tests.files import folder
from tests.lines import log_lines
from tests.memory import SERVER_ADDRESS, Recorder, RecorderFactory, SocketInMemory, authority, key_pair
from tests.tls.authority import Authority, showing
from tests.tls.issuing import key_pem, pem

#: Strings that are wrong, and what is said of them.
WRONG = {
    "mytls": "expected a host and a port, as in mytls:api.example:443",
    "mytls:api.example": "port: missing; expected for example mytls:api.example:443",
    "mytls:api.example:x": "port: 'x' is not a port; expected a number from 0 to 65535",
    "mytls:api.example:0": "port: '0' is not a port to connect to; expected a number from 1 to 65535",
    "mytls:api.example:443:extra": "'extra' has no name; write it as word=value",
    "mytls:api.example:443:port=1": "port is said twice, as '443' and as port=1; a colon in a value is written \\:",
    "mytls::443": "there is nothing between two colons; a colon in a value is written \\:",
    "mytls:*.example:443": "host: '*.example' is the name of many; expected that of one server",
    "mytls:a..b:443": "host: 'a..b' is no host name; expected one such as api.example or *.api.example",
    "mytls:a:1:via=http": "via: 'http' is no proxy; expected one such as http://proxy.example:3128",
    "mytls:a:1:rego=/nonexistent.rego": "rego=/nonexistent.rego: no such file",
    "mytls:a:1:regoQuery=x": "regoQuery=x: there is no policy to ask; say rego",
    "mytls:a:1:hostname=b": "hostname= is no word of a client's mytls:; did you mean 'serverName'?",
    "mytls:a:1:trustRoot=b": "trustRoot= is no word of a client's mytls:; did you mean 'trustRoots'?",
    "mytls:a:1:timeout=soon": "timeout: 'soon' is not a duration; expected for example 250ms, 10s, 5m, 1h, 0 or off",
    "mytls:a:1:minVersion=TLSv1.3:maxVersion=TLSv1.2": "minVersion=TLSv1.3: newer than the newest, TLSv1.2",
    "mytls:a:1:passwordFile=x": "passwordFile=x: there is no key to open; say certKey",
    "mytls:a:1:trustRoots=/nonexistent": "trustRoots=/nonexistent: no such file",
    "mytls:a:1:trustRoots=": "trustRoots: there is no file in it; leave it out for the CAs of the system",
    "mytls:a:1:verify=": "verify: there is no rule in it; leave it out where the name is enough",
    "mytls:a:1:verify=spki=sha256\\:AA==": "verify=spki=sha256:AA==: "
    "a sha256 pin is base64 of 32 bytes, and these are 1",
    "mytls:a:1:endpoint=tpc\\:b\\:1": "endpoint=tpc:b:1: there is no endpoint type 'tpc'; did you mean 'tcp'?",
    "mytls:a:1:endpoint=unix\\:/x:bindAddress=b": "bindAddress=b: of no use with endpoint, which connects",
}

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def aside(work: Any, *about: Any) -> Deferred[Any]:
    """What would be in a thread, at once."""
    try:
        return succeed(work(*about))
    except Exception:
        return fail()


@implementer(IStreamClientEndpoint)
class Dialled:
    """
    An endpoint that connects when the test says so.

    @ivar waiting: those that are dialled and not there yet
    @ivar cancelled: how many were given up
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred(self._cancelled)
        self.waiting.append((protocolFactory, done))
        return done

    def _cancelled(self, done: Deferred[Any]) -> None:
        self.cancelled += 1
        done.errback(ConnectingCancelledError(SERVER_ADDRESS))

    def accept(self, context: SSL.Context) -> Server:
        """The oldest that waits is there."""
        factory, done = self.waiting.pop(0)
        protocol = factory.buildProtocol(SERVER_ADDRESS)
        server = Server(protocol, context)
        protocol.makeConnection(server.socket)
        if not done.called:
            done.callback(protocol)
        return server


class Server:
    """
    A server that the test plays by hand.

    @ivar socket: the client's transport
    @ivar tls: the server's pyOpenSSL connection
    @ivar alert: what it has heard of its end
    @ivar received: what the client has sent
    """

    def __init__(self, protocol: Any, context: SSL.Context) -> None:
        self.protocol = protocol
        self.socket = SocketInMemory(protocol)
        self.tls = SSL.Connection(context)
        self.tls.set_accept_state()
        self.alert: str | None = None
        self.received = b""
        self.finished = False

    def pump(self) -> None:
        """Carry bytes both ways until there are none."""
        for _ in range(20):
            sent = bytes(self.socket.wire)
            self.socket.wire.clear()
            if sent:
                self.tls.bio_write(sent)
                self._read()
            answer = self._outgoing()
            if answer and self.socket.lost is None:
                self.protocol.dataReceived(answer)
            if not sent and not answer:
                return
        raise AssertionError("the two ends do not come to rest")

    def send(self, data: bytes) -> None:
        self.tls.send(data)
        self.pump()

    def _read(self) -> None:
        try:
            while True:
                self.received += self.tls.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.finished = True
        except SSL.Error as error:
            self.alert = str(error.args[0][0][-1])

    def _outgoing(self) -> bytes:
        try:
            return self.tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""


def serving(name: str = "localhost", version: int | None = None, by: Any = None) -> SSL.Context:
    """The context of a server of this name. @param by: its authority, in place of the one that is trusted"""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    pair = key_pair(name) if by is None else by.issue(name)
    showing(pair, context)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context


class ClientTests(SynchronousTestCase):
    """With a folder, a Clock, and the authority of the run in `root.pem`."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.root = self.write("root.pem", authority().cert_pem.bytes())
        self.clock = Clock()
        self.dialled = Dialled()
        self.made = RecorderFactory()

    def write(self, name: str, *content: bytes) -> str:
        path = Path(self.folder) / name
        path.write_bytes(b"".join(content))
        path.chmod(0o600)
        return str(path)

    def endpoint(self, host: str = "localhost", **said: Any) -> TLSClientEndpoint:
        said.setdefault("trust_roots", [self.root])
        return TLSClientEndpoint(self.clock, host, 443, over=self.dialled, aside=aside, **said)

    def connect(self, **said: Any) -> Deferred[Any]:
        return self.endpoint(**said).connect(self.made)

    def refused(self, done: Deferred[Any]) -> TLSConnectError:
        """It has failed in the one way, and nobody of the user's was made."""
        error: TLSConnectError = self.failureResultOf(done, TLSConnectError).value
        self.assertEqual(self.made.made, [])
        self.assertNotIn("\n", str(error))
        self.assertTrue(str(error).startswith(f"{error.cause}: "), str(error))
        return error


class ConnectTests(ClientTests):
    """From the wish to the protocol."""

    def test_connect(self) -> None:
        """The protocol is made and told when the handshake is done, on both versions; data goes both ways."""
        for version in VERSIONS:
            self.made.made.clear()
            done = self.connect()
            server = self.dialled.accept(serving(version=version))
            self.assertNoResult(done)
            self.assertEqual(self.made.made, [])
            server.pump()
            protocol = self.successResultOf(done)
            self.assertEqual(self.made.made, [protocol])
            self.assertEqual(protocol.told, ["made"])
            protocol.transport.write(b"hello")
            server.pump()
            self.assertEqual(server.received, b"hello")
            server.send(b"world")
            self.assertEqual(protocol.data, b"world")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connect_error(self) -> None:
        """Whoever handles Twisted's own connection errors handles this one."""
        self.assertTrue(issubclass(TLSConnectError, ConnectError))

    def test_peer(self) -> None:
        """The transport knows the server: name, chain, version and protocol."""
        context = serving()
        context.set_alpn_select_callback(lambda connection, offered: b"h2")
        done = self.connect(alpn=["http/1.1", "h2"])
        self.dialled.accept(context).pump()
        transport = self.successResultOf(done).transport
        self.assertIsInstance(transport, TLSTransport)
        peer = transport.peer
        self.assertEqual((peer.dns, peer.version, peer.alpn), (("localhost",), "TLSv1.3", "h2"))
        self.assertEqual((transport.negotiatedProtocol, peer.server_name), (b"h2", "localhost"))
        self.assertEqual(len(peer.chain), 2)
        self.assertIs(peer.resumed, False)

    def test_data_with_the_handshake(self) -> None:
        """What the server sends at once comes after the protocol was told; what is said at once goes out first."""
        order: list[str] = []
        done = self.connect()
        done.addCallback(_say_first, order)
        server = self.dialled.accept(serving(version=SSL.TLS1_2_VERSION))
        self.made.make = lambda: _Noting(order)
        server.pump()
        server.send(b"hi")
        self.assertEqual(order, ["made", "handshake", "fired", "data"])
        self.assertEqual(server.received, b"first")

    def test_factory_is_started_and_stopped_by_what_dials(self) -> None:
        """As with every endpoint of Twisted's."""
        done = self.connect()
        wires, _ = self.dialled.waiting[0]
        wires.doStart()
        self.assertEqual(self.made.numPorts, 1)
        wires.doStop()
        self.assertEqual(self.made.numPorts, 0)
        done.addErrback(lambda _: None)
        done.cancel()

    def test_half_close(self) -> None:
        """Each direction ends by itself, with close_notify, where the protocol knows of that."""
        self.made.make = _half_closeable
        done = self.connect()
        server = self.dialled.accept(serving())
        server.pump()
        protocol = self.successResultOf(done)
        protocol.transport.loseWriteConnection()
        server.pump()
        self.assertTrue(server.finished)
        server.send(b"late")
        server.tls.shutdown()
        server.pump()
        self.assertEqual(protocol.told[:-1], ["made", "write lost", ("data", b"late"), "read lost"])
        self.assertEqual(type(protocol.lost).__name__, "ConnectionDone")

    def test_end(self) -> None:
        """A clean end is one for the protocol; the connection goes."""
        done = self.connect()
        server = self.dialled.accept(serving())
        server.pump()
        protocol = self.successResultOf(done)
        protocol.transport.loseConnection()
        server.pump()
        server.tls.shutdown()
        server.pump()
        self.assertIsNotNone(server.socket.lost)
        self.assertEqual(type(protocol.lost).__name__, "ConnectionDone")

    def test_nothing_is_left(self) -> None:
        """What was lost is gone at once: nobody has to look for garbage."""
        gc.disable()
        self.addCleanup(gc.enable)
        for name in ("localhost", "other.example"):
            done = self.connect()
            server = self.dialled.accept(serving(name))
            attempt = weakref.ref(done._canceller.__self__)  # type: ignore[union-attr]
            server.pump()
            server.socket.unregisterProducer()  # as a lost transport of Twisted's does
            server.socket.lose(ConnectionLost())
            done.addErrback(lambda _: None)
            self.made.made.clear()
            del server, done
            self.assertIsNone(attempt(), name)

    def test_no_protocol(self) -> None:
        """A factory that wants no connection gets none, and the failure says so."""
        done = self.endpoint().connect(_Factory(None))
        server = self.dialled.accept(serving())
        server.pump()
        self.assertEqual(type(self.failureResultOf(done).value).__name__, "NoProtocol")
        self.assertIsNotNone(server.socket.lost)

    def test_factory_raises(self) -> None:
        """What the user's factory raises is what the user gets."""
        done = self.endpoint().connect(_Factory(ZeroDivisionError()))
        server = self.dialled.accept(serving())
        server.pump()
        self.failureResultOf(done, ZeroDivisionError)
        self.assertIsNotNone(server.socket.lost)

    def test_protocol_raises(self) -> None:
        """A protocol that raises when it is connected: one traceback, the server is cut off, and the caller hears."""
        self.made.make = _Raising
        done = self.connect()
        server = self.dialled.accept(serving())
        server.pump()
        self.failureResultOf(done, ZeroDivisionError)
        self.assertTrue(server.socket.fin_sent)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_refused_after_the_handshake(self) -> None:
        """With TLS 1.3 a server says after the handshake that it wants another client: one line in the log."""
        lines = log_lines(self)
        context = serving(version=SSL.TLS1_3_VERSION)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        done = self.connect()
        server = self.dialled.accept(context)
        server.pump()
        server.protocol.readConnectionLost()
        protocol = self.successResultOf(done)
        self.assertIn("certificate required", str(protocol.lost))
        (line,) = lines
        self.assertRegex(line, r"^lost mytls:localhost: peer-alert: .*certificate required$")


class FailureTests(ClientTests):
    """No server, or not the right one."""

    def test_wrong_name(self) -> None:
        """The failure is one line; the server has the alert; nothing of the user's was made."""
        for version in VERSIONS:
            done = self.connect()
            server = self.dialled.accept(serving("other.example", version))
            server.pump()
            error = self.refused(done)
            self.assertIs(error.cause, Cause.NOT_ALLOWED)
            self.assertRegex(
                str(error), r"^not-allowed: it is not for localhost: server certificate .*dns=other.example"
            )
            self.assertRegex(server.alert or "", "alert")
            self.assertTrue(server.socket.fin_sent)

    def test_unknown_authority(self) -> None:
        """The failure's cause is the word for it."""
        done = self.connect()
        self.dialled.accept(serving(by=Authority())).pump()
        self.assertIs(self.refused(done).cause, Cause.UNKNOWN_CA)

    def test_bytes_before_tls(self) -> None:
        """What a server says in the clear reaches nobody."""
        done = self.connect()
        server = self.dialled.accept(serving())
        server.protocol.dataReceived(b"220 mail.example ESMTP\r\n")
        error = self.refused(done)
        self.assertIs(error.cause, Cause.NOT_TLS)
        self.assertIn("the server does not speak TLS", str(error))

    def test_bytes_before_the_verification(self) -> None:
        """What an unverified server sends with its handshake reaches nobody either."""
        done = self.connect()
        server = self.dialled.accept(serving("other.example", SSL.TLS1_3_VERSION))
        hello = bytes(server.socket.wire)
        server.socket.wire.clear()
        server.tls.bio_write(hello)
        self.assertRaises(SSL.WantReadError, server.tls.do_handshake)
        server.protocol.dataReceived(server._outgoing() + b"\x17\x03\x03\x00\x05hello")
        self.refused(done)

    def test_end_during_the_handshake(self) -> None:
        """A server that hangs up is said to have."""
        done = self.connect()
        server = self.dialled.accept(serving())
        server.protocol.readConnectionLost()
        self.assertEqual(str(self.refused(done)), "eof: the peer closed the connection during the handshake")

    def test_reset_during_the_handshake(self) -> None:
        """So is one whose connection breaks."""
        done = self.connect()
        server = self.dialled.accept(serving())
        server.socket.lose(ConnectionRefusedError())
        self.assertIs(self.refused(done).cause, Cause.RESET)

    def test_server_refuses(self) -> None:
        """An alert of the server's, as for a version that it does not have."""
        done = self.connect(min_version="TLSv1.3")
        self.dialled.accept(serving(version=SSL.TLS1_2_VERSION)).pump()
        error = self.refused(done)
        self.assertIs(error.cause, Cause.PEER_ALERT)
        self.assertIn("protocol version", str(error))

    def test_not_reached(self) -> None:
        """Whatever the dialling says is one line with the cause's word."""
        for raised, cause in (
            (ConnectionRefusedError(), Cause.BACKEND_REFUSED),
            (DNSLookupError("no such\nname"), Cause.BACKEND_REFUSED),
            (_timed_out(), Cause.BACKEND_TIMEOUT),
        ):
            done = self.connect()
            _, dialling = self.dialled.waiting.pop()
            dialling.errback(raised)
            self.assertIs(self.refused(done).cause, cause)

    def test_failure_below(self) -> None:
        """Where the endpoint below is one of these too, its failure stays as it is."""
        done = self.connect()
        _, dialling = self.dialled.waiting.pop()
        dialling.errback(TLSConnectError(Cause.EXPIRED, "it has expired"))
        self.assertEqual(str(self.refused(done)), "expired: it has expired")

    def test_time_to_dial(self) -> None:
        """Nobody there: after the time everything is given up."""
        done = self.connect(timeout=7)
        self.clock.advance(6.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.assertEqual(str(self.refused(done)), "backend-timeout: there was no connection within 7 s")
        self.assertEqual(self.dialled.cancelled, 1)

    def test_time_for_all(self) -> None:
        """Dialling and handshake share the time."""
        done = self.connect()
        self.clock.advance(20)
        server = self.dialled.accept(serving())
        self.clock.advance(9.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.assertEqual(str(self.refused(done)), "handshake-timeout: the handshake was not done within 30 s")
        self.assertIsNotNone(server.socket.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_limit(self) -> None:
        """`0` and `off` wait for ever."""
        done = self.connect(timeout="off")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        done.addErrback(lambda _: None)
        done.cancel()

    def test_cancel_while_dialling(self) -> None:
        """Dialling stops, and what comes all the same is dropped."""
        done = self.connect()
        factory, _ = self.dialled.waiting[0]
        done.cancel()
        self.failureResultOf(done)
        self.assertEqual(self.dialled.cancelled, 1)
        protocol = factory.buildProtocol(SERVER_ADDRESS)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        self.assertIsNotNone(socket.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel_while_shaking_hands(self) -> None:
        """The connection is dropped."""
        done = self.connect()
        server = self.dialled.accept(serving())
        done.cancel()
        self.failureResultOf(done)
        self.assertIsNotNone(server.socket.lost)
        self.assertEqual((self.made.made, self.clock.getDelayedCalls()), ([], []))

    def test_not_met_after_the_handshake(self) -> None:
        """Whatever is found out after the handshake, nobody is met."""

        def unmet(made: Servers, connection: Any) -> None:
            raise TLSFailure(Cause.NO_CERTIFICATE, "the server has shown no certificate")

        self.patch(Servers, "met", unmet)
        done = self.connect()
        server = self.dialled.accept(serving())
        server.pump()
        self.assertEqual(str(self.refused(done)), "no-certificate: the server has shown no certificate")
        self.assertTrue(server.socket.fin_sent)

    def test_nothing_in_the_log(self) -> None:
        """The failure is the caller's to tell."""
        lines = log_lines(self)
        done = self.connect()
        self.dialled.accept(serving("other.example")).pump()
        self.refused(done)
        self.assertEqual(lines, [])


class FilesTests(ClientTests):
    """The files change."""

    def shown(self, endpoint: TLSClientEndpoint) -> Any:
        """What the client shows."""
        context = serving()
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        endpoint.connect(self.made)
        server = self.dialled.accept(context)
        server.pump()
        return server.tls.get_peer_certificate(as_cryptography=True)

    def test_new_certificate(self) -> None:
        """A new client certificate is shown from the first connection on that is made an interval later."""
        clients = Authority("Clients")
        old, new = clients.client(), clients.client()
        path = self.write("me.pem", key_pem(old.key), pem(old.certificate))
        endpoint = self.endpoint(certificate=[path])
        self.assertEqual(self.shown(endpoint), old.certificate)
        self.write("me.pem", key_pem(new.key), pem(new.certificate))
        self.clock.advance(LOOK - 1)
        self.assertEqual(self.shown(endpoint), old.certificate)
        self.clock.advance(1)
        self.assertEqual(self.shown(endpoint), new.certificate)

    def test_broken_files(self) -> None:
        """The old stays, one line says why, once; when they are mended the new is taken."""
        clients = Authority("Clients")
        old, new = clients.client(), clients.client()
        path = self.write("me.pem", key_pem(old.key), pem(old.certificate))
        endpoint = self.endpoint(certificate=[path])
        lines = log_lines(self)
        self.write("me.pem", pem(old.certificate))
        for _ in range(2):
            self.clock.advance(LOOK)
            self.assertEqual(self.shown(endpoint), old.certificate)
        (line,) = lines
        self.assertIn(f"the new files are left out, the old stay: certKey={path}: there is no private key", line)
        self.write("me.pem", key_pem(new.key), pem(new.certificate))
        self.clock.advance(LOOK)
        self.assertEqual(self.shown(endpoint), new.certificate)
        self.assertIn("mytls:localhost: the files were read again", lines)

    def test_new_roots(self) -> None:
        """A root that is gone is not trusted any more."""
        endpoint = self.endpoint()
        self.write("root.pem", pem(Authority().certificate))
        self.clock.advance(LOOK)
        done = endpoint.connect(self.made)
        self.dialled.accept(serving()).pump()
        self.assertIs(self.refused(done).cause, Cause.UNKNOWN_CA)

    def test_looking_holds_up_nobody(self) -> None:
        """One connection waits for the look, and its time goes on; those that come meanwhile have the old."""
        looks: list[Deferred[Any]] = []

        def slow(work: Any, *about: Any) -> Deferred[Any]:
            looks.append(Deferred())
            return looks[-1]

        endpoint = TLSClientEndpoint(
            self.clock, "localhost", 443, over=self.dialled, aside=slow, trust_roots=[self.root], timeout=5
        )
        self.clock.advance(LOOK)
        first, second = endpoint.connect(self.made), endpoint.connect(self.made)
        self.assertEqual((len(looks), len(self.dialled.waiting)), (1, 1))
        self.clock.advance(5)
        self.refused(first)
        self.refused(second)
        looks[0].callback(None)
        self.assertEqual(len(self.dialled.waiting), 1)

    def test_new_policy(self) -> None:
        """A policy whose file has changed is asked in place of the old, which is let go."""
        answers = [Answer(), Answer()]
        waiting = list(answers)
        self.patch(client, "rego_policy", lambda settings, content: waiting.pop(0))
        endpoint = self.endpoint(rego=self.write("policy.rego", b"package mytls"))
        self.write("policy.rego", b"package mytls # new")
        self.clock.advance(LOOK)
        endpoint.connect(self.made)
        self.dialled.accept(serving()).pump()
        self.assertEqual([len(each.asked) for each in answers], [0, 1])
        self.assertEqual([each.stopped for each in answers], [True, False])

    def test_a_bug_in_looking(self) -> None:
        """It is in the log, and the old goes on."""
        endpoint = TLSClientEndpoint(
            self.clock, "localhost", 443, over=self.dialled, aside=lambda *_: fail(ZeroDivisionError()),
            trust_roots=[self.root],
        )  # fmt: skip
        self.clock.advance(LOOK)
        done = endpoint.connect(self.made)
        self.dialled.accept(serving()).pump()
        self.successResultOf(done)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Answer:
    """A policy that answers when the test says so."""

    written = "policy=test"
    digest = b""

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, Deferred[object]]] = []
        self.cancelled = 0
        self.stopped = False

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        answer: Deferred[object] = Deferred(self._cancelled)
        self.asked.append((peer, answer))
        return answer

    def _cancelled(self, answer: Deferred[object]) -> None:
        self.cancelled += 1

    def stop(self) -> None:
        self.stopped = True


class PolicyTests(ClientTests):
    """Who is asked besides."""

    def asking(self) -> tuple[Answer, Deferred[Any], Server]:
        """A verified server that a policy is asked of."""
        answer = Answer()
        done = self.endpoint(policies=[answer]).connect(self.made)
        server = self.dialled.accept(serving())
        server.pump()
        server.send(b"early")
        self.assertNoResult(done)
        self.assertEqual((self.made.made, answer.asked[-1][0].dns), ([], ("localhost",)))
        return answer, done, server

    def test_yes(self) -> None:
        """The server is met when the policy says so; what it has said meanwhile comes then."""
        answer, done, server = self.asking()
        answer.asked[0][1].callback(True)
        protocol = self.successResultOf(done)
        self.clock.advance(0)
        self.assertEqual(protocol.data, b"early")
        protocol.transport.write(b"hello")
        server.pump()
        self.assertEqual(server.received, b"hello")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no(self) -> None:
        """A no is a failure with its reason."""
        answer, done, server = self.asking()
        answer.asked[0][1].callback("not today")
        self.assertEqual(str(self.refused(done)), "policy: policy=test says: not today")
        self.assertTrue(server.socket.fin_sent)

    def test_time(self) -> None:
        """The policy has what is left of the time."""
        answer, done, server = self.asking()
        self.clock.advance(30)
        self.assertEqual(str(self.refused(done)), "handshake-timeout: the policy has not answered within 30 s")
        self.assertEqual(answer.cancelled, 1)
        self.assertIsNotNone(server.socket.lost)

    def test_lost(self) -> None:
        """A server that goes meanwhile is not met."""
        answer, done, server = self.asking()
        server.socket.lose(ConnectionLost())
        self.assertIn("the connection was lost before it was decided", str(self.refused(done)))
        self.assertEqual(answer.cancelled, 1)

    def test_cancel(self) -> None:
        """Nobody waits any more: nobody is asked any more."""
        answer, done, server = self.asking()
        done.cancel()
        self.failureResultOf(done)
        self.assertEqual((answer.cancelled, self.made.made), (1, []))
        self.assertIsNotNone(server.socket.lost)


class StringTests(ClientTests):
    """`mytls:` wherever Twisted takes the string of a client endpoint."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()

    def from_string(self, text: str) -> Any:
        return clientFromString(self.reactor, text)

    def test_address(self) -> None:
        """An address is dialled as it is, from the address that is said, in our own time."""
        self.from_string(rf"mytls:192.0.2.7:443:trustRoots={self.root}:bindAddress=192.0.2.1").connect(self.made)
        self.from_string(rf"mytls:host=2001\:db8\:\:7:port=8443:trustRoots={self.root}:timeout=2m").connect(self.made)
        one, two = self.reactor.tcpClients
        self.assertEqual((one[0], one[1], one[3], one[4]), ("192.0.2.7", 443, None, ("192.0.2.1", 0)))
        self.assertEqual((two[0], two[1]), ("2001:db8::7", 8443))
        self.assertEqual(sorted(each.getTime() for each in self.reactor.getDelayedCalls()), [30, 120])

    def test_name(self) -> None:
        """A name is looked up and dialled as Twisted's own endpoint does it."""
        endpoint = self.from_string(f"mytls:Bücher.Example:443:trustRoots={self.root}")
        self.assertIsInstance(endpoint._kept._below, HostnameEndpoint)
        self.assertEqual(repr(endpoint), "<TLSClientEndpoint xn--bcher-kva.example:443>")

    def test_over_another_endpoint(self) -> None:
        """TLS goes over any other client endpoint; host and port give the name."""
        path = self.folder / "socket"
        text = rf"mytls:localhost:443:trustRoots={self.root}:endpoint=unix\:{path}"
        self.from_string(text).connect(self.made)
        self.assertEqual(len(self.reactor.unixClients), 1)
        self.from_string(rf"mytls:localhost:trustRoots={self.root}:endpoint=tcp\:192.0.2.9\:1").connect(self.made)
        self.assertEqual(self.reactor.tcpClients[0][:2], ("192.0.2.9", 1))

    def test_every_word(self) -> None:
        """All words at once."""
        own = Authority().client()
        key, certificate = self.write("me.key", key_pem(own.key, b"secret")), self.write("me.pem", pem(own.certificate))
        password = self.write("password", b"secret")
        self.from_string(
            f"mytls:192.0.2.7:443:certKey={certificate}:privateKey={key}:passwordFile={password}"
            f":trustRoots={self.root},{self.root}:serverName=localhost:verify=cn=a,dns=localhost:alpn=h2,http/1.1"
            ":timeout=10s:bindAddress=192.0.2.1:minVersion=TLSv1.2:maxVersion=TLSv1.3"
        )

    def test_as_a_backend(self) -> None:
        """`proxy:` takes it."""
        found = client_endpoint(self.reactor, f"mytls:192.0.2.7:443:trustRoots={self.root}")
        self.assertIsInstance(found, TLSClientEndpoint)

    def test_wrong_words(self) -> None:
        """Each is one line, which names the word."""
        for text, expected in WRONG.items():
            with self.assertRaises(ConfigurationError, msg=text) as caught:
                self.from_string(text)
            self.assertEqual(str(caught.exception), expected)

    def test_python_values(self) -> None:
        """The class takes lists and numbers, and names what is wrong as the string does."""
        for said, expected in (
            ({"alpn": 5}, "alpn: an integer where an array of application protocols is expected"),
            ({"server_name": ""}, "serverName: '' is no host name; expected one such as api.example or *.api.example"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.endpoint(**said)
            self.assertEqual(str(caught.exception), expected)
        self.assertRaises(TypeError, self.endpoint, servername="x")
        made = self.endpoint(alpn=("h2",), timeout=2.5, trust_roots=Path(self.root))
        self.assertTrue(verifyObject(IStreamClientEndpoint, made))
        self.endpoint(trust_roots=(Path(self.root), self.root))


class _Noting(Protocol):
    """Notes what it is told."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    def connectionMade(self) -> None:
        self._order.append("made")

    def handshakeCompleted(self) -> None:
        self._order.append("handshake")

    def dataReceived(self, data: bytes) -> None:
        self._order.append("data")


implementer(IHandshakeListener)(_Noting)


@implementer(IHalfCloseableProtocol)
class _HalfCloseable(Recorder):
    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")


class _Raising(Protocol):
    """Cannot stand being connected."""

    def connectionMade(self) -> None:
        raise ZeroDivisionError


def _say_first(protocol: Any, order: list[str]) -> None:
    order.append("fired")
    protocol.transport.write(b"first")


def _half_closeable() -> Protocol:
    return _HalfCloseable()


class _Factory(Factory):
    """Makes nothing, or raises."""

    noisy = False

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def buildProtocol(self, addr: Any) -> None:
        if self._error is not None:
            raise self._error


def _timed_out() -> Failure:
    from twisted.internet.error import TimeoutError

    return Failure(TimeoutError())
