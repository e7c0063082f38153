"""Server names, one spelling for each."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.names import asked_name, host_name, parent

hard = settings(max_examples=200, derandomize=True, database=None, deadline=None)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


class WrittenTests(SynchronousTestCase):
    """Names as a user writes them."""

    def test_spelling(self) -> None:
        """Case and the dot at the end make no difference, and letters of all scripts are as the wire has them."""
        for written, spelled in (
            ("api.example", "api.example"),
            ("API.Example.", "api.example"),
            ("localhost", "localhost"),
            ("_dmarc.example", "_dmarc.example"),
            ("*.Example", "*.example"),
            ("*.example.com.", "*.example.com"),
            ("b\u00fccher.example", "xn--bcher-kva.example"),
            ("B\u00dcCHER.example", "xn--bcher-kva.example"),
            ("*.b\u00fccher.example", "*.xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("\u4f8b\u3048.\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
            ("\uff21.example", "a.example"),
        ):
            self.assertEqual(host_name(written), spelled, written)

    def test_nobodys_names(self) -> None:
        """What no client can ask for is refused, with its own words."""
        for written in (
            "",
            ".",
            "*",
            "*.",
            "*.*.example",
            "a.*.example",
            "w*.example",
            "*example",
            "a..example",
            ".example",
            "-a.example",
            "a-.example",
            "a b.example",
            "a.example:443",
            "https://a.example",
            "192.0.2.1",
            "::1",
            "a.123",
            "a" * 64 + ".example",
            ".".join(["a" * 50] * 6),
            "a.example\n",
            "a\x00.example",
            "\u00fc" * 70 + ".example",
            "a\u2028b.example",
        ):
            with self.assertRaises(ConfigurationError, msg=written) as caught:
                host_name(written)
            self.assertIn(" is no host name", str(caught.exception))
            self.assertTrue(str(caught.exception).isprintable())

    @hard
    @given(st.text(max_size=12))
    def test_whatever_is_written(self, written: str) -> None:
        """It is a name, which stays the same when it is written again, or an error of ours."""
        try:
            name = host_name(written)
        except ConfigurationError:
            return
        self.assertEqual(host_name(name), name)
        self.assertEqual(asked_name(name.removeprefix("*.").encode("ascii")), name.removeprefix("*."))


class AskedTests(SynchronousTestCase):
    """Names as clients send them."""

    def test_spelling(self) -> None:
        """A client's case and last dot make no difference."""
        self.assertEqual(asked_name(b"API.Example."), "api.example")
        self.assertEqual(asked_name(b"xn--bcher-kva.example"), "xn--bcher-kva.example")

    def test_nobodys_names(self) -> None:
        """Anything else is no name, and never an error."""
        for sent in (b"", b".", b"..", b"*.example", b"192.0.2.1", b"a\x00b", b"b\xfccher.example", b"a" * 300, b"a\n"):
            self.assertIsNone(asked_name(sent), sent)

    @hard
    @given(st.binary(max_size=300))
    def test_any_bytes(self, sent: bytes) -> None:
        """Whatever a client sends, the answer is a name in small letters, or none."""
        name = asked_name(sent)
        if name is not None:
            self.assertEqual(name.encode("ascii"), sent.lower().removesuffix(b"."))

    @hard
    @given(st.lists(LABELS, min_size=2, max_size=5))
    def test_wildcard_above(self, labels: list[str]) -> None:
        """A name falls under the wildcard of all its labels but the first."""
        self.assertEqual(parent(".".join(labels)), ".".join(["*", *labels[1:]]))
