"""How it ends: TERM finishes with every client."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_every_open_connection_gets_close_notify(certificates: Certificates, serve: Serve, name: str) -> None:
    """At the deadline clients read a proper end; one that has said nothing is dropped; then the process ends."""
    context = trusting(certificates.root)
    number = signal.Signals[f"SIG{name}"]
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), "--deadlines-drain", "500ms") as server,
        connected(server.port, context) as one,
        connected(server.port, context) as other,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as silent,
    ):
        for client in (one, other):
            assert asks_and_hears(client, b"hello")
        server.process.send_signal(number)
        for client in (one, other):
            assert client.recv(1) == b""  # without close_notify this raises
            client.unwrap().close()
        with pytest.raises(ConnectionResetError):
            assert silent.recv(1)
        before = time.monotonic()
        assert server.wait() == 1
        assert time.monotonic() - before < 3
        server.wait_for(r"\] closed .* cause=drain", 2)
        assert "Traceback" not in server.log


def test_a_client_that_does_not_answer_holds_nobody(certificates: Certificates, serve: Serve) -> None:
    """A client that keeps silent after our close_notify is cut off when the close deadline is over."""
    with (
        serve(
            *("--endpoint", certificates.ecdsa.endpoint(), "--deadlines-drain", "500ms", "--deadlines-close", "1s")
        ) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello")
        before = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert time.monotonic() - before < 5
        assert client.recv(1) == b""
