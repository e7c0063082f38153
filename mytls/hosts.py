"""
Which host a ClientHello is for: certificate, TLS settings, rules, handler.

The name decides first: a host that has it whole before one that has it by a wildcard. Among hosts of the same name the
application protocols decide. Everything is built before the first client comes: what a stranger asks for is looked up,
and nothing is opened, parsed or made because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import attrs
from twisted.internet.interfaces import IProtocolFactory

from mytls.errors import Alert, Cause, ConfigurationError, TLSFailure, visible
from mytls.guards.access import Access
from mytls.names import asked_name, parent
from mytls.peer import Peer
from mytls.settings import HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import ConnectionMaker
from mytls.tls.hello import ClientHello


@attrs.frozen(eq=False)
class Host:
    """
    What a client meets.

    @ivar maker: makes OpenSSL's connection, from this host's context; None where the ciphertext is passed on
    @ivar handler: what gets the decrypted bytes; None until somebody who listens says it
    @ivar access: which client certificates may enter; None where all may
    @ivar names: the names that it answers to
    @ivar alpn: its application protocols; empty where it has no list
    @ivar settings: what the user has said of it
    @ivar pairs: its certificates
    @ivar digest: equal for hosts that are served with the same files and settings
    """

    maker: ConnectionMaker | None
    handler: IProtocolFactory | None = None
    access: Access | None = None
    names: tuple[str, ...] = ()
    alpn: tuple[bytes, ...] = ()
    settings: HostSettings = attrs.field(factory=HostSettings)
    pairs: tuple[KeyPair, ...] = ()
    digest: bytes = b""

    def refusal(self, peer: Peer) -> str | None:
        """Why this peer may not enter, or None."""
        if self.access is None or (peer.certificate is None and self.settings.client_auth == "optional"):
            return None
        if peer.certificate is None:  # OpenSSL has refused it; if not, we do
            return "there is no client certificate"
        return self.access.refusal(peer.certificate)

    def known_as(self) -> str:
        """Its first name, for a person."""
        return self.names[0] if self.names else "any name"


@attrs.frozen(eq=False)
class Hosts:
    """
    The hosts of a listener.

    @ivar by_name: the hosts of each name; of a wildcard under `*.example`
    @ivar unknown: who answers a client that asks for no name, or for nobody's; None: it is refused
    """

    unknown: Host | None
    by_name: Mapping[str, Sequence[Host]] = attrs.field(factory=dict)

    @classmethod
    def only(cls, maker: ConnectionMaker, handler: IProtocolFactory | None = None) -> Hosts:
        """One host, for every name and for none."""
        return cls(Host(maker, handler))

    @classmethod
    def of(cls, hosts: Iterable[Host], unknown: Host | None) -> Hosts:
        """
        Hosts that are told apart by their names.

        @raise ConfigurationError: two of them cannot be told apart
        """
        by_name: dict[str, list[Host]] = {}
        for host in hosts:
            for name in host.names:
                by_name.setdefault(name, []).append(host)
        for name, same in by_name.items():
            for one, other in combinations(same, 2):
                _check_told_apart(name, one, other)
        return cls(unknown, by_name)

    def choose(self, hello: ClientHello) -> Host:
        """
        The host for this client.

        @raise TLSFailure: there is none
        """
        if self.by_name and hello.server_name is not None:
            name = asked_name(hello.server_name)
            if name is not None:
                same = self.by_name.get(name) or self.by_name.get(parent(name))
                if same:
                    return same[0] if len(same) == 1 else _by_protocol(same, hello.alpn)
        if self.unknown is not None:
            return self.unknown
        if hello.server_name is None:
            raise TLSFailure(Cause.UNKNOWN_NAME, "the client asks for no name", Alert.UNRECOGNIZED_NAME)
        detail = f"no host has the name {visible(hello.server_name)}"
        raise TLSFailure(Cause.UNKNOWN_NAME, detail, Alert.UNRECOGNIZED_NAME)

    @property
    def all(self) -> tuple[Host, ...]:
        """Each host once."""
        found = {id(host): host for same in self.by_name.values() for host in same}
        if self.unknown is not None:
            found.setdefault(id(self.unknown), self.unknown)
        return tuple(found.values())

    @property
    def handlers(self) -> tuple[IProtocolFactory, ...]:
        """Each handler once."""
        return tuple({id(host.handler): host.handler for host in self.all if host.handler is not None}.values())

    def handled_by(self, choose: Callable[[Host], IProtocolFactory | None]) -> Hosts:
        """The same hosts, with handlers for those that have none yet."""
        made = {
            id(host): host if host.handler is not None else attrs.evolve(host, handler=choose(host))
            for host in self.all
        }
        unknown = None if self.unknown is None else made[id(self.unknown)]
        return Hosts(unknown, {name: [made[id(host)] for host in same] for name, same in self.by_name.items()})


def _by_protocol(same: Sequence[Host], offered: Sequence[bytes]) -> Host:
    """The first host that speaks one of these; else the one that takes all; else the first, which will say no."""
    for host in same:
        if any(protocol in host.alpn for protocol in offered):
            return host
    return next((host for host in same if not host.alpn), same[0])


def _check_told_apart(name: str, one: Host, other: Host) -> None:
    common = set(one.alpn) & set(other.alpn)
    if common:
        raise ConfigurationError(f"two hosts have the name {name} and the protocol {visible(common.pop())}")
    if not one.alpn and not other.alpn:
        raise ConfigurationError(f"two hosts have the name {name}; only different alpn lists could tell them apart")
