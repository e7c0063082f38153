"""Workers: several processes serve as one, one that dies is replaced, and all are told the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import Running, until

LONG = bool(os.environ.get("MYTLS_LONG"))
#: How many rolls and reloads, under how many connections a second.
TIMES, RATE = (10, 200) if LONG else (1, 80)
#: How many of them at the same time: these clients are slower than what they ask.
MOST = 60

_WORKERS = ("--workers", "2")
_STATUS = ("--status", "tcp:0:interface=127.0.0.1")


def asked(server: Running, path: str, data: bytes | None = None) -> Any:
    """What the status service says, as JSON."""
    (address,) = server.wait_for(r"status service at \S+")
    request = urllib.request.Request(address.split()[-1].rstrip("/") + path, data)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def pids(server: Running) -> dict[int, int]:
    """The processes of the workers that serve, by their numbers."""
    return {each["worker"]: each["pid"] for each in asked(server, "/status")["workers"] if each["up"]}


def all_serve(server: Running) -> None:
    """Wait until both do."""
    until(lambda: len(pids(server)) == 2, "both workers serve")


def is_there(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Load:
    """Clients one after the other, at a rate; each says something twice."""

    def __init__(self, port: int, context: ssl.SSLContext, rate: float) -> None:
        self.done = 0
        self.seconds = 0.0
        self.errors: list[str] = []
        self._about = port, context
        self._rate = rate
        self._ends = False

    def run(self) -> None:
        """Until it is told to end."""
        asyncio.run(self._run())

    def end(self) -> None:
        """No more."""
        self._ends = True

    async def _run(self) -> None:
        began, clients = time.monotonic(), set[asyncio.Task[None]]()
        while not self._ends:
            while self.done + len(self.errors) + len(clients) < (time.monotonic() - began) * self._rate:
                if len(clients) >= MOST:
                    break
                task = asyncio.ensure_future(self._client())
                clients.add(task)
                task.add_done_callback(clients.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*clients)
        self.seconds = time.monotonic() - began

    async def _client(self) -> None:
        port, context = self._about
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname="localhost"
                )
                for word in (b"hello", b"again"):
                    writer.write(word)
                    assert await reader.readexactly(5) == word
                    await asyncio.sleep(0.05)
                writer.close()
                await writer.wait_closed()
        except Exception as error:  # whatever it is, it is an error of a client's
            self.errors.append(repr(error))
        else:
            self.done += 1


@contextmanager
def under_load(port: int, context: ssl.SSLContext, rate: float) -> Iterator[Load]:
    """Clients all the while."""
    load = Load(port, context, rate)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.end()
        thread.join()


def test_both_serve_and_one_that_is_killed_is_replaced(certificates: Certificates, serve: Serve) -> None:
    """Both have clients, the status counts those of both; a kill takes none of either from the other."""
    context = trusting(certificates.root)
    with serve("--endpoint", certificates.ecdsa.endpoint(), *_WORKERS, *_STATUS) as server, ExitStack() as stack:
        all_serve(server)
        clients = [stack.enter_context(connected(server.port, context)) for _ in range(40)]
        assert all(asks_and_hears(client, b"hello") for client in clients)
        there = asked(server, "/connections")
        assert len(there) == asked(server, "/status")["connections"]["open"] == 40
        by_worker = {number: [each for each in there if each["id"].startswith(f"{number}-")] for number in (1, 2)}
        assert all(by_worker.values())
        number = by_worker[1][0]["id"]
        assert asked(server, f"/connections/{number}/close", b"") == {"closed": number}
        until(lambda: asked(server, "/status")["connections"]["closed"] == 1, "it is closed")

        os.kill(pids(server)[1], signal.SIGKILL)
        server.wait_for(r"worker 1 \(process \d+\) was ended by signal 9 \(SIGKILL\); it is started again in 1 s")
        with connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")
        all_serve(server)
        status = asked(server, "/status")
        assert status["connections"]["accepted"] == 41
        assert status["connections"]["open"] <= len(by_worker[2])
        hung = pids(server)[2]  # one that does not answer is told of as it was, and is not up
        os.kill(hung, signal.SIGSTOP)
        until(lambda: list(pids(server)) == [1], "the one that hangs is not up")
        os.kill(hung, signal.SIGCONT)
        all_serve(server)
        metrics = _metrics(server)
        assert metrics['mytls_worker_restarts_total{worker="1"}'] == 1
        assert metrics[f'mytls_connections_accepted_total{{listener="127.0.0.1:{server.port}"}}'] == 41


def test_limits_are_of_the_whole(certificates: Certificates, serve: Serve) -> None:
    """Exactly as many are let in as the limit says, whichever worker has them, one that is killed or replaced too."""
    context, most, limit = trusting(certificates.root), 7, "max-connections-per-address"

    def let_in(stack: ExitStack) -> list[ssl.SSLSocket]:
        found = []
        for _ in range(20):
            try:
                client = stack.enter_context(connected(server.port, context))
                found += [client] if asks_and_hears(client, b"hello") else []
            except OSError:  # refused
                continue
        return found

    words = ("--endpoint", certificates.ecdsa.endpoint(), f"--limits-{limit}", str(most), *_WORKERS, *_STATUS)
    with serve(*words) as server, ExitStack() as stack:
        all_serve(server)
        clients = let_in(stack)
        assert len(clients) == most
        assert (
            _metrics(server)[f'mytls_limit_refusals_total{{limit="{limit}",listener="127.0.0.1:{server.port}"}}'] == 13
        )
        for client in clients[:2]:
            client.close()
        until(lambda: asked(server, "/status")["connections"]["open"] == most - 2, "two have gone")
        clients = [*clients[2:], *let_in(stack)]
        assert len(clients) == most

        os.kill(pids(server)[1], signal.SIGKILL)
        server.wait_for(r"started again in 1 s")
        clients = [client for client in clients if not _gone(client)]
        assert len(let_in(stack)) == most - len(clients)
        all_serve(server)
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("all 2 workers are new")
        assert let_in(stack) == []


#: A handler that holds up its worker for ever.
_BLOCKS = """
import time

