"""Backends that others have written: nginx and HAProxy behind a PROXY header, redis, and PostgreSQL in a tunnel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mytls.proxyheader import ProxyHeader
from mytls.proxyreader import ProxyHeaderReader
from mytls.proxytlvs import Client, ClientTLS, SSLType, Type, value_of
from tests.live.authority import Certificates
from tests.live.clients import connected, receive, trusting
from tests.live.conftest import Serve
from tests.live.processes import NGINX_HTTP, PATIENCE, run, until
from tests.live.test_proxy import backend, echo, rest
from tests.live.test_via import free_port, listens

Needs = Callable[[str], str]

HAPROXY = """
defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend plain
  bind 127.0.0.1:{plain} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[fc_pp_authority]"
frontend tls
  bind 127.0.0.1:{tls} accept-proxy ssl crt {certificate}
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[fc_pp_authority]"
"""

NGINX = (
    NGINX_HTTP
    + """  server {{
    listen 127.0.0.1:{plain} proxy_protocol;
    listen 127.0.0.1:{tls} ssl proxy_protocol;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    return 200 "$proxy_protocol_addr $proxy_protocol_port ";
  }}
}}
"""
)


def listener(certificates: Certificates, handler: str, *more: str) -> str:
    """A listener of a file."""
    lines = (
        "[[listener]]",
        'endpoint = "mytls:0:interface=127.0.0.1"',
        f'certificate = "{certificates.ecdsa.chain}"',
        f'private-key = "{certificates.ecdsa.key}"',
        f"handler = {handler}",
        *more,
    )
    return "\n".join(lines) + "\n"


@contextmanager
def program(words: list[str], ready: Callable[[], bool], **options: str) -> Iterator[None]:
    """A program, from when it is ready until the end of the block."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options) as process:  # type: ignore[call-overload]
        try:
            until(lambda: process.poll() is not None or ready(), f"{words[0]} is ready")
            assert process.poll() is None, f"{words[0]} has ended"
            yield
        finally:
            process.terminate()


@pytest.fixture(params=["nginx", "haproxy"])
def behind(
    request: pytest.FixtureRequest, needs: Needs, tmp_path: Path, certificates: Certificates
) -> Iterator[tuple[str, int, int]]:
    """A program that wants a PROXY header, and answers with what that says: its name, its port, and that with TLS."""
    name, plain, tls = request.param, free_port(), free_port()
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.rsa.chain.read_bytes() + certificates.rsa.key.read_bytes())
    text = {"nginx": NGINX, "haproxy": HAPROXY}[name]
    conf = tmp_path / "conf"
    conf.write_text(text.format(plain=plain, tls=tls, folder=tmp_path, certificate=both))
    words = {"nginx": ["-p", str(tmp_path), "-c", str(conf)], "haproxy": ["-db", "-f", str(conf)]}[name]
    with program([needs(name), *words], lambda: listens(plain) and listens(tls)):
        yield name, plain, tls


#: nginx before 1.23.2 takes no header of more than 107 bytes ahead of TLS.
TOO_LONG = ("nginx", "mytls", "v2-tls")


