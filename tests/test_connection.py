"""One connection's life: before TLS, around the handshake, and what is told of it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause
from mytls.events import Accepted, Closed, Established, Event, HandlerFailed, HandshakeFailed, Observers
from mytls.guards.policy import MOST_THREADS, FunctionPolicy, Policy
from mytls.hosts import Host, Hosts
from mytls.interfaces import IDrainable
from mytls.listener import TLSFactory
from mytls.peer import Identity, Peer
from mytls.settings import Deadlines
from mytls.tls import profiles
from mytls.tls.contexts import connection_maker
from mytls.tls.transport import MAX_HELD
from tests.handlers.loop import PATIENCE, Loop
from tests.memory import Link, Recorder, RecorderFactory, client_context, tls_options


class BeforeTLSTests(SynchronousTestCase):
    """Until the ClientHello is whole."""

    def _refused(self, data: bytes, cause: Cause, alert: int | None) -> Link:
        link = Link()
        link.to_server(data)
        event = link.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual(event.cause, cause)
        expected = b"" if alert is None else bytes((21, 3, 1, 0, 2, 2, alert))
        self.assertEqual(bytes(link.socket.wire), expected)
        self.assertTrue(link.socket.fin_sent)
        link.to_server(b"more of it")
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self.assertEqual(link.handlers, [])
        return link

    def test_plain_http(self) -> None:
        """Plain HTTP gets an alert and a FIN, and is named."""
        self._refused(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Cause.PLAIN_HTTP, 10)

    def test_random_bytes(self) -> None:
        """So do other bytes."""
        self._refused(b"\x00\x01\x02\x03\x04\x05", Cause.NOT_TLS, 10)

    def test_ssl2(self) -> None:
        """An SSL 2 ClientHello is an old version."""
        self._refused(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", Cause.OLD_VERSION, 70)

    def test_huge_hello(self) -> None:
        """A ClientHello of a megabyte is refused by its header; nothing of it is kept."""
        record = b"\x16\x03\x01\x40\x00" + b"\x01\x10\x00\x00" + b"\0" * 16380
        self._refused(record, Cause.BAD_HELLO, 47)

    def test_alert(self) -> None:
        """A client that begins with an alert gets none back."""
        self._refused(bytes((21, 3, 1, 0, 2, 2, 40)), Cause.PEER_ALERT, None)

    def test_connect_and_close(self) -> None:
        """Who connects and closes is told as eof, and is gone at once."""
        link = Link()
        link.fin()
        self.assertEqual(link.events[-1].cause, Cause.EOF)  # type: ignore[attr-defined]
        self.assertIsNotNone(link.socket.lost)

    def test_connect_and_reset(self) -> None:
        """Who connects and resets is told as reset."""
        link = Link()
        link.reset()
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self.assertEqual(link.events[-1].cause, Cause.RESET)  # type: ignore[attr-defined]

    def test_refused_peer_cannot_stay(self) -> None:
        """Who is refused and does not go is gone at the close deadline."""
        link = Link()
        link.to_server(b"GET / HTTP/1.1\r\n\r\n")
        link.clock.advance(5.1)
        self.assertIsNotNone(link.socket.lost)


class HandshakeDeadlineTests(SynchronousTestCase):
    """The time for the handshake runs from accept, in all."""

    def test_silent(self) -> None:
        """A client that says nothing is gone after 10 seconds, and told as such."""
        link = Link()
        link.clock.advance(9.9)
        self.assertIsNone(link.socket.lost)
        link.clock.advance(0.2)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self.assertEqual(link.events[-1].cause, Cause.HANDSHAKE_TIMEOUT)  # type: ignore[attr-defined]

    def test_dribbling(self) -> None:
        """Each byte does not begin the time anew, neither in the ClientHello nor after it."""
        link = Link()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        hello = link.outgoing()
        for at in range(11):
            link.to_server(hello[at : at + 1])
            link.clock.advance(1)
        self.assertIsNotNone(link.socket.lost)
        after = Link()
        with self.assertRaises(SSL.WantReadError):
            after.client.do_handshake()
        after.to_server(after.outgoing())
        after.clock.advance(10.1)
        self.assertIsNotNone(after.socket.lost)
        self.assertEqual(after.events[-1].cause, Cause.HANDSHAKE_TIMEOUT)  # type: ignore[attr-defined]

    def test_in_time(self) -> None:
        """A handshake in time is never cut by it later."""
        link = Link()
        link.clock.advance(9)
        link.handshake()
        link.clock.advance(100)
        self.assertIsNone(link.socket.lost)

    def test_own_length(self) -> None:
        """The length is the listener's; 0 is no deadline."""
        short = Link(deadlines=Deadlines(handshake=1))
        short.clock.advance(1.1)
        self.assertIsNotNone(short.socket.lost)
        none = Link(deadlines=Deadlines(handshake=0))
        none.clock.advance(1000)
        self.assertIsNone(none.socket.lost)

    def test_no_timer_is_left(self) -> None:
        """When the last connection is gone no timer is."""
        link = Link()
        link.handshake()
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertEqual(link.clock.getDelayedCalls(), [])


