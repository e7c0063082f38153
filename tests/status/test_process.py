"""The overview of one process: what is there, what was, and what it does when it is asked."""

from __future__ import annotations

import json
import re
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.threadpool import ThreadPool

from mytls.assemble import service_from_file
from mytls.connection import ServerConnection
from mytls.errors import Cause
from mytls.events import Closed, HandshakeFailed, Observer
from mytls.hosts import Host
from mytls.metrics import FAMILIES
from mytls.running import TLSService
from mytls.status import facts
from mytls.status.counts import Counts
from mytls.status.overview import Overview
from mytls.status.process import ProcessOverview
from mytls.status.traffic import Looks
from tests.memory import CLIENT_ADDRESS, Link, SocketInMemory, key_pair
from tests.test_metrics import parsed
from tests.test_running import A, B, RunningTests

NOW = 2_000_000_000.0


def promised(method: Any) -> set[str]:
    """The keys that the docstring of an overview's method has at its top."""
    items = re.findall(r"^ +- (.+)$", method.__doc__, re.MULTILINE)
    return {key for item in items for key in re.findall(r"C\{(\w+)\}", item.partition(":")[0])}


class Recorded:
    """A function that says how often it was called."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.function(*arguments)


class OverviewTests(RunningTests):
    """A service in memory, and its overview."""

    def overview(self, *listeners: str, more: str = "") -> tuple[TLSService, Any]:
        """A running service of a file, and its overview."""
        self.counts = Counts(lambda: NOW)
        path = self.write(*listeners, more=more)
        observers: list[Observer] = [self.events.append, self.counts]
        made = self.started(service_from_file(path, reactor=self.reactor, observers=observers))
        overview = ProcessOverview(self.reactor, made, self.counts, lambda: NOW)
        overview.start()
        self.addCleanup(overview.stop)
        return made, overview

    def status(self, overview: Overview) -> Any:
        """As JSON has it."""
        return json.loads(json.dumps(self.successResultOf(overview.status())))

    def connections(self, overview: Overview) -> Any:
        """As JSON has it."""
        return json.loads(json.dumps(self.successResultOf(overview.connections())[1]))

    def metrics(self, overview: Overview) -> dict[tuple[str, ...], float]:
        """As Prometheus reads it."""
        return parsed(self.successResultOf(overview.metrics()))

    def ends(self, link: Link) -> None:
        """The client has finished."""
        link.client.shutdown()
        link.pump()
        link.fin()


class StatusTests(OverviewTests):
    """How the service is."""

    def test_keys(self) -> None:
        """Exactly those that the overview promises; nothing of it is what JSON has not."""
        _, overview = self.overview(A)
        self.assertEqual(set(self.status(overview)), promised(Overview.status))

    def test_service(self) -> None:
        """Which version, since when, and that it does not stop."""
        _, overview = self.overview(A)
        found = self.status(overview)
        self.assertEqual((found["started"], found["now"], found["uptime"]), (NOW, NOW, 0))
        self.assertEqual((found["draining"], found["drain"], found["workers"]), (False, None, []))

    def test_uptime(self) -> None:
        """How long it runs goes by the reactor's clock: the system's may be set to another time."""
        _, overview = self.overview(A)
        self.reactor.advance(90)
        overview._now = lambda: NOW - 86400
        found = self.status(overview)
        self.assertEqual((found["uptime"], found["started"], found["now"]), (90, NOW, NOW - 86400))

    def test_nobody_is_asked(self) -> None:
        """Numbers of each second are of what was counted: of many connections none is asked for them."""
        made, overview = self.overview(A)
        link = self.link(1)
        asked = Recorded(vars(ServerConnection)["traffic"].fget)
        self.patch(ServerConnection, "traffic", property(lambda connection: asked(connection)))
        state = Recorded(vars(ServerConnection)["state"].fget)
        self.patch(ServerConnection, "state", property(lambda connection: state(connection)))
        self.patch(overview._looks, "now", lambda: Looks.now(overview._looks, few=0))
        found = self.successResultOf(overview.status(whole=False))
        self.assertEqual((found["connections"]["open"], asked.calls, state.calls), (1, 0, 0))
        self.assertEqual(len(made.connections), 1)
        self.ends(link)

    def test_listeners(self) -> None:
        """Where it listens, as written, and what has come there."""
        _, overview = self.overview(A, B)
        self.link(1)
        first, second = self.status(overview)["listeners"]
        self.assertEqual(
            first,
            {
                "address": "0.0.0.0:1",
                "endpoint": "mytls:1",
                "handler": "echo",
                "listening": True,
                "open": 1,
                "accepted": 1,
                "refused": 0,
                "failed": 0,
            },
        )
        self.assertEqual((second["address"], second["open"]), ("0.0.0.0:2", 0))

    def test_hosts(self) -> None:
        """Who answers, for whom, and who may enter."""
        _, overview = self.overview(A + '\nalpn = ["h2"]\nfrom = "192.0.2.0/24"')
        (host,) = self.status(overview)["hosts"]
        self.assertEqual((host["listener"], host["host"], host["names"]), ("0.0.0.0:1", "a.example", ["a.example"]))
        self.assertEqual((host["client_auth"], host["alpn"], host["profile"]), ("off", ["h2"], "intermediate"))
        self.assertEqual(host["rules"], ["from 192.0.2.0/24"])

    def test_certificates(self) -> None:
        """What is served, from which file, and until when; also that it has expired."""
        made, overview = self.overview(A)
        (pair,) = made.listeners[0].hosts.all[0].pairs  # type: ignore[union-attr]
        (found,) = self.status(overview)["certificates"]
        less = self.successResultOf(overview.status(whole=False))
        self.assertEqual((less["hosts"], less["certificates"]), ([], []))
        end = pair.certificate.not_valid_after_utc.timestamp()
        self.assertEqual(found["file"], str(self.path("a.pem")))
        self.assertEqual(int(found["serial"], 16), pair.certificate.serial_number)
        self.assertEqual((found["host"], found["key"], found["not_after"]), ("a.example", "ECDSA secp256r1", end))
        self.assertEqual(found["expired"], end < NOW)
        self.assertEqual(found["days_left"], (end - NOW) // 86400)
        overview._now = lambda: end + 1
        (late,) = self.status(overview)["certificates"]
        self.assertEqual((late["expired"], late["days_left"]), (True, -1))

    def test_certificates_are_read_once(self) -> None:
        """Each time it is only looked at the clock, until another is served: then that one is told of."""
        made, overview = self.overview(A)
        read = Recorded(facts._key)
        self.patch(facts, "_key", read)
        first = [self.status(overview)["certificates"] for _ in range(3)]
        self.assertEqual((read.calls, first[0]), (1, first[2]))
        self.issue("a")
        self.successResultOf(made.reload())
        (new,) = self.status(overview)["certificates"]
        self.assertNotEqual(new["serial"], first[0][0]["serial"])
        self.assertEqual(read.calls, 2)

    def test_reloads(self) -> None:
        """Each attempt counts: one that changes something, one that changes nothing, one that fails."""
        made, overview = self.overview(A)
        self.assertEqual(self.status(overview)["reload"], {"attempts": 0, "failures": 0, "last": None})
        self.issue("a")
        self.successResultOf(overview.reload())
        found = self.status(overview)["reload"]
        self.assertEqual((found["attempts"], found["failures"], found["last"]["served"]), (1, 0, True))
        self.assertRegex(found["last"]["lines"][0], "a.example: serial")
        self.successResultOf(made.reload())
        self.path("a.pem").write_text("nothing")
        self.assertFalse(self.successResultOf(overview.reload()))
        found = self.status(overview)["reload"]
        self.assertEqual((found["attempts"], found["failures"], found["last"]["served"]), (3, 1, False))
        self.assertEqual(found["last"]["at"], NOW)
        metrics = self.metrics(overview)
        self.assertEqual(
            {result: metrics["mytls_reloads_total", result] for result in ("changed", "unchanged", "failed")},
            {"changed": 1, "unchanged": 1, "failed": 1},
        )

    def test_numbers(self) -> None:
        """Each connection is somewhere: what was accepted is established, failed or still at its handshake."""
        _, overview = self.overview(A)
        self.link(1)
        self.ends(self.link(1))
        stranger, silent = (Link(factory=self.reactor.listening[1]) for _ in range(2))
        stranger.to_server(b"GET / HTTP/1.1\r\n\r\n")
        stranger.fin()
        found = self.status(overview)
        self.assertEqual(
            found["connections"],
            {
                "open": 2,
                "handshaking": 1,
                "accepted": 4,
                "refused": 0,
                "established": 2,
                "failed": 1,
                "silent": 0,
                "closed": 1,
            },
        )
        self.assertEqual((found["failures"], found["ends"], found["refusals"]), ({"plain-http": 1}, {"clean": 1}, {}))
        silent.reset()
        found = self.status(overview)
        numbers = found["connections"]
        self.assertEqual((numbers["silent"], numbers["failed"], found["failures"]), (1, 1, {"plain-http": 1}))
        ways = ("established", "failed", "silent", "handshaking")
        self.assertEqual(numbers["accepted"], sum(numbers[way] for way in ways))

    def test_without_tls(self) -> None:
        """A place without TLS of ours has connections as any other, and no host with certificates and rules."""
        _, overview = self.overview('endpoint = "tcp:5"\nhandler = "echo"')
        connection = self.reactor.listening[5].buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(connection)
        connection.makeConnection(socket)
        connection.dataReceived(b"hello")
        found = self.status(overview)
        self.assertEqual((found["hosts"], found["certificates"]), ([], []))
        self.assertEqual((found["connections"]["established"], found["bytes"]), (1, {"in": 5, "out": 5}))
        (shown,) = self.connections(overview)
        self.assertEqual((shown["state"], shown["version"], shown["handler"]), ("open", None, "echo"))
        metrics = self.metrics(overview)
        self.assertEqual(metrics["mytls_connections_open", "0.0.0.0:5"], 1)
        self.assertEqual([key for key in metrics if key[0] == "mytls_handshakes_total"], [])
        socket.lose(ConnectionDone())
        self.assertEqual(self.status(overview)["ends"], {"clean": 1})

    def test_backends(self) -> None:
        """How each backend is, since when, and how often it could not be had."""
        _, overview = self.overview('endpoint = "mytls:1"\nhandler = "proxy:tcp:127.0.0.1:9"\ncertificate = "a.pem"')
        self.link(1)
        _, _, dialled, *_ = self.reactor.tcpClients[0]
        connector = self.reactor.connectors[0]
        dialled.clientConnectionFailed(connector, _refused())
        (found,) = self.status(overview)["backends"]
        self.assertEqual((found["handler"], found["backend"]), ("proxy:tcp:127.0.0.1:9", "tcp:127.0.0.1:9"))
        self.assertEqual((found["state"], found["failures"], found["since"]), ("down", 1, NOW))
        metrics = self.metrics(overview)
        self.assertEqual(metrics["mytls_backend_failures_total", "backend-refused", "0.0.0.0:1"], 1)
        self.assertEqual(metrics["mytls_backend_up", "tcp:127.0.0.1:9", "proxy:tcp:127.0.0.1:9"], 0)

    def test_drain(self) -> None:
        """It listens no more; who is there is seen, and counts, until the last is gone."""
        _, overview = self.overview(A, more="[deadlines]\ndrain = '7s'\n")
        link = self.link(1)
        overview.drain()
        self.says(link, b"hello")
        found = self.status(overview)
        self.assertEqual((found["draining"], found["drain"]), (True, {"left": 1, "until": NOW + 7}))
        self.assertEqual((found["listeners"][0]["listening"], found["listeners"][0]["open"]), (False, 1))
        self.assertEqual((found["listeners"][0]["address"], found["bytes"]["in"]), ("0.0.0.0:1", 5))
        self.assertEqual(self.metrics(overview)["mytls_draining",], 1)
        self.ends(link)
        found = self.status(overview)
        self.assertEqual((found["drain"]["left"], found["connections"]["open"], found["bytes"]["in"]), (0, 0, 5))


class ConnectionTests(OverviewTests):
    """Who is there."""

    def test_keys(self) -> None:
        """Exactly those that the overview promises."""
        _, overview = self.overview(A)
        self.link(1)
        words = re.findall(r"C\{(\w+)\}", Overview.connections.__doc__ or "")
        states = {"handshake", "policy", "open", "closing"}
        self.assertEqual(set(self.connections(overview)[0]), set(words) - states)

    def test_life(self) -> None:
        """From the handshake to the end; the oldest first."""
        _, overview = self.overview(A)
        link = Link(factory=self.reactor.listening[1], server_name=b"a.example")
        (found,) = self.connections(overview)
        self.assertEqual((found["state"], found["version"], found["server_name"]), ("handshake", None, None))
        link.handshake()
        self.says(link, b"hello")
        self.reactor.advance(3)
        second = self.link(1)
        found, newer = self.connections(overview)
        self.assertLess(int(found["id"]), int(newer["id"]))
        self.assertEqual((found["state"], found["version"], found["server_name"]), ("open", "TLSv1.3", "a.example"))
        self.assertEqual((found["listener"], found["host"], found["handler"]), ("0.0.0.0:1", "a.example", "echo"))
        self.assertEqual((found["bytes_in"], found["bytes_out"]), (5, 5))
        self.assertEqual((found["seconds"], found["since"], found["address"]), (3, NOW - 3, "192.0.2.1:50000"))
        self.assertEqual((found["resumed"], found["identity"], found["via"]), (False, None, None))
        self.ends(link)
        self.assertEqual([each["id"] for each in self.connections(overview)], [newer["id"]])
        second.reset()

    def test_the_oldest(self) -> None:
        """However many there are, no more rows are made than are asked for."""
        _, overview = self.overview(A)
        links = [self.link(1) for _ in range(5)]
        made = Recorded(facts.connection)
        self.patch(facts, "connection", made)
        total, found = self.successResultOf(overview.connections(2))
        self.assertEqual((total, len(found), made.calls), (5, 2, 2))
        everything = self.connections(overview)
        self.assertEqual([each["id"] for each in found], [each["id"] for each in everything[:2]])
        self.assertEqual(len(everything), 5)
        for link in links:
            link.reset()

    def test_closing(self) -> None:
        """One that has begun to end says so, until it is gone."""
        _, overview = self.overview(A)
        link = Link(factory=self.reactor.listening[1])
        link.to_server(b"GET / HTTP/1.1\r\n\r\n")
        (found,) = self.connections(overview)
        self.assertEqual(found["state"], "closing")
        self.assertEqual(self.status(overview)["connections"]["handshaking"], 0)
        link.fin()


class CloseTests(OverviewTests):
    """An operator ends a connection."""

    def test_properly(self) -> None:
        """The client gets what was written and close_notify; the log says who has done it."""
        _, overview = self.overview(A)
        link = self.link(1)
        link.client.send(b"last words")
        link.to_server(link.outgoing())
        (found,) = self.connections(overview)
        self.assertTrue(self.successResultOf(overview.close(found["id"])))
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"last words", True))
        self.ends(link)
        (event,) = [each for each in self.events if isinstance(each, Closed)]
        self.assertEqual((event.cause, event.detail), (Cause.DRAIN, "closed by an operator"))
        self.assertEqual(self.connections(overview), [])

    def test_does_not_read(self) -> None:
        """A client that does nothing about it is cut after the close deadline."""
        _, overview = self.overview(A, more="[deadlines]\nclose = '2s'\n")
        link = self.link(1)
        link.socket.peer_reads = False
        (found,) = self.connections(overview)
        self.successResultOf(overview.close(found["id"]))
        self.reactor.pump([1.0] * 3)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(self.connections(overview), [])

    def test_in_a_handshake(self) -> None:
        """It has nothing to lose."""
        _, overview = self.overview(A)
        link = Link(factory=self.reactor.listening[1])
        (found,) = self.connections(overview)
        self.assertTrue(self.successResultOf(overview.close(found["id"])))
        self.assertIsNotNone(link.socket.lost)
        (event,) = [each for each in self.events if isinstance(each, HandshakeFailed)]
        self.assertEqual((event.cause, event.detail), (Cause.DRAIN, "closed by an operator"))

    def test_others(self) -> None:
        """One that is not there, any more or at all, is said not to be; nobody else is ended."""
        _, overview = self.overview(A)
        link = self.link(1)
        (found,) = self.connections(overview)
        for wrong in ("0", "", "x", f"{found['id']}1", f" {found['id']}", f"+{found['id']}"):
            self.assertFalse(self.successResultOf(overview.close(wrong)))
        self.assertEqual(self.says(link, b"still here"), b"still here")


class MetricsTests(OverviewTests):
    """What Prometheus is told."""

    def test_known(self) -> None:
        """Each sample is of a family that is documented, and has the labels of that."""
        _, overview = self.overview(A)
        self.link(1)
        snapshot = overview.snapshot()
        self.assertEqual(set(snapshot) - set(FAMILIES), set())
        for name, samples in snapshot.items():
            for labels, _ in samples:
                self.assertEqual(len(labels), len(FAMILIES[name].labels), name)
        self.assertEqual(json.loads(json.dumps(snapshot)), snapshot)

    def test_from_the_start(self) -> None:
        """A listener whom nobody has met is there with zeros, so that the first client is an increase."""
        _, overview = self.overview(A)
        found = self.metrics(overview)
        for name in ("mytls_connections_accepted_total", "mytls_connections_open", "mytls_handler_errors_total"):
            self.assertEqual(found[name, "0.0.0.0:1"], 0)
        self.assertEqual(found["mytls_bytes_total", "in", "0.0.0.0:1"], 0)
        self.assertEqual(found["mytls_draining",], 0)

    def test_bytes(self) -> None:
        """Bytes count while their connection lives, and never go down as it ends."""
        _, overview = self.overview(A)
        link = self.link(1)
        seen = []
        for _ in range(3):
            self.says(link, b"0123456789")
            seen.append(self.metrics(overview)["mytls_bytes_total", "in", "0.0.0.0:1"])
        self.ends(link)
        seen.append(self.metrics(overview)["mytls_bytes_total", "in", "0.0.0.0:1"])
        self.assertEqual(seen, [10, 20, 30, 30])
        self.assertEqual(self.metrics(overview)["mytls_bytes_total", "out", "0.0.0.0:1"], 30)

    def test_listener_that_is_gone(self) -> None:
        """What a reload has taken away goes on to count, and who is still there is seen."""
        _, overview = self.overview(A, B)
        link = self.link(2, b"b.example")
        self.says(link, b"hello")
        self.write(A)
        self.reactor.advance(10)
        self.assertEqual(self.metrics(overview)["mytls_bytes_total", "in", "0.0.0.0:2"], 5)
        self.assertEqual(self.metrics(overview)["mytls_connections_open", "0.0.0.0:2"], 1)
        self.ends(link)
        self.reactor.advance(10)
        self.assertEqual(self.metrics(overview)["mytls_bytes_total", "in", "0.0.0.0:2"], 5)
        self.assertEqual(self.metrics(overview)["mytls_connections_open", "0.0.0.0:2"], 0)

    def test_handshakes(self) -> None:
        """By version, group and whether it was resumed; how long each took, and none that has failed."""
        _, overview = self.overview(A)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.link(1)
        old = Link(factory=self.reactor.listening[1], server_name=b"a.example", context=context)
        old.handshake()
        stranger = Link(factory=self.reactor.listening[1])
        stranger.to_server(b"not TLS at all, by no means")
        stranger.fin()
        found = self.metrics(overview)
        kinds = {key[1:]: value for key, value in found.items() if key[0] == "mytls_handshakes_total"}
        self.assertEqual(sorted((key[-1], value) for key, value in kinds.items()), [("TLSv1.2", 1), ("TLSv1.3", 1)])
        self.assertEqual(found["mytls_handshake_duration_seconds_count", "0.0.0.0:1"], 2)
        self.assertEqual(found["mytls_handshake_failures_total", "not-tls", "0.0.0.0:1"], 1)
        self.assertEqual(found["mytls_handshakes_open", "0.0.0.0:1"], 0)

    def test_expiry(self) -> None:
        """Seconds until it expires, by the first name of its host."""
        made, overview = self.overview(A)
        (pair,) = made.listeners[0].hosts.all[0].pairs  # type: ignore[union-attr]
        left = pair.certificate.not_valid_after_utc.timestamp() - NOW
        self.assertEqual(self.metrics(overview)["mytls_certificate_expiry_seconds", "a.example"], left)

    def test_expiry_of_each(self) -> None:
        """Of the certificates that a name has, all but the first to expire are told with their serial numbers."""
        _, overview = self.overview(A)
        pair = key_pair("a.example")
        overview.beside = lambda: [("status", Host(None, names=("a.example",), pairs=(pair,)))]
        told = [key[1] for key in self.metrics(overview) if key[0] == "mytls_certificate_expiry_seconds"]
        (served, beside) = self.status(overview)["certificates"]
        self.assertEqual((served["listener"], beside["listener"]), ("0.0.0.0:1", "status"))
        _, later = sorted((served, beside), key=lambda each: float(each["not_after"]))
        self.assertEqual(sorted(told), ["a.example", f"a.example serial={later['serial']}"])

    def test_lag(self) -> None:
        """How late the loop was."""
        _, overview = self.overview(A)
        self.reactor.advance(2.5)
        self.assertEqual(self.metrics(overview)["mytls_reactor_lag_seconds",], 2)
        self.assertEqual(self.metrics(overview)["mytls_reactor_lag_max_seconds",], 2)

    def test_handlers(self) -> None:
        """Threads of serve: and programs of exec: that are busy."""
        listener = 'endpoint = "mytls:1"\ncertificate = "a.pem"\nhandler = '
        _, overview = self.overview(listener + '"serve:builtins:print"')
        found = self.metrics(overview)
        self.assertEqual((found["mytls_threads_busy", "serve"], found["mytls_threads_waiting", "serve"]), (0, 0))
        self.assertEqual(found["mytls_programs_running",], 0)

    def test_threads_of_the_reactor(self) -> None:
        """Those that have work, and what waits for one: there is a job that no thread has taken."""
        _, overview = self.overview(A)
        pool = ThreadPool(0, 1)
        self.reactor.getThreadPool = lambda: pool
        found = self.metrics(overview)
        self.assertEqual((found["mytls_threads_busy", "reactor"], found["mytls_threads_waiting", "reactor"]), (0, 0))
        pool.callInThread(lambda: None)  # it is not started
        self.assertEqual(self.metrics(overview)["mytls_threads_waiting", "reactor"], 1)

    def test_of_the_kernel(self) -> None:
        """Processor time, memory and descriptors of the process, under the names that dashboards know."""
        _, overview = self.overview(A)
        found = self.metrics(overview)
        self.assertGreater(found["process_resident_memory_bytes",], 1_000_000)
        self.assertGreater(found["process_max_fds",], found["process_open_fds",])


def _refused() -> Any:
    from twisted.internet.error import ConnectionRefusedError as Refused
    from twisted.python.failure import Failure

    return Failure(Refused())
