"""Programs that people have, against a host that requires certificates: what each is told, and what the log says."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mytls.peer import Identity
from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, converse, trusting
from tests.live.conftest import Serve
from tests.live.processes import TWISTD, Running, run
from tests.tls.authority import DAY, SERVER, Authority

#: The number of an alert, and what OpenSSL, GnuTLS and Python call it (RFC 8446 section 6).
ALERTS = {
    "handshake failure": (40, "Handshake failed", "HANDSHAKE_FAILURE"),
    "unsupported certificate": (43, "Unsupported certificate", "UNSUPPORTED_CERTIFICATE"),
    "certificate revoked": (44, "Certificate was revoked", "CERTIFICATE_REVOKED"),
    "certificate expired": (45, "Certificate is expired", "CERTIFICATE_EXPIRED"),
    "certificate unknown": (46, "Unknown certificate", "CERTIFICATE_UNKNOWN"),
    "unknown ca": (48, "CA is unknown", "UNKNOWN_CA"),
    "certificate required": (116, "Certificate is required", "CERTIFICATE_REQUIRED"),
}
VERSIONS = ["1.2", "1.3"]


@attrs.frozen
class Client:
    """
    Somebody who comes.

    @ivar alert: what he is told; None, where he enters
    @ivar cause: the word for it in the log
    @ivar words: what the log says of it
    @ivar shows: whom the log names
    @ivar file: his certificate and key, or None
    """

    alert: str | None
    cause: str
    words: str
    shows: str
    file: str | None

    def told(self, version: str) -> str | None:
        """The alert certificate_required is of TLS 1.3."""
        return "handshake failure" if self.file is None and version == "1.2" else self.alert


@attrs.frozen
class Site:
    """
    A server, and who comes.

    @ivar root: the CA of the server
    """

    server: Running
    root: Path
    clients: tuple[Client, ...]


def write_clients(folder: Path) -> tuple[Client, ...]:
    """Write the CA, its list and the clients' certificates."""
    ca, other = Authority("Clients' CA"), Authority("Elsewhere")
    revoked = ca.client("revoked")
    (folder / "ca.pem").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    (folder / "ca.crl").write_bytes(ca.revoking(revoked.certificate).public_bytes(Encoding.PEM))
    found = [
        Client("certificate required", "no-certificate", "the client has shown no certificate", "", None),
    ]
    for alert, cause, words, pair in (
        (None, "", "", ca.client("friend")),
        ("unknown ca", "unknown-ca", "no CA of client-ca has issued it: client certificate ", other.client()),
        ("certificate expired", "expired", "it has expired: client certificate ", ca.client(until=-DAY / 2)),
        ("certificate revoked", "revoked", "it was revoked: client certificate ", revoked),
        (
            "unsupported certificate",
            "wrong-usage",
            "it is not for clients (extended key usage): client certificate ",
            ca.client(usages=(SERVER,)),
        ),
        ("certificate unknown", "not-allowed", "no allow rule matches ", ca.client("stranger")),
        ("certificate unknown", "not-allowed", "deny cn=foe matches ", ca.client("foe")),
    ):
        key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = folder / f"{len(found)}.pem"
        path.write_bytes(pair.certificate.public_bytes(Encoding.PEM) + key)
        path.chmod(0o600)
        found.append(Client(alert, cause, words, Identity.of(pair.certificate).shown(), os.fspath(path)))
    return tuple(found)


@pytest.fixture(scope="module")
def site(certificates: Certificates, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all of them."""
    folder = tmp_path_factory.mktemp("clients")
    clients = write_clients(folder)
    endpoint = certificates.ecdsa.endpoint(
        prefix="mytls", clientAuth="required", clientCA="ca.pem", crl="ca.crl", allow="cn=friend,cn=foe", deny="cn=foe"
    )
    with serve("--endpoint", endpoint, "--handler", "echo", "--log-repeats", "off", cwd=folder) as server:
        yield Site(server, certificates.root, clients)


def openssl(site: Site, client: Client, version: str) -> str | None:
    """What openssl's client is told."""
    shows = () if client.file is None else ("-cert", client.file, "-key", client.file)
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}", "-servername", "localhost"]
    words += [f"-tls{version.replace('.', '_')}", "-CAfile", str(site.root), "-ign_eof", *shows]
    heard = converse(words, b"hello\n", b"hello\n" if client.alert is None else b"SSL alert number").decode()
    found = re.search("alert ([a-z ]+):.*SSL alert number", heard)
    return found[1] if found else None


def gnutls(site: Site, client: Client, version: str) -> str | None:
    """What GnuTLS's client is told."""
    shows = () if client.file is None else ("--x509certfile", client.file, "--x509keyfile", client.file)
    words = ["gnutls-cli", "--x509cafile", str(site.root), "--port", str(site.server.port), *shows]
    words += ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "localhost"]
    heard = converse(words, b"hello\n", b"\nhello\n" if client.alert is None else b"*** Received alert").decode()
    found = re.search(r"Received alert \[(\d+)\]", heard)
    return found and next(words for words, (number, *_) in ALERTS.items() if number == int(found[1]))


