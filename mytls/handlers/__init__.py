"""
Handler strings: what is done with the decrypted bytes.

Every handler is a Twisted protocol factory. Its protocols are connected when the handshake is done, so
C{connectionMade} already has the peer's identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import getPlugins

from mytls.destinations import without_password
from mytls.errors import ConfigurationError, nearest
from mytls.handlers.builtin import discard, echo
from mytls.handlers.callback import call
from mytls.handlers.factory import factory
from mytls.handlers.program import program
from mytls.handlers.proxy import passthrough, proxy
from mytls.handlers.stream import serve
from mytls.interfaces import IHandlerParser
from mytls.settings import Settings

_Parse = Callable[[Any, str, Settings], IProtocolFactory]

#: The prefixes of our own, and what each expects behind the colon.
BUILT_IN: dict[str, tuple[_Parse, str]] = {
    "echo": (echo, "echo"),
    "discard": (discard, "discard"),
    "call": (call, "call:package.module:function"),
    "serve": (serve, "serve:package.module:function"),
    "factory": (factory, "factory:package.module:Name"),
    "proxy": (proxy, "proxy:ENDPOINT"),
    "passthrough": (passthrough, "passthrough:ENDPOINT"),
    "exec": (program, "exec:/path/program ARGS"),
}


def handler_from_string(
    reactor: Any, description: str, settings: Settings | None = None, *, wrote: str = "--handler"
) -> IProtocolFactory:
    """
    The factory that a handler string asks for.

    @param reactor: the reactor that it will run on
    @param description: such as `call:app:do_something`
    @param settings: the limits and deadlines that hold for it
    @param wrote: how the user wrote the key, for errors
    @raise ConfigurationError: one line, which names what was wrong
    """
    prefix, _, argument = description.partition(":")
    try:
        if prefix in BUILT_IN:
            parse, _ = BUILT_IN[prefix]
            return parse(reactor, argument, settings or Settings())
        return _of_plugin(reactor, prefix, argument)
    except ConfigurationError as error:
        between = " " if wrote.startswith("--") else "="
        raise ConfigurationError(without_password(f"{wrote}{between}{description}: {error}")) from None


def _of_plugin(reactor: Any, prefix: str, argument: str) -> IProtocolFactory:
    plugins = {plugin.prefix: plugin for plugin in getPlugins(IHandlerParser)}
    if prefix not in plugins:
        raise ConfigurationError(f"there is no handler {prefix!r}{nearest(prefix, [*BUILT_IN, *plugins])}")
    made: IProtocolFactory = plugins[prefix].parseHandler(reactor, argument)
    return made
