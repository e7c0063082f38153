"""The page of the status service in a real Chromium, with real clients, and a page of somebody else's."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import attrs
import pytest
import trustme
from selenium.webdriver.common.keys import Keys

from tests.live.authority import Certificates
from tests.live.browser import Browser, browsing
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until
from tests.live.test_via import free_port

#: Names that would do something in a page that takes them for HTML, and one that turns the rest of its line around.
HOSTILE = ('<img src=x onerror="window.hit=1">', "'\"><script>window.hit=1</script>", "gpj.\u202eexe")

ROWS = "#connection-table tbody tr"


@attrs.frozen
class Seen:
    """
    A service with clients, and its page.

    @ivar base: the address of its page
    @ivar context: makes clients that show a certificate with this common name, or none
    """

    server: Running
    base: str
    browser: Browser
    context: Callable[[str | None], ssl.SSLContext]

    def open(self) -> None:
        """The page, once it has heard of the service."""
        self.browser.open(self.base)
        self.browser.until("document.getElementById('stream').textContent === 'live'", "the page is live")

    def listed(self) -> list[dict[str, object]]:
        """What the service says of its connections."""
        with urlopen(f"{self.base}connections", timeout=PATIENCE) as answer:
            found: list[dict[str, object]] = json.load(answer)
        return found

    def clients(self, *names: str | None) -> tuple[ExitStack, list[ssl.SSLSocket]]:
        """Connections that have had their echo, and what holds them until the end of a block."""
        stack = ExitStack()
        made = [stack.enter_context(connected(self.server.port, self.context(name))) for name in names]
        assert all(asks_and_hears(each, b"hello") for each in made)
        return stack, made


@contextmanager
def service(serve: Serve, certificates: Certificates, folder: Path, *more: str) -> Iterator[tuple[Running, str]]:
    """An echo that asks for client certificates, with its status service. @return: it, and the page's address"""
    port = free_port()
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", clientAuth="optional", clientCA="ca.pem", allow="all")
    status = f"tcp:{port}:interface=127.0.0.1"
    words = ("--endpoint", endpoint, "--handler", "echo", "--status", status, *more)
    with serve(*words, cwd=folder) as server:
        yield server, f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def shows(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Callable[[str | None], ssl.SSLContext]]:
    """The folder of a CA of clients, and what makes the contexts of its clients."""
    folder, ca = tmp_path_factory.mktemp("page"), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")

    def context(name: str | None) -> ssl.SSLContext:
        made = trusting(certificates.root)
        if name is not None:
            ca.issue_cert("client.example", common_name=name).configure_cert(made)
        return made

    return folder, context


@pytest.fixture(scope="module")
def browser(needs: Callable[[str], str]) -> Iterator[Browser]:
    with browsing(needs("chromium"), needs("chromedriver")) as made:
        yield made


@pytest.fixture(scope="module")
def running(
    certificates: Certificates,
    serve: Serve,
    browser: Browser,
    shows: tuple[Path, Callable[[str | None], ssl.SSLContext]],
) -> Iterator[Seen]:
    folder, context = shows
    with service(serve, certificates, folder) as (server, base):
        yield Seen(server, base, browser, context)


@pytest.fixture
def seen(running: Seen) -> Iterator[Seen]:
    """
    The page, opened. In the end: it has complained of nothing (an error, a violation of its policy), it has asked
    nobody but its service, and nobody else's script has run.
    """
    running.browser.look()
    running.browser.requests.clear()
    running.open()
    yield running
    assert running.browser.look() == []
    urls = {request["url"] for request in running.browser.requests.values()}
    assert {url for url in urls if not url.startswith((running.base, "data:"))} == set()
    assert running.browser.run("return window.hit ?? null") is None


def rows(browser: Browser, number: int) -> None:
    """Look at the page anew, as who comes back to it does, until so many connections are there."""
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    browser.until(f"document.querySelectorAll('{ROWS}').length === {number}", f"{number} rows")


