"""
How many may be there at the same time, and how many may come each second.

    door.refusal(address)            # at accept, before anything else: why not, or None
    place = door.enter(address)      # it is there, and counts, until
    place.leave()                    # it is gone

What is asked of one address is asked first, so that one that comes too often takes nothing of what is for all. Who
comes beyond a limit for all is refused, or waits in the system's queue: then the door's port accepts nobody until
there is room again.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from mytls.errors import Cause, TLSFailure
from mytls.guards.buckets import Bucket
from mytls.guards.descriptors import Budget
from mytls.guards.visitors import Visitor, Visitors, key_of
from mytls.settings import Limits

_log = Logger()

#: Seconds between two lines about the same trouble.
_QUIET = 1.0


@attrs.frozen
class Refusal:
    """
    Why somebody may not come.

    @ivar full: whether nobody may
    """

    cause: Cause
    detail: str
    full: bool = False


class Accepts(Protocol):
    """What accepts for a door."""

    def look(self) -> None:
        """There may be room again."""


class Room:
    """
    What all doors have in common.

    @ivar limits: what holds now; can be set at any time
    @ivar budget: what connections may have of the process's descriptors
    @ivar open: how many connections there are
    @ivar handshaking: how many of them have not finished their handshake
    @ivar paused: whether nobody is to be accepted, however much room there is
    """

    def __init__(self, clock: IReactorTime, limits: Limits | None = None, budget: Budget | None = None) -> None:
        self.clock = clock
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.open = 0
        self.handshaking = 0
        self.paused = False
        self._descriptors = 0
        self._accepts = Bucket(clock.seconds(), self.limits.accepts_per_second)
        self._handshakes = Bucket(clock.seconds(), self.limits.handshakes_per_second)
        self._visitors = Visitors()
        self._shut: dict[Accepts, None] = {}
        self._timer: IDelayedCall | None = None
        self._complained = -_QUIET

    def refusal(self, address: IAddress | None, descriptors: int) -> Refusal | None:
        """Why one more may not come. @param descriptors: how many it needs"""
        limits = self.limits
        if limits.max_connections_per_address or limits.accepts_per_second_per_address:
            found = self.refusal_of(address)
            if found is not None:
                return found
        found = self.full(descriptors)
        if found is None and limits.accepts_per_second:
            self._accepts.take(self.clock.seconds(), limits.accepts_per_second)
        return found

    def refusal_of(self, address: IAddress | None) -> Refusal | None:
        """Why one more may not come from there."""
        limits, now, key = self.limits, self.clock.seconds(), key_of(address)
        if key is None:
            return None
        visitor = self._visit(key, now)
        most, rate = limits.max_connections_per_address, limits.accepts_per_second_per_address
        if rate and not visitor.accepts.take(now, rate):
            which = "limits.accepts-per-second-per-address"
            return Refusal(Cause.RATE, f"too many connections a second of {visitor.key}, and {which} is {rate}")
        if most and visitor.open >= most:
            there = _there(visitor.open, f" of {visitor.key}")
            return Refusal(Cause.LIMIT, f"{there}, and limits.max-connections-per-address is {most}")
        return None

    def full(self, descriptors: int) -> Refusal | None:
        """Why nobody may come now, whoever it is. @param descriptors: how many one would need"""
        limits = self.limits
        if limits.max_connections and self.open >= limits.max_connections:
            return _full(f"{_there(self.open)}, and limits.max-connections is {limits.max_connections}")
        if self.budget.most and self._descriptors + descriptors > self.budget.most:
            return _full(f"too many open files: {_there(self.open)}, of {self.budget.limit} files")
        if limits.max_handshakes and self.handshaking >= limits.max_handshakes:
            under_way = "1 handshake is" if self.handshaking == 1 else f"{self.handshaking} handshakes are"
            return _full(f"{under_way} under way, and limits.max-handshakes is {limits.max_handshakes}")
        if limits.accepts_per_second and self._accepts.wait(self.clock.seconds(), limits.accepts_per_second):
            said = f"too many connections a second, and limits.accepts-per-second is {limits.accepts_per_second}"
            return _full(said, Cause.RATE)
        return None

    def begin_handshake(self, visitor: Visitor | None) -> None:
        """A ClientHello has come. @raise TLSFailure: too many have"""
        limits, now = self.limits, self.clock.seconds()
        rate = limits.handshakes_per_second_per_address
        if rate and visitor is not None and not visitor.handshakes.take(now, rate):
            which = "limits.handshakes-per-second-per-address"
            raise TLSFailure(Cause.RATE, f"too many handshakes a second of {visitor.key}, and {which} is {rate}")
        rate = limits.handshakes_per_second
        if rate and not self._handshakes.take(now, rate):
            said = f"too many handshakes a second, and limits.handshakes-per-second is {rate}"
            raise TLSFailure(Cause.RATE, said)

    def enter(self, address: IAddress | None, descriptors: int) -> Visitor | None:
        """One more is there. @return: what counts those of its address, where that is bounded"""
        self.open += 1
        self.handshaking += 1
        self._descriptors += descriptors
        return self.visitor_of(address)

    def visitor_of(self, address: IAddress | None) -> Visitor | None:
        """Who it is, where that makes a difference; it has one connection more."""
        limits = self.limits
        if not (
            limits.max_connections_per_address
            or limits.accepts_per_second_per_address
            or limits.handshakes_per_second_per_address
        ):
            return None
        key = key_of(address)
        visitor = None if key is None else self._visit(key, self.clock.seconds())
        if visitor is not None:
            visitor.open += 1
        return visitor

    def leave(self, descriptors: int) -> None:
        """One is gone."""
        self.open -= 1
        self._descriptors -= descriptors
        self.look()

    def met(self) -> None:
        """A handshake has ended, one way or the other."""
        self.handshaking -= 1
        if self._shut:
            self.look()

    def wait(self, who: Accepts) -> None:
        """Tell it when there may be room."""
        self._shut[who] = None
        rate = self.limits.accepts_per_second
        seconds = self._accepts.wait(self.clock.seconds(), rate) if rate else 0
        if seconds and self._timer is None:
            self._timer = self.clock.callLater(seconds, self._rang)

    def look(self) -> None:
        """There may be room for those who wait."""
        if self._shut:
            waiting, self._shut = self._shut, {}
            for each in waiting:
                each.look()

    def complain(self, line: str) -> None:
        """Log it, but for what is said again and again."""
        now = self.clock.seconds()
        if now - self._complained >= _QUIET:
            self._complained = now
            _log.warn("{line}", line=line)

    def _rang(self) -> None:
        self._timer = None
        self.look()

    def _visit(self, key: str, now: float) -> Visitor:
        limits = self.limits
        rates = limits.accepts_per_second_per_address, limits.handshakes_per_second_per_address
        return self._visitors.visit(key, now, *rates)


def _there(count: int, of_whom: str = "") -> str:
    return f"1 connection{of_whom} is there" if count == 1 else f"{count} connections{of_whom} are there"


def _full(detail: str, cause: Cause = Cause.LIMIT) -> Refusal:
    return Refusal(cause, detail, full=True)


class Door:
    """
    Where the connections of one listener come in.

    @ivar most: how many it may have; 0 is no limit of its own
    @ivar at_limit: `refuse` or `wait` where these are there; None as for all
    @ivar descriptors: how many each of its connections needs
    @ivar open: how many it has
    """

    def __init__(self, room: Room, most: int = 0, at_limit: str | None = None) -> None:
        self.room = room
        self.most = most
        self.at_limit = at_limit
        self.descriptors = 1
        self.open = 0

    def shut(self) -> Refusal | None:
        """Why nobody is to be accepted now: who comes waits until there is room."""
        limits = self.room.limits
        if self.most and (self.at_limit or limits.at_limit) == "wait":
            own = self._own_refusal()
            if own is not None:
                return own
        return self.room.full(self.descriptors) if limits.at_limit == "wait" else None

    def refusal(self, address: IAddress | None) -> Refusal | None:
        """
        Why somebody who has connected is turned away.

        @param address: whose it counts as; None where that is not known yet
        """
        return self._own_refusal() or self.room.refusal(address, self.descriptors)

    def _own_refusal(self) -> Refusal | None:
        if self.most and self.open >= self.most:
            return _full(f"{_there(self.open, ' of this listener')}, and its max-connections is {self.most}")
        return None

    def enter(self, address: IAddress | None) -> Place:
        """It is there. @param address: as in C{refusal}"""
        return Place(self, address)


class Place:
    """What one connection takes up."""

    __slots__ = ("_descriptors", "_door", "_handshaking", "_visitor")

    def __init__(self, door: Door, address: IAddress | None) -> None:
        self._door = door
        self._descriptors = door.descriptors
        self._handshaking = True
        self._visitor = door.room.enter(address, self._descriptors)
        door.open += 1

    def belongs_to(self, address: IAddress | None) -> None:
        """Only now it is known whose it is. @raise TLSFailure: there are too many of that address"""
        room = self._door.room
        if room.limits.max_connections_per_address or room.limits.accepts_per_second_per_address:
            refusal = room.refusal_of(address)
            if refusal is not None:
                raise TLSFailure(refusal.cause, refusal.detail)
        self._visitor = room.visitor_of(address)

    def begin_handshake(self) -> None:
        """@raise TLSFailure: too many are begun"""
        self._door.room.begin_handshake(self._visitor)

    def met(self) -> None:
        """Its handshake is over."""
        if self._handshaking:
            self._handshaking = False
            self._door.room.met()

    def leave(self) -> None:
        """It is gone."""
        self.met()
        if self._visitor is not None:
            self._visitor.open -= 1
        self._door.open -= 1
        self._door.room.leave(self._descriptors)
