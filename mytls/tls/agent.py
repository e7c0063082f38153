"""
How the agent that serves a SPIFFE Workload API is asked, and what it says where it does not answer.

@see: U{https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md}
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mytls.errors import ConfigurationError, sentence
from mytls.tls.svids import Issued

if TYPE_CHECKING:
    from spiffe import WorkloadApiClient

#: Seconds that the first answer may take: an agent asks its server for new registrations about every five.
FIRST_WAIT = 10.0
#: Seconds between two attempts, the first and the longest.
PAUSES = (0.1, 30.0)
#: Seconds that the process which asks may take besides.
_STARTS_IN = 10.0
_ASKING = "import sys; from mytls.tls.agent import tell; tell(*sys.argv[1:])"

_ADDRESS = re.compile(r"unix:(?://)?(/[^/?#][^?#]*)")
_CODE = re.compile(r"StatusCode\.([A-Z_]+)")
_OF_THE_SYSTEM = re.compile(r"error: ([A-Za-z ]+) \(StatusCode")
#: What codes say (SPIFFE Workload Endpoint, section 6).
_CODES = {
    "UNAVAILABLE": "nobody answers there",
    "PERMISSION_DENIED": "the agent knows no identity for this process; register the workload with it",
    "DEADLINE_EXCEEDED": "somebody listens there and does not answer",
    "INVALID_ARGUMENT": "the agent does not understand; expected a SPIFFE Workload API",
    "UNIMPLEMENTED": "this is no SPIFFE Workload API",
}
_FINAL = ("INVALID_ARGUMENT", "UNIMPLEMENTED")


class Unanswered(ConfigurationError):
    """
    Why there is nothing to serve with: a line without the address.

    @ivar final: whether asking again at once would be of no use
    """

    def __init__(self, line: str, final: bool = False) -> None:
        super().__init__(line)
        self.final = final


def ask_aside(address: str, wait: float) -> Issued:
    """
    The first answer, asked for by another process. The key comes through a pipe.

    @param wait: seconds that the agent may take
    @raise ConfigurationError: as of L{ask}
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _ASKING, address, str(wait)]
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, timeout=wait + _STARTS_IN
        )
    except subprocess.TimeoutExpired:
        raise Unanswered(f"the agent cannot be asked in {wait:g} seconds") from None
    if asked.returncode:
        raise Unanswered(f"the agent cannot be asked: the process that asks ended with status {asked.returncode}")
    word, _, answer = asked.stdout.partition(b"\n")
    if word != b"issued":
        raise Unanswered(answer.decode("utf-8"))
    return Issued.of_bytes(answer, address)


def tell(address: str, wait: str) -> None:
    """What that process does: the answer, or why there is none, to its output."""
    try:
        word, answer = b"issued", bytes(ask(address, float(wait)))
    except ConfigurationError as error:
        word, answer = b"unanswered", str(error).encode("utf-8")
    with os.fdopen(1, "wb", closefd=False) as output:
        output.write(word + b"\n" + answer)


def ask(address: str, wait: float, pauses: tuple[float, float] = PAUSES) -> Issued:
    """
    The first answer, asked for again and again where the agent is not there yet, or does not know us yet.

    @param wait: seconds that it may take
    @raise ConfigurationError: none has come in time, or none can; one line, without the address
    """
    end = time.monotonic() + wait
    for pause in growing(pauses):
        try:
            return _asked_once(address, max(end - time.monotonic(), pauses[0]))
        except Unanswered as error:
            if error.final:
                raise
            if time.monotonic() + pause >= end:
                raise Unanswered(f"{error}; waited {wait:g} seconds") from None
        time.sleep(pause)
    raise AssertionError("the pauses have no end")


def _asked_once(address: str, timeout: float) -> Issued:
    with connected(socket_path(address)) as client, in_our_words():
        return Issued.of(client.fetch_x509_context(timeout=timeout), address)


def socket_path(address: str) -> str:
    """
    The path of a socket, of an address as SPIFFE_ENDPOINT_SOCKET has it (SPIFFE Workload Endpoint, section 4).

    @raise ConfigurationError: it is another address; without the address
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not address.isprintable():
        tcp = " (the package spiffe speaks over UNIX sockets alone)" if address.startswith("tcp:") else ""
        raise ConfigurationError(f"expected unix:/path/of/the/socket{tcp}")
    return found[1]


def look_for_the_package() -> None:
    """It is an extra, and not loaded before it is used."""
    if "spiffe" not in sys.modules and find_spec("spiffe") is None:
        raise ConfigurationError("the package spiffe is not installed: pip install 'mytls[spiffe]'")


@contextmanager
def connected(path: str) -> Iterator[WorkloadApiClient]:
    """@raise Unanswered: there is no such socket"""
    from spiffe import WorkloadApiClient

    if not os.path.exists(path):
        raise Unanswered("no such socket")
    with in_our_words():
        client = WorkloadApiClient(f"unix:{path}")
    try:
        yield client
    finally:
        client.close()


@contextmanager
def in_our_words() -> Iterator[None]:
    """@raise Unanswered: the library has raised something of its own, or what is issued is of no use"""
    from spiffe.errors import PySpiffeError

    try:
        yield
    except PySpiffeError as error:
        raise _unanswered(str(error)) from None
    except ConfigurationError as error:
        raise _useless(str(error)) from None


def _unanswered(text: str) -> Unanswered:
    """@param text: what the library says, with what the agent says in it"""
    *_, code = _CODE.findall(text) or [""]
    if not code:
        return _useless(sentence(text, 200))
    system = _OF_THE_SYSTEM.search(text)
    detail = f"{code}: {system[1]}" if system else code
    return Unanswered(f"{_CODES.get(code, 'the agent fails')} ({detail})", code in _FINAL)


def _useless(line: str) -> Unanswered:
    return Unanswered(f"what the agent has issued is of no use: {line}", final=True)


def growing(pauses: tuple[float, float]) -> Iterator[float]:
    """Pauses that double. @param pauses: the first and the longest"""
    pause, longest = pauses
    while True:
        yield pause
        pause = min(2 * pause, longest)
