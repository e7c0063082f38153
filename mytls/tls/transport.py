"""
The tunnel between two Twisted interfaces: a transport of bytes below, a protocol above.

Reading. Bytes from below go into the tunnel; what comes out goes to the handler, until the tunnel has no more or
somebody says stop. "Somebody" is the handler (`pauseProducing`), or the transport below: while it holds more than
it should of what the peer does not read, and the handler has registered no producer that could be paused in its
place, nothing is read from that peer either. So what one connection holds is bounded, whatever its handler does.

Writing. Each write is encrypted at once and sent at once; while a piece of data is being delivered, what the handler
writes in answer is sent together when it returns.

Holding. Between the handshake and the handler somebody may have to decide, and take their time. What comes meanwhile
stays encrypted, up to a bound; above it the socket is not read. A peer that ends meanwhile, by a reset or a FIN, is
lost. Only where it has said something, and close_notify, before its FIN that is a whole request, whose answer it may
still read (RFC 8446 section 6.1) or want none of: it is kept, for as long as a peer may take to answer our close.

Closing. `loseConnection` waits for the producer, sends close_notify, and leaves the rest to L{Goodbye}. A handler that
has a reason to end says it: `end_because` does the same but for the close_notify, so that nobody takes half an answer
for a whole one, and `abort_because` drops what is unsent too. The reason is that of the closed event; the first counts.
The handler's `connectionLost` gets C{ConnectionDone} only where the peer's close_notify has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Protocol

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import Cause, TLSFailure
from mytls.goodbye import Goodbye
from mytls.guards.deadlines import Deadline
from mytls.peer import Peer
from mytls.proxyheader import ProxyHeader
from mytls.tls.contexts import ConnectionMaker
from mytls.tls.tunnel import WRITE_SIZE, State, tunnel

#: How many bytes OpenSSL may answer by itself while no data comes, or while the peer does not read. An answer to a
#: KeyUpdate is 27 bytes, so this is some 1,200 of them; RFC 8446 section 5.5 needs one for each 2**24.5 records.
MAX_UNASKED = 32 * 1024
#: How much ciphertext of a peer that nobody has decided about is kept: so much, and one read of the socket more.
MAX_HELD = 64 * 1024

#: How a connection has ended whose handler takes a FIN for an end like any other.
_TRUNCATED = "truncated: the peer closed the connection without close_notify"


class Phase(Enum):
    """How far the life of a transport has come."""

    HANDSHAKE = "handshake"
    #: Whether there will be a handler is not decided.
    HELD = "held"
    OPEN = "open"
    #: `loseConnection` was called; something registered is still to be written.
    CLOSING = "closing"
    #: Our last byte is written; the peer's end is waited for.
    GOODBYE = "goodbye"
    LOST = "lost"


# An enum's members are slow to look up (before Python 3.12), and these are looked at for each message.
_HANDSHAKE, _HELD, _OPEN, _CLOSING, _GOODBYE, _LOST = Phase
_TUNNEL_OPEN = State.OPEN
_HEARS = (State.OPEN, State.HANDSHAKE, State.FINISHED)
_SPEAKS = (State.OPEN, State.PEER_FINISHED, State.HANDSHAKE)


class Owner(Protocol):
    """Who decides what a finished handshake leads to, and hears how it ends."""

    def established(self) -> None:
        """The handshake is done: C{connect} a handler, C{refuse} the peer, or close."""

    def handshake_failed(self, failure: TLSFailure) -> None:
        """There will be no handshake."""

    def handler_failed(self, failure: Failure) -> None:
        """The handler raised: it is this one's to write down."""

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """A backend that the handler wanted could not be had."""

    def lost(self, cause: Cause | None, detail: str) -> None:
        """An established connection is gone. @param cause: None after a clean end"""


class _Negotiation:
    """What Twisted's C{CertificateOptions} look for on the protocol that they make a connection for."""

    __slots__ = ("wrappedFactory",)

    def __init__(self, factory: IProtocolFactory) -> None:
        self.wrappedFactory = factory


