"""Trust domains without an agent: what a Workload API would issue, and one that issues it at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from cryptography import x509

from mytls.errors import ConfigurationError
from mytls.tls.certificates import KeyPair
from mytls.tls.svids import Issued
from tests.tls.authority import CLIENT, SERVER, Authority, ec_key


def svid(by: Authority, uri: str = "spiffe://example.org/web", **how: Any) -> KeyPair:
    """An X.509-SVID of this CA, whoever that is. @param how: as of L{Authority.issue}"""
    key = ec_key()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    uses = x509.ExtendedKeyUsage([SERVER, CLIENT])
    return KeyPair(key, by._sign(x509.Name([]), key, names, uses, **how), by.chain, "unix:/agent")


def issued(pair: KeyPair, **domains: Authority) -> Issued:
    """What an agent has issued. @param domains: the CA of each trust domain, by its name without `.org`"""
    return Issued((pair,), {f"{name}.org": (each.certificate,) for name, each in domains.items()})


@attrs.define(eq=False)
class Told:
    """
    Stands for a L{mytls.tls.workload.Workload}.

    @cvar answers: what is issued, by the addresses; nothing is an agent that is not there
    @cvar made: all of them that were made
    @ivar changed: tells of a rotation, while it is followed
    @ivar troubled: tells of a trouble, while it is followed
    @ivar asked: how often something was fetched
    """

    answers: ClassVar[dict[str, Issued]] = {}
    made: ClassVar[list[Told]] = []

    address: str
    changed: Callable[[], object] | None = None
    troubled: Callable[[str], object] | None = None
    asked: int = 0

    def __attrs_post_init__(self) -> None:
        self.made.append(self)

    @property
    def digest(self) -> bytes:
        """See L{Workload.digest}."""
        return hashlib.sha256(self.address.encode()).digest()

    def fetch(self) -> Issued:
        """See L{Workload.fetch}."""
        self.asked += 1
        if self.address not in self.answers:
            raise ConfigurationError("no such socket; waited 10 seconds")
        return self.answers[self.address]

    def follow(self, changed: Callable[[], object], troubled: Callable[[str], object]) -> None:
        """See L{Workload.follow}."""
        self.changed, self.troubled = changed, troubled

    def stop(self) -> None:
        """See L{Workload.stop}."""
        self.changed = self.troubled = None


def telling(**answers: Issued) -> type[Told]:
    """
    A class of these for one test, with its own answers.

    @param answers: what is issued at `unix:/NAME`
    """

    class Own(Told):
        """Of this test."""

    Own.answers = {f"unix:/{name}": each for name, each in answers.items()}
    Own.made = []
    return Own
