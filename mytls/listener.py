"""A listener: accepts connections, knows which are open, ends them when the service stops."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorTime

from mytls.addresses import address_text
from mytls.connection import ServerConnection
from mytls.errors import Cause, TLSFailure
from mytls.events import Observers, Refused
from mytls.guards.deadlines import Deadline
from mytls.guards.sources import Sources
from mytls.hosts import Hosts
from mytls.review import Review, Reviewed
from mytls.settings import Deadlines

_numbers = count(1)


def turned_away(address: IAddress | None, sources: Sources, listener: str, observers: Observers) -> bool:
    """Whether who connects from there is refused; observers are told."""
    refusal = sources.refusal(address)
    if refusal is None:
        return False
    observers.tell(
        Refused(
            connection=next(_numbers),
            listener=listener,
            address=address_text(address),
            cause=Cause.FROM,
            detail=refusal,
        )
    )
    return True


class TurnedAway(protocol.Protocol):
    """Closes at once. A factory that wraps another's has no place for none at all."""

    def connectionMade(self) -> None:
        """Accepted by the port, and by nobody else."""
        assert self.transport is not None
        self.transport.loseConnection()


class TLSFactory(protocol.Factory):
    """
    Makes a TLS connection of each that the port below accepts.

    @ivar hosts: whom its clients meet, each with a handler; the handlers are started and stopped with this factory
    """

    noisy = False

    def __init__(
        self,
        hosts: Hosts,
        handler: IProtocolFactory,
        clock: IReactorTime,
        deadlines: Deadlines,
        observers: Observers,
    ) -> None:
        """@param handler: the handler of those hosts that have none of their own"""
        self._handler = handler
        self.hosts = hosts.handled_by(lambda host: handler)
        self.clock = clock
        self.handshake = Deadline(clock, deadlines.handshake)
        self.close = Deadline(clock, deadlines.close)
        self.policy = Deadline(clock, deadlines.policy)
        self.observers = observers
        self.name = "unknown"
        self._cuts = Deadline(clock, deadlines.close + 1)
        self._open: set[ServerConnection] = set()
        self._all_closed: list[Deferred[None]] = []

    def listening_on(self, port: IListeningPort) -> None:
        """Take the name of the port that accepts for this factory."""
        self.name = address_text(port.getHost())

    def buildProtocol(self, addr: IAddress | None) -> protocol.Protocol:
        """A connection was accepted."""
        passed_on = self.hosts.proxies.trusted(addr)
        if not passed_on and turned_away(addr, self.hosts.sources, self.name, self.observers):
            return TurnedAway()
        prelude = self.hosts.prelude
        dialogue = None if prelude is None else prelude.dialogue()
        return ServerConnection(self, addr, passed_on=passed_on, dialogue=dialogue)

    def swap(self, hosts: Hosts) -> None:
        """
        From now on clients meet these. Connections that are there, and handshakes under way, keep what they have; but
        who is in the middle of a handshake has to be let in by these as well.
        """
        old, self.hosts = self.hosts, hosts.handled_by(lambda host: self._handler)
        asked = {id(policy) for policy in self.hosts.policies}
        for policy in old.policies:
            if id(policy) not in asked:
                policy.stop()
        if not self.numPorts:
            return
        before, after = ({id(each): each for each in those.handlers} for those in (old, self.hosts))
        for key, handler in after.items():
            if key not in before:
                handler.doStart()
        for key, handler in before.items():
            if key not in after:
                handler.doStop()

    def review(self, close: bool) -> Deferred[Reviewed]:
        """
        After a swap: find the connections of clients who may not enter any more.

        @param close: whether they are ended, and cut a second after the close deadline; else they are left
        @return: fires with how many there are
        """
        review: Review[ServerConnection] = Review(self.hosts, self.clock, self.policy.seconds)
        return review.run(self._open, self._shut if close else lambda connection, failure: None)

    def _shut(self, connection: ServerConnection, failure: TLSFailure) -> None:
        self._cuts.start(connection, connection.abort)
        connection.shut(failure)

    def opened(self, connection: ServerConnection) -> int:
        """Count it as open. @return: its number"""
        self._open.add(connection)
        return next(_numbers)

    def closed(self, connection: ServerConnection) -> None:
        """It is gone."""
        self._open.discard(connection)
        self._cuts.stop(connection)
        if not self._open:
            waiting, self._all_closed = self._all_closed, []
            for each in waiting:
                each.callback(None)

    def end_connections(self) -> Deferred[None]:
        """Finish with each client; cut whoever is left a second after the close deadline. Fires when none is open."""
        done: Deferred[None] = Deferred()
        if not self._open:
            done.callback(None)
            return done
        self._all_closed.append(done)
        for connection in tuple(self._open):
            connection.end()
        cut = self.clock.callLater(self.close.seconds + 1, self._cut)
        return done.addCallback(lambda _: cut.cancel() if cut.active() else None)

    def _cut(self) -> None:
        for connection in tuple(self._open):
            connection.abort()

    def doStart(self) -> None:
        """The port listens."""
        super().doStart()
        for handler in self.hosts.handlers:
            handler.doStart()

    def doStop(self) -> None:
        """The port does not listen any more."""
        for handler in self.hosts.handlers:
            handler.doStop()
        for policy in self.hosts.policies:
            policy.stop()
        super().doStop()

    def logPrefix(self) -> str:
        """Twisted's log names the handler, as its own TLS does."""
        inner: Any = self._handler
        return f"{inner.logPrefix() if hasattr(inner, 'logPrefix') else type(inner).__name__} (TLS)"
