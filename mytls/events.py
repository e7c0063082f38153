"""
What happened, as frozen values. Whoever wants to know is given them; nobody who listens can change anything.

An observer is a callable of one event. It runs on the event loop and should return at once; what it raises
is logged and harms no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.logger import Logger

from mytls.errors import Cause
from mytls.offers import Offer
from mytls.peer import Peer

_log = Logger()


@attrs.frozen(kw_only=True)
class Event:
    """Something happened."""


@attrs.frozen(kw_only=True)
class ConnectionEvent(Event):
    """
    Something happened to a connection.

    @ivar connection: the connection's number, unique in this process
    @ivar listener: where it came in: `127.0.0.1:8443`, or a socket's path
    @ivar address: where it came from: `192.0.2.1:50000`; once a trusted proxy has said so, where its client is
    @ivar via: that proxy's address, or None
    @ivar host: the first name of the host that it is for, as configured; None while that is not known
    @ivar handler: the handler string of that host, as configured
    """

    connection: int
    listener: str
    address: str
    via: str | None = None
    host: str | None = None
    handler: str | None = None


@attrs.frozen(kw_only=True)
class Accepted(ConnectionEvent):
    """A connection was accepted; nothing has been read from it yet."""


@attrs.frozen(kw_only=True)
class Refused(ConnectionEvent):
    """
    A connection was turned away before any TLS work.

    @ivar limit: the key of the limit that it was beyond, where it was one
    @ivar hint: what an operator may look at; empty where the rest says all
    @ivar full: whether anybody would have been: there is no room
    @ivar seconds: from accept to now: that is the same moment
    """

    cause: Cause
    detail: str = ""
    limit: str = ""
    hint: str = ""
    full: bool = False
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Established(ConnectionEvent):
    """
    The handshake is done and the handler has the connection.

    @ivar seconds: from accept to now
    """

    peer: Peer
    seconds: float


@attrs.frozen(kw_only=True)
class HandshakeFailed(ConnectionEvent):
    """
    There was no handshake.

    @ivar server_name: the name the client asked for, as far as it came; text of a stranger
    @ivar seconds: from accept to now
    @ivar silent: whether the client has said nothing: somebody has looked whether the port is open
    @ivar ended_by: who has ended it: `client` or `server`
    @ivar offer: what the client has offered, as far as it came
    @ivar hint: what an operator may look at; empty where the rest says all
    @ivar limit: as in L{Refused}
    """

    cause: Cause
    detail: str
    server_name: str | None
    seconds: float
    silent: bool = False
    ended_by: str = "server"
    offer: Offer = attrs.field(factory=Offer)
    hint: str = ""
    limit: str = ""


@attrs.frozen(kw_only=True)
class HandlerFailed(ConnectionEvent):
    """
    The handler raised.

    @ivar detail: the name of what it raised
    @ivar where: that, and in which line: `ValueError at /srv/app/app.py:12`
    @ivar seconds: from accept to now
    """

    peer: Peer
    detail: str
    cause: Cause = Cause.HANDLER
    where: str = ""
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class BackendFailed(ConnectionEvent):
    """
    A backend that the handler wanted for a client could not be had; another one may have been.

    @ivar backend: its endpoint string
    @ivar seconds: from accept to now
    """

    backend: str
    cause: Cause
    detail: str
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Closed(ConnectionEvent):
    """
    An established connection has ended.

    @ivar cause: why, or None for a clean end: each side has said that it was finished
    @ivar bytes_in: plaintext bytes from the peer to the handler
    @ivar bytes_out: plaintext bytes from the handler to the peer
    @ivar seconds: from accept to now
    """

    peer: Peer
    cause: Cause | None
    detail: str
    bytes_in: int
    bytes_out: int
    seconds: float


@attrs.frozen(kw_only=True)
class Reloaded(Event):
    """
    What is served now is what the files say.

    @ivar changes: what is new, a few words each; empty where nothing has changed
    @ivar mended: whether the last attempt has failed
    """

    changes: tuple[str, ...]
    mended: bool = False


@attrs.frozen(kw_only=True)
class ReloadFailed(Event):
    """
    The files say something wrong; what was served before still is.

    @ivar lines: what is wrong, a line each
    """

    lines: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Draining(Event):
    """
    The service stops: nobody is accepted any more.

    @ivar connections: how many are still there
    @ivar seconds: how long they may go on; 0 is for ever
    """

    connections: int
    seconds: float


Observer = Callable[[Event], object]


@attrs.frozen
class Observers:
    """
    Everyone who is told.

    @ivar repeats: how often a handler's traceback is worth its lines in a minute; 0 is always
    """

    observers: Sequence[Observer] = ()
    repeats: int = 10

    def tell(self, event: Event) -> None:
        """Give the event to each observer in turn."""
        for observer in self.observers:
            try:
                observer(event)
            except Exception:
                _log.failure("an observer of events failed")
