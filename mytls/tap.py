"""`twistd mytls`: what the user typed, checked to the last word before anything listens."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from mytls import __version__
from mytls.assemble import development_endpoint, service_from_file, service_of_strings, steady_time, supervised
from mytls.errors import ConfigurationError, nearest, one_line
from mytls.exitstatus import ExitStatus
from mytls.handlers import BUILT_IN
from mytls.keys import OPTION_KEYS, Key
from mytls.permitted import of_twistd
from mytls.privileges import is_user
from mytls.running import TLSService
from mytls.settings import Settings
from mytls.systemd.notify import Nobody
from mytls.systemd.supervised import Supervision
from mytls.table import table
from mytls.workers.child import LONGEST_SILENCE, Launch
from mytls.workers.held import Held
from mytls.workers.inheritance import Inheritance
from mytls.workers.relaunch import PidFile, Relaunch
from mytls.workers.roles import Alone, Role, role_of
from mytls.workers.seat import Seat
from mytls.workers.succession import Lineage


class Options(usage.Options):
    """
    The options of `twistd mytls`.

    @ivar service: what they ask for, once they are parsed
    @ivar role: what this process has to do with it
    """

    synopsis = "[--endpoint STRING]... [--handler STRING] [--config FILE] [options]"
    longdesc = (
        "Serves a handler of decrypted bytes over TLS. With nothing at all it serves echo on 127.0.0.1:8443 with a "
        "development certificate of its own, and logs the line that connects to it. "
        f"Handlers: {', '.join(expected for _, expected in BUILT_IN.values())}, and those of plugins."
    )
    optParameters = [  # usage.Options looks for a list
        [key.word, None, None, f"{key.sentence} [default: {key.default or 'nothing'}]"]
        for key in OPTION_KEYS
        if not key.kind.flag
    ]
    optFlags = [[key.word, None, key.sentence] for key in OPTION_KEYS if key.kind.flag]  # likewise

    def __init__(self) -> None:
        super().__init__()
        self._endpoints: list[str] = []
        self._handler: str | None = None
        self._config: str | None = None
        self._check = False
        self._exit_status = ExitStatus()
        self._supervision = Supervision(Nobody())
        self._words: tuple[str, ...] = ()
        self._environ: Mapping[str, str] = {}
        self._inheritance: Inheritance | None = None
        self._held = Held()
        self.role: Role = Alone()
        self.service: TLSService | None = None

    def opt_endpoint(self, string: str) -> None:
        """Where to listen: any Twisted server endpoint string, such as
        ssl:8443:privateKey=key.pem:certKey=fullchain.pem; may be repeated."""
        self._endpoints.append(string)

    opt_e = opt_endpoint

    def opt_handler(self, string: str) -> None:
        """What to do with the decrypted bytes [default: echo]."""
        if self._handler is not None:
            raise usage.UsageError(f"--handler {string}: a handler was given already: {self._handler}")
        self._handler = string

    def opt_config(self, path: str) -> None:
        """The configuration file (TOML), in place of --endpoint and --handler; loaded again when it changes."""
        if self._config is not None:
            raise usage.UsageError(f"--config {path}: a file was given already: {self._config}")
        self._config = path

    opt_c = opt_config

    def opt_check(self) -> None:
        """Load all of it, print what would be served, and exit without listening."""
        self._check = True

    def opt_version(self) -> None:
        """Print the version of mytls and exit."""
        print(f"mytls {__version__}")
        sys.exit(0)

    def parseArgs(self, *words: str) -> None:
        """There are no words without an option."""
        if words:
            raise usage.UsageError(f"unexpected word {words[0]!r}; endpoints are given with --endpoint")

    def parseOptions(self, options: Any = None) -> None:
        """What the user typed. Each error is a line on standard error, and then the end with status 1."""
        self._words = tuple(sys.argv[1:] if options is None else options)
        try:
            super().parseOptions(options)
            self.service = self._assemble()
        except usage.UsageError as error:
            sys.exit(f"mytls: {one_line(self._explained(str(error)))}")
        except ConfigurationError as error:
            sys.exit("\n".join(f"mytls: {line}" for line in error.lines))
        if self._check:
            print(table(self.service.plan))
            sys.exit(0)

    def _assemble(self) -> TLSService:
        # The user's own modules are in the folder that the command was typed in.
        try:
            here = os.getcwd()
        except OSError as error:
            raise ConfigurationError(f"the working folder is not to be had: {error.strerror}") from None
        if here not in sys.path:
            sys.path.insert(0, here)
        _check_account(self.parent or {})
        # A reload that is asked for before all is loaded must not be the end.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # So must nothing that is to be handed over; what is ignored, programs of `exec:` would ignore too.
        signal.signal(signal.SIGUSR2, lambda number, frame: None)
        self._held = Held.handed_over(os.environ)
        self._environ = dict(os.environ)
        self._inheritance = Inheritance.taken(os.environ)
        self._supervision = Supervision.asked(os.environ, waits=self._inheritance is not None)
        steady_time()
        given = {key.word: _value(key, self[key.word]) for key in OPTION_KEYS if self[key.word] not in (None, 0)}
        made = self._of_file(self._config, given) if self._config is not None else self._of_strings(given)
        made.reloads_on_hangup = True
        made.exit_status = self._exit_status
        made.sandbox.permit(of_twistd(self.parent or {}))
        return made

    def supervised(self) -> IService:
        """The service as its role runs it, and around it what tells systemd how it is, where that is asked for."""
        assert self.service is not None
        return supervised(self.service, self.role, self._supervision)

    def _of_file(self, path: str, given: dict[str, Any]) -> TLSService:
        for option, said in (("--endpoint", self._endpoints[:1]), ("--handler", self._handler)):
            if said:
                raise usage.UsageError(f"{option} has no place beside --config, where {path} says it")
        return service_from_file(
            path,
            options=given,
            observers=self._supervision.observers,
            role_for=self._role_for,
            held=self._held.contents,
        )

    def _of_strings(self, given: dict[str, Any]) -> TLSService:
        development, command = ([], "") if self._endpoints else development_endpoint()
        settings = Settings().merged(given)
        made = service_of_strings(
            self._endpoints or development,
            self._handler or "echo",
            settings,
            observers=self._supervision.observers,
            role_for=self._role_for,
            held=self._held.contents,
        )
        made.greeting = f"connect with: {command}" if command else ""
        return made

    def _role_for(self, settings: Settings) -> Role:
        seat = Seat.taken(os.environ)
        self.role = role_of(settings, self._launch, seat, self._lineage())
        if seat is not None:
            self._held.forget()  # it is for the loading that goes on
        return self.role

    def _launch(self) -> Launch:
        """How workers are started: with what was typed."""
        of_twistd: Mapping[str, Any] = self.parent or {}
        if of_twistd.get("chroot") is not None:
            raise ConfigurationError("--workers: of no use with --chroot, where there is no Python to start them with")
        return Launch(
            self._words,
            os.getcwd(),
            of_twistd.get("reactor"),
            dict(os.environ),
            self._of_systemd(),
            longest_silence=self._supervision.seconds or LONGEST_SILENCE,
            held=self._held,
        )

    def _lineage(self) -> Lineage | None:
        """What is handed over to a successor, besides the sockets; None where it is not twistd that runs this."""
        if self.parent is None or "pidfile" not in self.parent:
            return None
        command = str(self.parent.subCommand)
        about = sys.argv, command, self._words, self.parent, self._environ, self._of_systemd()
        turn = self._supervision.turn
        return Lineage(Relaunch.of(*about), PidFile(self.parent), turn, self._inheritance, self._held)

    def _of_systemd(self) -> tuple[str, ...]:
        """The names of the sockets that systemd has passed."""
        if self._inheritance is not None:
            return self._inheritance.of_systemd
        return tuple(filter(None, os.environ.get("LISTEN_FDNAMES", "").split(":")))

    def _explained(self, text: str) -> str:
        unknown = re.fullmatch(r"option (--?)(\S+) not recognized", text)
        if unknown is None:
            return text
        words = ("endpoint", "handler", "config", "check", "help", "version", *(key.word for key in OPTION_KEYS))
        hint = nearest(f"--{unknown[2]}", [f"--{word}" for word in words]) or "; --help lists them"
        return f"unknown option {unknown[1]}{unknown[2]}{hint}"


def _check_account(of_twistd: Mapping[str, Any]) -> None:
    """@raise ConfigurationError: twistd could not become that user, and would say so with a traceback"""
    uid = of_twistd.get("uid")
    if uid is not None and not is_user(uid):
        raise ConfigurationError(f"--uid {uid}: this machine has no such user, and so no groups of it either")


def _value(key: Key, written: Any) -> Any:
    """The value of an option that was typed; a flag has none written."""
    return True if key.kind.flag else key.value_of(written, f"--{key.word}")


def makeService(options: Options) -> IService:
    """What twistd runs."""
    return options.supervised()
