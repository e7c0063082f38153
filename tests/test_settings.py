"""What a user can say, and what contradicts itself."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import CLASSES
from mytls.errors import ConfigurationError
from mytls.keys import ENDPOINT_KEYS, GLOBAL_KEYS, HOST_KEYS, LISTENER_KEYS, OPTION_KEYS, PLACE_KEYS, QUIET, Key
from mytls.kinds import PORT
from mytls.settings import Deadlines, HostSettings, Limits, ListenerSettings, Log, Settings, inherited, not_kept


class TableTests(SynchronousTestCase):
    """The table of words."""

    def test_words_of_ssl(self) -> None:
        """The words of Twisted's `ssl:`, in the order in which it takes them without names."""
        self.assertEqual(
            [key.word for key in PLACE_KEYS],
            [
                "port",
                "privateKey",
                "certKey",
                "sslmethod",
                "interface",
                "backlog",
                "extraCertChain",
                "dhParameters",
                "over",
            ],
        )

    def test_every_key_says_what_it_does(self) -> None:
        """Names are in kebab-case, and each has a sentence."""
        for key in (*ENDPOINT_KEYS, *HOST_KEYS, *LISTENER_KEYS, *OPTION_KEYS):
            self.assertRegex(key.name, r"^[a-z]+(-[a-z]+)*$")
            self.assertRegex(key.sentence, r"^[A-Z].*\.$")

    def test_spelling(self) -> None:
        """What is `client-auth` in the file is `clientAuth` in a string, but for the words that are Twisted's."""
        for key in (*PLACE_KEYS, *HOST_KEYS, *LISTENER_KEYS):
            camel = re.sub("-([a-z])", lambda match: match[1].upper(), key.name)
            self.assertIn(key.word, {camel, camel.replace("Ca", "CA"), {"certificate": "certKey"}.get(key.name)})

    def test_options_have_the_names_of_their_tables(self) -> None:
        """A key of `[deadlines]` is `--deadlines-...`; the endpoint of `[status]` is `--status`."""
        for table, keys in GLOBAL_KEYS.items():
            for key in keys:
                expected = f"{table}-{key.name}".removesuffix("-endpoint") if table else key.name
                self.assertEqual(key.word, expected)

    def test_words_stand_once(self) -> None:
        """No word means two things."""
        for keys in (ENDPOINT_KEYS, OPTION_KEYS, (*HOST_KEYS, *LISTENER_KEYS)):
            words = [key.word for key in keys]
            self.assertEqual(sorted(set(words)), sorted(words))

    def test_every_key_of_a_host_has_a_field(self) -> None:
        """What can be said can be asked for."""
        fields = {field.name.rstrip("_").replace("_", "-") for field in attrs.fields(HostSettings)}
        self.assertLessEqual({key.name for key in HOST_KEYS}, fields)

    def test_defaults_are_those_of_the_values(self) -> None:
        """What the table calls the default is what is used."""
        nothing = Settings()
        made = Settings.of((), {key.word: key.value_of(key.default) for key in OPTION_KEYS if key.default})
        self.assertEqual(made, nothing)
        self.assertEqual((nothing.log, nothing.keylog), (Log(), None))
        said = {key.name: key.value_of(key.default) for key in HOST_KEYS if key.name in ("profile",)}
        self.assertEqual(HostSettings.of(said, {}), HostSettings())

    def test_quiet(self) -> None:
        """What the log can be quiet about is what the table says."""
        self.assertEqual(QUIET, tuple(CLASSES))

    def test_error_names_the_word(self) -> None:
        """What is wrong with a value is told with its word."""
        key = Key("some-port", "somePort", PORT, "", "")
        with self.assertRaisesRegex(ConfigurationError, r"^somePort: 'x' is not a port; expected a number from 0"):
            key.value_of("x")
        with self.assertRaisesRegex(ConfigurationError, r"^--some-port: 'x' is not a port"):
            key.value_of("x", "--some-port")


