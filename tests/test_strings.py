"""Endpoint strings: words in, settings out."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.kinds import AUTHORITIES, REVOCATIONS
from mytls.settings import HostSettings, ListenerSettings
from mytls.strings import (
    endpoint_values,
    listener,
    listener_from_string,
    listener_values,
    listens_at,
    place_of,
    prefix_of,
    split_endpoint,
)
from tests.files import folder

NO_CA = "no CA to verify clients with; say clientCA, or allow by spki= alone"


class SplitTests(SynchronousTestCase):
    """Endpoint strings, as Twisted splits them."""

    def test_words(self) -> None:
        """Words with and without names, and what a backslash keeps."""
        for written, plain, named in (
            ("ssl:8443", ("ssl", "8443"), {}),
            ("ssl", ("ssl",), {}),
            ("", ("",), {}),
            ("ssl:", ("ssl", ""), {}),
            ("ssl:1:a=b=c", ("ssl", "1"), {"a": "b=c"}),
            (r"ssl:interface=\:\::1", ("ssl", "1"), {"interface": "::"}),
            (r"ssl:a=x\\:2", ("ssl", "2"), {"a": "x\\"}),
            (r"ssl:a\=b", ("ssl", "a=b"), {}),
            (r"ssl:a\=b=c", ("ssl",), {"a=b": "c"}),
            ("ssl:=", ("ssl",), {"": ""}),
            ("ssl:a=new\nline", ("ssl",), {"a": "new\nline"}),
        ):
            self.assertEqual(split_endpoint(written), (plain, named), written)

    def test_half_a_pair(self) -> None:
        """A backslash at the end has nothing to keep."""
        for written in ("ssl:1\\", "ssl:a=b\\\\\\", "\\"):
            with self.assertRaisesRegex(ConfigurationError, "ends in the middle of a backslash pair"):
                split_endpoint(written)

    def test_said_twice(self) -> None:
        """A name stands once; Twisted would silently take the last."""
        with self.assertRaisesRegex(ConfigurationError, "^privateKey= stands twice$"):
            split_endpoint("ssl:privateKey=a:certKey=b:privateKey=c")

    @settings(max_examples=300, derandomize=True, database=None, deadline=None)
    @given(st.text(alphabet="ab:=\\\n", max_size=14))
    @example("a:b\\=a=b:\\\\=")
    def test_as_twisted(self, description: str) -> None:
        """Whatever is written, Twisted's own parser splits it the same, unless it is refused."""
        try:
            plain, named = split_endpoint(description)
        except ConfigurationError as error:
            self.assertRegex(str(error), "stands twice|backslash pair")
        else:
            self.assertEqual(endpoints._parse(description), (list(plain), named))


