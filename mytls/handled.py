"""Which handler each host has, and whether its plaintext may go where that sends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs
from twisted.internet.interfaces import IProtocolFactory

from mytls.errors import ConfigurationError, Troubles
from mytls.handlers import handler_from_string
from mytls.handlers.places import unsafe
from mytls.handlers.proxy import ProxyFactory
from mytls.settings import BackendSettings, ListenerSettings, Settings
from mytls.strings import is_tls

#: Handlers by their strings, and by how they deal with their backends.
Handlers = dict[tuple[str, BackendSettings], IProtocolFactory]


def handlers_of(
    reactor: Any,
    settings: Settings,
    default: str | None = None,
    there: Mapping[tuple[str, BackendSettings], IProtocolFactory] = MappingProxyType({}),
) -> Handlers:
    """
    The handlers of all hosts, by their strings and how they deal with their backends.

    @param default: one more
    @param there: those that are made already
    @raise ConfigurationErrors: a line for each that cannot be had, or would put plaintext on a network
    """
    hosts = [host for listener in settings.listeners for host in listener.served]
    said = {
        (host.handler, host.backend): host.wrote.get("handler", "--handler")
        for host in hosts
        if host.handler is not None
    }
    if default is not None:
        said.setdefault((default, BackendSettings()), "--handler")
    made: Handlers = {}
    troubles = Troubles()
    for (text, backend), wrote in said.items():
        with troubles.gathered():
            about = attrs.evolve(settings, backend=backend)
            kept = there.get((text, backend))
            made[text, backend] = kept or handler_from_string(reactor, text, about, wrote=wrote)
    if not settings.unsafe_plaintext:
        troubles.add(_plaintext(settings.listeners, made))
    troubles.tell()
    return made


def _plaintext(listeners: Iterable[ListenerSettings], made: Handlers) -> Iterator[ConfigurationError]:
    """What would put plaintext on a network where somebody wants TLS."""
    for listener in listeners:
        tls = is_tls(listener.endpoint)
        for host in listener.served:
            handler = made.get((host.handler or "", host.backend))
            if not isinstance(handler, ProxyFactory) or (tls and host.passes_on):
                continue
            why = unsafe(tls, listener.endpoint, handler.descriptions)
            if why is not None:
                wrote = host.wrote.get("handler")
                place = f"--handler {host.handler}" if wrote is None else f"{wrote}={host.handler}"
                option = "--unsafe-plaintext" if wrote is None else "unsafe-plaintext = true"
                yield ConfigurationError(f"{place}: {why}; {option} lets it")
