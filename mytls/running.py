"""A service: it listens at its places, serves what the files say, and finishes with every client when it stops."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol

import attrs
from twisted.application.service import IService, Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.addresses import address_text
from mytls.changes import changes, shut_out
from mytls.connection import ServerConnection
from mytls.draining import Drain
from mytls.endpoint import TLSServerEndpoint, joined_endpoint, tls_endpoint
from mytls.errors import ConfigurationError, one_line
from mytls.events import Observers
from mytls.exitstatus import ExitStatus
from mytls.guards.board import ALONE, Counts
from mytls.guards.descriptors import Budget
from mytls.guards.limits import Door, Room
from mytls.guards.sandbox import Confines, Permits, Unconfined
from mytls.guards.sources import Proxies
from mytls.handled import Handlers, handlers_of
from mytls.handlers.places import unsafe
from mytls.handlers.program import ProgramFactory
from mytls.handlers.proxy import ProxyFactory
from mytls.hosts import Hosts
from mytls.listener import TLSFactory
from mytls.loading import Loaded
from mytls.privileges import Rights
from mytls.reload import NotNow, Reloader
from mytls.review import Reviewed
from mytls.settings import Deadlines, HostSettings, Limits, ListenerSettings, Settings
from mytls.strings import place_of
from mytls.tls import advice
from mytls.tls.workload import Following, Workload

_log = Logger()


class CannotStart(SystemExit, Exception):
    """
    The service cannot listen. It is a C{SystemExit}, so that a program that is started with it ends with one line
    and status 1, and an C{Exception}, so that a daemon's parent hears of it.
    """

    def __init__(self, line: str) -> None:
        super().__init__(one_line(f"mytls: {line}"))


@attrs.frozen
class Plan:
    """
    All that is to be served.

    @ivar listeners: the places, in their order, and their hosts; None where the place has no TLS of ours
    @ivar warned: what an operator should know of the whole
    @ivar beside: the hosts of what listens beside it; None where that has no TLS of ours
    """

    settings: Settings
    listeners: tuple[tuple[ListenerSettings, Loaded | None], ...]
    warned: tuple[str, ...] = ()
    beside: Loaded | None = None

    @property
    def loaded(self) -> list[Loaded]:
        """All that has hosts."""
        return [each for each in (*(loaded for _, loaded in self.listeners), self.beside) if each is not None]

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that an operator should know, each once."""
        loaded = self.loaded
        of_hosts = (warning for each in loaded for warning in each.warned)
        of_chains = advice.of_chains(end for each in loaded for end in each.open_ends)
        return tuple(dict.fromkeys((*self.warned, *of_hosts, *of_chains)))

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The Workload APIs that have issued certificates of it, each once."""
        return tuple(dict.fromkeys(workload for each in self.loaded for workload in each.workloads))


class _Listener:
    """
    One place to listen at.

    @ivar description: how the user wrote it
    @ivar written: its endpoint string, where it has one
    @ivar port: what listens, once it does
    @ivar address: where it listens, or has listened last, as logs write it
    """

    def __init__(
        self, description: str, endpoint: TLSServerEndpoint, hosts: Hosts | None, handler: IProtocolFactory, serves: str
    ) -> None:
        """@param hosts: whom its clients meet; None where the program has said it"""
        self.description = description
        self.endpoint = endpoint
        self.hosts = hosts
        self.handler = handler
        self.serves = serves
        self.port: IListeningPort | None = None
        self._wanted = False
        self.address: str | None = None
        self.written = description
        self._ending: list[TLSFactory] = []

    def listen(self) -> Deferred[IListeningPort]:
        """Listen. Fires with the port."""
        self._wanted = True
        return self.endpoint.listen(self.handler).addCallback(self._listens)

    def _listens(self, port: IListeningPort) -> IListeningPort:
        if not self._wanted:  # stopped while the endpoint was still at it
            port.stopListening()
            return port
        self.port = port
        self.address = self.where()
        _log.info("serving {handler} at {address}", handler=self.serves, address=self.where())
        return port

    def where(self) -> str:
        """The address, as logs write it."""
        return self.description if self.port is None else address_text(self.port.getHost())

    def become(self, settings: ListenerSettings, hosts: Hosts, serves: str) -> list[str]:
        """Serve these from now on. @return: what has changed"""
        self.serves, old = serves, self.hosts
        assert old is not None
        self.hosts = hosts
        self.endpoint.swap(hosts)
        found = changes(self.where(), old, hosts)
        door, limits = self.endpoint.door, (settings.max_connections, settings.at_limit)
        if (door.most, door.at_limit) != limits:
            door.most, door.at_limit = limits
            found.append(f"{self.where()}: other max-connections or at-limit")
        return found

    @property
    def connections(self) -> list[ServerConnection]:
        """Those that are open, also when it listens no more."""
        return [each for factory in (*self.endpoint.factories, *self._ending) for each in factory.connections]

    def review(self, close: bool) -> Deferred[Reviewed]:
        """See L{TLSServerEndpoint.review}."""
        return self.endpoint.review(close)

    def stop(self, seconds: float) -> Deferred[int]:
        """
        Listen no more, and let every client finish.

        @param seconds: how long that may take; 0 is for ever
        @return: fires when the last is gone, with how many have not finished in time
        """
        self._wanted = False
        port, self.port = self.port, None
        closed: Deferred[object] = succeed(None) if port is None else maybeDeferred(port.stopListening)
        closed.addErrback(self._stays_behind)
        before = [factory.emptied() for factory in self._ending]
        factories, self.endpoint.factories = self.endpoint.factories, []
        self._ending = [factory for factory in (*self._ending, *factories) if factory.connections]
        gone = gatherResults([*before, *(factory.drain(seconds) for factory in factories)]).addCallback(sum)
        return closed.addCallback(lambda _: gone)

    def _stays_behind(self, failure: Failure) -> None:
        """A socket in a folder that is not ours to write, since twistd has given up privileges, holds up nothing."""
        failure.trap(OSError)
        why = failure.value.strerror if isinstance(failure.value, OSError) else ""
        _log.warn("{line}", line=f"{self.description}: the socket stays behind: {why}")

    def cut(self) -> None:
        """Drop whoever is there, and came before it has stopped."""
        for factory in self._ending:
            factory.cut()


class Beside(Protocol):
    """What a service has beside it."""

    def listen(self) -> None:
        """Listen. @raise ConfigurationError: the place is not to be had"""

    def stop(self) -> Deferred[None]:
        """Listen no more, if it does. Fires when nothing is left."""

    def serve(self, loaded: Loaded) -> Sequence[str]:
        """From now on its clients meet these hosts. @return: what has changed"""


class Other(Protocol):
    """Who else serves, elsewhere."""

    @property
    def left(self) -> int:
        """How many connections there are."""

    def drain(self) -> Deferred[int]:
        """See L{TLSService.drain}."""

    def cut(self) -> None:
        """See L{TLSService.cut}."""


class NothingBeside:
    """Nothing."""

    def listen(self) -> None:
        """Nowhere."""

    def stop(self) -> Deferred[None]:
        """At once."""
        return succeed(None)

    def serve(self, loaded: Loaded) -> Sequence[str]:
        """There are no clients."""
        return ()


@implementer(IService)
class TLSService(Service):
    """
    Listens while it runs; when it stops, lets every client finish first, up to a deadline.

    @ivar greeting: a line for the log, once it listens
    @ivar exit_status: where the signals TERM and INT stop it, and the process with it: whose status that is
    @ivar plan: what it serves
    @ivar beside: what listens before it, and goes on until its last connection is gone
    @ivar others: who else serves, and drains with it
    @ivar reloads_on_hangup: whether the signal HUP makes it reload while it runs, which takes the process's handler
    @ivar on_reload: called with the Deferred of each reload that is asked for
    @ivar sandbox: what holds the process to what it needs, once it listens and is the user that it stays
    """

    greeting = ""
    reloads_on_hangup = False
    beside: Beside = NothingBeside()
    others: Sequence[Other] = ()
    sandbox: Confines = Unconfined()
    exit_status: ExitStatus | None = None

    def __init__(
        self,
        reactor: Any,
        plan: Plan,
        reloader: Callable[[Callable[[Plan], Deferred[Sequence[str]]]], Reloader[Plan]],
        observers: Observers,
        own: Mapping[int, IStreamServerEndpoint],
        handler: IProtocolFactory | str | None,
        first: Iterable[Callable[[], object]] = (),
        counts: Counts = ALONE,
    ) -> None:
        """
        @param plan: what is served first
        @param reloader: makes what keeps it as the files say, with this service's way to apply a plan
        @param own: endpoints that the program has made, by their places in the order of the listeners
        @param handler: what gets the bytes where the settings of a host do not say it
        @param counts: where connections are counted
        @param first: what is done before it listens; raises L{ConfigurationError} where that cannot be
        @raise ConfigurationError: a handler, or the endpoint of another's, cannot be had
        """
        self._reactor = reactor
        self._rights = Rights()
        self._observers = observers
        self._default = handler
        self._first = tuple(first)
        self._handlers: Handlers = {}
        self.plan = plan
        self._at_start = plan.settings
        self._deadlines = plan.settings.deadlines
        self._listening = self._starting = False
        self._trouble: CannotStart | None = None
        self._hangup: Any = None
        self._warned: set[str] = set()
        self.on_reload: Callable[[Deferred[bool]], object] = lambda done: None
        self._drain: Drain | None = None
        self._asked = False
        self._room = Room(reactor, plan.settings.limits, counts=counts)
        self._handlers = self._handlers_for(plan)
        self._listeners = {key: self._made(*each) for key, each in _by_place(plan).items()}
        order = list(self._listeners.items())
        for at, endpoint in own.items():
            order.insert(at, (("own", at), self._given(endpoint)))
        self._listeners = dict(order)
        self._left: list[_Listener] = []
        self._reloader = reloader(self._apply)
        self._following = Following(reactor, self._reloader.reload)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens now, as Twisted's addresses."""
        return [each.port.getHost() for each in self._listeners.values() if each.port is not None]

    @property
    def listeners(self) -> tuple[_Listener, ...]:
        """The places that it serves, in their order."""
        return tuple(self._listeners.values())

    @property
    def connections(self) -> list[ServerConnection]:
        """All that are open, also those of places that are served no more."""
        return [each for listener in (*self._listeners.values(), *self._left) for each in listener.connections]

    def privilegedStartService(self) -> None:
        """
        Listen, while the process may still bind low ports.

        @raise CannotStart: one of the places is not to be had; none is listened at then
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Listen, if C{privilegedStartService} was not called, and keep what is served as the files say."""
        super().startService()
        self._listen()
        self._confine()
        self._reloader.start()
        self._following.only(*self.plan.workloads)

    def stopService(self) -> Deferred[Any]:
        """Listen no more and let every client finish, up to the drain deadline. Fires when the last is gone."""
        super().stopService()
        return self.drain().addCallback(lambda _: self.beside.stop())

    # --- stopping

    def drain(self) -> Deferred[int]:
        """
        Do what the signal TERM does: listen no more, let every client finish up to the drain deadline, and end those
        who are left. Where signals stop the process, so does this, afterwards.

        @return: fires when the last is gone, with how many have not finished in time
        """
        if self._drain is None:
            was = self._observers if self._listening and not self._starting else None
            self._listening = False
            self._reloader.stop()
            self._following.only()
            self._heed_hangup(False)
            seconds = self._deadlines.drain
            stopped = [other.drain() for other in self.others]
            stopped += [listener.stop(seconds) for listener in (*self._listeners.values(), *self._left)]
            self._drain = Drain(self._reactor, seconds, lambda: self.left)
            self._drain.begin(stopped, was)
            self._drain.done().addCallback(self._last)
        return self._drain.done()

    def cut(self) -> None:
        """Drop every client who is still there, once it drains."""
        if self._drain is not None:
            for listener in (*self._listeners.values(), *self._left):
                listener.cut()
            for other in self.others:
                other.cut()

    def pause(self) -> int:
        """
        Accept nobody any more, and let all go on who are there: others have these sockets too, and accept.

        @return: how many are in their handshake
        """
        self._room.paused = True
        for listener in self._listeners.values():
            if isinstance(listener.port, FileDescriptor):
                listener.port.pauseProducing()
        return sum(each.state in ("handshake", "policy") for each in self.connections)

    @property
    def draining(self) -> bool:
        """Whether it stops, or has stopped."""
        return self._drain is not None

    @property
    def left(self) -> int:
        """How many connections there are."""
        return len(self.connections) + sum(other.left for other in self.others)

    @property
    def until(self) -> float | None:
        """The clock's time at which those who are left are ended; None where it does not drain, or for ever."""
        return None if self._drain is None else self._drain.until

    def _heed_end(self) -> None:
        """Only the running reactor lets go of its own answer to these."""
        if self.exit_status is not None and not self.draining:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._asked_to_end)

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        asked, self._asked = self._asked, True
        (self.cut if asked else self.drain)()

    def _last(self, unfinished: int) -> Deferred[None]:
        return self.beside.stop().addCallback(lambda _: self._leave(unfinished))

    def _leave(self, unfinished: int) -> None:
        if self.exit_status is None:
            return
        if unfinished:
            self.exit_status.value = 1
        if not self._starting:
            with suppress(ReactorNotRunning):  # somebody else has stopped it, and waits for us
                self._reactor.stop()

    @property
    def reloads(self) -> Mapping[str, int]:
        """How many reloads there were, by C{changed}, C{unchanged} and C{failed}."""
        return self._reloader.outcomes

    def reload(self) -> Deferred[bool]:
        """
        Load certificates, CAs, revocation lists, rules, hosts and the file again, and serve them, as a whole or not at
        all. Connections that are there live on; those of clients who may not enter any more, as C{on-reload} says.

        @return: fires with whether it is served now; the log says what has changed, or why not
        """
        done = self._reloader.reload()
        self.on_reload(done)
        return done

    # --- starting

    def _listen(self) -> None:
        if self._listening:
            return
        try:
            for do in self._first:
                do()
            self.beside.listen()
        except ConfigurationError as error:
            raise CannotStart(str(error)) from None
        self._listening = self._starting = True
        self._drain, self._asked = None, False
        self._heed_hangup(self.reloads_on_hangup)
        if self.exit_status is not None:
            self._reactor.callWhenRunning(self._heed_end)
        self._warn(self.plan)
        for listener in self._listeners.values():
            listener.listen().addErrback(self._cannot_listen, listener)
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                self.stopService()
                raise trouble
        self._starting = False
        self._room.budget = Budget.of_process()
        if self.greeting:
            _log.info("{line}", line=self.greeting)

    def _confine(self) -> None:
        """@raise CannotStart: the sandbox that was asked for is not to be had"""
        self.sandbox.permit(Permits(bind=self._own_ports()))
        try:
            self.sandbox.enter()
        except ConfigurationError as error:
            raise CannotStart(str(error)) from None

    def _cannot_listen(self, failure: Failure, listener: _Listener) -> None:
        trouble = CannotStart(f"{_why(failure)} ({listener.description})")
        if self._starting:
            self._trouble = trouble
        else:  # an endpoint that takes its time has failed: the rest goes on, and the log says what is missing
            _log.critical("{line}", line=str(trouble))

    def _warn(self, plan: Plan) -> None:
        """Each warning once, as long as it holds."""
        for warning in plan.warnings:
            if warning not in self._warned:
                _log.warn("{line}", line=one_line(warning))
        self._warned = set(plan.warnings)

    def _heed_hangup(self, heed: bool) -> None:
        if heed:
            self._hangup = signal.signal(signal.SIGHUP, self._hung_up)
        elif self._hangup is not None:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # in a drain it means nothing, and would end the process
            self._hangup = None

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.reload)

    # --- reloading

    @inlineCallbacks
    def _apply(self, plan: Plan) -> Any:
        """Serve this plan from now on, or raise with everything as it was. @return: what has changed"""
        wanted = _by_place(plan)
        handlers, self._handlers = self._handlers, self._handlers_for(plan)
        added = {key: each for key, each in wanted.items() if key not in self._listeners}
        ready: dict[Any, _Listener] = {}
        try:
            ready.update((key, self._made(*each)) for key, each in added.items())
            yield self._open(list(ready.values()))
            with _held([*handlers.values(), *self._handlers.values()]):
                found = self._swap(plan, wanted, ready)
        except BaseException:  # sys.exit of a handler's own too
            self._handlers = handlers
            for listener in ready.values():
                listener.stop(self._deadlines.drain)
            raise
        close = plan.settings.on_reload == "close"
        reviewed = yield gatherResults([listener.review(close) for listener in self._listeners.values()])
        return [*found, *shut_out(sum(reviewed, Reviewed()), close=close)]

    @inlineCallbacks
    def _open(self, listeners: Sequence[_Listener]) -> Any:
        for listener in listeners:
            try:
                yield listener.listen()
            except Exception as error:
                line = f"{_why(Failure(error))} ({listener.description})"
                if isinstance(error, CannotListenError) and error.port in self._own_ports():
                    raise ConfigurationError(f"{line}: this service has that port already; restart it") from None
                lost = self._rights.why_not_listen() if _is_denied(error) else ""
                if lost:
                    raise ConfigurationError(f"{line}: {lost}") from None
                raise NotNow(line) from None
        if not self._listening:
            raise ConfigurationError("the service has stopped")

    def _own_ports(self) -> set[Any]:
        """The ports that a listener of another place may be in the way of."""
        return {getattr(each, "port", None) for each in self.addresses} - {None}

    def _swap(
        self,
        plan: Plan,
        wanted: Mapping[Any, tuple[ListenerSettings, Loaded | None]],
        added: Mapping[Any, _Listener],
    ) -> list[str]:
        found = [f"{listener.where()} is new" for listener in added.values()]
        running = {**self._listeners, **added}
        for key, listener in self._listeners.items():
            if key in wanted:
                settings, loaded = wanted[key]
                hosts, _, serves = self._parts(settings, loaded)
                found.extend(listener.become(settings, hosts, serves))
            elif key[0] != "own":
                found.append(f"{listener.where()} is gone")
                listener.stop(self._deadlines.drain)
                self._left = [each for each in (*self._left, listener) if each.connections]
                del running[key]
        self._listeners = running
        if plan.settings.on_reload != self.plan.settings.on_reload:
            found.append(f"on-reload {self.plan.settings.on_reload} -> {plan.settings.on_reload}")
        found.extend(_only_at_start(self._at_start, self.plan.settings, plan.settings))
        found.extend(self._limited(plan.settings.limits))
        found.extend(self._timed(plan.settings.deadlines))
        if plan.beside is not None:
            found.extend(self.beside.serve(plan.beside))
        self.plan = plan
        self._following.only(*plan.workloads)
        self._warn(plan)
        return found

    def _limited(self, limits: Limits) -> list[str]:
        """What bounds connections holds at once; what bounds the threads and programs of handlers, from the start."""
        old, at_start = self._room.limits, self._at_start.limits
        self._room.limits = limits
        self._room.look()
        handlers = {name: getattr(at_start, name) for name in ("max_threads", "max_processes")}
        changed = attrs.evolve(limits, **handlers) != attrs.evolve(old, **handlers)
        return ["other limits"] if changed else []

    def _timed(self, deadlines: Deadlines) -> list[str]:
        """Other deadlines hold at once, also for the waits that have begun."""
        if deadlines == self._deadlines:
            return []
        self._deadlines = deadlines
        for key, listener in self._listeners.items():
            if key[0] != "own":
                listener.endpoint.become(deadlines)
        for handler in self._handlers.values():
            if isinstance(handler, ProxyFactory | ProgramFactory):
                handler.become(deadlines)
        return ["other deadlines"]

    # --- the parts of a listener

    def _made(self, settings: ListenerSettings, loaded: Loaded | None) -> _Listener:
        hosts, handler, serves = self._parts(settings, loaded)
        about = self._deadlines, self._observers, self._room
        try:
            endpoint = tls_endpoint(self._reactor, settings, hosts, *about)
        except ConfigurationError as error:
            raise ConfigurationError(f"{settings.as_written()}: {error}") from None
        listener = _Listener(settings.as_written(), endpoint, hosts, handler, serves)
        listener.written = settings.endpoint
        return listener

    def _given(self, endpoint: IStreamServerEndpoint) -> _Listener:
        handler, kind = self._handler(HostSettings()), type(endpoint).__name__
        if isinstance(handler, ProxyFactory) and isinstance(endpoint, TLSServerEndpoint):
            why = None if self._at_start.unsafe_plaintext else unsafe(True, kind, handler.descriptions)
            if why is not None:
                raise ConfigurationError(f"--handler {self._default}: {why}; --unsafe-plaintext lets it")
        name = self._name(None)
        if isinstance(endpoint, TLSServerEndpoint):
            endpoint.door.room = self._room
        else:
            hosts = Hosts.without_tls(HostSettings(), Proxies(), handler, name)
            about = self._deadlines, self._observers, Door(self._room)
            endpoint = joined_endpoint(self._reactor, endpoint, hosts, *about)
        return _Listener(f"--endpoint {kind}", endpoint, None, handler, name)

    def _parts(self, settings: ListenerSettings, loaded: Loaded | None) -> tuple[Hosts, IProtocolFactory, str]:
        if loaded is None:
            handler, serves = self._handler(settings.base), self._name(settings.base.handler)
            proxies = Proxies.of(settings.proxy_protocol)
            return Hosts.without_tls(settings.base, proxies, handler, serves), handler, serves
        hosts = loaded.hosts.handled_by(
            lambda host: self._handler(host.settings), lambda host: self._name(host.settings.handler)
        )
        names = list(dict.fromkeys(host.serves for host in hosts.all))
        serves = ",".join(names[:3]) + (",..." if len(names) > 3 else "")
        return hosts, hosts.handlers[0], serves

    def _handlers_for(self, plan: Plan) -> Handlers:
        """A handler for each string, and each way to deal with its backends; those that are there already stay."""
        at_start = attrs.evolve(plan.settings, limits=self._at_start.limits)
        default = self._default if isinstance(self._default, str) else None
        return handlers_of(self._reactor, at_start, default, self._handlers)

    def _handler(self, host: HostSettings) -> IProtocolFactory:
        said = host.handler or self._default
        found = self._handlers[said, host.backend] if isinstance(said, str) else said
        assert found is not None
        return found

    def _name(self, said: str | None) -> str:
        if said is None:
            return self._default if isinstance(self._default, str) else type(self._default).__name__
        return said


