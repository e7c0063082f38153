"""
Every kind of client, at every kind of host, with every kind of session: who enters and how the others are refused.

What is expected is written here as a policy in words. A client that was never let in offers the session that it could
get: of its own host without its certificate or at a time when that was good, else of a host that is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.hosts import Host, Hosts
from mytls.loading import Loaded, Loading, contexts, load
from mytls.settings import HostSettings, ListenerSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.files import Files
from tests.files import folder
from tests.memory import key_pair
from tests.tls.authority import DAY, NOW, SERVER, Authority
from tests.tls.clients import Visit, client, set_time
from tests.tls.issuing import key_pem, pem, write

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
MODES = ("off", "optional", "required")

FRESH = "fresh"
RESUMED = "resumed"
OF_ANOTHER = "with another host's session"
RELOADED = "resumed after the rule is gone"
WAYS = (FRESH, RESUMED, OF_ANOTHER, RELOADED)

NONE, RIGHT, OTHER, SELF_SIGNED = "no certificate", "right CA", "other CA", "self-signed"
EXPIRED, EARLY, REVOKED, FOR_SERVERS = "expired", "not yet valid", "revoked", "for servers alone"

#: Who is refused in a handshake that is whole: the cause in the log, the alert that the client gets.
REFUSED: dict[str, tuple[Cause, str]] = {
    NONE: (Cause.NO_CERTIFICATE, "certificate required"),
    OTHER: (Cause.UNKNOWN_CA, "unknown ca"),
    SELF_SIGNED: (Cause.UNKNOWN_CA, "unknown ca"),
    EXPIRED: (Cause.EXPIRED, "certificate expired"),
    EARLY: (Cause.NOT_YET_VALID, "bad certificate"),
    REVOKED: (Cause.REVOKED, "certificate revoked"),
    FOR_SERVERS: (Cause.WRONG_USAGE, "unsupported certificate"),
}
CLIENTS = (NONE, RIGHT, *(who for who in REFUSED if who != NONE))
#: When a certificate of the kind, which is good while the test runs, is not: what time it is for the host then.
MOMENTS = {EXPIRED: NOW + 2 * DAY, EARLY: NOW - 2 * DAY}
LASTING: dict[str, Any] = {"since": -9 * DAY, "until": 9 * DAY}


def expected(who: str, version: str, way: str, mode: str) -> str:
    """The policy."""
    own_session = way == RESUMED
    if mode == "off":
        return f"enters as nobody{', resumed' if own_session else ''}"
    if own_session and who in (EXPIRED, EARLY):  # the session is of a time when the certificate was good
        return f"refused: {REFUSED[who][0]}, without an alert, resumed"
    if own_session and who == RIGHT:
        return "enters as friend, resumed"
    if mode == "optional" and own_session:  # who may come without a certificate has a session without one
        return "enters as nobody, resumed"
    if mode == "optional" and who == NONE:
        return "enters as nobody"
    if who == RIGHT:
        return f"refused: {Cause.NOT_ALLOWED}, certificate unknown" if way == RELOADED else "enters as friend"
    cause, alert = REFUSED[who]
    if who == NONE and version == "1.2":  # the alert certificate_required is of TLS 1.3
        alert = "handshake failure"
    return f"refused: {cause}, {alert}"


def seen(visit: Visit) -> str:
    """What has happened, in the same words."""
    resumed = ", resumed" if visit.resumed else ""
    if visit.peer is not None:
        return f"enters as {','.join(visit.peer.cn) or 'nobody'}{resumed}"
    return f"refused: {visit.failed.cause}, {visit.alert or 'without an alert'}{resumed}"


class World:
    """
    Authorities, clients, and the files of a server.

    @ivar shown: what each kind of client shows
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.right, self.other = Authority("Right", **LASTING), Authority("Other", **LASTING)
        itself = Authority("friend", **LASTING)
        friend = self.right.client(**LASTING)
        self.shown: dict[str, KeyPair | None] = {
            NONE: None,
            RIGHT: friend,
            OTHER: self.other.client(**LASTING),
            SELF_SIGNED: KeyPair(itself.key, itself._sign(itself.name, itself.key, **LASTING)),
            EXPIRED: self.right.client(since=-9 * DAY, until=DAY),
            EARLY: self.right.client(since=-DAY, until=9 * DAY),
            REVOKED: self.right.client(**LASTING),
            FOR_SERVERS: self.right.client(usages=(SERVER,), **LASTING),
        }
        own = key_pair("api.example", "open.example")
        self.site = self.write("site.pem", pem(own.certificate), key_pem(own.key))
        revoked = self.shown[REVOKED]
        self_signed = self.shown[SELF_SIGNED]
        assert revoked is not None
        assert self_signed is not None
        self.right_ca = self.write("right.pem", pem(self.right.certificate))
        self.any_ca = self.write(
            "any.pem", pem(self.right.certificate, self.other.certificate, self_signed.certificate)
        )
        self.crl = self.write("right.crl", pem(self.right.revoking(revoked.certificate, **LASTING)))

    def write(self, name: str, *content: bytes) -> str:
        """A file. @return: its path"""
        return write(self.place / name, *content)

    def host(self, name: str, **said: Any) -> HostSettings:
        """A host's settings."""
        return HostSettings(names=(name,), certificate=(self.site,), private_key=(self.site,), **said)

    def strict(self, mode: str, *allow: str) -> HostSettings:
        """The host that is tried."""
        if mode == "off":
            return self.host("api.example")
        return self.host("api.example", client_auth=mode, client_ca=(self.right_ca,), crl=(self.crl,), allow=allow)

    def lenient(self, name: str, **said: Any) -> HostSettings:
        """A host that is open to nearly all."""
        return self.host(name, client_auth="optional", client_ca=(self.any_ca,), **said)

    def load(self, api: HostSettings, before: Loaded | None = None) -> Loaded:
        """Load the host that is tried, and one that is open. @param before: what was loaded earlier"""
        settings = ListenerSettings("mytls:1", hosts=(api, self.lenient("open.example")))
        return load(settings, Loading(Files(), {} if before is None else contexts(before)))

    def earlier(self, hosts: Hosts, name: str, who: str, context: SSL.Context) -> Visit | None:
        """Whoever has let this client in before, so that it has a session; None where nobody has."""
        for pair in (self.shown[who], None):
            visit = Visit(hosts, context, server_name=name.encode(), pair=pair)
            if visit.enters:
                return visit
        return None


