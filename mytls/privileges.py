"""What a process may do no more, though it could when it was started; and what is not left of its memory."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from typing import ClassVar

from mytls.errors import ConfigurationError

_GIVEN_UP = "the service has given up the privileges that it was started with"
_PR_SET_DUMPABLE = 4
_OUTSIDE = "outside of the sandbox, which is as the configuration was when the service was started"


class Rights:
    """
    As whom the process ran when this was made: what cannot be had later may be had after a restart.

    @ivar sandboxed: whether the process has a sandbox; it keeps that until it ends
    """

    sandboxed: ClassVar[bool] = False

    def __init__(self) -> None:
        self._user = os.geteuid()

    @property
    def given_up(self) -> bool:
        """Whether it runs as another by now."""
        return os.geteuid() != self._user

    def why_not_read(self, path: str) -> str:
        """
        Why a file is not ours to read; empty where it never was.

        @param path: what could not be opened. Who may open it is asked without the sandbox, which access(2) knows
            nothing of
        """
        if self.sandboxed and os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return f"; it is {_OUTSIDE}: restart it"
        return f" as user {user_name(os.geteuid())}: {_GIVEN_UP}" if self.given_up else ""

    def why_not_listen(self) -> str:
        """Why a port is not ours to bind; empty where it never was."""
        lost = [_GIVEN_UP] * self.given_up + [f"it is {_OUTSIDE}"] * self.sandboxed
        return f"{', or '.join(lost)}; restart it" if lost else ""


def user_name(number: int) -> str:
    """The name of a user, or the number where there is none."""
    return pwd.getpwuid(number).pw_name if is_user(number) else str(number)


def is_user(number: int) -> bool:
    """Whether there is a user with this number."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def keep_to_itself() -> None:
    """
    From now on no other process of this user may look into this one; nor is a core left of it (prctl(2),
    C{PR_SET_DUMPABLE}). The system does the same where a process gives root up, until that executes a program.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def leave_no_core() -> None:
    """
    From now on no core is left of this process, nor of those that it starts.

    @raise ConfigurationError: the system does not let us

    A limit of one byte is too little for a file, and the one limit that also keeps Linux from giving the core to a
    program (core_pattern with a pipe, core(5); C{coredump_pipe} in fs/coredump.c).
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = 0 if hard == 0 else 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"core-dumps=off: the limit cannot be set: {error}") from None