def hold_everybody_up(connstream, data):
    time.sleep(1000)
"""


def test_workers_that_hang_are_replaced(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """
    One is held up by its handler, which the log names, and one is stopped: each is told of, ended and started again,
    and clients are served.
    """
    folder, context = module("blocks", _BLOCKS), trusting(certificates.root)
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:blocks:hold_everybody_up", *_WORKERS]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(os.fspath(tmp_path / "notify"))
        env = {"NOTIFY_SOCKET": os.fspath(tmp_path / "notify"), "WATCHDOG_USEC": "5000000"}
        with serve(*words, *_STATUS, env=env, cwd=folder) as server, connected(server.port, context) as client:
            all_serve(server)
            before = pids(server)
            client.sendall(b"hello")
            server.wait_for(r"worker \d .*the event loop has not turned for \S+ s")
            server.wait_for(r"blocks\.py\", line 5, in hold_everybody_up")
            ((number, stopped),) = pids(server).items()
            os.kill(stopped, signal.SIGSTOP)
            held = before[3 - number]
            server.wait_for(rf"worker {3 - number} \(process {held}\) has said nothing for 5 s: it is killed")
            server.wait_for("Fatal Python error: Aborted")
            server.wait_for(rf"\(process {held}\) was ended by signal 6 \(SIGABRT\); it is started again in 1 s")
            server.wait_for(rf"\(process {stopped}\) was ended by signal 9 \(SIGKILL\); it is started again in 1 s")
            all_serve(server)
            assert not set(before.values()) & set(pids(server).values())


def test_all_reload_or_none_does(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A mistake in the file changes nothing anywhere, and is told once; what is right, both serve."""
    file = tmp_path / "mytls.toml"
    context = trusting(certificates.root)

    def write(handler: str, more: str = "") -> None:
        file.write_text(
            f'[[listener]]\nendpoint = "{certificates.ecdsa.endpoint()}"\nhandler = "{handler}"\n{more}'.replace(
                "\\", "\\\\"
            )
        )

    write("echo")
    with serve("--config", str(file), *_WORKERS, *_STATUS, "--reload-interval", "off") as server:
        all_serve(server)
        write("ehco")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reload-failed, the old stays")
        with connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")

        path = tmp_path / "plain.sock"
        tcp = f"tcp:{_free_port()}:interface=127.0.0.1"
        more = f'[[listener]]\nendpoint = "{tcp}"\nhandler = "echo"\n'
        write("discard", more + f'[[listener]]\nendpoint = "unix:{path}:mode=600"\nhandler = "echo"\n')
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded: .*is new")
        for _ in range(8):
            with connected(server.port, context) as client:
                client.sendall(b"hello")
                client.settimeout(0.02)
                assert _silent(client)
            with socket.socket(socket.AF_UNIX) as plain:
                plain.connect(os.fspath(path))
                assert asks_and_hears(plain, b"hello")
        assert path.stat().st_mode & 0o777 == 0o600
        assert server.log.count("reload-failed") == 1
        os.kill(pids(server)[1], signal.SIGKILL)
        server.wait_for("it is started again")
        all_serve(server)
        assert path.exists()
        write("echo")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("is gone.*is gone")
        until(lambda: not path.exists(), "the path is gone")
        with connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.log


