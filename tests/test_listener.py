"""A listener whose hosts change while clients are there."""

from __future__ import annotations

from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.events import Accepted, Event, HandshakeFailed, Observers, Refused
from mytls.guards.sources import Sources
from mytls.hosts import Host, Hosts
from mytls.kinds import network
from mytls.listener import TLSFactory, TurnedAway
from mytls.settings import Deadlines
from mytls.tls.contexts import connection_maker
from tests.memory import CLIENT_ADDRESS, Link, RecorderFactory, SocketInMemory, key_pair, tls_options


class CountingFactory(RecorderFactory):
    """Writes down when it is started and stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def startFactory(self) -> None:
        self.told.append("start")

    def stopFactory(self) -> None:
        self.told.append("stop")


def hosts(name: str, handler: IProtocolFactory | None = None) -> Hosts:
    """One host with a certificate for this name."""
    return Hosts.only(tls_options(key_pair(name)), handler)


def shown(link: Link) -> str:
    """The name in the certificate that the client was shown."""
    certificate: Any = link.client.get_peer_certificate(as_cryptography=True)
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.DNSName)
    return str(name)


class SourcesTests(SynchronousTestCase):
    """Where clients may connect from."""

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.handler = RecorderFactory()

    def link(self, of_listener: tuple[str, ...] = (), of_host: tuple[str, ...] = ()) -> Link:
        """A client, who connects from 192.0.2.1."""
        host = Host(connection_maker(tls_options()), sources=Sources(tuple(map(network, of_host))))
        served = Hosts(host, sources=Sources(tuple(map(network, of_listener))))
        self.factory = TLSFactory(served, self.handler, Clock(), Deadlines(), Observers([self.events.append]))
        return Link(handler=self.handler, factory=self.factory)

    def test_from_elsewhere(self) -> None:
        """Who connects from elsewhere is closed at once: nothing is said or read, no handler made, one event told."""
        link = self.link(("10.0.0.0/8",))
        self.assertIsInstance(link.socket.lost, ConnectionDone)
        self.assertEqual(link.socket.writes, [])
        (event,) = self.events
        assert isinstance(event, Refused)
        self.assertEqual((event.cause, event.detail), (Cause.FROM, "192.0.2.1 is in no network of from"))
        self.assertEqual(event.address, "192.0.2.1:50000")
        self.assertEqual(self.handler.made, [])

    def test_from_there(self) -> None:
        """Who is in one of the networks enters."""
        link = self.link(("10.0.0.0/8", "192.0.2.0/24"), ("192.0.2.1",))
        link.handshake()
        self.assertEqual(link.recorder.told, ["made"])

    def test_host(self) -> None:
        """A host's own networks are looked at once it is known, and the refusal is an alert in the clear."""
        link = self.link(("192.0.2.0/24",), ("10.0.0.0/8",))
        error: SSL.Error = self.assertRaises(SSL.Error, link.handshake)
        self.assertIn("access denied", str(error))
        self.assertEqual(link.socket.writes, [bytes((21, 3, 1, 0, 2, 2, 49))])
        self.assertEqual([type(event) for event in self.events], [Accepted, HandshakeFailed])
        self.assertIs(self.events[1].cause, Cause.FROM)  # type: ignore[attr-defined]

    def test_swapped(self) -> None:
        """After a swap the new networks hold for who comes."""
        self.link().handshake()
        self.factory.swap(attrs.evolve(self.factory.hosts, sources=Sources((network("10.0.0.0/8"),))))
        self.assertIsNotNone(Link(handler=self.handler, factory=self.factory).socket.lost)
        self.assertEqual(len(self.handler.made), 1)

    def test_without_an_address(self) -> None:
        """Who comes by a UNIX socket comes from no network."""
        self.link(("0.0.0.0/0", "::/0"))
        self.events.clear()
        for address in (None, UNIXAddress(b"")):
            self.assertIsInstance(self.factory.buildProtocol(address), TurnedAway)
        self.assertEqual([type(event) for event in self.events], [Refused, Refused])

    def test_behind_a_factory_that_wraps(self) -> None:
        """Where another factory wraps this, as the PROXY protocol's does, its connection is closed too."""
        self.link(("10.0.0.0/8",))
        wrapper = WrappingFactory(self.factory).buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(wrapper)
        wrapper.makeConnection(socket)
        self.assertIsNotNone(socket.lost)


class SwapTests(SynchronousTestCase):
    """Swapping the hosts."""

    def setUp(self) -> None:
        self.handler = RecorderFactory()
        self.factory = TLSFactory(hosts("old.example"), self.handler, Clock(), Deadlines(), Observers())

    def link(self) -> Link:
        """A client."""
        return Link(handler=self.handler, factory=self.factory)

    def test_new_clients(self) -> None:
        """Who comes after the swap meets the new host."""
        before, after = self.link(), self.link()
        before.handshake()
        self.factory.swap(hosts("new.example"))
        after.handshake()
        self.assertEqual((shown(before), shown(after)), ("old.example", "new.example"))

    def test_established(self) -> None:
        """Who was there goes on."""
        link = self.link()
        link.handshake()
        self.factory.swap(hosts("new.example"))
        link.client.send(b"still here")
        link.pump()
        self.assertEqual(self.handler.made[0].data, b"still here")

    def test_handshake_under_way(self) -> None:
        """A handshake finishes with what it began with, TLS 1.2 with its several turns too."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        link = Link(handler=self.handler, factory=self.factory, context=context)
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_client()
        self.factory.swap(hosts("new.example"))
        link.handshake()
        self.assertEqual(shown(link), "old.example")
        self.assertEqual(link.recorder.told, ["made"])

    def test_hello_under_way(self) -> None:
        """Who has sent half of a ClientHello meets the new host: it has chosen none yet."""
        link = self.link()
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        hello = link.outgoing()
        link.to_server(hello[:50])
        self.factory.swap(hosts("new.example"))
        link.to_server(hello[50:])
        link.to_client()
        link.handshake()
        self.assertEqual(shown(link), "new.example")

    def test_handlers_start_and_stop(self) -> None:
        """While it listens, new handlers are started and old ones stopped; those that stay notice nothing."""
        first, second, default = CountingFactory(), CountingFactory(), CountingFactory()
        maker = connection_maker(tls_options())
        one = Host(maker, first, names=("one.example",))
        two = Host(maker, second, names=("two.example",))
        factory = TLSFactory(Hosts.of([one], Host(maker)), default, Clock(), Deadlines(), Observers())
        factory.doStart()
        self.assertEqual((first.told, second.told, default.told), (["start"], [], ["start"]))
        factory.swap(Hosts.of([two], Host(maker)))
        self.assertEqual((first.told, second.told, default.told), (["start", "stop"], ["start"], ["start"]))
        factory.doStop()
        for each in (first, second, default):
            self.assertEqual(each.told, ["start", "stop"])

    def test_handlers_before_it_listens(self) -> None:
        """Before it listens nothing is started."""
        first = CountingFactory()
        factory = TLSFactory(hosts("a.example"), self.handler, Clock(), Deadlines(), Observers())
        factory.swap(hosts("a.example", first))
        self.assertEqual(first.told, [])
        factory.doStart()
        factory.doStop()
        self.assertEqual(first.told, ["start", "stop"])
