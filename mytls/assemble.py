"""Settings in, running parts out."""

from __future__ import annotations

import datetime
import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint

from mytls.accesslog import AccessLog
from mytls.configfile import settings_from_file
from mytls.errors import ConfigurationError, ConfigurationErrors, Troubles
from mytls.events import HandshakeFailed, Observer, Observers, Refused
from mytls.guards.sandbox import Confines, Sandbox, Unconfined
from mytls.handled import handlers_of
from mytls.keys import ON_RELOAD
from mytls.loading import Loaded, Loading, Made, contexts, load
from mytls.logs.places import place_of
from mytls.permitted import permits
from mytls.privileges import leave_no_core
from mytls.reload import Reloader, in_a_thread
from mytls.running import Beside, NothingBeside, Plan, TLSService
from mytls.settings import Deadlines, Limits, ListenerSettings, Log, Settings
from mytls.status.counts import Counts
from mytls.steady import keep_steady
from mytls.strings import is_tls, listener_from_string
from mytls.systemd.supervised import Supervision
from mytls.systemd.watched import Watched, watch
from mytls.tls.development import development_certificate, state_folder
from mytls.tls.files import Contents, Files
from mytls.tls.keylog import KeyLog
from mytls.workers.roles import Alone, Apply, Role, Worker

#: Where the development certificate is served.
DEVELOPMENT_PORT = 8443


def service(
    endpoint: str | IStreamServerEndpoint | Iterable[str | IStreamServerEndpoint],
    handler: str | IProtocolFactory = "echo",
    *,
    reactor: Any = None,
    deadlines: Deadlines | None = None,
    limits: Limits | None = None,
    observers: Iterable[Observer] = (),
    log: Log | None = None,
    reload_interval: float = 10.0,
    keylog: str | None = None,
    on_reload: str = "keep",
    unsafe_plaintext: bool = False,
    status: str | None = None,
    unsafe_status: bool = False,
) -> TLSService:
    """
    A service that serves a handler over TLS, to add to any application.

    @param endpoint: a server endpoint string such as `ssl:8443:privateKey=key.pem:certKey=fullchain.pem`, an endpoint,
        or several
    @param handler: a handler string such as `call:app:do_something`, or a Twisted protocol factory
    @param reactor: the reactor; the global one if left out
    @param deadlines: how long clients may take
    @param limits: bounds of the service
    @param observers: called with each event (L{mytls.events})
    @param log: what is written down of connections, and where
    @param reload_interval: seconds between two looks at the files for changes; 0 is never
    @param keylog: the path of a file for the secrets of every connection
    @param on_reload: `keep` or `close`: what happens to connections of clients who may not enter any more
    @param unsafe_plaintext: whether plaintext may go over a network, to or for a backend of `proxy:`
    @param status: the server endpoint string of the status service
    @param unsafe_status: whether that may be where strangers reach it
    @raise ConfigurationError: one line, which names the word that was wrong
    """
    settings = Settings(
        deadlines=deadlines or Deadlines(),
        limits=limits or Limits(),
        reload_interval=reload_interval,
        log=log or Log(),
        keylog=keylog,
        on_reload=ON_RELOAD.value_of(on_reload, "on_reload"),
        unsafe_plaintext=unsafe_plaintext,
        status=status,
        unsafe_status=unsafe_status,
    )
    return service_of_strings(endpoint, handler, settings, reactor=reactor, observers=observers)


def service_of_strings(
    endpoint: str | IStreamServerEndpoint | Iterable[str | IStreamServerEndpoint],
    handler: str | IProtocolFactory,
    settings: Settings,
    *,
    reactor: Any = None,
    observers: Iterable[Observer] = (),
    role_for: Callable[[Settings], Role] = Alone.of,
    held: Contents | None = None,
) -> TLSService:
    """
    The same.

    @param settings: all that is not said of one listener alone
    @param held: what this process may not read, and another has read for it
    """
    if not isinstance(handler, str) and not hasattr(handler, "buildProtocol"):
        raise ConfigurationError(
            f"handler: expected a handler string such as serve:app:function, or a Twisted factory, not "
            f"{type(handler).__name__}"
        )
    one = isinstance(endpoint, str) or IStreamServerEndpoint.providedBy(endpoint)
    places: list[Any] = [endpoint] if one else list(endpoint)  # type: ignore[arg-type]  # it is several
    listeners = tuple(_listener(each, handler) for each in places if isinstance(each, str))
    settings = attrs.evolve(settings, listeners=listeners)
    own = {at: each for at, each in enumerate(places) if not isinstance(each, str)}
    return _service(reactor, lambda files: settings, observers, own, handler, role_for, held)


