"""
What a user can say, once: every key's name, kind, default and one sentence.

The command line, the endpoint string, the file, the error texts and the reference page are all made from this table.
"""

from __future__ import annotations

import ipaddress
import keyword
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from mytls.destinations import REMOTE_PORT, SECONDS, SERVER, VIA, Via
from mytls.errors import ConfigurationError, Troubles, shortened
from mytls.kinds import (
    ALLOWED,
    AUTHORITIES,
    COUNT,
    DENIED,
    DEPTH,
    DURATION,
    FOLDER,
    HANDLER,
    HEALTH,
    IDENTITIES,
    NAME,
    NAMES,
    NETWORKS,
    PATH,
    PATHS,
    PORT,
    PROTOCOLS,
    PROXIES,
    REVOCATIONS,
    ROOTS,
    TEXT,
    TRUTH,
    VERSION,
    WITH_BACKENDS,
    WORDS,
    Kind,
    choice,
)


@attrs.frozen
class Key:
    """
    One thing that a user can say.

    @ivar name: in `kebab-case`, as in the file
    @ivar word: as in an endpoint string, or as an option of the command line without its dashes
    @ivar kind: what its value looks like
    @ivar default: the value in words, where the key is left out
    @ivar sentence: what it does
    @ivar example: a value as the file may have it, where the default is none
    """

    name: str
    word: str
    kind: Kind
    default: str
    sentence: str
    example: str = ""

    def value_of(self, written: str, wrote: str = "") -> Any:
        """
        The value of a text.

        @param wrote: how the user wrote the key; its word, if left out
        @raise ConfigurationError: one line, which names the key
        """
        try:
            return self.kind.of_text(written)
        except ConfigurationError as error:
            raise ConfigurationError(f"{wrote or self.word}: {'; '.join(error.lines)}") from None


#: The words of `ssl:` and `mytls:` endpoint strings that are Twisted's own. The order counts: a word may go without
#: its name. They have no place in the file, where the endpoint string stands for them, but for the two of HOST_KEYS.
PLACE_KEYS = (
    Key("port", "port", PORT, "", "The TCP port to listen on; also the first word without a name."),
    Key("private-key", "privateKey", PATHS, "the file of certKey, or server.pem", "The file with the private key."),
    Key(
        "certificate",
        "certKey",
        PATHS,
        "the file of privateKey",
        "The file with the certificate; what else of its chain is in it is sent too.",
    ),
    Key("sslmethod", "sslmethod", TEXT, "TLS_METHOD", "TLS_METHOD: TLS 1.2 and 1.3; TLSv1_2_METHOD: TLS 1.2 alone."),
    Key("interface", "interface", TEXT, "all IPv4 addresses", "The address to listen on; `\\:\\:` is IPv6 and IPv4."),
    Key("backlog", "backlog", COUNT, "50", "How many connections the system keeps waiting to be accepted."),
    Key("extra-cert-chain", "extraCertChain", PATHS, "", "A PEM file with more certificates to send after certKey's."),
    Key("dh-parameters", "dhParameters", PATH, "", "A PEM file with Diffie-Hellman parameters, for DHE suites."),
    Key("over", "over", TEXT, "", "A server endpoint string to run TLS over, in place of a port; in `mytls:` alone."),
)

#: How a host deals with the backends of its handler.
BACKEND_KEYS = (
    Key(
        "balance",
        "balance",
        choice("round-robin", "least-connections", "first"),
        "round-robin",
        "Which of several backends has the next client. One that refuses is left out for a while; another is dialled.",
    ),
    Key(
        "backend-health",
        "backendHealth",
        HEALTH,
        "off",
        "How backends are looked at between connections: `tcp` is a dial, over TLS with its handshake; an `http://` "
        "address has to answer 200, and a `*` as its host is that of each backend.",
        '"http://*:8081/health"',
    ),
    Key(
        "on-truncation",
        "onTruncation",
        choice("eof", "reset"),
        "eof",
        "What an end without close_notify is to the other side of `proxy:`: an end as any other, or a reset.",
    ),
    Key(
        "send-proxy-protocol",
        "sendProxyProtocol",
        choice("off", "v1", "v2", "v2-tls", "v2-tls-certificate"),
        "off",
        "The PROXY header that backends hear first: `v1` and `v2` say where the client is; `v2-tls` also what its "
        "handshake has agreed on; `v2-tls-certificate` also whose certificate it has shown.",
    ),
)