class ValueTests(SynchronousTestCase):
    """The words of `ssl:` and `mytls:` strings as values."""

    def refused(self, prefix: str, arguments: tuple[str, ...], words: dict[str, str], line: str) -> None:
        """Assert that these are refused with this line."""
        with self.assertRaises(ConfigurationError) as caught:
            endpoint_values(prefix, arguments, words)
        self.assertEqual(str(caught.exception), line)

    def test_values(self) -> None:
        """Each value is of its kind and has its key's name; what is not said is not there."""
        self.assertEqual(
            endpoint_values("ssl", ("8443", "k.pem"), {"certKey": "c.pem,d.pem", "backlog": "7"}),
            {"port": 8443, "private-key": ("k.pem",), "certificate": ("c.pem", "d.pem"), "backlog": 7},
        )

    def test_words_of_a_host(self) -> None:
        """`mytls:` has the words of a host, in camelCase."""
        words = {"clientAuth": "optional", "clientCA": "ca.pem", "alpn": "h2,http/1.1", "unknownName": "Reject"}
        self.assertEqual(
            endpoint_values("mytls", ("1",), words),
            {
                "port": 1,
                "client-auth": "optional",
                "client-ca": ("ca.pem",),
                "alpn": ("h2", "http/1.1"),
                "unknown-name": "reject",
            },
        )

    def test_named_port(self) -> None:
        """The port may have its name."""
        self.assertEqual(endpoint_values("mytls", (), {"port": "0"}), {"port": 0})

    def test_over_takes_the_place_of_a_port(self) -> None:
        """In `mytls:`, one of the two is said."""
        self.assertEqual(endpoint_values("mytls", (), {"over": "unix:/x"}), {"over": "unix:/x"})
        line = "expected a port or over=ENDPOINT, as in mytls:8443"
        self.refused("mytls", (), {}, line)
        self.refused("mytls", ("1",), {"over": "unix:/x"}, line)

    def test_ssl_has_no_words_of_ours(self) -> None:
        """`ssl:` has the words of Twisted's, and no others."""
        self.refused("ssl", (), {}, "expected a port, as in ssl:8443")
        for word in ("over", "alpn", "clientCA", "hosts", "endpoint"):
            with self.assertRaisesRegex(ConfigurationError, f"^{word}= is no word of ssl:"):
                endpoint_values("ssl", ("1",), {word: "x"})

    def test_unknown_word(self) -> None:
        """The nearest word is told; where none is near, all are, if they are few."""
        self.refused("ssl", ("1",), {"privatKey": "k"}, "privatKey= is no word of ssl:; did you mean 'privateKey'?")
        self.refused("ssl", ("1",), {"certkey": "k"}, "certkey= is no word of ssl:; did you mean 'certKey'?")
        self.refused("mytls", ("1",), {"clientCa": "k"}, "clientCa= is no word of mytls:; did you mean 'clientCA'?")
        self.refused("mytls", ("1",), {"zz": ""}, "zz= is no word of mytls:")
        self.refused("mytls", ("1",), {"cOf/A": ""}, "cOf/A= is no word of mytls:; a colon in a value is written \\:")
        for word, meant in (
            ("certificate", "certKey"), ("cert", "certKey"), ("private-key", "privateKey"), ("key", "privateKey"),
            ("client-ca", "clientCA"), ("ca", "clientCA"), ("min_version", "minVersion"),
        ):  # fmt: skip
            self.refused("mytls", ("1",), {word: "k"}, f"{word}= is no word of mytls:; did you mean {meant!r}?")
        self.refused("ssl", ("1",), {"cert": "k"}, "cert= is no word of ssl:; did you mean 'certKey'?")
        with self.assertRaisesRegex(
            ConfigurationError, "^zz= is no word of ssl:; expected one of: port, .*Parameters$"
        ):
            endpoint_values("ssl", ("1",), {"zz": ""})

    def test_said_both_ways(self) -> None:
        """A word is said with its name or without it."""
        line = r"port is said twice, as '1' and as port=2; a colon in a value is written \:"
        self.refused("ssl", ("1",), {"port": "2"}, line)

    def test_nothing(self) -> None:
        """An IPv6 address without backslashes leaves nothing between two colons, and says so."""
        for written in ("mytls:1:interface=::1", "ssl:1::cert.pem"):
            arguments, words = split_endpoint(written)
            with self.assertRaises(ConfigurationError) as caught:
                endpoint_values(arguments[0], arguments[1:], words)
            self.assertEqual(
                str(caught.exception), "there is nothing between two colons; a colon in a value is written \\:"
            )

    def test_too_many(self) -> None:
        """There are as many places as Twisted's own words; ours go with their names."""
        self.refused("ssl", tuple("123456789"), {}, "'9' has no name; write it as word=value")
        self.refused("mytls", ("1", *"abcdefghi"), {}, "'i' has no name; write it as word=value")

    def test_wrong_value(self) -> None:
        """The word of a wrong value is told."""
        self.refused("ssl", ("http",), {}, "port: 'http' is not a port; expected a number from 0 to 65535")
        self.refused("ssl", ("1",), {"backlog": "0"}, "backlog: '0' is not a number; expected a whole number from 1 on")
        self.refused(
            "mytls",
            ("1",),
            {"clientAuth": "requird"},
            "clientAuth: 'requird' is not known here; did you mean 'required'?",
        )


class PlaceTests(SynchronousTestCase):
    """Where a string listens."""

    def test_place(self) -> None:
        """The words that are about the place, and no others."""
        self.assertEqual(
            place_of(r"mytls:8443:interface=\:\::backlog=9:certKey=a.pem"),
            {"port": 8443, "interface": "::", "backlog": 9},
        )
        self.assertEqual(place_of(r"mytls:over=unix\:/x:alpn=h2"), {"over": "unix:/x"})

    def test_prefix(self) -> None:
        """In small letters, whatever was typed."""
        self.assertEqual([prefix_of(each) for each in ("SSL:8443", "tcp", "", "a=b")], ["ssl", "tcp", "", ""])

    def test_same_place(self) -> None:
        """TCP ports are the same by number and interface, anything else by its string."""
        for one, other in (
            ("mytls:8443", "ssl:8443:privateKey=k.pem"),
            ("mytls:port=8443", "tcp:8443"),
            ("mytls:8443", r"mytls:over=tcp\:8443"),
            ("unix:/x", "unix:/x"),
        ):
            self.assertEqual(listens_at(one), listens_at(other), (one, other))
            self.assertIsNotNone(listens_at(one))

    def test_other_places(self) -> None:
        """What differs in its port, its interface or its string is another place."""
        places = ["mytls:8443", "mytls:8444", "mytls:8443:interface=127.0.0.1", "unix:/x", r"mytls:over=unix\:/y"]
        self.assertEqual(len({listens_at(each) for each in places}), len(places))

    def test_no_place(self) -> None:
        """A port that the system chooses is nobody's, and what cannot be read is told elsewhere."""
        for written in ("mytls:0", "tcp:0", "mytls", "tcp:1\\"):
            self.assertIsNone(listens_at(written), written)


