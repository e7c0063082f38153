"""
The server endpoint `mytls:`, as a class and as a string.

    endpoint = TLSServerEndpoint(reactor, 8443, CertificateOptions(...))
    endpoint.listen(factory)

    twistd web --listen mytls:8443:privateKey=key.pem:certKey=fullchain.pem
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from mytls.errors import ConfigurationError, nearest
from mytls.events import Observers
from mytls.listener import TLSFactory
from mytls.settings import Deadlines, endpoint_values, split_endpoint
from mytls.sockets import write_at_once
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import connection_maker, server_options

_log = Logger()


@implementer(IStreamServerEndpoint)
class TLSServerEndpoint:
    """
    TLS on a port, a drop-in for C{twisted.internet.endpoints.SSL4ServerEndpoint}.

    @ivar factories: what listens now, for whoever wants to end their connections
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        options: object,
        backlog: int = 50,
        interface: str = "",
        *,
        over: IStreamServerEndpoint | None = None,
        deadlines: Deadlines | None = None,
        observers: Observers | None = None,
    ) -> None:
        """
        @param reactor: provides C{IReactorTCP} and C{IReactorTime}
        @param port: the port; 0 lets the system choose
        @param options: a C{CertificateOptions}, or anything that provides C{IOpenSSLServerConnectionCreator} or
            C{IOpenSSLContextFactory}
        @param backlog: how many connections the system keeps waiting to be accepted
        @param interface: the address to listen on; empty for all IPv4 addresses, `::` for IPv6 and IPv4
        @param over: listen with this endpoint, in place of a TCP port
        @param deadlines: how long clients may take
        @param observers: who is told what happens
        @raise TypeError: C{options} cannot make connections
        """
        self._reactor = reactor
        self._maker = connection_maker(options)
        self._below = over or TCP4ServerEndpoint(reactor, port, backlog, interface)
        self._deadlines = deadlines or Deadlines()
        self._observers = observers or Observers()
        self.factories: list[TLSFactory] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; each connection's protocol is connected when its handshake is done."""
        factory = TLSFactory(self._maker, protocolFactory, self._reactor, self._deadlines, self._observers)
        return self._below.listen(factory).addCallback(self._listening, factory)

    def _listening(self, port: IListeningPort, factory: TLSFactory) -> IListeningPort:
        write_at_once(port)
        factory.listening_on(port)
        self.factories.append(factory)
        return port


def endpoint_from_words(
    reactor: Any,
    prefix: str,
    arguments: tuple[str, ...],
    words: dict[str, str],
    deadlines: Deadlines | None = None,
    observers: Observers | None = None,
) -> TLSServerEndpoint:
    """
    The endpoint that the words of an `ssl:` or `mytls:` string ask for. A certificate out of its time is warned of.

    @raise ConfigurationError: one line, which names the word that was wrong
    """
    values = endpoint_values(prefix, arguments, words)
    key = values.get("privateKey", "server.pem")
    pair = KeyPair.from_files(key, values.get("certKey", key), values.get("extraCertChain"))
    warning = pair.expiry_warning(datetime.datetime.now(datetime.UTC))
    if warning:
        _log.warn("{file}: {trouble}", file=values.get("certKey", key), trouble=warning)
    options = server_options(pair, values.get("sslmethod"), values.get("dhParameters"))
    return TLSServerEndpoint(
        reactor,
        values.get("port", 0),
        options,
        values.get("backlog", 50),
        values.get("interface", ""),
        over=plain_endpoint(reactor, values["over"]) if "over" in values else None,
        deadlines=deadlines,
        observers=observers,
    )


#: The prefixes of Twisted's own server endpoints, and the words that they know.
_STOCK_PREFIXES = ("ssl", "mytls", "tcp", "tcp6", "unix", "systemd", "stdio", "haproxy", "tls")
_STOCK_WORDS = (
    "port", "interface", "backlog", "address", "mode", "lockfile", "domain", "index", "name", "privateKey", "certKey",
    "sslmethod", "extraCertChain", "dhParameters",
)  # fmt: skip


def plain_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Any other server endpoint string, as Twisted reads it.

    @raise ConfigurationError: Twisted cannot read it
    """
    words, _ = split_endpoint(description)
    if not words:
        raise ConfigurationError("the endpoint type has to stand first, as in tcp:8080")
    try:
        return serverFromString(reactor, description)  # type: ignore[no-any-return]
    except ConfigurationError:
        raise
    except Exception as error:  # each parser has errors of its own
        raise ConfigurationError(_plainly(words[0], error)) from None


_A_COLON = "a colon in a value is written \\:"
#: What Twisted's parsers raise, and what it is for whoever typed the string: his prefix, and what the text quotes.
_PLAINLY: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    (
        r"^Unknown endpoint type: '(.*)'$",
        lambda prefix, said: f"there is no endpoint type {said!r}{nearest(said, _STOCK_PREFIXES)}",
    ),
    (
        r"unexpected keyword argument '(.*?)'",
        lambda prefix, said: f"{said}= is no word of {prefix}:{nearest(said, _STOCK_WORDS)}",
    ),
    (r"missing \d+ required positional arguments?: (.*)", lambda prefix, said: f"{prefix}: needs {said}"),
    (r"multiple values for argument '(.*?)'", lambda prefix, said: f"{said} is said twice; {_A_COLON}"),
    (r"positional arguments? but (\d+) were given", lambda prefix, said: f"too many words for {prefix}:; {_A_COLON}"),
    (r"invalid literal for int\(\) with base 8: (.*)", lambda prefix, said: f"{said} is not an octal number"),
    (r"invalid literal for int\(\) with base \d+: (.*)", lambda prefix, said: f"{said} is not a number"),
    (
        r"module 'socket' has no attribute 'AF_(.*?)'",
        lambda prefix, said: f"domain={said}: no such domain{nearest(said, ('INET', 'INET6', 'UNIX'))}",
    ),
)


def _plainly(prefix: str, error: Exception) -> str:
    if prefix == "systemd" and isinstance(error, LookupError):
        return "systemd has passed us no socket of that index or name"
    text = " ".join(str(error).split()) or type(error).__name__
    for pattern, say in _PLAINLY:
        found = re.search(pattern, text)
        if found is not None:
            return say(prefix, found[1])
    return text
