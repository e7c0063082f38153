"""The server endpoint `mytls:`, as class and as string, and the endpoint strings of others."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import endpoints
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import mytls.endpoint
from mytls.endpoint import BACKLOG, TLSServerEndpoint, endpoint_from_words, plain_endpoint
from mytls.errors import ConfigurationError
from mytls.events import Event, Observers
from mytls.handlers.builtin import EchoFactory
from mytls.listener import TLSFactory
from mytls.settings import Deadlines
from tests.files import folder, pems, write_pair
from tests.lines import log_lines
from tests.memory import Link, authority, client_context, key_pair
from tests.tls.authority import Authority, showing


def options() -> CertificateOptions:
    """As a user of C{SSL4ServerEndpoint} has them."""
    pair: Any = key_pair()
    made: CertificateOptions = CertificateOptions(privateKey=pair.key, certificate=pair.certificate)
    return made


def quoted(text: str) -> str:
    """Text as it may stand in an endpoint string."""
    return str(quoteStringArgument(text))


def echoes(test: SynchronousTestCase, factory: TLSFactory, context: SSL.Context | None = None) -> Link:
    """Assert that whoever connects to this factory meets an echo over TLS."""
    link = Link(factory=factory, context=context)
    link.handshake()
    link.client.send(b"hello")
    link.pump()
    test.assertEqual(bytes(link.received), b"hello")
    return link


class ClassTests(SynchronousTestCase):
    """The class, in C{SSL4ServerEndpoint}'s place."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()

    def listening(self, endpoint: TLSServerEndpoint) -> IListeningPort:
        """Listen with an echo."""
        return self.successResultOf(endpoint.listen(EchoFactory()))

    def test_interface(self) -> None:
        """It is a server endpoint."""
        verifyObject(IStreamServerEndpoint, TLSServerEndpoint(self.reactor, 8443, options()))

    def test_arguments(self) -> None:
        """Port, options, backlog and interface stand where C{SSL4ServerEndpoint} has them."""
        self.listening(TLSServerEndpoint(self.reactor, 8443, options(), 7, "192.0.2.1"))
        ((port, factory, backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, backlog, interface), (8443, 7, "192.0.2.1"))
        echoes(self, factory)

    def test_defaults(self) -> None:
        """As there, fifty wait, on all addresses."""
        self.listening(TLSServerEndpoint(self.reactor, 8443, options()))
        self.assertEqual(self.reactor.tcpServers[0][2:], (50, ""))

    def test_wrong_options(self) -> None:
        """What can make no connection is refused at once, not at the first client."""
        self.assertRaises(TypeError, TLSServerEndpoint, self.reactor, 8443, "cert.pem")

    def test_over(self) -> None:
        """Another endpoint may be below."""
        below = TCP4ServerEndpoint(self.reactor, 1234)
        port = self.listening(TLSServerEndpoint(self.reactor, 0, options(), over=below))
        self.assertEqual(self.reactor.tcpServers[0][0], 1234)
        self.assertEqual(port.getHost().port, 1234)  # type: ignore[attr-defined]  # an IPv4 address

    def test_name_of_the_listener(self) -> None:
        """Events tell where it listens."""
        events: list[Event] = []
        endpoint = TLSServerEndpoint(self.reactor, 8443, options(), observers=Observers([events.append]))
        self.listening(endpoint)
        echoes(self, endpoint.factories[0])
        self.assertEqual([getattr(event, "listener", None) for event in events], ["0.0.0.0:8443"] * 2)

    def test_deadlines(self) -> None:
        """The deadlines are those that were given."""
        endpoint = TLSServerEndpoint(self.reactor, 8443, options(), deadlines=Deadlines(handshake=3))
        self.listening(endpoint)
        link = Link(factory=endpoint.factories[0])
        self.reactor.advance(2.9)
        self.assertIsNone(link.socket.lost)
        self.reactor.advance(0.2)
        self.assertIsNotNone(link.socket.lost)

    def test_cannot_listen(self) -> None:
        """A port that is not to be had is the Deferred's failure, as with any endpoint, and nothing is kept."""
        error = CannotListenError("", 8443, OSError(98, "Address already in use"))

        @implementer(IStreamServerEndpoint)
        class Busy:
            def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
                return fail(error)

        endpoint = TLSServerEndpoint(self.reactor, 8443, options(), over=Busy())
        self.assertIs(self.failureResultOf(endpoint.listen(EchoFactory())).value, error)
        self.assertEqual(endpoint.factories, [])