def painted(browser: Browser, figure: str) -> int:
    """How many colours that are not the grid's or the text's grey are on a chart: so many pixels."""
    return int(
        browser.run(
            """
            const canvas = document.querySelector(`#${arguments[0]} canvas`);
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
            copy.drawImage(canvas, 0, 0);
            const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
            let found = 0;
            for (let at = 0; at < data.length; at += 4) {
              const [red, green, blue, alpha] = data.slice(at, at + 4);
              found += alpha > 128 && Math.max(red, green, blue) - Math.min(red, green, blue) > 80;
            }
            return found;
            """,
            figure,
        )
    )


def test_live_numbers_and_charts(seen: Seen) -> None:
    """Under load the tiles and the legends move, both charts are drawn, and a failure stands under its cause."""
    browser = seen.browser
    stack, _ = seen.clients(None, "build", None)
    with stack:
        plain = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(12):
            seen.clients(None)[0].close()
        with socket.create_connection(("127.0.0.1", seen.server.port), PATIENCE) as stranger:
            stranger.sendall(plain)
            assert stranger.recv(1) is not None
        browser.until("document.getElementById('open').textContent === '3'", "three are open")
        browser.until("parseFloat(document.getElementById('handshakes').textContent) > 0", "handshakes are counted")
        browser.until("document.querySelector('#causes').textContent.includes('plain-http')", "the failure has a cause")
        assert browser.text("#chart-open output") == "3"
        for chart in ("chart-open", "chart-handshakes"):
            until(lambda chart=chart: painted(browser, chart) > 20, f"{chart} is drawn")  # type: ignore[misc]
        assert browser.texts("#certificates td:first-child")[0].endswith("days")
        assert browser.text("#listeners td:nth-child(3)") == "listening"
        assert browser.text("#readiness") == "ready"
    browser.until("document.getElementById('open').textContent === '0'", "nobody is left")


def test_search_and_close(seen: Seen) -> None:
    """A client is found by its name and closed from the page: it gets a proper end, and the others go on."""
    browser = seen.browser
    stack, (one, other, third) = seen.clients("first-build", "second-build", None)
    with stack:
        rows(browser, 3)
        browser.driver.find_element("id", "search").send_keys("SECOND-b")
        rows(browser, 1)
        assert browser.text("#count") == "1 of 3 match"
        browser.driver.find_element("css selector", f"{ROWS} button").click()
        assert browser.shown("#confirm")
        browser.driver.find_element("id", "confirm-yes").click()
        assert other.recv(1) == b""
        other.unwrap()
        browser.until("document.getElementById('said').textContent.endsWith('is closed.')", "the page says so")
        rows(browser, 0)
        assert asks_and_hears(one, b"still here")
        assert asks_and_hears(third, b"still here")


def test_keyboard_alone(seen: Seen) -> None:
    """With no mouse: find, go to the row, think again, close; sort; ask the chart for its numbers; reload."""
    browser = seen.browser
    stack, (one, other) = seen.clients("keyboard", "other")
    with stack:
        rows(browser, 2)
        browser.press("/", "keyboard")
        assert browser.run("return document.activeElement.id") == "search"
        rows(browser, 1)
        browser.tab_to(f"{ROWS} button")
        browser.press(Keys.ENTER)
        assert browser.run("return document.activeElement.id") == "confirm-no"
        browser.press(Keys.ESCAPE)
        browser.until(f"document.activeElement.matches('{ROWS} button')", "the focus is back")
        assert asks_and_hears(one, b"still here")
        browser.press(Keys.ENTER)
        browser.tab_to("#confirm-yes")
        browser.press(Keys.ENTER)
        assert one.recv(1) == b""
        one.unwrap()
        assert asks_and_hears(other, b"still here")
    browser.open(seen.base)
    browser.tab_to("#chart-open")
    browser.until("document.querySelector('#chart-open output').textContent !== '-'", "there are samples")
    browser.press(Keys.ARROW_LEFT)
    assert browser.text("#chart-open [role=status]").startswith("at ")
    browser.tab_to("#reload")
    browser.press(Keys.ENTER)
    browser.until("document.getElementById('said').textContent.startsWith('Reloaded')", "it has reloaded")
    browser.until("document.getElementById('reload-result').textContent.includes('served')", "the panel tells of it")
    assert browser.run("return document.activeElement.id") == "reload"


