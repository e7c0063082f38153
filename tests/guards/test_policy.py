"""Policies: functions of the user's, and what counts as a yes."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from types import ModuleType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards.policy import MOST_THREADS, FunctionPolicy, Policy, Unanswered, ask, gives_awaitable
from mytls.peer import Peer
from mytls.settings import HostSettings
from tests.handlers.loop import PATIENCE, Loop

PEER = Peer(None, "a.example")


class OwnFault(Exception):
    """What a user's function raises."""


class Answers:
    """
    A policy that answers so.

    @ivar asked: with whom
    @ivar stopped: how often
    """

    def __init__(self, answer: Any, written: str = "p") -> None:
        self.written, self.digest = written, written.encode()
        self._answer = answer
        self.asked: list[Peer] = []

    def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
        self.asked.append(peer)
        if isinstance(self._answer, Deferred):
            return self._answer
        return fail(self._answer) if isinstance(self._answer, Exception) else succeed(self._answer)

    def stop(self) -> None:
        pass


class AskTests(SynchronousTestCase):
    """What counts as a yes."""

    def refusal(self, *policies: Policy) -> Any:
        return self.successResultOf(ask(policies, PEER, Clock()))

    def test_true_alone(self) -> None:
        """True is a yes; nothing that is merely true is."""
        self.assertIsNone(self.refusal())
        self.assertIsNone(self.refusal(Answers(True)))
        for answer, expected in (
            (False, "p says no"),
            (1, "p answered with int, not True"),
            (None, "p answered with NoneType, not True"),
            ([True], "p answered with list, not True"),
            ("not on the list", "p says not on the list"),
            ("", "p says "),
        ):
            self.assertEqual(self.refusal(Answers(answer)), expected)

    def test_reason_is_escaped(self) -> None:
        """A reason that quotes a peer forges no line, and has an end."""
        said = self.refusal(Answers('no "x"\nestablished\x1b[2J' + "é" * 1000))
        self.assertTrue(said.startswith(r"p says no \x22x\x22\x0aestablished\x1b[2J\xe9\xe9"), said)
        self.assertLess(len(said), 700)

    def test_all_have_to_say_yes(self) -> None:
        """Each is asked with the peer, in their order, until one says no."""
        yes, no, last = Answers(True), Answers(False, "q"), Answers(True)
        self.assertEqual(self.refusal(yes, no, last), "q says no")
        self.assertEqual((yes.asked, no.asked, last.asked), ([PEER], [PEER], []))
        self.assertIsNone(self.refusal(yes, last))

    def test_raises(self) -> None:
        """What a policy raises is a no, and one traceback, whether at once or later."""

        class Raises(Answers):
            def decide(self, peer: Peer, reactor: Any) -> Deferred[object]:
                raise OwnFault

        for policy in (Answers(OwnFault()), Raises(None)):
            self.assertEqual(self.refusal(policy), "p raised OwnFault")
            self.assertEqual(len(self.flushLoggedErrors(OwnFault)), 1)

    def test_unanswered(self) -> None:
        """Where there is no answer by nobody's mistake there is no traceback."""
        self.assertEqual(self.refusal(Answers(Unanswered("no room"))), "p has not answered: no room")

    def test_cancelled(self) -> None:
        """Who is not waited for any more hears of it, and nothing is logged; the next is not asked."""
        heard: list[object] = []
        never: Deferred[object] = Deferred(heard.append)
        last = Answers(True)
        asked = ask([Answers(never), last], PEER, Clock())
        self.assertNoResult(asked)
        asked.cancel()
        asked.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self.successResultOf(asked)
        self.assertEqual((heard, last.asked), ([never], []))


