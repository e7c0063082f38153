"""
What a SPIFFE Workload API has issued to this process: the newest of it, in memory alone.

    workload = Workload("unix:/run/spire/agent.sock")
    issued = workload.fetch()            # before the reactor runs; waits, but not for ever
    workload.follow(changed, troubled)   # once it runs: rotations are heard of in a thread
    workload.stop()                      # and may be followed again

The package `spiffe` speaks with the agent, over gRPC, which lives in threads of its own. A process that has used it and
forks, as twistd does to become a daemon, has a child in which gRPC hangs now and then, even where each connection was
closed before. So fetch() asks from another process, which ends with the answer, and whoever follows does so after the
last fork. While following, one thread of ours owns the connection, what is told of it and when it is made again; those
of the library do nothing but hand it their answers. An answer is complete and takes the place of the one before
(SPIFFE Workload API, section 4.4); one that is broken, or none, changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from mytls.errors import one_line
from mytls.tls.agent import (
    FIRST_WAIT,
    PAUSES,
    Unanswered,
    ask_aside,
    connected,
    growing,
    in_our_words,
    look_for_the_package,
    socket_path,
)
from mytls.tls.svids import Issued

if TYPE_CHECKING:
    from spiffe.workloadapi.x509_context import X509Context

_log = Logger()

#: Seconds that stop() waits for the thread, which has nothing to wait for by then.
_FAREWELL = 5.0


class Workload:
    """What the Workload API at one address has issued."""

    def __init__(
        self,
        address: str,
        *,
        wait: float = FIRST_WAIT,
        pauses: tuple[float, float] = PAUSES,
        ask: Callable[[str, float], Issued] | None = None,
    ) -> None:
        """
        @param address: as SPIFFE_ENDPOINT_SOCKET has it: `unix:/path`
        @param wait: seconds that the first answer may take
        @param ask: asks an address for the first answer for so many seconds; L{ask_aside}, if left out
        @param pauses: seconds between two attempts, the first and the longest
        @raise ConfigurationError: it is no such address, or the package `spiffe` is not there; without the address
        """
        self.address = address
        self._path = socket_path(address)
        look_for_the_package()
        self._wait = wait
        self._ask = ask or ask_aside
        self._pauses = pauses
        self._newest: Issued | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()  # of the last following
        self._answers: SimpleQueue[X509Context | Exception | None] = SimpleQueue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.address}>"

    @property
    def digest(self) -> bytes:
        """The same for those of one address."""
        return hashlib.sha256(b"spiffe " + self.address.encode("utf-8", "surrogateescape")).digest()

    @property
    def newest(self) -> Issued | None:
        """The newest answer, or None before the first."""
        return self._newest

    def fetch(self) -> Issued:
        """
        The newest answer. Where there is none yet, the agent is asked, again and again where it is not there yet: it
        blocks for as long as the first answer may take, and leaves no connection behind.

        @raise ConfigurationError: none has come in time, or none can; one line, without the address
        """
        if self._newest is None:
            self._newest = self._ask(self.address, self._wait)
        return self._newest

    def follow(self, changed: Callable[[], object], troubled: Callable[[str], object]) -> None:
        """
        Take what the agent issues from now on, until stopped, whatever happens to the agent. Both are called in a
        thread: give those that only tell the reactor, by C{callFromThread}.

        @param changed: there is another L{newest}
        @param troubled: it cannot be asked, in a line; once for each trouble, and what was newest stays
        """
        if self._thread is None:
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._follow, args=(self._stopped, changed, troubled), name="mytls-workload", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Close the connection and follow no more; what was newest stays. Harmless where nothing is followed."""
        self._stopped.set()
        self._answers.put(None)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FAREWELL)

    def _follow(
        self, stopped: threading.Event, changed: Callable[[], object], troubled: Callable[[str], object]
    ) -> None:
        """What the thread does."""
        told, pauses = "", growing(self._pauses)
        while not stopped.is_set():
            try:
                with closing(self._stream(stopped)) as answers:
                    for issued in answers:
                        told, pauses = "", growing(self._pauses)
                        self._take(issued, changed)
            except Unanswered as error:
                if str(error) != told:
                    told = str(error)
                    troubled(told)
            except Exception:  # a bug of ours must not end it: the certificate would run out
                _log.failure("following {address} failed", address=self.address)
            stopped.wait(next(pauses))

    def _stream(self, stopped: threading.Event) -> Generator[Issued]:
        """
        What comes over one connection, until we are stopped.

        @raise Unanswered: it has ended, or an answer is broken
        """
        answers = self._answers = SimpleQueue()
        if stopped.is_set():  # and nobody has told this queue
            return
        with connected(self._path) as client:
            # The library's own attempts would tell nobody of a trouble, and end for good at the first broken answer.
            stream = client.stream_x509_contexts(answers.put, answers.put, retry_connect=False)
            try:
                while (answer := answers.get()) is not None:
                    with in_our_words():
                        if isinstance(answer, Exception):
                            raise answer
                        issued = Issued.of(answer, self.address)
                    yield issued
            finally:
                stream.cancel()

    def _take(self, issued: Issued, changed: Callable[[], object]) -> None:
        known = self._newest
        self._newest = issued
        if known is None or known.digest != issued.digest:
            changed()


class Following:
    """Whom a service hears of rotations from, while it runs."""

    def __init__(self, reactor: IReactorFromThreads, rotated: Callable[[], object]) -> None:
        """@param rotated: called on the event loop where one of them has issued something new"""
        self._reactor = reactor
        self._rotated = rotated
        self._followed: Sequence[Workload] = ()

    def only(self, *wanted: Workload) -> None:
        """Hear from these from now on, and from no others."""
        for each in self._followed:
            if each not in wanted:
                each.stop()
        self._followed = wanted
        for each in wanted:
            each.follow(self._changed, partial(self._troubled, each.address))

    def _changed(self) -> None:
        self._reactor.callFromThread(self._rotated)

    def _troubled(self, address: str, line: str) -> None:
        told = f"spiffe={one_line(address)}: {line}; what it has issued before is served on"
        self._reactor.callFromThread(_log.warn, "{line}", line=told)
