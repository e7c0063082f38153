"""What a user has said, as values; what contradicts itself is none."""

from __future__ import annotations

import ipaddress
import keyword
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from mytls.errors import ConfigurationError, Troubles, shortened
from mytls.keys import BACKEND_KEYS, WORDS_OF_STRINGS
from mytls.kinds import WITH_BACKENDS


@attrs.frozen
class Limits:
    """
    Bounds of a service; 0 is no limit.

    @ivar max_threads: how many plain functions of `serve:` run at the same time
    @ivar max_processes: how many programs each `exec:` handler runs at the same time
    @ivar max_connections: how many connections there are; 0 is as many as the limit of open files allows
    @ivar max_connections_per_address: how many of one address, or one /64 of IPv6
    @ivar max_handshakes: how many that have not finished their handshake
    @ivar accepts_per_second: how many are accepted
    @ivar accepts_per_second_per_address: how many of one address
    @ivar handshakes_per_second: how many begin a handshake
    @ivar handshakes_per_second_per_address: how many of one address
    @ivar at_limit: `refuse` who comes beyond the limits of all connections, or `wait` with accepting them
    """

    max_threads: int = 512
    max_processes: int = 512
    max_connections: int = 0
    max_connections_per_address: int = 0
    max_handshakes: int = 0
    accepts_per_second: int = 0
    accepts_per_second_per_address: int = 0
    handshakes_per_second: int = 0
    handshakes_per_second_per_address: int = 0
    at_limit: str = "refuse"


@attrs.frozen
class Deadlines:
    """
    How long each wait may last, in seconds; 0 is for ever.

    @ivar handshake: from accept to the end of the handshake
    @ivar close: from our close_notify to the peer's
    @ivar connect: from a client's coming to a backend that is ready
    @ivar policy: from asking a policy to its answer
    @ivar half_close: how long one direction may be silent when the other has ended
    @ivar idle: how long both directions may be silent
    @ivar lifetime: how long a connection may last, give or take a tenth
    @ivar drain: how long connections may go on when the service stops
    """

    handshake: float = 10.0
    close: float = 5.0
    connect: float = 10.0
    policy: float = 5.0
    half_close: float = 300.0
    idle: float = 3600.0
    lifetime: float = 0.0
    drain: float = 30.0


@attrs.frozen
class Log:
    """
    What is written down of connections, and where.

    @ivar format: `text` or `json`
    @ivar to: `twistd`, `file:PATH`, `syslog` or `journal`
    @ivar rotate: the size of that file, in bytes, at which a new one is begun; 0 is never
    @ivar keep: how many old ones are kept
    @ivar repeats: how many failures of one cause have a line each in a minute; 0 is all of them
    @ivar quiet: the classes of events that have no line
    """

    format: str = "text"
    to: str = "twistd"
    rotate: int = 0
    keep: int = 10
    repeats: int = 10
    quiet: tuple[str, ...] = ()


