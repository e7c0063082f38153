"""The status service, asked with curl."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, TWISTD, Running, run, until

LOOPBACK = "tcp:0:interface=127.0.0.1"
SITE = r"status service at (\S+)"


@attrs.frozen
class Curl:
    """
    What asks.

    @ivar words: how to reach the service
    @ivar address: its address, which ends with a slash
    """

    program: str
    words: tuple[str, ...]
    address: str

    def __call__(self, path: str, *words: str) -> tuple[int, str]:
        """One request. @return: the status, 0 where there is no answer, and the content"""
        asked = (self.program, "-sS", "-m", "10", "-w", r"\n%{http_code}", *self.words, *words, self.address + path)
        content, _, code = run(*asked).stdout.rpartition("\n")
        return int(code), content

    def post(self, path: str, *words: str) -> tuple[int, str]:
        """The same for a POST."""
        return self(path, "-X", "POST", *words)

    def json(self, path: str) -> Any:
        """The value of a document."""
        code, content = self(path)
        assert code == 200, content
        return json.loads(content)


@pytest.fixture
def curl(needs: Callable[[str], str]) -> Callable[..., Curl]:
    """Make one. @return: a function of a server, and of words for curl"""

    def of(server: Running, *words: str) -> Curl:
        (said,) = server.wait_for(SITE)
        return Curl(needs("curl"), words, re.sub(r".* at ", "", said))

    return of


@contextmanager
def many(port: int, number: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing; those that are not let in are closed by the other end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    with ExitStack() as all_of_them:
        yield [
            all_of_them.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(number)
        ]


def processor_seconds(server: Running) -> float:
    """What it has used of the processor."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_service_is_looked_at(certificates: Certificates, serve: Serve, curl: Callable[..., Curl]) -> None:
    """Every path answers, and says what is so; a connection is closed, the files are loaded again."""
    endpoint = certificates.ecdsa.endpoint()
    with (
        serve("--endpoint", endpoint, "--handler", "echo", "--status", LOOPBACK) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        ask = curl(server)
        assert asks_and_hears(client, b"hello")
        assert ask("healthz") == (200, "ok\n")
        assert ask("readyz") == (200, "ready\n")
        assert f'mytls_connections_open{{listener="127.0.0.1:{server.port}"}} 1.0' in ask("metrics")[1]
        assert "<!DOCTYPE html>" in ask("")[1]
        assert 'event: history\ndata: [{"at":' in ask("events", "-m", "0.5")[1]
        status = ask.json("status")
        assert [each["endpoint"] for each in status["listeners"]] == [endpoint]
        assert [each["expired"] for each in status["certificates"]] == [False]
        assert (status["connections"]["open"], status["bytes"]) == (1, {"in": 5, "out": 5})
        (connection,) = ask.json("connections")
        assert (connection["handler"], connection["state"], connection["bytes_in"]) == ("echo", "open", 5)
        assert ask.post("reload") == (200, '{"served": true, "lines": []}\n')
        assert ask.json("status")["reload"]["attempts"] == 1
        assert ask.post(f"connections/{connection['id']}/close")[0] == 200
        assert client.recv(1) == b""  # without close_notify this raises
        assert ask.post(f"connections/{connection['id']}9/close")[0] == 404


def test_other_sites_are_refused(serve: Serve, curl: Callable[..., Curl]) -> None:
    """A page of another origin, or one behind a rebound name, has nothing done and reads nothing."""
    with serve("--endpoint", "tcp:0:interface=127.0.0.1", "--status", LOOPBACK) as server:
        ask = curl(server)
        own = ask.address.rstrip("/")
        for words in (
            ("-H", "Origin: http://evil.example"),
            ("-H", "Origin: null"),
            ("-H", "Origin: http://127.0.0.1:1"),
            ("-H", "Sec-Fetch-Site: cross-site"),
            ("-H", "Host: evil.example", "-H", "Origin: http://evil.example"),
        ):
            for path in ("reload", "drain", "connections/1/close"):
                assert ask.post(path, *words)[0] == 403, (path, words)
        assert ask("status", "-H", "Host: evil.example")[0] == 403
        assert ask("drain")[0] == 405
        assert ask.post("drain", "-d", "x" * 2000)[0] == 413
        assert ask("readyz") == (200, "ready\n")
        assert ask.post("reload", "-H", f"Origin: {own}", "-H", "Sec-Fetch-Site: same-origin")[0] == 200


def test_a_drain_is_seen(certificates: Certificates, serve: Serve, curl: Callable[..., Curl]) -> None:
    """It answers until the last connection is gone, says how many are left, and then the process ends."""
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), "--status", LOOPBACK) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        ask = curl(server)
        assert asks_and_hears(client, b"hello")
        assert ask.post("drain") == (202, '{"draining": true}\n')
        until(lambda: ask("readyz")[0] == 503, "not ready")
        assert ask("readyz")[1] == "draining: 1 connection left\n"
        assert ask.json("status")["drain"]["left"] == 1
        assert ask("healthz") == (200, "ok\n")
        assert asks_and_hears(client, b"still here")
        client.unwrap().close()
        assert server.wait() == 0
        assert ask("healthz")[0] == 0


