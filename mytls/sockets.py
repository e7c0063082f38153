"""
Sockets that write at once.

Twisted's transports queue every write for the next turn of the reactor. Where nothing is queued the socket can
nearly always take it now; that saves a system call, a turn and a copy for each message. Only what the socket does
not take is queued, and from then on everything is as Twisted does it.
"""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import Any

from twisted.internet import abstract, interfaces, main, tcp, unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from mytls.errors import Cause, TLSFailure
from mytls.guards.deadlines import Deadline
from mytls.peer import Peer
from mytls.settings import Deadlines
from mytls.tls.contexts import connection_maker
from mytls.tls.identity import peer_of
from mytls.tls.transport import TLSTransport

_log = Logger()

#: How much one connection may write past the reactor before it waits its turn. A producer that writes until it is
#: paused would write for ever to a peer that reads as fast, and nobody else would be served.
AT_ONCE = 1024 * 1024

#: Errors of a write after which a FIN is still one: the socket is full, the system is, or the FIN came before.
_NO_RESET = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EPIPE)


class _WritesAtOnce(tcp.Connection):
    """For any stream transport of Twisted's: C{write} tries the socket first."""

    _allowance = AT_ONCE
    _in_read = False
    _close_after_read = False
    _broken = False

    def write(self, data: bytes) -> None:
        """Send what the socket takes, queue the rest."""
        if (
            self._tempDataBuffer
            or self.dataBuffer
            or self._allowance <= 0
            or not self.connected
            or self._writeDisconnecting
            or self._writeDisconnected
            or self._aborting
            or (self.producer is not None and not self.streamingProducer)  # who waits to be asked for more
        ):
            abstract.FileDescriptor.write(self, data)
            return
        try:
            sent = self.socket.send(data)
        except OSError as error:  # full, or lost: the reactor will find out which
            sent = 0
            # The system tells a reset once. Who reads after that finds an end like any other.
            self._broken = error.errno not in _NO_RESET
        self._allowance -= sent
        if sent < len(data):
            abstract.FileDescriptor.write(self, data[sent:])

    def doRead(self) -> Exception | None:  # type: ignore[override]  # the base forgets what it may return
        """Give the protocol what has come; as Twisted's, with fewer calls."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        return self._dataReceived(data)

    def _dataReceived(  # type: ignore[override]  # as above
        self, data: bytes | None
    ) -> ConnectionDone | ConnectionLost | None:
        if not data:
            return main.CONNECTION_LOST if self._broken else main.CONNECTION_DONE
        self._allowance = AT_ONCE
        self._in_read = True
        self.protocol.dataReceived(data)
        self._in_read = False
        if self._close_after_read:
            self.connectionLost(Failure(main.CONNECTION_DONE))
        return None

    def doWrite(self) -> Exception | None:  # type: ignore[override]  # as above
        """As Twisted's, for a connection that is still there after its read."""
        self._allowance = AT_ONCE
        return super().doWrite() if self.connected else None

    def loseConnection(self) -> None:
        """
        Close when all is sent. Where all is the system's already, that is at once: when the read returns that the
        protocol is in, or in the next turn. To wait until the socket is writable would be to wait for the peer.
        """
        if self._aborting:
            return
        if not self.connected or self.disconnecting or self.TLS or self.producer or self.queued():
            super().loseConnection()
            return
        self.disconnecting = 1
        if self._in_read:
            self._close_after_read = True
        else:
            self.stopReading()
            self.stopWriting()
            self.reactor.callLater(0, self._close_now)  # type: ignore[attr-defined]  # every reactor is a clock

    def _close_now(self) -> None:
        if self.connected and not self._aborting:
            self.connectionLost(Failure(main.CONNECTION_DONE))

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """
        TLS from here on, with mytls's own transport. The protocol stays, and so does its transport.

        @param ctx: what L{connection_maker} takes
        @param normal: False to be the client of this handshake, which is left to Twisted
        """
        if not normal:
            super().startTLS(ctx, normal)
            self.write = partial(tcp.Connection.write, self)  # type: ignore[method-assign]  # which encrypts
            return
        _Upgrade(self, ctx).begin()

    def serves(self, protocol: object) -> None:
        """Who is behind this connection's protocol: what is logged while it is read has that one's name."""
        self.logstr = f"{self._getLogPrefix(protocol)} (TLS),{self.logstr.partition(',')[2]}"

    def queued(self) -> int:
        """How many bytes wait here for the socket to take them."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen


class _Below:
    """The connection under its own TLS: what is written here is not encrypted once more."""

    def __init__(self, connection: _WritesAtOnce) -> None:
        self._connection = connection
        self._write = connection.write
        directlyProvides(self, providedBy(connection))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write(self, data: bytes) -> None:
        self._write(data)

    def loseConnection(self) -> None:
        abstract.FileDescriptor.loseConnection(self._connection)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        abstract.FileDescriptor.registerProducer(self._connection, producer, streaming)

    def unregisterProducer(self) -> None:
        abstract.FileDescriptor.unregisterProducer(self._connection)


class _Upgrade:
    """The owner of a TLS transport that takes over a connection in the middle of its life."""

    def __init__(self, connection: _WritesAtOnce, options: object) -> None:
        self._connection = connection
        self._protocol: Any = connection.protocol
        clock: Any = connection.reactor
        self._handshake = Deadline(clock, Deadlines().handshake)
        factory = getattr(self._protocol, "factory", None) or Factory()
        close = Deadline(clock, Deadlines().close)
        self._producer = connection.producer, connection.streamingProducer
        connection.unregisterProducer()
        maker = connection_maker(options)
        self._tls = TLSTransport(_Below(connection), maker, factory, self, clock, close)

    def begin(self) -> None:
        """Take over."""
        connection, tls = self._connection, self._tls
        tls.protocol = self._protocol
        directlyProvides(tls, providedBy(tls), interfaces.IHalfCloseableProtocol)
        connection.protocol = tls  # type: ignore[assignment]  # it hears what a protocol hears
        connection.TLS = True
        connection.write = tls.write  # type: ignore[method-assign]  # which encrypts
        connection.getHandle = tls.getHandle  # type: ignore[method-assign, assignment]  # as Twisted's own does
        connection.getPeerCertificate = tls.getPeerCertificate  # type: ignore[attr-defined]  # likewise
        directlyProvides(connection, providedBy(connection), interfaces.ISSLTransport)
        producer, streaming = self._producer
        if producer is not None:
            tls.registerProducer(producer, streaming)
        self._handshake.start(self, tls.abortConnection)

    def established(self) -> None:
        """The handshake is done; the protocol goes on."""
        self._handshake.stop(self)
        try:
            peer: Peer = peer_of(self._tls.getHandle(), self._connection.getPeer(), resumed=self._tls.resumed)
        except TLSFailure as failure:
            self._tls.refuse(failure)
            return
        self._tls.peer = self._connection.peer = peer  # type: ignore[attr-defined]
        self._tls.handshake_completed()

    def handshake_failed(self, failure: TLSFailure) -> None:
        """The protocol hears of it as a lost connection."""
        self._handshake.stop(self)

    def handler_failed(self, failure: Failure) -> None:
        """A protocol of the program's raised."""
        _log.failure("the handler failed", failure)

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        """Of a server's connections alone."""

    def lost(self, cause: object, detail: str) -> None:
        """The protocol knows."""


