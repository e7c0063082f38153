"""Certificates for a run, as files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs
import trustme


@attrs.frozen
class Files:
    """
    A certificate for localhost.

    @ivar key: its private key
    @ivar chain: itself, the intermediate CA and the root, in this order
    """

    key: Path
    chain: Path

    def endpoint(self, *, prefix: str = "ssl", port: str = "0", interface: str = r"127.0.0.1", **words: str) -> str:
        """
        A server endpoint string with this certificate, on a port that the system chooses.

        @param words: more words; an empty C{port} or C{interface} is left out
        """
        first = [prefix, port] if port else [prefix]
        said = {"interface": interface, "privateKey": str(self.key), "certKey": str(self.chain), **words}
        return ":".join([*first, *(f"{name}={value}" for name, value in said.items() if value)])


@attrs.frozen
class Certificates:
    """
    What the servers of a run show, and what the clients trust.

    @ivar root: the root CA's certificate
    """

    folder: Path
    root: Path
    rsa: Files
    ecdsa: Files
    expired: Files

    @classmethod
    def made_in(cls, folder: Path) -> Certificates:
        """Make them all."""
        root = trustme.CA()
        intermediate = root.create_child_ca()
        root.cert_pem.write_to_path(folder / "root.pem")

        def files(name: str, **how: Any) -> Files:
            leaf = intermediate.issue_cert("localhost", "127.0.0.1", "::1", **how)
            key, chain = folder / f"{name}.key", folder / f"{name}.pem"
            leaf.private_key_pem.write_to_path(key)
            key.chmod(0o600)
            sent = [*leaf.cert_chain_pems, root.cert_pem]
            chain.write_bytes(b"".join(each.bytes() for each in sent))
            return Files(key, chain)

        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        return cls(
            folder,
            folder / "root.pem",
            files("rsa", key_type=trustme.KeyType.RSA),
            files("ecdsa", key_type=trustme.KeyType.ECDSA),
            files("expired", not_after=yesterday),
        )
