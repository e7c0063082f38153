"""Files for tests, in a folder that is gone when the test is over."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import attrs
import trustme
from twisted.trial.unittest import SynchronousTestCase


def folder(test: SynchronousTestCase) -> Path:
    """A new folder."""
    made = tempfile.TemporaryDirectory(prefix="mytls-")
    test.addCleanup(made.cleanup)
    return Path(made.name)


@attrs.frozen
class Pems:
    """
    What a certificate authority hands out, as PEM text.

    @ivar key: the private key
    @ivar leaf: the certificate
    @ivar rest: what stands between it and the root
    """

    key: bytes
    leaf: bytes
    rest: bytes


@cache
def intermediate() -> trustme.CA:
    """An authority below a root, for the whole run."""
    return trustme.CA().create_child_ca()


@cache
def pems(name: str = "localhost") -> Pems:
    """A certificate of the intermediate authority; the same for the same name."""
    issued = intermediate().issue_cert(name)
    leaf, *rest = (each.bytes() for each in issued.cert_chain_pems)
    return Pems(issued.private_key_pem.bytes(), leaf, b"".join(rest))


def write_pair(where: Path, name: str = "localhost") -> tuple[str, str]:
    """A key and a full chain, as files. @return: their paths"""
    made = pems(name)
    key, chain = where / f"{name}.key", where / f"{name}.pem"
    key.write_bytes(made.key)
    key.chmod(0o600)
    chain.write_bytes(made.leaf + made.rest)
    return str(key), str(chain)
