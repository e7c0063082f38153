"""
`exec:/path/program ARGS`: a program for each connection, which is its standard input and output.

The program is started when the handler meets its client, which is after the handshake and the access rules have said
yes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from mytls.errors import Cause, TLSFailure, one_line
from mytls.handlers.command import Command
from mytls.handlers.conversation import Conversation
from mytls.handlers.environment import environment
from mytls.handlers.process import Process, check_system
from mytls.peer import Peer
from mytls.settings import Deadlines, Settings

_log = Logger()


def program(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
    """
    The handler `exec:`.

    @param argument: see L{Command.of}
    @param settings: their deadline C{close} is what a program has to end that was asked to; their limit
        C{max-processes} is how many of it run at the same time
    @raise ConfigurationError: one line, which names what is wrong with the string
    """
    check_system()
    return ProgramFactory(reactor, Command.of(argument), settings.deadlines.close, settings.limits.max_processes)


class ProgramFactory(Factory):
    """
    Starts a program for each connection.

    @ivar command: what is started
    @ivar close: seconds that it has to end when it is asked to; 0 is for ever
    @ivar running: the conversations whose program runs
    @ivar descriptors: how many each client needs, its own included
    """

    noisy = False
    descriptors = 4

    def __init__(
        self,
        reactor: Any,
        command: Command,
        close: float = Deadlines().close,
        max_processes: int = 0,
        start: Callable[..., Process] = Process,
    ) -> None:
        """
        @param max_processes: how many run at the same time; clients beyond are turned away. 0 is no limit
        @param start: as L{Process} is made
        """
        self.reactor = reactor
        self.command = command
        self.close = close
        self.running: set[Conversation] = set()
        self._most = max_processes
        self._start = start
        self._at_the_end: Any = None

    def become(self, deadlines: Deadlines) -> None:
        """Others than before."""
        self.close = deadlines.close

    def startFactory(self) -> None:
        """Clients may come. As whom their programs run is known when the process has become whom it runs as."""
        self.reactor.callWhenRunning(self._look_at_user)

    def buildProtocol(self, addr: IAddress | None) -> Conversation:
        """A client has come."""
        return Conversation(self)

    def start(self, conversation: Conversation, peer: Peer, local: IAddress | None) -> Process:
        """
        Start the program.

        @raise OSError: the system cannot
        @raise TLSFailure: there are too many
        """
        if 0 < self._most <= len(self.running):
            run = "runs" if self._most == 1 else "run"
            raise TLSFailure(
                Cause.LIMIT, f"{self._most} of the program {run}, and limits.max-processes is {self._most}"
            )
        account = self.command.account
        names = {**(dict(account.names) if account is not None else {}), **environment(peer, local)}
        process = self._start(self.reactor, self.command, names, conversation)
        self.running.add(conversation)
        if self._at_the_end is None:
            self._at_the_end = self.reactor.addSystemEventTrigger("after", "shutdown", self._kill)
        return process

    def ended(self, conversation: Conversation) -> None:
        """A program has ended, and all that it has started."""
        self.running.discard(conversation)
        if not self.running and self._at_the_end is not None:
            trigger, self._at_the_end = self._at_the_end, None
            self.reactor.removeSystemEventTrigger(trigger)

    def logPrefix(self) -> str:
        """Twisted's log names the program."""
        return f"exec:{one_line(self.command.program)}"

    def _look_at_user(self) -> None:
        account, name = self.command.account, self.logPrefix()
        if account is not None and not account.possible:
            _log.critical("{name} cannot be started: mytls is not root any more, to become its user", name=name)
        elif 0 in (os.getresuid() if account is None else (account.user,)):
            _log.warn("{name} runs as root for each client; exec:user=NAME ... is another user", name=name)

    def _kill(self) -> None:
        """Whoever has not ended until now stays behind otherwise."""
        self._at_the_end = None
        for conversation in tuple(self.running):
            conversation.kill()
