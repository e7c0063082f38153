"""
TLS as bytes in, bytes out: one pyOpenSSL connection on memory BIOs, which knows no socket, reactor or clock.

The theory, once. OpenSSL is asked for one of three things: to go on with the handshake, to read, to write. Each
may come back unfinished because it wants bytes from the peer first, and each may leave bytes for the peer behind:
a read may answer a KeyUpdate, a write may have to wait for the handshake. So every caller does the same: give
OpenSSL what has come, ask, and send whatever lies in the outgoing BIO, whatever the answer was. On memory BIOs
a write never wants to write, and readiness is not data: records may be in OpenSSL, undelivered, while the socket
is silent. So `read` is asked until it has nothing, and only then is the socket waited for.

The invariant: after every call here `outgoing` is sent to the peer. A write that has to wait for the peer is kept in
`unsent`, and is tried again, before anything newer, each time bytes have come.

One enum holds the state, one table its changes. A missing entry is an error of ours, and raises.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from OpenSSL import SSL

from mytls.errors import Cause, TLSFailure
from mytls.tls.failures import explain

#: How much one `read` gathers at most. Twice Twisted's reads from a socket, so that what one of these carried
#: is delivered in one piece; a bound, since a peer chooses how much it sends.
READ_SIZE = 128 * 1024
#: How much plaintext one call encrypts: eight full records. The BIO in between never holds more than that.
WRITE_SIZE = 128 * 1024
#: A record carries at most 2**14 bytes (RFC 8446 section 5.1), and OpenSSL reads into no less than that.
_RECORD = 16384
#: What the records of one full write take on the wire: header, content type, tag and padding are under 256 each.
_WIRE_SIZE = WRITE_SIZE + (WRITE_SIZE // _RECORD + 1) * 256


class State(Enum):
    """Where a TLS connection stands."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    #: The peer's close_notify has come; we may still send (RFC 8446 section 6.1).
    PEER_FINISHED = "peer-finished"
    #: Our close_notify is sent; the peer's has not come.
    FINISHED = "finished"
    CLOSED = "closed"
    FAILED = "failed"


class _Event(Enum):
    ESTABLISHED = "established"
    PEER_FINISHES = "peer-finishes"
    WE_FINISH = "we-finish"
    FAILS = "fails"


_NEXT = {
    (State.HANDSHAKE, _Event.ESTABLISHED): State.OPEN,
    (State.OPEN, _Event.PEER_FINISHES): State.PEER_FINISHED,
    (State.OPEN, _Event.WE_FINISH): State.FINISHED,
    (State.PEER_FINISHED, _Event.WE_FINISH): State.CLOSED,
    (State.FINISHED, _Event.PEER_FINISHES): State.CLOSED,
    **{(state, _Event.FAILS): State.FAILED for state in State},
}