@pytest.mark.parametrize("kind", ["v1", "v2", "v2-tls"])
@pytest.mark.parametrize("prefix", ["tcp", "mytls"])
def test_header(
    certificates: Certificates, serve: Serve, tmp_path: Path, behind: tuple[str, int, int], prefix: str, kind: str
) -> None:
    """It reads the client's address, and the name that the client has asked for; ahead of TLS to it where there is."""
    name, plain, tls = behind
    kind = "v2" if (name, prefix, kind) == TOO_LONG else kind
    to = f"tcp:127.0.0.1:{plain}" if prefix == "tcp" else f"mytls:localhost:{tls}:trustRoots={certificates.root}"
    said = listener(certificates, f"'proxy:{to}'", f'send-proxy-protocol = "{kind}"')
    (tmp_path / "mytls.toml").write_text(said)
    with (
        serve("--config", str(tmp_path / "mytls.toml")) as running,
        connected(running.port, trusting(certificates.root)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, answer = rest(client).partition(b"\r\n\r\n")
        host, port = client.getsockname()
        shown = "localhost" if name == "haproxy" and kind == "v2-tls" else ""
        assert (head[:12], answer.decode().split(" ")) == (b"HTTP/1.1 200", [host, str(port), shown])


def test_whole_header(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A backend of a UNIX socket is told all of the client: version, cipher, our key's kind and the certificate."""
    heard: list[tuple[ProxyHeader, bytes]] = []

    def hears(connection: socket.socket) -> None:
        reader, header = ProxyHeaderReader(), None
        while header is None:
            header = reader.feed(connection.recv(65536))
        heard.append((header, reader.rest))
        connection.sendall(b"heard")

    path = tmp_path / "app.sock"
    said = listener(
        certificates,
        f'"proxy:unix:{path}"',
        'send-proxy-protocol = "v2-tls-certificate"',
        f'client-ca = "{certificates.root}"',
        'allow = "all"',
    )
    (tmp_path / "mytls.toml").write_text(said)
    context = trusting(certificates.root)
    context.load_cert_chain(certificates.rsa.chain, certificates.rsa.key)
    with (
        backend(hears, path),
        serve("--config", str(tmp_path / "mytls.toml")) as running,
        connected(running.port, context) as client,
    ):
        assert receive(client, 5) == b"heard"
        cipher = client.cipher()
        assert cipher is not None
    ((header, _),) = heard
    said_of_tls = ClientTLS.from_bytes(value_of(header.tlvs, Type.SSL) or b"")
    assert said_of_tls.client == Client.SSL | Client.CERT_CONN | Client.CERT_SESS
    assert said_of_tls.verify == 0
    assert value_of(said_of_tls.tlvs, SSLType.VERSION) == b"TLSv1.3"
    assert value_of(said_of_tls.tlvs, SSLType.CIPHER) == cipher[0].encode()
    assert value_of(said_of_tls.tlvs, SSLType.KEY_ALG) == b"EC256"
    assert value_of(said_of_tls.tlvs, SSLType.CLIENT_CERT) is not None


def test_tunnel_that_says_who_the_client_is(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """The server's side of a tunnel is told by its client's side, which it trusts, where each client is."""
    server = listener(certificates, '"echo"', 'proxy-protocol = { from = "127.0.0.1" }')
    (tmp_path / "server.toml").write_text(server)
    with serve("--config", str(tmp_path / "server.toml")) as far:
        (tmp_path / "client.toml").write_text(
            '[[listener]]\nendpoint = "tcp:0:interface=127.0.0.1"\n'
            f'handler = "proxy:mytls:localhost:{far.port}:trustRoots={certificates.root}"\n'
            'send-proxy-protocol = "v2"\nbackend-health = "tcp"\n'
        )
        with serve("--config", str(tmp_path / "client.toml")) as near:
            with socket.create_connection(("127.0.0.1", near.port), PATIENCE) as client:
                client.sendall(b"hello")
                assert receive(client, 5) == b"hello"
                port = client.getsockname()[1]
            far.wait_for(rf"closed 127.0.0.1:{port} at \S+ via=127.0.0.1:\d+ .* in=5 out=5 .* clean")
            far.wait_for(r"closed 127.0.0.1:\d+ at .* in=0 out=0 .* clean")  # the look at its health
            assert "unhealthy" not in near.log


def test_health(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A backend whose address does not answer 200 gets no client, though it would accept; and none is lost."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            well = self.headers["Host"].startswith("127.0.0.2")
            self.send_response(200 if well and self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, format: str, *about: object) -> None:
            """Nowhere."""

    port = free_port()
    healths = [ThreadingHTTPServer((host, port), Answers) for host in ("127.0.0.1", "127.0.0.2")]
    for each in healths:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    ours = free_port()
    sockets = [socket.create_server((host, ours)) for host in ("127.0.0.1", "127.0.0.2")]

    def serve_well() -> None:
        while True:
            try:
                connection, _ = sockets[1].accept()
            except OSError:
                return
            with connection:
                echo(connection)

    threading.Thread(target=serve_well, daemon=True).start()
    said = listener(
        certificates,
        f'["proxy:tcp:127.0.0.1:{ours}", "proxy:tcp:127.0.0.2:{ours}"]',
        f'backend-health = "http://*:{port}/health"',
    )
    (tmp_path / "mytls.toml").write_text(said)
    try:
        with serve("--config", str(tmp_path / "mytls.toml")) as running:
            running.wait_for(f"tcp:127.0.0.1:{ours} is unhealthy, and left out: it answered 503, and not 200")
            for _ in range(4):
                with connected(running.port, trusting(certificates.root)) as client:
                    client.sendall(b"hello")
                    assert receive(client, 5) == b"hello"
    finally:
        for each in healths:
            each.shutdown()
            each.server_close()
        for listening in sockets:
            listening.close()


def test_redis(certificates: Certificates, serve: Serve, needs: Needs, tmp_path: Path) -> None:
    """redis's own client, over TLS, to a redis that speaks none; small commands, and a value of a megabyte."""
    path = tmp_path / "redis.sock"
    words = [needs("redis-server"), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    cli = needs("redis-cli")
    with (
        program(words, path.exists),
        serve("--endpoint", certificates.rsa.endpoint(), "--handler", f"proxy:unix:{path}") as running,
    ):

        def asked(*command: str) -> str:
            where = ("-h", "localhost", "-p", str(running.port), "--tls", "--cacert", str(certificates.root))
            return run(cli, *where, *command).stdout.strip()

        assert asked("set", "word", "hello") == "OK"
        assert asked("get", "word") == "hello"
        assert asked("setrange", "big", "1048575", "x") == "1048576"
        assert len(asked("get", "big")) >= 1048576


@pytest.fixture
def postgres(needs: Needs) -> Iterator[tuple[Path, str]]:
    """The folder of a PostgreSQL server's UNIX socket, and psql."""
    psql, found = needs("psql"), sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    folder = Path(found[-1]).parent if found else Path(needs("initdb")).parent
    where = Path(tempfile.mkdtemp(prefix="mytls-"))
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        as_user = (needs("runuser"), "-u", "postgres", "--")
        shutil.chown(where, "postgres")
    try:
        made = run(*as_user, str(folder / "initdb"), "-D", str(where / "data"), "-A", "trust", "-U", "postgres", "-N")
        assert made.returncode == 0, made.stderr
        words = [*as_user, str(folder / "postgres"), "-D", str(where / "data"), "-k", str(where), "-h", "", "-F"]

        def ready() -> bool:
            return run(psql, "-h", str(where), "-U", "postgres", "-c", "select 1").returncode == 0

        with program(words, ready):
            yield where, psql
    finally:
        shutil.rmtree(where)


def test_postgresql_in_a_tunnel(
    certificates: Certificates, serve: Serve, postgres: tuple[Path, str], tmp_path: Path
) -> None:
    """
    psql, which speaks no TLS here, to the client's side of a tunnel, by mutual TLS to the server's side, to a
    PostgreSQL that speaks none either.
    """
    where, psql = postgres
    with (
        serve(
            "--endpoint",
            certificates.ecdsa.endpoint(prefix="mytls", clientCA=str(certificates.root), allow="dns=localhost"),
            "--handler",
            f"proxy:unix:{where}/.s.PGSQL.5432",
        ) as far,
        serve(
            "--endpoint",
            "tcp:0:interface=127.0.0.1",
            "--handler",
            f"proxy:mytls:localhost:{far.port}:trustRoots={certificates.root}"
            f":certKey={certificates.rsa.chain}:privateKey={certificates.rsa.key}",
        ) as near,
    ):

        def asked(query: str) -> str:
            where = ("-h", "127.0.0.1", "-p", str(near.port), "-U", "postgres", "-At", "-c", query)
            answer = run(psql, *where, env={"PGSSLMODE": "disable"})
            assert answer.returncode == 0, answer.stderr
            return answer.stdout

        assert asked("select 6 * 7") == "42\n"
        rows = asked("select n, repeat('x', 50) from generate_series(1, 20000) as n").splitlines()
        assert [int(row.partition("|")[0]) for row in rows] == list(range(1, 20001))
        far.wait_for("closed .* client=.*dns=localhost.* clean", 2)
        assert "Traceback" not in near.log + far.log
