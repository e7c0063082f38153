"""Programs that people have, against `ssl:` with a full chain: each does a round trip, over each version of TLS."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.live.authority import Certificates, Files
from tests.live.clients import ByHand, asks_and_hears, client_context, connected, converse, trusting
from tests.live.conftest import Serve
from tests.live.processes import Running, run

Needs = Callable[[str], str]

ANSWERS = '''
def do_something(connstream, data):
    """Answers a web client, and echoes what others say."""
    if data.startswith(b"GET "):
        connstream.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n")
        return False
    connstream.sendall(data)
    return True
'''

VERSIONS = ["TLSv1.3", "TLSv1.2"]


@pytest.fixture(scope="module", params=["rsa", "ecdsa"])
def files(request: pytest.FixtureRequest, certificates: Certificates) -> Files:
    """A key and a chain of each kind."""
    found: Files = getattr(certificates, request.param)
    return found


@pytest.fixture(scope="module")
def server(files: Files, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the clients of this module."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "answers.py").write_text(ANSWERS)
    with serve("--endpoint", files.endpoint(), "--handler", "call:answers:do_something", cwd=folder) as running:
        yield running


def s_client(server: Running, certificates: Certificates, *more: str) -> list[str]:
    """The words that run openssl's client, which verifies the server."""
    return [
        *("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost"),
        *("-CAfile", str(certificates.root), "-verify_return_error", "-verify_hostname", "localhost", *more),
    ]


def test_the_whole_chain_of_certkey_is_sent(
    server: Running, files: Files, certificates: Certificates, needs: Needs
) -> None:
    """`openssl s_client -showcerts` shows the leaf, the intermediate CA and the root, and verifies the leaf."""
    needs("openssl")
    told = run(*s_client(server, certificates, "-showcerts"))
    assert told.returncode == 0, told.stderr
    assert "Verify return code: 0 (ok)" in told.stdout
    shown = told.stdout.partition("Server certificate")[0]
    sent = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", shown, re.DOTALL)
    assert "".join(sent) == files.chain.read_text()
    assert len(sent) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_does_a_round_trip(server: Running, certificates: Certificates, needs: Needs, version: str) -> None:
    """`openssl s_client` verifies the server and is echoed."""
    needs("openssl")
    words = s_client(
        server, certificates, {"TLSv1.3": "-tls1_3", "TLSv1.2": "-tls1_2"}[version], "-quiet", "-verify_quiet"
    )
    assert converse(words, b"hello openssl\n", b"hello openssl\n") == b"hello openssl\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_does_a_round_trip(server: Running, certificates: Certificates, needs: Needs, version: str) -> None:
    """curl verifies the server and gets its page, although it offers h2 by ALPN and the server has no ALPN."""
    needs("curl")
    number = version.removeprefix("TLSv")
    page = f"https://localhost:{server.port}/"
    told = run(
        *("curl", "--silent", "--show-error", "--verbose", "--cacert", str(certificates.root), "--noproxy", "*"),
        *("--ipv4", f"--tlsv{number}", "--tls-max", number, page),
    )
    assert (told.returncode, told.stdout) == (0, "hello\n"), told.stderr
    assert re.search(r"ALPN.*offer.*h2", told.stderr)
    assert re.search(r"ALPN.*server did not agree", told.stderr)
    assert f"SSL connection using {version} " in told.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_does_a_round_trip(server: Running, certificates: Certificates, needs: Needs, version: str) -> None:
    """`gnutls-cli` verifies the server and is echoed."""
    needs("gnutls-cli")
    number = version.removeprefix("TLSv")
    words = [
        *("gnutls-cli", "--x509cafile", str(certificates.root), "--port", str(server.port)),
        *("--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{number}", "localhost"),
    ]
    told = converse(words, b"hello gnutls\n", b"\nhello gnutls\n")
    assert b"The certificate is trusted" in told
    assert f"(TLS{number}-X.509)".encode() in told


@pytest.mark.parametrize("version", VERSIONS)
def test_ncat_does_a_round_trip(
    server: Running, certificates: Certificates, needs: Needs, version: str, tmp_path: Path
) -> None:
    """`ncat --ssl` verifies the server and is echoed."""
    needs("ncat")
    limits = tmp_path / "openssl.cnf"
    limits.write_text(
        f"openssl_conf=init\n[init]\nssl_conf=ssl\n[ssl]\nsystem_default=limits\n[limits]\nMaxProtocol={version}\n"
    )
    words = ["ncat", "--ssl", "--ssl-verify", "--ssl-trustfile", str(certificates.root), "localhost", str(server.port)]
    heard = converse(words, b"hello ncat\n", b"hello ncat\n", env={"OPENSSL_CONF": str(limits)})
    assert heard == b"hello ncat\n"
    server.wait_for(rf"\] closed .* {re.escape(version)} .* in=11 out=11 ")


@pytest.mark.parametrize("version", VERSIONS)
def test_python_does_a_round_trip(server: Running, certificates: Certificates, version: str) -> None:
    """Python's ssl module verifies the server and is echoed, and the goodbye is proper on both sides."""
    context = trusting(certificates.root)
    context.maximum_version = context.minimum_version = ssl.TLSVersion[version.replace(".", "_")]
    with connected(server.port, context) as client:
        assert client.version() == version
        assert asks_and_hears(client, b"hello python")
        client.unwrap().close()
    server.wait_for(rf"\] closed .* {re.escape(version)} .* in=12 out=12 .* clean")


def test_tls_1_1_is_refused(server: Running, certificates: Certificates, needs: Needs) -> None:
    """A client that has TLS 1.1 alone gets the protocol_version alert, and the log says why."""
    needs("openssl")
    told = run(*s_client(server, certificates, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"))
    assert told.returncode != 0
    assert "alert protocol version" in told.stderr
    server.wait_for(r"handshake-failed .* cause=old-version ")


def test_a_client_with_x25519mlkem768_gets_it(server: Running) -> None:
    """The post-quantum key exchange is used with a client that has it, and the log names it."""
    try:
        client = ByHand(server.port, client_context())
        client.socket.sendall(client.hello)
        client.finish_handshake()
        assert client.asks_and_hears(b"hello lattice")
    finally:
        client.close()
    server.wait_for(r"\] closed .* X25519MLKEM768 .* in=13 out=13 ")


def test_a_server_without_tls_1_3_serves_tls_1_2(certificates: Certificates, serve: Serve) -> None:
    """`sslmethod=TLSv1_2_METHOD` serves TLS 1.2 to a client that would rather have TLS 1.3."""
    with (
        serve("--endpoint", certificates.rsa.endpoint(sslmethod="TLSv1_2_METHOD")) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert client.version() == "TLSv1.2"
        assert asks_and_hears(client, b"hello")


def test_openssl_of_this_python_can_show_the_group() -> None:
    """The cryptography package ships an OpenSSL with X25519MLKEM768; the test of it above is no accident."""
    assert SSL.OPENSSL_VERSION_NUMBER >= 0x30500000
