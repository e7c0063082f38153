"""Users' functions in a real process: on each reactor, and when they raise."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve

Module = Callable[[str, str], Path]

APP = """
def blocking(connstream):
    while data := connstream.recv(1024):
        if data == b"boom":
            raise RuntimeError("the user's own fault")
        connstream.sendall(data)


async def awaiting(connstream):
    while data := await connstream.recv(1024):
        if data == b"boom":
            raise RuntimeError("the user's own fault")
        await connstream.sendall(data)


def each(connstream, data):
    if data == b"boom":
        raise RuntimeError("the user's own fault")
    connstream.sendall(data)
    return True
"""

HANDLERS = ["serve:app:blocking", "serve:app:awaiting", "call:app:each"]


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_that_raises_ends_its_own_connection_alone(
    certificates: Certificates, serve: Serve, module: Module, handler: str
) -> None:
    """Its client is cut off, the log has one traceback, and a client from before and one from after are served."""
    context = trusting(certificates.root)
    folder = module("app", APP)
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", handler, cwd=folder) as server:
        with connected(server.port, context) as bystander:
            assert asks_and_hears(bystander, b"before")
            with connected(server.port, context) as victim:
                assert asks_and_hears(victim, b"hello")
                victim.sendall(b"boom")
                with pytest.raises((ssl.SSLError, ConnectionError)):  # no close_notify: nothing was finished
                    assert victim.recv(1024)
            assert asks_and_hears(bystander, b"after")
            with connected(server.port, context) as newcomer:
                assert asks_and_hears(newcomer, b"hello")
        server.wait_for(r"\] closed .* cause=handler ")
        assert server.log.count("Traceback (most recent call last)") == 1
        assert server.log.count("RuntimeError: the user's own fault") == 1


@pytest.mark.parametrize("reactor", ["select", "poll", "epoll", "asyncio"])
@pytest.mark.parametrize("handler", ["echo", *HANDLERS])
def test_every_reactor_serves(
    certificates: Certificates, serve: Serve, module: Module, reactor: str, handler: str
) -> None:
    """`twistd --reactor=NAME mytls` echoes a long message, whatever kind of handler does it."""
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--handler", handler]
    with (
        serve(*words, options=[f"--reactor={reactor}"], cwd=module("app", APP)) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello reactor")
        assert asks_and_hears(client, bytes(range(256)) * 128)
        client.unwrap().close()
        server.wait_for(r"\] closed .* in=32781 out=32781 .* clean")


SLEEPER = """
import asyncio


async def deal_with_client(connstream):
    while data := await connstream.recv(1024):
        await asyncio.sleep(0)
        await asyncio.wait_for(connstream.sendall(data), 10)


async def do_something(connstream, data):
    await asyncio.sleep(0)
    await connstream.sendall(data)
    return True
"""


@pytest.mark.parametrize("handler", ["serve:sleeper:deal_with_client", "call:sleeper:do_something"])
def test_on_asyncios_loop_a_coroutine_awaits_what_is_asyncios(
    certificates: Certificates, serve: Serve, module: Module, handler: str
) -> None:
    """`twistd --reactor=asyncio mytls` runs coroutines that await `asyncio.sleep` and `asyncio.wait_for`."""
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--handler", handler]
    with (
        serve(*words, options=["--reactor=asyncio"], cwd=module("sleeper", SLEEPER)) as server,
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello loop")
        assert asks_and_hears(client, b"and again")
        client.unwrap().close()
        server.wait_for(r"\] closed .* clean")
        assert "Traceback" not in server.log