class HostTests(SynchronousTestCase):
    """What is said of one host."""

    def refused(self, said: dict[str, Any], line: str, wrote: dict[str, str] | None = None) -> None:
        """Assert that this contradicts itself, in these words."""
        with self.assertRaises(ConfigurationError) as caught:
            HostSettings.of(said, wrote or {})
        self.assertEqual(str(caught.exception), line)

    def test_fields(self) -> None:
        """Keys are fields; what is said of a listener is left out."""
        said = {"certificate": ("a.pem",), "min-version": "TLSv1.3", "hosts": "folder", "unknown-name": "reject"}
        self.assertEqual(HostSettings.of(said, {}), HostSettings(certificate=("a.pem",), min_version="TLSv1.3"))

    def test_names_stand_once(self) -> None:
        """A name that is said twice is one name."""
        self.assertEqual(HostSettings.of({"names": ("b", "a", "b")}, {}).names, ("b", "a"))

    def test_client_ca_asks_for_certificates(self) -> None:
        """Who names a CA wants certificates, unless something else is said."""
        self.assertEqual(HostSettings.of({"client-ca": ("ca.pem",)}, {}).client_auth, "required")
        said = {"client-ca": ("ca.pem",), "client-auth": "optional"}
        self.assertEqual(HostSettings.of(said, {}).client_auth, "optional")
        self.assertEqual(HostSettings.of({}, {}).client_auth, "off")

    def test_rules_without_certificates(self) -> None:
        """What would never be looked at is an error, and not silence."""
        trouble = "of no use while client-auth is off; say required or optional"
        self.refused({"allow": ("cn=a", "cn=b")}, f"allow=cn=a: {trouble}")
        self.refused({"deny": ("cn=a",)}, f"deny=cn=a: {trouble}")
        self.refused({"crl": ("a.crl",)}, f"crl=a.crl: {trouble}")
        self.refused({"client-ca": ("ca.pem",), "client-auth": "off"}, f"client-ca=ca.pem: {trouble}")

    def test_certificates_without_a_ca(self) -> None:
        """Nobody is let in unverified."""
        trouble = "no CA to verify clients with; say client-ca, or allow by spki= alone"
        for word in ("required", "optional"):
            self.refused({"client-auth": word}, f"client-auth={word}: {trouble}")
            self.refused({"client-auth": word, "allow": ("spki=sha256:x", "cn=a")}, f"client-auth={word}: {trouble}")
            self.refused({"client-auth": word, "deny": ("spki=sha256:x",)}, f"client-auth={word}: {trouble}")

    def test_pins_alone(self) -> None:
        """Who allows keys alone needs no CA; beside one they are rules as all others."""
        pins = {"client-auth": "required", "allow": ("spki=sha256:x", "spki=sha512:y")}
        self.assertTrue(HostSettings.of(pins, {}).pinned)
        self.assertTrue(HostSettings.of({**pins, "deny": ("cn=x",)}, {}).pinned)
        self.assertFalse(HostSettings.of({**pins, "client-ca": ("ca.pem",)}, {}).pinned)
        self.assertFalse(HostSettings().pinned)

    def test_pins_without_client_auth(self) -> None:
        """Whether keys are asked for has to be said: without a CA it goes without saying that none is."""
        trouble = "of no use while client-auth is off; say required or optional"
        self.refused({"allow": ("spki=sha256:x",)}, f"allow=spki=sha256:x: {trouble}")

    def test_what_pins_have_no_use_for(self) -> None:
        """Without a CA there is nothing that could be revoked, and no chain."""
        pins = {"client-auth": "required", "allow": ("spki=sha256:x",)}
        self.refused({**pins, "crl": ("a.crl",)}, "crl=a.crl: of no use without client-ca")
        self.refused({**pins, "verify-depth": 0}, "verify-depth=0: of no use without client-ca")

    def test_nobody_and_everybody(self) -> None:
        """No rule is nobody, and cannot be said where it would be everybody: where others decide as well."""
        none: dict[str, Any] = {"client-ca": ("ca.pem",), "allow": ()}
        trouble = "allow=[]: there is no rule in it, and yet clients would enter; say all to mean that"
        for more in ({"client-auth": "optional"}, {"policy": "a:b"}, {"rego": "p.rego"}):
            self.refused({**none, **more}, trouble)
            self.assertEqual(HostSettings.of({"client-ca": ("ca.pem",), **more}, {}).allow, ())
        self.assertEqual(HostSettings.of(none, {}).client_auth, "required")
        self.assertEqual(HostSettings.of({"allow": (), "client-auth": "off", "policy": "a:b"}, {}).allow, ())

    def test_long_values(self) -> None:
        """An error has the beginning of a long value."""
        self.refused({"rego-query": "x" * 5000}, f"rego-query={'x' * 200}...: there is no policy to ask; say rego")
        wrong = ListenerSettings.of("mytls:1", {}, {}).wrong("unknown-name", "x" * 5000, "no")
        self.assertEqual(str(wrong), f"unknown-name={'x' * 200}...: no")

    def test_revocation_without_lists(self) -> None:
        """What to do with an old list is of no use without one."""
        said = {"client-ca": ("ca.pem",), "stale-crl": "accept"}
        self.refused(said, "stale-crl=accept: of no use without crl")
        self.assertEqual(HostSettings.of({**said, "crl": ("a.crl",)}, {}).stale_crl, "accept")

    def test_verification_without_certificates(self) -> None:
        """How certificates are verified is of no use where none is asked for."""
        trouble = "of no use while client-auth is off; say required or optional"
        self.refused({"verify-depth": 0}, f"verify-depth=0: {trouble}")
        self.refused({"stale-crl": "accept"}, f"stale-crl=accept: {trouble}")
        self.assertEqual(HostSettings.of({"stale-crl": "refuse"}, {}), HostSettings())

    def test_query_without_a_policy(self) -> None:
        """A question needs somebody to ask."""
        self.refused({"rego-query": "data.a"}, "rego-query=data.a: there is no policy to ask; say rego")
        self.assertEqual(HostSettings.of({"rego": "p.rego", "rego-query": "data.a"}, {}).rego_query, "data.a")

    def test_issued(self) -> None:
        """Where the certificate is issued, so are the CAs of clients: neither needs a file, and rules are as ever."""
        issued = {"spiffe": "unix:/agent"}
        for more in ({}, {"allow": ("spki=sha256:x",)}, {"allow": ("uri=spiffe://a/**",), "verify-depth": 1}):
            made = HostSettings.of({**issued, "client-auth": "required", **more}, {})
            self.assertFalse(made.pinned)
        self.assertEqual(HostSettings.of(issued, {}).client_auth, "off")
        self.assertEqual(HostSettings.of({**issued, "client-ca": ("ca.pem",)}, {}).client_auth, "required")
        off = "of no use while client-auth is off; say required or optional"
        self.refused({**issued, "allow": ("uri=spiffe://a/**",)}, f"allow=uri=spiffe://a/**: {off}")

    def test_files_beside_what_is_issued(self) -> None:
        """A certificate in files beside one that is issued would never be shown."""
        for key in ("certificate", "private-key", "password-file", "extra-cert-chain", "ocsp"):
            said = {"spiffe": "unix:/agent", key: "x" if key == "password-file" else ("x",)}
            self.refused(said, f"{key}=x: of no use with spiffe, which issues the certificate and its key")
        said = {"spiffe": "unix:/agent", "client-auth": "required", "crl": ("a.crl",)}
        self.refused(said, "crl=a.crl: of no use without client-ca")

    def test_policies_without_certificates(self) -> None:
        """A policy may decide by the address and the name alone."""
        self.assertEqual(HostSettings.of({"policy": "app:allow"}, {}).client_auth, "off")

    def test_versions(self) -> None:
        """The oldest version is no newer than the newest."""
        said = {"min-version": "TLSv1.3", "max-version": "TLSv1.2"}
        self.refused(said, "min-version=TLSv1.3: newer than the newest, TLSv1.2")
        self.assertEqual(HostSettings.of({**said, "max-version": "TLSv1.3"}, {}).max_version, "TLSv1.3")

    def test_passed_on(self) -> None:
        """Who does not decrypt can neither show a certificate nor ask for one."""
        for key in ("certificate", "spiffe", "ocsp", "client-ca", "crl", "allow", "deny", "policy", "rego"):
            text = key in ("spiffe", "policy", "rego")
            said = {"handler": "passthrough:tcp:b:1", key: "x" if text else ("x",)}
            self.refused(said, f"{key}=x: of no use with passthrough:, which decrypts nothing")
        self.assertTrue(HostSettings.of({"handler": "passthrough:tcp:b:1", "alpn": ("h2",)}, {}).passes_on)
        self.assertFalse(HostSettings(handler="proxy:tcp:b:1").passes_on)

    def test_defaults_of_others(self) -> None:
        """What is no host by itself need not fit together."""
        self.assertEqual(HostSettings.of({"allow": ("all",)}, {}, served=False).allow, ("all",))

    def test_errors_as_written(self) -> None:
        """A key is named as the user has written it."""
        wrote = {"allow": "mytls.toml:7: allow"}
        self.refused(
            {"allow": ("all",)},
            "mytls.toml:7: allow=all: of no use while client-auth is off; say required or optional",
            wrote,
        )

    def test_how_it_was_written_makes_no_difference(self) -> None:
        """Settings are equal by what they say."""
        self.assertEqual(HostSettings(wrote={"a": "b"}), HostSettings())
        self.assertNotIn("wrote", repr(HostSettings(wrote={"a": "b"})))


