"""Clients that show certificates, at hosts that ask for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.task import Clock

from mytls.events import Event, HandshakeFailed, Observers
from mytls.guards.access import Access
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.peer import Identity, Peer
from mytls.settings import Deadlines, HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import host_options
from mytls.tls.trust import ClientTrust
from mytls.tls.verifier import Verifier
from tests.memory import Link, RecorderFactory, client_context, key_pair
from tests.tls.authority import Authority, showing

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def trusting(
    *authorities: Authority, revocations: Sequence[x509.CertificateRevocationList] = (), **more: Any
) -> ClientTrust:
    """Who may issue clients' certificates."""
    return ClientTrust(tuple(each.certificate for each in authorities), tuple(revocations), **more)


def host_for(
    clients: ClientTrust | None,
    pair: KeyPair | None = None,
    admit: Callable[[Identity], str | None] | None = None,
    **said: Any,
) -> Host:
    """
    A host with client certificates: required, unless something else is said.

    @param admit: who of the verified clients may enter; who is allowed, where there are rules
    """
    settings = HostSettings(**{"client_auth": "required", **said})
    rules = Access.of_host(settings)
    if admit is None:
        admit = rules.refusal if rules.rules else lambda identity: None
    options = host_options(settings, [pair or key_pair()], clients, admit=admit)
    return Host(options.serverConnectionForTLS, options=options, settings=settings)


def verifier_of(host: Host) -> Verifier:
    """Who verifies its clients."""
    assert host.options is not None
    assert host.options.clients is not None
    return host.options.clients


def set_time(host: Host, moment: Any) -> None:
    """What time it is for whoever verifies its clients."""
    assert host.options is not None
    store = host.options.getContext().get_cert_store()
    assert store is not None
    store.set_time(moment.replace(tzinfo=None))


def client(pair: KeyPair | None, version: int | None = None) -> SSL.Context:
    """A client's context. @param pair: the certificate that it shows, if any"""
    context = client_context(version)
    return context if pair is None else showing(pair, context)


class Visit(Link):
    """
    A client that has shaken hands, or has been refused.

    @ivar alert: what the client was told when it was refused, in words; None where there was no alert
    """

    def __init__(
        self,
        hosts: Host | Hosts,
        context: SSL.Context,
        after: Visit | None = None,
        server_name: bytes = b"localhost",
        pair: KeyPair | None = None,
    ) -> None:
        """
        @param after: the visit whose session the client offers; it has to live, or OpenSSL drops that
        @param pair: the certificate that the client shows, where its context has none
        """
        events: list[Event] = []
        clock, handler = Clock(), RecorderFactory()
        served = hosts if isinstance(hosts, Hosts) else Hosts(hosts)
        factory = TLSFactory(served, handler, clock, Deadlines(), Observers([events.append]))
        super().__init__(handler=handler, factory=factory, clock=clock, context=context, server_name=server_name)
        self.events = events
        self.alert: str | None = None
        if pair is not None:
            self.client.use_certificate(pair.certificate)
            self.client.use_privatekey(pair.key)  # type: ignore[arg-type]  # keys of kinds that OpenSSL takes
        self._after = after
        if after is not None:
            session = after.client.get_session()
            assert session is not None
            self.client.set_session(session)
        try:
            self.handshake()
            self.read_client()
        except SSL.Error as error:
            found = re.search("alert (.*)", error.args[0][0][-1])
            self.alert = found[1] if found else str(error)
            self.to_server(self.outgoing())

    @property
    def resumed(self) -> bool:
        """Whether the client's session was gone on with; pyOpenSSL has no public word for it."""
        library: Any = getattr(SSL, "_lib")  # noqa: B009  # private, and not in pyOpenSSL's types
        connection: Any = self.client
        return bool(library.SSL_session_reused(connection._ssl))

    @property
    def peer(self) -> Peer | None:
        """Whom the handler has met; None where the client was refused, of which one event tells."""
        assert self.kinds() == ["Accepted", "Established" if self.handlers else "HandshakeFailed"], self.events
        return self.transport.peer if self.handlers else None

    @property
    def failed(self) -> HandshakeFailed:
        """How the client was refused."""
        assert self.peer is None, self.peer
        last = self.events[-1]
        assert isinstance(last, HandshakeFailed)
        return last

    @property
    def enters(self) -> bool:
        """Whether the handler has met this client."""
        return self.peer is not None
