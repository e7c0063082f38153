"""Whether an HTTP address answers 200."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mytls.handlers.backends import NotWell
from mytls.handlers.places import Preamble


def answered(reactor: Any, address: str, seconds: float, preamble: Preamble) -> Deferred[None]:
    """
    Fires when an address has answered 200.

    @param seconds: how long that may take; 0 is as long as it does
    @param preamble: what is said ahead of the request
    """
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, seconds or None, preamble))
    asked: Deferred[Any] = agent.request(b"GET", address.encode("ascii"))
    if seconds:
        asked.addTimeout(seconds, reactor, lambda _, after: Failure(NotWell(f"no answer within {after:g} s")))
    return asked.addCallback(_check_answer)


def _check_answer(response: Any) -> None:
    response.deliverBody(_Unwanted())
    if response.code != 200:
        raise NotWell(f"it answered {response.code}, and not 200")


class _Unwanted(Protocol):
    """The body of an answer that is known already."""

    transport: Any

    def connectionMade(self) -> None:
        """Where it has ended already there is nothing to close."""
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IAgentEndpointFactory)
@attrs.frozen(eq=False)
class _Endpoints:
    """Connects an agent."""

    reactor: Any
    seconds: float | None
    preamble: Preamble

    def endpointForURI(self, uri: URI) -> _Announced:
        """See C{IAgentEndpointFactory}."""
        within: Any = self.seconds  # None is for ever, which Twisted takes, and does not say so
        return _Announced(HostnameEndpoint(self.reactor, uri.host, uri.port, within), self.preamble)


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class _Announced:
    """Says something first; the agent's own protocol says nothing before it is asked to."""

    endpoint: IStreamClientEndpoint
    preamble: Preamble

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        return self.endpoint.connect(protocolFactory).addCallback(self._announce)

    def _announce(self, protocol: Any) -> IProtocol:
        first = self.preamble(protocol.transport)
        if first:
            protocol.transport.write(first)
        return protocol  # type: ignore[no-any-return]