def test_sorting_and_focus(seen: Seen) -> None:
    """A column sorts both ways and says so; focus, selection and scroll live through the updates."""
    browser = seen.browser
    stack, _ = seen.clients("a-client", "c-client", "b-client")
    with stack:
        rows(browser, 3)
        (at,) = [at for at, head in enumerate(browser.texts("#connection-table th")) if head == "Identity"]
        head, cells = f"#connection-table th:nth-child({at + 1})", f"{ROWS} td:nth-child({at + 1})"
        button = browser.driver.find_element("css selector", f"{head} button")
        button.click()
        first = [text.partition("-")[0][-1] for text in browser.texts(cells)]
        assert browser.run("return document.querySelector(arguments[0]).ariaSort", head) == "ascending"
        button.click()
        second = [text.partition("-")[0][-1] for text in browser.texts(cells)]
        assert browser.run("return document.querySelector(arguments[0]).ariaSort", head) == "descending"
        assert (first, second) == (["a", "b", "c"], ["c", "b", "a"])
        browser.run(
            """
            const rows = document.querySelectorAll(arguments[0]);
            rows[1].querySelector("button").focus();
            getSelection().selectAllChildren(rows[2].cells[0]);
            window.scrollTo(0, 200);
            window.before = [document.activeElement, String(getSelection()), scrollY, rows[2].cells[0]];
            window.asked = performance.getEntriesByType("resource").filter(e => e.name.includes("connections?")).length;
            """,
            ROWS,
        )
        asked = "performance.getEntriesByType('resource').filter(e => e.name.includes('connections?')).length"
        browser.run("document.dispatchEvent(new Event('visibilitychange'))")
        browser.until(f"{asked} > window.asked", "the table is up to date")
        assert browser.run(
            """
            const [focused, selected, scrolled, cell] = window.before;
            return document.activeElement === focused && String(getSelection()) === selected && selected !== ""
              && scrollY === scrolled && cell.isConnected;
            """
        )


def test_hostile_names(seen: Seen) -> None:
    """What strangers call themselves is text, in the table, the question and the answer."""
    browser = seen.browser
    stack, _ = seen.clients(*HOSTILE)
    with stack:
        rows(browser, 3)
        text = browser.text("#connection-table")
        assert "<img\\x20src=x\\x20onerror=" in text
        assert "<script>window.hit=1</script>" in text
        assert "gpj.\\u{202e}exe" in text
        browser.driver.find_element("css selector", f"{ROWS} button").click()
        browser.press(Keys.ESCAPE)
        assert browser.run("return document.querySelectorAll('main img, main script').length") == 0


