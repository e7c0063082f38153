"""STARTTLS with real clients and servers: OpenSSL's s_client in each dialect, Python's own, curl and psql."""

from __future__ import annotations

import imaplib
import os
import poplib
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mytls.preludes import ask, prelude
from mytls.preludes.dialogue import Dialogue, PreludeFailure
from mytls.preludes.greeting import Greeting
from tests.live.authority import Certificates
from tests.live.clients import receive, secured, trusting
from tests.live.processes import PATIENCE, run

#: As `openssl s_client -starttls` calls them, and we do.
DIALECTS = ("smtp", "imap", "pop3", "sieve", "postgres", "ldap", "xmpp")


def agree(plain: socket.socket, dialogue: Dialogue) -> None:
    """Talk until the next byte is TLS's. @raise PreludeFailure: it never will be"""
    plain.sendall(dialogue.begin())
    while not dialogue.done:
        data = plain.recv(65536)
        assert data, "the end came before TLS"
        try:
            plain.sendall(dialogue.feed(data))
        except PreludeFailure as failure:
            plain.sendall(failure.answer)
            raise


Talk = Callable[[ssl.SSLSocket], None]


@contextmanager
def front(certificates: Certificates, protocol: str, talk: Talk) -> Iterator[tuple[int, list[str]]]:
    """
    A server of one connection: a prelude, TLS, and then a talk.

    @return: its port, and why there was no TLS, when that is known
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.rsa.chain, certificates.rsa.key)
    failures: list[str] = []

    def serve(listening: socket.socket) -> None:
        plain, _ = listening.accept()
        plain.settimeout(PATIENCE)
        with plain:
            try:
                agree(plain, prelude(protocol, "localhost"))
            except PreludeFailure as failure:
                failures.append(failure.detail)
                return
            with context.wrap_socket(plain, server_side=True) as secure:
                talk(secure)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1], failures
        thread.join(PATIENCE)


def says(text: bytes) -> Talk:
    """The server says this and closes."""
    return lambda secure: secure.sendall(text)


def answers(*answers: bytes) -> Talk:
    """The server answers one line after the other with these."""

    def talk(secure: ssl.SSLSocket) -> None:
        lines = secure.makefile("rb")
        for each in answers:
            lines.readline()
            secure.sendall(each)
        lines.close()

    return talk


@pytest.mark.parametrize("protocol", DIALECTS)
def test_openssl_begins_tls(protocol: str, certificates: Certificates, needs: Callable[[str], str]) -> None:
    """OpenSSL's client gets through the prelude of each dialect, and hears what is said under TLS."""
    openssl = needs("openssl")
    with front(certificates, protocol, says(b"said under TLS\n")) as (port, failures):
        told = run(
            openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", protocol, "-name", "localhost",
            "-CAfile", os.fspath(certificates.root), "-verify_return_error", "-verify_hostname", "localhost", "-quiet",
        )  # fmt: skip
    assert failures == []
    assert "said under TLS" in told.stdout, told.stderr


@pytest.mark.parametrize("protocol", DIALECTS)
def test_both_ends(protocol: str, certificates: Certificates) -> None:
    """Our client's prelude gets through our server's, and what follows is TLS."""
    with front(certificates, protocol, says(b"hello")) as (port, failures):
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        agree(plain, ask(protocol, "localhost"))
        with secured(plain, trusting(certificates.root)) as client:
            assert receive(client, 5) == b"hello"
    assert failures == []


def test_python_smtp(certificates: Certificates) -> None:
    """smtplib, as its documentation says."""
    with front(certificates, "smtp", answers(b"250-backend\r\n250 SIZE 7\r\n", b"221 bye\r\n")) as (port, _):
        client = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE)
        client.ehlo()
        client._host = "localhost"  # type: ignore[attr-defined]  # the certificate's
        assert client.starttls(context=trusting(certificates.root))[0] == 220
        client.ehlo()
        assert client.has_extn("size")
        client.quit()


