"""
What a parent and its worker say to each other, over a pair of sockets: JSON in netstrings.

Each may ask the other, and is answered, and each may tell something. A word that the other does not know, since it is
of another version of mytls, is answered with a failure and harms nothing. Descriptors go along with a message: the
system passes them on with its first bytes (unix(7), SCM_RIGHTS).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import NetstringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import one_line

_log = Logger()

Values = Mapping[str, Any]
#: What is done for a word: called with what was said besides, and with the descriptors that have come along.
Does = Callable[[Values, Sequence[int]], Any]


class Unanswered(Exception):
    """The other has not answered: it cannot, or is gone."""


@implementer(IFileDescriptorReceiver)
class Channel(NetstringReceiver):
    """One end of it."""

    #: More than a hundred thousand connections, told one by one.
    MAX_LENGTH = 256 * 1024 * 1024

    def __init__(self, does: Mapping[str, Does], lost: Callable[[], object]) -> None:
        """
        @param does: what is done for each word; a descriptor that comes along is that function's to close
        @param lost: called when the other is gone
        """
        self._does = does
        self._lost = lost
        self._numbers = count(1)
        self._asked: dict[int, Deferred[Values]] = {}
        self._descriptors: list[int] = []
        self._ended: Deferred[None] = Deferred()

    def ask(self, word: str, said: Values | None = None, descriptors: Sequence[int] = ()) -> Deferred[Values]:
        """
        Say something, and hear what the other has to say to it.

        @param descriptors: go along; they have to stay open until the answer is there
        @return: fires with the answer; fails with L{Unanswered}
        """
        if not self.connected:
            return fail(Unanswered("it is gone"))
        number = next(self._numbers)
        answered: Deferred[Values] = Deferred()
        self._asked[number] = answered
        self._send({"word": word, "number": number, "said": said or {}}, descriptors)
        return answered

    def tell(self, word: str, said: Values | None = None) -> None:
        """Say something that needs no answer."""
        if self.connected:
            self._send({"word": word, "said": said or {}})

    def finish(self) -> Deferred[None]:
        """Close it when all is said. Fires then."""
        if self.connected:
            assert self.transport is not None
            self.transport.loseConnection()
        elif not self._ended.called:
            self._ended.callback(None)
        return self._ended

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See C{IFileDescriptorReceiver}."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def stringReceived(self, string: bytes) -> None:
        """A whole message."""
        try:
            message = _parsed(string)
        except (ValueError, RecursionError) as error:
            _log.error("what a worker and its parent say to each other is garbled: {why}", why=one_line(str(error)))
            self.finish()
            return
        if "answers" in message:
            self._hear(message)
            return
        mine = [self._descriptors.pop(0) for _ in range(min(message["descriptors"], len(self._descriptors)))]
        done = maybeDeferred(self._do, message["word"], message["said"], mine, message["descriptors"])
        number = message.get("number")
        if number is not None:
            done.addCallbacks(lambda answer: self._answer(answer, number), lambda why: self._cannot(why, number))
        done.addErrback(lambda failure: _log.failure("a message could not be dealt with", failure))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other is gone, or has closed it."""
        super().connectionLost(reason)
        self.connected = 0
        for descriptor in self._descriptors:
            os.close(descriptor)
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.errback(Unanswered("it is gone"))
        if not self._ended.called:
            self._ended.callback(None)
        self._lost()

    def _hear(self, message: Values) -> None:
        """An answer. One that comes too late is a cancelled Deferred's, which lets it pass."""
        answered = self._asked.pop(message["answers"], None)
        if answered is None:
            _log.error("an answer has come to what nobody has asked")
        elif "failed" in message:
            answered.errback(Unanswered(message["failed"]))
        else:
            answered.callback(message["said"])

    def _do(self, word: str, said: Values, descriptors: list[int], sent: int) -> Any:
        does = self._does.get(word)
        if does is not None and len(descriptors) == sent:
            return does(said, descriptors)
        for each in descriptors:
            os.close(each)
        # The system leaves out what a process has no room for (unix(7), MSG_CTRUNC).
        raise Unanswered(
            f"unknown: {word}" if does is None else "too many open files: no room for the parent's sockets"
        )

    def _answer(self, answer: Any, number: int) -> None:
        if self.connected:
            self._send({"answers": number, "said": answer or {}})

    def _cannot(self, failure: Failure, number: int) -> None:
        if failure.check(Unanswered) is None:
            _log.failure("a message could not be dealt with", failure)
        if self.connected:
            self._send({"answers": number, "failed": failure.getErrorMessage()})

    def _send(self, message: Values, descriptors: Sequence[int] = ()) -> None:
        transport: Any = self.transport
        for each in descriptors:
            transport.sendFileDescriptor(each)
        self.sendString(json.dumps({**message, "descriptors": len(descriptors)}).encode("ascii"))


def _parsed(string: bytes) -> dict[str, Any]:
    """@raise ValueError: it is no message"""
    message = json.loads(string)
    if not isinstance(message, dict):
        raise ValueError("it is no object")
    kinds = {"answers": int, "failed": str} if "failed" in message else {"answers": int, "said": dict}
    if "answers" not in message:
        kinds = {"word": str, "said": dict, "descriptors": int}
    for name, kind in kinds.items():
        if not isinstance(message.get(name), kind):
            raise ValueError(f"{name} is missing or wrong")
    return message


def opened(reactor: Any, descriptor: int, channel: Channel) -> None:
    """
    Begin to speak over a connected UNIX socket.

    @param reactor: provides C{IReactorSocket}
    @param descriptor: the socket, which is closed: the channel has its own
    """
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda addr: channel  # type: ignore[method-assign]
    try:
        os.set_blocking(descriptor, False)
        reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, factory)
    finally:
        os.close(descriptor)
