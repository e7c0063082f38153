"""What is measured: the runs of the load client, the rows of the table that are drawn from them, the aims.

A run is what the client does; a row is one figure of it. Two rows (memory and CPU of idle connections) come
from one run. Work is always counted per second of *server CPU*, not of time: that figure stays right when the
machine is noisy or the client is what a run waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .results import Sample

# Servers that are compared in the runs that name them, and in no others.
ONLY_WHERE_NAMED = ("unwatched",)


@dataclass(frozen=True)
class Run:
    """What the load client does, and what the server is started with.

    `through`: mytls ends TLS for the plain server, as the proxies do. `watched`: mytls writes its log of connections
    and counts for its metrics. `servers`: who has a turn; all, if there are none.
    """

    name: str
    mode: str
    handler: str = "echo"
    key: str = "ecdsa"
    client_certificate: bool = False
    connections: int = 16
    size: int = 64
    through: bool = False
    watched: bool = False
    servers: tuple[str, ...] = ()

    def takes(self, server: str) -> bool:
        """Whether this server has a turn."""
        return server in self.servers if self.servers else server not in ONLY_WHERE_NAMED


@dataclass(frozen=True)
class Row:
    """One figure of a run. Below `least` a value cannot be told from nothing, and no ratio is drawn from it."""

    name: str
    title: str
    unit: str
    run: Run
    value: Callable[[Sample], float]
    more_is_better: bool = True
    least: float = 0.0

    @property
    def counts_work(self) -> bool:
        return self.run.mode != "idle"

    def ratio(self, ours: float, theirs: float) -> float | None:
        """How many times better ours is."""
        if min(ours, theirs) <= self.least:
            return None
        return ours / theirs if self.more_is_better else theirs / ours


def _operations(sample: Sample) -> float:
    return sample.operations / sample.server_cpu


def _megabytes(sample: Sample) -> float:
    return sample.bytes / 1e6 / sample.server_cpu


def _kibibytes_each(sample: Sample) -> float:
    return sample.pss / 1024 / sample.connections


def _milliseconds_a_second(sample: Sample) -> float:
    return 1000 * sample.server_cpu / sample.seconds


_PROXIES = ("mytls", "nginx", "hitch", "haproxy", "stunnel")
_WATCHED = ("mytls", "unwatched")
_IDLE = Run("idle", "idle", connections=1000)

ROWS = (
    Row("full-ecdsa", "Full handshakes, ECDSA P-256", "handshakes", Run("full-ecdsa", "handshake"), _operations),
    Row("full-rsa", "Full handshakes, RSA 2048", "handshakes", Run("full-rsa", "handshake", key="rsa"), _operations),
    Row("resumed", "Resumed handshakes", "handshakes", Run("resumed", "resume"), _operations),
    Row(
        "client-cert",
        "Handshakes with a client certificate",
        "handshakes",
        Run("client-cert", "handshake", client_certificate=True),
        _operations,
    ),
    Row(
        "ping-64",
        "64-byte ping-pong, 32 connections",
        "messages",
        Run("ping-64", "pingpong", connections=32, size=64),
        _operations,
    ),
    Row(
        "ping-4k",
        "4 KiB ping-pong, 32 connections",
        "messages",
        Run("ping-4k", "pingpong", connections=32, size=4096),
        _operations,
    ),
    Row("up", "Bulk up, 4 connections", "MB", Run("up", "up", handler="discard", connections=4), _megabytes),
    Row("down", "Bulk down, 4 connections", "MB", Run("down", "down", handler="source", connections=4), _megabytes),
    Row("echo", "Bulk echo, 4 connections", "MB", Run("echo", "echo", connections=4), _megabytes),
    Row(
        "proxy-full",
        "proxy: full handshakes, ECDSA P-256",
        "handshakes",
        Run("proxy-full", "handshake", through=True, servers=_PROXIES),
        _operations,
    ),
    Row(
        "proxy-ping-64",
        "proxy: 64-byte ping-pong, 32 connections",
        "messages",
        Run("proxy-ping-64", "pingpong", connections=32, through=True, servers=_PROXIES),
        _operations,
    ),
    Row(
        "proxy-echo",
        "proxy: bulk echo, 4 connections",
        "MB",
        Run("proxy-echo", "echo", connections=4, through=True, servers=_PROXIES),
        _megabytes,
    ),
    Row(
        "watched-full",
        "Log and metrics: full handshakes, ECDSA P-256",
        "handshakes",
        Run("watched-full", "handshake", watched=True, servers=_WATCHED),
        _operations,
    ),
    Row(
        "watched-ping-64",
        "Log and metrics: 64-byte ping-pong, 32 connections",
        "messages",
        Run("watched-ping-64", "pingpong", connections=32, watched=True, servers=_WATCHED),
        _operations,
    ),
    Row("idle-memory", "Memory of an idle connection (PSS)", "KiB", _IDLE, _kibibytes_each, more_is_better=False),
    Row(
        "idle-cpu",
        "CPU of 1,000 idle connections",
        "ms/s",
        _IDLE,
        _milliseconds_a_second,
        more_is_better=False,
        least=0.05,
    ),
)

_WITH_A_HOP = dict.fromkeys(("nginx", "hitch", "haproxy"), 1.15)
_FULL = {"twisted": 1.15, "uvloop": 1.05, **_WITH_A_HOP}
_PING = {"uvloop": 1.0, **_WITH_A_HOP}

# The least ratio (mytls / other) that is wanted, by row and server.
AIMS: dict[str, dict[str, float]] = {
    "full-ecdsa": _FULL,
    "full-rsa": _FULL,
    # Twisted's own TLS cannot resume: its figure in this row is that of full handshakes.
    "resumed": {"twisted": 1.4, "uvloop": 1.3, **_WITH_A_HOP},
    "client-cert": _WITH_A_HOP,
    "ping-64": {"twisted": 2.0, **_PING},
    "ping-4k": _PING,
    "up": {"uvloop": 1.1, **_WITH_A_HOP},
    "down": {"uvloop": 1.5, **_WITH_A_HOP},
    "echo": {"twisted": 1.3, "uvloop": 1.05, **_WITH_A_HOP},
    "watched-full": {"unwatched": 0.95},
    "watched-ping-64": {"unwatched": 0.95},
}

# The most that mytls may need, by row, in the row's unit.
CEILINGS: dict[str, float] = {"idle-memory": 25.0}
