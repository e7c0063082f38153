"""
Which host a ClientHello is for: certificate, TLS settings, rules, handler.

The name decides first: a host that has it whole before one that has it by a wildcard. Among hosts of the same name the
application protocols decide. Everything is built before the first client comes: what a stranger asks for is looked up,
and nothing is opened, parsed or made because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import attrs
from twisted.internet.interfaces import IAddress, IProtocolFactory

from mytls.errors import Alert, Cause, ConfigurationError, TLSFailure, visible
from mytls.guards.access import Access
from mytls.guards.policy import Policy
from mytls.guards.sources import Proxies, Sources
from mytls.names import asked_name, parent
from mytls.peer import Peer
from mytls.preludes import Prelude
from mytls.proxyheader import ProxyHeader
from mytls.settings import HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import ConnectionMaker, HostOptions, connection_maker
from mytls.tls.hello import ClientHello
from mytls.tls.readmission import check_again
from mytls.tls.verifier import Shown


@attrs.frozen(eq=False)
class Host:
    """
    What a client meets.

    @ivar maker: makes OpenSSL's connection, from this host's context; None where the ciphertext is passed on
    @ivar handler: what gets the decrypted bytes; None until somebody who listens says it
    @ivar access: which client certificates may enter; None where all may
    @ivar options: what its context was made from; None where the program has made it
    @ivar policies: who is asked of each peer, besides
    @ivar sources: where its clients may connect from
    @ivar names: the names that it answers to
    @ivar alpn: its application protocols; empty where it has no list
    @ivar settings: what the user has said of it
    @ivar pairs: its certificates
    @ivar serves: its handler in words: the handler string, where there is one
    @ivar digest: equal for hosts that are served with the same files and settings
    """

    maker: ConnectionMaker | None
    handler: IProtocolFactory | None = None
    access: Access | None = None
    options: HostOptions | None = None
    policies: tuple[Policy, ...] = ()
    sources: Sources = attrs.field(factory=Sources)
    names: tuple[str, ...] = ()
    alpn: tuple[bytes, ...] = ()
    settings: HostSettings = attrs.field(factory=HostSettings)
    pairs: tuple[KeyPair, ...] = ()
    serves: str = ""
    digest: bytes = b""

    def shown(self, connection: Any) -> Shown | None:
        """
        The certificate that a client has shown and may enter with; None where it needs none, or another verifies it.

        @param connection: after the handshake
        @raise TLSFailure: it may not enter
        """
        clients = None if self.options is None else self.options.clients
        if clients is None:
            return None
        shown = clients.met(connection)
        if shown is None and self.settings.client_auth == "required":  # OpenSSL has refused it; if not, we do
            raise TLSFailure(Cause.NO_CERTIFICATE, "there is no client certificate")
        return shown

    def check(self, peer: Peer) -> None:
        """
        Decide about the certificate of an earlier handshake as about one of now.

        @raise TLSFailure: the peer may not enter any more
        """
        clients = None if self.options is None else self.options.clients
        if clients is None:
            return
        if peer.certificate is not None:
            check_again(clients, peer.chain or (peer.certificate,))
        elif self.settings.client_auth == "required":
            raise TLSFailure(Cause.NO_CERTIFICATE, "there is no client certificate")

    def known_as(self) -> str:
        """Its first name, for a person."""
        return self.names[0] if self.names else "any name"


@attrs.frozen(eq=False)
class Hosts:
    """
    The hosts of a listener.

    @ivar by_name: the hosts of each name; of a wildcard under `*.example`
    @ivar unknown: who answers a client that asks for no name, or for nobody's; None: it is refused
    @ivar sources: where clients may connect from, whomever they ask for
    @ivar proxies: who has to say where clients are, since it passes their connections on
    @ivar prelude: what is said in the clear before TLS; None where a client's first byte is TLS's
    @ivar plain: whether there is no TLS: a client's first byte is the handler's, that of the one host
    """

    unknown: Host | None
    by_name: Mapping[str, Sequence[Host]] = attrs.field(factory=dict)
    sources: Sources = attrs.field(factory=Sources)
    proxies: Proxies = attrs.field(factory=Proxies)
    prelude: Prelude | None = None
    plain: bool = False

    @classmethod
    def only(cls, options: object, handler: IProtocolFactory | None = None) -> Hosts:
        """
        One host, for every name and for none.

        @param options: what L{connection_maker} takes
        """
        own = options if isinstance(options, HostOptions) else None
        return cls(Host(connection_maker(options), handler, options=own))

    @classmethod
    def without_tls(cls, settings: HostSettings, proxies: Proxies, handler: IProtocolFactory, serves: str) -> Hosts:
        """The host of a place that has no TLS of ours. @param serves: its handler in words"""
        host = Host(None, handler, settings=settings, serves=serves)
        return cls(host, sources=Sources(settings.from_), proxies=proxies, plain=True)

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
        return self.chosen(hello.server_name, hello.alpn)

    def chosen(self, server_name: bytes | None, protocols: Sequence[bytes]) -> Host:
        """
        The same.

        @param server_name: which the client asks for
        @param protocols: the application protocols that it offers, or has agreed on
        """
        if self.by_name and server_name is not None:
            name = asked_name(server_name)
            if name is not None:
                same = self.by_name.get(name) or self.by_name.get(parent(name))
                if same:
                    return same[0] if len(same) == 1 else _by_protocol(same, protocols)
        if self.unknown is not None:
            return self.unknown
        if server_name is None:
            raise TLSFailure(Cause.UNKNOWN_NAME, "the client asks for no name", Alert.UNRECOGNIZED_NAME)
        detail = f"no host has the name {visible(server_name)}"
        raise TLSFailure(Cause.UNKNOWN_NAME, detail, Alert.UNRECOGNIZED_NAME)

    def check_source(self, host: Host, peer: Peer) -> None:
        """@raise TLSFailure: who is where this peer is may not connect, or not to this host"""
        self.check_address(peer.address, peer.proxy_address, peer.proxy_header)
        refusal = host.sources.refusal(peer.address)
        if refusal is not None:
            raise TLSFailure(Cause.FROM, refusal)

    def check_address(self, address: IAddress | None, proxy: IAddress | None, header: ProxyHeader | None) -> None:
        """
        Hold a client's address against C{from}. What a proxy connects for by itself (LOCAL) is its own.

        @param address: where the client is, as far as anybody knows
        @param proxy: who has passed it on; None where nobody has
        @param header: what that has said of it
        @raise TLSFailure: who is there may not connect, whomever it asks for
        """
        if proxy is not None and not self.proxies.trusted(proxy):
            raise TLSFailure(Cause.PROXY_HEADER, "who has passed it on is not in proxy-protocol any more")
        if header is None or not header.local:
            refusal = self.sources.refusal(address)
            if refusal is not None:
                raise TLSFailure(Cause.FROM, refusal)

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

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Each policy once."""
        return tuple({id(policy): policy for host in self.all for policy in host.policies}.values())

    def handled_by(
        self,
        choose: Callable[[Host], IProtocolFactory | None],
        called: Callable[[Host], str] = lambda host: host.settings.handler or "",
    ) -> Hosts:
        """The same hosts, with handlers for those that have none yet. @param called: such a handler in words"""
        made = {
            id(host): host
            if host.handler is not None
            else attrs.evolve(host, handler=choose(host), serves=called(host))
            for host in self.all
        }
        unknown = None if self.unknown is None else made[id(self.unknown)]
        by_name = {name: [made[id(host)] for host in same] for name, same in self.by_name.items()}
        return attrs.evolve(self, unknown=unknown, by_name=by_name)


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
