"""
What the status service answers, and to whom.

    GET   /                         the page, and its files beside it
    GET   /healthz                  200 `ok`
    GET   /readyz                   200 `ready`, or 503 and why not, a line for each reason
    GET   /metrics                  Prometheus's text format
    GET   /status                   JSON: C{Overview.status}, and `troubles`, the lines of /readyz
    GET   /connections?limit=1000   JSON: a list, C{Overview.connections}, the oldest first, at most `limit` of them
                                    (0: all); the header `X-Total-Count` says how many there are
    GET   /events                   server-sent events: first `history`, a list of the samples of the last ten minutes,
                                    then a `sample` each second
    POST  /reload                   200, or 409 where the old is still served: {"served", "lines"}
    POST  /drain                    202: {"draining"}
    POST  /connections/ID/close     200: {"closed"}, or 404

Where there is an error, but for /readyz: JSON with one key, C{error}, a line. A C{sample} is

    {"at": time, "open", "handshaking", "accepted", "established", "failed", "silent", "refused", "closed",
     "bytes_in", "bytes_out", "failures": {cause: n}, "refusals": {cause: n}, "draining": bool, "left": n, "reloads": n}

where all but C{open}, C{handshaking} and C{left} (connections that a drain waits for) are counts since the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from mytls.addresses import address_text
from mytls.errors import visible
from mytls.guards.deadlines import Deadline
from mytls.status import origins
from mytls.status.exchange import JSON, PASSED_OVER, Answer, Channel, Request
from mytls.status.files import File, page
from mytls.status.overview import Overview, troubles
from mytls.status.pieces import send_list
from mytls.status.samples import Samples
from mytls.status.streams import Streams

_log = Logger()

#: Seconds for a whole request from the end of the one before; and for a whole answer, which may be a reload's.
REQUEST, ANSWER = 30.0, 60.0
#: How many connections are told where nobody says how many.
FEW = 1000

#: What every answer says to browsers: this is ours alone, and loads nothing from elsewhere.
_FOR_BROWSERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


#: What answers: now, later, or by itself.
Route = Callable[[Any], "Answer | Deferred[Answer | None] | None"]


class Site(http.HTTPFactory):
    """Answers for a service."""

    protocol = Channel  # type: ignore[assignment]  # HTTP/1.1 alone, without Twisted's choice of versions
    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        overview: Overview,
        samples: Samples,
        name: str,
        files: Mapping[str, File] | None = None,
        asks: Callable[[Any], Callable[[], object]] = lambda transport: lambda: None,
    ) -> None:
        """
        @param samples: who runs takes them
        @param name: the name of this machine
        @param files: by their paths; those of the page, if left out
        @param asks: told of each whole request with its transport; gives what is called when that is answered
        """
        super().__init__(timeout=REQUEST, reactor=reactor)
        self.streams = Streams(reactor, samples)
        self._overview = overview
        self._asks = asks
        self._name = name.lower()
        self._files = page() if files is None else files
        self._answering = Deadline(reactor, ANSWER)
        self._turn = partial(reactor.callLater, 0)
        self._gets: dict[str, Route] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": self._status,
            "/connections": self._connections,
            "/events": self._events,
            **{path: partial(self._file, file) for path, file in self._files.items()},
        }
        self._posts: dict[str, Route] = {"/reload": self._reload, "/drain": self._drain}

    def startFactory(self) -> None:
        """Without the access log of Twisted's, which would have a line for each look."""

    def stopFactory(self) -> None:
        """Likewise."""

    def serve(self, request: Request) -> None:
        """Answer a request, now or later."""
        answered = self._asks(request.channel.transport)
        request.notifyFinish().addBoth(lambda _: answered())
        for name, value in _FOR_BROWSERS.items():
            request.setHeader(name, value)
        request.setHeader("Cache-Control", "no-store")
        self._answering.start(request, request.abort)
        request.notifyFinish().addBoth(lambda _: self._answering.stop(request))
        answering = maybeDeferred(self._answer, request).addErrback(_our_fault)
        answering.addCallback(lambda answer: None if answer is None else request.answer(answer))

    # --- which request it is

    def _answer(self, request: Request) -> Any:
        path, method = request.path.decode("latin-1"), request.method.decode("latin-1")
        trouble = origins.trouble(
            request.said,
            secure=request.isSecure(),
            known=lambda name: self._knows(name, request),
            changes=method not in ("GET", "HEAD"),
        )
        if trouble is not None:
            return Answer.error(403, trouble)
        if request.too_long:
            return Answer.error(413, f"a body has no use here, and was longer than {PASSED_OVER} bytes")
        for methods, route in (("GET, HEAD", self._gets.get(path)), ("POST", self._post(path))):
            if route is not None:
                right = method in methods.split(", ")
                return route(request) if right else Answer.error(405, f"expected {methods}", Allow=methods)
        return Answer.error(404, f"there is no {visible(path)}")

    def _knows(self, name: str, request: Request) -> bool:
        """
        Whether a name is one of this service. Over TLS the browser has seen to it, by the certificate, and no browser
        comes to a UNIX socket.
        """
        by_itself = request.isSecure() or isinstance(request.getHost(), UNIXAddress)
        return by_itself or name == self._name or origins.is_here(name)

    def _post(self, path: str) -> Route | None:
        match path.split("/"):
            case ["", "connections", str(connection), "close"] if connection:
                return partial(self._close, connection)
        return self._posts.get(path)

    # --- what is looked at

    @inlineCallbacks
    def _healthz(self, request: Any) -> Any:
        workers = (yield self._overview.status(whole=False))["workers"]
        if workers and not any(each["up"] for each in workers):
            return Answer.lines(503, "no worker is up")
        return Answer.lines(200, "ok")

    @inlineCallbacks
    def _readyz(self, request: Any) -> Any:
        found = troubles((yield self._overview.status()))
        return Answer.lines(503, *map(_printable, found)) if found else Answer.lines(200, "ready")

    @inlineCallbacks
    def _metrics(self, request: Any) -> Any:
        return Answer(200, _METRICS, (yield self._overview.metrics()))

    @inlineCallbacks
    def _status(self, request: Any) -> Any:
        status = yield self._overview.status()
        return Answer.json(200, {**status, "troubles": troubles(status)})

    @inlineCallbacks
    def _connections(self, request: Request) -> Any:
        limit = _limit(request)
        if limit is None:
            return Answer.error(400, "limit: expected a number, such as limit=1000; 0 is all")
        total, found = yield self._overview.connections(limit)
        if request.here:
            request.setHeader("Content-Type", JSON)
            request.setHeader("X-Total-Count", str(total))
            send_list(request, found, self._turn)
        return None

    def _events(self, request: Request) -> Answer | None:
        request.setHeader("Content-Type", "text/event-stream")
        if request.method == b"HEAD":
            return Answer(200, "text/event-stream", b"")
        self._answering.stop(request)
        self.streams.begin(request)
        return None

    def _file(self, file: File, request: Request) -> Answer:
        request.setHeader("Cache-Control", "no-cache")
        cached = request.setETag(file.etag) is http.CACHED
        return Answer(request.code, file.kind, b"" if cached else file.content)

    # --- what is done

    @inlineCallbacks
    def _reload(self, request: Request) -> Any:
        _tell("reload", request)
        served = yield self._overview.reload()
        status = yield self._overview.status(whole=False)
        last = status["reload"]["last"]
        lines = list(last["lines"]) if last else []
        if status["draining"] and not served:  # there was no attempt that could have said so
            lines = ["the service stops, and loads nothing any more"]
        return Answer.json(200 if served else 409, {"served": served, "lines": lines})

    def _drain(self, request: Request) -> Answer:
        _tell("drain", request)
        self._turn(self._overview.drain)  # it may be over at once, and is answered first
        return Answer.json(202, {"draining": True})

    @inlineCallbacks
    def _close(self, connection: str, request: Request) -> Any:
        _tell(f"close connection {visible(connection)}", request)
        if (yield self._overview.close(connection)):
            return Answer.json(200, {"closed": connection})
        return Answer.error(404, f"there is no connection {visible(connection)}")


def _limit(request: Request) -> int | None:
    """How many connections are asked for; None where that is not a number."""
    said = (request.args or {}).get(b"limit", [b"%d" % FEW])[-1]
    return int(said) if said.isdigit() and len(said) < 10 else None


def _tell(what: str, request: Request) -> None:
    who = visible(address_text(request.getClientAddress()))
    _log.info("status service: {what} asked for by {who}", what=what, who=who)


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in line)


def _our_fault(failure: Failure) -> Answer:
    _log.failure("the status service has failed to answer", failure)
    return Answer.error(500, "the service has failed to answer; its log says why")
