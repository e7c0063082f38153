"""What is known of the addresses that connections come from: a table that no stranger can make grow without bound."""

from __future__ import annotations

import ipaddress

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from mytls.guards.board import ALONE, Count, Counts
from mytls.guards.buckets import FULL_AFTER

#: How many addresses are told apart.
MOST = 100_000
#: How many of the oldest are looked at when room for another is wanted.
_LOOKED_AT = 8
#: An IPv6 address counts by what is the same for one customer of a provider (RFC 6177 section 2).
_HOST_BITS = 64


def key_of(address: IAddress | None) -> str | None:
    """
    What an address counts as: an IPv4 address, also where an IPv6 socket has it (RFC 4291 section 2.5.5.2), or a /64
    of IPv6. None for who has no IP address: limits by address are not for them.
    """
    if isinstance(address, IPv4Address):
        return address.host
    if not isinstance(address, IPv6Address):
        return None
    try:
        where = ipaddress.IPv6Address(address.host.partition("%")[0])
    except ValueError:  # an endpoint of another's may say anything
        return address.host
    if where.ipv4_mapped is not None:
        return str(where.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(where) >> _HOST_BITS << _HOST_BITS)}/64"


class Visitor:
    """
    One address.

    @ivar key: as in L{key_of}
    @ivar row: what other processes know of it
    @ivar open: how many connections it has in this process
    @ivar accepts: bounds those that it makes
    @ivar handshakes: bounds those that it begins a handshake in
    @ivar seen: when it has come last
    """

    __slots__ = ("accepts", "handshakes", "key", "open", "row", "seen")

    def __init__(self, key: str, row: Count, now: float, accepts: int, handshakes: int) -> None:
        self.key = key
        self.row = row
        self.open = 0
        self.accepts = row.bucket(0, now, accepts)
        self.handshakes = row.bucket(1, now, handshakes)
        self.seen = now

    def enter(self) -> None:
        """It has one connection more."""
        self.open += 1
        self.row.write(self.open)

    def leave(self) -> None:
        """One is gone."""
        self.open -= 1
        self.row.write(self.open)


class Visitors:
    """
    The addresses, the one that has come last at the end.

    Where the table is full and the oldest all have connections, those who are new count together, as one address.
    """

    def __init__(self, most: int = MOST, counts: Counts = ALONE) -> None:
        """@param counts: where processes count together"""
        self._most = most
        self._counts = counts
        self._known: dict[str, Visitor] = {}
        self._others: Visitor | None = None

    def __len__(self) -> int:
        return len(self._known)

    def visit(self, key: str, now: float, accepts: int, handshakes: int) -> Visitor:
        """Somebody comes from there. @param accepts: how many may come each second; C{handshakes} likewise"""
        found = self._known.pop(key, None)
        if found is None or not (found.open or found.row.kept):
            self._make_room(now)
            row = None if len(self._known) >= self._most else self._counts.row_of(key)
            if row is None:
                return self._one_of_others(now, accepts, handshakes)
            found = Visitor(key, row, now, accepts, handshakes)
        found.seen = now
        self._known[key] = found
        return found

    def _make_room(self, now: float) -> None:
        """Of the oldest those go that it makes no difference for; where the table is full one that has nothing open."""
        for _ in range(_LOOKED_AT if len(self._known) >= self._most else 2):
            oldest = next(iter(self._known.values()), None)
            if oldest is None:
                return
            full = len(self._known) >= self._most
            if not oldest.open and (full or now - oldest.seen > FULL_AFTER):
                del self._known[oldest.key]
            elif full:
                self._known[oldest.key] = self._known.pop(oldest.key)
            else:
                return

    def _one_of_others(self, now: float, accepts: int, handshakes: int) -> Visitor:
        if self._others is None:
            row = self._counts.row("others")
            self._others = Visitor("addresses that are too many to be told apart", row, now, accepts, handshakes)
        return self._others
