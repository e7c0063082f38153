"""
After a reload: which of the connections that are there are of clients who may not enter any more.

Each connection knows the host that has let it in. What has not changed since is not decided again: a client whose host
has the same files, settings and policies stays. All others are looked at as if they came now, with the certificate that
they have shown: a few at each turn of the reactor, so that nobody waits for it, and equal certificates of a host once.
Time alone changes nothing here: a certificate that has expired since its handshake counts only where its host is looked
at for another reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import Cause, TLSFailure
from mytls.guards.policy import ask
from mytls.hosts import Host, Hosts
from mytls.peer import Peer

_log = Logger()

#: How many peers the policies are asked about at the same time.
_AT_ONCE = 50
#: Seconds for which policies are asked at most; who has not had his answer by then stays. The next reload waits.
_LONGEST = 30.0
_TOO_LATE = "the policy has not answered in time"
#: The answer where a policy has not had the time that it has for others.
_OUT_OF_TIME = "there was no time left to ask"
_UNKNOWN = "whether it may enter cannot be told"


@attrs.frozen
class Reviewed:
    """
    What was found.

    @ivar out: how many connections are of clients who may not enter any more
    @ivar undecided: how many are of clients about whom there was no time for the policies to decide
    """

    out: int = 0
    undecided: int = 0

    def __add__(self, other: Reviewed) -> Reviewed:
        return Reviewed(self.out + other.out, self.undecided + other.undecided)


_Connection = TypeVar("_Connection", bound="Entered")


class Entered(Protocol):
    """
    A connection.

    @ivar let_in_by: the host that has let its client in last
    """

    let_in_by: Host

    @property
    def entered(self) -> Peer | None:
        """Who is at the other end; None where TLS or the handler is not there yet, or not any more."""

    def host_in(self, hosts: Hosts) -> Host:
        """The host of these that its client would meet now. @raise TLSFailure: there is none"""


class Review(Generic[_Connection]):
    """One look at all connections of a listener."""

    def __init__(self, hosts: Hosts, clock: IReactorTime, patience: float) -> None:
        """
        @param hosts: whom clients meet by now
        @param patience: seconds that a policy may take to answer; 0 is no deadline of its own
        """
        self._hosts = hosts
        self._clock = clock
        self._patience = patience
        self._end = clock.seconds() + _LONGEST
        self._verdicts: dict[object, tuple[Cause, str] | None] = {}
        self._undecided = 0

    def run(
        self, connections: Iterable[_Connection], refused: Callable[[_Connection, TLSFailure], object]
    ) -> Deferred[Reviewed]:
        """
        Look at these.

        @param refused: called with each whose client may not enter any more, and why
        @return: fires with how many these are; never fails
        """
        found: list[_Connection] = []

        def refuse(connection: _Connection, failure: TLSFailure) -> None:
            found.append(connection)
            try:
                refused(connection, failure)
            except Exception:  # a bug of ours: all others are to be looked at
                _log.failure("a connection of a client who may not enter any more could not be ended")

        several = tuple(connections)
        if not several:
            return succeed(Reviewed())
        cooperator = Cooperator(scheduler=lambda step: self._clock.callLater(0, step))
        steps = self._steps(several, refuse)
        done = gatherResults([cooperator.coiterate(steps) for _ in range(_AT_ONCE)], consumeErrors=True)
        return done.addErrback(_bug).addCallback(lambda _: Reviewed(len(found), self._undecided))

    def _steps(
        self, connections: Iterable[_Connection], refuse: Callable[[_Connection, TLSFailure], None]
    ) -> Iterator[Deferred[None] | None]:
        """One step for each connection; a Deferred where somebody has to be waited for."""
        for connection in connections:
            try:
                yield self._look_at(connection, refuse)
            except TLSFailure as failure:
                refuse(connection, failure)
                yield None
            except Exception:  # a bug of ours: who cannot be decided about may not enter
                _log.failure("a connection could not be looked at again")
                refuse(connection, TLSFailure(Cause.NOT_ALLOWED, _UNKNOWN))
                yield None

    def _look_at(
        self, connection: _Connection, refuse: Callable[[_Connection, TLSFailure], None]
    ) -> Deferred[None] | None:
        """@raise TLSFailure: its client may not enter any more"""
        peer = connection.entered
        if peer is None:
            return None
        host, before = connection.host_in(self._hosts), connection.let_in_by
        self._hosts.check_source(host, peer)
        if before.maker is None:  # passed on as it is: where it comes from is all that was looked at
            return None
        if host.digest != before.digest:
            self._check(host, peer)
        if not host.policies or host.policies == before.policies:
            connection.let_in_by = host if host.maker is not None else before  # which tells no two of them apart
            return None
        return self._ask(connection, host, peer, refuse)

    def _check(self, host: Host, peer: Peer) -> None:
        key = id(host), peer.chain
        if key not in self._verdicts:
            self._verdicts[key] = _verdict(host, peer)
        verdict = self._verdicts[key]
        if verdict is not None:
            raise TLSFailure(*verdict)  # a new one: an error that is raised again and again keeps each way that it went

    def _ask(
        self, connection: _Connection, host: Host, peer: Peer, refuse: Callable[[_Connection, TLSFailure], None]
    ) -> Deferred[None] | None:
        left = self._end - self._clock.seconds()
        if left <= 0:
            self._undecided += 1
            return None
        patient = 0 < self._patience <= left
        asked: Deferred[str | None] = ask(host.policies, peer, self._clock)
        asked.addTimeout(
            self._patience if patient else left, self._clock, lambda *_: _TOO_LATE if patient else _OUT_OF_TIME
        )
        told = asked.addCallback(self._answered, connection, host, refuse)
        return told.addErrback(self._cannot_be_told, connection, refuse)

    def _answered(
        self,
        refusal: str | None,
        connection: _Connection,
        host: Host,
        refuse: Callable[[_Connection, TLSFailure], None],
    ) -> None:
        if connection.entered is None:
            return
        if refusal is None:
            connection.let_in_by = host
        elif refusal is _OUT_OF_TIME:
            self._undecided += 1
        else:
            refuse(connection, TLSFailure(Cause.POLICY, refusal))

    def _cannot_be_told(
        self, failure: Failure, connection: _Connection, refuse: Callable[[_Connection, TLSFailure], None]
    ) -> None:
        _bug(failure)
        if connection.entered is not None:
            refuse(connection, TLSFailure(Cause.POLICY, _UNKNOWN))


def _verdict(host: Host, peer: Peer) -> tuple[Cause, str] | None:
    try:
        host.check(peer)
    except TLSFailure as failure:
        return failure.cause, failure.detail
    return None


def _bug(failure: Failure) -> None:
    _log.failure("a look at the connections failed", failure)
