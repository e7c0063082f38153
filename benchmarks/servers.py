"""Who is measured, and how each is started: one worker on one core, TLS 1.3, the same key and certificate."""

from __future__ import annotations

import importlib.util
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import proxies
from .order import Order

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Server:
    """One of the compared. `missing` says what has to be installed, or nothing if all is there."""

    name: str
    title: str
    command: Callable[[Order], list[str]]
    version: Callable[[], str]
    missing: Callable[[], str]
    has_backend: bool = False


def all_servers() -> dict[str, Server]:
    return {server.name: server for server in (*_python_servers(), *_proxies())}


def _python_servers() -> tuple[Server, ...]:
    return (
        Server("mytls", "mytls", _mytls, _mytls_version, _needs_module("mytls")),
        Server("unwatched", "mytls, no log, no metrics", _unwatched, _mytls_version, _needs_module("mytls")),
        Server("twisted", "Twisted ssl:", _twisted, _pyopenssl_version("Twisted"), _needs_module("OpenSSL")),
        Server("asyncio", "asyncio", _script("asyncio_peer.py"), _ssl_version(), _needs_module("asyncio")),
        Server("uvloop", "uvloop", _script("uvloop_peer.py"), _ssl_version("uvloop"), _needs_module("uvloop")),
        Server("threads", "thread each", _script("threads_peer.py"), _ssl_version(), _needs_module("ssl")),
    )


def _proxies() -> tuple[Server, ...]:
    stream = _needs_file(proxies.NGINX_STREAM)
    return (
        Server("nginx", "nginx stream", proxies.nginx, _says("nginx", "-v"), stream, has_backend=True),
        Server("hitch", "hitch", proxies.hitch, _says("hitch", "--version"), _needs_program("hitch"), True),
        Server("haproxy", "HAProxy", proxies.haproxy, _says("haproxy", "-v"), _needs_program("haproxy"), True),
        Server("stunnel", "stunnel", proxies.stunnel, _says("stunnel4", "-version"), _needs_program("stunnel4"), True),
    )


# ---- commands ----


def _mytls(order: Order) -> list[str]:
    if order.client_ca:
        return [*_script("twisted_peer.py")(order), "--endpoint=mytls"]
    endpoint = f"ssl:{order.port}:interface=127.0.0.1"
    endpoint += f":privateKey={order.identity.key}:certKey={order.identity.certificate}"
    words = [_twistd(), "--nodaemon", "--pidfile=", "mytls", "--endpoint", endpoint, "--handler", _handler(order)]
    return [*words, *(_watched(order) if order.watched else _quiet())]


def _unwatched(order: Order) -> list[str]:
    return _mytls(replace(order, watched=False))


def _handler(order: Order) -> str:
    if order.through:
        return f"proxy:tcp:127.0.0.1:{order.backend}"
    return "factory:benchmarks.peers.source:Source" if order.handler == "source" else order.handler


def _watched(order: Order) -> list[str]:
    """A line for each connection in a file, and the status service, which counts all for its metrics."""
    return ["--log-to", f"file:{order.folder}/access.log", "--status", f"tcp:{order.backend}:interface=127.0.0.1"]


def _twistd() -> str:
    return str(Path(sys.executable).with_name("twistd"))


@cache
def _quiet() -> tuple[str, ...]:
    """No other server logs connections, so mytls does not either, from the version on that can leave it."""
    asked = subprocess.run([_twistd(), "mytls", "--help"], capture_output=True, text=True, check=False)
    return ("--log-quiet", "connections") if "--log-quiet" in asked.stdout else ()


def _mytls_version() -> str:
    return _pyopenssl_version("mytls")() + ("" if _quiet() else ", with its log of connections")


def _twisted(order: Order) -> list[str]:
    return [*_script("twisted_peer.py")(order), "--endpoint=ssl"]


def _script(name: str) -> Callable[[Order], list[str]]:
    return lambda order: [sys.executable, str(PEERS / name), *order.as_arguments()]


# ---- what is there, and which version ----


def _needs_module(name: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(name) else f"the Python package {name} is not installed"


def _needs_program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"the program {name} is not installed"


def _needs_file(path: str) -> Callable[[], str]:
    return lambda: "" if Path(path).exists() else f"{path} is not installed"


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} from this folder"


def _pyopenssl_version(package: str) -> Callable[[], str]:
    def say() -> str:
        from OpenSSL import SSL

        openssl = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()
        return ", ".join(dict.fromkeys([_package(package), _package("Twisted"), _package("pyOpenSSL"), openssl]))

    return say


def _ssl_version(*packages: str) -> Callable[[], str]:
    python = f"Python {sys.version.split()[0]}"
    return lambda: ", ".join([*map(_package, packages), python, ssl.OPENSSL_VERSION])


def _says(*command: str) -> Callable[[], str]:
    """The first line with a digit that the program prints about itself, and the system's OpenSSL."""

    def say() -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        first = next((line for line in done.stdout.splitlines() if any(map(str.isdigit, line))), "")
        return f"{first.split(' - ')[0].strip()}, {ssl.OPENSSL_VERSION}"

    return say