@implementer(ITCPTransport, ISSLTransport, INegotiated, IConsumer, IPushProducer, ISystemHandle)
class TLSTransport:
    """
    A TLS connection, as the transport of a handler.

    @ivar peer: the other side, once the handshake is done
    @ivar disconnecting: whether C{loseConnection} was called
    @ivar bytes_in: plaintext bytes delivered
    @ivar bytes_out: plaintext bytes accepted
    @ivar draining: whether the service stops
    """

    draining = False
    peer: Peer | None = None
    disconnecting = False
    disconnected = False
    connected = True
    bytes_in = 0
    bytes_out = 0
    _sent = 0
    # Few connections need these, and for a short time.
    _kept: tuple[bytes, ...] = ()
    _kept_back = 0

    def __init__(
        self,
        below: Any,
        maker: ConnectionMaker,
        factory: IProtocolFactory,
        owner: Owner,
        clock: IReactorTime,
        close_deadline: Deadline,
        *,
        accepts: bool = True,
        header: ProxyHeader | None = None,
    ) -> None:
        """
        @param below: the transport of the ciphertext; its protocol hands on what it hears
        @param maker: makes the OpenSSL connection
        @param factory: the handler's, which may have application protocols to offer
        @param close_deadline: how long the peer may take to answer our close_notify
        @param accepts: whether this is the server; a client has to L{begin}
        @param header: what a proxy in front of us has said of the connection
        """
        self.factory = _Negotiation(factory)
        self.protocol: IProtocol | None = None
        self._below = below
        self._header = header
        self._owner = owner
        self._clock = clock
        self._phase = _HANDSHAKE
        self._close_deadline = close_deadline
        self._goodbye = Goodbye(below, close_deadline)
        self._reason: Failure | None = None
        self._ended: tuple[Cause | None, str] | None = None
        self._paused = False
        self._full = False
        self._flowing = True
        self._delivering = False
        self._held = 0
        self._unasked = 0
        self._told_peer_finished = False
        self._truncated = False
        self._producer: Any = None
        self._streaming = True
        connection = maker(self)
        connection.set_app_data(self)
        if accepts:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        self._tunnel = tunnel(connection)
        below.registerProducer(_Backpressure(self), True)

    # --- what the connection below tells

    def dataReceived(self, ciphertext: bytes) -> None:
        """Bytes from the peer. What comes after its close_notify, or after a failure, is nothing."""
        tunnel = self._tunnel
        if tunnel.state is not _TUNNEL_OPEN and tunnel.state not in _HEARS:
            return
        tunnel.feed(ciphertext)
        if self._phase is _OPEN:
            self._deliver()
        elif self._phase is _HANDSHAKE:
            self._shake_hands()
        elif self._phase is _HELD:
            self._keep_back(len(ciphertext))
        elif self._phase is _CLOSING:
            self._discard()
            self._after_delivery()
        else:
            self._overhear()

    def readConnectionLost(self) -> None:
        """The peer will send nothing more: a FIN below."""
        if self._phase is _LOST or (self._phase is _HELD and self._hears_out()):
            return
        if self._phase is _OPEN and self._tunnel.state in (State.OPEN, State.FINISHED) and self._carries_on():
            self._truncated = True
            self._tunnel.end()
            self._after_delivery()
            return
        shaking = self._phase is _HANDSHAKE
        cut = self._tunnel.cut()
        if self._phase is _GOODBYE:
            self._goodbye.end()
        elif cut is not None and shaking:
            self._no_handshake(cut)
        elif cut is not None:
            self._fail(cut, peer_is_through=True)
        elif self._phase is _HELD:
            self._say_goodbye(peer_is_through=True)

    def writeConnectionLost(self) -> None:
        """Our direction has ended below."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection below is gone."""
        shaking = self._phase is _HANDSHAKE
        farewell = self._phase is _GOODBYE
        self._phase = _LOST
        self.disconnected, self.connected = True, False
        self._goodbye.forget()
        if self._kept:
            self._close_deadline.stop(self)
        self._stop_producer()
        if shaking:
            self._owner.handshake_failed(TLSFailure(Cause.RESET, "the connection was lost during the handshake"))
        if self.protocol is not None:
            self._call(self.protocol.connectionLost, self._reason or self._reason_of(reason))
        if not shaking:
            self._owner.lost(*(self._ended or self._end_of(reason, farewell)))
        # What refers to us and we to it: without these nobody has to look for garbage.
        self._tunnel.connection.set_app_data(None)
        self.protocol = None

    # --- the handshake

    def begin(self) -> None:
        """Say hello: a client speaks first."""
        self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            done = self._tunnel.handshake()
        except TLSFailure as failure:
            self._no_handshake(failure)
            return
        if not done:
            self._flush()
            return
        self._phase = _OPEN
        self._unasked, self._held = 0, 1  # a handshake's own messages, its tickets among them, answer nobody
        self._delivering = True  # what the handler writes first goes out with our last handshake messages
        try:
            self._owner.established()
        finally:
            self._delivering = False
        if self._phase is _OPEN:
            self._deliver()
            self._tunnel.shed()
        elif self._phase is not _LOST:
            self._after_delivery()
            if self._phase is _HELD:
                self._tunnel.shed()

    def connect(self, protocol: IProtocol) -> None:
        """From within C{established}: this is the handler."""
        self.protocol = protocol
        serves = getattr(self._below, "serves", None)
        if serves is not None:
            self._call(serves, protocol)
        self._call(protocol.makeConnection, self)
        self.handshake_completed()

    def hear_first(self, data: bytes) -> None:
        """From within C{established}, behind C{connect}: what the handler hears ahead of the peer's first byte."""
        self._kept = (data, *self._kept)

    def handshake_completed(self) -> None:
        """Tell the handler, if it listens (C{IHandshakeListener})."""
        if IHandshakeListener.providedBy(self.protocol):
            self._call(self.protocol.handshakeCompleted)

    def _no_handshake(self, failure: TLSFailure) -> None:
        self._phase = _GOODBYE
        self._reason = Failure(ConnectionLost(failure.detail))
        self._owner.handshake_failed(failure)
        self._say_goodbye()

    def hold(self) -> None:
        """From within C{established}: whether there will be a handler is not decided yet. What comes is kept back."""
        self._phase = _HELD

    def release(self) -> bool:
        """
        It is decided: C{connect} a handler, C{refuse} the peer, or close.

        @return: whether the peer is still there; otherwise it is lost, or in a moment will be
        """
        if self._phase is not _HELD:
            return False
        self._phase = _OPEN
        if self._kept:
            self._close_deadline.stop(self)
        if self._flowing:
            self._clock.callLater(0, self._flow_again)
        else:
            self._below.pauseProducing()
        return True

    def _keep_back(self, size: int) -> None:
        self._kept_back += size
        if self._kept_back >= MAX_HELD:
            self._below.pauseProducing()

    def _hears_out(self) -> bool:
        """A FIN while nothing is decided. @return: whether that is seen to, as what the peer has sent by then tells"""
        kept = list(self._kept)
        try:
            while data := self._tunnel.read():
                kept.append(data)
        except TLSFailure as failure:
            self._fail(failure, peer_is_through=True)
            return True
        if not kept or self._tunnel.state is not State.PEER_FINISHED:
            return False
        self._kept = tuple(kept)
        self._close_deadline.start(self, self.abortConnection)
        return True

    def refuse(self, failure: TLSFailure) -> None:
        """End the connection in place of C{connect}: the peer is not let in."""
        self._ended = (failure.cause, failure.detail)
        self._owner.handshake_failed(failure)
        self._tunnel.cut()  # whatever still comes is not worth decrypting
        self._say_goodbye()

    # --- reading

    def _deliver(self) -> None:
        """Give the handler what there is, for as long as it wants it; then send what has come of it."""
        if self._delivering:
            return
        read, self._delivering = self._read_kept if self._kept else self._tunnel.read, True
        try:
            while self._flowing and (data := read()):
                self.bytes_in += len(data)
                if not self._full:
                    self._unasked = 0
                self.protocol.dataReceived(data)  # type: ignore[union-attr]
        except TLSFailure as failure:
            self._fail(failure)
        except Exception:
            self._handler_failed(Failure())
        finally:
            self._delivering = False
        if self._phase is not _LOST:
            self._after_delivery()

    def _read_kept(self) -> bytes:
        """What is to be heard first, or has come before it was decided; then what the peer says."""
        if not self._kept:
            return self._tunnel.read()
        data, self._kept = self._kept[0], self._kept[1:]
        return data

    def _after_delivery(self) -> None:
        if self._tunnel.unsent:
            self._write(b"")
        # An end comes before the flush, so that our close_notify goes out with what was written before it.
        if self._phase is _OPEN and self._tunnel.state is not _TUNNEL_OPEN and not self._kept:
            self._peer_finished()
        if self._phase is _CLOSING:
            # A push producer may go on for ever; a pull producer's piece of work has an end, and is waited for.
            if self._streaming and self._tunnel.state in (State.PEER_FINISHED, State.CLOSED):
                self._stop_producer()
            self._finish_when_written()
        if self._phase is _GOODBYE:
            self._overhear()
        else:
            self._flush()

    def _discard(self) -> None:
        """Nobody wants what the peer still says."""
        try:
            while self._tunnel.state is not State.FAILED and self._tunnel.read():
                pass
        except TLSFailure as failure:
            if self._phase is _GOODBYE:
                self._goodbye.end()
            else:
                self._fail(failure)

    def _overhear(self) -> None:
        """All is sent; only that the peer is through is worth hearing."""
        self._discard()
        self._tunnel.outgoing()
        if self._tunnel.state is State.CLOSED:
            self._goodbye.end()

    def _peer_finished(self) -> None:
        """The peer's close_notify: the handler may go on writing if it knows how; otherwise it is the end."""
        if self._told_peer_finished or self._tunnel.state is State.FINISHED:
            return
        self._told_peer_finished = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.readConnectionLost)
        if self._tunnel.state is State.CLOSED or not IHalfCloseableProtocol.providedBy(self.protocol):
            self.loseConnection()

    def _carries_on(self) -> bool:
        """Whether the handler takes an end without close_notify for one like any other."""
        return bool(getattr(self.protocol, "carries_truncation_on", False))

    def _regulate(self) -> None:
        """Read from the peer, or not, as the facts stand."""
        flowing = not self._paused and not (self._full and self._producer is None)
        if flowing == self._flowing:
            return
        self._flowing = flowing
        if self._phase not in (_OPEN, _CLOSING):
            return
        if flowing:
            self._clock.callLater(0, self._flow_again)
        else:
            self._below.pauseProducing()

    def _flow_again(self) -> None:
        """What was decrypted or received before the pause comes first, then the socket."""
        if self._phase is _HELD:
            return
        if self._flowing and self._phase is _OPEN:
            self._deliver()
        if self._flowing and self._phase is not _LOST and self._tunnel.state in (State.OPEN, State.FINISHED):
            self._below.resumeProducing()

    # --- writing

    def write(self, data: bytes) -> None:
        """Encrypt and send. After C{loseConnection} only a registered producer may still write."""
        if type(data) is not bytes and not isinstance(data, bytearray | memoryview | bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if (self._phase is not _OPEN or self._tunnel.state is not _TUNNEL_OPEN) and not self._writes_still():
            return
        size = len(data)
        self.bytes_out += size
        if size <= WRITE_SIZE:
            self._write(data)
            return
        self._write_in_parts(memoryview(data))

    def _write_in_parts(self, data: memoryview) -> None:
        """A large write is one write, whatever a producer does when it is paused in the middle of it."""
        within, self._delivering = self._delivering, True
        for at in range(0, len(data), WRITE_SIZE):
            if self._phase not in (_GOODBYE, _LOST):
                self._write(data[at : at + WRITE_SIZE])
        self._delivering = within
        if not within and self._phase is not _LOST:
            self._after_delivery()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """All of these, as one write."""
        self.write(b"".join(data))

    def _writes_still(self) -> bool:
        """
        After the peer's close_notify, after C{loseConnection} with a producer, and before the handshake of an
        upgraded connection; never after our own close_notify.
        """
        if self._tunnel.state not in _SPEAKS:
            return False
        if self._phase is _CLOSING:
            return self._producer is not None
        return self._phase is _OPEN or (self._phase is _HANDSHAKE and self.protocol is not None)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._tunnel.write(data)
        except TLSFailure as failure:
            self._fail(failure)
            return
        if self._tunnel.unsent:
            self._set_full(True)
        elif self._full and not data:
            self._set_full(False)
        self._held += len(data)
        if not self._delivering or self._held >= WRITE_SIZE:
            self._flush()

    def _flush(self) -> None:
        ciphertext = self._tunnel.outgoing()
        if not ciphertext:
            return
        if self._held:
            self._held = 0
            self._sent += len(ciphertext)
        else:
            self._count_unasked(len(ciphertext))
        self._below.write(ciphertext)

    def _count_unasked(self, size: int) -> None:
        """
        OpenSSL answers by itself (KeyUpdate, refused renegotiation). A peer that makes it do so again and again, and
        sends no data or reads no answer, is dropped: TLS has no other bound on that.
        """
        self._unasked += size
        if self._unasked > MAX_UNASKED and self._phase in (_OPEN, _CLOSING):
            self._ended = (Cause.LIMIT, f"over {MAX_UNASKED} bytes of answers to messages without data")
            self._reason = Failure(ConnectionLost(self._ended[1]))
            self.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See C{IConsumer}.

        A transport that is registered as its own producer, as an echo does, asks for what happens anyway.

        @raise RuntimeError: one is registered already
        """
        if producer is self:
            return
        if self._producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self._producer} was never unregistered."
            )
        if self._phase in (_GOODBYE, _LOST):
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        self._regulate()
        if not streaming:
            self._pull()
        elif self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See C{IConsumer}."""
        self._producer = None
        self._regulate()
        if self._phase is _CLOSING and not self._delivering:
            self._finish_when_written()

    def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._call(producer.stopProducing)

    def _pull(self) -> None:
        """Ask a pull producer for its next piece, once a turn, while there is room."""
        if self._producer is None or self._streaming or self._full or self._phase in (_GOODBYE, _LOST):
            return
        self._call(self._producer.resumeProducing)
        if self._producer is not None and not self._full:
            self._clock.callLater(0, self._pull)

    def _set_full(self, full: bool) -> None:
        """The transport below holds more than it should, or has sent it all."""
        if full == self._full or self._phase is _LOST:
            return
        self._full = full
        if self._producer is None:
            self._regulate()
        elif not self._streaming:
            self._pull()
        else:
            self._call(self._producer.pauseProducing if full else self._producer.resumeProducing)

    # --- closing

    def loseConnection(self) -> None:
        """Send all that was written, then close_notify, then close."""
        if self._phase is not _OPEN:
            if self._phase in (_HANDSHAKE, _HELD):
                self.abortConnection()
            return
        self.disconnecting = True
        self._phase = _CLOSING
        self._flowing = False
        if not self._delivering:
            self._finish_when_written()

    def loseWriteConnection(self) -> None:
        """Send close_notify, and go on reading (RFC 8446 section 6.1)."""
        if self._phase is not _OPEN or self._tunnel.state not in (State.OPEN, State.PEER_FINISHED):
            return
        if self._tunnel.state is State.PEER_FINISHED:
            self.loseConnection()
            return
        self._finish_tunnel()
        self._flush()
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.writeConnectionLost)

    def abortConnection(self) -> None:
        """Drop the connection at once, and what is unsent with it."""
        if self._phase is _LOST:
            return
        self.disconnecting = True
        self._flowing = False
        if self._phase is not _HANDSHAKE:
            self._phase = _GOODBYE
            self._reason = self._reason or Failure(ConnectionAborted())
            self._ended = self._ended or (Cause.RESET, "we aborted the connection")
        self._below.unregisterProducer()
        self._below.abortConnection()

    def end_because(self, cause: Cause, detail: str) -> None:
        """
        The handler's conversation has failed: send all that was written, and close without close_notify.

        @param cause: why, for the closed event
        @param detail: the same in a few words
        """
        self._explain(cause, detail)
        self.loseConnection()

    def abort_because(self, cause: Cause, detail: str) -> None:
        """The same, and what is unsent is dropped."""
        self._explain(cause, detail)
        self.abortConnection()

    def dismiss(self, cause: Cause, detail: str) -> None:
        """
        The peer may not be here any more, whatever the handler thinks of it: that hears at once that it is over, and
        what it has written before is sent.
        """
        if self._phase is _HANDSHAKE:
            self.abortConnection()
        elif self._phase not in (_GOODBYE, _LOST):
            self._explain(cause, detail)
            self.disconnecting = True
            self._say_goodbye()
            protocol, self.protocol = self.protocol, None
            if protocol is not None:
                self._call(protocol.connectionLost, self._reason)

    def expire(self) -> None:
        """
        The handler has had its time: close_notify goes out if all is written that was before it, and the handler hears
        that it is over.
        """
        if self._phase not in (_OPEN, _CLOSING):
            return
        self.disconnecting = True
        if self._ended is None and not self._tunnel.unsent and self._tunnel.state in (State.OPEN, State.PEER_FINISHED):
            self._finish_tunnel()
        self._reason = self._reason or Failure(ConnectionLost("the time of the connection was over"))
        self._say_goodbye(self._tunnel.state is State.CLOSED)
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self._call(protocol.connectionLost, self._reason)

    def _explain(self, cause: Cause, detail: str) -> None:
        if self._phase in (_OPEN, _CLOSING) and self._ended is None:
            self._ended = (cause, detail)
            self._reason = Failure(ConnectionLost(detail))

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """A backend that the handler wanted for the peer could not be had."""
        self._owner.backend_failed(backend, cause, detail)

    @property
    def closing(self) -> bool:
        """Whether it has begun to end, by anybody's doing."""
        return self._phase in (_CLOSING, _GOODBYE, _LOST)

    def queued(self) -> int:
        """How many bytes of ciphertext wait for the peer to read, where the transport below can tell."""
        queued = getattr(self._below, "queued", None)
        return queued() if queued is not None else 0

    @property
    def moved(self) -> int:
        """A number that is another one when bytes have moved, either way."""
        return self.bytes_in + (self._sent - self.queued() if self.bytes_out else 0)  # tickets are nobody's bytes

    def handlerFailed(self, failure: Failure) -> None:
        """The handler's code raised where we did not call it: in a thread, in a coroutine."""
        self._handler_failed(failure)

    def failVerification(self, reason: Failure) -> None:
        """What Twisted's TLS protocols offer to whoever verifies a peer: abort, with this reason."""
        self._reason = reason
        self.abortConnection()

    def _finish_when_written(self) -> None:
        if self._phase is not _CLOSING or self._producer is not None or self._tunnel.unsent:
            return
        if self._ended is None and self._tunnel.state in (State.OPEN, State.PEER_FINISHED):
            self._finish_tunnel()
        self._say_goodbye(self._tunnel.state is State.CLOSED)
        if self._tunnel.state is not State.CLOSED:
            self._overhear()

    def _finish_tunnel(self) -> None:
        try:
            self._tunnel.finish()
        except TLSFailure as failure:
            self._ended = self._ended or (failure.cause, failure.detail)

    def _fail(self, failure: TLSFailure, peer_is_through: bool = False) -> None:
        """TLS cannot go on: send what was written and the alert that OpenSSL has made, if it has, and close."""
        self._ended = self._ended or (failure.cause, failure.detail)
        self._reason = Failure(ConnectionLost(failure.detail))
        self._say_goodbye(peer_is_through)

    def _say_goodbye(self, peer_is_through: bool = False) -> None:
        """Send what lies ready, and leave the rest to L{Goodbye}; nobody above is asked for anything more."""
        self._phase = _GOODBYE
        self._flowing = False
        self._stop_producer()
        self._flush()
        self._below.unregisterProducer()
        if peer_is_through:
            self._goodbye.end()
        else:
            self._goodbye.begin()

    def _handler_failed(self, failure: Failure) -> None:
        """
        Ours to see: its owner writes the traceback. The peer sees its connection cut, without close_notify, since what
        it got may be half an answer.
        """
        self._owner.handler_failed(failure)
        if self._phase in (_LOST, _GOODBYE):
            return
        self._ended = (Cause.HANDLER, f"the handler raised {failure.type.__name__ if failure.type else failure.type}")
        self._reason = failure
        self._say_goodbye()

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            self._handler_failed(Failure())

    def _reason_of(self, reason: Failure) -> Failure:
        if self._tunnel.state in (State.CLOSED, State.PEER_FINISHED) or not isinstance(reason.value, ConnectionDone):
            return reason
        return Failure(ConnectionLost("the peer sent no close_notify"))

    def _end_of(self, reason: Failure, farewell: bool) -> tuple[Cause | None, str]:
        if isinstance(reason.value, ConnectionAborted):
            return Cause.RESET, "the peer did not read what was left in time"
        if farewell or self._tunnel.state is State.CLOSED:
            return (Cause.EOF, _TRUNCATED) if self._truncated else (None, "")
        if self._tunnel.state is State.PEER_FINISHED and not self.bytes_out:
            return None, ""  # it has said all, and was told nothing that can be lost
        return Cause.RESET, "the peer reset the connection"

    # --- what the handler may ask

    def getHost(self) -> Any:
        """Our address, or the one that the peer has connected to at a proxy in front of us."""
        return (self._header.destination if self._header else None) or self._below.getHost()

    def getPeer(self) -> Any:
        """The peer's address, whoever has passed it on."""
        return (self._header.source if self._header else None) or self._below.getPeer()

    def fileno(self) -> int:
        """The descriptor of the socket below, or -1."""
        fileno = getattr(self._below, "fileno", None)
        return fileno() if fileno is not None else -1

    def getHandle(self) -> SSL.Connection:
        """The pyOpenSSL connection, as Twisted's TLS transports give it."""
        return self._tunnel.connection

    @property
    def resumed(self) -> bool | None:
        """Whether the handshake has resumed a session; None where that cannot be told."""
        return self._tunnel.resumed

    @property
    def presented(self) -> x509.Certificate | None:
        """The certificate that the peer was shown; where a session goes on, one of those that it might have been."""
        return self._tunnel.connection.get_certificate(as_cryptography=True)

    def getPeerCertificate(self) -> Any:
        """The peer's certificate as a pyOpenSSL C{X509}, or None; C{peer.certificate} is cryptography's."""
        return self._tunnel.connection.get_peer_certificate()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """See C{INegotiated}."""
        return self._tunnel.connection.get_alpn_proto_negotiated() or None

    def getTcpNoDelay(self) -> bool:
        """See C{ITCPTransport}."""
        return self._below.getTcpNoDelay()  # type: ignore[no-any-return]

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See C{ITCPTransport}."""
        self._below.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """See C{ITCPTransport}."""
        return self._below.getTcpKeepAlive()  # type: ignore[no-any-return]

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See C{ITCPTransport}."""
        self._below.setTcpKeepAlive(enabled)

    def pauseProducing(self) -> None:
        """Deliver nothing more, also of what has come already, and stop reading."""
        self._paused = True
        self._regulate()

    def resumeProducing(self) -> None:
        """Deliver again, from the next turn of the reactor on."""
        self._paused = False
        self._regulate()

    def stopProducing(self) -> None:
        """See C{IProducer}."""
        self.loseConnection()

    def stopReading(self) -> None:
        """C{pauseProducing}, by the word of Twisted's sockets, which its TLS transports pass on."""
        self.pauseProducing()

    def startReading(self) -> None:
        """C{resumeProducing}, likewise."""
        self.resumeProducing()


@implementer(IPushProducer)
class _Backpressure:
    """What the transport below pauses while it holds too much."""

    __slots__ = ("_transport",)

    def __init__(self, transport: TLSTransport) -> None:
        self._transport = transport

    def pauseProducing(self) -> None:
        self._transport._set_full(True)

    def resumeProducing(self) -> None:
        self._transport._set_full(False)

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` follows."""
