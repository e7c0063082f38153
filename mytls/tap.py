"""`twistd mytls`: what the user typed, checked to the last word before anything listens."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from mytls import __version__
from mytls.assemble import TLSService, development_endpoint, service
from mytls.errors import ConfigurationError, nearest, one_line
from mytls.handlers import BUILT_IN
from mytls.settings import OPTION_KEYS, Deadlines, Limits


class Options(usage.Options):
    """
    The options of `twistd mytls`.

    @ivar service: what they ask for, once they are parsed
    """

    synopsis = "[--endpoint STRING]... [--handler STRING] [options]"
    longdesc = (
        "Serves a handler of decrypted bytes over TLS. With nothing at all it serves echo on 127.0.0.1:8443 with a "
        "development certificate of its own, and logs the line that connects to it. "
        f"Handlers: {', '.join(expected for _, expected in BUILT_IN.values())}, and those of plugins."
    )
    optParameters = [  # usage.Options looks for a list
        [key.word, None, None, f"{key.sentence} [default: {key.default or 'nothing'}]"] for key in OPTION_KEYS
    ]

    def __init__(self) -> None:
        super().__init__()
        self._endpoints: list[str] = []
        self._handler: str | None = None
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

    def opt_version(self) -> None:
        """Print the version of mytls and exit."""
        print(f"mytls {__version__}")
        sys.exit(0)

    def parseArgs(self, *words: str) -> None:
        """There are no words without an option."""
        if words:
            raise usage.UsageError(f"unexpected word {words[0]!r}; endpoints are given with --endpoint")

    def parseOptions(self, options: Any = None) -> None:
        """What the user typed. An error is one line on standard error, and the end with status 1."""
        try:
            super().parseOptions(options)
            self.service = self._assemble()
        except (usage.UsageError, ConfigurationError) as error:
            sys.exit(f"mytls: {one_line(self._explained(str(error)))}")

    def _assemble(self) -> TLSService:
        # The user's own modules are in the folder that the command was typed in.
        try:
            here = os.getcwd()
        except OSError as error:
            raise ConfigurationError(f"the working folder is not to be had: {error.strerror}") from None
        if here not in sys.path:
            sys.path.insert(0, here)
        given = {key.word: key.value_of(self[key.word]) for key in OPTION_KEYS if self[key.word] is not None}
        development, command = ([], "") if self._endpoints else development_endpoint()
        made = service(
            self._endpoints or development,
            self._handler or "echo",
            deadlines=Deadlines(**_of_table(given, "deadlines")),
            limits=Limits(**_of_table(given, "limits")),
            quiet=given.get("log-quiet", ()),
        )
        made.greeting = f"connect with: {command}" if command else ""
        return made

    def _explained(self, text: str) -> str:
        unknown = re.fullmatch(r"option (--?)(\S+) not recognized", text)
        if unknown is None:
            return text
        words = ("endpoint", "handler", "help", "version", *(key.word for key in OPTION_KEYS))
        return f"unknown option {unknown[1]}{unknown[2]}{nearest(f'--{unknown[2]}', [f'--{word}' for word in words])}"


def _of_table(given: dict[str, Any], table: str) -> dict[str, Any]:
    """The values of one table of options: `deadlines-close` is `close` of `deadlines`."""
    return {
        word.removeprefix(f"{table}-").replace("-", "_"): value
        for word, value in given.items()
        if word.startswith(f"{table}-")
    }


def makeService(options: Options) -> IService:
    """What twistd runs."""
    assert options.service is not None
    return options.service
