"""What the status service answers."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.status.site import ANSWER, FEW, REQUEST
from tests.status.looked_at import Page, well


class LookTests(SynchronousTestCase):
    """What is looked at."""

    def setUp(self) -> None:
        self.page = Page()

    def test_health(self) -> None:
        """A service whose reactor turns is healthy, also one that is not ready."""
        self.page.overview.status_now["draining"] = True
        answer = self.page.ask("/healthz")
        self.assertEqual((answer.code, answer.content), (200, b"ok\n"))

    def test_health_of_workers(self) -> None:
        """Where there are workers, one of them has to be up."""
        self.page.overview.status_now["workers"] = [{"worker": 1, "up": False}, {"worker": 2, "up": False}]
        self.assertEqual(self.page.ask("/healthz").code, 503)
        self.page.overview.status_now["workers"][1]["up"] = True
        self.assertEqual(self.page.ask("/healthz").code, 200)

    def test_ready(self) -> None:
        answer = self.page.ask("/readyz")
        self.assertEqual((answer.code, answer.content), (200, b"ready\n"))

    def test_not_ready(self) -> None:
        """Each reason is a line of plain text, and nothing in it can be mistaken for a line of its own."""
        self.page.overview.status_now |= {
            "draining": True,
            "drain": {"left": 17, "until": None},
            "backends": [{"handler": "proxy:x\nready", "state": "down"}],
        }
        answer = self.page.ask("/readyz")
        self.assertEqual(answer.code, 503)
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(answer.content.decode(), "draining: 17 connections left\nno backend of proxy:x?ready is up\n")

    def test_metrics(self) -> None:
        """As Prometheus wants them, with the type of its format."""
        answer = self.page.ask("/metrics")
        self.assertEqual((answer.code, answer.content), (200, b"mytls_connections_open 5\n"))
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")

    def test_status(self) -> None:
        """JSON, all that the overview says and why it is not ready."""
        self.page.overview.status_now["draining"] = True
        answer = self.page.ask("/status")
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.json, {**well(), "draining": True, "troubles": ["draining"]})

    def test_a_strangers_text_is_ascii(self) -> None:
        """What a peer has put into its certificate comes out of JSON as it was, and is ASCII until then."""
        answer = self.page.ask("/connections")
        self.assertTrue(answer.content.isascii())
        self.assertEqual(answer.json, self.page.overview.open)

    def test_many_connections(self) -> None:
        """The list is bounded, says how many there are, and is a whole one where it is asked for."""
        self.page.overview.open = [{"id": str(number)} for number in range(FEW + 1)]
        answer = self.page.ask("/connections")
        self.assertEqual(len(answer.json), FEW)
        self.assertEqual(answer.headers["x-total-count"], str(FEW + 1))
        self.assertEqual(self.page.ask("/connections?limit=0").json, self.page.overview.open)
        self.assertEqual(self.page.ask("/connections?limit=2").json, self.page.overview.open[:2])
        self.assertEqual(self.page.overview.limits, [FEW, 0, 2])  # no more rows are made than are shown

    def test_wrong_limit(self) -> None:
        answer = self.page.ask("/connections?limit=many")
        self.assertEqual(answer.code, 400)
        self.assertIn("expected a number", answer.json["error"])

    def test_head(self) -> None:
        """The same headers and no content, everywhere."""
        for path in ("/", "/healthz", "/readyz", "/metrics", "/status", "/connections", "/events"):
            answer = self.page.ask(path, "HEAD")
            self.assertEqual((answer.code, answer.content), (200, b""), path)
        self.assertGreater(int(self.page.ask("/status", "HEAD").headers["content-length"]), 100)

    def test_files(self) -> None:
        """The page and its files have their types, and are not sent again as long as they are the same."""
        answer = self.page.ask("/")
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.content, b"<!DOCTYPE html>")
        self.assertEqual(self.page.ask("/page.js").headers["content-type"], "text/javascript; charset=utf-8")
        self.assertEqual(answer.headers["cache-control"], "no-cache")
        again = self.page.ask("/", if_none_match=answer.headers["etag"])
        self.assertEqual((again.code, again.content), (304, b""))
        self.assertEqual(self.page.ask("/", if_none_match='"other"').code, 200)

    def test_not_there(self) -> None:
        """An unknown path is said back, as far as it prints."""
        answer = self.page.ask("/../etc/passwd\x9b")
        self.assertEqual((answer.code, answer.json), (404, {"error": "there is no /../etc/passwd\\x9b"}))

    def test_wrong_method(self) -> None:
        """The answer says which would be right, and nothing is done."""
        for method, path, right in (
            ("POST", "/status", "GET, HEAD"),
            ("DELETE", "/", "GET, HEAD"),
            ("GET", "/reload", "POST"),
            ("HEAD", "/drain", "POST"),
            ("GET", "/connections/1/close", "POST"),
            ("OPTIONS", "/drain", "POST"),
        ):
            answer = self.page.ask(path, method)
            self.assertEqual((answer.code, answer.headers["allow"]), (405, right), (method, path))
        self.assertEqual(self.page.overview.asked, [])

    def test_what_browsers_are_told(self) -> None:
        """Data is kept by nobody; nothing is guessed, framed, loaded from elsewhere or shown to other origins."""
        for path in ("/", "/status", "/nothing"):
            headers = self.page.ask(path).headers
            self.assertIn("default-src 'none'; script-src 'self'", headers["content-security-policy"])
            self.assertIn("frame-ancestors 'none'", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")
            self.assertFalse({"access-control-allow-origin", "server"} & headers.keys())
        self.assertEqual(self.page.ask("/status").headers["cache-control"], "no-store")


class DoTests(SynchronousTestCase):
    """What is done."""

    def setUp(self) -> None:
        self.page = Page()

    def test_reload(self) -> None:
        """It answers when the reload is over, with what has changed."""
        self.page.overview.reloading = Deferred()
        self.page.say("POST /reload HTTP/1.1\nhost: localhost\n\n")
        self.assertEqual(self.page.wire.value(), b"")
        self.page.overview.reloading.callback(True)
        self.assertIn(b"200 OK", self.page.wire.value())
        self.assertTrue(self.page.wire.value().endswith(b'{"served": true, "lines": ["a is new"]}\n'))

    def test_reload_that_fails(self) -> None:
        """It says what is wrong."""
        self.page.overview.reloading = succeed(False)
        self.page.overview.status_now["reload"]["last"] = {"at": 1.0, "served": False, "lines": ["no such file"]}
        answer = self.page.post("/reload")
        self.assertEqual((answer.code, answer.json), (409, {"served": False, "lines": ["no such file"]}))

    def test_reload_while_it_stops(self) -> None:
        """There is none, and no older one's lines are told for it."""
        self.page.overview.reloading = succeed(False)
        self.page.overview.status_now["draining"] = True
        answer = self.page.post("/reload")
        self.assertEqual(answer.json, {"served": False, "lines": ["the service stops, and loads nothing any more"]})

    def test_drain(self) -> None:
        """It is answered before it begins, since it may be over at once."""
        self.page.say("POST /drain HTTP/1.1\nhost: localhost\n\n")
        self.assertIn(b"202 Accepted", self.page.wire.value())
        self.assertEqual(self.page.overview.asked, [])
        self.page.clock.advance(0)
        self.assertEqual(self.page.overview.asked, ["drain"])

    def test_close(self) -> None:
        answer = self.page.post("/connections/1/close")
        self.assertEqual((answer.code, answer.json), (200, {"closed": "1"}))
        answer = self.page.post("/connections/2-17/close")
        self.assertEqual((answer.code, answer.json), (404, {"error": "there is no connection 2-17"}))
        self.assertEqual(self.page.overview.asked, ["close 1", "close 2-17"])

    def test_a_body_is_passed_over(self) -> None:
        """A small one changes nothing, not even what is asked; a long one is refused, and one that goes on is cut."""
        self.assertEqual(self.page.ask("/connections/1/close", "POST", "limit=1" * 100).code, 200)
        answer = self.page.ask("/drain", "POST", "x" * 1025, content_type="application/x-www-form-urlencoded")
        self.assertEqual(answer.code, 413)
        self.page.say("POST /drain HTTP/1.1\nhost: localhost\ncontent-length: 99999999999\n\n")
        for _ in range(65):
            self.page.say("x" * 1024)
        self.assertTrue(self.page.wire.cut)
        self.assertNotIn("drain", self.page.overview.asked)


