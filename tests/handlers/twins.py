"""
The same function with an C{ssl.SSLSocket} and with ours, so that what they do can be compared.

What a client does comes first: it talks to L{ToSocket} or to L{ToLink}. Then the function has the connstream.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import trustme
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates

from tests.handlers.loop import PATIENCE, ThreadTestCase
from tests.memory import Link, authority, client_context, key_pair

Function = Callable[[Any], Any]


class Client(Protocol):
    """A client, before the function runs."""

    def says(self, data: bytes) -> None:
        """It sends."""

    def finishes(self) -> None:
        """It sends close_notify."""

    def leaves(self) -> None:
        """It ends the stream without close_notify."""


def attempt(function: Callable[..., Any], *arguments: Any, **words: Any) -> Any:
    """What comes of a call: its value, or the type and the number of what it raises."""
    try:
        return function(*arguments, **words)
    except Exception as error:
        return type(error), getattr(error, "errno", None)


class TwinTestCase(ThreadTestCase):
    """Runs a function twice."""

    def both(self, function: Function, client: Callable[[Client], object] = lambda client: None, **words: Any) -> Any:
        """What the function returns with C{ssl.SSLSocket}, if it returns the same with ours."""
        theirs = over_socket(function, client, **words)
        ours = self.over_link(function, client, **words)
        self.assertEqual(ours, theirs)
        return ours

    def over_link(self, function: Function, client: Callable[[Client], object], certified: bool = False) -> Any:
        """With ours."""
        ready = threading.Event()
        answers: list[Any] = []

        def after_client(connstream: Any) -> None:
            ready.wait(PATIENCE)
            answers.append(function(connstream))

        served = self.serve(after_client)
        words = {"options": demanding_options(), "context": certified_context()} if certified else {}
        link = served.connect(**words)
        client(ToLink(link))
        ready.set()
        served.until_returned()
        self.assertEqual(served.factory.returned, [None])
        return answers[0]


class ToLink:
    """The client of ours."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def says(self, data: bytes) -> None:
        self._link.client.send(data)
        self._link.pump()

    def finishes(self) -> None:
        self._link.client.shutdown()
        self._link.pump()

    def leaves(self) -> None:
        self._link.fin()


class ToSocket:
    """The client of the ssl module's."""

    def __init__(self, client: ssl.SSLSocket) -> None:
        self._client = client

    def says(self, data: bytes) -> None:
        self._client.sendall(data)

    def finishes(self) -> None:
        self._client.settimeout(0)
        try:
            self._client.unwrap()
        except ssl.SSLWantReadError:  # it is sent, and not answered
            self._client.settimeout(PATIENCE)

    def leaves(self) -> None:
        socket.socket.shutdown(self._client, socket.SHUT_WR)


def over_socket(function: Function, client: Callable[[Client], object], certified: bool = False) -> Any:
    """With the ssl module's."""
    one, other = socket.socketpair()
    other.settimeout(PATIENCE)
    server: list[ssl.SSLSocket] = []
    context = server_context(certified)
    accepting = threading.Thread(target=lambda: server.append(context.wrap_socket(one, server_side=True)))
    accepting.start()
    with python_client_context(certified).wrap_socket(other, server_hostname="localhost") as wrapped:
        accepting.join(PATIENCE)
        with server[0]:
            client(ToSocket(wrapped))
            return function(server[0])


@cache
def client_certificate() -> trustme.LeafCert:
    """A client's certificate with everything that C{getpeercert} shows, for the whole run."""
    return authority().issue_cert(
        "client@example.org",
        "client.example.org",
        "2001:db8::1",
        "192.0.2.7",
        common_name="a client",
        organization_name="Example",
    )


def server_context(certified: bool) -> ssl.SSLContext:
    """The ssl module's side of a server. @param certified: whether it demands a client's certificate"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost").configure_cert(context)
    if certified:
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    return context


def python_client_context(certified: bool) -> ssl.SSLContext:
    """The ssl module's side of a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if certified:
        client_certificate().configure_cert(context)
    return context


def certified_context() -> SSL.Context:
    """pyOpenSSL's side of a client that has a certificate."""
    context = client_context()
    client_certificate().configure_cert(context)
    return context


def demanding_options() -> CertificateOptions:
    """Options of Twisted's that demand a client's certificate."""
    pair = key_pair()
    root = Certificate.loadPEM(authority().cert_pem.bytes())
    return CertificateOptions(
        privateKey=pair.key,  # type: ignore[arg-type]  # cryptography's own types, which pyOpenSSL prefers
        certificate=pair.certificate,  # type: ignore[arg-type]  # likewise
        trustRoot=trustRootFromCertificates([root]),
    )


def of_client() -> x509.Certificate:
    """That certificate, parsed."""
    return x509.load_pem_x509_certificate(client_certificate().cert_chain_pems[0].bytes())
