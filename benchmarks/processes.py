"""One server, from start to end: pinned to its core, waited for, and ended whatever happens.

The server and its backend share one core and the load client has another. A server counts as started when a
real handshake with it has succeeded; then all its processes exist and can be named to the load client.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .certificates import Certificates
from .order import Order
from .rows import Run
from .servers import Server

HERE = Path(__file__).parent
PATIENCE = 15.0
GRACE = 3.0


class ServerFailed(Exception):
    """A server did not start, or the load client was not satisfied with it."""


@dataclass(frozen=True)
class Cores:
    """The first core that we may use is the server's, the last the client's."""

    server: int
    client: int

    @classmethod
    def ours(cls) -> Cores:
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[-1])


@dataclass(frozen=True)
class Running:
    port: int
    processes: list[int]


def compile_programs(folder: Path) -> None:
    """The load client and the plain backend, with the system's compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        raise ServerFailed("a C compiler (cc) and OpenSSL's headers are needed for the load client")
    for name, libraries in (("load", ["-lssl", "-lcrypto"]), ("plain", [])):
        subprocess.run([compiler, "-O2", "-o", folder / name, HERE / f"{name}.c", *libraries], check=True)


@contextlib.contextmanager
def running(server: Server, run: Run, certificates: Certificates, folder: Path, core: int) -> Iterator[Running]:
    """The server, ready for the run; ended, with every process of it, when the block is left."""
    order = Order(
        folder=folder,
        port=free_port(),
        backend=free_port(),
        handler=run.handler,
        identity=certificates.servers[run.key],
        client_ca=certificates.ca if run.client_certificate else None,
        through=run.through,
        watched=run.watched,
    )
    with contextlib.ExitStack() as stack:
        commands = [server.command(order)]
        if server.has_backend or run.through:
            commands.insert(0, [str(folder / "plain"), str(order.backend), run.handler])
        processes = [stack.enter_context(_process(command, folder, core)) for command in commands]
        _wait_until_ready(processes, order.port, certificates, run, folder)
        yield Running(order.port, [pid for process in processes for pid in family(process.pid)])


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    return [pid, *(member for child in children for member in family(child))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _children(task: Path) -> list[int]:
    """A thread may end while we look: it has no children then."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in (task / "children").read_text().split()]
    return []


@contextlib.contextmanager
def _process(command: list[str], folder: Path, core: int) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks politely, and then does not ask. The group is the process's own: it was started in a new session."""
    for way, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(
    processes: list[subprocess.Popen[bytes]], port: int, certificates: Certificates, run: Run, folder: Path
) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client.certificate, certificates.client.key)
    deadline = time.monotonic() + PATIENCE
    while not _answers(context, port, run):
        if any(process.poll() is not None for process in processes):
            raise ServerFailed(f"it ended at once: {_last_words(folder)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"no handshake within {PATIENCE:.0f} seconds: {_last_words(folder)}")
        time.sleep(0.02)


def _answers(context: ssl.SSLContext, port: int, run: Run) -> bool:
    """One handshake; where the server echoes, a few bytes there and back too."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            if run.handler != "echo":
                return True
            connection.sendall(b"ready?")
            return connection.recv(6, 0) != b""
    except OSError:
        return False


def _last_words(folder: Path) -> str:
    lines = (folder / "server.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