def service_from_file(
    path: str,
    *,
    reactor: Any = None,
    observers: Iterable[Observer] = (),
    options: Mapping[str, Any] | None = None,
    role_for: Callable[[Settings], Role] = Alone.of,
    held: Contents | None = None,
) -> TLSService:
    """
    The service of a configuration file, which is loaded again when it changes.

    @param path: the TOML file
    @param options: values that win over the file's, by their words on the command line
    @param role_for: says what this process is, from what the file says
    @param held: what this process may not read, and another has read for it
    @raise ConfigurationError: a line for each error
    """
    folder = os.path.dirname(os.path.abspath(path))  # where that is now: a daemon may leave its working directory
    read = partial(_read_settings, path, folder, options or {})
    return _service(reactor, read, observers, {}, None, role_for, held)


def supervised(service: TLSService, role: Role, supervision: Supervision, *, reactor: Any = None) -> IService:
    """
    The service as its role runs it in a process of its own: watched, and around it what tells systemd how it is, where
    that is asked for.
    """
    running_on = reactor or _global_reactor()
    runs = Watched(role.runs(service), watch(running_on, supervision.seconds))
    if not supervision.wanted:
        return runs
    from mytls.status.process import ProcessOverview

    service.on_reload = supervision.reloading
    overview = role.overview(ProcessOverview(running_on, service, supervision.counts))
    return supervision.of(running_on, runs, overview.status)


def steady_time() -> None:
    """In a process of our own: from now on its reactor's time does not jump."""
    keep_steady(_global_reactor())


def development_endpoint(port: int = DEVELOPMENT_PORT) -> tuple[list[str], str]:
    """
    The endpoint strings with the development certificate, and a command that connects to it.

    @raise ConfigurationError: the certificate cannot be kept
    """
    files = development_certificate(state_folder(), datetime.datetime.now(datetime.UTC))
    string = f"ssl:{port}:interface=127.0.0.1:privateKey={_quoted(files.key)}:certKey={_quoted(files.chain)}"
    command = (
        f"openssl s_client -connect localhost:{port} -CAfile {shlex.quote(os.fspath(files.ca))} "
        "-verify_return_error -verify_hostname localhost"
    )
    return [string], command


def _service(
    reactor: Any,
    read: Callable[[Files], Settings],
    observers: Iterable[Observer],
    own: Mapping[int, IStreamServerEndpoint],
    handler: str | IProtocolFactory | None,
    role_for: Callable[[Settings], Role],
    held: Contents | None,
) -> TLSService:
    running_on = reactor or _global_reactor()
    files = Files(held=held)
    said = read(files)
    if said.core_dumps == "off":
        leave_no_core()
    role = role_for(said)
    settings = role.settings(said)
    access = _access_log(running_on, settings)
    open_log = partial(_opened, access, running_on)
    looked_on = settings.status is not None or isinstance(role, Worker)  # whose parent systemd may look on
    others = tuple(observers)
    counting = [each for each in others if isinstance(each, Counts)]  # for systemd
    counts, *_ = (*counting, Counts(time.time))
    listening = (role.log(access), *role.observers(), *((counts,) if looked_on and not counting else ()), *others)
    told = Observers(listening, settings.log.repeats)
    keylog = None if settings.keylog is None else KeyLog(settings.keylog, settings.wrote.get("keylog", "keylog"))
    plan_of = partial(_plan, _beside_loader(settings))
    try:
        plan = plan_of(settings, {}, keylog, files)
    except ConfigurationError as error:  # then the handlers are not looked at by whoever makes them
        troubles = Troubles()
        troubles.add([error])
        with troubles.gathered():
            handlers_of(running_on, settings)
        raise ConfigurationErrors(troubles.lines) from None
    role.loaded(files.contents())
    files.forget()
    sandbox = _sandbox(said, files)

    def again(now_read: Files) -> Plan:
        return plan_of(role.settings(read(now_read)), _contexts(made.plan), keylog, now_read)

    def reloader(apply: Apply) -> Reloader[Plan]:
        aside = in_a_thread(running_on)
        return Reloader(running_on, settings.reload_interval, files, again, role.applies(apply), aside, told)

    made = TLSService(
        role.reactor(running_on),
        plan,
        reloader,
        told,
        own,
        handler,
        (open_log,) if keylog is None else (open_log, keylog.open),
        role.counts(),
    )
    if settings.sandbox:
        made.sandbox = sandbox
    if looked_on:
        made.beside = _beside(running_on, settings, role, made, counts, access)
    return made


