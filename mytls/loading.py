"""
Settings in, hosts out: everything that is read and made before the first client comes.

It touches no reactor and nothing that is in use, so a reload does it in a thread. A context whose files and settings
are as they were is not made anew: its sessions resume after a reload.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
from cryptography import x509

from mytls.errors import ConfigurationError, ConfigurationErrors, Troubles, one_line, shortened
from mytls.guards.access import Access
from mytls.guards.policy import FunctionPolicy, Policy, function_digest
from mytls.guards.rego import rego_digest, rego_policy, source_of
from mytls.guards.sources import Proxies, Sources
from mytls.hosts import Host, Hosts
from mytls.names import host_name, parent
from mytls.preludes import Prelude
from mytls.settings import FIELDS_OF_BACKENDS, HostSettings, ListenerSettings
from mytls.tls import advice
from mytls.tls.certificates import KeyPair, key_pairs
from mytls.tls.contexts import HostOptions, host_options
from mytls.tls.files import Files, read
from mytls.tls.folder import pairs_in
from mytls.tls.profiles import profile_of
from mytls.tls.svids import Issued
from mytls.tls.trust import ClientTrust, client_trust
from mytls.tls.workload import Workload

#: The fields of a host's settings that a context does not depend on: of most files only what is in them counts.
_OF_FILES = ("certificate", "private_key", "password_file", "extra_cert_chain", "ocsp")
NOT_OF_TLS = (*_OF_FILES, "handler", *FIELDS_OF_BACKENDS, "starttls", "from_", "wrote")


_RULE_BEHIND_A_COMMA = re.compile(r"\s*,\s*(?=(?:cn|ou|o|dns|uri|email|ip|issuer|serial|spki)=)")

#: What goes on in the next loading, where nothing has changed.
Made = HostOptions | Policy | Workload


@attrs.frozen
class Loading:
    """
    What one loading shares.

    @ivar files: reads, and remembers what was read
    @ivar made: what is in use, by its digest
    @ivar keylog: takes the secrets of each connection, where that was asked for
    @ivar policies: those of this loading, by their digests, or why there is none
    @ivar asked: the Workload APIs of this loading by what the user wrote, with what they have issued, or why nothing
    """

    files: Files
    made: Mapping[bytes, Made] = attrs.field(factory=dict)
    keylog: Callable[[bytes], object] | None = None
    policies: dict[bytes, Policy | ConfigurationError] = attrs.field(factory=dict, init=False, repr=False)
    asked: dict[str, tuple[Workload, Issued] | ConfigurationError] = attrs.field(factory=dict, init=False, repr=False)

    def policy(self, digest: bytes, make: Callable[[], Policy]) -> Policy:
        """
        The policy with this digest, made once for all hosts that have it.

        @raise ConfigurationError: it could not be made
        """
        if digest not in self.policies:
            kept = self.made.get(digest)
            try:
                self.policies[digest] = make() if kept is None or isinstance(kept, HostOptions | Workload) else kept
            except ConfigurationError as error:
                self.policies[digest] = error
        found = self.policies[digest]
        if isinstance(found, ConfigurationError):
            raise found
        return found

    def issued(self, settings: HostSettings) -> Issued | None:
        """
        What the Workload API of a host has issued, the same for all hosts that name it; None where it names none.

        @raise ConfigurationError: it has issued nothing
        """
        if settings.spiffe is None:
            return None
        if settings.spiffe not in self.asked:
            try:
                workload = self._workload(settings.spiffe)
                self.asked[settings.spiffe] = workload, workload.fetch()
            except ConfigurationError as error:
                self.asked[settings.spiffe] = error
        found = self.asked[settings.spiffe]
        if isinstance(found, ConfigurationError):
            raise settings.wrong("spiffe", settings.spiffe, str(found))
        return found[1]

    def _workload(self, written: str) -> Workload:
        """The one that is in use, where it is. @raise ConfigurationError: it is no address"""
        of_environment, _, name = written.partition(":")
        if of_environment == "env" and name not in os.environ:
            raise ConfigurationError("there is no such environment variable")
        workload = Workload(os.environ[name] if of_environment == "env" else written)
        kept = self.made.get(workload.digest)
        return kept if isinstance(kept, Workload) else workload


@attrs.frozen
class Loaded:
    """
    The hosts of a listener, and what an operator should know of them.

    @ivar warned: a sentence each
    @ivar workloads: the Workload APIs whose certificates they have, each once
    """

    hosts: Hosts
    warned: tuple[str, ...] = ()
    workloads: tuple[Workload, ...] = ()

    @property
    def open_ends(self) -> tuple[tuple[x509.Certificate, str], ...]:
        """The end of each chain whose issuer is not at hand, and the file that it is in."""
        pairs = (pair for host in self.hosts.all for pair in host.pairs)
        return tuple((pair.open_end, pair.source) for pair in pairs if pair.open_end is not None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All of it, also what is said once of several certificates."""
        return (*self.warned, *advice.of_chains(self.open_ends))


