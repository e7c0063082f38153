"""
Policies: whoever else is asked whether a peer may enter, once its handshake is done.

A policy has answered yes where its answer is True. False is no, a text is no and why; whatever else it answers, raises
or does not answer is no too.

`policy = "package.module:name"` is a function of the user's. A coroutine function runs on the event loop, as does one
that says that it returns something to await. Any other runs in a thread: it may block. So many of them run at the same
time. One that goes on when nobody waits for its answer any more does not count, so that calls that hang lock out
nobody; but a thread cannot be stopped, so there is a second bound, which counts them all.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from traceback import TracebackException
from typing import Any, Protocol, get_origin, get_type_hints

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import ConfigurationError, one_line, sentence
from mytls.handlers.awaitable import started
from mytls.handlers.load import check_call, load
from mytls.handlers.stream import is_coroutine_function
from mytls.handlers.threads import Threads
from mytls.peer import Peer
from mytls.settings import HostSettings

_log = Logger()

#: How much of a policy's own reason the log has.
_SHOWN = 150
#: How many calls of one plain function run at the same time.
MOST_THREADS = 100
#: How many do with those that go on though nobody waits for their answer any more.
MOST_HANGING = 10 * MOST_THREADS
#: How many wait for the answer of one policy.
MOST_WAITING = 1000
#: At most so often, in seconds, the log has that these are too many.
_SELDOM = 1.0
#: How many errors that have led to one another a traceback has.
_CHAIN = 5


class Policy(Protocol):
    """
    Whoever is asked.

    @ivar written: as the user wrote it
    @ivar digest: equal for policies that are the same
    """

    written: str
    digest: bytes

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        """The answer: True, False or a reason; it may fail, and may be cancelled when it is not awaited any more."""

    def stop(self) -> None:
        """It is not asked for a while: let go of what was held for it. Whoever is waiting gets an answer still."""


class Unanswered(Exception):
    """There is no answer, by nobody's mistake that a traceback would show; the text says why."""


@inlineCallbacks
def ask(policies: Sequence[Policy], peer: Peer, reactor: Any) -> Any:
    """
    Ask each in turn, until one does not say yes.

    @return: a Deferred, which never fails: None where all have said yes, or why not in a few words
    """
    for policy in policies:
        decided = maybeDeferred(policy.decide, peer, reactor).addCallback(_judged, policy.written)
        refusal = yield decided.addErrback(_failed, policy.written).addErrback(_odd, policy.written)
        if refusal is not None:
            return refusal
    return None


def _judged(answer: object, written: str) -> str | None:
    if answer is True:
        return None
    if isinstance(answer, str):
        return f"{written} says: {_reason(str.__str__(answer))}"
    return f"{written} says no" if answer is False else f"{written} answers with {_shown(answer)}; only True lets in"


def _failed(failure: Failure, written: str) -> str:
    if failure.check(CancelledError, asyncio.CancelledError):
        return f"{written} was not awaited"
    if failure.check(Unanswered):
        return f"{written} has not answered: {failure.value}"
    _log.error("{policy} failed\n{traceback}", policy=written, traceback="\n".join(_traceback(failure)))
    return f"{written} raised {_name(failure)}"


def _odd(failure: Failure, written: str) -> str:
    """Not even what it has raised could be looked at."""
    return f"{written} raised what cannot be shown"


def _name(failure: Failure) -> str:
    return failure.type.__name__ if failure.type else str(failure.type)


def _traceback(failure: Failure) -> Iterator[str]:
    """A line for each place where it was raised, and one for the error: its words may be a peer's, and are escaped."""
    error, where = failure.value or Exception(), failure.getTracebackObject()
    return _lines(TracebackException(type(error), error, where, compact=True), _CHAIN)


def _lines(told: TracebackException, more: int) -> Iterator[str]:
    before = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    if before is not None and more:
        yield from _lines(before, more - 1)
        yield "which has led to"
    for frame in told.stack:
        yield one_line(f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}")
    yield one_line("".join(told.format_exception_only()).rstrip("\n"))
    for each in (told.exceptions or ())[:more]:
        yield "one of which is"
        yield from _lines(each, more - 1)


def _shown(answer: object) -> str:
    """What kind of thing an answer is; a value that is short and plain too."""
    kind = type(answer).__name__
    if answer is None:
        return "None"
    return f"{_reason(str(answer))} ({kind})" if isinstance(answer, int | float) else f"a {kind}"


def _reason(text: str) -> str:
    """A few words that may quote a peer's: they add no field to the line of a log."""
    return sentence(text, _SHOWN).replace("=", "\\x3d")


class Crowd:
    """Those who are too many to wait for a policy: each is told, and the log now and then."""

    def __init__(self, written: str) -> None:
        """@param written: the policy that they wait for, as the user wrote it"""
        self._written = written
        self._next = float("-inf")

    def is_full(self, waiting: int) -> bool:
        """Whether nobody more may wait."""
        return waiting >= MOST_WAITING

    def turns_away(self, reactor: Any) -> Unanswered:
        """@return: what somebody more is told"""
        now = reactor.seconds()
        if now >= self._next:
            self._next = now + _SELDOM
            _log.warn(
                "{policy}: {most} wait for its answer, others are refused", policy=self._written, most=MOST_WAITING
            )
        return Unanswered(f"{MOST_WAITING} others wait for it")


