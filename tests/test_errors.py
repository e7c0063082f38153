"""Causes, alerts and lines of text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import (
    Alert,
    Cause,
    ConfigurationError,
    ConfigurationErrors,
    TLSFailure,
    Troubles,
    alert_record,
    nearest,
    one_line,
    sentence,
    unescaped,
    visible,
)
from tests.memory import client_context

hard = settings(max_examples=200, derandomize=True, database=None, deadline=None)


class CauseTests(SynchronousTestCase):
    """One closed list of words."""

    def test_words(self) -> None:
        """A cause is its word, in a log and in a metric: small letters and hyphens."""
        for cause in Cause:
            self.assertRegex(f"{cause}", r"^[a-z]+(-[a-z]+)*$")
            self.assertEqual(cause.name, cause.value.upper().replace("-", "_"))

    def test_failure(self) -> None:
        """A failure reads as its cause and what exactly was wrong."""
        failure = TLSFailure(Cause.NOT_TLS, "the first byte is 0x47", Alert.UNEXPECTED_MESSAGE)
        self.assertEqual(str(failure), "not-tls: the first byte is 0x47")
        self.assertEqual(failure.alert, 10)


class AlertTests(SynchronousTestCase):
    """The alert in the clear."""

    def test_bytes(self) -> None:
        """One record of two bytes, fatal (RFC 8446 section 6)."""
        self.assertEqual(alert_record(Alert.DECODE_ERROR), b"\x15\x03\x01\x00\x02\x02\x32")

    def test_openssl_understands_it(self) -> None:
        """A client in its handshake takes it for what it says."""
        for description, reason in (
            (Alert.UNEXPECTED_MESSAGE, "unexpected message"),
            (Alert.RECORD_OVERFLOW, "record overflow"),
            (Alert.ILLEGAL_PARAMETER, "illegal parameter"),
            (Alert.DECODE_ERROR, "decode error"),
            (Alert.PROTOCOL_VERSION, "protocol version"),
            (Alert.INTERNAL_ERROR, "internal error"),
        ):
            client = SSL.Connection(client_context())
            client.set_connect_state()
            self.assertRaises(SSL.WantReadError, client.do_handshake)
            client.bio_write(alert_record(description))
            with self.assertRaises(SSL.Error) as caught:
                client.do_handshake()
            self.assertIn(reason, str(caught.exception))


class NearestTests(SynchronousTestCase):
    """Did you mean?"""

    def test_near(self) -> None:
        """One word that is near is told, and it alone."""
        self.assertEqual(nearest("ehco", ["echo", "discard"]), "; did you mean 'echo'?")

    def test_none_near(self) -> None:
        """Otherwise the words are, if they are few."""
        self.assertEqual(nearest("x", ["echo", "discard"]), "; expected one of: echo, discard")
        self.assertEqual(nearest("x", iter(["echo"])), "; expected one of: echo")

    def test_many_or_none(self) -> None:
        """A long list helps nobody, and an empty one neither."""
        self.assertEqual(nearest("x", [f"word{number}" for number in range(12)]).count("word"), 12)
        self.assertEqual(nearest("x", [f"word{number}" for number in range(13)]), "")
        self.assertEqual(nearest("x", []), "")


class TextTests(SynchronousTestCase):
    """Words of strangers and of users in lines of ours."""

    def test_visible(self) -> None:
        """Plain names stay as they are; whatever could end a field, a quotation or a line is escaped."""
        self.assertEqual(visible("www.example-1.com"), "www.example-1.com")
        self.assertEqual(visible(b'a b"c\\d\r\n\x1b[31m\xff'), r"a\x20b\x22c\x5cd\x0d\x0a\x1b[31m\xff")
        self.assertEqual(visible("\u2028\u202e\U0001f512"), r"\u{2028}\u{202e}\u{1f512}")

    def test_visible_is_bounded(self) -> None:
        """Of a long one the beginning is kept, and that it was cut is told."""
        self.assertEqual(visible("a" * 100), "a" * 100)
        self.assertEqual(visible("a" * 101), "a" * 100 + "...")
        self.assertEqual(visible("abc", 2), "ab...")

    @hard
    @given(st.text(max_size=40) | st.binary(max_size=40))
    def test_visible_is_one_word(self, told: str | bytes) -> None:
        """Whatever it is, it is one word of printable ASCII without quotes."""
        self.assertRegex(visible(told), r"\A[!#-\[\]^-~]*((\\x[0-9a-f]{2}|\\u\{[0-9a-f]+\})[!#-\[\]^-~]*)*\Z")

    @hard
    @given(st.text(max_size=40), st.text(max_size=40))
    def test_visible_is_unambiguous(self, one: str, other: str) -> None:
        """Two different names never look the same."""
        if one != other:
            self.assertNotEqual(visible(one), visible(other))

    def test_one_line(self) -> None:
        """A user's own words stay readable, in any script; what does not print is escaped."""
        self.assertEqual(one_line("schlüssel 'a b'.pem"), "schlüssel 'a b'.pem")
        self.assertEqual(one_line("a\nb\r\x1b[0m\x85\udcff"), r"a\x0ab\x0d\x1b[0m\x85\u{dcff}")

    def test_configuration_error_is_one_line(self) -> None:
        """An error of the user's is one line, whatever he has typed, also when it is told on."""
        error = ConfigurationError("privateKey=a\nb.pem: no such file")
        self.assertEqual(str(error), r"privateKey=a\x0ab.pem: no such file")
        self.assertEqual(str(ConfigurationError(f"--endpoint x: {error}")), f"--endpoint x: {error}")


class TroublesTests(SynchronousTestCase):
    """Errors that are told together."""

    def test_none(self) -> None:
        """Where nothing was wrong nothing is raised."""
        troubles = Troubles()
        with troubles.gathered():
            pass
        troubles.add(())
        troubles.tell()

    def test_all(self) -> None:
        """Each is told, in its order, those of several lines with each of them, and the same once."""
        troubles = Troubles()
        with troubles.gathered():
            raise ConfigurationErrors(["one", "two"])
        with troubles.gathered():
            raise ConfigurationError("three")
        troubles.add([ConfigurationError("one"), ConfigurationError("four")])
        error = self.assertRaises(ConfigurationErrors, troubles.tell)
        self.assertEqual(error.lines, ("one", "two", "three", "four"))

    def test_others(self) -> None:
        """What is no such error goes through."""
        with self.assertRaises(ZeroDivisionError), Troubles().gathered():
            raise ZeroDivisionError


class UnescapedTests(SynchronousTestCase):
    """What was escaped for a line, as it was."""

    @hard
    @given(st.text(max_size=60))
    def test_round_trip(self, text: str) -> None:
        """Whatever a stranger has sent comes out as it was, also text that looks like an escape."""
        self.assertEqual(unescaped(visible(text)), text)
        self.assertEqual(unescaped(sentence(text.replace("\\", ""))), text.replace("\\", ""))

    def test_no_escapes(self) -> None:
        """What only begins like one, or is no character, stays."""
        for text in ("C:\\new", "\\x1", "\\x1G", "\\u{110000}", "\\u{}", "\\u{12", "a"):
            self.assertEqual(unescaped(text), text)