class EventTests(SynchronousTestCase):
    """What happened, in order."""

    def test_whole_life(self) -> None:
        """Accepted, established, closed, each with who and where."""
        link = Link()
        link.clock.advance(1)
        link.handshake()
        link.client.send(b"abc")
        link.pump()
        link.clock.advance(2)
        link.client.shutdown()
        link.pump()
        accepted, established, closed = link.events
        assert isinstance(accepted, Accepted)
        assert isinstance(established, Established)
        assert isinstance(closed, Closed)
        self.assertEqual(accepted.address, "192.0.2.1:50000")
        self.assertEqual({established.connection, closed.connection}, {accepted.connection})
        self.assertEqual(established.seconds, 1)
        self.assertEqual(established.peer.version, "TLSv1.3")
        self.assertEqual((closed.seconds, closed.bytes_in, closed.cause), (3, 3, None))

    def test_name_of_a_failed_handshake(self) -> None:
        """A handshake that fails after the ClientHello is told with the name that was asked for."""
        link = Link(server_name=b"shop.example")
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        link.fin()
        event = link.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual(event.server_name, "shop.example")

    def test_observer_that_raises(self) -> None:
        """What an observer raises is logged and harms nobody."""

        def broken(event: Event) -> None:
            raise ZeroDivisionError

        link = Link()
        link.factory.observers = Observers([broken, link.events.append])
        link.handshake()
        self.assertEqual(link.kinds()[-1], "Established")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unreadable_certificate(self) -> None:
        """A certificate that OpenSSL takes and the library cannot read ends the handshake; it is no traceback."""

        def broken(connection: SSL.Connection, as_cryptography: bool) -> None:
            raise ValueError("5 is not a\nvalid X509 version")

        self.patch(SSL.Connection, "get_verified_chain", broken)
        self.patch(Identity, "of", lambda certificate: certificate)
        self.patch(SSL.Connection, "get_peer_certificate", lambda connection, as_cryptography: object())
        link = Link()
        link.handshake()
        event = link.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual(event.cause, Cause.BAD_HELLO)
        self.assertIn("valid X509 version", event.detail)
        self.assertEqual(link.handlers, [])

    def test_handler_that_fails_for_everybody(self) -> None:
        """A fault that all clients run into has ten tracebacks a minute, and each connection has its events."""

        class Broken(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        first = Link(handler=RecorderFactory(Broken))
        links = [first, *(Link(handler=first.handler, factory=first.factory) for _ in range(24))]
        for link in links:
            link.handshake()
            link.clock.advance(0.25)
            link.client.send(b"x")
            link.to_server(link.outgoing())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 10)
        failed = [each for each in first.events if isinstance(each, HandlerFailed)]
        self.assertEqual(len(failed), 25)
        self.assertRegex(failed[-1].where, r"^ZeroDivisionError at .*test_connection\.py:\d+$")
        self.assertGreater(failed[0].seconds, 0)

    def test_settings_that_fail(self) -> None:
        """TLS settings that raise when a connection is made are ours to see; the client gets internal_error."""

        class Broken:
            def getContext(self) -> SSL.Context:
                raise ZeroDivisionError

        link = Link(options=Broken())
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(bytes(link.socket.wire)[-1:], bytes((80,)))
        self.assertEqual(link.kinds()[-1], "HandshakeFailed")