class StringTests(SynchronousTestCase):
    """The strings `ssl:` and `mytls:`."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.folder = folder(self)
        self.key, self.chain = write_pair(self.folder)
        self.files = {"privateKey": self.key, "certKey": self.chain}

    def listening(self, endpoint: IStreamServerEndpoint) -> Any:
        """Listen with an echo, and give what the reactor was asked for."""
        self.successResultOf(endpoint.listen(EchoFactory()))
        return self.reactor.tcpServers[-1]

    def test_whole_grammar(self) -> None:
        """Every word of `ssl:` is understood."""
        words = self.files | {"sslmethod": "TLSv1_2_METHOD", "interface": "127.0.0.1", "backlog": "9"}
        extra = self.folder / "extra.pem"
        extra.write_bytes(pems().rest)
        endpoint = endpoint_from_words(self.reactor, "ssl", ("8443",), words | {"extraCertChain": str(extra)})
        port, factory, backlog, interface = self.listening(endpoint)
        self.assertEqual((port, backlog, interface), (8443, 9, "127.0.0.1"))
        link = echoes(self, factory)
        self.assertEqual(link.client.get_protocol_version_name(), "TLSv1.2")

    def test_backlog(self) -> None:
        """Where nothing is said of it, the system keeps more waiting than Twisted's 50: a crowd comes at once."""
        self.listening(endpoint_from_words(self.reactor, "ssl", ("8443",), self.files))
        for string in ("tcp:8443", "tcp:8443:127.0.0.1", "tcp6:8443", "tcp:8443:backlog=7", "tcp:8443::9"):
            self.successResultOf(plain_endpoint(self.reactor, string).listen(EchoFactory()))
        self.assertEqual([server[2] for server in self.reactor.tcpServers], [BACKLOG, BACKLOG, BACKLOG, BACKLOG, 7, 9])
        self.successResultOf(plain_endpoint(self.reactor, "unix:/nowhere").listen(EchoFactory()))
        self.assertEqual(self.reactor.unixServers[0][2], BACKLOG)

    def test_words_without_names(self) -> None:
        """In Twisted's order: port, key, certificate."""
        port, factory, _, _ = self.listening(
            endpoint_from_words(self.reactor, "ssl", ("8443", self.key, self.chain), {})
        )
        self.assertEqual(port, 8443)
        echoes(self, factory)

    def test_full_chain_is_sent(self) -> None:
        """A full chain in `certKey` is sent whole, as Twisted's own `ssl:` does not."""
        _, factory, _, _ = self.listening(endpoint_from_words(self.reactor, "ssl", ("8443",), self.files))
        sent = echoes(self, factory).client.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(sent, x509.load_pem_x509_certificates(Path(self.chain).read_bytes()))
        self.assertEqual(len(sent or ()), 2)

    def test_key_alone(self) -> None:
        """Without `certKey` the certificate is in the key's file."""
        both = self.folder / "both.pem"
        both.write_bytes(pems().key + pems().leaf)
        _, factory, _, _ = self.listening(
            endpoint_from_words(self.reactor, "ssl", ("8443",), {"privateKey": str(both)})
        )
        echoes(self, factory)

    def test_default_file(self) -> None:
        """Without files it is C{server.pem}, as in Twisted's."""
        with self.assertRaisesRegex(ConfigurationError, r"^privateKey=server\.pem: no such file$"):
            endpoint_from_words(self.reactor, "ssl", ("8443",), {})

    def test_every_twisted_program(self) -> None:
        """`serverFromString` knows `mytls:`."""
        words = f"privateKey={quoted(self.key)}:certKey={quoted(self.chain)}"
        endpoint = serverFromString(self.reactor, rf"mytls:8443:{words}:interface=\:\:1")
        port, factory, _, interface = self.listening(endpoint)
        self.assertEqual((port, interface), (8443, "::1"))
        echoes(self, factory)

    def test_errors_in_every_twisted_program(self) -> None:
        """And there too, what is wrong is one line."""
        with self.assertRaisesRegex(ConfigurationError, "^privatKey= is no word of mytls:; did you mean 'privateKey'"):
            serverFromString(self.reactor, "mytls:8443:privatKey=x")

    def test_over_unix(self) -> None:
        """`over=` a socket's path."""
        endpoint = endpoint_from_words(self.reactor, "mytls", (), self.files | {"over": "unix:/run/x.sock:mode=600"})
        self.successResultOf(endpoint.listen(EchoFactory()))
        ((address, factory, _, mode, _),) = self.reactor.unixServers
        self.assertEqual((address, mode), ("/run/x.sock", 0o600))
        echoes(self, factory)

    def test_over_tcp(self) -> None:
        """`over=` any endpoint of Twisted's."""
        endpoint = endpoint_from_words(self.reactor, "mytls", (), self.files | {"over": "tcp:8080"})
        self.assertEqual(self.listening(endpoint)[0], 8080)

    def test_over_in_a_string(self) -> None:
        """The colons of what is below have a backslash before them."""
        words = f"privateKey={quoted(self.key)}:certKey={quoted(self.chain)}"
        endpoint = serverFromString(self.reactor, rf"mytls:over=tcp\:8080\:interface=127.0.0.1:{words}")
        self.assertEqual(self.listening(endpoint)[::3], (8080, "127.0.0.1"))

    def test_over_nothing(self) -> None:
        """What is below is checked as any endpoint is."""
        with self.assertRaisesRegex(ConfigurationError, "^there is no endpoint type 'unx'; did you mean 'unix'"):
            endpoint_from_words(self.reactor, "mytls", (), self.files | {"over": "unx:/run/x.sock"})

    def test_wrong_method(self) -> None:
        """A client of TLS 1.3 alone does not come in where TLS 1.2 alone is served."""
        _, factory, _, _ = self.listening(
            endpoint_from_words(self.reactor, "ssl", ("8443",), self.files | {"sslmethod": "TLSv1_2_METHOD"})
        )
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self.assertRaises(SSL.Error, Link(factory=factory, context=context).handshake)

    def test_expired(self) -> None:
        """An expired certificate serves, and the log names the file and the day."""
        old = authority().issue_cert(
            "localhost", not_before=datetime.datetime(2019, 1, 1), not_after=datetime.datetime(2020, 1, 1)
        )
        path = self.folder / "old.pem"
        path.write_bytes(old.private_key_and_cert_chain_pem.bytes() + authority().cert_pem.bytes())
        path.chmod(0o600)
        lines = log_lines(self)
        _, factory, _, _ = self.listening(
            endpoint_from_words(self.reactor, "ssl", ("8443",), {"privateKey": str(path)})
        )
        self.assertEqual(lines, [f"{path}: the certificate expired on 2020-01-01: renew it"])
        echoes(self, factory)

    def test_looks_while_anybody_listens(self) -> None:
        """The files are looked at as long as one of those who listen does; then no timer is left."""
        self.patch(mytls.endpoint, "in_a_thread", lambda reactor: maybeDeferred)
        endpoint = endpoint_from_words(self.reactor, "ssl", ("8443",), self.files)
        factories = [self.listening(endpoint)[1] for _ in range(2)]
        for factory in factories:
            factory.doStart()
        factories[0].doStop()
        renewed = pems("renewed.example")
        Path(self.key).write_bytes(renewed.key)
        Path(self.chain).write_bytes(renewed.leaf + renewed.rest)
        self.reactor.advance(10)
        self.assertIn("renewed.example", factories[1].hosts.unknown.names)
        factories[1].doStop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_reload_of_rules(self) -> None:
        """In another's program who is there is left, and counted; who comes meets the new rules."""
        self.patch(mytls.endpoint, "in_a_thread", lambda reactor: maybeDeferred)
        clients = Authority("Clients")
        ca, revoked = self.folder / "clients.pem", self.folder / "clients.crl"
        ca.write_bytes(clients.certificate.public_bytes(Encoding.PEM))
        revoked.write_bytes(clients.revoking().public_bytes(Encoding.PEM))
        said = {"clientCA": str(ca), "crl": str(revoked), "allow": "all"}
        factory = self.listening(endpoint_from_words(self.reactor, "mytls", ("8443",), self.files | said))[1]
        factory.doStart()
        pair = clients.client("ann")
        context = showing(pair, client_context(SSL.TLS1_2_VERSION))
        link = echoes(self, factory, context)
        lines = log_lines(self)
        revoked.write_bytes(clients.revoking(pair.certificate).public_bytes(Encoding.PEM))
        self.reactor.advance(10)
        left = "1 connection of a client who may not enter any more: left"
        self.assertEqual(lines, [f"reloaded: localhost: other client-ca or crl files; {left}"])
        link.client.send(b"!")
        link.pump()
        self.assertEqual(bytes(link.received)[-1:], b"!")
        self.assertRaises(SSL.Error, Link(factory=factory, context=context).handshake)
        factory.doStop()

    def test_valid(self) -> None:
        """One in its time is not spoken of."""
        lines = log_lines(self)
        endpoint_from_words(self.reactor, "ssl", ("8443",), self.files)
        self.assertEqual(lines, [])


