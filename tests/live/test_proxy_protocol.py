"""A listener behind real proxies, which say with the PROXY protocol where its clients are."""

from __future__ import annotations

import csv
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from mytls.proxyheader import ProxyHeader
from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, converse, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until

#: The proxy, and the client that comes through it.
PROXY, CLIENT, OTHER = "127.0.0.1", "127.0.0.3", "127.0.0.4"

HAPROXY = """
global
  stats socket {folder}/stats
defaults
  mode tcp
  timeout connect 10s
  timeout client 10s
  timeout server 10s
listen front
  bind 127.0.0.1:{port}
  server back {back} {options}
"""

NGINX = """
{module}
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
stream {{
  server {{
    listen 127.0.0.1:{port};
    proxy_pass {back};
    proxy_protocol on;
  }}
}}
"""
#: Where Debian has what nginx loads at its start.
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

#: What is in front, by a few words: a program, and what makes it send a header.
FRONTS = {
    "haproxy v1": ("haproxy", "send-proxy"),
    "haproxy v2": ("haproxy", "send-proxy-v2"),
    "haproxy v2 with TLVs": ("haproxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl"),
    "nginx v1": ("nginx", ""),
}

Front = Callable[..., int]


def free_port() -> int:
    """A port that nobody listens at, a moment ago."""
    with socket.create_server((PROXY, 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with suppress(OSError), socket.create_connection((PROXY, port), PATIENCE):
        return True
    return False


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A proxy that listens at this port."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            until(lambda: process.poll() is not None or listens(port), f"{command[0]} listens")
            assert process.poll() is None, f"{command[0]} has ended"
            yield
        finally:
            process.kill()


@pytest.fixture
def front(needs: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a proxy in front of a place, until the test is over: the words of FRONTS and the place in, its port out."""
    with ExitStack() as running_now:

        def start(name: str, back: str, more: str = "") -> int:
            program, options = FRONTS[name]
            port, conf = free_port(), tmp_path / "front.conf"
            if program == "haproxy":
                conf.write_text(HAPROXY.format(folder=tmp_path, port=port, back=back, options=f"{options} {more}"))
                command = [needs(program), "-db", "-f", str(conf)]
            else:
                module = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
                conf.write_text(NGINX.format(module=module, folder=tmp_path, port=port, back=back))
                command = [needs(program), "-p", str(tmp_path), "-c", str(conf)]
            running_now.enter_context(running(command, port))
            return port

        yield start


def endpoint(certificates: Certificates, **words: str) -> str:
    """A TLS endpoint with this proxy in front."""
    return certificates.ecdsa.endpoint(prefix="mytls", **{"proxyProtocol": PROXY, **words})


def back_of(running: Running) -> str:
    """Where it listens, for a proxy."""
    return running.addresses[0]


def enters(port: int, certificates: Certificates, source: str = CLIENT) -> bool:
    """Whether a client from there is served, at this port."""
    plain = socket.create_connection((PROXY, port), PATIENCE, (source, 0))
    try:
        with secured(plain, trusting(certificates.root)) as client:
            return asks_and_hears(client, b"hello")
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("name", FRONTS)
def test_the_log_has_the_client(
    certificates: Certificates, serve: Serve, needs: Callable[[str], str], front: Front, name: str
) -> None:
    """OpenSSL through the proxy: the line of the log has the client's address, and the proxy's beside it."""
    with serve("--endpoint", endpoint(certificates)) as running:
        port = front(name, back_of(running))
        words = [needs("openssl"), "s_client", "-quiet", "-verify_quiet", "-no_ign_eof", "-connect", f"{PROXY}:{port}"]
        more = ["-bind", f"{CLIENT}:0", "-servername", "localhost", "-CAfile", str(certificates.root)]
        converse([*words, *more, "-verify_return_error"], b"hello\n", b"hello\n")
        (line,) = running.wait_for(rf"closed {CLIENT}:\d+ at \S+ via=\S+ name=localhost TLSv1.3 [ -~]*")
        assert re.search(rf" at {PROXY}:{running.port} via={PROXY}:\d+ ", line)
        assert "Traceback" not in running.log


@pytest.mark.parametrize("name", FRONTS)
def test_a_program_knows_the_client(certificates: Certificates, serve: Serve, front: Front, name: str) -> None:
    """What a handler is told is the client's address, and the place at the proxy that it has connected to."""
    words = ("--endpoint", endpoint(certificates), "--handler", "exec:/usr/bin/env")
    with serve(*words) as running:
        port = front(name, back_of(running))
        plain = socket.create_connection((PROXY, port), PATIENCE, (CLIENT, 0))
        own = plain.getsockname()[1]
        said = b""
        with secured(plain, trusting(certificates.root)) as client:
            while piece := client.recv(65536):
                said += piece
        found = dict(line.split("=", 1) for line in said.decode("ascii").splitlines())
        assert (found["TCPREMOTEIP"], found["TCPREMOTEPORT"]) == (CLIENT, str(own))
        assert (found["TCPLOCALIP"], found["TCPLOCALPORT"]) == (PROXY, str(port))


def test_over_a_unix_socket(certificates: Certificates, serve: Serve, front: Front, tmp_path: Path) -> None:
    """A proxy on the same machine may come by a UNIX socket, where `unix` is who is trusted."""
    words = {"port": "", "interface": "", "over": rf"unix\:{tmp_path}/back"}
    with serve("--endpoint", endpoint(certificates, proxyProtocol="unix", **words)) as running:
        assert enters(front("haproxy v2", f"unix@{tmp_path}/back"), certificates)
        running.wait_for(rf"closed {CLIENT}:\d+ at {tmp_path}/back via=unix name=localhost ")


def test_from_is_the_clients(certificates: Certificates, serve: Serve, front: Front) -> None:
    """Where clients may connect from is held against the client that the proxy names, and not against the proxy."""
    with serve("--endpoint", endpoint(certificates, **{"from": CLIENT})) as running:
        port = front("haproxy v2", back_of(running))
        assert enters(port, certificates, CLIENT)
        assert not enters(port, certificates, OTHER)
        running.wait_for(rf"handshake-failed {OTHER}:\d+ at \S+ via={PROXY}:\d+ name=- cause=from ")


def test_no_header_and_no_proxy(certificates: Certificates, serve: Serve) -> None:
    """A proxy without a header, and a header from who is no proxy, are refused and told apart by their addresses."""
    with serve("--endpoint", endpoint(certificates)) as running:
        assert not enters(running.port, certificates, PROXY)
        running.wait_for(rf"handshake-failed {PROXY}:\d+ at \S+ name=- cause=proxy-header .*: a TLS handshake where a ")
        assert enters(running.port, certificates, OTHER)
        for header in (ProxyHeader().to_v1(), ProxyHeader(local=True).to_v2()):
            with socket.create_connection((PROXY, running.port), PATIENCE, (OTHER, 0)) as stranger:
                stranger.sendall(header)
                assert stranger.recv(1) == b""
        running.wait_for(rf"handshake-failed {OTHER}:\d+ at \S+ name=- cause=proxy-header .*: a PROXY header where ", 2)


def last_check(folder: Path) -> str:
    """What HAProxy has found when it has looked last whether we are well; nothing before it is there."""
    with socket.socket(socket.AF_UNIX) as stats:
        try:
            stats.connect(str(folder / "stats"))
        except (FileNotFoundError, ConnectionRefusedError):
            return ""
        stats.sendall(b"show stat\n")
        table = stats.makefile(encoding="ascii").read()
    (row,) = [row for row in csv.DictReader(table.splitlines()) if row["svname"] == "back"]
    return row["check_status"]


@pytest.mark.parametrize("name", ["haproxy v1", "haproxy v2"])
@pytest.mark.parametrize(("check", "well"), [("", "L4OK"), ("check-ssl verify none", "L6OK")])
def test_health_checks(
    certificates: Certificates, serve: Serve, front: Front, tmp_path: Path, name: str, check: str, well: str
) -> None:
    """A balancer's checks find us well, and have no line where health checks are to have none."""
    words = ("--endpoint", endpoint(certificates), "--log-quiet", "health-checks")
    with serve(*words) as running:
        port = front(name, back_of(running), f"check inter 50ms {check}")
        until(lambda: last_check(tmp_path) == well, "HAProxy has looked, and found us well")
        for _ in range(3):
            assert enters(port, certificates)
        running.wait_for(rf"closed {CLIENT}:", 3)
        assert last_check(tmp_path) == well
        assert "handshake-failed" not in running.log
        if not check or name == "haproxy v2":  # in version 1 a check says no more of itself than a client does
            assert not re.search(rf"closed {PROXY}:", running.log)