def load(settings: ListenerSettings, loading: Loading) -> Loaded:
    """
    Read and make all that this listener needs. Its handlers are made by whoever listens.

    @raise ConfigurationError: one line for each error
    """
    hosts: list[Host] = []
    warnings: list[str] = []
    troubles = Troubles()
    for one in settings.hosts or ((settings.base,) if settings.directory is None else ()):
        with troubles.gathered():
            made, told = _host(one, loading)
            hosts.append(made)
            warnings.extend(told)
    if settings.directory is not None:
        with troubles.gathered():
            try:
                more, told = _of_folder(settings, hosts, loading)
            except ConfigurationError as error:
                raise _with_all_else(error, settings.base, loading) from None
            hosts.extend(more)
            warnings.extend(told)
    troubles.tell()
    if Proxies.of(settings.proxy_protocol).everywhere:
        warnings.append(f"{settings.place('proxy-protocol')}: whoever connects may say that it is somebody else")
    said = {host.settings.spiffe for host in hosts}
    asked = [each for written, each in loading.asked.items() if written in said]
    workloads = tuple(dict.fromkeys(each[0] for each in asked if not isinstance(each, ConfigurationError)))
    return Loaded(_told_apart(settings, hosts), tuple(warnings), workloads)


def contexts(loaded: Loaded) -> dict[bytes, Made]:
    """What may go on in another loading, by its digest: contexts of hosts, policies, and whom certificates are from."""
    kept: dict[bytes, Made] = {host.digest: host.options for host in loaded.hosts.all if host.options is not None}
    kept.update((policy.digest, policy) for policy in loaded.hosts.policies)
    kept.update((workload.digest, workload) for workload in loaded.workloads)
    return kept


def _host(settings: HostSettings, loading: Loading) -> tuple[Host, Sequence[str]]:
    if settings.passes_on:
        sources = Sources(settings.from_)
        return Host(None, names=settings.names, alpn=_protocols(settings), settings=settings, sources=sources), ()
    try:
        issued = loading.issued(settings)
        clients = _clients(settings, loading)
        pairs = key_pairs(settings, loading.files, clients) if issued is None else (issued.pair,)
        host = _made(settings, pairs, clients, loading)
    except ConfigurationError as error:
        of_files = (lambda: key_pairs(settings, loading.files),) if settings.spiffe is None else ()
        raise _with_all_else(error, settings, loading, *of_files) from None
    of_clients = () if clients is None or _vouched(settings) else clients.warnings(loading.files.moment())
    return host, [*_said(settings, loading), *_warnings(host, loading), *of_clients]


def _clients(settings: HostSettings, loading: Loading) -> ClientTrust | None:
    """
    Who vouches for clients: the files say it or, where there are none, who issues the certificate.

    @raise ConfigurationError: nobody says it
    """
    issued = loading.issued(settings)
    if issued is None or not _vouched(settings):
        return client_trust(settings, loading.files)
    return ClientTrust(issued.authorities)


def _vouched(settings: HostSettings) -> bool:
    """Whether the CAs of clients are those of trust domains, each for its own."""
    return settings.spiffe is not None and settings.client_auth != "off" and not settings.client_ca


