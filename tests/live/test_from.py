"""Where clients connect from, on real sockets."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.live.authority import Certificates
from tests.live.clients import ByHand, asks_and_hears, client_context, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running

HERE, THERE = "127.0.0.1", "127.0.0.2"


def dialled(port: int, source: str) -> socket.socket:
    """A TCP connection from this address."""
    made = socket.create_connection((HERE, port), PATIENCE, (source, 0))
    made.settimeout(PATIENCE)
    return made


def enters(running: Running, certificates: Certificates, source: str) -> bool:
    """Whether who comes from there is served; if not, whether the connection is closed without a byte."""
    with dialled(running.port, source) as plain:
        try:
            with secured(plain, trusting(certificates.root)) as client:
                return asks_and_hears(client, b"hello")
        except (ssl.SSLEOFError, ConnectionError):
            return False


def closes_at_once(port: int, source: str) -> bool:
    """Whether the end comes before anything was said."""
    with dialled(port, source) as plain:
        return plain.recv(1) == b""


def goes_on(client: ByHand) -> None:
    """The rest of its handshake, and a question."""
    client.finish_handshake()
    assert client.asks_and_hears(b"in?")


def write(path: Path, *listeners: str) -> None:
    """Write a configuration file."""
    tables = "".join(f'[[listener]]\nhandler = "echo"\n{each}\n' for each in listeners)
    path.write_text(f'[reload]\ninterval = 0\non-reload = "close"\n{tables}')


def tls(certificates: Certificates, more: str = "") -> str:
    """A listener with TLS."""
    files = certificates.ecdsa
    return (
        f'endpoint = "mytls:0:interface=127.0.0.1"\ncertificate = "{files.chain}"\nprivate-key = "{files.key}"\n{more}'
    )


def test_at_accept(certificates: Certificates, serve: Serve) -> None:
    """Who comes from one of the networks is served; who does not is closed on without a byte, and has a line."""
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", **{"from": r"127.0.0.1,2001\:db8\:\:/32"})
    with serve("--endpoint", endpoint) as running:
        assert enters(running, certificates, HERE)
        assert not enters(running, certificates, THERE)
        assert closes_at_once(running.port, THERE)
        (first, _) = running.wait_for(r"refused 127.0.0.2:\d+ at 127.0.0.1:\d+ cause=from: [ -~]*", 2)
        assert " cause=from: 127.0.0.2 is in no network of from; hint: " in first
        assert "Traceback" not in running.log


def test_without_tls(serve: Serve, tmp_path: Path) -> None:
    """So it is with an endpoint that has no TLS of ours."""
    write(tmp_path / "mytls.toml", 'endpoint = "tcp:0:interface=127.0.0.1"\nfrom = "127.0.0.1"')
    with serve("--config", str(tmp_path / "mytls.toml")) as running:
        with dialled(running.port, HERE) as plain:
            assert asks_and_hears(plain, b"hello")
        assert closes_at_once(running.port, THERE)
        running.wait_for(r"refused 127.0.0.2:\d+ at 127.0.0.1:\d+ cause=from: ")


def test_of_a_host(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A host's own networks are looked at when it is known who is asked for: then there is an alert."""
    host = f'[[listener.host]]\nnames = ["localhost"]\nfrom = "{HERE}"'
    write(tmp_path / "mytls.toml", tls(certificates, host))
    with serve("--config", str(tmp_path / "mytls.toml")) as running:
        assert enters(running, certificates, HERE)
        with dialled(running.port, THERE) as plain, pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            secured(plain, trusting(certificates.root)).__enter__()
        running.wait_for(r"handshake-failed 127.0.0.2:\d+ at \S+ name=localhost cause=from ")


def test_reloaded(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """Other networks hold from the reload on, for who is there too; who is half through his handshake is refused."""
    config = tmp_path / "mytls.toml"
    plain = 'endpoint = "tcp:0:interface=127.0.0.1"'
    write(config, tls(certificates), plain)
    with serve("--config", str(config)) as running:
        running.wait_for(r"serving \S+ at ", 2)
        half = ByHand(running.port, client_context())
        half.socket.sendall(half.hello[:-1])
        begun = ByHand(running.port, client_context())
        begun.socket.sendall(begun.hello)
        assert begun.socket.recv(1, socket.MSG_PEEK)
        with secured(dialled(running.port, HERE), trusting(certificates.root)) as here:
            assert asks_and_hears(here, b"in")
            with secured(dialled(running.port, THERE), trusting(certificates.root)) as there:
                assert asks_and_hears(there, b"in")
                write(config, tls(certificates, f'from = "{THERE}"'), f'{plain}\nfrom = "{THERE}"')
                running.process.send_signal(signal.SIGHUP)
                (line,) = running.wait_for("reloaded: [ -~]*")
                assert line.endswith("; 1 connection of a client who may not enter any more: closed")
                with pytest.raises(ssl.SSLEOFError):  # no close_notify: it may be half an answer
                    here.recv(1)
                assert asks_and_hears(there, b"still in")
        running.wait_for(r"closed 127.0.0.1:\d+ .* cause=from ")
        half.socket.sendall(half.hello[-1:])
        for one in (half, begun):
            with pytest.raises((AssertionError, SSL.Error, ConnectionError)):
                goes_on(one)
            one.close()
        running.wait_for(r"handshake-failed 127.0.0.1:\d+ .* cause=from ", 2)
        assert enters(running, certificates, THERE)
        assert not enters(running, certificates, HERE)
        assert closes_at_once(int(running.addresses[1].rpartition(":")[2]), HERE)
        assert "Traceback" not in running.log