#: What a host has: keys of `[[listener.host]]`; in `[[listener]]` the default of its hosts; words of `mytls:` strings.
HOST_KEYS = (
    Key(
        "names",
        "names",
        NAMES,
        "those of the certificate",
        "The names that clients ask for: whole ones, or `*.` in place of one label.",
        '["api.example", "*.api.example"]',
    ),
    Key(
        "certificate",
        "certKey",
        PATHS,
        "",
        "PEM or PKCS#12 files with certificates and chains, in any order; one certificate for each kind of key.",
        '"fullchain.pem"',
    ),
    Key(
        "private-key",
        "privateKey",
        PATHS,
        "the files of certificate",
        "The files with the private keys; what fits which certificate is found out.",
        '"key.pem"',
    ),
    Key(
        "password-file",
        "passwordFile",
        PATH,
        "the environment variable MYTLS_PASSWORD",
        "A file whose first line is the password of the keys; `env:NAME` is another environment variable.",
        '"key.password"',
    ),
    Key(
        "spiffe",
        "spiffe",
        TEXT,
        "",
        "The socket of a SPIFFE Workload API, which issues the certificate, its key and, without client-ca, the CAs of "
        "clients; `env:NAME` is an environment variable that says it. Needs mytls[spiffe].",
        '"unix:/run/spire/agent.sock"',
    ),
    Key(
        "profile",
        "profile",
        choice("modern", "intermediate", "old"),
        "intermediate",
        "Mozilla's guidelines: `modern` is TLS 1.3 alone, `intermediate` TLS 1.2 too, `old` for clients of long ago.",
    ),
    Key(
        "min-version",
        "minVersion",
        VERSION,
        "that of the profile",
        "The oldest TLS version.",
        '"TLSv1.2"',
    ),
    Key(
        "max-version",
        "maxVersion",
        VERSION,
        "that of the profile",
        "The newest TLS version.",
        '"TLSv1.3"',
    ),
    Key(
        "ciphers",
        "ciphers",
        WORDS,
        "those of the profile",
        "Cipher suites of TLS 1.2, as OpenSSL names them.",
        '["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]',
    ),
    Key(
        "ciphersuites",
        "ciphersuites",
        WORDS,
        "those of the profile",
        "Cipher suites of TLS 1.3.",
        '["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]',
    ),
    Key(
        "groups",
        "groups",
        WORDS,
        "those of the profile",
        "Groups of the key exchange, the best first.",
        '["X25519MLKEM768", "X25519", "prime256v1"]',
    ),
    Key(
        "alpn",
        "alpn",
        PROTOCOLS,
        "none",
        "Application protocols, the best first; a client that offers only others is refused.",
        '["h2", "http/1.1"]',
    ),
    Key(
        "client-auth",
        "clientAuth",
        choice("off", "optional", "required"),
        "`required` with client-ca, else `off`",
        "Whether clients show a certificate.",
        '"required"',
    ),
    Key(
        "client-ca",
        "clientCA",
        AUTHORITIES,
        "",
        "PEM files with the CAs whose client certificates are verified.",
        '["clients.pem"]',
    ),
    Key("crl", "crl", REVOCATIONS, "", "PEM or DER files with revocation lists of these CAs.", '["clients.crl"]'),
    Key(
        "stale-crl",
        "staleCrl",
        choice("refuse", "accept"),
        "refuse",
        "What to do while a revocation list is past its next update: refuse its CA's clients, or go by what it says.",
    ),
    Key(
        "verify-depth",
        "verifyDepth",
        DEPTH,
        "100",
        "How many intermediate CAs there may be between a client's certificate and a CA of client-ca.",
    ),
    Key(
        "allow",
        "allow",
        ALLOWED,
        "nobody",
        "Which clients may enter, any of: `cn= ou= o= dns= uri= email= ip= issuer= serial= spki=` or `all`.",
        '["cn=build", "dns=*.svc.example", "uri=spiffe://example/**"]',
    ),
    Key("deny", "deny", DENIED, "nobody", "Which clients may not, in the same words; it wins.", '["serial=0A:1B"]'),
    Key(
        "from",
        "from",
        NETWORKS,
        "everywhere",
        "Where clients may connect from; a listener's is looked at before anything is read from them.",
        '["10.0.0.0/8", "2001:db8::/32"]',
    ),
    Key(
        "policy",
        "policy",
        TEXT,
        "",
        "A function or coroutine of yours that is given the peer and answers True, False or a reason to refuse it.",
        '"app.rules:allow"',
    ),
    Key(
        "rego",
        "rego",
        PATH,
        "",
        "A policy of Open Policy Agent: a bundle (.tar.gz), or a file in Rego. Needs mytls[rego].",
        '"policy.rego"',
    ),
    Key(
        "rego-query",
        "regoQuery",
        TEXT,
        "data.mytls.allow",
        "What to ask that policy; its answer has to be true.",
        '"data.policy.allow"',
    ),
    Key(
        "ocsp",
        "ocsp",
        PATHS,
        "CERTIFICATE.ocsp, where there is one",
        "Files with OCSP responses (DER) to staple.",
        '"fullchain.pem.ocsp"',
    ),
    Key(
        "handler",
        "handler",
        HANDLER,
        "",
        "What to do with the decrypted bytes: a handler string. A host that has none has that of its listener.",
        '"proxy:tcp:127.0.0.1:8080"',
    ),
    *BACKEND_KEYS,
)

