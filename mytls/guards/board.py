"""
What several processes count together: a board in memory that all of them see.

    board = Board.made(columns=16)                      # a parent's; its descriptor is passed on
    column = Board(descriptor).column(3)                # a worker's: nobody else writes there
    row = column.row("open")
    row.claims(own, most)                               # one more, unless all together would be above the limit

A row is what is counted, a column who counts. Each process writes how many it has in its own column of a row, and
what all have is the sum. Who wants one more writes that first and looks then: where the sum is above the limit, it
takes its own back. Two that come at the same time are never both let in; they may both find it full, and so each of
them looks a second time, one after the other, with the row's lock.

A bucket belongs to a row, and all write it, each while it has the row's lock: the kernel's, which it takes from a
process that has died. Nobody waits for one that was stopped with it: after some tries the bucket is written without,
which can lose the token that another takes in the same microseconds, and nothing more.

The rows of addresses are taken by who comes, in groups of L{WAYS}; one that nobody counts in and whose buckets are full
is given to the next. Where a group has none left, who is new in it counts together with all such. Which group an
address is in follows from a hash with a key of this board's, so that no stranger can choose it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Protocol

from mytls.guards.buckets import FULL_AFTER, Bucket

#: How many rows there are for what is configured, and for addresses. Memory that is not written is not taken.
NAMED, ADDRESSES = 4096, 65536
#: How many rows an address may be in.
WAYS = 8
#: How often a lock is tried.
_TRIES = 40
#: The key of the hash, the columns; and how many of these were used. Then the rows: keys, buckets, a column each.
_HEAD = struct.Struct("=16sI")
_DIGEST = 16
#: What each row has of a bucket: how much of it is spent, and when it was so.
_BUCKETS, _BUCKET = 2, struct.Struct("@dd")  # native: each number is written at once
_BUCKETS_OF_ROW = _BUCKETS * _BUCKET.size
_NOBODY = bytes(_DIGEST)
_PAGE = 4096


class Count(Protocol):
    """What is counted of one thing."""

    def write(self, own: int) -> None:
        """So many are this process's."""

    def claims(self, own: int, most: int) -> bool:
        """One more, if all together may have it. @param own: how many this process has without it"""

    def elsewhere(self) -> int:
        """How many other processes have."""

    def bucket(self, which: int, now: float, rate: int) -> Tokens:
        """One of its buckets, full. @param which: 0 or 1"""

    def once(self, now: float, seconds: float) -> bool:
        """Whether nobody has asked this for so long. It uses the first bucket's place."""

    @property
    def kept(self) -> bool:
        """Whether it is for the same still: where nobody counts in it, another may have got it."""


class Tokens(Protocol):
    """See L{Bucket}."""

    def take(self, now: float, rate: int) -> bool:
        """@return: whether there was one to take"""

    def give_back(self, rate: int) -> None:
        """What was taken last was not needed."""

    def wait(self, now: float, rate: int) -> float:
        """How many seconds it takes until there is one; 0 where there is one."""


class Counts(Protocol):
    """Where rows are."""

    #: Whether others count here too.
    shared: bool

    def row(self, name: str) -> Count:
        """What is counted under a name of ours, as long as the process lives."""

    def row_of(self, address: str) -> Count | None:
        """What is counted of an address, as long as somebody does; None where there is no row for it."""


class Alone:
    """Nobody else counts: what this process has is all."""

    shared = False

    def row(self, name: str) -> Count:
        """One like any other."""
        return _ALONE

    def row_of(self, address: str) -> Count:
        """Likewise."""
        return _ALONE


class _OfOne:
    """A row where nobody else counts."""

    __slots__ = ()

    def write(self, own: int) -> None:
        pass

    def claims(self, own: int, most: int) -> bool:
        return own < most

    def elsewhere(self) -> int:
        return 0

    def bucket(self, which: int, now: float, rate: int) -> Tokens:
        return Bucket(now, rate)

    def once(self, now: float, seconds: float) -> bool:
        return True

    @property
    def kept(self) -> bool:
        return True


_ALONE = _OfOne()
ALONE = Alone()