def host_of(hosts: Hosts, name: str) -> Host:
    """The host of this name."""
    return hosts.by_name[name][0]


class MatrixTests(SynchronousTestCase):
    """The whole table."""

    maxDiff = None

    def setUp(self) -> None:
        self.world = World(folder(self))

    def test_matrix(self) -> None:
        """Expected and seen are the same in each of its lines."""
        rows = [(who, version, way, mode) for who in CLIENTS for version in VERSIONS for way in WAYS for mode in MODES]
        self.assertEqual(len(rows), 8 * 2 * 4 * 3)
        lines = [(f"{who:18} TLS {version}  {way:32} {mode:10}", expected(who, version, way, mode),
                  self.outcome(who, version, way, mode)) for who, version, way, mode in rows]  # fmt: skip
        wrong = "\n".join(f"{row} expected: {one}; seen: {other}" for row, one, other in lines if one != other)
        self.assertEqual(wrong, "", f"\n{wrong}")

    def outcome(self, who: str, version: str, way: str, mode: str) -> str:
        """What becomes of this client."""
        now, before = self.served(way, mode)
        context = client(None, VERSIONS[version])
        session = None
        if way != FRESH:
            name = "open.example" if way == OF_ANOTHER else "api.example"
            session = self.world.earlier(before, name, who, context)
            session = session or self.world.earlier(before, "open.example", who, context)
            assert session is not None, "everybody has a session"
        if who in MOMENTS and mode != "off":
            set_time(host_of(now, "api.example"), MOMENTS[who])
        return seen(Visit(now, context, session, server_name=b"api.example", pair=self.world.shown[who]))

    def served(self, way: str, mode: str) -> tuple[Hosts, Hosts]:
        """What is served, and what was served before."""
        if way != RELOADED:
            now = self.world.load(self.world.strict(mode, "cn=friend")).hosts
            return now, now
        before = self.world.load(self.world.lenient("api.example", allow=("cn=friend",)))
        after = self.world.load(self.world.strict(mode, "cn=nobody"), before)
        kept = {host_of(each.hosts, "open.example").options for each in (before, after)}
        self.assertEqual(len(kept), 1, "what has not changed is kept")
        return after.hosts, before.hosts


