"""Clients that end in all ways there are, each with the line that the log should have of it."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from mytls.tls.certificates import KeyPair
from tests.live.clients import ByHand, asks_and_hears, connected, receive, trusting
from tests.live.processes import PATIENCE, environment
from tests.tls.authority import DAY, SERVER, Authority

#: What a stranger may want to do to a log.
NASTY = 'a b"c\\d\r\nclosed\x1b[31m{}%s{log_source}\u00e9'

CONFIG = """
[deadlines]
handshake = "1500ms"
connect = "2s"
[[listener]]
endpoint = "mytls:0:interface=127.0.0.1"
handler = "echo"
profile = "intermediate"
[[listener.host]]
names = ["localhost"]
certificate = "localhost.pem"
alpn = ["http/1.1"]
[[listener.host]]
names = ["cut.test"]
certificate = "cut.pem"
[[listener.host]]
names = ["expired.test"]
certificate = "expired.pem"
[[listener.host]]
names = ["secret.test"]
certificate = "secret.pem"
client-auth = "required"
client-ca = "clients.pem"
crl = "clients.crl"
allow = ["cn=friend"]
[[listener.host]]
names = ["raises.test"]
certificate = "localhost.pem"
handler = "call:app:raises"
[[listener.host]]
names = ["backend.test"]
certificate = "localhost.pem"
handler = "proxy:tcp:127.0.0.1:1"
[[listener]]
endpoint = "mytls:0:interface=127.0.0.1"
handler = "echo"
certificate = "localhost.pem"
from = "192.0.2.0/24"
[[listener]]
endpoint = "mytls:0:interface=127.0.0.1"
handler = "echo"
certificate = "localhost.pem"
proxy-protocol = {from = ["127.0.0.1"]}
"""


@attrs.frozen
class Site:
    """
    What is served, by C{CONFIG}.

    @ivar folder: with its files
    @ivar ports: of its listeners
    """

    folder: Path
    ports: tuple[int, ...]

    def connect(self, listener: int = 0) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.ports[listener]), PATIENCE)

    def says(self, data: bytes, listener: int = 0) -> None:
        """Somebody says this, and waits for the end."""
        with self.connect(listener) as client, suppress(ConnectionError):
            client.sendall(data)
            while client.recv(4096):
                pass

    def meets(self, name: str, certificate: str | None = None) -> None:
        """Somebody with this certificate, of a host with this name."""
        context = SSL.Context(SSL.TLS_METHOD)
        if certificate is not None:
            context.use_certificate_chain_file(os.fspath(self.folder / certificate))
            context.use_privatekey_file(os.fspath(self.folder / certificate))
        client = ByHand(self.ports[0], context, name)
        with client.socket, suppress(ConnectionError):
            client.socket.sendall(client.hello)
            client.finish_handshake()
            client.socket.recv(4096)

    def run(self, *words: str) -> None:
        """A program, with nothing to say."""
        path = shutil.which(words[0])
        assert path is not None
        arguments = [word.format(port=self.ports[0], passed=self.ports[2]) for word in words[1:]]
        subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )


@attrs.frozen
class Ending:
    """
    One way to end.

    @ivar title: who does what
    @ivar does: does it
    @ivar event: the line's event
    @ivar cause: the line's cause
    @ivar hint: a pattern that is in its hint; empty where there is none
    """

    title: str
    does: Callable[[Site], object]
    event: str
    cause: str | None
    hint: str = ""


def write_site(folder: Path) -> None:
    """The files that the configuration names, and those that clients have."""
    root = Authority("Servers' root")
    middle = Authority("Servers' CA", root)
    clients, others = Authority("Clients' CA"), Authority("Elsewhere")
    revoked = clients.client("revoked")
    for name, pair in (
        ("localhost", middle.issue()),
        ("cut", attrs.evolve(middle.issue("cut.test"), chain=())),
        ("expired", middle.issue("expired.test", until=-DAY / 2)),
        ("secret", middle.issue("secret.test")),
        ("friend", clients.client()),
        ("stranger", clients.client("stranger")),
        ("other", others.client()),
        ("old", clients.client(until=-DAY / 2)),
        ("revoked", revoked),
        ("server", clients.client(usages=(SERVER,))),
        ("nasty", clients.client(NASTY[:60].replace("\u00e9", "e"))),
    ):
        (folder / f"{name}.pem").write_bytes(_pem(pair))
        (folder / f"{name}.pem").chmod(0o600)
    (folder / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (folder / "elsewhere.pem").write_bytes(others.certificate.public_bytes(Encoding.PEM))
    (folder / "clients.pem").write_bytes(clients.certificate.public_bytes(Encoding.PEM))
    (folder / "clients.crl").write_bytes(clients.revoking(revoked.certificate).public_bytes(Encoding.PEM))
    (folder / "app.py").write_text("def raises(connstream, data):\n    raise KeyError(data)\n")


def _pem(pair: KeyPair) -> bytes:
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + b"".join(each.public_bytes(Encoding.PEM) for each in (pair.certificate, *pair.chain))


def _clean(site: Site) -> None:
    with connected(site.ports[0], trusting(site.folder / "root.pem")) as client:
        assert asks_and_hears(client, b"hello")
        client.unwrap()


def _cut(site: Site) -> None:
    with connected(site.ports[0], trusting(site.folder / "root.pem")) as client:
        assert asks_and_hears(client, b"hello")


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _reset_later(site: Site) -> None:
    context = trusting(site.folder / "root.pem")
    client = context.wrap_socket(site.connect(), server_hostname="localhost")
    client.sendall(b"x")
    receive(client, 1)
    _reset(client)


def _leaves(site: Site, data: bytes = b"") -> None:
    with site.connect() as client:
        client.sendall(data)


def _after_hello(site: Site, wait: bool = False) -> None:
    """A ClientHello, and then nothing more."""
    client = ByHand(site.ports[0], SSL.Context(SSL.TLS_METHOD))
    with client.socket, suppress(ConnectionError):
        client.socket.sendall(client.hello)
        while client.socket.recv(65536) and wait:
            pass


def _asked(name: str) -> Callable[[Site], None]:
    def ask(site: Site) -> None:
        context = ssl.create_default_context(cafile=os.fspath(site.folder / "root.pem"))
        context.check_hostname = False
        with context.wrap_socket(site.connect(), server_hostname=name) as client:
            client.sendall(b"x")
            try:
                client.recv(1)
            except OSError:  # no close_notify, as it should be
                return

    return ask


def _openssl(*words: str) -> Callable[[Site], None]:
    return lambda site: site.run("openssl", "s_client", "-connect", "127.0.0.1:{port}", *words)


_SECRET = ("-servername", "secret.test", "-cert")

#: A pattern stands for a cause where it depends on who is faster.
ENDINGS = (
    Ending("python ssl, close_notify both ways", _clean, "closed", None),
    Ending("python ssl, FIN without close_notify", _cut, "closed", "eof"),
    Ending("python ssl, RST", _reset_later, "closed", "reset"),
    Ending("handler raises", _asked("raises.test"), "handler-failed", "handler"),
    Ending("its connection", _asked("raises.test"), "closed", "handler"),
    Ending("no backend", _asked("backend.test"), "backend-failed", "backend-refused"),
    Ending("its connection", _asked("backend.test"), "closed", "backend-refused"),
    Ending("from= forbids", lambda site: site.says(b"", 1), "refused", "from", "add it, if it should be"),
    Ending("port scan, FIN", _leaves, "handshake-failed", "eof", "health check or a port scan"),
    Ending("port scan, RST", lambda site: _reset(site.connect()), "handshake-failed", "reset", "port scan"),
    Ending("half a ClientHello, FIN", lambda site: _leaves(site, b"\x16\x03\x01\x02\x00\x01"), "handshake-failed",
           "eof", "middle of its first message"),
    Ending("ClientHello, FIN", _after_hello, "handshake-failed", "(?:eof|reset)", "trust the certificate"),
    Ending("curl http://", lambda site: site.run("curl", "-s", "http://127.0.0.1:{port}/"), "handshake-failed",
           "plain-http", "https://"),
    Ending("ssh", lambda site: site.says(b"SSH-2.0-OpenSSH_9.2\r\n"), "handshake-failed", "not-tls", "an SSH client"),
    Ending("EHLO", lambda site: site.says(b"EHLO me\r\n"), "handshake-failed", "not-tls", "starttls=smtp"),
    Ending("psql's SSLRequest", lambda site: site.says(b"\0\0\0\x08\x04\xd2\x16\x2f"), "handshake-failed", "not-tls",
           "starttls=postgres"),
    Ending("curl --haproxy-protocol",
           lambda site: site.run("curl", "-sk", "--haproxy-protocol", "https://127.0.0.1:{port}/"), "handshake-failed",
           "proxy-header", "name it in proxy-protocol"),
    Ending("curl, no PROXY header where one is due", lambda site: site.run("curl", "-sk", "https://127.0.0.1:{passed}/"),
           "handshake-failed", "proxy-header", "send-proxy"),
    Ending("SSL 2", lambda site: site.says(b"\x80\x2e\x01\x00\x02" + bytes(43)), "handshake-failed", "old-version",
           "before 2005"),
    Ending("openssl -tls1", _openssl("-tls1", "-cipher", "ALL:@SECLEVEL=0", "-servername", "localhost"),
           "handshake-failed", "old-version", "offers TLSv1.0 only, and TLSv1.2 to TLSv1.3 is served"),
    Ending("openssl, RSA suites alone", _openssl("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-servername",
           "localhost"), "handshake-failed", "no-common-cipher", "add one with an RSA key"),
    Ending("openssl, group of its own", _openssl("-tls1_3", "-groups", "ffdhe8192", "-servername", "localhost"),
           "handshake-failed", "no-common-cipher", "groups are ffdhe8192"),
    Ending("openssl -servername locahost", _openssl("-servername", "locahost"), "handshake-failed", "unknown-name",
           "did the client mean localhost"),
    Ending("openssl -noservername", _openssl("-noservername"), "handshake-failed", "unknown-name", "unknown-name=NAME"),
    Ending("openssl -alpn gopher", _openssl("-servername", "localhost", "-alpn", "gopher"), "handshake-failed",
           "no-alpn", "client offers gopher, and alpn has http/1.1"),
    Ending("gnutls-cli --alpn gopher",
           lambda site: site.run("gnutls-cli", "--insecure", "--alpn", "gopher", "-p", "{port}", "localhost"),
           "handshake-failed", "no-alpn", "client offers gopher"),
    Ending("curl --cacert elsewhere.pem",
           lambda site: site.run("curl", "-s", "--cacert", "elsewhere.pem", "https://localhost:{port}/"),
           "handshake-failed", "peer-alert", "chain we send is whole, so the client lacks the root: CN=Servers' root"),
    Ending("gnutls-cli, other CA",
           lambda site: site.run("gnutls-cli", "--x509cafile", "elsewhere.pem", "-p", "{port}", "localhost"),
           "handshake-failed", "(?:peer-alert|eof)", "certificate"),
    Ending("openssl, our intermediate missing",
           _openssl("-servername", "cut.test", "-CAfile", "root.pem", "-verify_return_error"), "handshake-failed",
           "peer-alert", "no intermediate: .*cut.pem: the issuer CN=Servers' CA is not sent"),
    Ending("openssl, our certificate expired",
           _openssl("-servername", "expired.test", "-CAfile", "root.pem", "-verify_return_error"), "handshake-failed",
           "peer-alert", "certificate is valid until .*: renew it"),
    Ending("curl, no certificate",
           lambda site: site.run("curl", "-sk", "--resolve", "secret.test:{port}:127.0.0.1",
                                 "https://secret.test:{port}/"), "handshake-failed", "no-certificate", "client-auth"),
    Ending("openssl, CA unknown", _openssl(*_SECRET, "other.pem"), "handshake-failed", "unknown-ca", "client-ca"),
    Ending("openssl, expired", _openssl(*_SECRET, "old.pem"), "handshake-failed", "expired", "new certificate"),
    Ending("openssl, revoked", _openssl(*_SECRET, "revoked.pem"), "handshake-failed", "revoked", "find out who"),
    Ending("openssl, a server's", _openssl(*_SECRET, "server.pem"), "handshake-failed", "wrong-usage", "clientAuth"),
    Ending("openssl, no rule", _openssl(*_SECRET, "stranger.pem"), "handshake-failed", "not-allowed",
           "allow has cn=friend"),
    Ending("says nothing", lambda site: site.says(b""), "handshake-failed", "handshake-timeout",
           "waits for a greeting"),
    Ending("half a ClientHello, waits", lambda site: site.says(b"\x16\x03\x01\x02\x00\x01"), "handshake-failed",
           "handshake-timeout", "begun and not gone on"),
    Ending("ClientHello, waits", lambda site: _after_hello(site, True), "handshake-failed", "handshake-timeout",
           "fallen silent"),
)  # fmt: skip
