"""Strangers who say nothing, or little, or cut what they say into pieces, trouble nobody."""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Iterable

from tests.live.authority import Certificates
from tests.live.clients import ByHand, asks_and_hears, client_context, connected, trusting
from tests.live.conftest import Serve

#: Of each kind: those who say nothing, and those who send a byte a second.
CROWD = 300
#: Seconds from accept, after which a stranger is gone.
DEADLINE = 10.0


def honest_handshakes(port: int, certificates: Certificates, seconds: float) -> list[float]:
    """How long each handshake took, from connect on, one after the other, for this long."""
    context, took = trusting(certificates.root), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        with connected(port, context):
            took.append(time.monotonic() - before)
    return took


def all_gone(strangers: Iterable[socket.socket], until: float) -> int:
    """Wait for the end of every connection. @return: how many are left at that time"""
    with selectors.DefaultSelector() as selector:
        for each in strangers:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < until:
            for key, _ in selector.select(until - time.monotonic()):
                selector.unregister(key.fileobj)
        return len(selector.get_map())


def test_600_strangers_delay_nobody_and_are_gone_after_the_deadline(certificates: Certificates, serve: Serve) -> None:
    """
    300 that say nothing and 300 that send one byte of a ClientHello a second cost an honest client's handshake
    less than 50 ms, and every one of them is gone 10 s after it was accepted.
    """
    words = ("--deadlines-handshake", "10s", "--log-repeats", "off")
    with serve("--endpoint", certificates.ecdsa.endpoint(backlog="1024"), *words) as server:
        example = ByHand(server.port, client_context())
        example.close()
        alone = honest_handshakes(server.port, certificates, 1)
        began = time.monotonic()
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2 * CROWD)]
        accepted = time.monotonic()
        try:
            crowded: list[float] = []
            for byte in example.hello:
                second = time.monotonic() + 1
                if second > began + DEADLINE - 2:
                    break
                for each in crowd[:CROWD]:
                    each.send(bytes([byte]))
                crowded += honest_handshakes(server.port, certificates, second - time.monotonic())
            assert statistics.median(crowded) - statistics.median(alone) < 0.050
            assert len(crowded) > 10
            assert all_gone(crowd, accepted + DEADLINE + 2) == 0
            assert time.monotonic() > began + DEADLINE
        finally:
            for each in crowd:
                each.close()
        server.wait_for(r"handshake-failed .* cause=handshake-timeout ", 2 * CROWD)
        with connected(server.port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"still here")


def test_a_client_hello_may_be_cut_at_every_byte(certificates: Certificates, serve: Serve) -> None:
    """Whatever two segments the ClientHello comes in, the handshake is completed and the client is echoed."""
    context, at_once = client_context(), 200
    with serve("--endpoint", certificates.ecdsa.endpoint()) as server:
        example = ByHand(server.port, context)
        example.close()
        offsets = range(1, len(example.hello))
        for first in range(0, len(offsets), at_once):
            clients = [(offset, ByHand(server.port, context)) for offset in offsets[first : first + at_once]]
            try:
                for offset, each in clients:
                    each.socket.sendall(each.hello[:offset])
                # By the end of another's handshake the server has read what was sent before it.
                with connected(server.port, trusting(certificates.root)):
                    pass
                for offset, each in clients:
                    each.socket.sendall(each.hello[offset:])
                for offset, each in clients:
                    each.finish_handshake()
                    assert each.asks_and_hears(b"%d" % offset)
            finally:
                for _, each in clients:
                    each.close()
        server.wait_for(r"\] closed .* in=\d+ out=\d+ ", len(offsets))


def test_a_client_hello_may_come_in_records_of_one_byte(certificates: Certificates, serve: Serve) -> None:
    """Each byte of the ClientHello in a record of its own, all at once or a segment for each, is a ClientHello."""
    with serve("--endpoint", certificates.ecdsa.endpoint()) as server:
        for in_segments in (False, True):
            client = ByHand(server.port, client_context())
            try:
                records = [client.hello[:3] + b"\x00\x01" + bytes([byte]) for byte in client.hello[5:]]
                for piece in records if in_segments else [b"".join(records)]:
                    client.socket.sendall(piece)
                client.finish_handshake()
                assert client.asks_and_hears(b"in pieces")
            finally:
                client.close()


def test_what_is_no_tls_is_refused_in_one_line(certificates: Certificates, serve: Serve) -> None:
    """A web browser without TLS, random bytes and a silent end are each told of in one line, without a traceback."""
    with serve("--endpoint", certificates.ecdsa.endpoint()) as server:
        for said in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(128, 255)), b""):
            with socket.create_connection(("127.0.0.1", server.port), 30) as stranger:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
        server.wait_for("handshake-failed ", 3)
        for cause in ("plain-http", "not-tls", "eof"):
            server.wait_for(rf"handshake-failed .* cause={cause} ")
        assert "Traceback" not in server.log
