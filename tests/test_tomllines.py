"""A TOML file, and where each of its keys stands."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationErrors
from mytls.tomllines import Path, Source, Wrote, parsed

FILE = '''\
# a comment, and an empty line

keylog = "k"
[ deadlines ]  # spaces
close = """
3s"""
"quoted" . dotted = 1
limits.max-threads = { of = [1, 2] }

[[listener]]
endpoint = "a"
alpn = [  # several lines
  "h2",   # ]
  "[x]",
]
after = 1
[[listener.host]]
names = ["x]"]
[[listener.host]]
names = []
[listener.host.inner]
deep.er = 1
[[listener]]
endpoint = "b"
[[listener.host]]
certificate = \'\'\'c\'\'\'
host = [{ a = 1 }, { b = 2 }]
'''

#: Where each key of FILE stands.
PLACES: dict[Path, int] = {
    ("keylog",): 3,
    ("deadlines",): 4,
    ("deadlines", "close"): 5,
    ("deadlines", "quoted"): 7,
    ("deadlines", "quoted", "dotted"): 7,
    ("deadlines", "limits", "max-threads", "of"): 8,
    ("listener",): 10,
    ("listener", 0): 10,
    ("listener", 0, "endpoint"): 11,
    ("listener", 0, "alpn"): 12,
    ("listener", 0, "alpn", 1): 12,
    ("listener", 0, "after"): 16,
    ("listener", 0, "host"): 17,
    ("listener", 0, "host", 0): 17,
    ("listener", 0, "host", 0, "names"): 18,
    ("listener", 0, "host", 1): 19,
    ("listener", 0, "host", 1, "names"): 20,
    ("listener", 0, "host", 1, "inner"): 21,
    ("listener", 1): 23,
    ("listener", 1, "endpoint"): 24,
    ("listener", 1, "host", 0): 25,
    ("listener", 1, "host", 0, "certificate"): 26,
    ("listener", 1, "host", 0, "host"): 27,
}

#: Values that look like the ends of others; None is a header in the place of a key.
_VALUES = (
    None,
    "1",
    '"]"',
    '["a",\n"]",\n]',
    '"""\na = 1\n[[t]]\n"""',
    "{a = [1]}",
    "[[1],\n[2]] # ]",
    "'''\n]'''",
    '"#"',
)


def calls(test: SynchronousTestCase) -> list[str]:
    """The list that each text is added to that is parsed from now on, until the test is over."""
    parsed: list[str] = []
    parse = tomllib.loads

    def loads(text: str) -> dict[str, Any]:
        parsed.append(text)
        return parse(text)

    test.patch(tomllib, "loads", loads)
    return parsed


class ParsedTests(SynchronousTestCase):
    """Bytes in, a document out."""

    def refused(self, content: bytes, line: str) -> None:
        """Assert that this is refused, beginning with this line."""
        with self.assertRaises(ConfigurationErrors, msg=content) as caught:
            parsed("m.toml", content)
        (said,) = caught.exception.lines
        self.assertTrue(said.startswith(line), said)

    def test_document(self) -> None:
        """The text, and what it says."""
        self.assertEqual(parsed("m.toml", b"a = 1\n"), ("a = 1\n", {"a": 1}))

    def test_mark_of_an_editor(self) -> None:
        """A byte order mark, which some editors write, is nothing."""
        self.assertEqual(parsed("m.toml", b"\xef\xbb\xbfa = 1"), ("a = 1", {"a": 1}))

    def test_not_utf8(self) -> None:
        """The byte that is wrong is told, and its line."""
        self.refused(b"a = 1\n# caf\xe9\n", "m.toml:2: not UTF-8: the byte 0xe9")

    def test_not_toml(self) -> None:
        """What the parser says, with its line."""
        self.refused(b"a = 1\nb = = 2\n", "m.toml:2: not TOML: Invalid value (at line 2, column 5)")
        self.refused(b"a = 1\r\nb = = 2\n", "m.toml:2: not TOML: Invalid value (at line 2, column 5)")
        self.refused(b"a = 1\na = 2\n", "m.toml:2: not TOML: Cannot overwrite a value (at line 2, column 6)")

    def test_end(self) -> None:
        """What is not finished at the end is told for the last line that has something."""
        self.refused(b"a = 1\nb = [\n1\n\n\n", "m.toml:3: not TOML: Unclosed array (at end of document)")

    def test_too_much(self) -> None:
        """What is too much for the parser is an error of the file, and no traceback."""
        self.refused(b"a = " + b"[" * 100_000, "m.toml:1: not TOML: ")
        self.refused(b"a = " + b"1" * 5000, "m.toml:1: not TOML: Exceeds the limit")


class LineTests(SynchronousTestCase):
    """The line of each key."""

    def test_every_way_to_write_a_key(self) -> None:
        """Tables, arrays of tables, dotted and quoted keys, inline tables, values of several lines."""
        source = Source("m.toml", FILE)
        self.assertEqual({path: source.line(path) for path in PLACES}, PLACES)

    def test_other_ends_of_lines(self) -> None:
        """As other systems write them."""
        source = Source("m.toml", FILE.replace("\n", "\r\n"))
        self.assertEqual({path: source.line(path) for path in PLACES}, PLACES)

    def test_what_does_not_stand_there(self) -> None:
        """A key that is missing has the line of its table; where there is no table, the first."""
        source = Source("m.toml", FILE)
        self.assertEqual(source.line(("listener", 0, "host", 1, "handler")), 19)
        self.assertEqual(source.line(("listener", 5, "handler")), 10)
        self.assertEqual(source.line(("[[listener]]",)), 1)
        self.assertEqual(source.line(()), 1)

    def test_as_a_person_finds_it(self) -> None:
        """The file, the line and the key."""
        self.assertEqual(Source("a/m.toml", FILE).wrote(("listener", 0, "alpn")), "a/m.toml:12: alpn")

    def test_only_for_errors(self) -> None:
        """The lines are not looked for before somebody asks."""
        self.patch(tomllib, "loads", lambda text: self.fail("the file was looked through"))
        Source("m.toml", FILE)
        Wrote(Source("m.toml", FILE), ("listener", 0), ["alpn"])

    def test_keys_without_end(self) -> None:
        """However deep a key is, its table's line is found."""
        deep = "a" + ".a" * 2_000
        self.assertEqual(Source("m.toml", f"x = 1\n{deep} = 1\n").line(("a",)), 2)
        self.assertEqual(Source("m.toml", f"x = 1\n[{deep}]\nb = 1\n").line(("a", "a")), 2)

    def test_long_values(self) -> None:
        """A value of many lines is looked at a few times, and not once for each line."""
        text = "names = [\n" + '  "a.example",  # [one], "two"\n' * 5_000 + "]\nlast = 1\n"
        parsed = calls(self)
        self.assertEqual(Source("m.toml", text).line(("last",)), 5_003)
        self.assertLessEqual(len(parsed), 6)

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(st.data())
    def test_any_file(self, data: Any) -> None:
        """In whatever order statements stand, each key has the line of its own."""
        text, places = "", dict[Path, int]()
        table: Path = ()
        for number in range(data.draw(st.integers(0, 12))):
            text += data.draw(st.sampled_from(["", "\n", "# [a]\n", "  "]))
            line = text.count("\n") + 1
            value = data.draw(st.sampled_from(_VALUES))
            if value is None:
                table = ("t", sum(len(each) == 2 and each[0] == "t" for each in places))
                places[table] = line
                text += "[[t]]\n"
            else:
                places[*table, f"k{number}"] = line
                text += f"k{number} = {value}\n"
        tomllib.loads(text)
        source = Source("m.toml", text)
        self.assertEqual({path: source.line(path) for path in places}, places, text)


class WroteTests(SynchronousTestCase):
    """How the user wrote the keys of a table."""

    def test_own_keys(self) -> None:
        """The file, the line and the key; also of those that are not there."""
        wrote = Wrote(Source("m.toml", FILE), ("listener", 0), ["endpoint", "crl"])
        self.assertEqual(dict(wrote), {"endpoint": "m.toml:11: endpoint", "crl": "m.toml:10: crl"})
        self.assertEqual(wrote.get("alpn", "none"), "none")

    def test_keys_of_another_table(self) -> None:
        """What a table has from the one above stands there."""
        source = Source("m.toml", FILE)
        above = Wrote(source, ("listener", 0), ["endpoint", "names"])
        wrote = Wrote(source, ("listener", 0, "host", 0), ["names"], above)
        self.assertEqual(dict(wrote), {"names": "m.toml:18: names", "endpoint": "m.toml:11: endpoint"})
        self.assertEqual(len(wrote), 2)
