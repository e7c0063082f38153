"""
Whether backends are well, looked at between connections: every few seconds, one look at a time at each.

`tcp` is a dial as a client's is, which over TLS has its handshake too. An `http://` address has to answer 200; a `*`
in the place of its host is the host of each backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mytls.errors import Cause, ConfigurationError
from mytls.handlers.backends import NotWell
from mytls.handlers.dial import Backend, Dial
from mytls.handlers.places import Place, Preamble, host_of, nothing, plainly, port_of
from mytls.kinds import health_check

#: Seconds from the end of one look at a backend to the next.
EVERY = 5.0

#: Looks at a backend: fires when it is well, fails when it is not; ends at once when it is cancelled.
Look = Callable[[int], "Deferred[None]"]
#: Is told what was found; the words are why it is not well, and empty where it is.
Found = Callable[[int, str], None]


def look_for(
    reactor: Any, said: str, places: Sequence[Place], seconds: float, preamble: Preamble = nothing
) -> Look | None:
    """
    How the backends are looked at.

    @param said: the value of `backend-health`: `off`, `tcp`, or an `http://` address
    @param seconds: how long a look may take; 0 is as long as it does
    @param preamble: what a backend hears first; of an address, only where that is the backend's own port
    @return: None where they are not
    @raise ConfigurationError: it is none of these; one line
    """
    if said == "off":
        return None
    if said == "tcp":
        return lambda at: dialled(reactor, places[at], seconds, preamble)
    asked = [(address, preamble if _is_of(address, place) else nothing) for address, place in _addresses(said, places)]

    def ask(at: int) -> Deferred[None]:
        address, first = asked[at]
        return answered(reactor, address, seconds, first)

    return ask


class Checks:
    """Looks at backends again and again, from C{start} to C{stop}."""

    def __init__(self, clock: IReactorTime, count: int, look: Look, found: Found) -> None:
        """@param count: how many backends there are"""
        self._clock = clock
        self._count = count
        self._look = look
        self._found = found
        self._timers: dict[int, IDelayedCall] = {}
        self._looks: dict[int, Deferred[None]] = {}

    def start(self) -> None:
        """Look at each of them now, and then every few seconds."""
        for at in range(self._count):
            self._begin(at)

    def stop(self) -> None:
        """Look no more."""
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()
        looks, self._looks = self._looks, {}
        for look in looks.values():
            look.cancel()

    def _begin(self, at: int) -> None:
        self._timers.pop(at, None)
        self._looks[at] = look = self._look(at)
        look.addCallbacks(lambda _: "", lambda failure: plainly(failure.value)).addCallback(self._seen, at)

    def _seen(self, why: str, at: int) -> None:
        if self._looks.pop(at, None) is None:  # stopped
            return
        self._timers[at] = self._clock.callLater(EVERY, self._begin, at)
        self._found(at, why)


def dialled(clock: IReactorTime, place: Place, seconds: float, preamble: Preamble = nothing) -> Deferred[None]:
    """Fires when a backend has accepted, and is who it should be."""

    def reached(backend: Backend) -> None:
        backend.close()
        done.callback(None)

    def failed(cause: Cause, why: str) -> None:
        done.errback(NotWell(why))

    dial = Dial(clock, place, seconds, reached, failed, preamble)
    done: Deferred[None] = Deferred(lambda _: dial.cancel())
    dial.begin(Backend(clock))
    return done


def answered(reactor: Any, address: str, seconds: float, preamble: Preamble = nothing) -> Deferred[None]:
    """Fires when an address has answered 200."""
    from mytls.handlers import answers  # which is much to import for those who do not use it

    return answers.answered(reactor, address, seconds, preamble)


def _addresses(said: str, places: Sequence[Place]) -> list[tuple[str, Place]]:
    """The address to ask for each backend."""
    parts = urlsplit(health_check(said))
    if parts.hostname != "*":
        return [(said, place) for place in places]
    found = []
    for place in places:
        host = host_of(place.description)
        if host is None:
            trouble = f"{place.description} has no host that could stand for the *"
            raise ConfigurationError(f"backend-health={said}: {trouble}")
        found.append((said.replace("*", f"[{host}]" if ":" in host else host, 1), place))
    return found


def _is_of(address: str, place: Place) -> bool:
    """Whether the address is where the backend itself listens."""
    parts = urlsplit(address)
    host = (host_of(place.description) or "").lower()
    return parts.hostname == host and str(parts.port or 80) == port_of(place.description)
