"""One try to reach one backend: the words for how it fails, and backends that come too late."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.attempt import TLSConnectError
from mytls.errors import Cause
from mytls.handlers.dial import Backend, Dial, cause_of
from mytls.handlers.places import Place
from tests.memory import SocketInMemory


class CauseTests(SynchronousTestCase):
    """The word for each failure."""

    def test_words(self) -> None:
        """Refused, too late, or not who it should be; what our own client endpoint says counts as it is said."""
        for cause, errors in {
            Cause.BACKEND_REFUSED: (
                ConnectionRefusedError(),
                DNSLookupError("no such host"),
                FileNotFoundError(2, "No such file"),
                TLSConnectError(Cause.BACKEND_REFUSED, "refused"),
                TLSConnectError(Cause.RESET, "lost"),
                None,
            ),
            Cause.BACKEND_TIMEOUT: (
                TimeoutError(),
                TCPTimedOutError(),
                CancelledError(),
                TLSConnectError(Cause.BACKEND_TIMEOUT, "late"),
                TLSConnectError(Cause.HANDSHAKE_TIMEOUT, "late"),
            ),
            Cause.BACKEND_UNVERIFIED: (
                SSL.Error([("SSL routines", "", "certificate verify failed")]),
                VerificationError([]),
                TLSConnectError(Cause.UNKNOWN_CA, "nobody knows it"),
                TLSConnectError(Cause.NOT_TLS, "plain"),
                TLSConnectError(Cause.POLICY, "no"),
            ),
        }.items():
            self.assertEqual([cause_of(each) for each in errors], [cause] * len(errors))


@implementer(IStreamClientEndpoint)
class Deaf:
    """Cannot be cancelled."""

    def connect(self, factory: IProtocolFactory) -> Any:
        self.factory: Any = factory
        self.done: Deferred[Any] = Deferred(lambda _: None)
        return self.done


class ToldTests(SynchronousTestCase):
    """What is told of a dial that has failed."""

    def test_once(self) -> None:
        """What our own client endpoint says of itself is not said twice; another word is kept, as it tells more."""
        told: list[Any] = []
        for cause in (Cause.BACKEND_REFUSED, Cause.UNKNOWN_CA):
            endpoint, clock = Deaf(), Clock()
            dial = Dial(clock, Place("x:y", endpoint), 0, told.append, lambda *why: told.append(why))
            dial.begin(Backend(clock))
            endpoint.done.errback(TLSConnectError(cause, "starttls=smtp: no"))
        self.assertEqual(
            told,
            [
                (Cause.BACKEND_REFUSED, "starttls=smtp: no"),
                (Cause.BACKEND_UNVERIFIED, "unknown-ca: starttls=smtp: no"),
            ],
        )


class LateTests(SynchronousTestCase):
    """Whoever comes when it is over."""

    def test_late(self) -> None:
        """A backend that accepts after the time of its dial is dropped, and told to nobody."""
        clock, endpoint = Clock(), Deaf()
        told: list[Any] = []
        dial = Dial(clock, Place("x:y", endpoint), 9.99998, told.append, lambda cause, why: told.append((cause, why)))
        dial.begin(Backend(clock))
        clock.advance(10)
        self.assertEqual((told, dial.over), ([(Cause.BACKEND_TIMEOUT, "it was not ready within 10 s")], True))
        protocol = endpoint.factory.buildProtocol(None)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        self.assertEqual((type(socket.lost), len(told), clock.getDelayedCalls()), (ConnectionAborted, 1, []))
