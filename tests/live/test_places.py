"""TLS over whatever Twisted listens on: UNIX sockets, sockets of systemd, IPv6; and places without TLS."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE

#: What systemd does: descriptor 3 is the socket, and the environment names the process that it is for.
ACTIVATE = """
import os, sys
descriptor = int(sys.argv[1])
os.dup2(descriptor, 3, inheritable=True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="mytls.socket", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def has_ipv6() -> bool:
    """Whether ::1 is an address of this machine."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def test_tls_on_a_unix_socket(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """`mytls:over=unix\\:PATH` serves TLS on a UNIX socket."""
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", port="", interface="", over=r"unix\:s.sock")
    with serve("--endpoint", endpoint, cwd=tmp_path) as server:
        assert server.addresses[0].endswith("s.sock")
        plain = socket.socket(socket.AF_UNIX)
        plain.connect(os.fspath(tmp_path / "s.sock"))
        with secured(plain, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello socket" * 10_000)
            client.unwrap().close()
        server.wait_for(r"\] closed .* in=120000 out=120000 .* clean")


def test_tls_on_a_socket_of_systemd(certificates: Certificates, serve: Serve) -> None:
    """`mytls:over=systemd\\:domain=INET\\:index=0` adopts the socket that it is started with."""
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", port="", interface="", over=r"systemd\:domain=INET\:index=0")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        launcher = [sys.executable, "-c", ACTIVATE, str(descriptor)]
        with serve("--endpoint", endpoint, launcher=launcher, pass_fds=[descriptor]) as server:
            assert server.addresses == [f"127.0.0.1:{port}"]
            with connected(port, trusting(certificates.root)) as client:
                assert asks_and_hears(client, b"hello systemd")


@needs_ipv6
def test_tls_on_ipv6(certificates: Certificates, serve: Serve) -> None:
    """`interface=\\:\\:1` listens on IPv6's loopback address, and on no IPv4 address."""
    with serve("--endpoint", certificates.ecdsa.endpoint(interface=r"\:\:1")) as server:
        assert server.addresses == [f"[::1]:{server.port}"]
        with connected(server.port, trusting(certificates.root), "::1") as client:
            assert asks_and_hears(client, b"hello six")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), PATIENCE)


@needs_ipv6
def test_tls_on_both(certificates: Certificates, serve: Serve) -> None:
    """`interface=\\:\\:` listens on IPv6 and on IPv4."""
    with serve("--endpoint", certificates.ecdsa.endpoint(interface=r"\:\:")) as server:
        for host in ("127.0.0.1", "::1"):
            with connected(server.port, trusting(certificates.root), host) as client:
                assert asks_and_hears(client, host.encode())


def test_any_other_endpoint_is_used_as_it_is(certificates: Certificates, serve: Serve) -> None:
    """A `tcp:` endpoint has no TLS; beside it, in the same process, `mytls:` has."""
    words = ["--endpoint", r"tcp:0:interface=127.0.0.1", "--endpoint", certificates.ecdsa.endpoint(prefix="mytls")]
    with serve(*words) as server:
        plain_port, tls_port = (int(each.rpartition(":")[2]) for each in server.addresses)
        with socket.create_connection(("127.0.0.1", plain_port), PATIENCE) as plain:
            assert asks_and_hears(plain, b"hello in the clear")
        with connected(tls_port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello")