class FunctionPolicy:
    """A function of the user's, which is given the L{Peer}."""

    def __init__(self, written: str, function: Callable[[Peer], object]) -> None:
        self.written = f"policy={written}"
        self.digest = function_digest(written)
        self._function = function
        self._on_the_loop = gives_awaitable(function)
        self._threads = Threads(MOST_THREADS, MOST_HANGING)
        self._crowd = Crowd(self.written)
        self._waiting = 0
        self._told_hanging = 0

    @classmethod
    def of(cls, settings: HostSettings) -> FunctionPolicy:
        """@raise ConfigurationError: there is no such function"""
        written = settings.policy or ""
        try:
            function = load(written, "package.module:function")
            if not callable(function) or isinstance(function, type):
                kind = "a class" if callable(function) else type(function).__name__
                raise ConfigurationError(f"expected a function, not {kind}")
            check_call(function, "peer")
        except ConfigurationError as error:
            raise settings.wrong("policy", written, str(error)) from None
        return cls(written, function)

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        """See L{Policy}."""
        if self._crowd.is_full(self._waiting):
            raise self._crowd.turns_away(reactor)
        answer = self._on_this_loop(peer) if self._on_the_loop else self._in_a_thread(peer, reactor)
        self._waiting += 1
        return _told_once(answer).addBoth(self._no_more)

    def stop(self) -> None:
        """A thread cannot be stopped; it is gone when its function returns."""

    def _no_more(self, answer: object) -> object:
        self._waiting -= 1
        return answer

    def _on_this_loop(self, peer: Peer) -> Deferred[object]:
        answer = _awaited(self._function(peer))
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def _in_a_thread(self, peer: Peer, reactor: Any) -> Deferred[object]:
        turn = object()

        def forget(answered: Deferred[object]) -> None:
            if not self._threads.forget(turn):
                self._threads.give_up(turn)
                self._tell_hanging()

        answered: Deferred[object] = Deferred(forget)

        def job() -> None:
            try:
                answer = _seen(self._function(peer))
            except BaseException:  # whatever it is, it is told where the policy was asked
                answer = Failure()
            reactor.callFromThread(_tell, answered, answer)

        try:
            self._threads.start(turn, job)
        except RuntimeError as error:
            raise Unanswered(f"no thread could be started: {error}") from None
        return answered.addCallback(_awaited)

    def _tell_hanging(self) -> None:
        """An operator has to know, once, that calls do not return; and once more when there can be no others."""
        hanging = self._threads.given_up
        if 2 * hanging < MOST_THREADS:
            self._told_hanging = 0
        for most, then in ((MOST_THREADS, f"at {MOST_HANGING} it lets in nobody"), (MOST_HANGING, "it lets in nobody")):
            if self._told_hanging < most <= hanging:
                self._told_hanging = most
                text = "{policy}: all {most} calls hang, and nobody waits for them any more; {then}"
                _log.error(text, policy=self.written, most=most, then=then)


def function_digest(written: str) -> bytes:
    """The digest of a policy that is written so: a module is imported once, so a function stays what it is."""
    return hashlib.sha256(b"policy\0" + written.encode("utf-8", "surrogateescape")).digest()


def gives_awaitable(function: Any) -> bool:
    """Whether a call gives a coroutine or a Deferred, as far as the function tells: by its kind, or its annotation."""
    try:
        if is_coroutine_function(function):
            return True
        if hasattr(function, "__wrapped__") and inspect.isgeneratorfunction(inspect.unwrap(function)):
            return True  # inlineCallbacks
        said = get_type_hints(function).get("return")
    except Exception:  # names that were only imported for a type checker, or text that is no expression
        return False
    kind = get_origin(said) or said
    return isinstance(kind, type) and (issubclass(kind, Deferred) or issubclass(kind, Awaitable))


def _seen(answer: object) -> object:
    """The answer. @raise Exception: not even its kind can be seen, and a Deferred that is given it would never fire"""
    isinstance(answer, Deferred | Failure | Awaitable)
    return answer


def _tell(answered: Deferred[object], answer: object) -> None:
    if not answered.called:
        answered.callback(answer)


def _told_once(answer: Deferred[object]) -> Deferred[object]:
    """The same answer; who does not want it any more does not wait until a coroutine has let itself be cancelled."""
    told: Deferred[object] = Deferred(lambda _: answer.cancel())
    answer.addBoth(lambda result: _tell(told, result))
    return told


def _awaited(answer: object) -> object:
    """What there is to await, as a Deferred; anything else as it is."""
    if isinstance(answer, Deferred) or not isinstance(answer, Awaitable):
        return answer
    return started(_result(answer))


async def _result(awaitable: Awaitable[object]) -> object:
    try:
        return _seen(await awaitable)
    except BaseException:  # SystemExit too: asyncio's loop would end by it
        return Failure()
