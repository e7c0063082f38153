"""Profiles, seen by programs that know Mozilla's guidelines, or TLS, from somewhere else."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mytls.tls.profiles import PROFILES
from tests.live.authority import Files
from tests.live.conftest import Serve
from tests.live.processes import Running, run
from tests.tls.authority import DAY, Authority, ec_key, rsa_key

Needs = Callable[[str], str]

#: Seconds. These look at a server for longer than one waits for anything else.
SCAN = 300
#: The options of `openssl s_client` for a version.
VERSIONS = {"-tls1": "TLSv1", "-tls1_1": "TLSv1.1", "-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A certificate of each kind of key, as public CAs issue them, with the root beside them in `root.pem`."""
    folder = tmp_path_factory.mktemp("public")
    root = Authority("Root", until=400 * DAY)
    pairs = [
        Authority("Between", root, until=80 * DAY).issue(key=key, until=datetime.timedelta(days=60))
        for key in (ec_key(), rsa_key())
    ]
    (folder / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    key, chain = folder / "both.key", folder / "both.pem"
    key.write_bytes(
        b"".join(each.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for each in pairs)
    )
    chain.write_bytes(
        b"".join(each.public_bytes(Encoding.PEM) for pair in pairs for each in (pair.certificate, *pair.chain))
    )
    return Files(key, chain)


@pytest.fixture
def serving(public: Files, serve: Serve) -> Callable[..., object]:
    """A server with these words in its endpoint string."""

    @contextmanager
    def start(**words: str) -> Iterator[Running]:
        with serve("--endpoint", public.endpoint(prefix="mytls", **words), "--handler", "echo") as server:
            yield server

    return start


def agrees(openssl: str, server: Running, *words: str) -> bool:
    """Whether C{openssl s_client} and the server find something that both have."""
    at = f"127.0.0.1:{server.port}"
    said = run(openssl, "s_client", "-connect", at, "-servername", "localhost", "-cipher", "ALL:@SECLEVEL=0", *words)
    assert ("Cipher is (NONE)" in said.stdout) != ("Cipher is " in said.stdout.replace("Cipher is (NONE)", "")), said
    return "Cipher is (NONE)" not in said.stdout


@pytest.mark.parametrize("profile", list(PROFILES))
def test_openssl_agrees_on_the_versions_of_the_profile(profile: str, serving: Serve, needs: Needs) -> None:
    """Each version from the profile's oldest on, and none before it."""
    openssl = needs("openssl")
    with serving(profile=profile) as server:
        for option, version in VERSIONS.items():
            served = version >= PROFILES[profile].min_version
            assert agrees(openssl, server, option) == served, option


def test_openssl_agrees_on_the_suites_of_intermediate(serving: Serve, needs: Needs) -> None:
    """Each suite of the guideline, with a certificate of either kind of key, and none of those of `old`."""
    openssl = needs("openssl")
    with serving(profile="intermediate") as server:
        for suite in PROFILES["intermediate"].ciphers:
            assert agrees(openssl, server, "-tls1_2", "-cipher", suite), suite
        for suite in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"):
            assert not agrees(openssl, server, "-tls1_2", "-cipher", suite), suite
        for suite in PROFILES["intermediate"].ciphersuites:
            assert agrees(openssl, server, "-tls1_3", "-ciphersuites", suite), suite
        assert not agrees(openssl, server, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256")


def test_openssl_agrees_on_the_groups_of_the_guidelines(serving: Serve, needs: Needs) -> None:
    """Those that this openssl has, and no others."""
    openssl = needs("openssl")
    with serving(profile="modern") as server:
        for group in ("X25519", "P-256", "P-384"):
            assert agrees(openssl, server, "-tls1_3", "-groups", group), group
        for group in ("P-521", "X448", "ffdhe2048"):
            assert not agrees(openssl, server, "-tls1_3", "-groups", group), group


def test_openssl_meets_what_a_host_says_otherwise(serving: Serve, needs: Needs) -> None:
    """Versions, suites and groups of the endpoint string in place of the profile's."""
    openssl, only = needs("openssl"), "ECDHE-RSA-AES256-GCM-SHA384"
    with serving(maxVersion="TLSv1.2", ciphers=only, groups="P-384") as server:
        assert agrees(openssl, server, "-tls1_2", "-cipher", only)
        assert not agrees(openssl, server, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
        assert not agrees(openssl, server, "-tls1_2", "-groups", "X25519")
        assert not agrees(openssl, server, "-tls1_3")


@pytest.mark.parametrize("profile", ["modern", "intermediate"])
def test_sslyze_finds_that_a_profile_is_mozillas(profile: str, public: Files, serving: Serve, needs: Needs) -> None:
    """Its check against Mozilla's configuration of that name: certificate, versions, suites, groups, known attacks."""
    sslyze = needs("sslyze")
    with serving(profile=profile) as server:
        root = public.key.parent / "root.pem"
        found = scan(sslyze, f"--mozilla_config={profile}", "--certinfo_ca_file", str(root), f"localhost:{server.port}")
    assert f"localhost:{server.port}: OK - Compliant." in found.stdout, found.stdout[-3000:]
    assert found.returncode == 0


@pytest.mark.parametrize("profile", ["modern", "intermediate"])
def test_testssl_finds_nothing_to_complain_of(profile: str, serving: Serve, needs: Needs, tmp_path: Path) -> None:
    """Versions, kinds of suites, forward secrecy and known attacks: no warning, and nothing above `LOW`."""
    testssl, report = needs("testssl"), tmp_path / "report.json"
    with serving(profile=profile) as server:
        said = scan(
            testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
            "--jsonfile", str(report), "-p", "-s", "-f", "-U", f"localhost:{server.port}",
        )  # fmt: skip
    assert report.exists(), said
    told = json.loads(report.read_text())
    assert {"TLS1_3", "heartbleed", "ROBOT", "RC4"} <= {each["id"] for each in told}
    assert [each for each in told if each["severity"] in ("WARN", "MEDIUM", "HIGH", "CRITICAL", "FATAL")] == []


def scan(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that looks at a server."""
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SCAN, check=False)
