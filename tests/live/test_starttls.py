"""STARTTLS at a real listener, with real clients and backends: OpenSSL in each dialect, swaks, psql and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.authority import Certificates, Files
from tests.live.clients import converse, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, run, until
from tests.live.test_proxy import Talk, backend, plain, rest

#: How a backend of each protocol greets, as `openssl s_client -starttls` and we call them.
GREETINGS = {
    "smtp": b"220-backend\r\n220 backend\r\n",
    "imap": b"* OK backend\r\n",
    "pop3": b"+OK backend\r\n",
    "sieve": b"",
    "postgres": b"",
    "ldap": b"",
    "xmpp": b"",
}
PASSWORD = "only for this test"


def greets(greeting: bytes) -> Talk:
    """It says who it is, and then what it hears."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(greeting)
        while data := connection.recv(65536):
            connection.sendall(b"heard " + data)

    return talk


@contextmanager
def front(serve: Serve, certificates: Certificates, protocol: str, port: int) -> Iterator[Running]:
    """A listener for this protocol, whose clients are joined to a backend at this port."""
    endpoint = certificates.rsa.endpoint(prefix="mytls", starttls=protocol)
    with serve("--endpoint", endpoint, "--handler", f"proxy:tcp:127.0.0.1:{port}") as running:
        yield running