def test_an_expired_certificate_is_not_ready(
    certificates: Certificates, serve: Serve, curl: Callable[..., Curl]
) -> None:
    """It is served, and no balancer should send anybody."""
    with serve("--endpoint", certificates.expired.endpoint(), "--status", LOOPBACK) as server:
        code, content = curl(server)("readyz")
        assert code == 503
        assert re.match(r"the certificate of localhost at \S+ has expired on \d{4}-\d\d-\d\d\n$", content)


def test_unix_socket(tmp_path: Path, serve: Serve, curl: Callable[..., Curl]) -> None:
    """It is its user's own; a busy one is refused, and one that a killed process has left is taken over."""
    path = tmp_path / "status.sock"
    words = ("--endpoint", "tcp:0:interface=127.0.0.1", "--status", f"unix:{path}")

    def asks(server: Running) -> None:
        ask = attrs.evolve(curl(server, "--unix-socket", str(path)), address="http://localhost/")
        assert ask("healthz") == (200, "ok\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    with serve(*words) as server:
        asks(server)
        second = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", *words)  # twistd logs to standard output by now
        assert second.returncode == 1
        assert "the socket is in use by another process" in second.stdout
        assert "Traceback" not in second.stdout
        asks(server)
    assert path.exists()  # it was killed
    with serve(*words) as server:
        asks(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not path.exists()


def test_client_certificates(
    certificates: Certificates, tmp_path: Path, serve: Serve, curl: Callable[..., Curl]
) -> None:
    """Over `mytls:` it may be on a network: who shows no certificate that is allowed hears nothing."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    for name in ("operator", "stranger"):
        authority.issue_cert(f"{name}.example", common_name=name).private_key_and_cert_chain_pem.write_to_path(
            tmp_path / f"{name}.pem"
        )
    own = tmp_path / "status.pem"
    own.write_bytes(certificates.ecdsa.key.read_bytes() + certificates.ecdsa.chain.read_bytes())
    place = f"mytls:0:interface=0.0.0.0:certKey={own}:clientCA={tmp_path / 'clients.pem'}:allow=cn=operator"
    with serve("--endpoint", "tcp:0:interface=127.0.0.1", "--status", place) as server:
        ask = curl(server, "--cacert", str(certificates.root), "--cert", str(tmp_path / "operator.pem"))
        ask = attrs.evolve(ask, address=ask.address.replace("0.0.0.0", "127.0.0.1"))
        assert ask("healthz") == (200, "ok\n")
        stranger = attrs.evolve(ask, words=(*ask.words[:2], "--cert", str(tmp_path / "stranger.pem")))
        assert stranger("healthz")[0] == 0
        assert attrs.evolve(ask, words=ask.words[:2])("healthz")[0] == 0
        server.wait_for(r"handshake-failed .* cause=not-allowed .*cn=stranger")
        server.wait_for(r"handshake-failed .* cause=no-certificate")
        (before,) = ask.json("status")["certificates"]

        own.write_bytes(certificates.rsa.key.read_bytes() + certificates.rsa.chain.read_bytes())
        assert ask.post("reload")[0] == 200
        (after,) = ask.json("status")["certificates"]
        assert (before["listener"], after["listener"], after["key"]) == ("status", "status", "RSA 2048")
        own.write_text("nothing")
        code, said = ask.post("reload")
        assert (code, "there is no private key in it" in said) == (409, True)
        assert ask.json("status")["reload"]["failures"] == 1
        assert "Traceback" not in server.log


def test_where_strangers_reach_it(serve: Serve, curl: Callable[..., Curl]) -> None:
    """It does not start, in one line, but where that was said to be wanted; a busy port ends the start too."""
    words = ("--endpoint", "tcp:0:interface=127.0.0.1", "--status", "tcp:0")
    refused = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", *words)
    assert refused.returncode == 1
    assert re.fullmatch(r"mytls: --status tcp:0: strangers may reach it .*; --unsafe-status lets it\n", refused.stderr)
    with serve(*words, "--unsafe-status") as server:
        ask = curl(server)
        port = ask.address.rpartition(":")[2].rstrip("/")
        assert attrs.evolve(ask, address=f"http://127.0.0.1:{port}/")("healthz") == (200, "ok\n")
        busy = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", *words[:3], f"tcp:{port}:interface=127.0.0.1")
        assert busy.returncode == 1
        assert f"--status tcp:{port}:interface=127.0.0.1: cannot listen: address already in use" in busy.stdout


def test_crowds(certificates: Certificates, serve: Serve, curl: Callable[..., Curl]) -> None:
    """
    With 256 descriptors, all that clients may have of them taken, and 1,000 idle connections to the status service:
    it answers, so does the service, and nothing spins.
    """
    launcher = ("sh", "-c", 'ulimit -n 256; exec "$@"', "-")
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), "--status", LOOPBACK, launcher=launcher) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        ask = curl(server)
        port = int(ask.address.rpartition(":")[2].rstrip("/"))
        with many(port, 1000), many(server.port, 230):
            assert ask("healthz") == (200, "ok\n")
            assert ask.json("status")["connections"]["open"] > 100
            assert asks_and_hears(client, b"hello")
            before, used = time.monotonic(), processor_seconds(server)
            time.sleep(1)
            assert (processor_seconds(server) - used) / (time.monotonic() - before) < 0.5
            assert ask("metrics")[0] == 200
            assert len(json.loads(ask("connections")[1])) > 100
        until(lambda: ask.json("status")["connections"]["open"] == 1, "all but one are gone")
        assert "Traceback" not in server.log


HOG = """
held = []

def hold(connstream, data):
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError as error:
        connstream.sendall(error.strerror.encode())
    return True
"""


def test_descriptors_are_kept_for_it(
    certificates: Certificates, serve: Serve, curl: Callable[..., Curl], module: Callable[[str, str], Path]
) -> None:
    """Where a handler has used up every last one, the service is still looked at, and drained."""
    launcher = ("sh", "-c", 'ulimit -n 256; exec "$@"', "-")
    words = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:hog:hold", "--status", LOOPBACK)
    with (
        serve(*words, launcher=launcher, cwd=module("hog", HOG)) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        ask = curl(server)
        client.sendall(b"x")
        assert b"Too many open files".startswith(client.recv(100))
        with many(int(ask.address.rpartition(":")[2].rstrip("/")), 50):
            for path in ("healthz", "status", "connections", "metrics", ""):
                assert ask(path)[0] == 200, path
        assert ask.post("connections/1/close")[0] == 200
        client.unwrap().close()
        assert ask.post("drain")[0] == 202
        assert server.wait() == 0
