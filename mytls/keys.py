"""
What a user can say, once: every key's name, kind, default and one sentence.

The command line, the endpoint string, the file, the error texts and the reference page are all made from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mytls.destinations import REMOTE_PORT, SECONDS, SERVER, VIA
from mytls.errors import ConfigurationError
from mytls.kinds import (
    ALLOWED,
    AUTHORITIES,
    BOUND,
    COUNT,
    DENIED,
    DEPTH,
    DURATION,
    FOLDER,
    HANDLER,
    HEALTH,
    IDENTITIES,
    LOG,
    NAME,
    NAMES,
    NETWORKS,
    PATH,
    PATHS,
    PORT,
    PORTS,
    PROTOCOLS,
    PROXIES,
    REVOCATIONS,
    ROOTS,
    SIZE,
    TEXT,
    TRUTH,
    VERSION,
    WORDS,
    WORKERS,
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
    Key("backlog", "backlog", COUNT, "512", "How many connections the system keeps waiting to be accepted."),
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

#: What can be done about who comes beyond a limit.
AT_LIMIT = choice("refuse", "wait")

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
        "max-connections",
        "maxConnections",
        BOUND,
        "no limit of its own",
        "How many connections this listener has at the same time.",
        "1000",
    ),
    Key(
        "at-limit",
        "atLimit",
        AT_LIMIT,
        "as for all listeners together",
        "What becomes of who comes beyond its limit: `refuse`, or `wait` until there is room.",
        '"wait"',
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
            "workers",
            "workers",
            WORKERS,
            "1",
            "How many processes serve; `auto` is one for each core. From 2 on, one more looks after them.",
            '"auto"',
        ),
        Key(
            "core-dumps",
            "core-dumps",
            choice("on", "off"),
            "on",
            "Whether a process that crashes leaves a core, with the keys in it; `off` holds for its programs too.",
        ),
        Key(
            "sandbox",
            "sandbox",
            TRUTH,
            "false",
            "Once it listens, let the process reach only the files and TCP ports that the configuration names. Needs "
            "mytls[landlock].",
        ),
        Key(
            "sandbox-read",
            "sandbox-read",
            PATHS,
            "",
            "Files and folders besides that handlers may read there.",
            '["/srv/app/templates"]',
        ),
        Key(
            "sandbox-write",
            "sandbox-write",
            PATHS,
            "",
            "Files and folders besides that they may read and write.",
            '["/var/lib/app"]',
        ),
        Key(
            "sandbox-connect",
            "sandbox-connect",
            PORTS,
            "",
            "TCP ports besides that they may connect to, on any machine.",
            "[5432]",
        ),
        Key(
            "unsafe-status",
            "unsafe-status",
            TRUTH,
            "false",
            "Let the status service listen elsewhere than on loopback or a UNIX socket without client certificates.",
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
        Key(
            "idle",
            "deadlines-idle",
            DURATION,
            "1h",
            "How long a connection may be silent, both ways together.",
        ),
        Key(
            "lifetime",
            "deadlines-lifetime",
            DURATION,
            "0",
            "How long a connection may last, give or take a tenth, so that not all end at once.",
        ),
        Key(
            "drain",
            "deadlines-drain",
            DURATION,
            "30s",
            "How long connections may go on when the service stops; then they are cut. 0 is for ever.",
        ),
        Key("policy", "deadlines-policy", DURATION, "5s", "How long a policy may take to answer; then it is a no."),
    ),
    "limits": (
        Key(
            "max-connections",
            "limits-max-connections",
            BOUND,
            "0",
            "How many connections there are at the same time, on all listeners together; 0: as the limit of open files "
            "allows.",
            "10000",
        ),
        Key(
            "max-connections-per-address",
            "limits-max-connections-per-address",
            BOUND,
            "0",
            "How many of them from one address; IPv6 addresses count by their /64. 0 is no limit, here and below.",
            "100",
        ),
        Key(
            "max-handshakes",
            "limits-max-handshakes",
            BOUND,
            "0",
            "How many of them have not finished their handshake.",
            "1000",
        ),
        Key(
            "accepts-per-second",
            "limits-accepts-per-second",
            BOUND,
            "0",
            "How many connections are accepted each second; twice as many at once after a quiet time.",
            "1000",
        ),
        Key(
            "accepts-per-second-per-address",
            "limits-accepts-per-second-per-address",
            BOUND,
            "0",
            "The same for each address.",
            "10",
        ),
        Key(
            "handshakes-per-second",
            "limits-handshakes-per-second",
            BOUND,
            "0",
            "How many handshakes are begun each second, in the same way: who says nothing costs none.",
            "500",
        ),
        Key(
            "handshakes-per-second-per-address",
            "limits-handshakes-per-second-per-address",
            BOUND,
            "0",
            "The same for each address.",
            "5",
        ),
        Key(
            "at-limit",
            "limits-at-limit",
            AT_LIMIT,
            "refuse",
            "What becomes of who comes beyond the limits of all connections: `refuse`, or `wait` until there is room.",
        ),
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
            "format",
            "log-format",
            choice("text", "json"),
            "text",
            "How the lines of connections look: for people, or for machines.",
        ),
        Key(
            "to",
            "log-to",
            LOG,
            "twistd",
            "Where those lines go: `twistd` is its log; `file:PATH`, `syslog` or `journal` have them alone.",
            '"file:access.log"',
        ),
        Key(
            "rotate",
            "log-rotate",
            SIZE,
            "0",
            "The size at which that file is renamed to .1 and a new one begun; 0 is never.",
            '"100MiB"',
        ),
        Key("keep", "log-keep", COUNT, "10", "How many of the renamed files are kept."),
        Key(
            "repeats",
            "log-repeats",
            BOUND,
            "10",
            "How many failures of one cause have a line each in a minute; the others are summed up in one. `off`: all.",
            "100",
        ),
        Key(
            "quiet",
            "log-quiet",
            choice(*QUIET, many=True),
            "",
            f"What has no line in the log: any of {', '.join(QUIET)}.",
            '["health-checks"]',
        ),
    ),
    "status": (
        Key(
            "endpoint",
            "status",
            TEXT,
            "",
            "Where the status service listens, with metrics and a page: a server endpoint string.",
            '"tcp:9443:interface=127.0.0.1"',
        ),
    ),
}

#: The options of `twistd mytls` that have a value, but for --endpoint, --handler and --config.
OPTION_KEYS = tuple(key for keys in GLOBAL_KEYS.values() for key in keys)

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
    Key(
        "starttls",
        "starttls",
        choice("smtp", "imap", "pop3", "sieve", "postgres", "ldap", "xmpp"),
        "none",
        "The protocol that the server speaks in the clear until it is asked for TLS, which it has to agree to.",
    ),
    Key("min-version", "minVersion", VERSION, "TLSv1.2", "The oldest TLS version."),
    Key("max-version", "maxVersion", VERSION, "TLSv1.3", "The newest TLS version."),
    Key("rego", "rego", PATH, "", "A policy of Open Policy Agent that is asked of the server too. Needs mytls[rego]."),
    Key("rego-query", "regoQuery", TEXT, "data.mytls.allow", "What to ask that policy; its answer has to be true."),
)
