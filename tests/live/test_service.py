"""The library in a program of one's own: on the real reactor, with clients of Twisted's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest_twisted  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

import mytls
from mytls.errors import Cause
from mytls.events import Closed, Established, Event
from mytls.settings import Deadlines
from tests.live.authority import Certificates


class Asker(Protocol):
    """Waits for so many bytes, and for the end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heard = b""
        self.answer: Deferred[bytes] = Deferred()
        self.end: Deferred[Failure] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) >= self._size and not self.answer.called:
            self.answer.callback(self._heard)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end.callback([reason])  # type: ignore[arg-type]  # a bare failure would be an errback


def root_of(certificates: Certificates) -> Certificate:
    """What a client trusts."""
    made: Certificate = Certificate.loadPEM(certificates.root.read_bytes())
    return made


async def asking(certificates: Certificates, port: int, data: bytes) -> Asker:
    """A client that has verified the server and has said something."""
    from twisted.internet import reactor

    options = optionsForClientTLS("localhost", trustRoot=root_of(certificates))
    place = wrapClientTLS(options, HostnameEndpoint(reactor, "127.0.0.1", port))
    asker: Asker = await connectProtocol(place, Asker(len(data)))
    asker.transport.write(data)  # type: ignore[union-attr]
    return asker


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_service_of_ones_own_serves_and_stops(certificates: Certificates) -> None:
    """
    `mytls.service` echoes 100 clients on the reactor of this process, tells of each, and finishes with all when the
    time that it gives them is over.
    """
    events: list[Event] = []
    service = mytls.service(
        certificates.ecdsa.endpoint(), "echo", observers=[events.append], deadlines=Deadlines(drain=0.2)
    )
    service.startService()
    try:
        port = service.addresses[0].port
        askers = [await asking(certificates, port, b"hello %d" % number) for number in range(100)]
        assert [await each.answer for each in askers] == [b"hello %d" % number for number in range(100)]
    finally:
        await service.stopService()
    ends: Any = [await each.end for each in askers]
    assert all(end[0].check(ConnectionDone) for end in ends)
    assert sum(isinstance(each, Established) for each in events) == 100
    assert [each.cause for each in events if isinstance(each, Closed)] == [Cause.DRAIN] * 100
    assert service.addresses == []


@pytest_twisted.inlineCallbacks  # type: ignore[untyped-decorator]
def test_tls_server_endpoint_is_a_drop_in_for_a_web_site(certificates: Certificates) -> Any:
    """`mytls.TLSServerEndpoint` takes a `CertificateOptions` as `SSL4ServerEndpoint` does, and serves Twisted's web."""
    from twisted.internet import reactor

    site = Resource()
    site.putChild(b"page", Data(b"a page\n" * 10_000, "text/plain"))
    options = options_of(certificates.rsa.key, certificates.rsa.chain)
    port = yield mytls.TLSServerEndpoint(reactor, 0, options, interface="127.0.0.1").listen(Site(site))
    try:
        agent = Agent(reactor, BrowserLikePolicyForHTTPS(root_of(certificates)))
        response = yield agent.request(b"GET", b"https://localhost:%d/page" % port.getHost().port)
        page = Asker(len(b"a page\n" * 10_000))
        response.deliverBody(page)
        body = yield page.answer
        assert (response.code, body) == (200, b"a page\n" * 10_000)
    finally:
        yield port.stopListening()


def options_of(key: Path, chain: Path) -> CertificateOptions:
    """A key and a full chain, as a program of Twisted's would give them."""
    leaf, *rest = x509.load_pem_x509_certificates(chain.read_bytes())
    return CertificateOptions(
        load_pem_private_key(key.read_bytes(), None),  # type: ignore[arg-type]  # Twisted's types know pyOpenSSL's alone
        leaf,  # type: ignore[arg-type]  # likewise
        extraCertChain=rest,  # type: ignore[arg-type]  # likewise
    )