_NONE_PASSED = (
    "we were passed no sockets; expected LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES with a name for each, as systemd"
    " sets them (with systemd-socket-activate say --fdname)"
)


class PlainTests(SynchronousTestCase):
    """Endpoint strings of others, and what is wrong with them in plain words."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()

    def test_as_they_are(self) -> None:
        """They are Twisted's to read."""
        endpoint = plain_endpoint(self.reactor, "tcp:8080:interface=127.0.0.1")
        self.successResultOf(endpoint.listen(Factory()))
        self.assertEqual(self.reactor.tcpServers[0][::3], (8080, "127.0.0.1"))

    def test_errors(self) -> None:
        """Each is one line, with the word that was wrong and the nearest right one."""
        known = "; expected one of: ssl, mytls, tcp, tcp6, unix, systemd, stdio, haproxy, tls"
        for written, line in (
            ("tpc:80", "there is no endpoint type 'tpc'; did you mean 'tcp'?"),
            ("zzzz:80", f"there is no endpoint type 'zzzz'{known}"),
            ("", f"there is no endpoint type ''{known}"),
            ("port=80", "the endpoint type has to stand first, as in tcp:8080"),
            ("haproxy:tpc:80", "there is no endpoint type 'tpc'; did you mean 'tcp'?"),
            ("tcp", "tcp: needs 'port'"),
            ("unix", "unix: needs 'address'"),
            ("unix:", "unix: needs 'address'"),
            ("unix:address=:mode=600", "unix: needs 'address'"),
            ("tcp:http", "'http' is not a number"),
            ("tcp:", "'' is not a number"),
            ("tcp:80:backlg=3", "backlg= is no word of tcp:; did you mean 'backlog'?"),
            ("unix:/x:mode=999", "'999' is not an octal number"),
            ("tcp:1:2:3:4", r"too many words for tcp:; a colon in a value is written \:"),
            ("tcp6:80:interface=::1", r"interface is said twice; a colon in a value is written \:"),
            ("tcp:80\\", "the string ends in the middle of a backslash pair"),
            ("tcp:80:backlog=1:backlog=2", "backlog= stands twice"),
            ("systemd:domain=INET", "Specify exactly one of descriptor index or name"),
            ("systemd:domain=INET:index=99", _NONE_PASSED),
            ("systemd:domain=INET:name=web", _NONE_PASSED),
            ("mytls:http", "port: 'http' is not a port; expected a number from 0 to 65535"),
        ):
            with self.assertRaises(ConfigurationError, msg=written) as caught:
                plain_endpoint(self.reactor, written)
            self.assertEqual(str(caught.exception), line, written)

    def test_no_such_socket(self) -> None:
        """The line says which there are."""
        self.patch(os, "environ", {"LISTEN_FDNAMES": "web:admin"})
        there = "there is no such socket; systemd has passed index=0 (name=web), index=1 (name=admin)"
        for wanted in ("index=2", "name=wbe"):
            with self.assertRaises(ConfigurationError) as caught:
                plain_endpoint(self.reactor, f"systemd:domain=INET:{wanted}")
            self.assertEqual(str(caught.exception), there)

    def test_unknown_domain(self) -> None:
        """A domain of sockets that there is none of."""

        class Passed:
            def inheritedDescriptors(self) -> list[int]:
                return [3]

        self.patch(endpoints._SystemdParser, "_sddaemon", Passed())
        with self.assertRaisesRegex(ConfigurationError, r"^domain=INETT: no such domain; did you mean 'INET'\?$"):
            plain_endpoint(self.reactor, "systemd:domain=INETT:index=0")
        plain_endpoint(self.reactor, "systemd:domain=INET:index=0")

    def test_error_without_words(self) -> None:
        """An error that says nothing is called by its name."""

        def silent(reactor: object, description: str) -> object:
            raise ZeroDivisionError

        self.patch(mytls.endpoint, "serverFromString", silent)
        with self.assertRaisesRegex(ConfigurationError, "^ZeroDivisionError$"):
            plain_endpoint(self.reactor, "tcp:80")