#: What a listener has besides the defaults of its hosts: keys of `[[listener]]`; but for endpoint words of `mytls:`.
LISTENER_KEYS = (
    Key("endpoint", "endpoint", TEXT, "", "Where to listen: a server endpoint string.", '"mytls:8443"'),
    Key(
        "proxy-protocol",
        "proxyProtocol",
        PROXIES,
        "nobody",
        "Who is in front of us, and says with the PROXY protocol where each client is: addresses, networks, or `unix` "
        "for whoever connects to a UNIX socket. These have to say it, and nobody else may.",
        '{ from = ["10.0.0.0/8", "unix"] }',
    ),
    Key(
        "starttls",
        "starttls",
        choice("smtp", "imap", "pop3", "sieve", "postgres", "ldap", "xmpp"),
        "none",
        "The protocol that clients speak in the clear until they ask for TLS. They are answered here; a backend of "
        "`proxy:` hears what comes after, and needs no TLS.",
        '"smtp"',
    ),
    Key(
        "unknown-name",
        "unknownName",
        NAME,
        "`reject` where there are hosts, else the listener itself",
        "Who answers a client that asks for no name, or for nobody's: `reject`, or one of the names.",
        '"reject"',
    ),
    Key(
        "hosts",
        "hosts",
        FOLDER,
        "",
        "A folder with certificates, keys and chains: each certificate is a host of its names.",
        '"certificates"',
    ),
)

#: The words of endpoint strings. A word of Twisted's is not said twice.
ENDPOINT_KEYS = (
    *PLACE_KEYS,
    *(key for key in (*HOST_KEYS, *LISTENER_KEYS) if key.word not in ("certKey", "privateKey", "endpoint")),
)

#: How endpoint strings spell the keys of a host.
WORDS_OF_STRINGS = {key.name: key.word for key in ENDPOINT_KEYS}

#: What others call some of them.
NICKNAMES = {"key": "private-key", "cert": "certificate", "ca": "client-ca"}

#: What can be kept out of the log.
QUIET = ("connections", "handshake-failures", "backend-failures", "health-checks", "refusals")