@contextmanager
def _held(handlers: Iterable[IProtocolFactory]) -> Iterator[None]:
    """
    Started, whoever else starts and stops them inside. So one that cannot start is heard of before anything has
    changed, and one that cannot stop when all has.
    """
    held: list[IProtocolFactory] = []
    try:
        for handler in {id(each): each for each in handlers}.values():
            handler.doStart()
            held.append(handler)
        yield
    finally:
        for handler in held:
            try:
                handler.doStop()
            except Exception:  # a handler's own
                _log.failure("the handler failed")


def _by_place(plan: Plan) -> dict[Any, tuple[ListenerSettings, Loaded | None]]:
    """The listeners by where they listen: what else changes of them needs no new port."""
    found: dict[Any, tuple[ListenerSettings, Loaded | None]] = {}
    for settings, loaded in plan.listeners:
        place: Any = settings.endpoint if loaded is None else tuple(sorted(place_of(settings.endpoint).items()))
        again = sum(1 for key in found if key[:2] == ("tls" if loaded else "plain", place))
        found["tls" if loaded else "plain", place, again] = settings, loaded
    return found


def _only_at_start(first: Settings, old: Settings, new: Settings) -> list[str]:
    """What a reload leaves as it is, and should say so once. @param first: what the service runs with"""
    names = ["reload_interval", "log", "keylog", "status", "unsafe_status", "workers"]
    names += ["core_dumps", "sandbox", "sandboxed"]
    changed = [name for name in names if getattr(new, name) not in (getattr(first, name), getattr(old, name))]
    for name in ("max_threads", "max_processes"):
        if getattr(new.limits, name) not in (getattr(first.limits, name), getattr(old.limits, name)):
            changed.append(name)
    return [f"{name.replace('_', ' ')}: needs a restart" for name in changed]


def _is_denied(error: Exception) -> bool:
    why = error.socketError if isinstance(error, CannotListenError) else error
    return isinstance(why, PermissionError)


def _why(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CannotListenError):
        reason = error.socketError
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        where = error.interface or "the port" if error.port is None else f"port {error.port}"
        return f"cannot listen: {where}: {text[:1].lower()}{text[1:]}"
    return f"cannot listen: {' '.join(str(error).split()) or type(error).__name__}"
