"""What a value looks like, as text and in the file."""

from __future__ import annotations

import datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError, shortened
from mytls.kinds import (
    ALLOWED,
    AUTHORITIES,
    BOUND,
    COUNT,
    DENIED,
    DEPTH,
    DURATION,
    IDENTITIES,
    NAME,
    NAMES,
    NETWORKS,
    PATH,
    PATHS,
    PORT,
    PORTS,
    PROTOCOLS,
    PROXIES,
    REVOCATIONS,
    ROOTS,
    TEXT,
    WORDS,
    Kind,
    choice,
    count,
    depth,
    duration,
    network,
    path,
    port,
    protocol,
    text,
)


class TextTests(SynchronousTestCase):
    """Text in, values out."""

    def refused(self, parse: Any, written: str) -> None:
        """Assert that this is refused, by its own words."""
        with self.assertRaises(ConfigurationError, msg=written) as caught:
            parse(written)
        shown = repr(written if len(written) <= 200 else f"{written[:200]}...")
        self.assertTrue(str(caught.exception).startswith(shown.replace("\\\\", "\\")), str(caught.exception))

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
        with self.assertRaisesRegex(ConfigurationError, '^10 has no unit; expected for example "10s" or "5m"$'):
            duration("10")

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

    def test_paths(self) -> None:
        """A path is any text but none."""
        self.assertEqual(path(" a b.pem"), " a b.pem")
        self.refused(path, "")

    def test_protocols(self) -> None:
        """An application protocol has letters that print; a comma or a space in it was meant to part two."""
        self.assertEqual([protocol("h2"), protocol("http/1.1"), protocol("a" * 255)], ["h2", "http/1.1", "a" * 255])
        for written in ("", "h2,http/1.1", "h2 ", "h2\n", "\u00e9", "a" * 256):
            self.refused(protocol, written)

    def test_networks(self) -> None:
        """An address is a network of one."""
        written = ("192.0.2.7", "10.0.0.0/8", "10.0.0.0/255.0.0.0", "2001:DB8::/32", "::1", "0.0.0.0/0", "::/0")
        self.assertEqual(
            [str(network(each)) for each in written],
            ["192.0.2.7/32", "10.0.0.0/8", "10.0.0.0/8", "2001:db8::/32", "::1/128", "0.0.0.0/0", "::/0"],
        )
        for each in (
            "",
            "all",
            "10",
            "10/8",
            "10.0.0.0/33",
            "010.0.0.1",
            "10.0.0.0/8 ",
            "10.0.0.0-10.0.0.9",
            "::g",
            "/8",
        ):
            self.refused(network, each)

    def test_networks_that_mean_something_else(self) -> None:
        """What would be compared with nobody, or with more than was meant, is told with what was meant."""
        for written, meant in (
            ("10.0.0.1/8", "is an address in a network; expected 10.0.0.0/8 for the network, or 10.0.0.1 for the "
             "address"),
            ("2001:db8::1/32", "is an address in a network; expected 2001:db8::/32 for the network, or 2001:db8::1 for "
             "the address"),
            ("fe80::1%eth0", "has a zone; expected it without one: fe80::1"),
            ("::ffff:10.0.0.0/104", "is of IPv4; expected 10.0.0.0/8"),
            ("::ffff:192.0.2.7", "is of IPv4; expected 192.0.2.7"),
        ):  # fmt: skip
            with self.assertRaises(ConfigurationError) as caught:
                network(written)
            self.assertEqual(str(caught.exception), f"{written!r} {meant}")

    def test_no_networks(self) -> None:
        """A list without any is neither everywhere nor nowhere."""
        cases: list[tuple[Any, object]] = [(NETWORKS.of_toml, []), (NETWORKS.of_text, ""), (NETWORKS.of_text, " , ")]
        for read, nothing in cases:
            with self.assertRaisesRegex(ConfigurationError, "^there is none in it, so nobody could connect; leave it"):
                read(nothing)
        self.assertEqual(NETWORKS.of_text("10.0.0.0/8, ::1"), (network("10.0.0.0/8"), network("::1")))

    def test_nothing_in_it(self) -> None:
        """What keeps somebody out is not turned off by a list without anything in it, as of a variable never set."""
        for kind in (AUTHORITIES, REVOCATIONS, ROOTS, IDENTITIES):
            cases: list[tuple[Any, object]] = [(kind.of_toml, []), (kind.of_text, ""), (kind.of_text, " ,")]
            for read, nothing in cases:
                with self.assertRaisesRegex(ConfigurationError, "^there is no (file|rule) in it"):
                    read(nothing)
            self.assertEqual((kind.of_text("a,b"), kind.of_toml("a")), (("a", "b"), ("a",)))
        for kind in (ALLOWED, DENIED):
            with self.assertRaisesRegex(ConfigurationError, "^there is no rule in it"):
                kind.of_text("")
            self.assertEqual((kind.of_toml([]), kind.of_text("a,")), ((), ("a",)))

    def test_long_values(self) -> None:
        """An error repeats the beginning of a long value, and not the whole."""
        self.assertEqual((shortened("x" * 200), shortened("x" * 201)), ("x" * 200, "x" * 200 + "..."))
        for parse in (duration, count, port, protocol, network, choice("a").of_text, NETWORKS.of_text, NAME.of_text):
            with self.assertRaises(ConfigurationError) as caught:
                parse("x" * 5000)
            self.assertIn("'" + "x" * 200 + "...' is ", str(caught.exception))
            self.assertLess(len(str(caught.exception)), 330)

    def test_depths(self) -> None:
        """A depth starts at none."""
        self.assertEqual([DEPTH.of_text("0"), DEPTH.of_toml(0), DEPTH.of_toml(3)], [0, 0, 3])
        for written in ("", "-1", "00", "1.0", " 1"):
            self.refused(depth, written)

    def test_choices(self) -> None:
        """One of a few words; the nearest is told where it is none of them."""
        kind = choice("off", "optional", "required")
        self.assertEqual(kind.of_text("required"), "required")
        with self.assertRaisesRegex(ConfigurationError, r"^'requird' is not known here; did you mean 'required'\?$"):
            kind.of_text("requird")
        with self.assertRaisesRegex(ConfigurationError, r"^'' is not known here; expected one of: off, optional, req"):
            kind.of_text("")

    def test_several_choices(self) -> None:
        """Some of a few words."""
        kind = choice("red", "green", many=True)
        self.assertEqual(
            (kind.of_text("green,red"), kind.of_toml(["red"]), kind.of_toml([])), (("green", "red"), ("red",), ())
        )
        with self.assertRaisesRegex(ConfigurationError, "^'blue' is not known here; expected one of: red, green$"):
            kind.of_text("red,blue")

    def test_lists(self) -> None:
        """Commas part the words of a list; spaces around them, and empty words, do not count."""
        self.assertEqual(WORDS.of_text(" a, b,,c ,"), ("a", "b", "c"))
        self.assertEqual(WORDS.of_text(""), ())
        self.assertEqual(NAMES.of_text("A.example,*.b.example."), ("a.example", "*.b.example"))