#: What becomes of clients who are there.
ON_RELOAD = Key(
    "on-reload",
    "reload-on-reload",
    choice("keep", "close"),
    "keep",
    "What to do after a reload with connections of clients who may not enter any more.",
)

#: The tables of the file that hold one value for the whole service, and the keys in them. `""` is outside of tables.
#: On the command line the table's name stands before the key's.
GLOBAL_KEYS: Mapping[str, tuple[Key, ...]] = {
    "": (
        Key(
            "keylog",
            "keylog",
            PATH,
            "",
            "Write the secrets of every connection to this file, for Wireshark: whoever reads it reads all traffic.",
            '"keys.log"',
        ),
        Key(
            "unsafe-plaintext",
            "unsafe-plaintext",
            TRUTH,
            "false",
            "Let plaintext go over a network: decrypted bytes to a backend of `proxy:`, or what comes to a listener "
            "without TLS for a backend with it.",
        ),
    ),
    "deadlines": (
        Key(
            "handshake",
            "deadlines-handshake",
            DURATION,
            "10s",
            "How long a client may take from connecting to the end of its handshake.",
        ),
        Key("close", "deadlines-close", DURATION, "5s", "How long a client may take to answer our close_notify."),
        Key(
            "half-close",
            "deadlines-half-close",
            DURATION,
            "5m",
            "How long one direction of `proxy:` may be silent when the other has ended.",
        ),
        Key(
            "connect",
            "deadlines-connect",
            DURATION,
            "10s",
            "How long a client waits for a backend that accepts and, over TLS, has finished its handshake.",
        ),
        Key("policy", "deadlines-policy", DURATION, "5s", "How long a policy may take to answer; then it is a no."),
    ),
    "limits": (
        Key(
            "max-threads",
            "limits-max-threads",
            COUNT,
            "512",
            "How many plain functions of `serve:` run at the same time; others wait their turn.",
        ),
        Key(
            "max-processes",
            "limits-max-processes",
            COUNT,
            "512",
            "How many programs each `exec:` handler runs at the same time; who comes beyond that is turned away.",
        ),
    ),
    "reload": (
        Key(
            "interval",
            "reload-interval",
            DURATION,
            "10s",
            "How often the files are looked at for changes.",
        ),
        ON_RELOAD,
    ),
    "log": (
        Key(
            "quiet",
            "log-quiet",
            choice(*QUIET, many=True),
            "",
            f"What has no line in the log: any of {', '.join(QUIET)}.",
            '["health-checks"]',
        ),
    ),
}

#: The options of `twistd mytls` that have a value, but for --endpoint, --handler and --config.
OPTION_KEYS = tuple(key for keys in GLOBAL_KEYS.values() for key in keys)


@attrs.frozen
class Limits:
    """
    Bounds of a service.

    @ivar max_threads: how many plain functions of `serve:` run at the same time
    @ivar max_processes: how many programs each `exec:` handler runs at the same time
    """

    max_threads: int = 512
    max_processes: int = 512


@attrs.frozen
class Deadlines:
    """
    How long each wait may last, in seconds; 0 is for ever.

    @ivar handshake: from accept to the end of the handshake
    @ivar close: from our close_notify to the peer's
    @ivar connect: from a client's coming to a backend that is ready
    @ivar policy: from asking a policy to its answer
    @ivar half_close: how long one direction may be silent when the other has ended
    """

    handshake: float = 10.0
    close: float = 5.0
    connect: float = 10.0
    policy: float = 5.0
    half_close: float = 300.0


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
        values = {_field(name): value for name, value in said.items()}
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


def _field(name: str) -> str:
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


# --- what a client can say

