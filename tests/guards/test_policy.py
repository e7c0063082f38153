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
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards import policy as policy_module
from mytls.guards.policy import FunctionPolicy, Policy, Unanswered, ask, gives_awaitable
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
            (1, "p answers with 1 (int); only True lets in"),
            (None, "p answers with None; only True lets in"),
            ([True], "p answers with a list; only True lets in"),
            ("not on the list", "p says: not on the list"),
            ("", "p says: "),
        ):
            self.assertEqual(self.refusal(Answers(answer)), expected)

    def test_reason_is_escaped(self) -> None:
        """A reason that quotes a peer forges no line, and has an end."""
        said = self.refusal(Answers('no "x"\nestablished\x1b[2J' + "é" * 1000))
        self.assertTrue(said.startswith(r"p says: no \x22x\x22\x0aestablished\x1b[2J\xe9\xe9"), said)
        self.assertLess(len(said), 700)

    def test_reason_adds_no_field(self) -> None:
        """A reason that quotes a peer adds no field to the line that it stands in."""
        said = self.refusal(Answers("no such user: x cause=clean client=cn=admin"))
        self.assertEqual(said, r"p says: no such user: x cause\x3dclean client\x3dcn\x3dadmin")

    def test_odd_answers(self) -> None:
        """What cannot even be looked at is a no like any other."""

        class Text(str):
            __slots__ = ()

            def __getitem__(self, at: Any) -> str:
                raise OwnFault

            __len__ = __iter__ = __str__ = __format__ = __getitem__  # type: ignore[assignment]

        class Number(int):
            def __str__(self) -> str:
                raise OwnFault

            __format__ = __repr__ = __str__  # type: ignore[assignment]

        class Classless:
            @property  # type: ignore[misc]  # that it cannot be is the point
            def __class__(self) -> Any:
                raise OwnFault

        self.assertEqual(self.refusal(Answers(Text("not you"))), "p says: not you")
        for answer in (Number(1), Classless()):
            with capturedLogs() as events:
                self.assertEqual(self.refusal(Answers(answer)), "p raised OwnFault")
            self.assertEqual(len(events), 1)

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

        for policy in (Answers(OwnFault("why")), Raises(None)):
            with capturedLogs() as events:
                self.assertEqual(self.refusal(policy), "p raised OwnFault")
            (event,) = events
            self.assertEqual(event["log_level"], LogLevel.error)
            first, *_, last = str(formatEvent(event)).splitlines()
            self.assertEqual((first, last.partition(":")[0]), ("p failed", "tests.guards.test_policy.OwnFault"))

    def test_traceback_is_escaped(self) -> None:
        """What a peer has in an error, or in one that has led to it, forges no line of the log and moves no cursor."""
        forged = "eve\n2026-01-01T00:00:00+0000 [-] closed cn=admin\r\x1b[2K\x1b]0;x\x07\u2028\x85\u202e"

        def inner() -> None:
            raise KeyError(forged)

        def outer(peer: Peer, reactor: Any) -> Any:
            try:
                inner()
            except KeyError as error:
                error.add_note(forged)
                raise OwnFault(forged) from ExceptionGroup(forged, [error])

        policy: Any = Answers(None)
        policy.decide = outer
        with capturedLogs() as events:
            self.assertEqual(self.refusal(policy), "p raised OwnFault")
        lines = str(formatEvent(events[0])).split("\n")
        self.assertFalse([line for line in lines if not line.isprintable()])
        self.assertFalse([line for line in lines if line.startswith("2026")])
        self.assertEqual(lines[-1].count("admin"), 1)
        self.assertTrue(lines[-1].startswith(r"tests.guards.test_policy.OwnFault: eve\x0a2026-01-01"), lines[-1])
        places = [line for line in lines if line.startswith("  ")]
        self.assertEqual(["raise KeyError(forged)" in each for each in places].count(True), 1)
        self.assertTrue(all(f"{__file__}:" in each or "twisted" in each for each in places), places)
        self.assertEqual(len([line for line in lines if line.startswith("KeyError: ")]), 1)

    def test_traceback_has_an_end(self) -> None:
        """Of errors that have led to one another the log has the last few."""

        def again(peer: Peer, left: Any) -> Any:
            try:
                if isinstance(left, int) and left:
                    again(peer, left - 1)
            finally:
                raise OwnFault(f"number {left}")

        policy: Any = Answers(None)
        policy.decide = lambda peer, reactor: again(peer, 50)
        with capturedLogs() as events:
            self.refusal(policy)
        self.assertEqual(str(formatEvent(events[0])).count("OwnFault: number"), 6)

    def test_raises_what_cannot_be_shown(self) -> None:
        """An error that raises when it is looked at is one all the same."""

        class Odd(type):
            @property
            def __name__(cls) -> str:  # type: ignore[override]
                raise OwnFault

        class Mute(Exception):
            def __str__(self) -> str:
                raise OwnFault

            __repr__ = __str__

        class Nameless(Exception, metaclass=Odd):
            """Its kind cannot be told."""

        with capturedLogs():
            self.assertEqual(self.refusal(Answers(Mute())), "p raised Mute")
            self.assertEqual(self.refusal(Answers(Nameless())), "p raised what cannot be shown")

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
        self.assertEqual(self.refusal(lambda peer: "go\naway"), r"policy=m:f says: go\x0aaway")

    def test_plain_function_that_raises(self) -> None:
        """What it raises is logged here, once: C{SystemExit} too."""

        def function(peer: Peer) -> object:
            raise error

        for error in (OwnFault(), SystemExit(1)):
            with capturedLogs() as events:
                self.assertEqual(self.refusal(function), f"policy=m:f raised {type(error).__name__}")
            self.assertEqual(len(events), 1)
            self.assertIn("in function: raise error", str(formatEvent(events[0])))

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
            with capturedLogs() as events:
                self.assertEqual(self.refusal(function), f"policy=m:f raised {type(error).__name__}")
            self.assertEqual(len(events), 1)
            self.assertIn("in function: raise error", str(formatEvent(events[0])))

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

        with capturedLogs() as events:
            said = asyncio.run(conversation())
        self.assertEqual((said[0], said[-1]), (None, "policy=m:f raised SystemExit"))
        self.assertEqual(ended, [asyncio.CancelledError])
        self.assertEqual(["SystemExit: 1" in str(formatEvent(event)) for event in events], [True])

    def test_awaitable_from_a_plain_function(self) -> None:
        """What a plain function returns to be awaited is awaited on the event loop."""

        async def slowly() -> bool:
            self.assertIs(threading.current_thread(), threading.main_thread())
            return True

        self.assertIsNone(self.refusal(lambda peer: slowly()))
        self.assertIsNone(self.refusal(lambda peer: succeed(True)))
        self.assertEqual(self.refusal(lambda peer: succeed("no")), "policy=m:f says: no")

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

    def hanging(self) -> tuple[Policy, threading.Semaphore]:
        """A function that does not return for some, three at the same time, seven in all; how often it was called."""
        self.patch(policy_module, "MOST_THREADS", 3)
        self.patch(policy_module, "MOST_HANGING", 7)
        done, called = threading.Event(), threading.Semaphore(0)
        self.addCleanup(self.loop.advance, 0)
        self.addCleanup(done.set)

        def hangs(peer: Peer) -> bool:
            called.release()
            return peer.server_name != "slow" or done.wait(PATIENCE)

        self.let_go, self.hang_again = done.set, done.clear
        return FunctionPolicy("m:f", hangs), called

    def called(self, called: threading.Semaphore, times: int) -> None:
        for _ in range(times):
            self.assertTrue(called.acquire(timeout=PATIENCE))

    def test_odd_answers(self) -> None:
        """What cannot even be looked at is a no at once, by whatever way it comes."""

        class Classless:
            @property  # type: ignore[misc]  # that it cannot be is the point
            def __class__(self) -> Any:
                raise OwnFault

        ready: Deferred[None] = Deferred()

        async def later(peer: Peer) -> object:
            await ready
            return Classless()

        async def at_once(peer: Peer) -> object:
            return Classless()

        with capturedLogs() as events:
            asked = self.asked(later)
            ready.callback(None)
            self.assertEqual(self.successResultOf(asked), "policy=m:f raised OwnFault")
            for function in (at_once, lambda peer: Classless(), lambda peer: at_once(peer)):
                self.assertEqual(self.refusal(function), "policy=m:f raised OwnFault")
        self.assertEqual(len(events), 4)

    def test_so_many_threads(self) -> None:
        """So many run at the same time; one that nobody waits for any more, and that has not begun, is never run."""
        policy, called = self.hanging()
        waiting = [ask([policy], Peer(None, "slow"), self.loop) for _ in range(5)]
        self.called(called, 3)
        for asked in reversed(waiting):
            asked.cancel()
            self.assertEqual(self.successResultOf(asked), "policy=m:f was not awaited")
        self.let_go()
        self._no_thread_is_left()
        self.assertFalse(called.acquire(blocking=False), "one that nobody waits for was run all the same")

    def test_hung_threads(self) -> None:
        """Calls that hang, and that nobody waits for any more, keep nobody out; the log has it once."""
        policy, called = self.hanging()
        waiting = [ask([policy], Peer(None, "slow"), self.loop) for _ in range(3)]
        self.called(called, 3)
        honest = ask([policy], PEER, self.loop)
        with capturedLogs() as events:
            for asked in waiting:
                asked.cancel()
            more = ask([policy], Peer(None, "slow"), self.loop)
            self.called(called, 2)
            more.cancel()
        self.loop.until(lambda: honest.called)
        self.assertIsNone(self.successResultOf(honest))
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [
                (
                    LogLevel.error,
                    "policy=m:f: all 3 calls hang, and nobody waits for them any more; at 7 it lets in nobody",
                )
            ],
        )

    def test_hung_threads_have_a_bound(self) -> None:
        """Threads have an end; who comes then waits for one to return. When most have, the log would tell it anew."""
        policy, called = self.hanging()
        with capturedLogs() as events:
            for _ in range(7):
                asked = ask([policy], Peer(None, "slow"), self.loop)
                self.called(called, 1)
                asked.cancel()
            honest = ask([policy], PEER, self.loop)
            self.assertFalse(called.acquire(blocking=False))
            ends = [str(formatEvent(event)).partition("; ")[2] for event in events]
            self.assertEqual(ends, ["at 7 it lets in nobody", "it lets in nobody"])
            self.let_go()
            self.loop.until(lambda: honest.called)
        self.assertIsNone(self.successResultOf(honest))
        self.assertEqual(len(events), 2)
        self._no_thread_is_left()
        self.called(called, 1)
        self.hang_again()
        with capturedLogs() as events:
            for _ in range(3):
                asked = ask([policy], Peer(None, "slow"), self.loop)
                self.called(called, 1)
                asked.cancel()
        self.assertEqual(len(events), 1)

    def test_too_many(self) -> None:
        """So many wait for a policy; whoever comes then is refused at once, and the log has it seldom."""
        self.patch(policy_module, "MOST_WAITING", 3)
        answers: list[Deferred[bool]] = []

        def function(peer: Peer) -> Deferred[bool]:
            answers.append(Deferred())
            return answers[-1]

        policy = FunctionPolicy("m:f", function)
        waiting = [ask([policy], PEER, self.loop) for _ in range(3)]
        refused = "policy=m:f has not answered: 3 others wait for it"
        with capturedLogs() as events:
            for _ in range(20):
                self.assertEqual(self.successResultOf(ask([policy], PEER, self.loop)), refused)
                self.loop.advance(0.1)
        self.assertEqual(
            [formatEvent(event) for event in events], ["policy=m:f: 3 wait for its answer, others are refused"] * 2
        )
        self.assertEqual(len(answers), 3)
        answers[0].callback(True)
        waiting[1].cancel()
        self.assertEqual([each.called for each in waiting], [True, True, False])
        again = [ask([policy], PEER, self.loop) for _ in range(3)]
        self.assertEqual([each.called for each in again], [False, False, True])

    def test_too_many_in_threads(self) -> None:
        """Those whose turn has not come count, and those who have hung up do not."""
        self.patch(policy_module, "MOST_WAITING", 5)
        policy, called = self.hanging()
        waiting = [ask([policy], Peer(None, "slow"), self.loop) for _ in range(6)]
        self.called(called, 3)
        self.assertEqual([each.called for each in waiting], [False] * 5 + [True])
        waiting[4].cancel()
        again = [ask([policy], PEER, self.loop) for _ in range(2)]
        self.assertEqual([each.called for each in again], [False, True])
        self.let_go()
        self.loop.until(lambda: again[0].called)

    def test_not_to_be_cancelled(self) -> None:
        """A coroutine that does not let itself be cancelled keeps nobody waiting, and counts for nobody."""
        self.patch(policy_module, "MOST_WAITING", 1)

        async def stubborn(peer: Peer) -> bool:
            while True:
                try:
                    await Deferred()
                except CancelledError:
                    pass

        policy = FunctionPolicy("m:f", stubborn)
        for _ in range(2):
            asked = ask([policy], PEER, self.loop)
            self.assertNoResult(asked)
            asked.cancel()
            self.assertEqual(self.successResultOf(asked), "policy=m:f was not awaited")

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

    def test_of_no_use(self) -> None:
        """What could never let anybody in is told when it is loaded."""
        line = "mytls.toml:3: policy="
        alone = "it cannot be called with peer alone: too many positional arguments"
        self.assertEqual(self.refused("os:getcwd"), f"{line}os:getcwd: {alone}")
        self.assertEqual(self.refused("threading:local"), f"{line}threading:local: expected a function, not a class")

    def test_odd_annotations(self) -> None:
        """An annotation that is no expression, or one that raises, says nothing of the answer."""

        def allow(peer: Peer) -> bool:
            return True

        for said in ("also (not", "1/0", "__import__('os').nothing"):
            allow.__annotations__["return"] = said
            self.assertFalse(gives_awaitable(allow), said)
