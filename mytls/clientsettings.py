"""What a user has said of a server to connect to, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from mytls.destinations import Via
from mytls.errors import ConfigurationError, Troubles
from mytls.settings import HostSettings, field_of

#: The keys of a host that have a client's value, and the word that the user wrote it with.
_AS_A_HOSTS = {
    "certificate": "certKey",
    "private-key": "privateKey",
    "password-file": "passwordFile",
    "client-ca": "trustRoots",
    "allow": "verify",
    "alpn": "alpn",
    "min-version": "minVersion",
    "max-version": "maxVersion",
    "rego": "rego",
    "rego-query": "regoQuery",
}


@attrs.frozen
class ClientSettings:
    """What a user has said of a server to connect to; the fields are L{CLIENT_KEYS}, and their values of its kinds."""

    host: str
    port: int | None = None
    certificate: tuple[str, ...] = ()
    private_key: tuple[str, ...] = ()
    password_file: str | None = None
    trust_roots: tuple[str, ...] = ()
    server_name: str | None = None
    verify: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    timeout: float = 30.0
    bind_address: str | None = None
    endpoint: str | None = None
    via: Via | None = None
    via_password_file: str | None = None
    starttls: str | None = None
    min_version: str | None = None
    max_version: str | None = None
    rego: str | None = None
    rego_query: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> ClientSettings:
        """
        What was said, by the names of its keys.

        @raise ConfigurationError: values that contradict each other, or none where one is needed
        """
        if "host" not in said:
            raise ConfigurationError("expected a host and a port, as in mytls:api.example:443")
        made = cls(**{field_of(name): value for name, value in said.items()})
        troubles = Troubles()
        troubles.add(made._contradictions())
        troubles.tell()
        return made

    @property
    def name(self) -> str:
        """Whom the server's certificate has to name: a host name, or an IP address."""
        return self.server_name or self.host

    @property
    def named_by_rules(self) -> bool:
        """Whether rules say who the server is, and not its name."""
        alone = bool(self.verify) and all(rule.startswith(("uri=", "spki=")) for rule in self.verify)
        return alone and self.server_name is None

    @property
    def tls(self) -> HostSettings:
        """The same as a host says it: C{client-ca} is C{trust-roots}, C{allow} is C{verify}."""
        return HostSettings(
            certificate=self.certificate,
            private_key=self.private_key,
            password_file=self.password_file,
            client_ca=self.trust_roots,
            allow=self.verify,
            alpn=self.alpn,
            min_version=self.min_version,
            max_version=self.max_version,
            rego=self.rego,
            rego_query=self.rego_query,
            wrote=_AS_A_HOSTS,
        )

    def _contradictions(self) -> Iterator[ConfigurationError]:
        if self.port is None and (self.endpoint is None or self.via is not None):
            yield ConfigurationError(f"port: missing; expected for example mytls:{self.host}:443")
        if self.endpoint is not None and self.bind_address is not None:
            yield ConfigurationError(f"bindAddress={self.bind_address}: of no use with endpoint, which connects")
        if self.password_file is not None and not (self.certificate or self.private_key):
            yield ConfigurationError(f"passwordFile={self.password_file}: there is no key to open; say certKey")
        yield from self._contradictions_of_via()
        if self.min_version and self.max_version and self.min_version > self.max_version:
            yield self.tls.wrong("min-version", self.min_version, f"newer than the newest, {self.max_version}")
        if self.rego_query and not self.rego:
            yield self.tls.wrong("rego-query", self.rego_query, "there is no policy to ask; say rego")

    def _contradictions_of_via(self) -> Iterator[ConfigurationError]:
        via, password = self.via, self.via_password_file
        if password is not None and (via is None or via.user is None):
            yield ConfigurationError(
                f"viaPasswordFile={password}: there is no user; expected one as in via=http://me@..."
            )
        if via is not None and via.user is not None and password is None:
            yield ConfigurationError(f"via={via.scheme}://{via}: the user's password is missing; say viaPasswordFile")
        if via is not None and "%" in self.host:
            yield ConfigurationError(f"host={self.host}: its zone is of this machine, and no proxy knows it")
