"""
The string of `exec:`: a program, its arguments, and as whom and where it runs.

    Command.of("/usr/bin/env LANG=C /srv/answer --all")
    Command.of("user=nobody cwd=/srv '/srv/my program' --all")

The words are split as a shell splits them, with quotes and backslashes; nothing else of a shell is there.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
from pathlib import Path

import attrs

from mytls.errors import ConfigurationError, nearest

_EXAMPLE = "expected for example exec:/usr/bin/program --option"


@attrs.frozen
class Account:
    """
    As whom a program runs.

    @ivar user: the number of the user
    @ivar group: the number of the group
    @ivar groups: the numbers of all its groups
    @ivar names: what the environment says of the user
    """

    user: int
    group: int
    groups: tuple[int, ...]
    names: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, user: str | None, group: str | None) -> Account | None:
        """
        The account with these names or numbers, where it is another than our own; else None.

        @raise ConfigurationError: there is none such, or we may not become it
        """
        if user is None and group is None:
            return None
        found = _user(user) if user is not None else None
        number = os.geteuid() if found is None else found.pw_uid
        own_group = os.getegid() if found is None else found.pw_gid
        chosen = own_group if group is None else _group(group)
        if os.geteuid() == 0:
            several = os.getgrouplist(found.pw_name, chosen) if found is not None else [chosen]
            return cls(number, chosen, tuple(several), _names(found))
        if (number, chosen) != (os.geteuid(), os.getegid()):
            said = f"user={user}" if user is not None else f"group={group}"
            raise ConfigurationError(f"{said}: only root can change that, and mytls does not run as root")
        return None

    @property
    def ours(self) -> bool:
        """Whether this process runs as it; it may have become it, after it has read its settings."""
        return os.getresuid() == (self.user,) * 3 and os.getresgid() == (self.group,) * 3

    @property
    def possible(self) -> bool:
        """Whether a program can be started as it."""
        return self.ours or os.geteuid() == 0


@attrs.frozen
class Command:
    """
    What is run for each connection.

    @ivar words: the program's absolute path, and its arguments
    @ivar folder: where it runs; None is where we do
    @ivar account: as whom it runs; None is as we do
    """

    words: tuple[str, ...]
    folder: str | None = None
    account: Account | None = None

    @classmethod
    def of(cls, argument: str) -> Command:
        """
        What a handler string says behind `exec:`.

        @param argument: `user=NAME`, `group=NAME` and `cwd=/FOLDER` where wanted, then the program and its arguments
        @raise ConfigurationError: it cannot be run so; one line
        """
        try:
            words = shlex.split(argument)
        except ValueError as error:
            raise ConfigurationError(f"{str(error).lower()} in {argument!r}") from None
        options = _options(words)
        if not words:
            raise ConfigurationError(f"there is no program; {_EXAMPLE}")
        _check_program(words[0])
        if any("\0" in word for word in words):
            raise ConfigurationError("no argument can have a NUL in it")
        return cls(tuple(words), _folder(options.get("cwd")), Account.of(options.get("user"), options.get("group")))

    @property
    def program(self) -> str:
        """Its path."""
        return self.words[0]


_OPTIONS = ("user", "group", "cwd")


def _options(words: list[str]) -> dict[str, str]:
    """The options at the front, taken out of the words."""
    found: dict[str, str] = {}
    while words and not words[0].startswith("/") and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        if name not in _OPTIONS:
            raise ConfigurationError(f"{name}= is no option of exec:{nearest(name, _OPTIONS)}")
        if name in found:
            raise ConfigurationError(f"{name}= stands there twice")
        found[name] = value
    return found


def _check_program(path: str) -> None:
    if not path.startswith("/"):
        raise ConfigurationError(f"{path!r} is no absolute path of a program; {_EXAMPLE}")
    if not os.path.exists(path):
        raise ConfigurationError(f"{path}: there is no such file")
    if not Path(path).is_file():
        raise ConfigurationError(f"{path}: it is no file")
    if not os.access(path, os.X_OK):
        raise ConfigurationError(f"{path}: it is not executable, or not for us; chmod +x makes it so")


def _folder(path: str | None) -> str | None:
    if path is not None and not (path.startswith("/") and Path(path).is_dir()):
        raise ConfigurationError(f"cwd={path}: expected the absolute path of a folder that is there")
    return path


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isascii() and name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        raise ConfigurationError(f"user={name}: there is no such user") from None


def _group(name: str) -> int:
    try:
        return (grp.getgrgid(int(name)) if name.isascii() and name.isdigit() else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError, ValueError):
        raise ConfigurationError(f"group={name}: there is no such group") from None


def _names(user: pwd.struct_passwd | None) -> tuple[tuple[str, str], ...]:
    if user is None:
        return ()
    return (("USER", user.pw_name), ("LOGNAME", user.pw_name), ("HOME", user.pw_dir))