class Tunnel:
    """
    One TLS connection. Every method may raise L{TLSFailure}, after which `outgoing` has the alert that is due.

    @ivar state: where it stands
    @ivar connection: the pyOpenSSL connection, for whoever asks about ciphers and certificates
    @ivar unsent: plaintext that OpenSSL does not take before it has read more
    """

    __slots__ = ("connection", "state", "unsent")

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.state = State.HANDSHAKE
        self.unsent = b""

    def feed(self, ciphertext: bytes) -> None:
        """Take bytes from the peer."""
        if ciphertext:
            self.connection.bio_write(ciphertext)

    def handshake(self) -> bool:
        """Go on with the handshake. @return: whether it is done"""
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        except Exception as error:  # pyOpenSSL's own, and what a callback of the context raised
            raise self._failed(error) from None
        self._change(_Event.ESTABLISHED)
        return True

    @property
    def resumed(self) -> bool | None:
        """Whether the handshake has resumed a session; None where pyOpenSSL does not tell."""
        return None

    def shed(self) -> None:
        """The handshake is done: give back memory that it alone has needed, where that can be done."""

    def read(self) -> bytes:
        """
        Plaintext from the peer, at most L{READ_SIZE} bytes; empty where there is none now.

        The state says whether there ever will be: after the peer's close_notify it is PEER_FINISHED or CLOSED.
        """
        try:
            return self.connection.recv(READ_SIZE)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            self._peer_finishes()
            return b""
        except Exception as error:
            raise self._failed(error) from None

    def write(self, plaintext: bytes | memoryview) -> None:
        """Plaintext to the peer, at most L{WRITE_SIZE} bytes at a time; nothing to try C{unsent} again."""
        if self.unsent:
            plaintext = self.unsent + bytes(plaintext)
        at = 0
        try:
            while at < len(plaintext):
                at += self.connection.send(plaintext[at:])
        except SSL.WantReadError:
            pass
        except Exception as error:
            raise self._failed(error) from None
        self.unsent = bytes(plaintext[at:])

    def outgoing(self) -> bytes:
        """What lies ready for the peer, taken out; empty where nothing does."""
        pieces = []
        try:
            while True:
                pieces.append(self.connection.bio_read(_WIRE_SIZE))
        except SSL.WantReadError:
            return b"".join(pieces)

    def finish(self) -> None:
        """Say that nothing more will be sent: close_notify (RFC 8446 section 6.1)."""
        try:
            self.connection.shutdown()
        except Exception as error:
            raise self._failed(error) from None
        self._change(_Event.WE_FINISH)

    def cut(self) -> TLSFailure | None:
        """
        The peer's bytes have ended. @return: what was wrong with that, or None after its close_notify

        The end of a stream without close_notify may be an attacker's (RFC 8446 section 6.1).
        """
        if self.state in (State.PEER_FINISHED, State.CLOSED, State.FAILED):
            return None
        during = "during the handshake" if self.state is State.HANDSHAKE else "without close_notify"
        self._change(_Event.FAILS)
        return TLSFailure(Cause.EOF, f"the peer closed the connection {during}")

    def end(self) -> None:
        """The peer's bytes have ended without close_notify, and whoever has read them takes that for one."""
        self._peer_finishes()

    def _peer_finishes(self) -> None:
        if self.state not in (State.PEER_FINISHED, State.CLOSED):
            self._change(_Event.PEER_FINISHES)

    def _failed(self, error: Exception) -> TLSFailure:
        return self._fails(explain(error, self.connection))

    def _fails(self, failure: TLSFailure) -> TLSFailure:
        self.unsent = b""
        self._change(_Event.FAILS)
        return failure

    def _change(self, event: _Event) -> None:
        self.state = _NEXT[self.state, event]


