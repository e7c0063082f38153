"""
What a SPIFFE Workload API has issued to this process: the newest of it, in memory alone.

    workload = Workload("unix:/run/spire/agent.sock")
    issued = workload.fetch()            # before the reactor runs; waits, but not for ever
    workload.follow(changed, troubled)   # once it runs: rotations are heard of in a thread
    workload.stop()

The package `spiffe` speaks with the agent, over gRPC, which lives in threads of its own. A process that has used it and
forks, as twistd does to become a daemon, has a child in which gRPC hangs now and then, even where each connection was
closed before. So fetch() asks from another process, which ends with the answer, and whoever follows does so after the
last fork. While following, one thread of ours owns the connection, what is told of it and when it is made again; those
of the library do nothing but hand it their answers. An answer is complete and takes the place of the one before
(SPIFFE Workload API, section 4.4); one that is broken, or none, changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

from twisted.logger import Logger

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
        self._stopped = threading.Event()
        self._answers: SimpleQueue[X509Context | Exception | None] = SimpleQueue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.address}>"

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
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(
                target=self._follow, args=(changed, troubled), name="mytls-workload", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Close the connection and follow no more; what was newest stays. Harmless where nothing is followed."""
        self._stopped.set()
        self._answers.put(None)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FAREWELL)

    def _follow(self, changed: Callable[[], object], troubled: Callable[[str], object]) -> None:
        """What the thread does."""
        told, pauses = "", growing(self._pauses)
        while not self._stopped.is_set():
            try:
                with closing(self._stream()) as answers:
                    for issued in answers:
                        told, pauses = "", growing(self._pauses)
                        self._take(issued, changed)
            except Unanswered as error:
                if str(error) != told:
                    told = str(error)
                    troubled(told)
            except Exception:  # a bug of ours must not end it: the certificate would run out
                _log.failure("following {address} failed", address=self.address)
            self._stopped.wait(next(pauses))

    def _stream(self) -> Generator[Issued]:
        """
        What comes over one connection, until we are stopped.

        @raise Unanswered: it has ended, or an answer is broken
        """
        answers = self._answers = SimpleQueue()
        if self._stopped.is_set():  # and nobody has told this queue
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
