"""The client endpoint in real processes: as a backend of `proxy:`, in a program of somebody's, against openssl."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, receive
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, run, until

Needs = Callable[[str], str]
Tunnel = Callable[[str], AbstractContextManager[Running]]

#: Connects with the string that it is given, says something, and prints what it hears, or why it cannot.
PROGRAM = """
import sys
from twisted.internet import defer, endpoints, protocol, task


class Saying(protocol.Protocol):
    def connectionMade(self):
        peer = self.transport.peer
        print("met", peer.dns[0], peer.version, self.transport.negotiatedProtocol, flush=True)
        self.transport.write(b"hello")

    def dataReceived(self, data):
        print(data.decode(), flush=True)
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.factory.done.callback(None)


@defer.inlineCallbacks
def main(reactor):
    factory = protocol.Factory.forProtocol(Saying)
    factory.done = defer.Deferred()
    try:
        yield endpoints.clientFromString(reactor, sys.argv[1]).connect(factory)
    except Exception as error:
        print("not met:", error, flush=True)
    else:
        yield factory.done


task.react(main)
"""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clients.pem`, the CA of clients, and `me.pem`, a key, a certificate and an intermediate CA."""
    folder = tmp_path_factory.mktemp("clients")
    root = trustme.CA()
    own = root.create_child_ca().issue_cert("me@example.com", common_name="me")
    root.cert_pem.write_to_path(folder / "clients.pem")
    parts = (own.private_key_pem, *own.cert_chain_pems)
    (folder / "me.pem").write_bytes(b"".join(each.bytes() for each in parts))
    (folder / "me.pem").chmod(0o600)
    return folder


@pytest.fixture
def tunnel(serve: Serve) -> Tunnel:
    """A plain port that is joined to a TLS server."""

    @contextmanager
    def start(backend: str) -> Iterator[Running]:
        with serve("--endpoint", r"tcp:0:interface=127.0.0.1", "--handler", f"proxy:{backend}") as running:
            yield running

    return start


