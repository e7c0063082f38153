"""
What a worker has from its parent: which of how many it is, the sockets, and the way to speak to it.

The sockets are passed on as systemd passes them (sd_listen_fds(3)): C{LISTEN_FDS} of them, from descriptor 3 on, with
their names in C{LISTEN_FDNAMES}. The parent's own come first, where systemd has started it, so that C{systemd:} finds
them at the same index.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence

import attrs

from mytls.guards.board import Board, Column
from mytls.workers.sharing import FIRST, adopted_name, is_ours

_WORKER, _WORKERS, _CHANNEL, _NAMES = "MYTLS_WORKER", "MYTLS_WORKERS", "MYTLS_CHANNEL", "LISTEN_FDNAMES"
_COUNT, _PID = "LISTEN_FDS", "LISTEN_PID"
#: The descriptor of what all workers count on, and which column is this one's.
_BOARD = "MYTLS_BOARD"
#: What a successor has from its predecessor: that one's version and process, and two descriptors.
_SUCCESSOR = "MYTLS_SUCCEEDS"
#: What stands in place of a socket of systemd's that is not served.
NOTHING = "nothing"


@attrs.frozen
class Seat:
    """
    The place of a worker.

    @ivar number: which it is, from 1 on
    @ivar workers: how many there are
    @ivar channel: the descriptor of the socket to the parent
    @ivar sockets: the descriptors of listening sockets, by their names
    @ivar counts: where all workers count together; None where there was no room for this one
    """

    number: int
    workers: int
    channel: int
    sockets: Mapping[str, int]
    counts: Column | None = None

    @classmethod
    def taken(cls, environ: MutableMapping[str, str]) -> Seat | None:
        """
        The seat that this process was given; None where it is nobody's worker. Its own children hear nothing of it.

        @param environ: C{os.environ}
        """
        if _WORKER not in environ:
            return None
        number, workers, channel = (int(environ.pop(each)) for each in (_WORKER, _WORKERS, _CHANNEL))
        names = [each for each in environ.pop(_NAMES, "").split(":") if each]
        sockets: dict[str, int] = {}
        for descriptor, name in enumerate(names, FIRST):
            os.set_inheritable(descriptor, False)
            if name != NOTHING:
                sockets[name if is_ours(name) else adopted_name(descriptor)] = descriptor
        os.set_inheritable(channel, False)
        return cls(number, workers, channel, sockets, _column(environ.pop(_BOARD, "")))


def _column(said: str) -> Column | None:
    """@param said: the descriptor of the board, and the number of the column"""
    if not said:
        return None
    descriptor, number = map(int, said.split(":"))
    os.set_inheritable(descriptor, False)
    return Board(descriptor).column(number)


@attrs.frozen
class Passed:
    """
    What a worker is started with.

    @ivar environ: of its environment what tells of it
    @ivar descriptors: descriptors of the parent, by what they are in the worker
    """

    environ: Mapping[str, str]
    descriptors: Mapping[int, int]

    @classmethod
    def to(
        cls,
        number: int,
        workers: int,
        channel: int,
        sockets: Mapping[str, int],
        of_systemd: Sequence[str],
        nothing: int,
        counts: Column | None = None,
    ) -> Passed:
        """
        Make a seat.

        @param channel: the worker's end of the channel, a descriptor of the parent
        @param sockets: the listening sockets, by their names
        @param of_systemd: the names of those that systemd has passed to the parent
        @param nothing: a descriptor of C{/dev/null}
        @param counts: where it counts
        """
        names, descriptors = passed_on(sockets, of_systemd, nothing)
        last = FIRST + len(names)
        environ = {
            _WORKER: str(number),
            _WORKERS: str(workers),
            _CHANNEL: str(last),
            _COUNT: str(len(names)),
            _NAMES: ":".join(names),
        }
        if counts is None:
            return cls(environ, {**descriptors, last: channel})
        environ[_BOARD] = f"{last + 1}:{counts.number}"
        return cls(environ, {**descriptors, last: channel, last + 1: counts.board.descriptor})


def passed_on(sockets: Mapping[str, int], of_systemd: Sequence[str], nothing: int) -> tuple[list[str], dict[int, int]]:
    """
    How sockets are passed on: each of systemd's has its number again.

    @param sockets: the listening sockets, by their names
    @param of_systemd: the names of those that systemd has passed to this process
    @param nothing: a descriptor of C{/dev/null}
    @return: their names in C{LISTEN_FDNAMES}, and their descriptors by what they are in the other process
    """
    theirs = {adopted_name(at): name for at, name in enumerate(of_systemd, FIRST)}
    order = [*theirs, *(name for name in sockets if name not in theirs)]
    names = [theirs.get(name, name) if name in sockets else NOTHING for name in order]
    return names, {at: sockets.get(name, nothing) for at, name in enumerate(order, FIRST)}


def without_seat(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment that tells of no sockets and no parent."""
    ours = (_WORKER, _WORKERS, _CHANNEL, _BOARD, _SUCCESSOR, _NAMES, _COUNT, _PID)
    return {name: value for name, value in environ.items() if name not in ours}