class TomlTests(SynchronousTestCase):
    """Values of the file."""

    def refused(self, kind: Kind, value: object, line: str) -> None:
        """Assert that this is refused with this line."""
        with self.assertRaises(ConfigurationError, msg=value) as caught:
            kind.of_toml(value)
        self.assertEqual(str(caught.exception), line)

    def test_durations(self) -> None:
        """A duration is a string with its unit; a number can only be no deadline."""
        self.assertEqual([DURATION.of_toml(each) for each in ("250ms", "off", "0", 0)], [0.25, 0, 0, 0])
        self.refused(DURATION, 10, '10 has no unit; expected for example "10s" or "5m"')
        self.refused(DURATION, -3, '-3 has no unit; expected for example "3s" or "5m"')
        self.refused(DURATION, 1.5, 'a float where a duration such as "10s" is expected')
        self.refused(DURATION, True, 'a boolean where a duration such as "10s" is expected')
        self.refused(DURATION, False, 'a boolean where a duration such as "10s" is expected')
        self.refused(DURATION, "10", '10 has no unit; expected for example "10s" or "5m"')

    def test_counts(self) -> None:
        """A count is a number, and no string of one."""
        self.assertEqual(COUNT.of_toml(512), 512)
        self.refused(BOUND, -1, "'-1' is not a number; expected a whole number from 1 on; 0 or off is no limit")
        self.refused(COUNT, 0, "'0' is not a number; expected a whole number from 1 on")
        self.refused(COUNT, -1, "'-1' is not a number; expected a whole number from 1 on")
        self.refused(COUNT, 2**40, f"'{2**40}' is not a number; expected a whole number from 1 on")
        self.refused(COUNT, "512", "a string where a whole number from 1 on is expected")
        self.refused(COUNT, True, "a boolean where a whole number from 1 on is expected")

    def test_ports(self) -> None:
        """A port is a number."""
        self.assertEqual(PORT.of_toml(443), 443)
        self.refused(PORT, 65536, "'65536' is not a port; expected a number from 0 to 65535")

    def test_several_ports(self) -> None:
        """Several are an array of numbers, or one; as text they have commas."""
        self.assertEqual((PORTS.of_toml(443), PORTS.of_toml([443, "80"])), ((443,), (443, 80)))
        self.assertEqual(PORTS.of_text("443,80"), (443, 80))
        self.refused(PORTS, [443, 65536], "'65536' is not a port; expected a number from 0 to 65535")
        self.refused(PORTS, [True], "an array where a port, or an array of them is expected")
        self.refused(PORTS, 4.5, "a float where a port, or an array of them is expected")

    def test_numbers_of_many_digits(self) -> None:
        """Python does not write such a number out, which a file may have as a hexadecimal; it is refused as others."""
        self.refused(DURATION, 16**5000, f'{10**18} has no unit; expected for example "{10**18}s" or "5m"')
        self.refused(COUNT, -(16**5000), f"'-{10**18}' is not a number; expected a whole number from 1 on")

    def test_text(self) -> None:
        """Text is a string, and no number is taken for one."""
        self.assertEqual(TEXT.of_toml("echo"), "echo")
        self.refused(TEXT, 8443, "an integer where a string is expected")
        self.refused(TEXT, ["echo"], "an array where a string is expected")
        self.refused(TEXT, {}, "a table where a string is expected")
        self.refused(TEXT, datetime.date(2026, 1, 1), "a date or time where a string is expected")

    def test_lists(self) -> None:
        """A list is an array of strings, or a single one; a comma is a letter of it."""
        self.assertEqual(WORDS.of_toml(["cn=a", "cn=b,c"]), ("cn=a", "cn=b,c"))
        self.assertEqual(WORDS.of_toml("cn=b,c"), ("cn=b,c",))
        self.assertEqual(WORDS.of_toml([]), ())
        self.refused(WORDS, 3, "an integer where an array of strings is expected")
        self.refused(WORDS, ["a", 3], "an array where an array of strings is expected")

    def test_names(self) -> None:
        """Names are in the spelling of the wire."""
        self.assertEqual(
            NAMES.of_toml(["API.example.", "*.b\u00fccher.example"]), ("api.example", "*.xn--bcher-kva.example")
        )
        self.assertEqual(NAME.of_toml("Reject"), "reject")
        self.refused(NAME, "a,b", "'a,b' is no host name; expected one such as api.example or *.api.example")

    def test_protocols(self) -> None:
        """Two protocols in one string are not taken for one."""
        self.assertEqual(PROTOCOLS.of_toml(["h2", "http/1.1"]), ("h2", "http/1.1"))
        with self.assertRaisesRegex(ConfigurationError, "^'h2,http/1.1' is no application protocol"):
            PROTOCOLS.of_toml("h2,http/1.1")

    def test_proxies(self) -> None:
        """Who passes connections on stands in a table of the file, and as a list in a string."""
        found = (network("10.0.0.0/8"), "unix", network("2001:db8::1"))
        self.assertEqual(PROXIES.of_toml({"from": ["10.0.0.0/8", "unix", "2001:db8::1"]}), found)
        self.assertEqual(PROXIES.of_text("10.0.0.0/8, unix,2001:db8::1"), found)
        self.assertEqual(PROXIES.of_toml({"from": "unix"}), ("unix",))
        table = 'a table such as { from = ["10.0.0.0/8", "unix"] } is expected'
        self.refused(PROXIES, ["10.0.0.0/8"], f"an array where {table}")
        self.refused(PROXIES, "10.0.0.0/8", f"a string where {table}")
        self.refused(PROXIES, {"from": 10}, f"an integer where {table}")
        self.refused(PROXIES, {"form": ["unix"]}, "'form' is not known here; did you mean 'from'?")
        nobody = "there is nobody in from, so no header would ever be read; leave it out where there is no proxy"
        self.refused(PROXIES, {}, nobody)
        self.refused(PROXIES, {"from": []}, nobody)
        with self.assertRaisesRegex(ConfigurationError, "^'10.0.0.1/8' is an address in a network; expected 10"):
            PROXIES.of_toml({"from": ["unix", "10.0.0.1/8"]})


class FileTests(SynchronousTestCase):
    """Paths, as they are seen from a folder."""

    def test_relative(self) -> None:
        """A relative path counts from the folder, an absolute one does not."""
        self.assertEqual(PATH.moved("a/b.pem", "/etc/mytls"), "/etc/mytls/a/b.pem")
        self.assertEqual(PATHS.moved(("a.pem", "/x/b.pem"), "/etc/mytls"), ("/etc/mytls/a.pem", "/x/b.pem"))

    def test_here(self) -> None:
        """No folder is the one that the process is in."""
        self.assertEqual((PATH.moved("a.pem", ""), PATHS.moved(("a.pem",), "")), ("a.pem", ("a.pem",)))

    def test_environment(self) -> None:
        """A variable of the environment is in no folder."""
        self.assertEqual(PATH.moved("env:SECRET", "/etc/mytls"), "env:SECRET")
