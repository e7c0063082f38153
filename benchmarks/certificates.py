"""The keys and certificates of a run: made anew each time, by one CA, in the run's own folder.

The server's chain is one certificate long. Some servers send a whole chain and others only its leaf; with a
longer one the handshakes would not carry the same bytes.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Identity:
    """One party's files; `both` is the key and the certificate in one, as hitch and HAProxy want it."""

    key: Path
    certificate: Path
    both: Path


@dataclass(frozen=True)
class Certificates:
    ca: Path
    servers: dict[str, Identity]
    client: Identity


def make_certificates(folder: Path) -> Certificates:
    """A CA, a server with each kind of key, and a client."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    kinds = {"ecdsa": trustme.KeyType.ECDSA, "rsa": trustme.KeyType.RSA}
    return Certificates(
        ca=folder / "ca.pem",
        servers={kind: _issue(ca, folder, f"server-{kind}", key_type) for kind, key_type in kinds.items()},
        client=_issue(ca, folder, "client", trustme.KeyType.ECDSA),
    )


def _issue(ca: trustme.CA, folder: Path, name: str, key_type: trustme.KeyType) -> Identity:
    tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)
    leaf = ca.issue_cert("localhost", common_name=name, key_type=key_type, not_after=tomorrow)
    identity = Identity(folder / f"{name}.key", folder / f"{name}.pem", folder / f"{name}.both.pem")
    leaf.private_key_pem.write_to_path(identity.key)
    leaf.cert_chain_pems[0].write_to_path(identity.certificate)
    leaf.private_key_and_cert_chain_pem.write_to_path(identity.both)
    return identity
