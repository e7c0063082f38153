"""Where the status service listens, and that strangers do not reach it there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from mytls.changes import changes
from mytls.endpoint import TLSServerEndpoint, place_endpoint, plain_endpoint
from mytls.errors import ConfigurationError, one_line
from mytls.events import Observers
from mytls.guards.limits import Door, Room
from mytls.handlers.places import stays_here
from mytls.hosts import Host
from mytls.loading import Loaded, Loading, load
from mytls.settings import ListenerSettings, Settings
from mytls.status.crowd import CrowdedEndpoint, most_of_process
from mytls.strings import is_tls, listener_values, prefix_of, split_endpoint

#: Who may open a UNIX socket where nothing is said of it: the user of the service.
_MODE = "600"
_SUCH_AS = "tcp:9411:interface=127.0.0.1"
_log = Logger()


@attrs.frozen
class StatusPlace:
    """
    Where the status service listens.

    @ivar written: its endpoint string, with how the user wrote it
    @ivar endpoint: what listens there
    @ivar below: what bounds the connections that it has
    @ivar scheme: C{http} or C{https}
    """

    written: str
    endpoint: IStreamServerEndpoint
    below: CrowdedEndpoint
    scheme: str

    def hosts(self) -> Iterable[tuple[str, Host]]:
        """Whom those meet who ask here, in TLS; each with what stands for the listener's address."""
        secured = self.endpoint
        return [("status", each) for each in secured.hosts.all] if isinstance(secured, TLSServerEndpoint) else []

    def serve(self, loaded: Loaded) -> Sequence[str]:
        """From now on they meet these. @return: what has changed"""
        assert isinstance(self.endpoint, TLSServerEndpoint)
        old = self.endpoint.hosts
        self.endpoint.swap(loaded.hosts)
        return changes("status", old, loaded.hosts)


def status_listener(settings: Settings) -> ListenerSettings | None:
    """
    What an `ssl:` or `mytls:` string says of it; None for any other, or none.

    @raise ConfigurationError: it says something wrong; one line
    """
    if settings.status is None:
        return None
    with _told_of(settings):
        description = prepared(settings.status)
        return _listener(description, settings.folder) if is_tls(description) else None


def load_status(settings: Settings, secured: ListenerSettings, loading: Loading) -> Loaded:
    """Its files. @raise ConfigurationError: they cannot be served; one line"""
    with _told_of(settings):
        return load(secured, loading)


def status_place(
    reactor: Any, settings: Settings, loaded: Loaded | None = None, observers: Observers | None = None
) -> StatusPlace:
    """
    The place that the settings name; they do name one.

    @param loaded: its hosts, where it is TLS of ours
    @param observers: who is told of its connections
    @raise ConfigurationError: it is none, or strangers reach it; one line
    """
    assert settings.status is not None
    with _told_of(settings):
        return _made(reactor, settings, prepared(settings.status), loaded, observers)


def _written(settings: Settings) -> str:
    wrote = settings.wrote.get("status", "status")
    return f"{wrote}{' ' if wrote.startswith('--') else '='}{settings.status}"


@contextmanager
def _told_of(settings: Settings) -> Iterator[None]:
    """What is wrong is said of the string."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{_written(settings)}: {'; '.join(error.lines)}") from None


def prepared(description: str) -> str:
    """An endpoint string with what is usual here, where it does not say otherwise."""
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if "over" in words:
        words["over"] = prepared(words["over"])
    if prefix == "unix" and len(arguments) < 3:
        words.setdefault("mode", _MODE)
    named = (f"{name}={quoteStringArgument(value)}" for name, value in words.items())
    return ":".join((*map(quoteStringArgument, arguments), *named))


def _made(
    reactor: Any, settings: Settings, description: str, loaded: Loaded | None, observers: Observers | None
) -> StatusPlace:
    if prefix_of(description) == "stdio":
        raise ConfigurationError(f"expected a place to listen at, such as {_SUCH_AS}")
    secured = _listener(description, settings.folder) if is_tls(description) else None
    listens = _plain(reactor, description) if secured is None else place_endpoint(reactor, secured)
    _keep_strangers_out(settings, description, secured)
    below = CrowdedEndpoint(reactor, listens, most_of_process())
    if secured is None:
        return StatusPlace(_written(settings), below, below, "http")
    assert loaded is not None
    door = Door(Room(reactor), secured.max_connections, secured.at_limit)
    endpoint = TLSServerEndpoint(reactor, 0, loaded.hosts, over=below, observers=observers, door=door)
    return StatusPlace(_written(settings), endpoint, below, "https")


def _plain(reactor: Any, description: str) -> IStreamServerEndpoint:
    """@raise ConfigurationError: it is no endpoint string"""
    try:
        _check_port(description)
        return plain_endpoint(reactor, description)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; expected an endpoint string such as {_SUCH_AS}") from None


def _check_port(description: str) -> None:
    """@raise ConfigurationError: Twisted takes any number for a port, and the system does not"""
    arguments, words = split_endpoint(description)
    port = words.get("port", arguments[1] if len(arguments) > 1 else "")
    if not arguments or arguments[0].lower() not in ("tcp", "tcp6") or not re.fullmatch(r"-?[0-9]{1,20}", port):
        return
    if not 0 <= int(port) <= 65535:
        raise ConfigurationError(f"there is no port {port}; the last is 65535")


def _listener(description: str, folder: str) -> ListenerSettings:
    """@raise ConfigurationError: it says what has no meaning for HTTP of our own"""
    values, wrote = listener_values(description, {}, {}, alone=True, folder=folder)
    settings = ListenerSettings.of(description, values, wrote)
    if settings.base.handler is not None:
        raise ConfigurationError(f"handler={settings.base.handler}: of no use here; what answers is the status service")
    if settings.base.starttls is not None:
        raise ConfigurationError(f"starttls={settings.base.starttls}: of no use here; HTTP has none")
    if settings.base.alpn and "http/1.1" not in settings.base.alpn:
        raise ConfigurationError("alpn: expected http/1.1 among them, which is what the status service speaks")
    return settings


def _keep_strangers_out(settings: Settings, description: str, secured: ListenerSettings | None) -> None:
    if stays_here(description):
        return
    if secured is not None and all(host.client_auth == "required" for host in secured.served):
        return
    wrote = settings.wrote.get("status", "status")
    if settings.unsafe_status:
        _log.warn("{where}: strangers may reach the status service there, and stop the service", where=one_line(wrote))
        return
    in_file = "unsafe-status = true" if ":" in wrote else "unsafe_status=True"
    option = "--unsafe-status" if wrote.startswith("--") else in_file
    raise ConfigurationError(
        "strangers may reach it there; expected interface=127.0.0.1, a UNIX socket, or mytls: with clientCA= and the "
        f"client certificates required; {option} lets it"
    )