class KnownWaysTests(SynchronousTestCase):
    """Ways in that others have had."""

    #: TLS 1.2 by ticket and by number, TLS 1.3.
    WAYS = ((SSL.TLS1_2_VERSION, 0), (SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET), (SSL.TLS1_3_VERSION, 0))

    def setUp(self) -> None:
        self.world = World(folder(self))
        self.other_ca = self.world.write("other.pem", pem(self.world.other.certificate))

    def contexts(self, who: str) -> Iterator[tuple[SSL.Context, bool]]:
        """Such a client, in each way; and whether its session is kept by a host that asks for certificates."""
        for version, option in self.WAYS:
            context = client(self.world.shown[who], version)
            context.set_options(option)
            yield context, option == 0

    def required(self, name: str, ca: str, **said: Any) -> HostSettings:
        """A host for the clients of a CA."""
        return self.world.host(name, client_auth="required", client_ca=(ca,), allow=("all",), **said)

    def load(self, *hosts: HostSettings, before: Loaded | None = None, **said: Any) -> Loaded:
        """Load these hosts."""
        made = {} if before is None else contexts(before)
        return load(ListenerSettings("mytls:1", hosts=hosts, **said), Loading(Files(), made))

    def test_session_of_another_server_block(self) -> None:
        """
        CVE-2025-23419: a client that one host has let in takes its session to a host with other CAs; so does who got
        it from the host that answers to unknown names, or from an open one; in either direction.
        """
        one = self.required("open.example", self.world.right_ca)
        other = self.required("api.example", self.other_ca)
        loaded = self.load(one, other, unknown_name="open.example")
        opened = self.load(self.world.host("open.example"), other, unknown_name="open.example")
        for hosts, who, first_name, then, cause in (
            (loaded.hosts, RIGHT, b"open.example", b"api.example", Cause.UNKNOWN_CA),
            (loaded.hosts, RIGHT, b"unknown.example", b"api.example", Cause.UNKNOWN_CA),
            (loaded.hosts, OTHER, b"api.example", b"open.example", Cause.UNKNOWN_CA),
            (loaded.hosts, OTHER, b"api.example", b"unknown.example", Cause.UNKNOWN_CA),
            (opened.hosts, NONE, b"open.example", b"api.example", Cause.NO_CERTIFICATE),
            (opened.hosts, NONE, b"unknown.example", b"api.example", Cause.NO_CERTIFICATE),
        ):
            for context, ticket in self.contexts(who):
                first = Visit(hosts, context, server_name=first_name)
                again = Visit(hosts, context, first, server_name=first_name)
                kept = ticket or who == NONE
                self.assertEqual((again.enters, again.resumed), (True, kept), "the session is good where it is from")
                visit = Visit(hosts, context, first, server_name=then)
                self.assertEqual((visit.failed.cause, visit.resumed), (cause, False))

    def test_name_of_another_connection(self) -> None:
        """Who goes on with a session under another name of the same host is known by that name, or is refused."""
        loaded = self.load(self.required("open.example", self.world.right_ca), unknown_name="open.example")
        for context, _ in self.contexts(RIGHT):
            for name, another in ((b"open.example", b"unknown.example"), (b"unknown.example", b"open.example")):
                first = Visit(loaded.hosts, context, server_name=name)
                visit = Visit(loaded.hosts, context, first, server_name=another)
                if visit.peer is not None:
                    self.assertEqual((visit.peer.server_name, visit.peer.cn), (another.decode(), ("friend",)))
                else:
                    self.assertIs(visit.failed.cause, Cause.UNKNOWN_NAME)

    def test_changed_authorities(self) -> None:
        """
        CVE-2025-68121: the CAs of clients change between a handshake and one that would resume it: another file, the
        same file with another CA, one of two taken away, a revocation list more. Who is as before goes on as before.
        """
        both = self.world.write("both.pem", pem(self.world.right.certificate, self.world.other.certificate))
        friend, revoked = self.world.shown[RIGHT], self.world.shown[REVOKED]
        assert friend is not None
        assert revoked is not None
        listed = self.required("api.example", self.world.right_ca, crl=(self.world.crl,))
        for before, after, who, cause in (
            (self.world.right_ca, self.required("api.example", self.other_ca), RIGHT, Cause.UNKNOWN_CA),
            (both, self.required("api.example", self.world.right_ca), OTHER, Cause.UNKNOWN_CA),
            (self.world.right_ca, listed, REVOKED, Cause.REVOKED),
            (both, self.required("api.example", both, deny=("issuer=Other",)), OTHER, Cause.NOT_ALLOWED),
        ):
            old = self.load(self.required("api.example", before))
            same = self.load(self.required("api.example", before), before=old)
            new = self.load(after, before=old)
            for context, ticket in self.contexts(who):
                first = Visit(old.hosts, context, server_name=b"api.example")
                self.assertIs(Visit(same.hosts, context, first, server_name=b"api.example").resumed, ticket)
                visit = Visit(new.hosts, context, first, server_name=b"api.example")
                self.assertEqual((visit.failed.cause, visit.resumed), (cause, False))

    def test_changed_in_place_and_back(self) -> None:
        """The file's content is what counts; when it is as it was, an old session is still not gone on with."""
        path = self.world.write("ca.pem", pem(self.world.right.certificate))
        settings = self.required("api.example", path)
        first_loaded = self.load(settings)
        self.world.write("ca.pem", pem(self.world.other.certificate))
        second_loaded = self.load(settings, before=first_loaded)
        self.world.write("ca.pem", pem(self.world.right.certificate))
        third_loaded = self.load(settings, before=second_loaded)
        for context, _ in self.contexts(RIGHT):
            first = Visit(first_loaded.hosts, context, server_name=b"api.example")
            second = Visit(second_loaded.hosts, context, first, server_name=b"api.example")
            self.assertEqual((second.failed.cause, second.resumed), (Cause.UNKNOWN_CA, False))
            third = Visit(third_loaded.hosts, context, first, server_name=b"api.example")
            self.assertEqual((third.enters, third.resumed), (True, False))

    def test_optional_made_required(self) -> None:
        """A session from when certificates were optional is none when they are required."""
        settings = self.required("api.example", self.world.right_ca)
        before = self.load(attrs.evolve(settings, client_auth="optional"))
        after = self.load(settings, before=before)
        for context, _ in self.contexts(NONE):
            first = Visit(before.hosts, context, server_name=b"api.example")
            self.assertTrue(first.enters)
            visit = Visit(after.hosts, context, first, server_name=b"api.example")
            self.assertEqual((visit.failed.cause, visit.resumed), (Cause.NO_CERTIFICATE, False))