class StoppingTests(SynchronousTestCase):
    """The service ends its connections."""

    def test_nothing_open(self) -> None:
        """With nothing open it is over at once."""
        link = Link()
        link.reset()
        self.successResultOf(link.factory.end_connections())

    def test_open_connections_are_finished(self) -> None:
        """A handler's connection gets close_notify; one without a handler is dropped."""
        link = Link()
        link.handshake()
        silent = Link(factory=link.factory)
        done = link.factory.end_connections()
        self.assertIsNotNone(silent.socket.lost)
        self.assertNoResult(done)
        link.pump()
        self.assertTrue(link.peer_finished)
        link.client.shutdown()
        link.pump()
        self.successResultOf(done)
        self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_drainable(self) -> None:
        """A handler that wants to be told when the service stops is told, and may end by itself."""

        @implementer(IDrainable)
        class Drains(Recorder):
            def drain(self) -> None:
                self.transport.write(b"goodbye")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]

        link = Link(RecorderFactory(Drains))
        link.handshake()
        done = link.factory.drain(30)
        link.pump()
        self.assertEqual(bytes(link.received), b"goodbye")
        link.client.shutdown()
        link.pump()
        self.assertEqual(self.successResultOf(done), 0)

    def test_cut(self) -> None:
        """Who holds on is cut a second after the close deadline."""
        link = Link()
        link.handshake()

        class Holds:
            def stopProducing(self) -> None:
                pass

            pauseProducing = resumeProducing = stopProducing

        link.transport.registerProducer(Holds(), True)
        done = link.factory.end_connections()
        link.clock.advance(5.5)
        self.assertNoResult(done)
        link.clock.advance(1)
        self.successResultOf(done)


