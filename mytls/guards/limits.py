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
from mytls.guards.board import ALONE, Counts
from mytls.guards.descriptors import Budget
from mytls.guards.visitors import Visitor, Visitors, key_of
from mytls.settings import Limits

_log = Logger()

#: Seconds between two lines about the same trouble.
_QUIET = 1.0
#: Seconds between two looks whether another process has made room.
_LOOK = 0.05


@attrs.frozen
class Refusal:
    """
    Why somebody may not come.

    @ivar limit: the key of the limit, where it is one
    @ivar full: whether nobody may
    """

    cause: Cause
    detail: str
    limit: str = ""
    full: bool = False

    @property
    def failure(self) -> TLSFailure:
        """The same, for who has been accepted."""
        return TLSFailure(self.cause, self.detail, limit=self.limit)


class Accepts(Protocol):
    """What accepts for a door."""

    def look(self) -> None:
        """There may be room again."""


class Room:
    """
    What all doors have in common.

    @ivar limits: what holds now; can be set at any time
    @ivar budget: what connections may have of the process's descriptors
    @ivar open: how many connections there are in this process
    @ivar handshaking: how many of them have not finished their handshake
    @ivar counts: where processes count together
    @ivar paused: whether nobody is to be accepted, however much room there is
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits | None = None,
        budget: Budget | None = None,
        counts: Counts = ALONE,
    ) -> None:
        self.clock = clock
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.counts = counts
        self.open = 0
        self.handshaking = 0
        self.paused = False
        self._paid = False  # whether the token is taken already of who is about to come
        self._descriptors = 0
        self._of_open, self._of_handshakes = counts.row("open"), counts.row("handshakes")
        self._of_complaints = counts.row("complaints")
        self._accepts = self._of_open.bucket(0, clock.seconds(), self.limits.accepts_per_second)
        self._handshakes = self._of_handshakes.bucket(0, clock.seconds(), self.limits.handshakes_per_second)
        self._visitors = Visitors(counts=counts)
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
        if found is None:
            self._paid = False
        else:
            self._claimed_by_nobody(address)
        return found

    def refusal_of(self, address: IAddress | None) -> Refusal | None:
        """Why one more may not come from there."""
        limits, now, key = self.limits, self.clock.seconds(), key_of(address)
        if key is None:
            return None
        visitor = self._visit(key, now)
        most, rate = limits.max_connections_per_address, limits.accepts_per_second_per_address
        if rate and not visitor.accepts.take(now, rate):
            said = f"too many connections a second of {visitor.key}"
            return _beyond(said, "accepts-per-second-per-address", rate, Cause.RATE)
        if most and not visitor.row.claims(visitor.open, most):
            there = _there(visitor.open + visitor.row.elsewhere(), f" of {visitor.key}")
            return _beyond(there, "max-connections-per-address", most)
        return None

    def full(self, descriptors: int) -> Refusal | None:
        """
        Why nobody may come now, whoever it is; where somebody may, the place is claimed.

        @param descriptors: how many one would need
        """
        limits = self.limits
        if limits.max_connections and not self._of_open.claims(self.open, limits.max_connections):
            there = _there(self.open + self._of_open.elsewhere())
            return _beyond(there, "max-connections", limits.max_connections, full=True)
        if self.budget.most and self._descriptors + descriptors > self.budget.most:
            said = f"too many open files: {_there(self.open)}, of {self.budget.limit} files"
            return Refusal(Cause.LIMIT, said, "open-files", full=True)
        if limits.max_handshakes and not self._of_handshakes.claims(self.handshaking, limits.max_handshakes):
            there_are = self.handshaking + self._of_handshakes.elsewhere()
            under_way = "1 handshake is" if there_are == 1 else f"{there_are} handshakes are"
            return _beyond(f"{under_way} under way", "max-handshakes", limits.max_handshakes, full=True)
        rate = limits.accepts_per_second
        if rate and not self._paid:
            self._paid = self._accepts.take(self.clock.seconds(), rate)
            if not self._paid:
                return _beyond("too many connections a second", "accepts-per-second", rate, Cause.RATE, full=True)
        return None

    def unclaim(self) -> None:
        """Nobody has come for whom there was a place."""
        if self._paid:
            self._paid = False
            self._accepts.give_back(self.limits.accepts_per_second)
        if self.counts.shared:
            self._of_open.write(self.open)
            self._of_handshakes.write(self.handshaking)

    def _claimed_by_nobody(self, address: IAddress | None) -> None:
        key = key_of(address) if self.counts.shared and self.limits.max_connections_per_address else None
        if key is not None:
            visitor = self._visit(key, self.clock.seconds())
            visitor.row.write(visitor.open)

    def begin_handshake(self, visitor: Visitor | None) -> None:
        """A ClientHello has come. @raise TLSFailure: too many have"""
        limits, now = self.limits, self.clock.seconds()
        rate = limits.handshakes_per_second_per_address
        if rate and visitor is not None and not visitor.handshakes.take(now, rate):
            said = f"too many handshakes a second of {visitor.key}"
            raise _beyond(said, "handshakes-per-second-per-address", rate, Cause.RATE).failure
        rate = limits.handshakes_per_second
        if rate and not self._handshakes.take(now, rate):
            raise _beyond("too many handshakes a second", "handshakes-per-second", rate, Cause.RATE).failure

    def enter(self, address: IAddress | None, descriptors: int) -> Visitor | None:
        """One more is there. @return: what counts those of its address, where that is bounded"""
        self.open += 1
        self._of_open.write(self.open)
        self.handshaking += 1
        self._of_handshakes.write(self.handshaking)
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
            visitor.enter()
        return visitor

    def leave(self, descriptors: int) -> None:
        """One is gone."""
        self.open -= 1
        self._of_open.write(self.open)
        self._descriptors -= descriptors
        self.look()

    def met(self) -> None:
        """A handshake has ended, one way or the other."""
        self.handshaking -= 1
        self._of_handshakes.write(self.handshaking)
        if self._shut:
            self.look()

    def wait(self, who: Accepts) -> None:
        """Tell it when there may be room."""
        self._shut[who] = None
        rate = self.limits.accepts_per_second
        seconds = self._accepts.wait(self.clock.seconds(), rate) if rate else 0.0
        if self.counts.shared:
            seconds = max(seconds, _LOOK)
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
        if now - self._complained >= _QUIET and self._of_complaints.once(now, _QUIET):
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


def _beyond(said: str, limit: str, most: int, cause: Cause = Cause.LIMIT, *, full: bool = False) -> Refusal:
    """@param limit: the key of it; C{most} is what it is"""
    return Refusal(cause, f"{said}, and limits.{limit} is {most}", limit, full)


class Door:
    """
    Where the connections of one listener come in.

    @ivar most: how many it may have; 0 is no limit of its own
    @ivar at_limit: `refuse` or `wait` where these are there; None as for all
    @ivar descriptors: how many each of its connections needs
    @ivar open: how many it has
    """

    def __init__(self, room: Room, most: int = 0, at_limit: str | None = None, name: str = "") -> None:
        """@param name: which listener it is, for other processes that have it too"""
        self.room = room
        self.most = most
        self.at_limit = at_limit
        self.descriptors = 1
        self.open = 0
        self._row = room.counts.row(f"at {name}")

    def shut(self) -> Refusal | None:
        """Why nobody is to be accepted now: who comes waits until there is room."""
        limits, found = self.room.limits, None
        if self.most and (self.at_limit or limits.at_limit) == "wait":
            found = self._own_refusal()
        if found is None and limits.at_limit == "wait":
            found = self.room.full(self.descriptors)
        if found is not None:
            self.unclaim()
        return found

    def unclaim(self) -> None:
        """Nobody has come for whom there was a place."""
        self._row.write(self.open)
        self.room.unclaim()

    def refusal(self, address: IAddress | None) -> Refusal | None:
        """
        Why somebody who has connected is turned away.

        @param address: whose it counts as; None where that is not known yet
        """
        found = self._own_refusal() or self.room.refusal(address, self.descriptors)
        if found is not None:
            self.unclaim()
        return found

    def _own_refusal(self) -> Refusal | None:
        if self.most and not self._row.claims(self.open, self.most):
            there = _there(self.open + self._row.elsewhere(), " of this listener")
            said = f"{there}, and its max-connections is {self.most}"
            return Refusal(Cause.LIMIT, said, "listener-max-connections", full=True)
        return None

    def entered(self, more: int) -> None:
        """So many have come, or gone."""
        self.open += more
        self._row.write(self.open)

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
        door.entered(1)

    def belongs_to(self, address: IAddress | None) -> None:
        """Only now it is known whose it is. @raise TLSFailure: there are too many of that address"""
        room = self._door.room
        if room.limits.max_connections_per_address or room.limits.accepts_per_second_per_address:
            refusal = room.refusal_of(address)
            if refusal is not None:
                raise refusal.failure
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
            self._visitor.leave()
        self._door.entered(-1)
        self._door.room.leave(self._descriptors)