class OriginTests(SynchronousTestCase):
    """Who may ask."""

    def setUp(self) -> None:
        self.page = Page()

    def refused(self, page: Page | None = None, **headers: str) -> bool:
        """Whether a POST with these headers does nothing."""
        page = page or self.page
        page.overview.asked.clear()
        code = page.post("/connections/1/close", **headers).code
        self.assertIn((code, page.overview.asked), [(403, []), (200, ["close 1"])])
        return code == 403

    def test_programs_and_the_page(self) -> None:
        """Who says no origin is a program; the page says its own."""
        self.assertFalse(self.refused())
        self.assertFalse(self.refused(origin="http://127.0.0.1:9443", sec_fetch_site="same-origin"))

    def test_other_origins(self) -> None:
        """A page from elsewhere, another port, a file or nowhere is not heard."""
        for origin in ("http://evil.example", "http://127.0.0.1:9444", "http://127.0.0.1", "null", "", "file://"):
            with self.subTest(origin):
                self.assertTrue(self.refused(origin=origin or " "))

    def test_what_browsers_say_of_the_site(self) -> None:
        """A request that a browser knows to be another site's is refused, whatever its origin says."""
        self.assertTrue(self.refused(sec_fetch_site="cross-site"))
        self.assertTrue(self.refused(sec_fetch_site="same-site"))
        self.assertTrue(self.refused(sec_fetch_site="cross-site", sec_fetch_mode="navigate"))

    def test_rebinding(self) -> None:
        """A name that was made to point at us is no name of ours, for looking neither."""
        self.assertTrue(self.refused(host="evil.example:9443", origin="http://evil.example:9443"))
        for path in ("/", "/status", "/connections", "/metrics", "/events", "/healthz"):
            self.assertEqual(self.page.ask(path, host="evil.example:9443").code, 403, path)
        for host in ("127.0.0.1.evil.example", "localhost.evil.example", "evil@127.0.0.1", "1", "[::1", ""):
            self.assertEqual(self.page.ask("/status", host=host or " ").code, 403, host)

    def test_names_of_ours(self) -> None:
        """Addresses, loopback's name and that of the machine are."""
        for host in ("127.0.0.1", "[::1]:9443", "192.0.2.7:80", "localhost", "LOCALHOST.:9443", "a.localhost", "Box"):
            self.assertEqual(self.page.ask("/status", host=host).code, 200, host)

    def test_another_scheme(self) -> None:
        """What another service of this host says over TLS is not ours, unless the browser knows that it is."""
        self.assertTrue(self.refused(origin="https://127.0.0.1:9443"))
        self.assertTrue(self.refused(origin="https://127.0.0.1:9443", sec_fetch_site="cross-site"))
        self.assertFalse(self.refused(origin="https://127.0.0.1:9443", sec_fetch_site="same-origin"))

    def test_two_headers(self) -> None:
        """Which of two is meant nobody knows."""
        self.page.say("GET /status HTTP/1.1\nhost: localhost\nhost: evil.example\n\n")
        self.assertIn(b"403 Forbidden", self.page.wire.value())

    def test_links(self) -> None:
        """A link from elsewhere leads to the page; its data is not for scripts of others."""
        self.assertEqual(self.page.ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate").code, 200)
        self.assertEqual(self.page.ask("/status", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").code, 403)
        self.assertEqual(self.page.ask("/status", origin="http://evil.example").code, 403)

    def test_over_tls(self) -> None:
        """The certificate vouches for the name; a page without TLS is another's."""
        page = Page(secure=True)
        self.assertFalse(self.refused(page, host="status.example", origin="https://status.example"))
        self.assertTrue(self.refused(page, host="status.example", origin="http://status.example"))

    def test_unix_socket(self) -> None:
        """No browser comes to one; a proxy in front of it may, with its name and with TLS."""
        page = Page(unix=True)
        own = {"host": "status.example", "origin": "https://status.example"}
        self.assertFalse(self.refused(page, **own, sec_fetch_site="same-origin"))
        self.assertTrue(self.refused(page, **own))
        self.assertTrue(self.refused(page, host="status.example", origin="https://evil.example"))

    def test_without_host(self) -> None:
        """An old program says none; no browser is that old."""
        self.page.say("GET /healthz HTTP/1.0\n\n")
        self.assertIn(b"200 OK", self.page.wire.value())


class TroubleTests(SynchronousTestCase):
    """What clients do wrong, and we."""

    def setUp(self) -> None:
        self.page = Page()

    def test_our_own_fault(self) -> None:
        """It is said without the reason, which is in the log with its traceback."""
        self.page.overview.broken = True
        answer = self.page.ask("/status")
        self.assertEqual(answer.code, 500)
        self.assertNotIn("Zero", answer.content.decode())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_client_that_is_gone(self) -> None:
        """What was asked is done, and nobody is told."""
        self.page.overview.reloading = Deferred()
        self.page.say("POST /reload HTTP/1.1\nhost: localhost\n\n")
        self.page.wire.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
        self.page.overview.reloading.callback(True)
        self.assertEqual(self.page.wire.value(), b"")

    def test_slow_requests(self) -> None:
        """A request has one time for all of it, and the wait for it counts."""
        for number in range(int(REQUEST)):
            self.assertFalse(self.page.wire.cut)
            self.page.say("GET /status HTTP/1.1\n" if number == 0 else f"x{number}: y\n")
            self.page.clock.advance(1)
        self.assertTrue(self.page.wire.cut)

    def test_kept_connections(self) -> None:
        """One request after the other, as long as the next comes in time."""
        for _ in range(3):
            self.assertEqual(self.page.ask("/healthz").code, 200)
            self.page.clock.advance(REQUEST - 1)
        self.assertFalse(self.page.wire.cut)
        self.page.clock.advance(1)
        self.assertTrue(self.page.wire.cut)

    def test_an_answer_that_does_not_come(self) -> None:
        """Nobody waits for ever."""
        self.page.overview.reloading = Deferred()
        self.page.say("POST /reload HTTP/1.1\nhost: localhost\n\n")
        self.page.clock.advance(ANSWER)
        self.assertTrue(self.page.wire.cut)

    def test_no_http(self) -> None:
        """What is no HTTP is refused without a traceback, and long headers are."""
        for text in ("\x16\x03\x01\n\n", "GET / HTTP/1.1\n" + "x: y\n" * 600, "GET /" + "x" * 20000 + " HTTP/1.1\n"):
            wire = self.page.connected()
            self.page.say(text, wire)
            self.assertTrue(wire.disconnecting)
            self.assertIn(wire.value()[:12], (b"HTTP/1.1 400", b""))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_pipelined_requests(self) -> None:
        """Each has its answer, in their order."""
        self.page.say("GET /healthz HTTP/1.1\nhost: localhost\n\nGET /readyz HTTP/1.1\nhost: localhost\n\n")
        self.page.clock.advance(0)
        answers = self.page.wire.value()
        self.assertEqual((answers.count(b"200 OK"), answers.endswith(b"ready\n")), (2, True))

    def test_a_thousand_pipelined_requests(self) -> None:
        """Each has a turn of the reactor's, so that others have theirs; what was sent ahead is not read meanwhile."""
        wire: Any = self.page.wire
        self.page.say("GET /healthz HTTP/1.1\nhost: localhost\n\n" * 1000)
        self.assertEqual((wire.value().count(b"200 OK"), wire.producerState), (1, "paused"))
        (turn,) = (each for each in self.page.clock.getDelayedCalls() if each.getTime() == self.page.clock.seconds())
        self.page.clock.callLater(0, lambda: self.assertEqual(wire.value().count(b"200 OK"), 2))
        self.page.clock.advance(0)
        self.assertFalse(turn.active())
        self.assertEqual((wire.value().count(b"200 OK"), wire.producerState), (1000, "producing"))

    def test_pipelined_requests_behind_a_later_answer(self) -> None:
        """What comes while an answer is made has its turn behind it, and in its order."""
        reloading = self.page.overview.reloading = Deferred[bool]()
        self.page.say("POST /reload HTTP/1.1\nhost: localhost\n\nGET /healthz HTTP/1.1\nhost: localhost\n\n")
        self.page.say("GET /readyz HTTP/1.1\nhost: localhost\n\nGET /none HTTP/1.1\nhost: loc")
        reloading.callback(True)
        self.assertEqual(self.page.wire.value().count(b"200 OK"), 1)
        self.page.clock.pump([0] * 5)
        self.page.say("alhost\n\n")
        answers = self.page.wire.value()
        places = [answers.index(each) for each in (b'"served"', b"ok\n", b"ready\n", b"404 ")]
        self.assertEqual(places, sorted(places))

    def test_a_connection_that_is_lost_with_requests_ahead(self) -> None:
        """Nobody answers them."""
        wire: Any = self.page.wire
        self.page.say("POST /reload HTTP/1.1\nhost: localhost\n\n" * 5)
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.page.clock.advance(ANSWER)
        self.assertEqual(self.page.overview.asked, ["reload"])

    def test_answers_that_are_not_read(self) -> None:
        """No more are made, and nothing is read, until they are; who never reads them is cut."""
        wire: Any = self.page.wire
        self.page.say("GET /healthz HTTP/1.1\nhost: localhost\n\n" * 5)
        wire.producer.pauseProducing()
        self.page.clock.pump([0] * 5)
        self.assertEqual((wire.value().count(b"200 OK"), wire.producerState), (1, "paused"))
        wire.producer.resumeProducing()
        self.page.clock.pump([0] * 5)
        self.assertEqual((wire.value().count(b"200 OK"), wire.producerState), (5, "producing"))
        self.page.say("GET /healthz HTTP/1.1\nhost: localhost\n\n" * 5)
        wire.producer.pauseProducing()
        self.page.clock.advance(REQUEST)
        self.assertTrue(wire.cut)

    def test_requests_ahead_of_an_answer_that_is_not_read(self) -> None:
        """They stay in the system's buffers, however large the answer is that they wait for."""
        self.page.overview.open = [{"id": str(number)} for number in range(5000)]
        wire: Any = self.page.wire
        self.page.say("GET /connections?limit=0 HTTP/1.1\nhost: localhost\n\n")
        wire.producer.pauseProducing()
        self.assertEqual(wire.producerState, "paused")
        wire.producer.resumeProducing()
        self.assertEqual(wire.producerState, "producing")

    def test_who_asks(self) -> None:
        """It is told of each whole request, and not before it is one; and of the end of its answer."""
        told: list[str] = []

        def asks(transport: Any) -> Any:
            told.append("asks" if transport is page.wire else "another")
            return lambda: told.append("answered")

        page = Page(asks=asks)
        page.overview.reloading = Deferred()
        page.say("POST /reload HTTP/1.1\nhost: localhost\n")
        self.assertEqual(told, [])
        page.say("\n")
        self.assertEqual(told, ["asks"])
        page.overview.reloading.callback(True)
        self.assertEqual(told, ["asks", "answered"])

    def test_a_last_answer_that_is_not_read(self) -> None:
        """Nor does it keep a connection that was to end behind it."""
        self.page.say("GET /healthz HTTP/1.0\n\n")
        self.assertTrue(self.page.wire.disconnecting)
        self.page.clock.advance(REQUEST)
        self.assertTrue(self.page.wire.cut)


class EventTests(SynchronousTestCase):
    """Server-sent events."""

    def setUp(self) -> None:
        self.page = Page()
        self.page.samples.start()
        self.addCleanup(self.page.samples.stop)

    def events(self, wire: Any = None) -> list[tuple[str, Any]]:
        """What has come, by its names."""
        raw = (wire or self.page.wire).value().decode()
        blocks = [block for block in raw.replace("\r\n", "\n").split("\n") if block.startswith(("event: ", "data: "))]
        pairs = zip(blocks[::2], blocks[1::2], strict=True)
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]

    def listens(self) -> Any:
        """A page that listens."""
        wire = self.page.connected()
        self.page.say("GET /events HTTP/1.1\nhost: localhost\n\n", wire)
        return wire

    def test_history_and_samples(self) -> None:
        """First all that is known, so that the page's charts are full at once; then each new sample."""
        self.page.clock.pump([1, 1])
        wire = self.listens()
        self.assertIn(b"text/event-stream", wire.value())
        self.page.clock.advance(1)
        (first, history), (second, sample) = self.events(wire)
        self.assertEqual((first, len(history), second), ("history", 3, "sample"))
        self.assertEqual(
            sample,
            {
                "at": 1060.0,
                "open": 5,
                "handshaking": 2,
                "accepted": 30,
                "established": 20,
                "failed": 3,
                "silent": 1,
                "refused": 4,
                "closed": 17,
                "bytes_in": 100,
                "bytes_out": 200,
                "failures": {"not-tls": 3},
                "refusals": {"limit": 4},
                "draining": False,
                "left": 0,
                "reloads": 3,
            },
        )

    def test_ten_minutes(self) -> None:
        """What is older is forgotten."""
        self.page.clock.pump([1] * 700)
        self.assertEqual(len(json.loads(self.page.samples.history())), 600)

    def test_who_does_not_read(self) -> None:
        """Nothing is kept for him; he goes on when he reads again, and is cut when that takes too long."""
        wire = self.listens()
        wire.producer.pauseProducing()
        sent = len(wire.value())
        self.page.clock.pump([1] * 9)
        self.assertEqual((len(wire.value()), wire.cut), (sent, False))
        wire.producer.resumeProducing()
        self.page.clock.advance(1)
        self.assertEqual(len(self.events(wire)), 2)
        wire.producer.pauseProducing()
        self.page.clock.pump([1] * 10)
        self.assertTrue(wire.cut)

    def test_too_many(self) -> None:
        """The oldest has to go."""
        wires = [self.listens() for _ in range(17)]
        self.page.clock.advance(1)
        self.assertTrue(wires[0].value().endswith(b"0\r\n\r\n"))
        self.assertEqual([len(self.events(wire)) for wire in wires], [1] + [2] * 16)

    def test_who_is_gone(self) -> None:
        """He is forgotten, whether he was reading or not."""
        wire = self.listens()
        wire.producer.pauseProducing()
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        sent = len(wire.value())
        self.page.clock.pump([1] * 20)
        self.assertEqual((len(wire.value()), wire.cut), (sent, False))

    def test_they_outlive_other_answers(self) -> None:
        """A stream has no deadline of its own."""
        wire = self.listens()
        self.page.clock.pump([1] * 100)
        self.assertEqual((len(self.events(wire)), wire.cut), (101, False))

    def test_the_end(self) -> None:
        """The service ends them."""
        wire = self.listens()
        self.page.site.streams.end()
        self.assertTrue(wire.value().endswith(b"0\r\n\r\n"))

    def test_a_status_that_cannot_be_told(self) -> None:
        """It is logged once, and samples go on afterwards."""
        self.page.overview.broken = True
        self.page.clock.pump([1] * 5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.page.overview.broken = False
        self.page.clock.advance(1)
        self.assertEqual(len(json.loads(self.page.samples.history())), 2)

    def test_a_status_that_raises(self) -> None:
        """So it is with one that fails at once, and with who cannot be told: samples go on."""
        self.page.overview.broken_at_once = True
        self.page.clock.pump([1] * 5)
        self.page.overview.broken_at_once = False
        self.page.clock.advance(1)
        self.page.samples.tell(lambda sample: 1 // 0)
        self.page.clock.pump([1] * 5)
        self.assertEqual(len(json.loads(self.page.samples.history())), 7)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_what_a_sample_costs(self) -> None:
        """A sample each second, or a look at its health, does not tell of ten thousand hosts and certificates."""
        self.page.clock.pump([1] * 5)
        self.page.ask("/healthz")
        self.assertEqual(set(self.page.overview.wholes), {False})
        self.page.ask("/status")
        self.page.ask("/readyz")
        self.assertEqual(self.page.overview.wholes[-2:], [True, True])