def plain(port: int) -> socket.socket:
    """A connection without TLS."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_tunnel_of_two_twistds(
    certificates: Certificates, clients: Path, serve: Serve, tunnel: Tunnel, version: str
) -> None:
    """Both ends verify each other, the server by its name, the client by its certificate; data goes both ways."""
    needed = {"clientCA": str(clients / "clients.pem"), "allow": "cn=me"}
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls", **needed), "--handler", "echo") as server,
        tunnel(
            f"mytls:localhost:{server.port}:trustRoots={certificates.root}:certKey={clients / 'me.pem'}"
            f":minVersion={version}:maxVersion={version}"
        ) as here,
        plain(here.port) as client,
    ):
        assert asks_and_hears(client, b"hello")
        much = bytes(range(256)) * 4096
        client.sendall(much)
        assert receive(client, len(much)) == much
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        server.wait_for(r"\] closed ")
        assert f" {version} " in server.log
        assert "Traceback" not in here.log + server.log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serverName=other.example", "not-allowed: it is not for other.example: server certificate "),
        (r"verify=cn=other", "not-allowed: no rule of verify matches: server certificate "),
    ],
)
def test_a_tunnel_to_the_wrong_server(
    certificates: Certificates, serve: Serve, tunnel: Tunnel, words: str, said: str
) -> None:
    """The client is cut off, one line here says why, and the server hears of it in its handshake."""
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo") as server,
        tunnel(f"mytls:localhost:{server.port}:trustRoots={certificates.root}:{words}") as here,
        plain(here.port) as client,
    ):
        client.sendall(b"hello")
        with pytest.raises(ConnectionError):
            client.recv(1)
        (line,) = here.wait_for("no backend at .*")
        assert said in line
        server.wait_for("peer-alert")
        assert "Traceback" not in here.log + server.log


@contextmanager
def s_server(openssl: str, certificates: Certificates, *more: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """openssl's server on a free port. @return: its port and process"""
    words = ("-accept", "127.0.0.1:0", "-cert_chain", str(certificates.ecdsa.chain), "-cert",
             str(certificates.ecdsa.chain), "-key", str(certificates.ecdsa.key), *more)  # fmt: skip
    with subprocess.Popen(
        [openssl, "s_server", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(rb"ACCEPT .*:(\d+)$", line.strip()):
                    break
            assert found is not None
            yield int(found[1]), process
        finally:
            process.kill()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_as_the_server(
    certificates: Certificates, clients: Path, tunnel: Tunnel, needs: Needs, version: str
) -> None:
    """`openssl s_server` verifies the client's certificate with its chain, and answers."""
    more = (version, "-Verify", "2", "-verify_return_error", "-CAfile", str(clients / "clients.pem"), "-rev")
    with (
        s_server(needs("openssl"), certificates, *more) as (port, _),
        tunnel(f"mytls:localhost:{port}:trustRoots={certificates.root}:certKey={clients / 'me.pem'}") as here,
        plain(here.port) as client,
    ):
        client.sendall(b"hello\n")
        assert receive(client, 6) == b"olleh\n"


def test_openssl_wants_a_certificate(certificates: Certificates, clients: Path, tunnel: Tunnel, needs: Needs) -> None:
    """Where we have none, one line in our log says what the server has said."""
    more = ("-tls1_3", "-Verify", "2", "-verify_return_error", "-CAfile", str(clients / "clients.pem"), "-rev")
    with (
        s_server(needs("openssl"), certificates, *more) as (port, _),
        tunnel(f"mytls:localhost:{port}:trustRoots={certificates.root}") as here,
        plain(here.port) as client,
    ):
        client.sendall(b"hello\n")
        here.wait_for("lost mytls:localhost: peer-alert: .*certificate required")
        assert "Traceback" not in here.log


def test_any_twisted_program(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A program that hands its string to C{clientFromString} meets the server, or prints why not."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def told(text: str) -> str:
        answer = run(sys.executable, "program.py", text, cwd=tmp_path)
        assert "Traceback" not in answer.stderr
        return answer.stdout

    with serve("--endpoint", certificates.rsa.endpoint(prefix="mytls", alpn="h2"), "--handler", "echo") as server:
        to = f"mytls:127.0.0.1:{server.port}:trustRoots={certificates.root}:alpn=h2,http/1.1"
        assert told(to) == "met localhost TLSv1.3 b'h2'\nhello\n"
        assert told(rf"mytls:localhost:trustRoots={certificates.root}:endpoint=tcp\:127.0.0.1\:{server.port}").endswith(
            "hello\n"
        )
        assert told(f"mytls:127.0.0.1:{server.port}").startswith("not met: unknown-ca: ")
    assert told(to).startswith("not met: backend-refused: Connection was refused")


def test_a_server_that_says_nothing(certificates: Certificates, tmp_path: Path) -> None:
    """The time is over for the handshake too."""
    (tmp_path / "program.py").write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = f"mytls:127.0.0.1:{silent.getsockname()[1]}:trustRoots={certificates.root}:timeout=200ms"
        answer = run(sys.executable, "program.py", to, cwd=tmp_path)
    assert answer.stdout == "not met: handshake-timeout: the handshake was not done within 0.2 s\n"


def test_new_roots_while_it_runs(certificates: Certificates, serve: Serve, tunnel: Tunnel, tmp_path: Path) -> None:
    """What is in the files by now counts; the reading is a thread's."""
    root = tmp_path / "root.pem"
    root.write_bytes(trustme.CA().cert_pem.bytes())
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo") as server,
        tunnel(f"mytls:localhost:{server.port}:trustRoots={root}") as here,
    ):
        with plain(here.port) as client, pytest.raises(ConnectionError):
            client.recv(1)
        root.write_bytes(certificates.root.read_bytes())

        def answered() -> bool:
            with plain(here.port) as client:
                try:
                    return asks_and_hears(client, b"hello")
                except (ConnectionError, AssertionError):
                    return False

        until(answered, "the new root is trusted")


def test_rego_decides_too(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A policy is asked of the verified server; what it says is the answer."""
    pytest.importorskip("regopy")
    (tmp_path / "program.py").write_text(PROGRAM)
    policy = tmp_path / "policy.rego"
    policy.write_text('package mytls\nimport rego.v1\n\nallow if "localhost" in input.dns\n\nnever if false\n')
    with serve("--endpoint", certificates.rsa.endpoint(prefix="mytls"), "--handler", "echo") as server:
        to = f"mytls:127.0.0.1:{server.port}:trustRoots={certificates.root}:rego={policy}"
        assert run(sys.executable, "program.py", to, cwd=tmp_path).stdout.endswith("hello\n")
        refused = run(sys.executable, "program.py", f"{to}:regoQuery=data.mytls.never", cwd=tmp_path).stdout
        assert refused.startswith("not met: policy: rego=")
