"""What a user can say, and how it is said wrongly."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.settings import (
    ENDPOINT_KEYS,
    OPTION_KEYS,
    Deadlines,
    Key,
    Limits,
    count,
    duration,
    endpoint_values,
    port,
    split_endpoint,
    text,
)


class ValueTests(SynchronousTestCase):
    """Text in, values out."""

    def refused(self, parse: Any, written: str) -> None:
        """Assert that this is refused, by its own words."""
        with self.assertRaises(ConfigurationError, msg=written) as caught:
            parse(written)
        self.assertTrue(str(caught.exception).startswith(repr(written).replace("\\\\", "\\")), str(caught.exception))

    def test_durations(self) -> None:
        """A duration has a unit; `0` and `off` are none."""
        for written, seconds in (
            ("250ms", 0.25), ("10s", 10), ("5m", 300), ("1h", 3600), ("1.5s", 1.5), ("0s", 0), ("0", 0), ("off", 0),
        ):  # fmt: skip
            self.assertEqual(duration(written), seconds, written)

    def test_wrong_durations(self) -> None:
        """A number without a unit says nothing, and neither do signs, spaces, words and numbers without end."""
        for written in (
            "",
            "10",
            "s",
            "-1s",
            "+1s",
            "1 s",
            "1S",
            "1d",
            ".5s",
            "5.s",
            "1e3s",
            "on",
            "10s\n",
            "1" * 400 + "s",
        ):
            self.refused(duration, written)

    def test_counts(self) -> None:
        """A count starts at one."""
        self.assertEqual([count("1"), count("512"), count("007")], [1, 512, 7])
        for written in ("", "0", "00", "-1", "+1", "1.0", "1k", " 1", "1\n", "\u0661", "1" * 10):
            self.refused(count, written)

    def test_ports(self) -> None:
        """A port is a number from 0 to 65535."""
        self.assertEqual([port("0"), port("443"), port("65535")], [0, 443, 65535])
        for written in ("", "-1", "65536", "https", "0x1bb", " 443", "443\n", "\u0664", "100000"):
            self.refused(port, written)

    def test_text(self) -> None:
        """Text is taken as it is."""
        self.assertEqual(text(" a:b "), " a:b ")

    def test_error_names_the_word(self) -> None:
        """What is wrong with a value is told with its word."""
        key = Key("some-port", "somePort", port, "", "")
        with self.assertRaisesRegex(ConfigurationError, r"^somePort: 'x' is not a port; expected a number from 0"):
            key.value_of("x")


class TableTests(SynchronousTestCase):
    """The table of words."""

    def test_words_of_ssl(self) -> None:
        """The words of Twisted's `ssl:`, in the order in which it takes them without names."""
        self.assertEqual(
            [key.word for key in ENDPOINT_KEYS],
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

    def test_every_word_says_what_it_does(self) -> None:
        """Names are in kebab-case, and each has a sentence."""
        for key in (*ENDPOINT_KEYS, *OPTION_KEYS):
            self.assertRegex(key.name, r"^[a-z]+(-[a-z]+)*$")
            self.assertRegex(key.sentence, r"^[A-Z].*\.$")

    def test_defaults_are_those_of_the_values(self) -> None:
        """What the table calls the default is what is used."""
        defaults = {key.word: key.value_of(key.default) for key in OPTION_KEYS}
        self.assertEqual(
            defaults,
            {
                "deadlines-handshake": Deadlines().handshake,
                "deadlines-close": Deadlines().close,
                "limits-max-threads": Limits().max_threads,
                "log-quiet": (),
            },
        )


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


class EndpointValueTests(SynchronousTestCase):
    """The words of `ssl:` and `mytls:` strings as values."""

    def refused(self, prefix: str, arguments: tuple[str, ...], words: dict[str, str], line: str) -> None:
        """Assert that these are refused with this line."""
        with self.assertRaises(ConfigurationError) as caught:
            endpoint_values(prefix, arguments, words)
        self.assertEqual(str(caught.exception), line)

    def test_values(self) -> None:
        """Numbers are numbers, the rest is text, what is not said is not there."""
        self.assertEqual(
            endpoint_values("ssl", ("8443", "k.pem"), {"certKey": "c.pem", "backlog": "7"}),
            {"port": 8443, "privateKey": "k.pem", "certKey": "c.pem", "backlog": 7},
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

    def test_ssl_has_no_over(self) -> None:
        """`ssl:` has the words of Twisted's, and no others."""
        self.refused("ssl", (), {}, "expected a port, as in ssl:8443")
        with self.assertRaisesRegex(ConfigurationError, "^over= is no word of ssl:"):
            endpoint_values("ssl", (), {"over": "unix:/x"})

    def test_unknown_word(self) -> None:
        """The nearest word is told; where none is near, all are, if they are few."""
        self.refused("ssl", ("1",), {"privatKey": "k"}, "privatKey= is no word of ssl:; did you mean 'privateKey'?")
        self.refused("ssl", ("1",), {"certkey": "k"}, "certkey= is no word of ssl:; did you mean 'certKey'?")
        with self.assertRaisesRegex(ConfigurationError, "^zz= is no word of mytls:; expected one of: port, .*, over$"):
            endpoint_values("mytls", ("1",), {"zz": ""})

    def test_said_both_ways(self) -> None:
        """A word is said with its name or without it."""
        line = r"port is said twice, as '1' and as port=2; a colon in a value is written \:"
        self.refused("ssl", ("1",), {"port": "2"}, line)

    def test_too_many(self) -> None:
        """There are as many places as words."""
        self.refused("ssl", tuple("123456789"), {}, "'9' has no name; write it as word=value")

    def test_wrong_value(self) -> None:
        """The word of a wrong value is told."""
        self.refused("ssl", ("http",), {}, "port: 'http' is not a port; expected a number from 0 to 65535")
        self.refused("ssl", ("1",), {"backlog": "0"}, "backlog: '0' is not a number; expected a whole number from 1 on")
