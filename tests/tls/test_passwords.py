"""What opens encrypted keys."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.passwords import Password, password_of
from tests.files import folder
from tests.tls.issuing import files, write


class PasswordTests(SynchronousTestCase):
    """A file, or a variable."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.environment: dict[str, str] = {}
        self.patch(os, "environ", self.environment)

    def password(self, said: str | None) -> Password:
        """What these words mean."""
        return password_of(HostSettings(password_file=said, wrote={"password-file": "passwordFile"}), files())

    def refused(self, said: str, line: str) -> None:
        """Assert that these words are refused."""
        with self.assertRaises(ConfigurationError) as caught:
            self.password(said)
        self.assertEqual(str(caught.exception).replace(str(self.folder), "DIR"), line)

    def test_first_line(self) -> None:
        """The first line of the file, with its blanks, without its end."""
        for content in (b"open sesame ", b"open sesame \n", b"open sesame \r\nanother\n"):
            path = write(self.folder / "password", content)
            self.assertEqual(self.password(path), Password(b"open sesame ", path))

    def test_any_bytes(self) -> None:
        """A password may be of any bytes."""
        self.assertEqual(self.password(write(self.folder / "p", "pässword\n".encode())).secret, "pässword".encode())
        self.environment["KEY"] = "p\udce4ss"
        self.assertEqual(self.password("env:KEY").secret, b"p\xe4ss")

    def test_variable(self) -> None:
        """Another variable of the environment."""
        self.environment.update(KEY="open sesame", MYTLS_PASSWORD="another")
        self.assertEqual(self.password("env:KEY"), Password(b"open sesame", "env:KEY"))

    def test_our_variable(self) -> None:
        """MYTLS_PASSWORD, where nothing is said; without it there is no password."""
        self.assertIsNone(self.password(None).secret)
        self.environment["MYTLS_PASSWORD"] = "open sesame"
        expected = Password(b"open sesame", "the environment variable MYTLS_PASSWORD")
        self.assertEqual(self.password(None), expected)

    def test_nothing_there(self) -> None:
        """A file that is missing or empty, a variable that is not set: an error, also where no key needs it."""
        self.environment["EMPTY"] = ""
        self.refused(str(self.folder / "none"), "passwordFile=DIR/none: no such file")
        for content in (b"", b"\nsecond line"):
            path = write(self.folder / "empty", content)
            self.refused(path, "passwordFile=DIR/empty: there is no password in its first line")
        for name in ("NONE", "EMPTY", ""):
            self.refused(f"env:{name}", f"passwordFile=env:{name}: this environment variable is not set, or empty")

    def test_not_shown(self) -> None:
        """A password is not printed."""
        made: Any = Password(b"open sesame", "here")
        self.assertEqual(repr(made), "Password(place='here')")