class DirectTunnel(Tunnel):
    """
    The same through the door to OpenSSL itself: no exception and no fresh buffer for each message.

    What pyOpenSSL's public C{recv} and C{bio_read} cost is an allocation of the largest size for each call, and a
    raised exception each time there is nothing more. The buffers here are shared by all connections: nothing stays
    in them between two calls.
    """

    __slots__ = ("_found", "_in", "_out", "_ssl", "_waiting")

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(connection)
        self._ssl = connection._ssl
        self._in = connection._into_ssl
        self._out = connection._from_ssl
        #: Whether OpenSSL may have a record for us: set by bytes from the peer, cleared when it has none.
        self._waiting = False
        self._found: TLSFailure | None = None

    def handshake(self) -> bool:
        result = _lib.SSL_do_handshake(self._ssl)
        if result != 1 and _lib.SSL_get_error(self._ssl, result) == _lib.SSL_ERROR_WANT_READ:
            return False
        try:  # also where it is done: a callback may have raised on the way
            self.connection._raise_ssl_error(self._ssl, result)
        except Exception as error:  # as above
            raise self._failed(error) from None
        self._change(_Event.ESTABLISHED)
        return True

    @property
    def resumed(self) -> bool | None:
        return bool(_lib.SSL_session_reused(self._ssl))

    def shed(self) -> None:
        """Give back what the handshake has made the BIOs grow to; both are empty now, and OpenSSL frees them."""
        if _lib.BIO_get_mem_data(self._in, _NULL) or _lib.BIO_get_mem_data(self._out, _NULL):
            return
        memory = _lib.BIO_s_mem()
        self._in, self._out = _lib.BIO_new(memory), _lib.BIO_new(memory)
        _lib.SSL_set_bio(self._ssl, self._in, self._out)
        self.connection._into_ssl, self.connection._from_ssl = self._in, self._out

    def feed(self, ciphertext: bytes) -> None:
        if ciphertext:
            _lib.BIO_write(self._in, ciphertext, len(ciphertext))
            self._waiting = True

    def read(self) -> bytes:
        if not self._waiting:
            return b""
        if self._found is not None:
            raise self._fails(self._found)
        count = _lib.SSL_read(self._ssl, _plain, READ_SIZE)
        if count <= 0:
            failure = self._why_not(count)
            if failure is not None:
                raise self._fails(failure)
            return b""
        # There is always room for a whole record, so OpenSSL keeps none of one back: what waits is in the BIO.
        while _lib.BIO_get_mem_data(self._in, _NULL):
            if count > READ_SIZE - _RECORD:
                break
            more = _lib.SSL_read(self._ssl, _plain + count, READ_SIZE - count)
            if more <= 0:
                # What was read before a failure is delivered first; the next read tells the failure.
                self._found = self._why_not(more)
                self._waiting = self._found is not None
                break
            count += more
        else:
            self._waiting = False
        return _unpack(_plain, count)  # type: ignore[no-any-return]

    def write(self, plaintext: bytes | memoryview) -> None:
        size = len(plaintext)
        if size == 0 or self.unsent:
            super().write(plaintext)
            return
        data = plaintext if isinstance(plaintext, bytes) else _from_buffer(plaintext)
        sent = _lib.SSL_write(self._ssl, data, size)
        if sent != size:
            super().write(plaintext[max(sent, 0) :])

    def outgoing(self) -> bytes:
        count = _lib.BIO_read(self._out, _wire, _WIRE_SIZE)
        if count <= 0:
            return b""
        first: bytes = _unpack(_wire, count)
        return first if count < _WIRE_SIZE else first + self.outgoing()

    def _why_not(self, result: int) -> TLSFailure | None:
        """Why OpenSSL has read nothing: a failure, or None where it only wants more, or will get no more."""
        self._waiting = False
        error = _lib.SSL_get_error(self._ssl, result)
        if error == _lib.SSL_ERROR_WANT_READ:
            return None
        if error == _lib.SSL_ERROR_ZERO_RETURN:
            self._peer_finishes()
            return None
        try:
            self.connection._raise_ssl_error(self._ssl, result)
        except Exception as failure:
            return explain(failure, self.connection)
        return None


def has_door(connection: object, module: object) -> bool:
    """
    Whether pyOpenSSL has the private names that L{DirectTunnel} uses.

    @param connection: one of its connections
    @param module: C{OpenSSL.SSL}
    """
    names = (
        "SSL_do_handshake",
        "SSL_read",
        "SSL_write",
        "SSL_get_error",
        "SSL_session_reused",
        "SSL_set_bio",
        "BIO_new",
        "BIO_s_mem",
        "BIO_read",
        "BIO_write",
        "BIO_get_mem_data",
    )
    return (
        all(hasattr(connection, name) for name in ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error"))
        and all(hasattr(getattr(module, "_lib", None), name) for name in names)
        and all(hasattr(getattr(module, "_ffi", None), name) for name in ("unpack", "from_buffer", "new", "NULL"))
    )


_make: type[Tunnel] = Tunnel
if has_door(SSL.Connection(SSL.Context(SSL.TLS_METHOD)), SSL):
    _lib: Any = getattr(SSL, "_lib")  # noqa: B009  # private, and not in pyOpenSSL's types
    _ffi: Any = getattr(SSL, "_ffi")  # noqa: B009  # likewise
    _unpack, _from_buffer, _NULL = _ffi.unpack, _ffi.from_buffer, _ffi.NULL
    _plain = _ffi.new("char[]", READ_SIZE)
    _wire = _ffi.new("char[]", _WIRE_SIZE)
    _make = DirectTunnel


def tunnel(connection: SSL.Connection) -> Tunnel:
    """The fastest tunnel that this pyOpenSSL allows, around a connection without a socket."""
    return _make(connection)
