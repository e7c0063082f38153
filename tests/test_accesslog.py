"""One line in the log for each connection that ends, is refused or fails: one, whatever a stranger sends."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import CLASSES, AccessLog
from mytls.errors import Cause, ConfigurationError, visible
from mytls.events import (
    Accepted,
    BackendFailed,
    Closed,
    Draining,
    Established,
    Event,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
    ReloadFailed,
)
from mytls.guards.access import Access
from mytls.offers import Offer
from mytls.peer import Identity, Peer
from mytls.proxyheader import ProxyHeader
from mytls.settings import Log
from tests.lines import log_lines

WHERE: dict[str, Any] = {"connection": 7, "listener": "127.0.0.1:8443", "address": "192.0.2.1:50000"}
BEGIN = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
NASTY = 'a b"c\\d\r\ne\x1b[31m{log_source}%s\u2028cause=clean'


def peer(**facts: Any) -> Peer:
    """A peer of TLS 1.3."""
    told = {
        "server_name": "www.example.com",
        "version": "TLSv1.3",
        "cipher": "TLS_AES_128_GCM_SHA256",
        "group": "x25519",
    }
    return Peer(IPv4Address("TCP", "192.0.2.1", 50000), **(told | facts))


def known(name: str, *names: x509.GeneralName) -> Identity:
    """What a certificate with this CN and these alternative names says."""
    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([attribute])).issuer_name(x509.Name([]))
    builder = builder.not_valid_before(BEGIN).not_valid_after(BEGIN).public_key(key.public_key()).serial_number(0x0A1B)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Identity.of(builder.sign(key, SHA256()))


def closed(who: Peer, **facts: Any) -> Closed:
    """A clean end."""
    told = {"cause": None, "detail": "", "bytes_in": 10, "bytes_out": 20, "seconds": 1.2345}
    return Closed(**WHERE, peer=who, **(told | facts))


def raised() -> HandlerFailed:
    """A handler that has raised."""
    return HandlerFailed(**WHERE, peer=peer(), detail="ValueError")


def failed(**facts: Any) -> HandshakeFailed:
    """A handshake that was none."""
    told = {"cause": Cause.NOT_TLS, "detail": "the first byte is 0x47", "server_name": None, "seconds": 0.01}
    return HandshakeFailed(**WHERE, **(told | facts))


class AccessLogTests(SynchronousTestCase):
    """The lines."""

    def lines(self, event: Event) -> list[str]:
        """What is logged of an event, as a log file has it."""
        seen = log_lines(self)
        AccessLog(Log(), Clock())(event)
        return seen

    def line(self, event: Event) -> str:
        """The one line."""
        (only,) = self.lines(event)
        self.assertEqual(len(only.splitlines()), 1, only)
        self.assertTrue(only.isascii() and only.isprintable(), only)
        return only

    def test_closed(self) -> None:
        """An end tells address, name, version, suite, group, protocol, bytes, time and that it was clean."""
        self.assertEqual(
            self.line(closed(peer(alpn="h2"))),
            "closed 192.0.2.1:50000 at 127.0.0.1:8443 name=www.example.com TLSv1.3 TLS_AES_128_GCM_SHA256 x25519 "
            "alpn=h2 resumed=- client=- host=- handler=- in=10 out=20 1.234s clean",
        )

    def test_via(self) -> None:
        """Each line has the proxy that the client has come by, whoever has chosen its path."""
        for event in (closed(peer()), failed(), Refused(**WHERE, cause=Cause.FROM)):
            line = self.line(attrs.evolve(event, via="/run/a b"))
            self.assertIn(" 192.0.2.1:50000 at 127.0.0.1:8443 via=/run/a\\x20b ", line)

    def test_resumed(self) -> None:
        """An end tells whether the client has gone on with an earlier session."""
        words = [self.line(closed(peer(resumed=each))).split()[9] for each in (True, False, None)]
        self.assertEqual(words, ["resumed=yes", "resumed=no", "resumed=-"])

    def test_client(self) -> None:
        """An end tells whom the client's certificate names, one name of each kind, and its serial number."""
        shown = known(
            "build",
            x509.DNSName("a.example"),
            x509.DNSName("b.example"),
            x509.UniformResourceIdentifier("spiffe://example/a"),
        )
        self.assertEqual(
            self.line(closed(peer(identity=shown))).split()[10],
            "client=cn=build,dns=a.example,uri=spiffe://example/a,serial=0A1B",
        )

    def test_closed_with_a_cause(self) -> None:
        """Any other end tells why."""
        self.assertRegex(
            self.line(
                closed(peer(), cause=Cause.EOF, detail="truncated: the peer closed the connection without close_notify")
            ),
            r" cause=eof \(truncated: the peer closed the connection without close_notify\)$",
        )

    def test_closed_without_tls(self) -> None:
        """What is not known is not left out: the fields stay where they are."""
        self.assertIn(
            " name=- plain - - alpn=- resumed=- client=- host=- handler=- in=",
            self.line(closed(peer(server_name=None, version=None, cipher=None, group=None))),
        )

    def test_handshake_failed(self) -> None:
        """A failed handshake tells address, name, cause, time and words."""
        self.assertEqual(
            self.line(failed(server_name="a.example")),
            "handshake-failed 192.0.2.1:50000 at 127.0.0.1:8443 name=a.example cause=not-tls after 0.010s "
            "by=server host=- handler=- versions=- groups=- alpn=-: the first byte is 0x47",
        )

    def test_hint(self) -> None:
        """A failed handshake tells who has ended it, whom it was for, what the client has offered, and a hint."""
        offer = Offer(("TLSv1.3", "TLSv1.2"), ("x25519",), ("h2", "a,b"))
        event = failed(ended_by="client", offer=offer, hint="look there", detail="unknown ca")
        self.assertTrue(
            self.line(attrs.evolve(event, host="a.example", handler="exec:/bin/cat -")).endswith(
                r" by=client host=a.example handler=exec:/bin/cat\x20- versions=TLSv1.3,TLSv1.2 groups=x25519 "
                r"alpn=h2,a\x2cb: unknown ca; hint: look there"
            )
        )
        self.assertIn(" host=* ", self.line(attrs.evolve(event, host="any name")))

    def test_many_offers(self) -> None:
        """Of many groups the line has the first six."""
        line = self.line(failed(offer=Offer(groups=tuple(f"g{number}" for number in range(12)))))
        self.assertIn(" groups=g0,g1,g2,g3,g4,g5,... ", line)

    def test_backend_failed(self) -> None:
        """A backend that was not to be had is told with its endpoint string, whatever stands in that."""
        event = BackendFailed(**WHERE, backend="unix:/a\nb", cause=Cause.BACKEND_REFUSED, detail="Connection refused")
        self.assertEqual(
            self.line(event),
            "backend-failed 192.0.2.1:50000 at 127.0.0.1:8443 unix:/a\\x0ab: backend-refused (Connection refused)",
        )

    def test_refused(self) -> None:
        """A refusal tells its cause, with words or without."""
        self.assertEqual(
            self.line(Refused(**WHERE, cause=Cause.LIMIT)), "refused 192.0.2.1:50000 at 127.0.0.1:8443 cause=limit"
        )
        self.assertRegex(
            self.line(Refused(**WHERE, cause=Cause.LIMIT, detail="100 are open")), " cause=limit: 100 are open$"
        )

    def test_reloaded(self) -> None:
        """A reload tells what has changed, or that nothing has."""
        self.assertEqual(self.line(Reloaded(changes=())), "reloaded: nothing has changed")
        self.assertEqual(
            self.line(Reloaded(changes=("a.example: serial 1 -> serial 2", "b is gone"))),
            "reloaded: a.example: serial 1 -> serial 2; b is gone",
        )

    def test_reload_failed(self) -> None:
        """A reload that failed tells why, each error in the same line."""
        self.assertEqual(
            self.line(ReloadFailed(lines=("a.pem: no such file", "b.pem: cut off"))),
            "reload-failed, the old stays: a.pem: no such file; b.pem: cut off",
        )
        self.assertIn(r"\x0a", self.line(ReloadFailed(lines=("a\nb.pem: cut off",))))

    def test_mended(self) -> None:
        """After one that failed, one that changes nothing says that all is well."""
        self.assertEqual(self.line(Reloaded(changes=(), mended=True)), "reloaded: all is well again")

    def test_escaped_once(self) -> None:
        """What quotes a stranger, and is escaped already, is not escaped again."""
        self.assertIn(r": CN=Test\x20CA \x0a", self.line(failed(detail="CN=" + visible("Test CA") + r" \x0a")))

    def test_handler_failed(self) -> None:
        """A handler that has raised has a line, beside its traceback."""
        self.assertEqual(
            self.line(attrs.evolve(raised(), host="a.example", handler="call:app:f")),
            "handler-failed 192.0.2.1:50000 at 127.0.0.1:8443 name=www.example.com cause=handler after 0.000s "
            "host=a.example handler=call:app:f: ValueError",
        )

    def test_draining(self) -> None:
        """A stop tells how many are still there, and how long they may stay."""
        self.assertEqual(
            self.line(Draining(connections=12, seconds=30.0)), "draining: 12 connections may go on for up to 30s"
        )
        self.assertEqual(
            self.line(Draining(connections=1, seconds=0.0)), "draining: 1 connection may go on for as long as they take"
        )

    def test_level(self) -> None:
        """What strangers do is information; a backend or reload that fails is a warning; our own fault an error."""
        events: list[Any] = []
        append: Any = events.append
        globalLogPublisher.addObserver(append)
        self.addCleanup(globalLogPublisher.removeObserver, append)
        backend = BackendFailed(**WHERE, backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail="refused")
        ours = closed(peer(), cause=Cause.HANDLER, detail="it raised")
        for event in (ReloadFailed(lines=("x",)), Reloaded(changes=()), failed(), backend, raised(), ours):
            AccessLog(Log(), Clock())(event)
        levels = [each["log_level"].name for each in events]
        self.assertEqual(levels, ["warn", "info", "info", "warn", "error", "error"])

    def test_many_changes(self) -> None:
        """Of thousands of changes the line has the first twenty, and how many more there are."""
        line = self.line(Reloaded(changes=tuple(f"{number}.example is new" for number in range(1000))))
        self.assertTrue(line.startswith("reloaded: 0.example is new; 1.example"), line)
        self.assertTrue(line.endswith("; 19.example is new; and 980 more"), line)

    def test_no_line(self) -> None:
        """What goes well has no line before its end."""
        for event in (
            Accepted(**WHERE),
            Established(**WHERE, peer=peer(), seconds=0.1),
        ):
            self.assertEqual(self.lines(event), [])

    def test_nasty_names(self) -> None:
        """A name of newlines, quotes, escapes and braces is one word of the line, and adds no field to it."""
        word = r"a\x20b\x22c\x5cd\x0d\x0ae\x1b[31m{log_source}%s\u{2028}cause=clean"
        self.assertEqual(self.line(failed(server_name=NASTY)).split()[4:6], [f"name={word}", "cause=not-tls"])
        self.assertEqual(self.line(closed(peer(server_name=NASTY))).split()[4:6], [f"name={word}", "TLSv1.3"])
        self.assertIn(f"alpn={word} resumed=- client=- host=- ", self.line(closed(peer(alpn=NASTY))))
        self.assertIn(f" alpn={word[:-1]}...: ", self.line(failed(offer=Offer(alpn=(NASTY,)))))

    def test_nasty_certificates(self) -> None:
        """Names of commas, spaces, newlines and escapes are parts of one word, which can be taken apart again."""
        for name in (NASTY, "a,serial=00", "a client=cn=b", "a\ncn=root", "a\\x2cb", "\U0010ffff" * 64, "a=b,,"):
            line = self.line(closed(peer(identity=known(name))))
            fields = [each for each in line.split(" ") if each.startswith("client=")]
            self.assertEqual(len(fields), 1, name)
            parts = fields[0].removeprefix("client=").split(",")
            self.assertEqual([each.partition("=")[0] for each in parts], ["cn", "serial"], name)
            self.assertEqual(parts[1], "serial=0A1B")
            self.assertEqual(line.split(" ")[-4:], ["in=10", "out=20", "1.234s", "clean"], name)
        (first, _) = fields[0].removeprefix("client=").split(",")
        self.assertEqual(first, r"cn=a=b\x2c\x2c")

    test_nasty_certificates.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_whole_refusals(self) -> None:
        """Words about a certificate are not cut before its serial number, whatever its names are."""
        for name in ("a" * 64, "\n" * 64, "\U0010ffff" * 64):
            uri = x509.UniformResourceIdentifier("spiffe://example/" + "a" * 200)
            shown = known(name, x509.DNSName("b" * 63 + ".example"), uri, x509.RFC822Name("c" * 64 + "@d.example"))
            detail = Access.of(["cn=x"]).refusal(shown)
            self.assertTrue(self.line(failed(cause=Cause.NOT_ALLOWED, detail=detail)).endswith(" serial=0A1B"), name)

    test_whole_refusals.suppress = [(("ignore",), {"category": UserWarning})]  # type: ignore[attr-defined]

    def test_nasty_details(self) -> None:
        """Words that quote a stranger's are one line, with spaces and nothing worse."""
        for event in (
            failed(detail=NASTY),
            closed(peer(), cause=Cause.EOF, detail=NASTY),
            Refused(**WHERE, cause=Cause.RATE, detail=NASTY),
        ):
            self.assertIn(r"a b\x22c\d\x0d\x0ae\x1b[31m{log_source}%s\u{2028}cause=clean", self.line(event))

    def test_nasty_addresses(self) -> None:
        """A client on a UNIX socket chooses its own path, and it too is one word."""
        for event in (failed(), closed(peer()), Refused(**WHERE, cause=Cause.RATE)):
            from_a_path = type(event)(
                **{each.name: getattr(event, each.name) for each in event.__attrs_attrs__}
                | {"address": "/run/x\nclosed y"}
            )
            self.assertEqual(self.line(from_a_path).split()[1:3], [r"/run/x\x0aclosed\x20y", "at"])

    def test_long_name(self) -> None:
        """A line has an end, however long the name."""
        self.assertLess(len(self.line(failed(server_name="\x00" * 255, detail="x" * 9999))), 1600)


