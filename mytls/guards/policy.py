"""
Policies: whoever else is asked whether a peer may enter, once its handshake is done.

A policy has answered yes where its answer is True. False is no, a text is no and why; whatever else it answers, raises
or does not answer is no too.

`policy = "package.module:name"` is a function of the user's. A coroutine function runs on the event loop, as does one
that says that it returns something to await. Any other runs in a thread: it may block. So many of them run at the
same time; one that never returns has its thread for ever, and when all are taken, nobody enters.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, get_origin, get_type_hints

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import ConfigurationError, visible
from mytls.handlers.awaitable import started
from mytls.handlers.load import load
from mytls.handlers.stream import is_coroutine_function
from mytls.handlers.threads import Threads
from mytls.peer import Peer
from mytls.settings import HostSettings

_log = Logger()

#: How much of a policy's own reason the log has.
_SHOWN = 150
#: How many calls of one plain function run at the same time.
MOST_THREADS = 20


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
        about = (policy.written,)
        decided = maybeDeferred(policy.decide, peer, reactor)
        refusal = yield decided.addCallbacks(_judged, _failed, callbackArgs=about, errbackArgs=about)
        if refusal is not None:
            return refusal
    return None


def _judged(answer: object, written: str) -> str | None:
    if answer is True:
        return None
    if isinstance(answer, str):
        return f"{written} says {_reason(answer)}"
    return f"{written} says no" if answer is False else f"{written} answered with {type(answer).__name__}, not True"


def _failed(failure: Failure, written: str) -> str:
    if failure.check(CancelledError, asyncio.CancelledError):
        return f"{written} was not awaited"
    if failure.check(Unanswered):
        return f"{written} has not answered: {failure.value}"
    _log.failure("the policy {policy} failed", failure=failure, policy=written)
    return f"{written} raised {failure.type.__name__ if failure.type else failure.type}"


def _reason(text: str) -> str:
    return visible(text, _SHOWN).replace("\\x20", " ")


class FunctionPolicy:
    """A function of the user's, which is given the L{Peer}."""

    def __init__(self, written: str, function: Callable[[Peer], object]) -> None:
        self.written = f"policy={written}"
        self.digest = function_digest(written)
        self._function = function
        self._on_the_loop = gives_awaitable(function)
        self._threads = Threads(MOST_THREADS)

    @classmethod
    def of(cls, settings: HostSettings) -> FunctionPolicy:
        """@raise ConfigurationError: there is no such function"""
        written = settings.policy or ""
        try:
            function = load(written, "package.module:function")
        except ConfigurationError as error:
            raise settings.wrong("policy", written, str(error)) from None
        if not callable(function):
            raise settings.wrong("policy", written, f"expected a function, not {type(function).__name__}")
        return cls(written, function)

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        """See L{Policy}."""
        if self._on_the_loop:
            answer = _awaited(self._function(peer))
            return answer if isinstance(answer, Deferred) else succeed(answer)
        return self._in_a_thread(peer, reactor)

    def stop(self) -> None:
        """A thread cannot be stopped; it is gone when its function returns."""

    def _in_a_thread(self, peer: Peer, reactor: Any) -> Deferred[object]:
        turn = object()

        def forget(answered: Deferred[object]) -> None:
            self._threads.forget(turn)

        answered: Deferred[object] = Deferred(forget)

        def job() -> None:
            try:
                answer = self._function(peer)
            except BaseException:  # whatever it is, it is told where the policy was asked
                answer = Failure()
            reactor.callFromThread(_tell, answered, answer)

        try:
            self._threads.start(turn, job)
        except RuntimeError as error:
            raise Unanswered(f"no thread could be started: {error}") from None
        return answered.addCallback(_awaited)


def function_digest(written: str) -> bytes:
    """The digest of a policy that is written so: a module is imported once, so a function stays what it is."""
    return hashlib.sha256(b"policy\0" + written.encode("utf-8", "surrogateescape")).digest()


def gives_awaitable(function: Any) -> bool:
    """Whether a call gives a coroutine or a Deferred, as far as the function tells: by its kind, or its annotation."""
    if is_coroutine_function(function):
        return True
    if hasattr(function, "__wrapped__") and inspect.isgeneratorfunction(inspect.unwrap(function)):
        return True  # inlineCallbacks
    try:
        said = get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):  # names that were only imported for a type checker
        return False
    kind = get_origin(said) or said
    return isinstance(kind, type) and (issubclass(kind, Deferred) or issubclass(kind, Awaitable))


def _tell(answered: Deferred[object], answer: object) -> None:
    if not answered.called:
        answered.callback(answer)


def _awaited(answer: object) -> object:
    """What there is to await, as a Deferred; anything else as it is."""
    if isinstance(answer, Deferred) or not isinstance(answer, Awaitable):
        return answer
    return started(_result(answer))


async def _result(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except BaseException:  # SystemExit too: asyncio's loop would end by it
        return Failure()