class GarbageTests(SynchronousTestCase):
    """What a connection leaves behind."""

    def test_no_cycles(self) -> None:
        """When it is gone, so is all of it, without the garbage collector: OpenSSL's memory above all."""
        gc.disable()
        self.addCleanup(gc.enable)
        link = Link()
        link.handshake()
        tls = _inside(link)._tls
        left: list[Any] = [weakref.ref(each) for each in (tls, tls.getHandle(), link.protocol)]
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertIsInstance(link.recorder.lost, ConnectionDone)
        del tls, link.socket.protocol, link.protocol, link.handlers[:]
        self.assertEqual([each() for each in left], [None, None, None])

    def test_failure_after_the_end(self) -> None:
        """A handler that raises when its connection is long gone is told of all the same, with its peer."""
        link = Link()
        link.handshake()
        transport = link.transport
        link.reset()
        transport.handlerFailed(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        event = link.events[-1]
        assert isinstance(event, HandlerFailed)
        self.assertEqual(event.peer.version, "TLSv1.3")


class ChosenNameTests(SynchronousTestCase):
    """The name that the host was chosen by is the name that OpenSSL saw."""

    def test_names(self) -> None:
        """Upper case, a trailing dot, an address, other bytes: the two agree, or the connection ends."""
        for name in (b"LocalHost", b"localhost.", b"192.0.2.1", b"caf\xc3\xa9", b"\xff\x01", b"a" * 255):
            link = Link(server_name=name, options=tls_options())
            link.handshake()
            established = [event for event in link.events if isinstance(event, Established)]
            self.assertEqual([event.peer.server_name for event in established], [name.decode("latin-1")])

    def test_disagreement(self) -> None:
        """Where OpenSSL saw another name the connection ends, and no handler is made."""
        link = Link()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        _inside(link)._server_name = b"other.example"
        link.to_client()
        link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertEqual(link.handlers, [])
        self.assertEqual(link.events[-1].cause, Cause.UNKNOWN_NAME)  # type: ignore[attr-defined]
        self.assertTrue(link.socket.fin_sent)

    def test_second_hello(self) -> None:
        """Who asks for another name after a HelloRetryRequest, or for none before it, has entered nowhere."""
        for first, second in ((b"localhost", b"other.example"), (None, b"localhost")):
            context = client_context(SSL.TLS1_3_VERSION)
            if not profiles._set_groups(context, ["X448", "X25519"]):
                self.skipTest("this pyOpenSSL cannot set groups")
            link = Link(server_name=first, options=tls_options(), context=context)
            self.assertRaises(SSL.WantReadError, link.client.do_handshake)
            link.to_server(link.outgoing())
            link.client.set_tlsext_host_name(second)
            link.to_client()
            link.handshake()
            self.assertEqual(link.handlers, [])
            self.assertEqual(link.events[-1].cause, Cause.UNKNOWN_NAME)  # type: ignore[attr-defined]


VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


class Asked:
    """
    A policy that answers when the test says so.

    @ivar peers: with whom it was asked
    @ivar answers: what it will answer, in the same order
    @ivar cancelled: how many answers nobody waits for any more
    """

    written, digest = "p", b"p"

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.answers: list[Deferred[object]] = []
        self.cancelled = 0

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        self.peers.append(peer)
        self.answers.append(Deferred(self._cancel))
        return self.answers[-1]

    def stop(self) -> None:
        pass

    def _cancel(self, answer: Deferred[object]) -> None:
        self.cancelled += 1


class PolicyTests(SynchronousTestCase):
    """Between the handshake and the handler: policies decide."""

    def setUp(self) -> None:
        self.policy = Asked()

    def link(self, *policies: Policy, version: int | None = None, clock: Clock | None = None, **said: Any) -> Link:
        """A client of a host with these policies."""
        events: list[Event] = []
        clock = clock or Clock()
        host = Host(connection_maker(tls_options()), policies=policies or (self.policy,))
        handler = RecorderFactory()
        factory = TLSFactory(Hosts(host), handler, clock, Deadlines(**said), Observers([events.append]))
        link = Link(handler=handler, clock=clock, factory=factory, context=client_context(version))
        link.events = events
        return link

    def asked(self, version: int | None = None, data: bytes = b"", **said: Any) -> Link:
        """A client whose handshake is done, who has sent this right behind it, and waits."""
        link = self.link(version=version, **said)
        self.shake_hands(link, data)
        return link

    def shake_hands(self, link: Link, data: bytes = b"") -> None:
        for _ in range(10):
            try:
                link.client.do_handshake()
            except SSL.WantReadError:
                link.to_server(link.outgoing())
                link.to_client()
            else:
                break
        for at in range(len(data)):
            link.client.send(data[at : at + 1])
        link.pump()

    def check_refused(self, link: Link, cause: Cause, detail: str) -> None:
        """Assert that it is told once that this client was not let in, and that no handler has heard of it."""
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        event = link.events[-1]
        assert isinstance(event, HandshakeFailed)
        self.assertEqual((event.cause, event.detail), (cause, detail))
        self.assertEqual(link.handlers, [])

    def test_yes(self) -> None:
        """Nothing happens before the yes; then the handler gets what came meanwhile, once and in order."""
        for version in VERSIONS:
            link = self.asked(version, b"hello")
            self.assertEqual((link.kinds(), link.handlers), (["Accepted"], []))
            self.policy.answers.pop().callback(True)
            link.client.send(b", world")
            link.pump()
            link.turn()
            link.pump()
            self.assertEqual(link.kinds(), ["Accepted", "Established"])
            self.assertEqual((link.recorder.told[0], link.recorder.data), ("made", b"hello, world"))
            self.assertIs(link.transport.peer, self.policy.peers[-1])
            link.transport.write(b"and you")
            link.pump()
            self.assertEqual(bytes(link.received), b"and you")
            link.client.shutdown()
            link.pump()
            link.fin()
            self.assertEqual(link.kinds(), ["Accepted", "Established", "Closed"])
            self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_no(self) -> None:
        """A no is the end: told once, with the reason, without a handler; the client sees the connection end."""
        for version in VERSIONS:
            link = self.asked(version, b"hello")
            self.policy.answers.pop().callback("not today")
            link.pump()
            link.turn()
            self.check_refused(link, Cause.POLICY, "p says: not today")
            self.assertTrue(link.socket.fin_sent)
            link.fin()
            self.assertIsNotNone(link.socket.lost)
            self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
            self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """An answer that is there at once is as good."""
        for version in VERSIONS:
            for answer, kind in ((True, "Established"), (False, "HandshakeFailed")):

                class AtOnce(Asked):
                    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
                        return succeed(answer)  # noqa: B023  # it is asked before the next comes

                link = self.link(AtOnce(), version=version)
                self.shake_hands(link, b"hello")
                link.turn()
                self.assertEqual(link.kinds(), ["Accepted", kind])
                self.assertEqual([each.data for each in link.handlers], [b"hello"] if answer is True else [])

    def test_all_are_asked(self) -> None:
        """With two policies both have to say yes, one after the other."""
        other = Asked()
        link = self.link(self.policy, other)
        self.shake_hands(link)
        self.assertEqual(other.answers, [])
        self.policy.answers.pop().callback(True)
        self.assertEqual(link.kinds(), ["Accepted"])
        other.answers.pop().callback(True)
        self.assertEqual(link.kinds(), ["Accepted", "Established"])

    def test_functions(self) -> None:
        """A function in a thread and a coroutine decide alike."""

        def plain(peer: Peer) -> object:
            return peer.version == "TLSv1.3" or "an old version"

        async def coroutine(peer: Peer) -> object:
            return plain(peer)

        functions: tuple[Callable[[Peer], object], ...] = (plain, coroutine)
        for function in functions:
            for version, kind in zip(VERSIONS, ("HandshakeFailed", "Established"), strict=True):
                loop = Loop()
                link = self.link(FunctionPolicy("m:f", function), version=version, clock=loop)
                self.shake_hands(link, b"hello")
                loop.until(lambda: len(link.events) > 1)  # noqa: B023  # at once
                loop.advance(0)
                self.assertEqual(link.kinds(), ["Accepted", kind])
                if kind == "Established":
                    self.assertEqual(link.recorder.data, b"hello")

    def test_no_more_is_kept_meanwhile(self) -> None:
        """While it is undecided so much is kept and no more, so a client cannot fill memory; then it is read again."""
        link = self.asked()
        sent = b""
        while link.socket.reading:
            self.assertLess(len(sent), MAX_HELD)
            sent += bytes(10000)
            link.client.send(bytes(10000))
            link.pump()
        self.assertEqual(link.kinds(), ["Accepted"])
        self.policy.answers.pop().callback(True)
        link.turn()
        self.assertTrue(link.socket.reading)
        link.client.send(b"more")
        link.pump()
        self.assertEqual(link.recorder.data, sent + b"more")

    def test_deadline(self) -> None:
        """A policy that does not answer in its time has said no, and hears that nobody waits any more."""
        for version in VERSIONS:
            link = self.asked(version)
            link.clock.advance(4.9)
            self.assertEqual(link.kinds(), ["Accepted"])
            link.clock.advance(0.2)
            self.check_refused(link, Cause.POLICY, "the policy has not answered within 5 s")
        self.assertEqual(self.policy.cancelled, 2)

    def test_own_deadline(self) -> None:
        """Its length is the listener's; 0 is none. The handshake's deadline is over when the handshake is."""
        link = self.asked(policy=0.5)
        link.clock.advance(0.6)
        self.check_refused(link, Cause.POLICY, "the policy has not answered within 0.5 s")
        patient = self.asked(policy=0, handshake=1)
        patient.clock.advance(10000)
        self.policy.answers.pop().callback(True)
        self.assertEqual(patient.kinds(), ["Accepted", "Established"])

    def test_peer_goes(self) -> None:
        """A client that goes while it is undecided was never there: told once, and the policy hears of it."""
        for version in VERSIONS:
            for go, cause in (
                (Link.reset, Cause.RESET),
                (Link.fin, Cause.EOF),
                (_says_goodbye_and_goes, Cause.EOF),
            ):
                link = self.asked(version, b"" if go is _says_goodbye_and_goes else b"hello", policy=0)
                before = self.policy.cancelled
                go(link)
                self.assertEqual(self.policy.cancelled, before + 1)
                self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
                self.assertEqual(link.events[-1].cause, cause)  # type: ignore[attr-defined]
                link.clock.advance(6)
                self.assertEqual((link.kinds(), link.handlers), (["Accepted", "HandshakeFailed"], []))
                self.assertIsNotNone(link.socket.lost)
                self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_peer_is_finished(self) -> None:
        """A client that has sent all it has to say, and close_notify, is answered after the yes."""
        for version in VERSIONS:
            link = self.asked(version, b"hello")
            link.client.shutdown()
            link.pump()
            self.assertEqual(link.kinds(), ["Accepted"])
            self.policy.answers.pop().callback(True)
            link.turn()
            link.pump()
            self.assertEqual(link.recorder.data, b"hello")
            link.fin()
            self.assertIsInstance(link.recorder.lost, ConnectionDone)
            self.assertEqual(link.kinds(), ["Accepted", "Established", "Closed"])

    def test_peer_has_gone_with_all_said(self) -> None:
        """A client that has said all, and close_notify, and has sent a FIN may still read: it is served after a yes."""
        for version in VERSIONS:
            link = self.asked(version, b"hello")
            _says_goodbye_and_goes(link)
            link.turn()
            self.assertEqual((link.kinds(), self.policy.cancelled), (["Accepted"], 0))
            self.policy.answers.pop().callback(True)
            link.turn()
            self.assertEqual(link.recorder.data, b"hello")
            self.assertIsInstance(link.recorder.lost, ConnectionDone)
            self.assertEqual(link.kinds(), ["Accepted", "Established", "Closed"])
            self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_peer_has_gone_and_nobody_decides(self) -> None:
        """Who has gone with all said is not kept for ever: no longer than who does not answer our close."""
        link = self.asked(None, b"hello", policy=0)
        _says_goodbye_and_goes(link)
        link.clock.advance(4.9)
        self.assertEqual(link.kinds(), ["Accepted"])
        link.clock.advance(0.2)
        self.check_refused(link, Cause.RESET, "the connection was lost before the policy answered")
        self.assertEqual(self.policy.cancelled, 1)
        self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_yes_to_who_is_on_the_way_out(self) -> None:
        """A yes to a client that has ended, and whose socket is still there, makes no handler."""
        link = self.link()
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_client()
        link.client.do_handshake()
        link.socket.peer_reads = False  # so that its tickets stay with us
        link.to_server(link.outgoing())
        link.fin()
        self.assertIsNone(link.socket.lost)
        self.policy.answers.pop().callback(True)
        self.check_refused(link, Cause.EOF, "the connection was lost before the policy answered")
        link.clock.advance(20)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])

    def test_waiting_is_forgotten(self) -> None:
        """Of clients who hang up while a function's threads are all taken, none is asked about any more."""
        held, asked = threading.Event(), []

        def function(peer: Peer) -> object:
            asked.append(peer)
            return held.wait(PATIENCE)

        loop, policy = Loop(), FunctionPolicy("m:f", function)
        links = [self.link(policy, clock=loop, policy=0) for _ in range(MOST_THREADS + 2)]
        for link in links:
            self.shake_hands(link)
        links[-1].fin()
        links[-2].reset()
        held.set()
        loop.until(lambda: all(len(link.events) > 1 for link in links))
        self.assertEqual([link.kinds()[-1] for link in links], ["Established"] * MOST_THREADS + ["HandshakeFailed"] * 2)
        self.assertEqual(len(asked), MOST_THREADS)

    def test_service_stops(self) -> None:
        """When the service stops nobody waits for a policy."""
        link = self.asked()
        done = link.factory.end_connections()
        self.successResultOf(done)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(self.policy.cancelled, 1)
        self.check_refused(link, Cause.DRAIN, "the service stops, and the policy has not answered")
        self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_resumed(self) -> None:
        """A session that is resumed is a connection like any other: the policy is asked."""
        for version in VERSIONS:
            first = self.asked(version)
            self.policy.answers.pop().callback(True)
            first.pump()
            session = first.client.get_session()
            first.client.shutdown()
            link = Link(factory=first.factory, clock=first.clock, context=first.client.get_context())
            assert session is not None
            link.client.set_session(session)
            self.shake_hands(link)
            self.assertTrue(self.policy.peers[-1].resumed)
            self.policy.answers.pop().callback(False)
            self.assertEqual(len(first.handlers), 1)

    def test_without_a_certificate(self) -> None:
        """A client without a certificate is asked about too, with nothing to be known by."""
        self.asked()
        self.assertIsNone(self.policy.peers[-1].identity)
        self.assertEqual(self.policy.peers[-1].cn, ())

    def test_no_cycles(self) -> None:
        """What is gone while it was undecided leaves nothing behind."""
        gc.disable()
        self.addCleanup(gc.enable)
        link = self.asked()
        tls = _inside(link)._tls
        left: list[Any] = [weakref.ref(each) for each in (tls, tls.getHandle(), link.protocol)]
        link.reset()
        self.policy.answers.clear()
        link.socket.unregisterProducer()
        del tls, link.socket.protocol, link.protocol
        self.assertEqual([each() for each in left], [None, None, None])


def _inside(link: Link) -> Any:
    """What a test may look into."""
    return link.protocol


def _says_goodbye_and_goes(link: Link) -> None:
    link.client.shutdown()
    link.to_server(link.outgoing())
    link.fin()