class Board:
    """
    The memory.

    @ivar descriptor: what it is in, for another process to have it too
    @ivar columns: how many processes can count in it
    """

    def __init__(self, descriptor: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        """@param monotonic: as C{time.monotonic}, which is the same for all processes"""
        self.descriptor = descriptor
        self.monotonic = monotonic
        self._memory = mmap.mmap(descriptor, 0)
        self._key, self.columns = _HEAD.unpack_from(self._memory)
        self._used = memoryview(self._memory)[_HEAD.size : _HEAD.size + 4].cast("I")
        self._rows = NAMED + ADDRESSES
        self._keys, self._buckets = _PAGE, _PAGE + self._rows * _DIGEST
        at = self._buckets + self._rows * _BUCKETS_OF_ROW
        self._counts = memoryview(self._memory)[at : at + self._rows * self.columns * 4].cast("I")

    @classmethod
    def made(cls, columns: int, monotonic: Callable[[], float] = time.monotonic) -> Board:
        """A new one. @raise OSError: there is no memory, or no descriptor"""
        descriptor = os.memfd_create("mytls-board")
        os.ftruncate(descriptor, _PAGE + (NAMED + ADDRESSES) * (_DIGEST + _BUCKETS_OF_ROW + columns * 4))
        os.pwrite(descriptor, _HEAD.pack(os.urandom(16), columns), 0)
        return cls(descriptor, monotonic)

    def close(self) -> None:
        """It is not needed here any more."""
        self._counts.release()
        self._used.release()
        self._memory.close()
        os.close(self.descriptor)

    def column(self, number: int) -> Column:
        """One for a process. @param number: from 0 on; no other process has it"""
        self.use(number)
        return Column(self, number)

    def clear(self, number: int) -> None:
        """The process is gone that has counted there."""
        at = number * self._rows
        self._counts[at : at + self._rows] = memoryview(bytes(4 * self._rows)).cast("I")

    def use(self, number: int) -> None:
        """From now on a process counts there. What was never used is not looked at."""
        if number >= self._used[0]:
            self._used[0] = number + 1

    # --- for rows

    def named(self, name: str) -> int:
        """Its row."""
        digest = self._digest(name)
        first = int.from_bytes(digest[:4], "little") % NAMED
        for step in range(NAMED):
            row = (first + step) % NAMED
            with self.locked(row):
                if self._key_of(row) in (digest, _NOBODY):
                    self._take(row, digest)
                    return row
        return first  # as many names as that there are not

    def of_address(self, address: str) -> tuple[int, bytes] | None:
        """Its row, and the key that this has as long as it is that; None where there is none for it."""
        digest = self._digest(address)
        first = NAMED + int.from_bytes(digest[:4], "little") % (ADDRESSES // WAYS) * WAYS
        rows = range(first, first + WAYS)
        for row in rows:
            if self._key_of(row) == digest:
                return row, digest
        with self.locked(first) as locked:
            keys = {self._key_of(row): row for row in reversed(rows)}
            best = [keys[key] for key in (digest, _NOBODY) if key in keys]
            for row in (*best, *filter(self._is_free, rows)) if locked else ():
                self._take(row, digest)
                return row, digest
        return None

    def is_of(self, row: int, digest: bytes) -> bool:
        """Whether a row is still that of an address."""
        return self._key_of(row) == digest

    def total(self, row: int) -> int:
        """What all processes have."""
        return sum(self._counts[row : self._used[0] * self._rows : self._rows])

    def others(self, row: int, column: int) -> int:
        """What all have but the process of that column."""
        return self.total(row) - self.mine(row, column)

    def mine(self, row: int, column: int) -> int:
        """What the process of that column has."""
        return int(self._counts[column * self._rows + row])

    def write(self, row: int, column: int, own: int) -> None:
        """So many are the process's of that column."""
        self._counts[column * self._rows + row] = own

    def spent(self, row: int, which: int) -> tuple[float, float]:
        """What was spent of a bucket, and when that was so."""
        return _BUCKET.unpack_from(self._memory, self._place(row, which))

    def spend(self, row: int, which: int, spent: float, now: float) -> None:
        """From now on it is so much."""
        _BUCKET.pack_into(self._memory, self._place(row, which), spent, now)

    @contextmanager
    def locked(self, row: int) -> Iterator[bool]:
        """While this process alone may write what all do; or not, where somebody holds that for long."""
        held = False
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            except OSError:
                os.sched_yield()  # who has it may wait for this processor
                continue
            held = True
            break
        try:
            yield held
        finally:
            if held:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, row)

    def _digest(self, name: str) -> bytes:
        return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=_DIGEST, key=self._key).digest()

    def _key_of(self, row: int) -> bytes:
        at = self._keys + row * _DIGEST
        return self._memory[at : at + _DIGEST]

    def _place(self, row: int, which: int) -> int:
        return self._buckets + row * _BUCKETS_OF_ROW + which * _BUCKET.size

    def _is_free(self, row: int) -> bool:
        """Nobody has anything there, and none of its buckets would be other than full."""
        now = self.monotonic()
        return self.total(row) == 0 and all(now - self.spent(row, each)[1] >= FULL_AFTER for each in range(_BUCKETS))

    def _take(self, row: int, digest: bytes) -> None:
        if self._key_of(row) == digest:
            return
        for which in range(_BUCKETS):
            self.spend(row, which, 0.0, 0.0)
        at = self._keys + row * _DIGEST
        self._memory[at : at + _DIGEST] = digest


