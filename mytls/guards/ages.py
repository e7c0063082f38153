"""
How long connections may be silent, and how long they may last.

Nothing is done for a byte that comes: each connection is looked at a few times in the length of time that counts, and
its bytes are compared with those of the last look. So a silent one ends a little after its time, and never before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from mytls.errors import Cause, TLSFailure
from mytls.guards.deadlines import Deadline

#: How often a connection is looked at in the time that it may be silent, and in that it may last.
_LOOKS_AT_SILENCE, _LOOKS_AT_LIFE = 8, 40
#: A lifetime is longer or shorter by up to so much of it, the time to the next look included.
_JITTER = 0.1


class Ageing(Hashable, Protocol):
    """A connection."""

    @property
    def moved(self) -> int:
        """A number that is another one when bytes have moved, either way."""

    def finish(self, failure: TLSFailure) -> None:
        """It has to end. @param failure: why"""


class Ages:
    """
    Ends connections that are silent, or too old.

    @ivar idle: seconds that one may be silent; 0 is for ever
    @ivar lifetime: seconds that one may last; 0 is for ever
    """

    def __init__(
        self, clock: IReactorTime, idle: float, lifetime: float, chance: Callable[[], float] = random.random
    ) -> None:
        """@param chance: a number from 0 to 1, another one each time"""
        self._clock = clock
        self._chance = chance
        self._looks = Deadline(clock, 0)
        self._known: dict[Ageing, _Age] = {}
        self.become(idle, lifetime)

    def become(self, idle: float, lifetime: float) -> None:
        """Other lengths of time. The end of those that are there is as it was drawn; who had none has none."""
        self.idle, self.lifetime = idle, lifetime
        wanted = [each for each in (idle / _LOOKS_AT_SILENCE, lifetime / _LOOKS_AT_LIFE) if each]
        self._looks.become(min(wanted, default=0))

    def start(self, connection: Ageing) -> None:
        """From now on it grows old."""
        if self._looks.seconds:
            self._known[connection] = age = _Age(self, connection)
            self._looks.start(connection, age.look)

    def stop(self, connection: Ageing) -> None:
        """It is gone, or its end has begun."""
        if self._known.pop(connection, None) is not None:
            self._looks.stop(connection)

    def now(self) -> float:
        """The clock."""
        return self._clock.seconds()

    def end(self) -> float | None:
        """When a connection of now is too old, at the last look before it is so by all of the jitter."""
        if not self.lifetime:
            return None
        late = 1 / _LOOKS_AT_LIFE
        return self.now() + self.lifetime * (1 - _JITTER + (2 * _JITTER - late) * self._chance())

    def again(self, connection: Ageing, age: _Age) -> None:
        """Look at it once more, later."""
        self._looks.start(connection, age.look)

    def over(self, connection: Ageing, cause: Cause, detail: str) -> None:
        """Its time is over."""
        self.stop(connection)
        connection.finish(TLSFailure(cause, detail))


class _Age:
    """What is known of one connection."""

    __slots__ = ("_ages", "_connection", "_end", "_moved", "_silent_since")

    def __init__(self, ages: Ages, connection: Ageing) -> None:
        self._ages = ages
        self._connection = connection
        self._end = ages.end()
        self._moved = connection.moved
        self._silent_since = ages.now()

    def look(self) -> None:
        """End it, or look again later."""
        ages, now, moved = self._ages, self._ages.now(), self._connection.moved
        if moved != self._moved:
            self._moved, self._silent_since = moved, now
        if self._end is not None and now >= self._end:
            ages.over(self._connection, Cause.LIFETIME, f"it has lasted for its lifetime of {ages.lifetime:g} s")
        elif ages.idle and now - self._silent_since >= ages.idle:
            ages.over(self._connection, Cause.IDLE, f"nothing has moved for {ages.idle:g} s")
        else:
            ages.again(self._connection, self)