class ListenerTests(SynchronousTestCase):
    """The listener of a string, and of what stands beside it."""

    def refused(self, line: str, *arguments: Any, **words: Any) -> None:
        """Assert that this listener is refused with this line."""
        with self.assertRaises(ConfigurationError) as caught:
            listener(*arguments, **words)
        self.assertEqual(str(caught.exception), line)

    def test_alone(self) -> None:
        """A string alone is a listener with one host."""
        made = listener_from_string("mytls:8443:certKey=c.pem:privateKey=k.pem:alpn=h2", "echo")
        self.assertEqual(
            made,
            ListenerSettings(
                "mytls:8443:certKey=c.pem:privateKey=k.pem:alpn=h2",
                HostSettings(certificate=("c.pem",), private_key=("k.pem",), alpn=("h2",), handler="echo"),
            ),
        )

    def test_server_pem(self) -> None:
        """As with Twisted's `ssl:`, a key that nobody names is in server.pem."""
        for string, key, certificate in (
            ("ssl:1", ("server.pem",), ()),
            ("ssl:1:certKey=c.pem", ("server.pem",), ("c.pem",)),
            ("mytls:1", (), ()),
            ("mytls:1:certKey=c.pem", (), ("c.pem",)),
            ("mytls:1:hosts=folder", (), ()),
        ):
            base = listener_from_string(string).base
            self.assertEqual((base.private_key, base.certificate), (key, certificate), string)

    def test_server_pem_of_mytls(self) -> None:
        """`mytls:` looks for it where it is; if not, certKey is what is missing."""
        self.assertEqual(listener_from_string("mytls:1").base.place("certificate"), "certKey")
        where = folder(self)
        (where / "server.pem").touch()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(where)
        self.assertEqual(listener_from_string("mytls:1").base.private_key, ("server.pem",))
        self.assertEqual(listener_from_string(r"mytls:1:spiffe=unix\:/agent").base.private_key, ())

    def test_not_alone(self) -> None:
        """Beside a file nothing is looked for that nobody has named."""
        self.assertEqual(listener("ssl:1", {}, {}).base.private_key, ())

    def test_handler(self) -> None:
        """The string's own handler goes before the one of the command line."""
        self.assertEqual(listener_from_string("mytls:1:handler=discard", "echo").base.handler, "discard")
        self.assertEqual(listener_from_string("mytls:1", "echo").base.handler, "echo")

    def test_handler_said_twice(self) -> None:
        """In a file it is said once."""
        wrote = {"endpoint": "m.toml:2: endpoint", "handler": "m.toml:3: handler"}
        self.refused("m.toml:3: handler: said in the endpoint string too", "mytls:1:handler=a", {"handler": "b"}, wrote)

    def test_hosts(self) -> None:
        """A folder, an answer for unknown names, and hosts."""
        host = HostSettings(names=("a.example",), certificate=("a.pem",))
        made = listener("mytls:1:hosts=folder", {"unknown-name": "a.example"}, {}, [host])
        self.assertEqual((made.directory, made.unknown_name, made.hosts), ("folder", "a.example", (host,)))

    def test_said_beside(self) -> None:
        """A key that stands in the string and beside it is refused, where it stands beside."""
        self.refused(
            "m.toml:4: alpn: said in the endpoint string too",
            "mytls:1:alpn=h2",
            {"alpn": ("h2",)},
            {"alpn": "m.toml:4: alpn", "endpoint": "m.toml:3: endpoint"},
        )

    def test_error_in_the_string(self) -> None:
        """Where the string stands in a file, its errors do too."""
        wrote = {"endpoint": "m.toml:3: endpoint"}
        self.refused(
            "m.toml:3: endpoint: alpm= is no word of mytls:; did you mean 'alpn'?", "mytls:1:alpm=h2", {}, wrote
        )
        self.refused(
            "m.toml:3: endpoint: allow=all: of no use while client-auth is off; say required or optional",
            "mytls:1:allow=all",
            {},
            wrote,
        )

    def test_words_of_a_string_alone(self) -> None:
        """What is told of a string has the spelling of strings, also of words that are not there."""
        for string, line in (
            ("mytls:1:clientAuth=required", f"clientAuth=required: {NO_CA}"),
            ("mytls:1:verifyDepth=0", "verifyDepth=0: of no use while clientAuth is off; say required or optional"),
            ("mytls:1:regoQuery=data.a", "regoQuery=data.a: there is no policy to ask; say rego"),
            (
                "mytls:1:from=10.0.0.1/8",
                "from: '10.0.0.1/8' is an address in a network; expected 10.0.0.0/8 for the network, "
                "or 10.0.0.1 for the address",
            ),
            ("mytls:1:from=", "from: there is none in it, so nobody could connect; leave it out for everywhere"),
            ("mytls:1:clientCA=", f"clientCA: {AUTHORITIES.none}"),
            ("mytls:1:clientCA=a.pem:crl=,", f"crl: {REVOCATIONS.none}"),
            ("mytls:1:clientCA=a.pem:allow=", "allow: there is no rule in it; say all, or leave it out"),
            ("mytls:1:clientCA=a.pem:deny=", "deny: there is no rule in it; leave it out where nobody is denied"),
            ("mytls:1:allow=all", "allow=all: of no use while clientAuth is off; say required or optional"),
            (
                "mytls:1:clientAuth=required:handler=passthrough\\:tcp\\:a\\:1",
                "clientAuth=required: of no use with passthrough:, which decrypts nothing",
            ),
            ("tls:1:certKey=a.pem", "mytls adds no TLS to tls:; did you mean mytls:?"),
        ):
            self.refused(line, string, {}, {}, alone=True)

    def test_networks(self) -> None:
        """Networks of a string have commas between them, and a backslash before each colon."""
        made = listener_from_string("mytls:1:from=10.0.0.0/8,2001\\:db8\\:\\:/32")
        self.assertEqual([str(each) for each in made.base.from_], ["10.0.0.0/8", "2001:db8::/32"])

    def test_proxies(self) -> None:
        """Who is in front of a listener is a list too; other endpoints have no place for it."""
        made = listener_from_string("mytls:1:proxyProtocol=10.0.0.0/8,unix,2001\\:db8\\:\\:1")
        self.assertEqual([str(each) for each in made.proxy_protocol], ["10.0.0.0/8", "unix", "2001:db8::1/128"])
        self.refused(
            "proxyProtocol: 'balancer' is no network; expected an address such as 192.0.2.7, or a network such as "
            "10.0.0.0/8",
            "mytls:1:proxyProtocol=balancer",
            {},
            {},
        )

    def test_where_from_without_tls(self) -> None:
        """Where clients connect from is a plain listener's too; what needs TLS is not."""
        said = {"from": ("10.0.0.0/8",), "handler": "echo"}
        self.assertEqual(listener("tcp:1", said, {}).base.from_, ("10.0.0.0/8",))
        self.refused(
            "policy: of no use with tcp:, to which mytls adds no TLS; expected one of: ssl, mytls",
            "tcp:1",
            {"policy": "a:b"},
            {},
        )

    def test_several_errors(self) -> None:
        """What is wrong with a string alone is one line, behind which whoever has the string may stand it."""
        error = self.assertRaises(ConfigurationError, listener_from_string, "mytls:1:allow=all:deny=all")
        self.assertRegex(str(error), "^allow=all: of no use [ -~]*; deny=all: of no use [ -~]*$")
        self.assertNotIn("x0a", str(error))

    def test_how_it_was_written(self) -> None:
        """Later errors name the word of the string, or the key beside it."""
        made = listener("mytls:1:clientCA=ca.pem", {"crl": ("x.crl",)}, {"crl": "m.toml:9: crl"})
        self.assertEqual(str(made.wrong("client-ca", "ca.pem", "no")), "clientCA=ca.pem: no")
        self.assertEqual(str(made.base.wrong("crl", "x.crl", "no")), "m.toml:9: crl=x.crl: no")

    def test_paths_of_a_file(self) -> None:
        """The string's paths count from the folder that it stands in; what is no path stays."""
        values, _ = listener_values(
            "mytls:1:certKey=c.pem,/d.pem:hosts=h:passwordFile=env\\:P:alpn=x", {}, {}, folder="/f"
        )
        self.assertEqual(
            values,
            {"certificate": ("/f/c.pem", "/d.pem"), "hosts": "/f/h", "password-file": "env:P", "alpn": ("x",)},
        )

    def test_other_endpoints(self) -> None:
        """An endpoint of others has a handler, and nothing of TLS."""
        self.assertEqual(
            listener_from_string("tcp:80", "echo"), ListenerSettings("tcp:80", HostSettings(handler="echo"))
        )
        self.refused(
            "certificate: of no use with tcp:, to which mytls adds no TLS; expected one of: ssl, mytls",
            "tcp:80",
            {"certificate": ("a.pem",)},
            {},
        )
        self.refused(
            "m.toml:7: unknown-name: of no use with mytsl:, to which mytls adds no TLS; did you mean 'mytls'?",
            "mytsl:80",
            {"unknown-name": "reject"},
            {"unknown-name": "m.toml:7: unknown-name"},
        )