class TCPServer(_WritesAtOnce, tcp.Server):
    """An accepted TCP connection."""


class TCPClient(_WritesAtOnce, tcp.Client):
    """A TCP connection of ours to a server."""

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """As Twisted's, in either role: a client of mytls has its TLS from the beginning."""
        tcp.Client.startTLS(self, ctx, normal)
        self.write = partial(tcp.Connection.write, self)  # type: ignore[method-assign]  # which encrypts


class UNIXServer(_WritesAtOnce, unix.Server):
    """An accepted connection on a UNIX socket, which may carry descriptors too."""

    _writeSomeDataBase = tcp.Server
    doRead = unix.Server.doRead  # it looks for descriptors

    def write(self, data: bytes) -> None:
        """Descriptors that wait go out with data that waits."""
        if self._sendmsgQueue:
            abstract.FileDescriptor.write(self, data)
        else:
            super().write(data)


_TRANSPORTS = {tcp.Server: TCPServer, unix.Server: UNIXServer}


def write_at_once(port: interfaces.IListeningPort) -> None:
    """
    Let the connections that this port will accept write at once, and without Nagle's algorithm, which delays the
    last record of every answer. A port that is no port of Twisted's own is left as it is.

    @param port: what C{listen} has just returned; a Port's C{transport} is made to be replaced
    """
    if not isinstance(port, tcp.Port) or port.transport not in _TRANSPORTS:
        return
    port.transport = _TRANSPORTS[port.transport]
    if port.addressFamily in (socket.AF_INET, socket.AF_INET6):
        # Linux hands the option down to accepted sockets; once here is once for all of them.
        port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def connected_at_once(transport: object) -> None:
    """
    The same for a connection of ours that was just made. One that is no TCP connection of Twisted's own is left as it
    is.

    @param transport: Twisted has no public way to say beforehand of what class it will be, so it changes that
    """
    if type(transport) is not tcp.Client:
        return
    transport.__class__ = TCPClient
    transport.setTcpNoDelay(True)