class FunctionTests(SynchronousTestCase):
    """Functions of the user's."""

    def setUp(self) -> None:
        self.loop = Loop()
        self.addCleanup(self._no_thread_is_left)

    def _no_thread_is_left(self) -> None:
        for thread in threading.enumerate():
            if thread.name == "mytls-serve":
                thread.join(PATIENCE)
                self.assertFalse(thread.is_alive(), "a function is stuck")

    def asked(self, function: Callable[..., object]) -> Deferred[Any]:
        """Why a function refuses, or None."""
        return ask([FunctionPolicy("m:f", function)], PEER, self.loop)

    def refusal(self, function: Callable[..., object]) -> Any:
        """The same, when its thread is through."""
        asked = self.asked(function)
        self.loop.until(lambda: asked.called)
        return self.successResultOf(asked)

    def test_plain_function(self) -> None:
        """A plain function runs in a thread, and is given the peer."""
        seen: list[Any] = []

        def function(peer: Peer) -> object:
            seen.append((peer, threading.current_thread() is threading.main_thread()))
            return peer.server_name == "a.example"

        self.assertIsNone(self.refusal(function))
        self.assertEqual(seen, [(PEER, False)])
        self.assertEqual(self.refusal(lambda peer: "go\naway"), r"policy=m:f says go\x0aaway")

    def test_plain_function_that_raises(self) -> None:
        """What it raises is logged here, once: C{SystemExit} too."""

        def function(peer: Peer) -> object:
            raise error

        for error in (OwnFault(), SystemExit(1)):
            self.assertEqual(self.refusal(function), f"policy=m:f raised {type(error).__name__}")
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_coroutine(self) -> None:
        """A coroutine function runs on the event loop, and may await a Deferred."""
        ready: Deferred[bool] = Deferred()

        async def function(peer: Peer) -> bool:
            self.assertIs(threading.current_thread(), threading.main_thread())
            return await ready

        asked = self.asked(function)
        self.assertNoResult(asked)
        ready.callback(True)
        self.assertIsNone(self.successResultOf(asked))

    def test_coroutine_that_raises(self) -> None:
        """What it raises is a no and one traceback."""

        async def function(peer: Peer) -> bool:
            raise error

        for error in (OwnFault(), SystemExit(1)):
            self.assertEqual(self.refusal(function), f"policy=m:f raised {type(error).__name__}")
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_coroutine_on_asyncios_loop(self) -> None:
        """Where Twisted runs on asyncio's loop it may await what is asyncio's; it is cancelled as asyncio does it."""
        ended: list[type] = []

        async def yes(peer: Peer) -> bool:
            await asyncio.sleep(0)
            return True

        async def never(peer: Peer) -> bool:
            try:
                await asyncio.get_running_loop().create_future()
            except BaseException as error:
                ended.append(type(error))
                raise
            return True

        async def leaves(peer: Peer) -> bool:
            raise SystemExit(1)

        async def conversation() -> list[Any]:
            said: list[Any] = []
            for function in (yes, never, leaves):
                asked = self.asked(function).addCallback(said.append)
                for _ in range(5):
                    await asyncio.sleep(0)
                asked.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            return said

        said = asyncio.run(conversation())
        self.assertEqual((said[0], said[-1]), (None, "policy=m:f raised SystemExit"))
        self.assertEqual(ended, [asyncio.CancelledError])
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_awaitable_from_a_plain_function(self) -> None:
        """What a plain function returns to be awaited is awaited on the event loop."""

        async def slowly() -> bool:
            self.assertIs(threading.current_thread(), threading.main_thread())
            return True

        self.assertIsNone(self.refusal(lambda peer: slowly()))
        self.assertIsNone(self.refusal(lambda peer: succeed(True)))
        self.assertEqual(self.refusal(lambda peer: succeed("no")), "policy=m:f says no")

    def test_who_is_called_on_the_loop(self) -> None:
        """A function that says that it gives something to await is called on the event loop, any other in a thread."""

        async def coroutine(peer: Peer) -> bool:
            return True

        @inlineCallbacks
        def generated(peer: Peer) -> Generator[Deferred[bool], bool, bool]:
            return (yield succeed(True))

        def deferred(peer: Peer) -> Deferred[bool]:
            return succeed(True)

        def awaitable(peer: Peer) -> Awaitable[bool]:
            return succeed(True)

        class Object:
            async def __call__(self, peer: Peer) -> bool:
                return True

        def plain(peer: Peer) -> bool:
            return True

        def unknown(peer: NotThere) -> bool:  # type: ignore[name-defined]  # noqa: F821  # imported by a type checker alone
            return True

        bound = functools.partial(coroutine)
        functions: list[Any] = [coroutine, generated, deferred, awaitable, Object(), bound]
        for function in functions:
            self.assertTrue(gives_awaitable(function), function)
            self.assertIsNone(self.successResultOf(self.asked(function)))
        for function in (plain, unknown, lambda peer: True, functools.partial(plain), len):
            self.assertFalse(gives_awaitable(function), function)

    def test_hung_threads(self) -> None:
        """Functions that never return take the threads of their policy, and no more; who comes after is told no."""
        done = threading.Event()
        started = threading.Semaphore(0)

        def hangs(peer: Peer) -> bool:
            started.release()
            done.wait()
            return True

        policy = FunctionPolicy("m:f", hangs)
        waiting = [ask([policy], PEER, self.loop) for _ in range(MOST_THREADS + 3)]
        for _ in range(MOST_THREADS):
            self.assertTrue(started.acquire(timeout=PATIENCE))
        for asked in waiting:
            asked.cancel()
            self.assertEqual(self.successResultOf(asked), "policy=m:f was not awaited")
        other = FunctionPolicy("m:g", lambda peer: True)
        asked = ask([other], PEER, self.loop)
        self.loop.until(lambda: asked.called)
        self.assertIsNone(self.successResultOf(asked))
        done.set()
        self._no_thread_is_left()
        self.assertFalse(started.acquire(blocking=False), "one that nobody waits for was run all the same")
        self.loop.advance(0)

    def test_no_thread_to_be_had(self) -> None:
        """Where the system gives no thread, the peer is refused."""

        def no_more(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", no_more)
        self.assertEqual(
            self.successResultOf(self.asked(lambda peer: True)),
            "policy=m:f has not answered: no thread could be started: can't start new thread",
        )


class WrittenTests(SynchronousTestCase):
    """`policy = "package.module:name"`."""

    def setUp(self) -> None:
        module: Any = ModuleType("rules_of_a_test")
        module.allow = lambda peer: True
        module.number = 3
        self.patch(sys, "modules", {**sys.modules, "rules_of_a_test": module})

    def refused(self, written: str) -> str:
        settings = HostSettings(policy=written, wrote={"policy": "mytls.toml:3: policy"})
        return str(self.assertRaises(ConfigurationError, FunctionPolicy.of, settings))

    def test_found(self) -> None:
        """A function is found, and has the name that it was given."""
        policy = FunctionPolicy.of(HostSettings(policy="rules_of_a_test:allow"))
        self.assertEqual(policy.written, "policy=rules_of_a_test:allow")
        self.assertEqual(policy.digest, FunctionPolicy.of(HostSettings(policy="rules_of_a_test:allow")).digest)
        policy.stop()

    def test_errors(self) -> None:
        """Whatever is wrong is one line with the key."""
        line = "mytls.toml:3: policy="
        self.assertEqual(self.refused("rules"), f"{line}rules: expected package.module:function")
        self.assertEqual(
            self.refused("rules_of_a_test:alow"),
            f"{line}rules_of_a_test:alow: module 'rules_of_a_test' has no 'alow'; did you mean 'allow'?",
        )
        self.assertIn("there is no module 'nowhere_to_be'", self.refused("nowhere_to_be:x"))
        self.assertEqual(
            self.refused("rules_of_a_test:number"), f"{line}rules_of_a_test:number: expected a function, not int"
        )