def curl(site: Site, client: Client, version: str) -> str | None:
    """What curl is told; an echo is no web server, so it gets no page."""
    shows = () if client.file is None else ("--cert", client.file)
    words = ["curl", "--silent", "--show-error", "--ipv4", "--noproxy", "*", "--cacert", str(site.root), *shows]
    words += [f"--tlsv{version}", "--tls-max", version, "--http0.9", "--max-time", "1"]
    told = run(*words, f"https://localhost:{site.server.port}/")
    if "SSL certificate verification failed" in told.stderr:  # so it tells this alert in TLS 1.2
        return "certificate expired"
    found = re.search("alert ([a-z ]+)", told.stderr)
    if found is None:
        assert told.stdout.startswith("GET / HTTP/1.1"), told.stderr
    return found[1] if found else None


def python(site: Site, client: Client, version: str) -> str | None:
    """What Python's ssl module is told."""
    context = trusting(site.root)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]
    if client.file is not None:
        context.load_cert_chain(client.file)
    try:
        with connected(site.server.port, context) as connection:
            assert asks_and_hears(connection, b"hello")
    except ssl.SSLError as error:
        return next(words for words, (*_, name) in ALERTS.items() if str(error.reason).endswith(f"ALERT_{name}"))
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("program", "tell"), [("openssl", openssl), ("gnutls-cli", gnutls), ("curl", curl), ("", python)]
)
def test_each_is_told_why(
    site: Site,
    needs: Callable[[str], str],
    program: str,
    tell: Callable[[Site, Client, str], str | None],
    version: str,
) -> None:
    """
    Whoever may not enter gets the alert that says why, by his own program; the log has one line with his address, the
    name that he asked for, whom his certificate names, and the rule or check that has failed.
    """
    if program:
        needs(program)
    for client in site.clients:
        lines = len(re.findall("handshake-failed", site.server.log))
        assert tell(site, client, version) == client.told(version), client
        if client.alert is None:
            continue
        line = site.server.wait_for("handshake-failed .*", lines + 1)[-1]
        assert re.match(r"handshake-failed 127\.0\.0\.1:\d+ at 127\.0\.0\.1:\d+ name=localhost cause=", line), line
        assert f" cause={client.cause} after " in line
        assert line.partition("; hint: ")[0].endswith(f": {client.words}{client.shows}")
        assert len(re.findall("handshake-failed", site.server.log)) == lines + 1


@pytest.mark.parametrize("word", ["clientCA", "crl"])
@pytest.mark.parametrize("content", ["", "this is no PEM\n"], ids=["empty", "text"])
def test_without_whom_to_trust_nothing_starts(
    certificates: Certificates, tmp_path: Path, word: str, content: str
) -> None:
    """A CA file, or a revocation list, that says nothing is one line, and nothing listens."""
    write_clients(tmp_path)
    files = {"clientCA": "ca.pem", "crl": "ca.crl", word: "wrong.pem"}
    (tmp_path / "wrong.pem").write_text(content)
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", clientAuth="required", allow="all", **files)
    told = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", "--endpoint", endpoint, cwd=tmp_path)
    said = told.stdout + told.stderr
    assert told.returncode != 0
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "mytls: " in line]
    assert f"{word}=wrong.pem: there is no " in line


def test_a_reload_keeps_whom_it_trusts(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A CA file that becomes empty, and a list that does, are told of; who was let in is, and nobody else."""
    nobody, friend, stranger, *_ = write_clients(tmp_path)
    config = tmp_path / "mytls.toml"
    config.write_text(
        '[[listener]]\nendpoint = "mytls:0:interface=127.0.0.1"\nhandler = "echo"\n'
        f'certificate = "{certificates.ecdsa.chain}"\nprivate-key = "{certificates.ecdsa.key}"\n'
        'client-auth = "required"\nclient-ca = "ca.pem"\ncrl = "ca.crl"\nallow = ["all"]\n'
        '[reload]\ninterval = "100ms"\n'
    )
    with serve("--config", str(config)) as server:
        site = Site(server, certificates.root, ())
        for number, (name, word) in enumerate((("ca.pem", "client-ca"), ("ca.crl", "crl"))):
            whole = (tmp_path / name).read_bytes()
            (tmp_path / name).write_bytes(b"")
            line = server.wait_for("reload-failed, the old stays: .*", number + 1)[-1]
            assert f" {word}={tmp_path / name}: there is no " in line
            assert python(site, friend, "1.3") is None
            assert python(site, stranger, "1.3") == "unknown ca"
            assert python(site, nobody, "1.3") == "certificate required"
            (tmp_path / name).write_bytes(whole)
            server.wait_for("reloaded: ", number + 1)