def _with_all_else(
    error: ConfigurationError, settings: HostSettings, loading: Loading, *more: Callable[[], object]
) -> ConfigurationErrors:
    """An error, and all that is wrong with the host besides. @param more: finds what is wrong with its certificates"""
    troubles = Troubles()
    troubles.add([error])
    for check in (
        lambda: _clients(settings, loading),
        *more,
        lambda: profile_of(settings),
        lambda: Access.of_host(settings),
        lambda: _policies(settings, loading),
    ):
        with troubles.gathered():
            check()
    return ConfigurationErrors(troubles.lines)


def _of_folder(settings: ListenerSettings, named: Sequence[Host], loading: Loading) -> tuple[list[Host], Sequence[str]]:
    """Each certificate of the folder as a host of its names, but for those names that the user has given to others."""
    assert settings.directory is not None
    clients = client_trust(settings.base, loading.files)
    taken = {name for host in named for name in host.names}
    hosts: list[Host] = []
    warnings: list[str] = []
    found, notes = pairs_in(settings.base, settings.directory, loading.files, clients)
    for pairs in found:
        host = _made(settings.base, pairs, clients, loading)
        free = tuple(name for name in host.names if name not in taken)
        taken.update(free)
        warnings.extend(_warnings(host, loading))
        if free:
            hosts.append(attrs.evolve(host, names=free))
    return hosts, [*_said(settings.base, loading), *notes, *warnings]


def _made(settings: HostSettings, pairs: Sequence[KeyPair], clients: ClientTrust | None, loading: Loading) -> Host:
    of_files = [pair.digest for pair in pairs]
    if settings.dh_parameters is not None:
        of_files.append(read(settings, "dh-parameters", settings.dh_parameters, loading.files))
    issued = loading.issued(settings) if _vouched(settings) else None
    of_clients = issued or clients
    digest = _digest(settings, of_files, b"" if of_clients is None else of_clients.digest)
    access = _access(settings)
    policies = _policies(settings, loading)
    kept = loading.made.get(digest)
    if isinstance(kept, HostOptions):
        options = kept
    else:
        admit = (lambda identity: None) if access is None else access.refusal
        vouch = None if issued is None else issued.refusal
        options = host_options(settings, pairs, clients, loading.keylog, loading.files, admit, vouch)
    names = settings.names or tuple(dict.fromkeys(name for pair in pairs for name in pair.names))
    return Host(
        options.serverConnectionForTLS,
        access=access,
        options=options,
        policies=policies,
        names=names,
        alpn=_protocols(settings),
        settings=settings,
        pairs=tuple(pairs),
        digest=digest,
        sources=Sources(settings.from_),
    )


def _access(settings: HostSettings) -> Access | None:
    """
    Who may enter. Where certificates are required nobody may but by a rule or, where there is none, a policy; where
    they are optional, who shows one may do what others may, unless there are rules.
    """
    if settings.client_auth == "off" or (settings.client_auth == "optional" and not settings.allow + settings.deny):
        return None
    alone = settings.client_auth == "optional" or settings.policy or settings.rego
    allow = settings.allow or (("all",) if alone else ())
    return Access.of_host(attrs.evolve(settings, allow=allow))


def _policies(settings: HostSettings, loading: Loading) -> tuple[Policy, ...]:
    """Who is asked besides; each has to say yes. @raise ConfigurationError: one of them cannot be asked"""
    found: list[Policy] = []
    troubles = Troubles()
    with troubles.gathered():
        if settings.policy is not None:
            digest = function_digest(settings.policy)
            found.append(loading.policy(digest, lambda: FunctionPolicy.of(settings)))
    with troubles.gathered():
        if settings.rego is not None:
            content = source_of(settings, loading.files)
            found.append(loading.policy(rego_digest(settings, content), lambda: rego_policy(settings, content)))
    troubles.tell()
    return tuple(found)


def _protocols(settings: HostSettings) -> tuple[bytes, ...]:
    return tuple(protocol.encode("utf-8") for protocol in settings.alpn)


def _digest(settings: HostSettings, pairs: Iterable[bytes], clients: bytes = b"") -> bytes:
    of_tls = {name: value for name, value in attrs.asdict(settings).items() if name not in NOT_OF_TLS}
    return hashlib.sha256(repr((sorted(of_tls.items()), list(pairs), clients)).encode("utf-8")).digest()


