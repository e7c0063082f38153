"""`factory:package.module:Name`: a Twisted factory or protocol."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory

from mytls.errors import ConfigurationError
from mytls.handlers.load import load
from mytls.settings import Settings


def factory(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
    """The handler `factory:`: a factory, a class or callable that makes one, or a protocol class."""
    found: Any = load(argument, "factory:package.module:Name")
    if IProtocolFactory.providedBy(found):
        return found
    if isinstance(found, type) and IProtocol.implementedBy(found):
        return Factory.forProtocol(found)  # type: ignore[type-var]  # IProtocol is all that it needs
    if not callable(found):
        raise ConfigurationError(f"expected a factory or a protocol class, not {type(found).__name__}")
    try:
        made: Any = found()
    except BaseException as error:  # the user's code may raise anything, sys.exit too
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"calling it failed: {text}") from None
    if not IProtocolFactory.providedBy(made):
        raise ConfigurationError(f"calling it gave {type(made).__name__}, which is no IProtocolFactory")
    return made
