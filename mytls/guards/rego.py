"""
`rego = "policy.rego"`: a policy of Open Policy Agent, which is asked of each peer.

The interpreter may run for ever, take memory without bound, and end its process. So it has a process of its own
(L{mytls.guards.rego_worker}), which is killed when a question takes too long; the next question gets another.

Strings in it are what JSON has between its quotes, so that to its functions a newline is a backslash and an `n`, and a
name that ends with U+0008 ends with "b". Who has such a name is not asked about, and neither is who has very many: what
compares all names with one another takes as long as it likes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from mytls.errors import ConfigurationError
from mytls.guards.bundle import Bundle, Query
from mytls.guards.policy import Unanswered
from mytls.guards.workers import LONGEST, Workers, ending
from mytls.peer import Peer
from mytls.settings import HostSettings
from mytls.tls.files import Files, read

#: What is asked where nothing is said.
QUERY = "data.mytls.allow"
#: What a question may take of memory, in bytes.
MEMORY = 512 << 20
#: How many names of one kind a certificate may have.
MOST_NAMES = 100
#: What reading and trying a policy may take, in seconds.
CHECK = 10.0

#: What its strings have an escape for, and DEL.
_MISREAD = re.compile(r'["\\\x00-\x1f\x7f]')
#: RFC 4514 writes `CN=Example\, Inc.`, and it is the CA that has chosen that.
_MISREAD_OF_ISSUER = re.compile(r"[\x00-\x1f\x7f]")

_SCRIPT = Path(__file__).with_name("rego_worker.py")


class RegoPolicy:
    """
    A policy in Rego.

    @ivar source: what a process of its is given first
    """

    def __init__(self, written: str, digest: bytes, bundle: Bundle, query: Query) -> None:
        """@param written: its file, as the user wrote it"""
        self.written = f"rego={written}"
        self.digest = digest
        self.source = _line({"modules": dict(bundle.modules), "data": bundle.data, "query": query.written})
        self._workers = Workers(self.written, self.source, lambda: command("serve"))

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        """See L{mytls.guards.policy.Policy}."""
        told = input_of(peer)
        trouble = _untellable(told)
        if trouble is not None:
            raise Unanswered(trouble)
        return self._workers.ask(_line(told), _whose(peer), reactor)

    def stop(self) -> None:
        """See L{mytls.guards.policy.Policy}."""
        self._workers.stop()


def input_of(peer: Peer) -> dict[str, list[str]]:
    """What a policy is told of a peer: lists of text, which are empty where there is nothing."""
    told: dict[str, Any] = {
        "cn": peer.cn,
        "ou": peer.ou,
        "o": peer.o,
        "dns": peer.dns,
        "uri": peer.uri,
        "email": peer.email,
        "ip": peer.ip,
        "issuer": peer.issuer,
        "serial": peer.serial,
        "spki": peer.spki,
        "spiffe": peer.spiffe_id,
        "address": _host(peer.address),
        "server_name": peer.server_name,
        "alpn": peer.alpn,
        "version": peer.version,
        "ja4": peer.ja4,
    }
    return {name: _listed(value) for name, value in told.items()}


def source_of(settings: HostSettings, files: Files) -> bytes:
    """
    The content of a host's policy.

    @raise ConfigurationError: it cannot be read
    """
    return read(settings, "rego", settings.rego or "", files)


def rego_digest(settings: HostSettings, content: bytes) -> bytes:
    """The digest of a policy with this content."""
    query = settings.rego_query or QUERY
    return hashlib.sha256(repr(("rego", settings.rego, query, content)).encode("utf-8", "surrogateescape")).digest()


def rego_policy(settings: HostSettings, content: bytes) -> RegoPolicy:
    """
    A host's policy, read and tried in a process of its own; that may take a moment, and touches no reactor.

    @raise ConfigurationError: it is none, or its query asks for nothing that there is
    """
    written, asked = settings.rego or "", settings.rego_query or QUERY
    with _about(settings, "rego-query", asked):
        query = Query.of(asked)
    with _about(settings, "rego", written):
        bundle = Bundle.of(os.path.basename(written), content)
        made = RegoPolicy(written, rego_digest(settings, content), bundle, query)
        rules = _checked(made.source)
    of_default = "rego", written, f"it has no rule {asked}, and rego-query says no other"
    with _about(settings, *(("rego-query", asked) if settings.rego_query else of_default)):
        query.check(rules, bundle.data)
    return made


@contextmanager
def _about(settings: HostSettings, key: str, value: str, trouble: str | None = None) -> Iterator[None]:
    """What is raised inside is about this key. @param trouble: says it in place of the error's own text"""
    try:
        yield
    except ConfigurationError as error:
        raise settings.wrong(key, value, trouble or str(error)) from None


def command(what: str) -> list[str]:
    """
    What a worker is run with. @param what: `serve` or `check`

    @raise ConfigurationError: the library is not installed
    """
    found = find_spec("regopy")
    if found is None or found.origin is None:
        raise ConfigurationError("policies in Rego need another library: pip install 'mytls[rego]'")
    folder = Path(found.origin).parent.parent
    seconds = CHECK if what == "check" else LONGEST + 1
    return [sys.executable, "-I", "-S", str(_SCRIPT), str(folder), str(MEMORY), str(seconds), what]


def _checked(source: bytes) -> set[tuple[str, ...]]:
    """The names of a policy's rules. @raise ConfigurationError: it does not compile, or cannot be asked"""
    place = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    try:
        done = subprocess.run(
            command("check"), input=source, capture_output=True, timeout=CHECK, env=place, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"it was not read and tried within {CHECK:.0f} seconds") from None
    except OSError as error:
        raise ConfigurationError(f"its process could not be started: {error}") from None
    try:
        told: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise ConfigurationError(_trouble(done.stderr.decode("utf-8", "replace"), done.returncode)) from None
    if told["error"]:
        raise ConfigurationError(f"{told['error']}, also for a peer without a certificate: is each function there?")
    return {tuple(path) for path in told["rules"]}


def _trouble(said: str, status: int) -> str:
    """What the interpreter has printed, as a few words: what, and where."""
    found = re.search(r"Errors:\n(.*)\n-- (\S*)\n", said)
    if found is not None:
        return ": ".join(part for part in (found[2], found[1]) if part)
    last = next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "")
    end = f"its process has ended with {ending(status, -status if status < 0 else None)}"
    return f"{end}: {last[:200]}" if last else end


def _line(value: object) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _untellable(told: Mapping[str, Sequence[str]]) -> str | None:
    """Why a policy is not asked about such a peer; None where it is."""
    for name, texts in told.items():
        if len(texts) > MOST_NAMES:
            return f"the certificate has {len(texts)} names of the kind {name}, over {MOST_NAMES}"
        misread = _MISREAD_OF_ISSUER if name == "issuer" else _MISREAD
        if any(misread.search(text) for text in texts):
            return f"{name} has a character that Rego would misread"
    return None


def _whose(peer: Peer) -> Hashable:
    """Who asks: a certificate, or where there is none an address. Of IPv6 somebody has a whole network (RFC 6177)."""
    if peer.identity is not None:
        return peer.fingerprints["sha256"]
    host = _host(peer.address)
    try:
        address = ip_address(host or "")
    except ValueError:
        return host
    return address if address.version == 4 else int(address) >> 64


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _host(address: IAddress | None) -> str | None:
    return getattr(address, "host", None)