def _said(settings: HostSettings, loading: Loading) -> list[str]:
    """What is to be known of settings that some hosts may share."""
    found = []
    if settings.profile == "old":
        place = settings.place("profile")
        found.append(f"{place}=old: TLS 1.0 and 1.1 are broken in parts: for clients of long ago only")
    found.extend(_run_together(settings, "allow", settings.allow))
    found.extend(_run_together(settings, "deny", settings.deny))
    secret = settings.password_file
    if secret is not None and not secret.startswith("env:"):
        found.extend(map(one_line, advice.of_secret_file("the password", secret, loading.files.mode(secret))))
    return found


def _run_together(settings: HostSettings, key: str, rules: Sequence[str]) -> Iterable[str]:
    """One text of the file is one rule, whatever commas are in it. The name of an issuer has some."""
    for rule in rules:
        several = _RULE_BEHIND_A_COMMA.split(rule)
        if len(several) > 1 and not rule.startswith("issuer="):
            array = ", ".join(f'"{each}"' for each in several)
            what = "two" if len(several) == 2 else "several"
            yield one_line(
                f"{settings.place(key)}={shortened(rule)} is one rule; for {what} write [{shortened(array)}]"
            )


def _warnings(host: Host, loading: Loading) -> list[str]:
    now, issued = loading.files.moment(), loading.issued(host.settings)
    if issued is None:
        found = _of_pairs(host, now)
    else:
        found = [f"{host.settings.place('spiffe')}={host.settings.spiffe}: {each}" for each in issued.warnings(now)]
    if host.access is not None and not host.access.allow:
        found.append(
            f"{host.known_as()}: there is no allow rule, so nobody enters; allow=all lets in all verified clients"
        )
    return found


def _of_pairs(host: Host, now: datetime.datetime) -> list[str]:
    found = [f"{pair.source}: {warning}" for pair in host.pairs for warning in pair.warnings(now)]
    covered = {name for pair in host.pairs for name in pair.names}
    for name in host.settings.names:
        if name not in covered and parent(name) not in covered:  # RFC 9525 section 6.3
            found.append(
                f"{host.pairs[0].source}: the certificate is not for {name}: clients that ask for it refuse it"
            )
    return found


def _told_apart(settings: ListenerSettings, hosts: Sequence[Host]) -> Hosts:
    """Who answers to which name, and who to none; where clients may connect from, and what they begin with."""
    return attrs.evolve(
        _named(settings, hosts),
        sources=Sources(settings.base.from_),
        proxies=Proxies.of(settings.proxy_protocol),
        prelude=_prelude(settings.base.starttls, hosts),
    )


def _prelude(protocol: str | None, hosts: Iterable[Host]) -> Prelude | None:
    """The server has the first name that is one: nobody has asked for any when it greets."""
    if protocol is None:
        return None
    names = (name for host in hosts for name in host.names if not name.startswith("*."))
    return Prelude(protocol, next(names, "localhost"))


def _named(settings: ListenerSettings, hosts: Sequence[Host]) -> Hosts:
    alone = not settings.hosts and settings.directory is None
    if settings.unknown_name is None:
        return Hosts(hosts[0]) if alone else _by_name(settings, hosts, None)
    if settings.unknown_name == "reject":
        return _by_name(settings, hosts, None)
    name = host_name(settings.unknown_name)
    for host in hosts:
        if name in host.names:
            return _by_name(settings, hosts, host)
    raise settings.wrong("unknown-name", settings.unknown_name, "expected reject, or one of the names of the hosts")


def _by_name(settings: ListenerSettings, hosts: Sequence[Host], unknown: Host | None) -> Hosts:
    for host in hosts:
        if not host.names:
            raise host.settings.wrong("names", "", "the certificate has no name to choose the host by; say names")
    try:
        return Hosts.of(hosts, unknown)
    except ConfigurationError as error:
        raise ConfigurationError(f"{settings.wrote.get('endpoint', settings.endpoint)}: {error}") from None