class InheritedTests(SynchronousTestCase):
    """What a host has of its listener."""

    def test_defaults(self) -> None:
        """All that it does not say itself, but for the names."""
        of_listener = {"names": ("a",), "profile": "old", "alpn": ("h2",), "client-ca": ("ca.pem",)}
        self.assertEqual(inherited(of_listener, {"alpn": ("http/1.1",)}), {"profile": "old", "client-ca": ("ca.pem",)})

    def test_what_belongs_to_the_certificate(self) -> None:
        """A host with its own certificate has nothing of the listener's but the password."""
        of_listener = {"certificate": ("a",), "private-key": ("k",), "ocsp": ("o",), "password-file": "p"}
        self.assertEqual(inherited(of_listener, {"certificate": ("b",)}), {"password-file": "p"})
        self.assertEqual(inherited(of_listener, {"names": ("n",)}), of_listener)

    def test_issued_or_of_files(self) -> None:
        """A certificate of files takes the place of one that is issued, and the other way round."""
        issued: dict[str, Any] = {"spiffe": "unix:/agent", "client-auth": "required"}
        of_files: dict[str, Any] = {"certificate": ("a",), "private-key": ("k",), "password-file": "p", "ocsp": ("o",)}
        self.assertEqual(inherited(issued, {"certificate": ("a",)}), {"client-auth": "required"})
        self.assertEqual(inherited(issued, {"private-key": ("a",)}), {"client-auth": "required"})
        self.assertEqual(inherited(issued, {"names": ("a",)}), issued)
        self.assertEqual(inherited({**of_files, "alpn": ("h2",)}, {"spiffe": "unix:/agent"}), {"alpn": ("h2",)})
        self.assertEqual(inherited(issued, {"handler": "passthrough:tcp:b:1"}), {})

    def test_one_key_for_all(self) -> None:
        """A key that stands without a certificate is the hosts' own."""
        self.assertEqual(inherited({"private-key": ("k",)}, {"certificate": ("b",)}), {"private-key": ("k",)})

    def test_off(self) -> None:
        """A host that asks for no client certificate has no use for the listener's rules."""
        of_listener: dict[str, Any] = {
            "client-ca": ("ca",), "crl": ("c",), "allow": ("all",), "deny": ("cn=x",), "stale-crl": "accept",
            "verify-depth": 1, "profile": "old",
        }  # fmt: skip
        self.assertEqual(inherited(of_listener, {"client-auth": "off"}), {"profile": "old"})

    def test_who_may_enter(self) -> None:
        """Policies and how clients are verified are the hosts' too; what a host says itself is in their place."""
        of_listener: dict[str, Any] = {"policy": "a:b", "rego": "p.rego", "stale-crl": "accept", "verify-depth": 1}
        self.assertEqual(inherited(of_listener, {}), of_listener)
        own = {"policy": "c:d", "verify-depth": 0}
        self.assertEqual(inherited(of_listener, own), {"rego": "p.rego", "stale-crl": "accept"})

    def test_where_from(self) -> None:
        """Where clients connect from is looked at for the listener before it is known which host they want."""
        self.assertEqual(inherited({"from": ("10.0.0.0/8",), "profile": "old"}, {}), {"profile": "old"})

    def test_not_kept(self) -> None:
        """What a host that is passed on cannot keep is named: no client-auth of its own makes up for a policy."""
        passed = {"handler": "passthrough:tcp:b:1"}
        of_listener = {"client-ca": ("ca",), "verify-depth": 0, "stale-crl": "refuse", "policy": "a:b"}
        self.assertEqual(not_kept(of_listener, passed), ("client-ca", "verify-depth", "policy"))
        self.assertEqual(not_kept(of_listener, {**passed, "client-auth": "off"}), ("policy",))
        self.assertEqual(not_kept(of_listener, {"handler": "echo"}), ())
        self.assertEqual(not_kept({"from": ("10.0.0.0/8",)}, passed), ())

    def test_passed_on(self) -> None:
        """A host that does not decrypt has no TLS of its own."""
        of_listener = {"certificate": ("a",), "client-ca": ("ca",), "alpn": ("h2",), "handler": "echo"}
        self.assertEqual(inherited(of_listener, {"handler": "passthrough:tcp:b:1"}), {"alpn": ("h2",)})
        of_listener["handler"] = "passthrough:tcp:b:1"
        self.assertEqual(inherited(of_listener, {}), {"alpn": ("h2",), "handler": "passthrough:tcp:b:1"})
        self.assertEqual(
            inherited(of_listener, {"handler": "echo"}), {k: v for k, v in of_listener.items() if k != "handler"}
        )