class QuietTests(SynchronousTestCase):
    """What is kept out of the log."""

    def lines(self, quiet: list[str], event: Event) -> int:
        """How many lines there are of an event."""
        seen = log_lines(self)
        AccessLog(Log(quiet=tuple(quiet)), Clock())(event)
        return len(seen)

    def test_classes(self) -> None:
        """Each class silences its own events and no others."""
        check = failed(cause=Cause.EOF, silent=True)
        refused = Refused(**WHERE, cause=Cause.LIMIT)
        backend = BackendFailed(**WHERE, backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail="refused")
        events = {
            "connections": closed(peer()),
            "handshake-failures": failed(),
            "refusals": refused,
            "backend-failures": backend,
        }
        for quiet in events:
            for name, event in events.items():
                self.assertEqual(self.lines([quiet], event), int(name != quiet), (quiet, name))
        self.assertEqual(self.lines(["health-checks"], check), 0)
        self.assertEqual(self.lines(["health-checks"], failed(cause=Cause.EOF)), 1)
        self.assertEqual(self.lines(["health-checks"], failed(cause=Cause.HANDSHAKE_TIMEOUT, silent=True)), 1)
        of_proxy = peer(proxy_header=ProxyHeader(local=True))
        self.assertEqual(self.lines(["health-checks"], closed(of_proxy)), 0)
        self.assertEqual(self.lines(["health-checks"], closed(peer(proxy_header=ProxyHeader()))), 1)
        self.assertEqual(self.lines(list(CLASSES), closed(peer())), 0)

    def test_unknown(self) -> None:
        """What is no class is an error that names the nearest one."""
        with self.assertRaises(ConfigurationError) as caught:
            AccessLog(Log(quiet=("conections",)), Clock())
        self.assertIn("did you mean 'connections'?", str(caught.exception))