@attrs.frozen
class SandboxSettings:
    """
    What a process may do besides what its configuration needs, where it has a sandbox.

    @ivar read: files and folders to read
    @ivar write: those to read and write
    @ivar connect: TCP ports to connect to
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    connect: tuple[int, ...] = ()


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class BackendSettings:
    """
    How the handler of a host deals with its backends; the values are those of L{BACKEND_KEYS}, and its listener's.

    @ivar balance: who is next
    @ivar health: how they are looked at between connections
    @ivar on_truncation: what an end without close_notify is to the other side
    @ivar header: the PROXY header that they hear first
    @ivar starttls: the protocol that clients have begun in the clear, and are greeted in already
    """

    balance: str = "round-robin"
    health: str = "off"
    on_truncation: str = "eof"
    header: str = "off"
    starttls: str | None = None


#: The keys that need backends, and the fields of a host's settings for them; then what needs TLS of ours besides.
OF_BACKENDS = tuple(key.name for key in BACKEND_KEYS)
FIELDS_OF_BACKENDS = tuple(name.replace("-", "_") for name in OF_BACKENDS)
_OF_BACKENDS_BEHIND_TLS = ("on-truncation",)
_HEADERS_OF_TLS = ("v2-tls", "v2-tls-certificate")

#: The keys that need client certificates.
_OF_CLIENTS = ("client-ca", "crl", "stale-crl", "verify-depth", "allow", "deny")
#: The keys that need the decrypted connection, or what its handshake shows.
OF_TLS = ("policy", "rego")
#: The endpoint strings whose PROXY header Twisted reads: it keeps to itself whom it has accepted for.
_UNWRAPPED = re.compile(r"(.*:over=)?haproxy\\*:", re.IGNORECASE | re.DOTALL)
_OF_THE_PROXY = "behind haproxy: it would be held against the proxy's address; say proxy-protocol in place of haproxy:"
_BEHIND_STARTTLS = "cannot be behind {}: nobody has said it to the backend, which gets the TLS alone; say proxy:"
_OF_A_FOLDER = "of no use with hosts, whose folder has the certificates"


@attrs.frozen
class HostSettings:
    """
    What a user has said of one host; the fields are L{HOST_KEYS} and those of L{PLACE_KEYS} that are about TLS.

    @ivar starttls: what its listener's clients begin with
    @ivar wrote: how the user wrote each key, for errors: `certKey`, or `mytls.toml:12: certificate`
    """

    names: tuple[str, ...] = ()
    certificate: tuple[str, ...] = ()
    private_key: tuple[str, ...] = ()
    password_file: str | None = None
    spiffe: str | None = None
    extra_cert_chain: tuple[str, ...] = ()
    dh_parameters: str | None = None
    sslmethod: str | None = None
    profile: str = "intermediate"
    min_version: str | None = None
    max_version: str | None = None
    ciphers: tuple[str, ...] = ()
    ciphersuites: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    client_auth: str = "off"
    client_ca: tuple[str, ...] = ()
    crl: tuple[str, ...] = ()
    stale_crl: str = "refuse"
    verify_depth: int | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    from_: tuple[Network, ...] = ()
    policy: str | None = None
    rego: str | None = None
    rego_query: str | None = None
    ocsp: tuple[str, ...] = ()
    handler: str | None = None
    balance: str | None = None
    backend_health: str | None = None
    on_truncation: str | None = None
    send_proxy_protocol: str | None = None
    starttls: str | None = None
    wrote: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    @classmethod
    def of(cls, said: Mapping[str, Any], wrote: Mapping[str, str], *, served: bool = True) -> HostSettings:
        """
        What was said, by the names of its keys; what is no host's is left out.

        @param served: whether clients meet it; the defaults of other hosts need not fit together
        @raise ConfigurationError: values that contradict each other
        """
        fields = {field.name for field in attrs.fields(cls)}
        values = {field_of(name): value for name, value in said.items()}
        values["names"] = tuple(dict.fromkeys(said.get("names", ())))
        if values.get("client_ca"):
            values.setdefault("client_auth", "required")
        made = cls(**{name: value for name, value in values.items() if name in fields}, wrote=wrote)
        troubles = Troubles()
        if served:
            troubles.add(made._contradictions())
            troubles.add(made._emptied(said))
        troubles.tell()
        return made

    @property
    def passes_on(self) -> bool:
        """Whether its connections go to a backend as they are, with their TLS."""
        return self._handler_prefix == "passthrough"

    @property
    def has_backends(self) -> bool:
        """Whether its connections go to backends, decrypted or not."""
        return self._handler_prefix in WITH_BACKENDS

    @property
    def backend(self) -> BackendSettings:
        """How it deals with its backends."""
        values = (self.balance, self.backend_health, self.on_truncation, self.send_proxy_protocol, self.starttls)
        names = (field.name for field in attrs.fields(BackendSettings))
        said = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        return BackendSettings(**said)

    @property
    def _handler_prefix(self) -> str:
        return "" if self.handler is None else self.handler.partition(":")[0]

    @property
    def pinned(self) -> bool:
        """Whether clients are known by their keys alone, without a CA (RFC 7858 section 4.2)."""
        without = not self.client_ca and not self.spiffe
        return without and bool(self.allow) and all(rule.startswith("spki=") for rule in self.allow)

    def wrong(self, key: str, value: object, trouble: str) -> ConfigurationError:
        """An error about one key. @param value: what was said, or the one of several that is wrong"""
        return ConfigurationError(f"{self.place(key)}={shortened(value)}: {trouble}")

    def place(self, key: str) -> str:
        """How the user wrote a key; where nobody did, how it would be written."""
        return self.wrote.get(key) or self.spelled(key)

    def spelled(self, key: str) -> str:
        """A key's word where the user wrote the host: in the file, or in an endpoint string that stands alone."""
        if key in self.wrote:
            return self.wrote[key].rpartition(": ")[2]
        alone = "endpoint" not in self.wrote and not any(": " in each for each in self.wrote.values())
        return WORDS_OF_STRINGS.get(key, key) if alone and self.wrote else key

    def _contradictions(self) -> Iterator[ConfigurationError]:
        if self.passes_on:
            yield from self._lost_on_the_way()
        elif self.client_auth == "off":
            for key, value in self._of_clients():
                if value:
                    off = f"while {self.spelled('client-auth')} is off; say required or optional"
                    yield self.wrong(key, value[0], f"of no use {off}")
        else:
            yield from self._of_verification()
        if self.spiffe is not None:
            yield from self._beside_what_is_issued()
        yield from self._without_backends()
        if self.rego_query and not self.rego:
            yield self.wrong("rego-query", self.rego_query, f"there is no policy to ask; say {self.spelled('rego')}")
        if self.min_version and self.max_version and self.min_version > self.max_version:
            yield self.wrong("min-version", self.min_version, f"newer than the newest, {self.max_version}")

    def _emptied(self, said: Mapping[str, Any]) -> Iterator[ConfigurationError]:
        """Nobody, said where it would be everybody: without rules others decide."""
        decided = self.client_auth == "optional" or self.policy is not None or self.rego is not None
        if "allow" in said and not self.allow and self.client_auth != "off" and decided:
            yield self.wrong("allow", "[]", "there is no rule in it, and yet clients would enter; say all to mean that")

    def _of_verification(self) -> Iterator[ConfigurationError]:
        """What does not fit together of how clients are verified."""
        if not self.client_ca and not self.pinned and not self.spiffe:
            trouble = f"no CA to verify clients with; say {self.spelled('client-ca')}, or allow by spki= alone"
            yield self.wrong("client-auth", self.client_auth, trouble)
        elif not self.client_ca:
            for key, value in (("crl", self.crl), ("verify-depth", self._depth() if self.pinned else ())):
                if value:
                    yield self.wrong(key, value[0], f"of no use without {self.spelled('client-ca')}")
        if self.stale_crl == "accept" and not self.crl:
            yield self.wrong("stale-crl", self.stale_crl, f"of no use without {self.spelled('crl')}")

    def _beside_what_is_issued(self) -> Iterator[ConfigurationError]:
        """What is said of a certificate in files, where it is issued."""
        secret = () if self.password_file is None else (self.password_file,)
        for key, value in (*self.certified(), ("password-file", secret)):
            if value:
                trouble = f"of no use with {self.spelled('spiffe')}, which issues the certificate and its key"
                yield self.wrong(key, value[0], trouble)

    def _without_backends(self) -> Iterator[ConfigurationError]:
        """What is said of backends that this handler does not have, or not as it would have to."""
        header = self.send_proxy_protocol
        for key, field in zip(OF_BACKENDS, FIELDS_OF_BACKENDS, strict=True):
            value = getattr(self, field)
            if value is None:
                continue
            if not self.has_backends:
                yield self.wrong(key, value, "of no use without a handler that has backends, proxy: or passthrough:")
            elif self.passes_on and (key in _OF_BACKENDS_BEHIND_TLS or value in _HEADERS_OF_TLS):
                instead = "; expected off, v1 or v2" if value == header else ""
                yield self.wrong(key, value, f"of no use with passthrough:, which decrypts nothing{instead}")

    def _lost_on_the_way(self) -> Iterator[ConfigurationError]:
        trouble = "of no use with passthrough:, which decrypts nothing"
        of_tls = (("certificate", self.certificate), ("spiffe", (self.spiffe,)), ("ocsp", self.ocsp))
        decided = (("policy", (self.policy,)), ("rego", (self.rego,)))
        for key, value in (*self._of_clients(), *of_tls, *decided):
            if any(value):
                yield self.wrong(key, value[0], trouble)
        if self.client_auth != "off" and not self.client_ca:
            yield self.wrong("client-auth", self.client_auth, trouble)

    def certified(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What belongs to one certificate, by the names of its keys."""
        return (
            ("certificate", self.certificate),
            ("private-key", self.private_key),
            ("extra-cert-chain", self.extra_cert_chain),
            ("ocsp", self.ocsp),
        )

    def _of_clients(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What is said that needs client certificates."""
        stale = () if self.stale_crl == "refuse" else (self.stale_crl,)
        return (
            ("client-ca", self.client_ca),
            ("crl", self.crl),
            ("stale-crl", stale),
            ("verify-depth", self._depth()),
            ("allow", self.allow),
            ("deny", self.deny),
        )

    def _depth(self) -> tuple[str, ...]:
        return () if self.verify_depth is None else (str(self.verify_depth),)


def field_of(name: str) -> str:
    """How Python spells a key."""
    return f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")


def inherited(of_listener: Mapping[str, Any], of_host: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a host has of its listener, by the names of the keys: what it does not say itself, but for what would belong
    to the listener's certificate, to client certificates that it does not ask for, or to TLS that it does not end.
    """
    own = ("names", "from")  # where clients connect from is looked at for the whole listener, when they connect
    values = {name: value for name, value in of_listener.items() if name not in own and name not in of_host}
    if "certificate" in of_host and "certificate" in of_listener:
        values = _without(values, ("private-key", "extra-cert-chain", "ocsp"))
    if "certificate" in of_host or "private-key" in of_host:
        values = _without(values, ("spiffe",))
    if "spiffe" in of_host:
        values = _without(values, ("certificate", "private-key", "password-file", "extra-cert-chain", "ocsp"))
    if of_host.get("client-auth") == "off":
        values = _without(values, _OF_CLIENTS)
    made = HostSettings(handler=of_host.get("handler", values.get("handler")))
    if not made.has_backends:
        values = _without(values, OF_BACKENDS)
    if made.passes_on:
        kept = ("alpn", "handler", *OF_BACKENDS)
        values = {name: values[name] for name in values if name in kept and name not in _OF_BACKENDS_BEHIND_TLS}
    return values


def not_kept(of_listener: Mapping[str, Any], of_host: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Which keys a listener says of its clients that a host of it cannot keep, since it passes on what it cannot read.
    A host that says itself that C{client-auth} is off means it; no host says that it has no policy.
    """
    if not HostSettings(handler=of_host.get("handler", of_listener.get("handler"))).passes_on:
        return ()
    off = "client-auth" in of_host or of_listener.get("client-auth") == "off"
    names = OF_TLS if off else ("client-auth", *_OF_CLIENTS, *OF_TLS)
    return tuple(name for name in names if of_listener.get(name) not in (None, "", (), "refuse"))


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


@attrs.frozen
class ListenerSettings:
    """
    What a user has said of one listener.

    @ivar endpoint: the endpoint string, as written
    @ivar base: what holds for all its hosts; the only host, where no other is named
    @ivar hosts: its hosts, in their order
    @ivar directory: the folder with more hosts, or None
    @ivar unknown_name: `reject`, a name, or None where nothing was said
    @ivar proxy_protocol: who has to say with the PROXY protocol where clients are: networks, and C{unix}
    @ivar max_connections: how many connections it has at the same time; 0 is no limit of its own
    @ivar at_limit: `refuse` or `wait`; None where it is as L{Limits} say
    @ivar wrote: how the user wrote each key
    """

    endpoint: str
    base: HostSettings = HostSettings()
    hosts: tuple[HostSettings, ...] = ()
    directory: str | None = None
    unknown_name: str | None = None
    wrote: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    proxy_protocol: tuple[Network | str, ...] = ()
    max_connections: int = 0
    at_limit: str | None = None

    @classmethod
    def of(
        cls, endpoint: str, said: Mapping[str, Any], wrote: Mapping[str, str], hosts: Sequence[HostSettings] = ()
    ) -> ListenerSettings:
        """
        What was said, by the names of its keys.

        @param hosts: the hosts that are told apart by their names
        @raise ConfigurationError: values that contradict each other
        """
        directory = said.get("hosts")
        base = HostSettings.of(said, wrote, served=not hosts or directory is not None)
        proxies = said.get("proxy-protocol", ())
        limits = said.get("max-connections", 0), said.get("at-limit")
        made = cls(endpoint, base, tuple(hosts), directory, said.get("unknown-name"), wrote, proxies, *limits)
        troubles = Troubles()
        troubles.add(made._contradictions())
        troubles.tell()
        return made

    def _contradictions(self) -> Iterator[ConfigurationError]:
        if _UNWRAPPED.match(self.endpoint):
            for each in (self.base, *self.hosts):
                if each.from_:
                    yield each.wrong("from", each.from_[0], _OF_THE_PROXY)
        if self.base.starttls is not None:
            for each in self.served:
                if each.passes_on:
                    yield each.wrong("handler", each.handler, _BEHIND_STARTTLS.format(each.spelled("starttls")))
        if self.hosts and self.base.names:
            yield self.wrong("names", self.base.names[0], "belongs in [[listener.host]]")
        if self.directory is not None and self.base.spiffe is not None:
            yield self.wrong("spiffe", self.base.spiffe, _OF_A_FOLDER)
        if self.directory is not None and not self.hosts:
            for key, value in (("names", self.base.names), *self.base.certified()):
                if value:
                    yield self.wrong(key, value[0], _OF_A_FOLDER)

    @property
    def served(self) -> tuple[HostSettings, ...]:
        """What holds for its hosts; for those of the folder, and where no host is named, the base."""
        return self.hosts if self.hosts and self.directory is None else (*self.hosts, self.base)

    def as_written(self) -> str:
        """The place, with how the user wrote it: `--endpoint ssl:443`, or `mytls.toml:2: endpoint=ssl:443`."""
        wrote = self.wrote.get("endpoint")
        return f"--endpoint {self.endpoint}" if wrote is None else f"{wrote}={self.endpoint}"

    def wrong(self, key: str, value: object, trouble: str) -> ConfigurationError:
        """An error about one key."""
        return ConfigurationError(f"{self.place(key)}={shortened(value)}: {trouble}")

    def place(self, key: str) -> str:
        """How the user wrote a key, or would have."""
        return self.wrote.get(key, key)


@attrs.frozen
class Settings:
    """
    All that a user has said.

    @ivar listeners: where to listen, and what each does
    @ivar log: what is written down, and where
    @ivar reload_interval: seconds between two looks at the files; 0 is never
    @ivar keylog: the file for the secrets of every connection, or None
    @ivar on_reload: `keep` or `close` the connections of clients who may not enter any more
    @ivar unsafe_plaintext: whether plaintext may go over a network
    @ivar status: the endpoint string of the status service, or None
    @ivar unsafe_status: whether that may be where strangers reach it
    @ivar folder: where relative paths in its string count from; the working directory, if empty
    @ivar workers: how many processes serve; 0 is as many as there are cores
    @ivar core_dumps: `off` where none may be left of a crash
    @ivar sandbox: whether the process may reach only what the configuration names
    @ivar sandboxed: what it may besides
    @ivar backend: how the handler that is made from these deals with its backends: it is that of one host
    @ivar wrote: how the user wrote the keys of L{GLOBAL_KEYS}, by their words
    """

    listeners: tuple[ListenerSettings, ...] = ()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()
    reload_interval: float = 10.0
    log: Log = Log()
    keylog: str | None = None
    on_reload: str = "keep"
    unsafe_plaintext: bool = False
    backend: BackendSettings = BackendSettings()
    status: str | None = None
    unsafe_status: bool = False
    folder: str = attrs.field(default="", eq=False)
    workers: int = 1
    core_dumps: str = "on"
    sandbox: bool = False
    sandboxed: SandboxSettings = SandboxSettings()
    wrote: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    @classmethod
    def of(
        cls,
        listeners: tuple[ListenerSettings, ...],
        said: Mapping[str, Any],
        wrote: Mapping[str, str] = MappingProxyType({}),
    ) -> Settings:
        """The listeners, and the values of L{GLOBAL_KEYS} by their words. @param wrote: how the user wrote these"""
        return attrs.evolve(cls(listeners).merged(said), wrote=wrote)

    def merged(self, said: Mapping[str, Any]) -> Settings:
        """These, but for the values of L{GLOBAL_KEYS} that the command line says, by their words."""

        def table(name: str) -> dict[str, Any]:
            prefix = f"{name}-"
            return {word.removeprefix(prefix).replace("-", "_"): said[word] for word in said if word.startswith(prefix)}

        return attrs.evolve(
            self,
            deadlines=attrs.evolve(self.deadlines, **table("deadlines")),
            limits=attrs.evolve(self.limits, **table("limits")),
            reload_interval=said.get("reload-interval", self.reload_interval),
            log=attrs.evolve(self.log, **table("log")),
            keylog=said.get("keylog", self.keylog),
            on_reload=said.get("reload-on-reload", self.on_reload),
            unsafe_plaintext=said.get("unsafe-plaintext", self.unsafe_plaintext),
            status=said.get("status", self.status),
            unsafe_status=said.get("unsafe-status", self.unsafe_status),
            folder="" if "status" in said else self.folder,
            workers=said.get("workers", self.workers),
            core_dumps=said.get("core-dumps", self.core_dumps),
            sandbox=said.get("sandbox", self.sandbox),
            sandboxed=attrs.evolve(self.sandboxed, **table("sandbox")),
            wrote={**self.wrote, **{word: f"--{word}" for word in said}},
        )
