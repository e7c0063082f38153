"""A service that is looked at: an overview that a test says all of, and HTTP without a port."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import alsoProvides

from mytls.status.files import File
from mytls.status.overview import Values
from mytls.status.samples import Samples
from mytls.status.site import Site


def well() -> dict[str, Any]:
    """The status of a service with which all is well."""
    return {
        "version": "1",
        "pid": 7,
        "started": 1000.0,
        "now": 1060.0,
        "uptime": 60.0,
        "draining": False,
        "drain": None,
        "workers": [],
        "listeners": [{"address": "127.0.0.1:8443", "endpoint": "mytls:8443", "listening": True}],
        "hosts": [],
        "certificates": [],
        "reload": {"attempts": 3, "failures": 1, "last": {"at": 1050.0, "served": True, "lines": ["a is new"]}},
        "connections": {
            "open": 5,
            "handshaking": 2,
            "accepted": 30,
            "refused": 4,
            "established": 20,
            "failed": 3,
            "silent": 1,
            "closed": 17,
        },
        "refusals": {"limit": 4},
        "failures": {"not-tls": 3},
        "ends": {"clean": 17},
        "bytes": {"in": 100, "out": 200},
        "backends": [],
    }


class Told:
    """
    An overview that says what the test wants.

    @ivar status_now: its status
    @ivar open: its connections
    @ivar asked: what was asked of it
    @ivar reloading: what the next reload comes to
    @ivar broken: whether it cannot tell anything; C{broken_at_once}: and raises
    @ivar limits: of how many connections it was asked to tell
    @ivar wholes: for each status that was asked for, whether it was to be the whole of it
    """

    def __init__(self) -> None:
        self.status_now = well()
        self.open: list[Values] = [{"id": "1", "handler": "echo", "identity": "<b>\u202e"}]
        self.asked: list[str] = []
        self.reloading: Deferred[bool] = succeed(True)
        self.broken = self.broken_at_once = False
        self.wholes: list[bool] = []
        self.limits: list[int] = []

    def start(self) -> None:
        self.asked.append("start")

    def stop(self) -> None:
        self.asked.append("stop")

    def status(self, *, whole: bool = True) -> Deferred[Values]:
        self.wholes.append(whole)
        if self.broken_at_once:
            raise ZeroDivisionError("no status, and no Deferred")
        return fail(ZeroDivisionError("no status")) if self.broken else succeed(self.status_now)

    def metrics(self) -> Deferred[bytes]:
        return succeed(b"mytls_connections_open 5\n")

    def connections(self, limit: int = 0) -> Deferred[tuple[int, Sequence[Values]]]:
        self.limits.append(limit)
        return succeed((len(self.open), self.open[:limit] if limit else self.open))

    def close(self, connection: str) -> Deferred[bool]:
        self.asked.append(f"close {connection}")
        return succeed(any(each["id"] == connection for each in self.open))

    def reload(self) -> Deferred[bool]:
        self.asked.append("reload")
        return self.reloading

    def drain(self) -> None:
        self.asked.append("drain")


@attrs.frozen
class Heard:
    """
    An answer.

    @ivar headers: by their names in lower case
    """

    code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Pipe(StringTransport):
    """A transport that says whether it was cut."""

    cut = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no such thing here."""

    def abortConnection(self) -> None:
        self.cut = True


class Page:
    """
    A site, and a connection to it.

    @ivar wire: what its transport has sent
    """

    def __init__(
        self, overview: Told | None = None, *, secure: bool = False, unix: bool = False, asks: Any = None
    ) -> None:
        self.clock = Clock()
        self.overview = overview or Told()
        self.samples = Samples(self.clock, self.overview)
        files = {"/": File.of("index.html", b"<!DOCTYPE html>"), "/page.js": File.of("page.js", b"1;")}
        self.site = Site(self.clock, self.overview, self.samples, "box", files, *([asks] if asks else []))
        self.site.doStart()
        self.secure = secure
        self.host: Any = UNIXAddress("/run/status") if unix else IPv4Address("TCP", "127.0.0.1", 9443)
        self.wire = self.connected()

    def connected(self) -> Pipe:
        """One more connection."""
        wire = Pipe(self.host, IPv4Address("TCP", "127.0.0.1", 50000))
        if self.secure:
            alsoProvides(wire, ISSLTransport)
        channel = self.site.buildProtocol(wire.getPeer())
        assert channel is not None
        wire.protocol = channel  # type: ignore[attr-defined]  # to find it again
        channel.makeConnection(wire)
        return wire

    def say(self, text: str, wire: Pipe | None = None) -> None:
        """Bytes as they are, but that lines end as in HTTP."""
        (wire or self.wire).protocol.dataReceived(text.replace("\n", "\r\n").encode("latin-1"))  # type: ignore[attr-defined]

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Heard:
        """One request, and its answer."""
        said = {"host": "127.0.0.1:9443", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body:
            said["content-length"] = str(len(body))
        lines = "".join(f"{name}: {value}\n" for name, value in said.items() if value)
        self.wire.clear()
        self.say(f"{method} {path} HTTP/1.1\n{lines}\n{body}")
        self.clock.pump([0] * 20)
        return heard(self.wire.value())

    def post(self, path: str, **headers: str) -> Heard:
        """The same for a POST."""
        return self.ask(path, "POST", **headers)


def heard(data: bytes) -> Heard:
    """The answer that was sent."""
    head, _, content = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        content = b"".join(_chunks(content))
    return Heard(int(status.split()[1]), headers, content)


def _chunks(data: bytes) -> Any:
    while data:
        size, _, data = data.partition(b"\r\n")
        yield data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