class Columns:
    """Which columns of a board nobody has."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._free = list(range(board.columns))  # a heap

    def take(self) -> Column | None:
        """One for a new process; None where so many are there already."""
        if not self._free:
            return None
        return self._board.column(heappop(self._free))

    def total(self, name: str) -> int:
        """What all processes have of it."""
        return self._board.total(self._board.named(name))

    def give_back(self, column: Column) -> None:
        """The process is gone."""
        self._board.clear(column.number)
        heappush(self._free, column.number)


class Column:
    """Where one process counts."""

    shared = True

    def __init__(self, board: Board, number: int) -> None:
        self.board = board
        self.number = number

    def row(self, name: str) -> Count:
        """What is counted under a name of ours."""
        return _Row(self, self.board.named(name))

    def row_of(self, address: str) -> Count | None:
        """What is counted of an address; None where there is no row for it."""
        found = self.board.of_address(address)
        return None if found is None else _RowOfAddress(self, *found)


class _Row:
    """One row, for who writes in one column."""

    __slots__ = ("_board", "_column", "_row")

    def __init__(self, column: Column, row: int) -> None:
        self._board = column.board
        self._column = column.number
        self._row = row

    def write(self, own: int) -> None:
        self._board.write(self._row, self._column, own)

    def claims(self, own: int, most: int) -> bool:
        if self._board.mine(self._row, self._column) == own + 1:
            return True  # it is ours already, whatever others claim for a moment
        if self._fits(own, most):
            return True
        with self._board.locked(self._row):  # two that have come at the same time have seen each other
            return self._fits(own, most)

    def _fits(self, own: int, most: int) -> bool:
        self._board.write(self._row, self._column, own + 1)  # there long before Python comes to read the others
        if self._board.total(self._row) <= most:
            return True
        self._board.write(self._row, self._column, own)
        return False

    def elsewhere(self) -> int:
        return self._board.others(self._row, self._column)

    def bucket(self, which: int, now: float, rate: int) -> Tokens:
        return _SharedBucket(self, which)

    def once(self, now: float, seconds: float) -> bool:
        board = self._board
        with board.locked(self._row) as locked:
            time_now = board.monotonic()
            if not locked or time_now - board.spent(self._row, 0)[1] < seconds:
                return False
            board.spend(self._row, 0, 0.0, time_now)
            return True

    @property
    def kept(self) -> bool:
        return True

    @property
    def place(self) -> tuple[Board, int]:
        """The board, and which row of it this is."""
        return self._board, self._row


class _RowOfAddress(_Row):
    """One that may go to another address while nobody counts in it."""

    __slots__ = ("_digest",)

    def __init__(self, column: Column, row: int, digest: bytes) -> None:
        super().__init__(column, row)
        self._digest = digest

    @property
    def kept(self) -> bool:
        return self._board.is_of(self._row, self._digest)


class _SharedBucket:
    """A bucket of a row, for all."""

    __slots__ = ("_row", "_which")

    def __init__(self, row: _Row, which: int) -> None:
        self._row = row
        self._which = which

    def take(self, now: float, rate: int) -> bool:
        board, row = self._row.place
        with board.locked(row):
            spent, at = self._spent(board, row, rate)
            if spent + 1 > rate * FULL_AFTER:
                return False
            board.spend(row, self._which, spent + 1, at)
            return True

    def give_back(self, rate: int) -> None:
        board, row = self._row.place
        with board.locked(row):
            spent, at = self._spent(board, row, rate)
            board.spend(row, self._which, max(spent - 1, 0.0), at)

    def wait(self, now: float, rate: int) -> float:
        spent, _ = self._spent(*self._row.place, rate)
        return max(spent + 1 - rate * FULL_AFTER, 0) / rate

    def _spent(self, board: Board, row: int, rate: int) -> tuple[float, float]:
        """What is spent by now, and the time."""
        spent, since = board.spent(row, self._which)
        now = board.monotonic()
        return max(spent - max(now - since, 0) * rate, 0.0), now