#: The words of `mytls:` as the endpoint string of a client. The first two may go without their names.
CLIENT_KEYS = (
    Key("host", "host", SERVER, "", "The server's name or IP address; also the first word without a name."),
    Key("port", "port", REMOTE_PORT, "", "Its TCP port; also the second word without a name."),
    Key("certificate", "certKey", PATHS, "", "PEM or PKCS#12 files with the certificate to show, and its chain."),
    Key("private-key", "privateKey", PATHS, "the files of certKey", "The file with its private key."),
    Key(
        "password-file",
        "passwordFile",
        PATH,
        "the environment variable MYTLS_PASSWORD",
        "A file whose first line is the password of the key; `env:NAME` is another environment variable.",
    ),
    Key(
        "trust-roots",
        "trustRoots",
        ROOTS,
        "those of the system",
        "PEM files with the CAs, or the certificates themselves, that servers are verified with.",
    ),
    Key("server-name", "serverName", SERVER, "host", "The name to ask for and to verify, in place of the host's."),
    Key(
        "verify",
        "verify",
        IDENTITIES,
        "the name alone",
        "Rules as those of `allow`, one of which the server's certificate has to match besides its name. Where all are "
        "`uri=` or `spki=`, they stand for the name; where all are `spki=`, for trustRoots too.",
    ),
    Key("alpn", "alpn", PROTOCOLS, "none", "Application protocols to offer, the best first."),
    Key("timeout", "timeout", SECONDS, "30s", "How long it may take to connect and to finish the handshake."),
    Key("bind-address", "bindAddress", TEXT, "any", "The address of ours to connect from."),
    Key("endpoint", "endpoint", TEXT, "tcp: to host and port", "A client endpoint string to run TLS over."),
    Key(
        "via",
        "via",
        VIA,
        "none",
        "A proxy to go through: `http://[user@]host:port`, asked to CONNECT, or `socks5://[user@]host:port`. It is the "
        "proxy that looks up the server's name. Needs mytls[via].",
    ),
    Key(
        "via-password-file",
        "viaPasswordFile",
        PATH,
        "",
        "A file whose first line is the password of the user there; `env:NAME` is an environment variable.",
    ),
    Key("min-version", "minVersion", VERSION, "TLSv1.2", "The oldest TLS version."),
    Key("max-version", "maxVersion", VERSION, "TLSv1.3", "The newest TLS version."),
    Key("rego", "rego", PATH, "", "A policy of Open Policy Agent that is asked of the server too. Needs mytls[rego]."),
    Key("rego-query", "regoQuery", TEXT, "data.mytls.allow", "What to ask that policy; its answer has to be true."),
)

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
        made = cls(**{_field(name): value for name, value in said.items()})
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
    @ivar wrote: how the user wrote each key
    """

    endpoint: str
    base: HostSettings = HostSettings()
    hosts: tuple[HostSettings, ...] = ()
    directory: str | None = None
    unknown_name: str | None = None
    wrote: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    proxy_protocol: tuple[Network | str, ...] = ()

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
        made = cls(endpoint, base, tuple(hosts), directory, said.get("unknown-name"), wrote, proxies)
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
    @ivar quiet: what has no line in the log
    @ivar reload_interval: seconds between two looks at the files; 0 is never
    @ivar keylog: the file for the secrets of every connection, or None
    @ivar on_reload: `keep` or `close` the connections of clients who may not enter any more
    @ivar unsafe_plaintext: whether plaintext may go over a network
    @ivar backend: how the handler that is made from these deals with its backends: it is that of one host
    @ivar wrote: how the user wrote the keys of L{GLOBAL_KEYS}, by their words
    """

    listeners: tuple[ListenerSettings, ...] = ()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()
    reload_interval: float = 10.0
    quiet: tuple[str, ...] = ()
    keylog: str | None = None
    on_reload: str = "keep"
    unsafe_plaintext: bool = False
    backend: BackendSettings = BackendSettings()
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
            quiet=said.get("log-quiet", self.quiet),
            keylog=said.get("keylog", self.keylog),
            on_reload=said.get("reload-on-reload", self.on_reload),
            unsafe_plaintext=said.get("unsafe-plaintext", self.unsafe_plaintext),
            wrote={**self.wrote, **{word: f"--{word}" for word in said}},
        )
