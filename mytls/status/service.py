"""The status service: it listens before what it tells of, and answers until the last connection of that is gone."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.addresses import address_text
from mytls.errors import ConfigurationError, one_line
from mytls.loading import Loaded
from mytls.status.overview import Overview
from mytls.status.place import StatusPlace
from mytls.status.samples import Samples
from mytls.status.site import Site

_log = Logger()


class StatusService:
    """
    Tells of a service while it listens.

    @ivar port: what listens, once it does
    """

    def __init__(self, reactor: Any, place: StatusPlace, overview: Overview) -> None:
        self._place = place
        self._overview = overview
        self._samples = Samples(reactor, overview)
        self._site = Site(reactor, overview, self._samples, socket.gethostname(), asks=place.below.asks)
        self._wanted = self._starting = False
        self._trouble: ConfigurationError | None = None
        self.port: IListeningPort | None = None

    def listen(self) -> None:
        """
        Listen, and take samples from now on.

        @raise ConfigurationError: the place is not to be had; one line
        """
        if self._wanted:
            return
        self._wanted = self._starting = True
        self._place.endpoint.listen(self._site).addCallbacks(self._listens, self._cannot)
        self._starting = False
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        self._overview.start()
        self._samples.start()

    def serve(self, loaded: Loaded) -> Sequence[str]:
        """See L{mytls.running.Beside.serve}."""
        return self._place.serve(loaded)

    @inlineCallbacks
    def stop(self) -> Any:
        """Listen no more, and end whoever is still there. Fires when nobody is."""
        if not self._wanted:
            return
        self._wanted = False
        self._samples.stop()
        self._overview.stop()
        port, self.port = self.port, None
        try:
            yield None if port is None else port.stopListening()
        except OSError as error:  # its socket's folder is not ours to write, since twistd has given up privileges
            _log.warn("{line}", line=f"{self._place.written}: the socket stays behind: {error.strerror}")
        self._site.streams.end()
        yield self._place.below.end()

    def _listens(self, port: IListeningPort) -> None:
        if not self._wanted:  # stopped while the endpoint was still at it
            port.stopListening()
            return
        self.port = self._place.below.accepts_by(port)
        _log.info("status service at {address}", address=_address(self._place.scheme, port))

    def _cannot(self, failure: Failure) -> None:
        trouble = ConfigurationError(f"{self._place.written}: {_why(failure.value)}")
        if self._starting:
            self._wanted, self._trouble = False, trouble
        else:  # an endpoint that takes its time: what is looked at goes on
            _log.critical("{line}", line=str(trouble))


def _address(scheme: str, port: IListeningPort) -> str:
    """What a browser is told; of a UNIX socket the path, and of one of the system's own naming what it says."""
    place = address_text(port.getHost())
    return f"{scheme}://{place}/" if place.rpartition(":")[2].isdigit() else f"{place} ({scheme})"


def _why(error: BaseException | None) -> str:
    reason = error.socketError if isinstance(error, CannotListenError) else error
    match reason:
        case OSError(strerror=str(text)):
            return f"cannot listen: {text[:1].lower()}{text[1:]}"
        case "Cannot acquire lock":  # of the socket's path
            return "cannot listen: the socket is in use by another process"
    return one_line(f"cannot listen: {reason}")
