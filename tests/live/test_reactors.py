"""The transport on real sockets, on each of Twisted's reactors: reasons, order, backpressure, half-close."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, receive, trusting
from tests.live.conftest import Serve
from tests.live.processes import Running

#: A handler with a word for each end, which says in the log what it is told.
APP = """
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.log import msg
from zope.interface import implementer

log = Logger()
SIZE = 8 << 20


@implementer(IPushProducer)
class Counting:
    def __init__(self, transport):
        self.transport, self.left, self.pauses, self.paused = transport, SIZE, 0, False

    def resumeProducing(self):
        self.paused = False
        while self.left and not self.paused:
            piece = min(self.left, 65536)
            self.left -= piece
            self.transport.write(bytes(piece))
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.write(b"paused" if self.pauses else b"never!")

    def pauseProducing(self):
        self.paused = True
        self.pauses += 1

    def stopProducing(self):
        self.left = 0


@implementer(IHalfCloseableProtocol)
class Talker(Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data):
        msg("heard")
        if data == b"lose":
            self.transport.write(bytes(1 << 20))
            self.transport.loseConnection()
        elif data == b"abort":
            self.transport.abortConnection()
        elif data == b"produce":
            producer = Counting(self.transport)
            self.transport.registerProducer(producer, True)
            producer.resumeProducing()
        else:
            self.transport.write(data)

    def readConnectionLost(self):
        self.transport.write(b"and one thing more")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason):
        log.info("told: {name}", name=reason.type.__name__)


talker = Factory.forProtocol(Talker)
"""

Module = Callable[[str, str], Path]


@pytest.fixture(params=["epoll", "select", "poll", "asyncio"])
def server(
    request: pytest.FixtureRequest, certificates: Certificates, serve: Serve, module: Module
) -> Iterator[Running]:
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--handler", "factory:app:talker"]
    with serve(*words, options=[f"--reactor={request.param}"], cwd=module("app", APP)) as running:
        yield running


@pytest.fixture
def context(certificates: Certificates) -> ssl.SSLContext:
    return trusting(certificates.root)


def test_peers_end(server: Running, context: ssl.SSLContext) -> None:
    """After close_notify what the handler still says arrives, and it is told C{ConnectionDone}."""
    with connected(server.port, context) as client:
        assert asks_and_hears(client, b"hello")
        with pytest.raises(ssl.SSLError, match=r"(?i)application data after close notify"):
            client.unwrap()  # sends our close_notify, and meets data before the answer to it
    server.wait_for("told: ConnectionDone")
    server.wait_for(r"\[Talker \(TLS\),0,127\.0\.0\.1\] heard")
    assert "Traceback" not in server.log


def test_truncated(server: Running, context: ssl.SSLContext) -> None:
    """A FIN without close_notify is told as C{ConnectionLost}."""
    with connected(server.port, context) as client:
        assert asks_and_hears(client, b"hello")
        client.shutdown(socket.SHUT_WR)  # of the socket below
    server.wait_for("told: ConnectionLost")
    server.wait_for(r"\] closed .* cause=eof ")


def test_reset(server: Running, context: ssl.SSLContext) -> None:
    """A reset is told as C{ConnectionLost}."""
    with connected(server.port, context) as client:
        assert asks_and_hears(client, b"hello")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_for("told: ConnectionLost")
    server.wait_for(r"\] closed .* cause=reset ")


def test_our_abort(server: Running, context: ssl.SSLContext) -> None:
    """C{abortConnection} is told as C{ConnectionAborted}; the client is reset."""
    with connected(server.port, context) as client:
        client.sendall(b"abort")
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            client.recv(1)
    server.wait_for("told: ConnectionAborted")


def test_our_end(server: Running, context: ssl.SSLContext) -> None:
    """C{loseConnection} delivers the mebibyte before it, then close_notify, and is told C{ConnectionDone}."""
    with connected(server.port, context) as client:
        client.sendall(b"lose")
        assert receive(client, 1 << 20) == bytes(1 << 20)
        assert client.recv(1) == b""  # close_notify: without one this raises
        client.unwrap()
    server.wait_for("told: ConnectionDone")


def test_push_producer(server: Running, context: ssl.SSLContext) -> None:
    """A push producer is paused for a client that reads slower than it writes, and resumed until all has arrived."""
    size = 8 << 20
    with connected(server.port, context) as client:
        client.sendall(b"produce")
        assert receive_much(client, size + 6) == b"paused"


def receive_much(client: ssl.SSLSocket, size: int) -> bytes:
    """@return: the last six of so many bytes; all before are zeros"""
    end = b""
    while size:
        piece = client.recv(min(size, 65536))
        assert piece
        size -= len(piece)
        end = (end + piece)[-6:]
    return end