class ListenerTests(SynchronousTestCase):
    """What is said of one listener."""

    def refused(self, said: dict[str, Any], hosts: tuple[HostSettings, ...], line: str) -> None:
        """Assert that this contradicts itself, in these words."""
        with self.assertRaises(ConfigurationError) as caught:
            ListenerSettings.of("mytls:1", said, {}, hosts)
        self.assertEqual(str(caught.exception), line)

    def test_defaults_need_not_fit(self) -> None:
        """Where hosts are named, the listener's own values are only their defaults."""
        made = ListenerSettings.of("mytls:1", {"allow": ("all",)}, {}, (HostSettings(),))
        self.assertEqual(made.base.allow, ("all",))

    def test_the_only_host(self) -> None:
        """Where none is named, they are a host's, and so they are for those of a folder."""
        line = "allow=all: of no use while client-auth is off; say required or optional"
        self.refused({"allow": ("all",)}, (), line)
        self.refused({"allow": ("all",), "hosts": "folder"}, (HostSettings(),), line)

    def test_names_of_a_host(self) -> None:
        """Names are one host's."""
        self.refused({"names": ("a",)}, (HostSettings(),), "names=a: belongs in [[listener.host]]")
        self.assertEqual(ListenerSettings.of("mytls:1", {"names": ("a",)}, {}).base.names, ("a",))

    def test_certificate_beside_a_folder(self) -> None:
        """A certificate that nobody would show is an error; a default of named hosts is none."""
        trouble = "of no use with hosts, whose folder has the certificates"
        for key in ("certificate", "private-key", "names", "ocsp", "extra-cert-chain"):
            self.refused({key: ("a",), "hosts": "folder"}, (), f"{key}=a: {trouble}")
        ListenerSettings.of("mytls:1", {"certificate": ("a",), "hosts": "folder"}, {}, (HostSettings(),))
        for hosts in ((), (HostSettings(),)):
            self.refused({"spiffe": "unix:/a", "hosts": "folder"}, hosts, f"spiffe=unix:/a: {trouble}")

    def test_where_from_behind_haproxy(self) -> None:
        """Where Twisted reads the PROXY header, C{from} would let in whoever comes by the proxy."""
        networks = (ipaddress.ip_network("10.0.0.0/8"),)
        trouble = (
            "behind haproxy: it would be held against the proxy's address; say proxy-protocol in place of haproxy:"
        )
        host = HostSettings.of({"from": networks}, {})
        for endpoint in (
            "haproxy:tcp:1",
            "HAProxy:tcp\\:1",
            "mytls:over=haproxy\\:tcp\\:1",
            "mytls:over=HAPROXY\\:1:alpn=a",
        ):
            for said, hosts in (({"from": networks}, ()), ({}, (host,))):
                with self.assertRaises(ConfigurationError, msg=endpoint) as caught:
                    ListenerSettings.of(endpoint, said, {}, hosts)
                self.assertEqual(str(caught.exception), f"from=10.0.0.0/8: {trouble}")
            ListenerSettings.of(endpoint, {}, {})
        for endpoint in ("mytls:1", "mytls:over=unix\\:/run/haproxy", "tcp:1"):
            ListenerSettings.of(endpoint, {"from": networks}, {})

    def test_proxy_protocol(self) -> None:
        """Who is in front of it is the listener's; where nothing is said it is nobody."""
        self.assertEqual(ListenerSettings.of("mytls:1", {}, {}).proxy_protocol, ())
        self.assertEqual(ListenerSettings.of("mytls:1", {"proxy-protocol": ("unix",)}, {}).proxy_protocol, ("unix",))

    def test_as_written(self) -> None:
        """A place is told as the user has said it."""
        wrote = {"endpoint": "mytls.toml:2: endpoint"}
        self.assertEqual(ListenerSettings("mytls:1").as_written(), "--endpoint mytls:1")
        self.assertEqual(ListenerSettings("mytls:1", wrote=wrote).as_written(), "mytls.toml:2: endpoint=mytls:1")


class SettingsTests(SynchronousTestCase):
    """All that is said."""

    def test_values(self) -> None:
        """Values of the whole service have their words."""
        said = {
            "deadlines-close": 3.0,
            "limits-max-threads": 7,
            "reload-interval": 0.0,
            "reload-on-reload": "close",
            "log-quiet": ("refusals",),
            "keylog": "k.log",
        }
        self.assertEqual(
            Settings.of((), said),
            Settings((), Deadlines(close=3.0), Limits(max_threads=7), 0.0, Log(quiet=("refusals",)), "k.log", "close"),
        )

    def test_merged(self) -> None:
        """What is said last wins, key by key; the rest stays."""
        listeners = (ListenerSettings("mytls:1"),)
        first = Settings.of(listeners, {"deadlines-close": 3.0, "deadlines-connect": 4.0, "keylog": "k.log"})
        self.assertEqual(
            first.merged({"deadlines-close": 9.0, "reload-interval": 1.0}),
            Settings(listeners, Deadlines(close=9.0, connect=4.0), reload_interval=1.0, keylog="k.log"),
        )
        self.assertEqual(first.merged({}), first)
