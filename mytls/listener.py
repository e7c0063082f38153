"""A listener: accepts connections, knows which are open, ends them when the service stops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorTime

from mytls.accepting import TurnedAway as TurnedAway
from mytls.addresses import address_text
from mytls.connection import ServerConnection
from mytls.errors import Cause, TLSFailure
from mytls.events import Observers, Refused
from mytls.guards.ages import Ages
from mytls.guards.deadlines import Deadline
from mytls.guards.limits import Door, Refusal, Room
from mytls.hints import Circumstances, hint
from mytls.hosts import Hosts
from mytls.logs.tracebacks import Tracebacks
from mytls.review import Review, Reviewed
from mytls.settings import Deadlines

_numbers = count(1)


class TLSFactory(protocol.Factory):
    """
    Makes a TLS connection of each that the port below accepts; or one without TLS, where its hosts have none.

    @ivar draining: whether those that there are shall finish
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
        door: Door | None = None,
    ) -> None:
        """
        @param handler: the handler of those hosts that have none of their own
        @param door: what bounds how many come in; nothing, if left out
        """
        self._handler = handler
        self.door = door or Door(Room(clock))
        self.draining = False
        self._late: set[int] = set()
        self.hosts = self._handled(hosts)
        self.ages = Ages(clock, deadlines.idle, deadlines.lifetime)
        self.clock = clock
        self.handshake = Deadline(clock, deadlines.handshake)
        self.close = Deadline(clock, deadlines.close)
        self.policy = Deadline(clock, deadlines.policy)
        self.observers = observers
        self.tracebacks = Tracebacks(clock, observers.repeats)
        self.name = "unknown"
        self._last_words = Deadline(clock, deadlines.close)
        self._cuts = Deadline(clock, deadlines.close + 1)
        self._open: set[ServerConnection] = set()
        self._ending: set[ServerConnection] = set()
        self._all_closed: list[Callable[[], object]] = []

    def listening_on(self, port: IListeningPort) -> None:
        """Take the name of the port that accepts for this factory."""
        self.name = address_text(port.getHost())

    def buildProtocol(self, addr: IAddress | None) -> protocol.Protocol:
        """A connection was accepted. Who is refused costs no more than that."""
        passed_on = self.hosts.proxies.trusted(addr)
        refusal = self._refusal(addr, passed_on)
        if refusal is not None:
            self._tell_refused(addr, refusal)
            return TurnedAway()
        prelude = self.hosts.prelude
        dialogue = None if prelude is None else prelude.dialogue()
        return ServerConnection(self, addr, passed_on=passed_on, dialogue=dialogue)

    def swap(self, hosts: Hosts) -> None:
        """
        From now on clients meet these. Connections that are there, and handshakes under way, keep what they have; but
        who is in the middle of a handshake has to be let in by these as well.
        """
        old, self.hosts = self.hosts, self._handled(hosts)
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

    def become(self, deadlines: Deadlines) -> None:
        """Others than before, also for the waits that have begun; the lifetime of who is there is as it was drawn."""
        self.ages.become(deadlines.idle, deadlines.lifetime)
        self.handshake.become(deadlines.handshake)
        self.policy.become(deadlines.policy)
        self.close.become(deadlines.close)
        self._last_words.become(deadlines.close)
        self._cuts.become(deadlines.close + 1)

    def review(self, close: bool) -> Deferred[Reviewed]:
        """
        After a swap: find the connections of clients who may not enter any more.

        @param close: whether they are ended, and cut a second after the close deadline; else they are left
        @return: fires with how many there are
        """
        review: Review[ServerConnection] = Review(self.hosts, self.clock, self.policy.seconds)
        return review.run(self._open, self._shut if close else lambda connection, failure: None)

    def _shut(self, connection: ServerConnection, failure: TLSFailure) -> None:
        self.ends(connection)
        connection.shut(failure)

    @property
    def connections(self) -> tuple[ServerConnection, ...]:
        """Those that are open."""
        return tuple(self._open)

    def ends(self, connection: ServerConnection) -> None:
        """
        It has begun to end by our doing: close it at the close deadline, and cut it a second after that. Who has begun
        before has no more time for another reason.
        """
        self.ages.stop(connection)
        if connection not in self._ending:
            self._ending.add(connection)
            self._last_words.start(connection, connection.expire)
            self._cuts.start(connection, connection.abort)

    def opened(self, connection: ServerConnection) -> int:
        """Count it as open. @return: its number"""
        self._open.add(connection)
        return next(_numbers)

    def closed(self, connection: ServerConnection) -> None:
        """It is gone."""
        self._open.discard(connection)
        self._ending.discard(connection)
        self._last_words.stop(connection)
        self._cuts.stop(connection)
        if not self._open:
            waiting, self._all_closed = self._all_closed, []
            for each in waiting:
                each()

    def drain(self, seconds: float) -> Deferred[int]:
        """
        Whoever is there may finish; who has not after so many seconds is ended.

        @param seconds: 0 is for ever
        @return: fires when no connection is open, with how many have not finished in time
        """
        self.draining = True
        for connection in tuple(self._open):
            connection.drain()
        if not seconds or not self._open:
            return self.emptied()
        timer = self.clock.callLater(seconds, self.end_connections)
        self._when_empty(lambda: timer.cancel() if timer.active() else None)
        return self.emptied()

    def end_connections(self) -> Deferred[int]:
        """
        Finish with each client now; cut whoever is left a second after the close deadline.

        @return: as L{drain}
        """
        self.draining = True
        for connection in tuple(self._open):
            self._not_in_time(connection)
            connection.finish(TLSFailure(Cause.DRAIN, "the service stops"))
        return self.emptied()

    def cut(self) -> None:
        """Drop whoever is there."""
        for connection in tuple(self._open):
            self._not_in_time(connection)
            connection.cut(TLSFailure(Cause.DRAIN, "the service stops at once"))

    def emptied(self) -> Deferred[int]:
        """Fires when no connection is open; see L{drain}."""
        done: Deferred[int] = Deferred()
        self._when_empty(lambda: done.callback(len(self._late)))
        return done

    def _not_in_time(self, connection: ServerConnection) -> None:
        if not connection.finished:
            self._late.add(connection.number)

    def _when_empty(self, call: Callable[[], object]) -> None:
        if self._open:
            self._all_closed.append(call)
        else:
            call()

    def doStart(self) -> None:
        """The port listens."""
        super().doStart()
        self.draining, self._late = False, set()
        for handler in self.hosts.handlers:
            handler.doStart()

    def doStop(self) -> None:
        """The port does not listen any more."""
        for handler in self.hosts.handlers:
            handler.doStop()
        for policy in self.hosts.policies:  # which those who are in their handshake are still to be asked
            self._when_empty(policy.stop)
        super().doStop()

    def _refusal(self, address: IAddress | None, passed_on: bool) -> Refusal | None:
        """Why who connects from there is turned away. @param passed_on: whether it is a proxy, for somebody else"""
        if passed_on:
            return self.door.refusal(None)
        elsewhere = self.hosts.sources.refusal(address)
        return self.door.refusal(address) if elsewhere is None else Refusal(Cause.FROM, elsewhere)

    def _tell_refused(self, address: IAddress | None, refusal: Refusal) -> None:
        self.observers.tell(
            Refused(
                connection=next(_numbers),
                listener=self.name,
                address=address_text(address),
                cause=refusal.cause,
                detail=refusal.detail,
                limit=refusal.limit,
                full=refusal.full,
                hint=hint(Circumstances(refusal.failure)),
            )
        )

    def _handled(self, hosts: Hosts) -> Hosts:
        """With a handler each, for whose connections the door is told how many descriptors they need."""
        made = hosts.handled_by(lambda host: self._handler)
        self.door.descriptors = max((getattr(each, "descriptors", 1) for each in made.handlers), default=1)
        return made

    def logPrefix(self) -> str:
        """Twisted's log names the handler, as its own TLS does."""
        inner: Any = self._handler
        name = inner.logPrefix() if hasattr(inner, "logPrefix") else type(inner).__name__
        return name if self.hosts.plain else f"{name} (TLS)"