class Mailbox:
    """
    A backend that takes mail, without TLS.

    @ivar heard: all lines that it was said
    """

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def talk(self, connection: socket.socket) -> None:
        """One client."""
        connection.sendall(GREETINGS["smtp"])
        with connection.makefile("rb") as lines:
            in_message = False
            for line in lines:
                self.heard.append(line)
                if in_message and line != b".\r\n":
                    continue
                verb = line[:4].upper()
                in_message = verb == b"DATA"
                connection.sendall({b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 backend\r\n"))


@pytest.mark.parametrize("protocol", GREETINGS)
def test_openssl(protocol: str, certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """OpenSSL gets through each prelude to the backend, whose own greeting it never sees."""
    with backend(greets(GREETINGS[protocol])) as there, front(serve, certificates, protocol, there.port) as running:
        words = [needs("openssl"), "s_client", "-connect", f"127.0.0.1:{running.port}", "-starttls", protocol]
        more = ["-name", "localhost", "-quiet", "-verify_quiet", "-no_ign_eof", "-CAfile", os.fspath(certificates.root)]
        strict = ["-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost"]
        said = converse([*words, *more, *strict], b"hello\n", b"heard hello\n")
        assert b"backend" not in said
        running.wait_for(r"closed \S+ at \S+ name=localhost TLSv1.3 ")


def test_swaks(certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """swaks, which insists on a certificate that it can verify, delivers its message."""
    mailbox = Mailbox()
    with backend(mailbox.talk) as there, front(serve, certificates, "smtp", there.port) as running:
        told = run(
            needs("swaks"), "--server", "localhost", "--port", str(running.port), "--helo", "client.example", "--tls",
            "--tls-verify", "--tls-ca-path", os.fspath(certificates.root), "--from", "me@client.example",
            "--to", "you@mail.example", "--body", "through STARTTLS",
        )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert mailbox.heard[:2] == [b"EHLO client.example\r\n", b"MAIL FROM:<me@client.example>\r\n"]
    assert b"through STARTTLS\r\n" in mailbox.heard


def test_smtplib(certificates: Certificates, serve: Serve) -> None:
    """Python's client, as its documentation says; what it asks again under TLS the backend answers."""
    mailbox = Mailbox()
    with backend(mailbox.talk) as there, front(serve, certificates, "smtp", there.port) as running:
        with smtplib.SMTP("localhost", running.port, "client.example", PATIENCE) as client:
            client.starttls(context=trusting(certificates.root))
            client.ehlo()
            assert not client.has_extn("starttls")
            assert client.sendmail("me@client.example", "you@mail.example", "under TLS\r\n") == {}
        running.wait_for("closed ")
    assert b"under TLS\r\n" in mailbox.heard


def test_pipelined_command(certificates: Certificates, serve: Serve) -> None:
    """What is pipelined behind STARTTLS ends the connection; no backend ever hears of it."""
    mailbox = Mailbox()
    with backend(mailbox.talk) as there, front(serve, certificates, "smtp", there.port) as running:
        with plain(running.port) as client:
            client.sendall(b"EHLO a\r\nSTARTTLS\r\nRSET\r\n")
            assert rest(client).endswith(b"\r\n554 5.5.1 there is more in the clear behind STARTTLS\r\n")
        running.wait_for("handshake-failed .* cause=not-tls .*: there is more in the clear behind STARTTLS")
        assert "Traceback" not in running.log
    assert mailbox.heard == []


@contextmanager
def postgresql(needs: Callable[[str], str], own: Files | None = None) -> Iterator[int]:
    """A server of PostgreSQL, whose users have a password; with TLS if it has a certificate. @return: its port"""
    folders = sorted(map(os.fspath, Path("/usr/lib/postgresql").glob("*/bin")))  # where Debian has it
    found = shutil.which("initdb", path=os.pathsep.join(folders)) or needs("initdb")
    programs, there = Path(found).resolve().parent, Path(tempfile.mkdtemp(prefix="mytls-postgresql-"))
    user = None
    if os.getuid() == 0:  # it refuses to be run by root
        user = "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody"
        shutil.chown(there, user)
    secret, data = there / "password", there / "data"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    ready = (os.fspath(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port))
    words = ["--auth", "scram-sha-256", "--pwfile", str(secret), "--username", "me", "--no-sync", "--pgdata", str(data)]
    try:
        subprocess.run([programs / "initdb", *words], user=user, cwd=there, check=True, stdout=subprocess.DEVNULL)
        options = ["-h", "127.0.0.1", "-p", str(port), "-c", f"unix_socket_directories={there}", "-c", "fsync=off"]
        if own is not None:
            for name, source in (("server.crt", own.chain), ("server.key", own.key)):
                shutil.copy(source, data / name)
                shutil.chown(data / name, user or os.getuid())
            (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 password\n")
            options += ["-c", "ssl=on"]
        process = subprocess.Popen([programs / "postgres", "-D", data, *options], user=user, cwd=there)
        try:
            until(lambda: run(*ready).returncode == 0, "PostgreSQL is ready")
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)
    finally:
        shutil.rmtree(there)


def test_postgresql(certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """psql that verifies everything works with a PostgreSQL that has no TLS; without TLS it is told why it may not."""
    psql = needs("psql")
    with postgresql(needs) as port, front(serve, certificates, "postgres", port) as running:
        where = f"host=localhost port={running.port} user=me dbname=postgres sslrootcert={certificates.root}"
        password = {"PGPASSWORD": PASSWORD}
        question = "select count(*), sum(length(repeat('x', i))) from generate_series(1, 1000) i"
        told = run(psql, f"{where} sslmode=verify-full", "-Atc", question, env=password)
        assert told.stdout == "1000|500500\n", told.stderr
        running.wait_for(r"closed \S+ at \S+ name=localhost TLSv1.3 [ -~]* clean")
        told = run(psql, f"{where} sslmode=disable gssencmode=disable", "-c", "select 1", env=password)
        assert "FATAL:  a connection without TLS is not allowed" in told.stderr
        running.wait_for("handshake-failed .* cause=not-tls .*: a connection without TLS is not allowed")


@contextmanager
def tunnel(serve: Serve, certificates: Certificates, to: str) -> Iterator[Running]:
    """The client side of a tunnel: plaintext in, TLS to this server, which asks for it in the clear."""
    handler = f"proxy:mytls:{to}:trustRoots={certificates.root}"
    with serve("--endpoint", "tcp:0:interface=127.0.0.1", "--handler", handler) as running:
        yield running


def test_psql_that_knows_no_tls(certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """It works with a PostgreSQL that takes nothing but TLS, by `proxy:mytls:...:starttls=postgres`."""
    psql = needs("psql")
    with (
        postgresql(needs, certificates.rsa) as port,
        tunnel(serve, certificates, f"localhost:{port}:starttls=postgres") as running,
    ):
        where = f"host=127.0.0.1 port={running.port} user=me dbname=postgres sslmode=disable gssencmode=disable"
        question = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        told = run(psql, where, "-Atc", question, env={"PGPASSWORD": PASSWORD})
        assert told.stdout == "t|TLSv1.3\n", told.stderr + running.log
        assert "Traceback" not in running.log


def test_swaks_that_knows_no_tls(certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """It has its greeting, and its message goes through STARTTLS at both ends to a mailbox that knows of neither."""
    mailbox = Mailbox()
    with (
        backend(mailbox.talk) as there,
        front(serve, certificates, "smtp", there.port) as server,
        tunnel(serve, certificates, f"localhost:{server.port}:starttls=smtp") as running,
    ):
        told = run(
            needs("swaks"), "--server", "127.0.0.1", "--port", str(running.port), "--helo", "client.example",
            "--from", "me@client.example", "--to", "you@mail.example", "--body", "through a tunnel",
        )  # fmt: skip
        assert told.returncode == 0, told.stdout + told.stderr + running.log
        server.wait_for(r"closed \S+ at \S+ name=localhost TLSv1.3 [ -~]* clean")
        assert "Traceback" not in running.log + server.log
    assert mailbox.heard[:2] == [b"EHLO client.example\r\n", b"MAIL FROM:<me@client.example>\r\n"]
    assert b"through a tunnel\r\n" in mailbox.heard


def test_server_without_starttls(certificates: Certificates, serve: Serve) -> None:
    """One from whose offer somebody has taken it gets nothing of the client's; the log says what it said."""
    mailbox = Mailbox()
    with (
        backend(mailbox.talk) as there,
        tunnel(serve, certificates, f"localhost:{there.port}:starttls=smtp") as running,
        plain(running.port) as client,
    ):
        client.sendall(b"AUTH PLAIN AGEAYg==\r\n")
        running.wait_for("no backend at .*: not-tls: starttls=smtp: it does not offer STARTTLS")
        until(lambda: b"QUIT\r\n" in mailbox.heard, "the server has heard goodbye")
    assert mailbox.heard == [b"EHLO localhost\r\n", b"QUIT\r\n"]
