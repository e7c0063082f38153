"""The string of `exec:`."""

from __future__ import annotations

import grp
import os
import pwd

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.handlers.command import Account, Command
from tests.files import folder


class CommandTests(SynchronousTestCase):
    """Words in, what is run out."""

    def wrong(self, argument: str) -> str:
        """The one line that says what is wrong."""
        error = self.assertRaises(ConfigurationError, Command.of, argument)
        self.assertEqual(len(error.lines), 1)
        return str(error)

    def test_words(self) -> None:
        """Words are split as a shell does it, and nothing in them means anything else to a shell."""
        self.assertEqual(
            Command.of("/bin/sh -c 'echo $HOME; ls *' \"a b\" c\\ d ''"),
            Command(("/bin/sh", "-c", "echo $HOME; ls *", "a b", "c d", "")),
        )

    def test_a_path_with_spaces(self) -> None:
        """A program's path may be in quotes."""
        path = folder(self) / "my program"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        self.assertEqual(Command.of(f"'{path}' x").words, (str(path), "x"))

    def test_assignments_are_arguments(self) -> None:
        """Behind the program nothing is an option of ours."""
        self.assertEqual(Command.of("/bin/echo user=nobody").words, ("/bin/echo", "user=nobody"))

    def test_no_program(self) -> None:
        """Without a program there is nothing to run."""
        expected = "there is no program; expected for example exec:/usr/bin/program --option"
        for argument in ("", "  ", "cwd=/"):
            self.assertEqual(self.wrong(argument), expected)

    def test_no_absolute_path(self) -> None:
        """A program is not searched for."""
        for argument in ("cat", "./cat", "bin/cat -n", "''"):
            self.assertRegex(self.wrong(argument), "^'[^' ]*' is no absolute path of a program; expected for example ")

    def test_no_such_program(self) -> None:
        """What is not there, is a folder or cannot be executed is found at the start."""
        where = folder(self)
        (where / "file").write_text("x")
        (where / "file").chmod(0o644)
        self.assertEqual(self.wrong(f"{where}/none"), f"{where}/none: there is no such file")
        self.assertEqual(self.wrong(str(where)), f"{where}: it is no file")
        self.assertRegex(self.wrong(f"{where}/file"), "/file: it is not executable, or not for us; chmod")

    def test_quotes(self) -> None:
        """A quote that does not end is told of."""
        self.assertEqual(self.wrong("/bin/echo 'x"), 'no closing quotation in "/bin/echo \'x"')

    def test_nul(self) -> None:
        """An argument cannot have a NUL."""
        self.assertEqual(self.wrong("/bin/echo x\0y"), "no argument can have a NUL in it")

    def test_folder(self) -> None:
        """`cwd=` is a folder that is there, by its absolute path."""
        where = folder(self)
        self.assertEqual(Command.of(f"cwd={where} /bin/cat").folder, str(where))
        for path in ("tmp", f"{where}/none", "/bin/sh", ""):
            expected = f"cwd={path}: expected the absolute path of a folder that is there"
            self.assertEqual(self.wrong(f"cwd={path} /bin/cat"), expected)

    def test_options(self) -> None:
        """An option that is none, or stands there twice, is told of with the nearest right one."""
        self.assertEqual(self.wrong("usr=x /bin/cat"), "usr= is no option of exec:; did you mean 'user'?")
        self.assertEqual(self.wrong("cwd=/ cwd=/ /bin/cat"), "cwd= stands there twice")


class AccountTests(SynchronousTestCase):
    """As whom a program runs."""

    def as_user(self, number: int, group: int = 0) -> None:
        """From now on this process seems to run as this user."""
        self.patch(os, "geteuid", lambda: number)
        self.patch(os, "getegid", lambda: group)

    def test_unknown(self) -> None:
        """A user or group that is not there is an error."""
        self.as_user(0)
        for said in ("user=nobody-knows", "user=4294967290", "user=99999999999999", "group=none-such", "user="):
            error = self.assertRaises(ConfigurationError, Command.of, f"{said} /bin/cat")
            self.assertEqual(str(error), f"{said}: there is no such {said.partition('=')[0]}")

    def test_only_root(self) -> None:
        """Who is not root cannot become another, and says so at the start."""
        root, me = pwd.getpwuid(0), 12345
        self.as_user(me, me)
        error = self.assertRaises(ConfigurationError, Account.of, root.pw_name, None)
        self.assertEqual(str(error), f"user={root.pw_name}: only root can change that, and mytls does not run as root")
        error = self.assertRaises(ConfigurationError, Account.of, None, grp.getgrgid(0).gr_name)
        self.assertRegex(str(error), "^group=.*only root")

    def test_oneself(self) -> None:
        """Who says its own user changes nothing."""
        nobody = pwd.getpwnam("nobody")
        self.as_user(nobody.pw_uid, nobody.pw_gid)
        self.assertIsNone(Account.of("nobody", None))
        self.assertIsNone(Account.of(str(nobody.pw_uid), str(nobody.pw_gid)))
        self.assertIsNone(Account.of(None, None))

    def test_another(self) -> None:
        """Another user comes with its groups and its names."""
        self.as_user(0)
        nobody = pwd.getpwnam("nobody")
        account = Account.of("nobody", None)
        assert account is not None
        self.assertEqual((account.user, account.group), (nobody.pw_uid, nobody.pw_gid))
        self.assertIn(nobody.pw_gid, account.groups)
        self.assertNotIn(0, account.groups)
        self.assertEqual(dict(account.names), {"USER": "nobody", "LOGNAME": "nobody", "HOME": nobody.pw_dir})

    def test_become(self) -> None:
        """This process may have become the account after it was read; who has become another cannot any more."""
        account = Account(7, 8, (8,))
        for user, group, ours, possible in (
            ((0, 0, 0), (0, 0, 0), False, True),
            ((7, 7, 7), (8, 8, 8), True, True),
            ((7, 7, 7), (9, 9, 9), False, False),
            ((0, 7, 0), (8, 8, 8), False, False),
        ):
            self.patch(os, "getresuid", lambda: user)  # noqa: B023  # it is called within the loop
            self.patch(os, "getresgid", lambda: group)  # noqa: B023  # likewise
            self.patch(os, "geteuid", lambda: user[1])  # noqa: B023  # likewise
            self.assertEqual((account.ours, account.possible), (ours, possible))

    def test_group_alone(self) -> None:
        """A group alone takes the place of all of ours."""
        self.as_user(0)
        number = pwd.getpwnam("nobody").pw_gid
        self.assertEqual(Account.of(None, str(number)), Account(0, number, (number,)))