def _sandbox(settings: Settings, files: Files) -> Confines:
    """@raise ConfigurationError: this machine has none; or none was asked for, and yet something to be let in it"""
    if settings.sandbox:
        return Sandbox(permits(settings, files), settings.wrote.get("sandbox", "sandbox"))
    for name, value in attrs.asdict(settings.sandboxed).items():
        if value:
            word = f"sandbox-{name}"
            raise ConfigurationError(f"{settings.wrote.get(word, word)}: of no use without sandbox")
    return Unconfined()


#: Loads the hosts of what listens beside the service; None where that has no TLS of ours.
BesideLoader = Callable[[Loading], "Loaded | None"]


def _beside_loader(settings: Settings) -> BesideLoader:
    """@raise ConfigurationError: its endpoint string says something wrong"""
    if settings.status is None:
        return lambda loading: None
    from mytls.status.place import load_status, status_listener  # what it needs is imported where it is wanted

    secured = status_listener(settings)
    return lambda loading: None if secured is None else load_status(settings, secured, loading)


def _beside(reactor: Any, settings: Settings, role: Role, made: TLSService, counts: Counts, access: Observer) -> Beside:
    """@raise ConfigurationError: its place is none, or where strangers may reach it"""
    from mytls.status.place import status_place  # what it needs of others' is imported where it is wanted
    from mytls.status.process import ProcessOverview
    from mytls.status.service import StatusService

    own = ProcessOverview(reactor, made, counts)
    overview = role.overview(own)
    if overview is None:
        return NothingBeside()
    refusals = Observers([lambda event: access(event) if isinstance(event, HandshakeFailed | Refused) else None])
    place = status_place(role.status_reactor(reactor), settings, made.plan.beside, refusals)
    own.beside = place.hosts
    return StatusService(reactor, place, overview)


def _access_log(reactor: Any, settings: Settings) -> AccessLog:
    """@raise ConfigurationError: its place is not to be had"""
    place = place_of(settings.log, reactor.seconds, settings.wrote.get("log-to", "log-to"))
    return AccessLog(settings.log, reactor, place)


def _opened(access: AccessLog, reactor: Any) -> None:
    """Open it until the process ends. @raise ConfigurationError: it cannot be written"""
    access.open()
    reactor.addSystemEventTrigger("after", "shutdown", access.close)


def _read_settings(path: str, folder: str, options: Mapping[str, Any], files: Files) -> Settings:
    try:
        content = files.read(path)
    except OSError as error:
        raise ConfigurationError(f"--config {path}: cannot be read: {error.strerror}") from None
    return settings_from_file(path, content, partial(_watch, files), folder).merged(options)


def _watch(files: Files, path: str) -> None:
    """A file that is missing is looked for again: when it comes the settings are right."""
    try:
        files.read(path)
    except OSError:
        return


def _plan(
    load_beside: BesideLoader,
    settings: Settings,
    made: Mapping[bytes, Made],
    keylog: Callable[[bytes], object] | None,
    files: Files,
) -> Plan:
    loading = Loading(files, made, keylog)
    found: list[tuple[ListenerSettings, Loaded | None]] = []
    troubles = Troubles()
    for listener in settings.listeners:
        try:
            found.append((listener, load(listener, loading) if is_tls(listener.endpoint) else None))
        except ConfigurationError as error:
            troubles.lines.extend(_placed(listener, line) for line in error.lines)
    beside: Loaded | None = None
    with troubles.gathered():
        beside = load_beside(loading)
    troubles.tell()
    warnings = () if settings.keylog is None else (_KEYLOG.format(path=settings.keylog),)
    return Plan(settings, tuple(found), warnings, beside)


_KEYLOG = "keylog={path}: the secrets of every connection are written there; whoever reads it reads all traffic"


def _listener(description: str, handler: str | IProtocolFactory) -> ListenerSettings:
    try:
        return listener_from_string(description, handler if isinstance(handler, str) else None)
    except ConfigurationError as error:
        raise ConfigurationError(f"--endpoint {description}: {error}") from None


def _placed(listener: ListenerSettings, line: str) -> str:
    """An error of a string's names the string; one of the file has its line already."""
    return line if "endpoint" in listener.wrote else f"{listener.as_written()}: {line}"


def _contexts(plan: Plan) -> dict[bytes, Made]:
    """What may go on after a reload."""
    return {digest: made for loaded in plan.loaded for digest, made in contexts(loaded).items()}


def _quoted(path: Path) -> str:
    return str(quoteStringArgument(os.fspath(path)))


def _global_reactor() -> Any:
    from twisted.internet import reactor

    return reactor