def test_hostile_service(seen: Seen) -> None:
    """
    Even a text that nobody has escaped before, in any field, is shown as text, with what is unseen made visible; and of
    5,000 connections the page stays quick.
    """
    browser = seen.browser
    nasty = "<img src=x onerror='window.hit=1'>\u202e\u2066\x1b[31m\u200b\x00&amp;\"'"
    browser.run(
        """
        const nasty = arguments[0];
        const genuine = window.fetch;
        const row = (at) => Object.fromEntries(["id", "listener", "host", "handler", "address", "via", "server_name",
          "state", "version", "cipher", "group", "alpn", "identity"].map((name) => [name, `${nasty}${at}`])
          .concat([["seconds", at], ["bytes_in", at], ["bytes_out", at]]));
        window.fetch = async (path, ...rest) => {
          if (path.startsWith("connections")) {
            return new Response(JSON.stringify(Array.from({ length: 5000 }, (_, at) => row(at))));
          }
          const answer = await genuine(path, ...rest);
          if (path !== "status") return answer;
          const status = await answer.json();
          const now = Date.now() / 1000;
          const certificate = (host, days) => ({ ...status.certificates[0], subject: nasty, issuer: nasty, host,
            days_left: Math.floor(days), not_after: now + days * 86400, expired: days < 0 });
          const certificates = [certificate(nasty, 200), certificate("old", -3.1), certificate("soon", 13.1)];
          const backends = [{ handler: nasty, backend: nasty, state: nasty, open: 0, since: 0, failures: 0 }];
          const workers = [{ worker: nasty, pid: nasty, up: false, started: 0 }];
          const reload = { attempts: 1, failures: 1, last: { at: 0, served: false, lines: [nasty, nasty] } };
          return new Response(JSON.stringify({ ...status, certificates, backends, workers, reload,
            version: nasty, troubles: [nasty] }));
        };
        """,
        nasty,
    )
    browser.until("document.getElementById('count').textContent.startsWith('5,000')", "the table is full")
    browser.driver.find_element("id", "reload").click()  # so that it is told at once
    browser.until("document.getElementById('readiness').textContent === 'not ready'", "the status is shown")
    assert browser.run(f"return document.querySelectorAll('{ROWS}').length") == 200
    assert "the first 200 are shown" in browser.text("#count")
    everything = browser.text("body")
    assert everything.count("<img src=x onerror='window.hit=1'>\\u{202e}\\u{2066}\\x1b[31m\\u{200b}\\x00&amp;\"'") > 200
    assert browser.texts("#certificates td:first-child") == ["expired 3 d 2 h ago", "13 days, renew now", "200 days"]
    assert not set("\u202e\u2066\x1b\u200b\x00") & set(everything)
    assert browser.run("return document.querySelectorAll('main img, main script').length") == 0
    took = browser.run(
        """
        const before = performance.now();
        const search = document.getElementById("search");
        search.value = "4999";
        search.dispatchEvent(new Event("input"));
        return performance.now() - before;
        """
    )
    assert took < 500
    assert browser.run(f"return document.querySelectorAll('{ROWS}').length") == 1


def test_colours_and_phone(seen: Seen) -> None:
    """Dark where the system is, or where it was chosen, which is remembered; at 360 pixels nothing sticks out."""
    browser = seen.browser
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.screen(1280, 1000, dark=True)
    dark = browser.run(f"return {ground}")
    browser.screen(1280, 1000)
    light = browser.run(f"return {ground}")
    assert dark != light
    button = browser.driver.find_element("id", "theme")
    button.click()
    button.click()
    assert (browser.text("#theme"), browser.run(f"return {ground}")) == ("Colours: dark", dark)
    seen.open()
    assert (browser.text("#theme"), browser.run(f"return {ground}")) == ("Colours: dark", dark)
    browser.driver.find_element("id", "theme").click()
    stack, _ = seen.clients("a-rather-long-name-of-a-client-for-so-narrow-a-screen")
    with stack:
        browser.screen(360, 740, phone=True)
        rows(browser, 1)
        assert browser.run("return document.documentElement.scrollWidth") <= 360
        assert browser.shown(f"{ROWS} button")
        assert browser.run("return document.querySelector(arguments[0]).getBoundingClientRect().right", ROWS) <= 360
    browser.screen(1280, 1000)


ATTACK = """
<!DOCTYPE html><title>somebody else's</title><link rel="icon" href="data:,">
<iframe name="result"></iframe>
<form method="post" target="result" action="TARGETconnections/ID/close"></form>
<script>
  async function attack() {
    const told = [];
    for (const path of ["connections/ID/close", "drain", "reload"]) {
      for (const mode of ["cors", "no-cors"]) {
        try { told.push((await fetch("TARGET" + path, {method: "POST", mode, credentials: "include"})).type); }
        catch { told.push("error"); }
      }
    }
    try { told.push(await (await fetch("TARGETconnections")).text()); } catch { told.push("error"); }
    document.forms[0].submit();
    return told;
  }
</script>
"""


