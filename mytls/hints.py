"""
Why there was no handshake, for an operator: what its cause hints at, given what the client has sent and whom it met.

A hint is one sentence, or empty where the failure's own words say all. It is made for each failure, and a stranger
chooses how many there are: it looks nothing up that is not in memory, and takes no longer for ten thousand hosts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from itertools import islice

from mytls.circumstances import Circumstances as Circumstances
from mytls.circumstances import chain_of, keys_of, listed, versions_of
from mytls.errors import Cause, one_line, visible
from mytls.names import asked_name, parent

#: How long a hint may be.
_LONGEST = 400
#: In how many names the nearest is looked for, and how many of them are compared letter by letter.
_LOOKED_AT, _COMPARED = 200, 12


def hint(about: Circumstances) -> str:
    """What an operator may look at; a sentence without its end, or nothing."""
    say = _HINTS.get(about.failure.cause)
    return "" if say is None else one_line(say(about))[:_LONGEST]


def ended_by(cause: Cause) -> str:
    """Which side has ended it: `client` or `server`."""
    return "client" if cause in (Cause.PEER_ALERT, Cause.EOF, Cause.RESET) else "server"


# --- what was no TLS


#: How other protocols begin, each with what it is.
_BEGINNINGS = (
    (rb"SSH-", "an SSH client, on a port of TLS"),
    (
        rb"(?i:EHLO|HELO|LHLO) ",
        "an SMTP client that would say STARTTLS: starttls=smtp serves it, or give it a TLS port",
    ),
    (rb"(?i:STARTTLS)\b", "a mail client that says STARTTLS: starttls= serves it, or set it to TLS from the start"),
    (rb"(?i:STLS|CAPA|USER)\b", "a POP3 client in the clear: starttls=pop3 serves it, or set it to TLS from the start"),
    (
        rb"[A-Za-z0-9.]{1,16} (?i:STARTTLS|CAPABILITY|LOGIN)\b",
        "an IMAP client in the clear: starttls=imap serves it, or set it to TLS from the start",
    ),
    (rb"<\?xml|<stream", "an XMPP client in the clear: starttls=xmpp serves it, or set it to direct TLS"),
    (
        rb"\0\0\0\x08\x04\xd2\x16[\x2f\x30]",
        "a PostgreSQL client that asks for encryption first: starttls=postgres serves it, or sslnegotiation=direct",
    ),
    (rb"\x30[\x0c-\x84]", "perhaps an LDAP client: starttls=ldap serves those that ask for TLS, or give it ldaps://"),
    (rb"\x03\0\0", "a client of Remote Desktop"),
    (rb"[\x04\x05][\x01-\x0a]", "perhaps a SOCKS client: this is no proxy"),
    (rb"\x13BitTorrent", "a BitTorrent client"),
    (rb"\*[0-9]+\r\n", "a Redis client in the clear: set it to TLS"),
)
_KNOWN_BEGINNINGS = tuple((re.compile(pattern), words) for pattern, words in _BEGINNINGS)


def _of_other_protocols(about: Circumstances) -> str:
    for pattern, words in _KNOWN_BEGINNINGS:
        if pattern.match(about.first):
            return words
    return "the client speaks another protocol, or TLS is not switched on in it"


def _of_http(about: Circumstances) -> str:
    return "the client was given http:// where https:// is due, or a proxy in front takes TLS off"


def _of_headers(about: Circumstances) -> str:
    if "where a ClientHello was due" in about.failure.detail:
        return "if this address is your load balancer, name it in proxy-protocol; if not, nobody should send one"
    return (
        "who connects from there is in proxy-protocol and has to send the header first: switch it on at that proxy "
        "(send-proxy), or take the address out"
    )


def _of_hellos(about: Circumstances) -> str:
    return "a scanner, or a client whose TLS is broken: nothing to be set here"


# --- nothing in common


def _of_versions(about: Circumstances) -> str:
    if about.hello is None:
        return "SSL 2 is what scanners send, and programs of before 2005"
    served = versions_of(about.host)
    here = f", and {served} is served" if served else ""
    offered = about.offer.versions
    only = f"{offered[0]} only" if len(offered) == 1 else f"only {', '.join(offered)}"
    if offered and max(map(_age, offered)) > _age("TLSv1.2"):
        return f"the client offers {only}{here}: look at min-version, max-version and profile"
    return f"the client offers {only}{here}: update it; min-version, or profile=old for TLS 1.0 and 1.1, lets it in"


def _age(version: str) -> str:
    return "" if version.startswith("SSL") else version


#: Suites of TLS 1.2 and before, by the kind of key that signs (RFC 5246, 5289, 7905): those for ECDSA.
_ECDSA = {*range(0xC001, 0xC00B), *range(0xC023, 0xC027), *range(0xC02B, 0xC02F), *range(0xC0AC, 0xC0B0), 0xCCA9}
#: Those of TLS 1.3, which go with all keys, and those that are none: signals, GREASE.
_WITH_ALL = range(0x1301, 0x1400)


def _of_ciphers(about: Circumstances) -> str:
    hello, host = about.hello, about.host
    if hello is None:
        return ""
    if "group" in about.failure.detail or "key share" in about.failure.detail:
        return f"the client's groups are {listed(about.offer.groups)}: look at groups"
    if "signature" in about.failure.detail:
        return f"the client cannot verify a signature of our key ({keys_of(host)}): add a certificate of another kind"
    old = [each for each in hello.cipher_suites if each not in _WITH_ALL and each & 0x0F0F != 0x0A0A]
    keys = keys_of(host)
    if keys == "ECDSA" and old and not _ECDSA & {*old}:
        return "the client knows RSA certificates alone, and ours is ECDSA: add one with an RSA key to certificate"
    if keys == "RSA" and old and {*old} - {0x00FF, 0x5600} <= _ECDSA:
        return "the client knows ECDSA certificates alone, and ours is RSA: add one with an ECDSA key to certificate"
    return "the client is old, or its suites were chosen too narrowly: look at ciphers, ciphersuites and profile"


def _of_protocols(about: Circumstances) -> str:
    host = about.host
    ours = [visible(each, 40) for each in (host.alpn if host else ())]
    served = f"alpn has {listed(ours)}" if ours else "the handler has a list of its own"
    return f"the client offers {listed([visible(each, 40) for each in about.offer.alpn])}, and {served}"


# --- names


def _of_names(about: Circumstances) -> str:
    hello = about.hello
    if hello is None:
        return ""
    if hello.server_name is None:
        return "clients that connect to an address send no name, and scanners: unknown-name=NAME gives them a host"
    name = asked_name(hello.server_name)
    if name is None:
        return "that can be no host's name: a scanner, or an address where a name is due"
    if about.host is not None:
        return "a client that resumes a session under another name has to begin a new one"
    known = {} if about.hosts is None else about.hosts.by_name
    some = list(islice(known, _LOOKED_AT))
    as_long = [each for each in some if abs(len(each) - len(name)) <= 2]
    near = difflib.get_close_matches(name, as_long[:_COMPARED], n=1, cutoff=0.7)
    here = f"did the client mean {near[0]}? " if near else ""
    here += f"the names here are {listed(some, len(known))}"
    return f"{here}: add it to names, or say who answers by unknown-name"


# --- certificates of clients


def _of_no_certificate(about: Circumstances) -> str:
    return "client-auth=required: give the client a certificate and its key, or say client-auth=optional"


def _of_strange_certificates(about: Circumstances) -> str:
    if "key is too weak" in about.failure.detail or "digest" in about.failure.detail:
        return "issue the client a certificate with a stronger key or signature"
    return (
        "client-ca lacks the CA that has issued it, or the client does not send its intermediate: append the one to "
        "client-ca, or the other to the client's certificate file"
    )


def _of_revoked(about: Circumstances) -> str:
    if "cannot be told" in about.failure.detail:
        return "bring a current list of that CA to crl; stale-crl=accept goes on with an old one"
    return "somebody uses a certificate that was revoked: find out who"


def _of_rules(about: Circumstances) -> str:
    if about.failure.detail.startswith("deny "):
        return "that is what deny is for; if not, take the rule out"
    if about.failure.detail.startswith("there is no allow rule"):
        return "nobody enters without an allow rule: say whom, or allow=all"
    rules = about.host.settings.allow if about.host else ()
    return f"allow has {listed([visible(each, 60) for each in rules])}: add a rule for it" if rules else "look at allow"


# --- who has gone


def _of_alerts(about: Circumstances) -> str:
    detail = about.failure.detail.casefold()
    for word, say in _ALERTS:
        if word in detail:
            return say(about)
    return "the client has ended it; its own log says why"


def _of_trust(about: Circumstances) -> str:
    return f"the client does not trust our CA: {chain_of(about.host)}"


def _of_refusal(about: Circumstances) -> str:
    amiss = _amiss(about)
    return f"the client does not accept our certificate: {amiss or chain_of(about.host)}"


def _amiss(about: Circumstances) -> str:
    """The certificate is for other names than the one asked for (RFC 9525 section 6.3)."""
    name = asked_name(about.hello.server_name) if about.hello and about.hello.server_name else None
    names = [each for pair in (about.host.pairs if about.host else ()) for each in pair.names]
    if name is None or not names or name in names or parent(name) in names:
        return ""
    return f"it asks for {visible(name)}, and that is for {listed(names)}"


def _of_dates(about: Circumstances) -> str:
    dates = [pair.certificate.not_valid_after_utc for pair in (about.host.pairs if about.host else ())]
    if not dates:
        return "to the client our certificate has expired: renew it, or set the client's clock right"
    return f"our certificate is valid until {min(dates):%Y-%m-%d}: renew it, or set the client's clock right"


def _of_wanted_versions(about: Circumstances) -> str:
    served = versions_of(about.host)
    return f"the client speaks none of our versions{f', {served}' if served else ''}: look at max-version, or update it"


_ALERTS: tuple[tuple[str, Callable[[Circumstances], str]], ...] = (
    ("unknown ca", _of_trust),
    ("alert 48 ", _of_trust),
    ("bad certificate status", lambda about: "the client does not accept our OCSP response: look at ocsp"),
    ("bad certificate", _of_refusal),
    ("alert 42 ", _of_refusal),
    ("certificate unknown", _of_refusal),
    ("certificate expired", _of_dates),
    ("certificate revoked", lambda about: "to the client our certificate is revoked: renew it"),
    ("unsupported certificate", lambda about: f"the client cannot use our kind of certificate: {keys_of(about.host)}"),
    ("certificate required", lambda about: "that is a server's alert: the client is one, or broken"),
    ("protocol version", _of_wanted_versions),
    ("insufficient security", lambda about: "to the client our suites, groups or keys are too weak: look at profile"),
    (
        "handshake failure",
        lambda about: "the client finds nothing in common: its suites, groups or kinds of certificate",
    ),
    ("no application protocol", _of_protocols),
    ("unrecognized name", _of_names),
    (
        "decrypt error",
        lambda about: "our signature is wrong to the client: another key signs, or somebody is in between",
    ),
    (
        "inappropriate fallback",
        lambda about: "the client tries an older version after a failure: look at the first one",
    ),
    ("user canceled", lambda about: "whoever uses the client has not gone on"),
    ("internal error", lambda about: "a fault of the client's own: its log says more"),
    ("access denied", lambda about: "the client has a rule against us: its log says which"),
    ("close_notify", lambda about: "the client has changed its mind"),
)


def _of_leaving(about: Circumstances) -> str:
    if about.hello is not None:
        return (
            f"some clients leave so where they do not trust the certificate ({chain_of(about.host)}), browsers also "
            "where they need no second connection; a firewall may do it too"
        )
    if about.first:
        return (
            "the client has left in the middle of its first message: a scanner, or a network that loses large packets"
        )
    return "somebody has looked whether the port is open: a health check or a port scan"


def _of_slowness(about: Circumstances) -> str:
    if about.hello is not None:
        host = about.host
        if host is not None and host.settings.client_auth != "off":
            return "perhaps somebody is still choosing a client certificate: deadlines.handshake says how long they may"
        return "the client has fallen silent after our answer: a slow network, or one that loses large packets"
    if about.first:
        return "it has begun and not gone on: a slow or hostile client, or a network that loses large packets"
    return "it has said nothing: a client that waits for a greeting (is it plain SMTP, IMAP, MySQL?), or a scanner"


def _of_limits(about: Circumstances) -> str:
    if "too many open files" in about.failure.detail:
        return "raise the limit of open files (ulimit -n; LimitNOFILE= of systemd), or find out who connects so often"
    return "raise it in limits, or find out who connects so often"


_HINTS: dict[Cause, Callable[[Circumstances], str]] = {
    Cause.NOT_TLS: _of_other_protocols,
    Cause.PLAIN_HTTP: _of_http,
    Cause.PROXY_HEADER: _of_headers,
    Cause.BAD_HELLO: _of_hellos,
    Cause.OLD_VERSION: _of_versions,
    Cause.NO_COMMON_CIPHER: _of_ciphers,
    Cause.NO_ALPN: _of_protocols,
    Cause.UNKNOWN_NAME: _of_names,
    Cause.NO_CERTIFICATE: _of_no_certificate,
    Cause.UNKNOWN_CA: _of_strange_certificates,
    Cause.EXPIRED: lambda about: "issue the client a new certificate, and look at the clocks",
    Cause.NOT_YET_VALID: lambda about: "one of the clocks is wrong: the client's CA's, or ours",
    Cause.REVOKED: _of_revoked,
    Cause.WRONG_USAGE: lambda about: "issue the client a certificate with the extended key usage clientAuth",
    Cause.NOT_ALLOWED: _of_rules,
    Cause.POLICY: lambda about: "the policy has decided so, or has not answered in deadlines.policy",
    Cause.FROM: lambda about: "the address is of no network in from: add it, if it should be",
    Cause.PEER_ALERT: _of_alerts,
    Cause.EOF: _of_leaving,
    Cause.RESET: _of_leaving,
    Cause.HANDSHAKE_TIMEOUT: _of_slowness,
    Cause.HANDLER: lambda about: "a fault on our side: the traceback above says where",
    Cause.LIMIT: _of_limits,
    Cause.RATE: _of_limits,
}