def test_python_imap(certificates: Certificates) -> None:
    """imaplib, which asks for the capabilities before and after."""

    def talk(secure: ssl.SSLSocket) -> None:
        lines = secure.makefile("rb")
        for able in (b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", b"* BYE\r\n"):
            tag = lines.readline().split()[0]
            secure.sendall(able + tag + b" OK done\r\n")
        lines.close()

    with front(certificates, "imap", talk) as (port, _):
        client = imaplib.IMAP4("localhost", port, timeout=PATIENCE)
        assert "LOGINDISABLED" in client.capabilities
        client.starttls(trusting(certificates.root))
        assert "AUTH=PLAIN" in client.capabilities
        client.logout()


def test_python_pop3(certificates: Certificates) -> None:
    """poplib, which asks for the capabilities."""
    with front(certificates, "pop3", answers(b"+OK 2 300\r\n", b"+OK bye\r\n")) as (port, _):
        client = poplib.POP3("localhost", port, timeout=PATIENCE)
        client.stls(trusting(certificates.root))
        assert client.stat() == (2, 300)
        client.quit()


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
def test_curl_begins_tls(protocol: str, certificates: Certificates, needs: Callable[[str], str]) -> None:
    """curl that insists on TLS gets it; it says nothing of its password before."""
    curl = needs("curl")
    heard: list[bytes] = []

    def talk(secure: ssl.SSLSocket) -> None:
        heard.append(secure.recv(65536))

    with front(certificates, protocol, talk) as (port, failures):
        run(
            curl, "--silent", "--ssl-reqd", "--cacert", os.fspath(certificates.root), "--user", "me:secret",
            "--max-time", f"{PATIENCE:g}", f"{protocol}://localhost:{port}/",
        )  # fmt: skip
    assert failures == []
    assert heard[0].split()[-1] in (b"CAPABILITY", b"CAPA") or heard[0].startswith(b"EHLO ")


def test_pipelined_command(certificates: Certificates) -> None:
    """What is pipelined behind STARTTLS ends the connection, and is never answered under TLS."""
    with (
        front(certificates, "smtp", says(b"")) as (port, failures),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"EHLO a\r\nSTARTTLS\r\nRSET\r\n")
        heard = b"".join(iter(lambda: client.recv(65536), b""))
    assert heard.endswith(b"554 5.5.1 there is more in the clear behind STARTTLS\r\n")
    assert failures == ["there is more in the clear behind STARTTLS"]


def test_psql_without_tls(certificates: Certificates, needs: Callable[[str], str]) -> None:
    """psql that wants no TLS shows why there is no connection."""
    psql = needs("psql")
    with front(certificates, "postgres", says(b"")) as (port, failures):
        told = run(psql, f"host=127.0.0.1 port={port} user=me dbname=db sslmode=disable gssencmode=disable", "-c", "")
    assert "FATAL:  a connection without TLS is not allowed" in told.stderr
    assert failures == ["a connection without TLS is not allowed"]


def test_psql_with_tls(certificates: Certificates, needs: Callable[[str], str]) -> None:
    """psql that verifies everything sends its startup message under TLS."""
    psql = needs("psql")
    heard: list[bytes] = []

    def talk(secure: ssl.SSLSocket) -> None:
        heard.append(secure.recv(65536))
        fields = b"SFATAL\0C28000\0Mheard under TLS\0\0"
        secure.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    with front(certificates, "postgres", talk) as (port, failures):
        where = f"host=localhost port={port} user=me dbname=db"
        told = run(psql, f"{where} sslmode=verify-full sslrootcert={certificates.root}", "-c", "")
    assert failures == []
    assert "heard under TLS" in told.stderr
    assert b"user\0me\0" in heard[0]


def test_backend_greets_once() -> None:
    """A real server's greeting is kept: the client's first answer is the one to its own EHLO."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            plain, _ = listening.accept()
            with plain, plain.makefile("rb") as lines:
                plain.sendall(b"220-wait\r\n220 backend\r\n")
                lines.readline()
                plain.sendall(b"250 backend\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        greeting = Greeting("smtp")
        with socket.create_connection(listening.getsockname(), PATIENCE) as backend:
            while not greeting.done:
                assert greeting.swallow(backend.recv(65536)) == b""
            backend.sendall(b"EHLO a\r\n")
            assert greeting.swallow(backend.recv(65536)) == b"250 backend\r\n"
        thread.join(PATIENCE)