@contextmanager
def another_page(html: str) -> Iterator[str]:
    """A page at another port of the same address: another origin, of the same site. @return: its address"""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_another_origin_is_refused(running: Seen) -> None:
    """Another origin's page can close, drain, reload and read nothing, by script or form, though it knows the id."""
    browser = running.browser
    stack, (victim,) = running.clients("victim")
    with stack:
        (row,) = running.listed()
        browser.look()
        browser.requests.clear()
        html = ATTACK.replace("TARGET", running.base).replace("ID", str(row["id"]))
        with another_page(html) as other:
            browser.open(other)
            told = browser.driver.execute_async_script("attack().then(arguments[0])")
            assert told == ["error"] * 7
            until(lambda: len(refused(browser)) >= 7, "the service has refused it all")
            assert set(refused(browser)) == {403}
        assert asks_and_hears(victim, b"still here")
        assert [each["id"] for each in running.listed()] == [row["id"]]
        assert "draining" not in running.server.log


def refused(browser: Browser) -> list[int]:
    """The status codes of what was posted since its requests were forgotten."""
    browser.look()
    posts = {each for each, request in browser.requests.items() if request["method"] == "POST"}
    return [browser.statuses[each] for each in posts if each in browser.statuses]


def test_workers(
    certificates: Certificates,
    serve: Serve,
    browser: Browser,
    shows: tuple[Path, Callable[[str | None], ssl.SSLContext]],
) -> None:
    """Of several processes it is one page: each worker is shown, and each client of each of them can be closed."""
    folder, context = shows
    with service(serve, certificates, folder, "--workers", "2") as (server, base):
        seen = Seen(server, base, browser, context)
        server.wait_for(r"\[worker \d\] .* starting on", 2)
        seen.open()
        names = [f"client-{number}" for number in range(4)]
        stack, clients = seen.clients(*names)
        with stack:
            rows(browser, 4)
            browser.until("document.querySelectorAll('#workers [data-tone=good]').length === 2", "both are up")
            for name, client in zip(names, clients, strict=True):
                row = "[...document.querySelectorAll(arguments[0])].find(row => row.textContent.includes(arguments[1]))"
                browser.run(f"{row}.querySelector('button').click()", ROWS, name)
                browser.driver.find_element("id", "confirm-yes").click()
                assert client.recv(1) == b""
                client.unwrap()
            rows(browser, 0)


def test_drain_and_the_end(
    certificates: Certificates,
    serve: Serve,
    browser: Browser,
    shows: tuple[Path, Callable[[str | None], ssl.SSLContext]],
) -> None:
    """A drain from the page asks first, shows who is left, and in the end the page says that the service is gone."""
    folder, context = shows
    more = ("--deadlines-drain", "1m", "--deadlines-close", "1m")
    with service(serve, certificates, folder, *more) as (server, base):
        seen = Seen(server, base, browser, context)
        seen.open()
        stack, _ = seen.clients("lingers", None)
        with stack:
            browser.until("document.getElementById('open').textContent === '2'", "two are open")
            browser.driver.find_element("id", "drain").click()
            assert "2 connections may finish" in browser.text("#confirm-text")
            browser.driver.find_element("id", "confirm-yes").click()
            browser.until("!document.getElementById('draining').hidden", "the page shows the drain")
            assert "left" in browser.text("#drain-text")
            assert browser.run("return document.getElementById('drain').disabled")
        assert server.wait() == 0
        browser.until("!document.getElementById('lost').hidden", "the page says that it is gone")
        assert browser.text("#lost-text").startswith("The service was draining and does not answer any more")
        assert " old" in browser.text("#lost-age")
        assert browser.text("#open") != "-"
