"""Whether a service is ready."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.status.overview import troubles
from tests.status.looked_at import well


def found(**status: Any) -> list[str]:
    """The troubles of a service with which all else is well."""
    return troubles({**well(), **status})


class TroublesTests(SynchronousTestCase):
    """Each reason is a line."""

    def test_none(self) -> None:
        self.assertEqual(found(), [])

    def test_draining(self) -> None:
        """Who drains does not listen, which needs no line of its own."""
        drain = {"left": 17, "until": None}
        deaf = [{"address": "127.0.0.1:8443", "endpoint": "", "listening": False}]
        self.assertEqual(found(draining=True, drain=drain, listeners=deaf), ["draining: 17 connections left"])
        self.assertEqual(found(draining=True, drain={"left": 1}), ["draining: 1 connection left"])
        self.assertEqual(found(draining=True), ["draining"])

    def test_a_listener_that_does_not_listen(self) -> None:
        """It is named by its address, or where it never had one by its string."""
        deaf = [
            {"address": "127.0.0.1:8443", "endpoint": "mytls:8443", "listening": False},
            {"address": None, "endpoint": "unix:/x", "listening": False},
        ]
        self.assertEqual(found(listeners=deaf), ["nobody listens at 127.0.0.1:8443", "nobody listens at unix:/x"])

    def test_an_expired_certificate(self) -> None:
        """One is enough, and its line says which and since when."""
        certificates = [
            {"host": "a.example", "listener": "127.0.0.1:8443", "expired": False, "not_after": 2e9},
            {"host": "b.example", "listener": "127.0.0.1:8443", "expired": True, "not_after": 1e9},
        ]
        line = "the certificate of b.example at 127.0.0.1:8443 has expired on 2001-09-09"
        self.assertEqual(found(certificates=certificates), [line])

    def test_backends(self) -> None:
        """A handler is in trouble when none of its backends is well."""
        backends = [
            {"handler": "proxy:a,b", "state": "down"},
            {"handler": "proxy:a,b", "state": "up"},
            {"handler": "proxy:c,d", "state": "down"},
            {"handler": "proxy:c,d", "state": "unhealthy"},
        ]
        self.assertEqual(found(backends=backends), ["no backend of proxy:c,d is up"])

    def test_workers(self) -> None:
        """One is enough."""
        self.assertEqual(found(workers=[{"up": False}, {"up": False}]), ["no worker is up"])
        self.assertEqual(found(workers=[{"up": False}, {"up": True}]), [])
