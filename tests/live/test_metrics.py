"""What Prometheus has scraped is what its clients have counted."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import attrs
import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until
from tests.live.test_via import free_port
from tests.live.test_workers import MOST, all_serve, pids, under_load
from tests.test_monitoring import expressions_of_rules, targets

MODULE = """
def serve(connstream, data):
    if data == b"raise":
        raise ValueError("as asked")
    connstream.sendall(data)
    return True
"""
#: How many clients of each kind.
FULL, OLD, RESUMED, SHOUTERS, DOUBTERS, STRANGERS, RAISED, UNSERVED = 40, 10, 12, 7, 5, 4, 2, 3
#: What each client who is served sends, and gets back.
SIZE = 1000


@attrs.frozen
class Prometheus:
    """
    A Prometheus that scrapes its targets each second.

    @ivar targets: ports of status services, one for each test
    """

    port: int
    targets: tuple[int, ...]

    def ask(self, query: str) -> dict[str, float]:
        """The values now, by those of their labels."""
        address = f"http://127.0.0.1:{self.port}/api/v1/query?{urlencode({'query': query})}"
        with suppress(OSError), urlopen(address) as answer:
            found = json.load(answer)["data"]["result"]
            return {" ".join(each["metric"].values()): float(each["value"][1]) for each in found}
        return {}

    def takes(self, query: str) -> bool:
        """Whether it can be asked that."""
        address = f"http://127.0.0.1:{self.port}/api/v1/query?{urlencode({'query': query})}"
        with suppress(OSError), urlopen(address) as answer:
            return bool(json.load(answer)["status"] == "success")
        return False


@pytest.fixture(scope="module")
def prometheus(needs: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One for all tests: it takes five seconds until it scrapes."""
    folder, made = tmp_path_factory.mktemp("prometheus"), Prometheus(free_port(), (free_port(), free_port()))
    config = folder / "prometheus.yml"
    targets = ", ".join(f"'127.0.0.1:{port}'" for port in made.targets)
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"  - {{job_name: mytls, static_configs: [{{targets: [{targets}]}}]}}\n"
    )
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"]
    command = [needs("prometheus"), *words, f"--web.listen-address=127.0.0.1:{made.port}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        yield made
        process.kill()


class Load:
    """
    Clients, and what they have counted.

    @ivar resumed: how many sessions went on, and how many did not
    """

    def __init__(self, port: int, root: Path) -> None:
        self.port = port
        self.trusting = trusting(root)
        self.old = trusting(root)
        self.old.maximum_version = ssl.TLSVersion.TLSv1_2
        self.resumed: Counter[bool] = Counter()

    def run(self) -> None:
        """All of them, a few at the same time."""
        parts = [
            *[lambda: self.served(self.trusting, FULL // 4)] * 4,
            lambda: self.served(self.old, OLD),
            lambda: self.resuming(RESUMED),
            lambda: self.shouting(SHOUTERS),
            lambda: self.doubting(DOUBTERS),
        ]
        threads = [threading.Thread(target=part) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    def served(self, context: ssl.SSLContext, count: int) -> None:
        """Clients with a handshake of their own."""
        for _ in range(count):
            with connected(self.port, context) as client:
                self.converse(client)

    def resuming(self, count: int) -> None:
        """Clients that go on with the session of one before: it is TLS 1.2's, which is there when the handshake is."""
        with connected(self.port, self.old) as client:
            session = client.session  # which is nothing after the end
            self.converse(client)
        for _ in range(count):
            with (
                socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
                self.old.wrap_socket(plain, server_hostname="localhost", session=session) as client,
            ):
                self.resumed[bool(client.session_reused)] += 1
                self.converse(client)

    def converse(self, client: ssl.SSLSocket) -> None:
        """Something there and back, and a proper end."""
        assert asks_and_hears(client, b"x" * SIZE)
        client.unwrap()

    def shouting(self, count: int) -> None:
        """Clients who take it for a web server without TLS."""
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                while client.recv(4096):
                    pass

    def doubting(self, count: int) -> None:
        """Clients who trust another CA, and say so."""
        for _ in range(count):
            with pytest.raises(ssl.SSLCertVerificationError), connected(self.port, ssl.create_default_context()):
                pass


@pytest.mark.parametrize("workers", [1, 2])
def test_prometheus_counts_what_the_clients_do(
    certificates: Certificates,
    serve: Serve,
    module: Callable[[str, str], Path],
    needs: Callable[[str], str],
    prometheus: Prometheus,
    workers: int,
) -> None:
    """Handshakes by their kind, failures and refusals by their cause, bytes, ends: all as the clients have it."""
    folder, ports, status = module("users", MODULE), [free_port() for _ in range(3)], prometheus.targets[workers - 1]
    words = ["--config", configured(folder, certificates, ports), "--status", f"tcp:{status}:interface=127.0.0.1"]
    words += ["--workers", str(workers)] if workers > 1 else []
    ask, whose = prometheus.ask, f'instance="127.0.0.1:{status}"'
    with serve(*words, cwd=folder) as twistd:
        twistd.wait_for("serving", 3)
        until(lambda: 1 in ask(f"up{{{whose}}}").values(), "Prometheus scrapes")
        load = Load(ports[0], certificates.root)
        load.run()
        strangers(ports[1])
        raising(ports[0], load)
        unserved(ports[2], load)
        assert load.resumed.total() == RESUMED
        assert load.resumed[True] >= (RESUMED if workers == 1 else 1)
        with connected(ports[0], load.trusting) as staying:
            asks_and_hears(staying, b"y" * SIZE)
            expected = counted(load, ports, whose)
            if workers > 1:
                expected[f"sum(mytls_worker_up{{{whose}}})"] = {"": workers}
            with suppress(AssertionError):  # the comparison below says what is otherwise
                until(lambda: {query: ask(query) for query in expected} == expected, "scraped", 10)
            assert {query: ask(query) for query in expected} == expected
            drawn(prometheus, status, workers)
        with urlopen(f"http://127.0.0.1:{status}/metrics") as answer:
            text = answer.read()
    promtool = [needs("promtool"), "check", "metrics"]
    checked = subprocess.run(promtool, input=text, capture_output=True, timeout=PATIENCE, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def drawn(prometheus: Prometheus, status: int, workers: int) -> None:
    """
    Prometheus takes each expression of the alerts and of the dashboard, and all of the dashboard find something; but
    one process has no workers.
    """
    assert [each for each in expressions_of_rules() if not prometheus.takes(each)] == []
    variables = {"$job": ".*", "$instance": f"127.0.0.1:{status}", "$__rate_interval": "1m", "$__interval": "1m"}
    asked = {}
    for expression, _ in targets():
        query = expression
        for name, value in variables.items():
            query = query.replace(name, value)
        asked[expression] = query
    assert [each for each in asked.values() if "$" in each or not prometheus.takes(each)] == []
    without = {each for each in asked if "mytls_worker_" in each} if workers == 1 else set()
    assert len(without) in (0, 3)

    def empty() -> set[str]:
        return {expression for expression, query in asked.items() if not prometheus.ask(query)}

    with suppress(AssertionError):  # the comparison below says what is otherwise
        until(lambda: empty() == without, "there are two scrapes of each", 10)
    assert empty() == without


class Scrapes:
    """
    What C{/metrics} says again and again, in a thread.

    @ivar fallen: what only grows and did not, with what it was and is
    @ivar last: the last values, by name and labels
    """

    def __init__(self, server: Running) -> None:
        (address,) = server.wait_for(r"status service at \S+")
        self._address = f"{address.split()[-1]}metrics"
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.fallen: list[tuple[str, float, float]] = []
        self.last: dict[str, float] = {}
        self.count = 0

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Each fifth of a second, until the end of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._thread.join(PATIENCE)

    def scrape(self) -> None:
        """Once."""
        with urlopen(self._address, timeout=PATIENCE) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[:1] != "#"]
        found = {name: float(value) for name, _, value in lines}
        grown = {name: value for name, value in self.last.items() if _only_grows(name)}
        self.fallen += [
            (name, value, found.get(name, 0)) for name, value in grown.items() if found.get(name, 0) < value
        ]
        self.last = found
        self.count += 1

    def sum(self, metric: str) -> float:
        """Of all its series."""
        return sum(value for name, value in self.last.items() if name.partition("{")[0] == metric)

    def _run(self) -> None:
        while not self._ends.wait(0.2):
            self.scrape()


def _only_grows(series: str) -> bool:
    return series.partition("{")[0].endswith(("_total", "_bucket", "_count", "_sum"))


#: Clients a second; each sends and gets ten bytes, which takes it a tenth of a second.
RATE = 40


def test_nothing_that_only_grows_goes_down(certificates: Certificates, serve: Serve) -> None:
    """
    Workers are replaced under load, and one is killed: no counter and no histogram of all of them ever goes down, and
    at the end they are what the clients have counted, but for what the killed one could not tell any more.
    """
    context = trusting(certificates.root)
    words = ["--workers", "2", "--status", "tcp:0:interface=127.0.0.1", "--log-quiet", "connections"]
    with serve("--endpoint", certificates.ecdsa.endpoint(), *words) as server:
        all_serve(server)
        scrapes = Scrapes(server)
        with scrapes.going_on():
            before = pids(server)
            with under_load(server.port, context, RATE) as load:
                server.process.send_signal(signal.SIGUSR2)
                until(lambda: not set(before.values()) & set(pids(server).values()), "both are replaced")
                all_serve(server)
            assert load.errors == []
            until(lambda: scrapes.sum("mytls_connections_closed_total") == load.done, "all are counted", 10)
            rolled = dict.fromkeys(_OF_EACH, load.done)
            assert {name: scrapes.sum(name) for name in _OF_EACH} == rolled
            assert scrapes.sum("mytls_bytes_total") == 20 * load.done
            with under_load(server.port, context, RATE) as again:
                until(lambda: again.done > RATE, "some have been served")
                os.kill(pids(server)[1], signal.SIGKILL)
                server.wait_for(r"was ended by signal 9")
                all_serve(server)
            until(lambda: scrapes.sum("mytls_connections_open") == 0, "all are gone", 10)
        scrapes.scrape()
    assert scrapes.fallen == []
    assert scrapes.count > 10
    most = load.done + again.done + len(again.errors)
    for name in _OF_EACH:
        assert most - RATE - MOST <= scrapes.sum(name) <= most, name


#: What is counted once for each client.
_OF_EACH = (
    "mytls_connections_accepted_total",
    "mytls_handshakes_total",
    "mytls_connections_closed_total",
    "mytls_handshake_duration_seconds_count",
    "mytls_connection_duration_seconds_count",
)


def configured(folder: Path, certificates: Certificates, ports: Sequence[int]) -> str:
    """A file with a listener that serves, one that lets in nobody, and one without a backend. @return: its path"""
    files = f'certificate = "{certificates.ecdsa.chain}"\nprivate-key = "{certificates.ecdsa.key}"\n'
    handlers = ("call:users:serve", "echo", f"proxy:tcp:127.0.0.1:{free_port()}")
    text = "[deadlines]\nconnect = '100ms'\n"
    for port, handler, more in zip(ports, handlers, ("", 'from = "192.0.2.1"\n', ""), strict=True):
        text += f'[[listener]]\nendpoint = "ssl:{port}:interface=127.0.0.1"\nhandler = "{handler}"\n{files}{more}'
    path = folder / "mytls.toml"
    path.write_text(text)
    return os.fspath(path)


def counted(load: Load, ports: Sequence[int], whose: str) -> dict[str, dict[str, float]]:
    """
    What the clients have counted, as answers to Prometheus's queries; one client more is there.

    @param whose: the label that all have
    """
    resumed = load.resumed[True]
    served = FULL + OLD + 1 + RESUMED  # who have had their answers
    met = served + RAISED + 1
    at, behind = (f'{whose},listener="127.0.0.1:{port}"' for port in (ports[0], ports[2]))
    return {
        f"sum(mytls_connections_accepted_total{{{at}}})": {"": met + SHOUTERS + DOUBTERS},
        f"sum(mytls_connections_open{{{at}}})": {"": 1},
        f"sum by (resumed) (mytls_handshakes_total{{{at}}})": {"no": met - resumed, "yes": resumed},
        f"sum by (version) (mytls_handshakes_total{{{at}}})": {
            "TLSv1.2": OLD + 1 + RESUMED,
            "TLSv1.3": FULL + RAISED + 1,
        },
        f"sum by (cause) (mytls_handshake_failures_total{{{at}}})": {"plain-http": SHOUTERS, "peer-alert": DOUBTERS},
        f"sum by (cause) (mytls_connections_closed_total{{{at}}})": {"clean": served, "handler": RAISED},
        f"sum by (direction) (mytls_bytes_total{{{at}}})": {
            "in": (served + 1) * SIZE + RAISED * len("raise"),
            "out": (served + 1) * SIZE,
        },
        f"sum(mytls_handshake_duration_seconds_count{{{at}}})": {"": met},
        f'sum(mytls_handshake_duration_seconds_bucket{{{at},le="+Inf"}})': {"": met},
        f"sum(mytls_connection_duration_seconds_count{{{at}}})": {"": met - 1},
        f"sum(mytls_handler_errors_total{{{whose}}})": {"": RAISED},
        f"sum by (cause) (mytls_connections_refused_total{{{whose}}})": {"from": STRANGERS},
        f"sum by (cause) (mytls_backend_failures_total{{{behind}}})": {"backend-refused": UNSERVED},
        f"sum by (cause) (mytls_connections_closed_total{{{behind}}})": {"backend-refused": UNSERVED},
        f"count(mytls_certificate_expiry_seconds{{{whose}}} > 0)": {"": 1},
    }


def strangers(port: int) -> None:
    """Clients from where nobody may connect from."""
    for _ in range(STRANGERS):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, suppress(ConnectionResetError):
            assert client.recv(1) == b""


def raising(port: int, load: Load) -> None:
    """Clients whose handler raises."""
    for _ in range(RAISED):
        with connected(port, load.trusting) as client:
            client.sendall(b"raise")
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                client.recv(1)


def unserved(port: int, load: Load) -> None:
    """Clients whose backend is not there."""
    for _ in range(UNSERVED):
        with connected(port, load.trusting) as client, pytest.raises((ssl.SSLError, ConnectionResetError)):
            client.recv(1)