def test_rolls_and_reloads_lose_nobody(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """While every worker is replaced, and all reload, no client sees an error."""
    context = trusting(certificates.root)
    with serve(
        "--endpoint", certificates.ecdsa.endpoint(), *_WORKERS, *_STATUS, "--log-quiet", "connections"
    ) as server:
        all_serve(server)
        with under_load(server.port, context, RATE) as load:
            for number in range(1, TIMES + 1):
                before = pids(server)
                server.process.send_signal(signal.SIGUSR2)
                server.wait_for("all 2 workers are new", number)
                assert not set(before.values()) & {pids(server)[each] for each in before}
                server.process.send_signal(signal.SIGHUP)
                server.wait_for("reloaded: ", number)
            time.sleep(0.3)
        assert load.errors == []
        until(lambda: asked(server, "/status")["connections"]["open"] == 0, "all are closed")
        assert asked(server, "/status")["connections"]["accepted"] == load.done > 0
        told = f"{load.done} connections, {load.done / load.seconds:.0f} a second, {len(load.errors)} errors"
        sys.stderr.write(f"{TIMES} rolls and {TIMES} reloads: {told}\n")


def test_a_program_of_a_worker_that_goes_on(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]
) -> None:
    """It has the worker's output: the worker, which is killed, is replaced nevertheless, and the parent ends."""
    source = "import subprocess, sys\n\n\ndef do(connstream):\n"
    source += "    started = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    source += "    connstream.sendall(f'{started.pid}\\n'.encode())\n    connstream.recv(1)\n"
    folder = module("app", source)
    arguments = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", "serve:app:do", *_WORKERS, *_STATUS)
    with serve(*arguments, cwd=folder) as server, connected(server.port, trusting(certificates.root)) as client:
        program = int(client.makefile().readline())
        try:
            number = asked(server, "/connections")[0]["id"].split("-")[0]
            os.kill(pids(server)[int(number)], signal.SIGKILL)
            server.wait_for(f"worker {number} .* was ended by signal 9 .*; it is started again in 1 s")
            all_serve(server)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
        finally:
            os.kill(program, signal.SIGKILL)


def test_the_end(certificates: Certificates, serve: Serve) -> None:
    """TERM lets all clients finish; the status is 1 where one had to be cut at the drain deadline."""
    deadlines = ("--deadlines-drain", "1s", "--deadlines-close", "1s")
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), *_WORKERS, *deadlines) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert asks_and_hears(client, b"again")
        assert server.wait() == 1
        server.wait_for("drained: 1 connection cut")


def test_workers_end_with_their_parent(certificates: Certificates, serve: Serve) -> None:
    """A parent that is killed leaves nobody behind; the clients may finish."""
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), *_WORKERS, *_STATUS) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello")
        workers = list(pids(server).values())
        server.process.kill()
        server.process.wait()
        assert asks_and_hears(client, b"again")
        client.unwrap().close()
        until(lambda: not any(is_there(pid) for pid in workers), "both are gone")


def test_no_worker_can_be_started(serve: Serve, certificates: Certificates, module: Callable[[str, str], Path]) -> None:
    """Then the parent ends with status 1, and its last words say why."""
    source = "import os\nif os.path.exists('once'):\n    raise RuntimeError('only once')\nopen('once', 'w').close()\n"
    folder = module("app", f"{source}\ndef do(connstream, data):\n    return True\n")
    arguments = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:app:do", *_WORKERS)
    with serve(*arguments, cwd=folder) as server:
        assert server.wait() == 1
        assert "only once" in server.log
        assert "no worker can be started: worker" in server.log


def _metrics(server: Running) -> dict[str, float]:
    (address,) = server.wait_for(r"status service at \S+")
    with urllib.request.urlopen(address.split()[-1].rstrip("/") + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _gone(client: ssl.SSLSocket) -> bool:
    """Whether its worker has ended."""
    try:
        return not asks_and_hears(client, b"still there?")
    except OSError:
        return True


def _silent(client: ssl.SSLSocket) -> bool:
    try:
        return not client.recv(1)
    except TimeoutError:
        return True
