"""
Which client certificates may enter.

    access = Access.of(["cn=build", "uri=spiffe://example/**"], ["serial=0A:1B"])
    access.refusal(identity)  # None, or why not

The chain is verified before; here is decided who of those that the CA vouches for is meant. A certificate enters when
any `allow` rule matches and no `deny` rule does, so no `allow` rule lets nobody in. Rules are compared with the
certificate's parsed attributes, never with a name as text: what a CA lets somebody write into a name cannot look like
another attribute.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

from mytls.errors import ConfigurationError, Troubles, nearest, one_line, quoted, visible
from mytls.guards.uris import leads_astray, spelled
from mytls.names import asked_name, host_name, parent
from mytls.peer import ADDRESSES, PINS, Identity
from mytls.settings import HostSettings

_Matches = Callable[[Identity], bool]


@attrs.frozen
class Rule:
    """
    Who is meant.

    @ivar written: as the user wrote it
    @ivar matches: whether a certificate is
    """

    written: str
    matches: _Matches = attrs.field(eq=False, repr=False)

    @classmethod
    def of(cls, written: str) -> Rule:
        """@raise ConfigurationError: it is no rule; the text does not repeat it"""
        word, _, value = written.partition("=")
        if word not in _WORDS:
            hint = nearest(word.lower(), _WORDS)
            raise ConfigurationError(
                f"there is no rule {quoted(word)}{hint}{', as in cn=build' if ':' in hint else ''}"
            )
        parse, expected = _WORDS[word]
        if not (written == "all" if word == "all" else value):
            raise ConfigurationError(f"expected {expected}")
        return cls(written, parse(value))

    def __str__(self) -> str:
        return one_line(self.written)


@attrs.frozen
class Access:
    """
    The rules of one host.

    @ivar allow: any of these may enter
    @ivar deny: none of these may
    """

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, allow: Sequence[str], deny: Sequence[str] = ()) -> Access:
        """
        The rules as a user writes them: `cn=`, `ou=`, `o=`: one of the subject's, exactly; `dns=`: a name, or `*.` in
        place of one label; `uri=`: `*` for one segment of the path, `**` for anything; `email=`; `ip=`: an address or
        a network; `issuer=`: the whole name as RFC 4514 writes it, or, without `=` in it, its CN; `serial=`: hex;
        `spki=sha256:BASE64`; `all`.

        @raise ConfigurationError: one line, which names the rule that is wrong
        """
        return cls.of_host(HostSettings(allow=tuple(allow), deny=tuple(deny)))

    @classmethod
    def of_host(cls, settings: HostSettings) -> Access:
        """The same from settings, whose errors say where the user wrote it."""
        troubles = Troubles()
        allow = _rules(settings, "allow", settings.allow, troubles)
        deny = _rules(settings, "deny", settings.deny, troubles)
        if settings.pinned:
            _refuse_inventions(settings, deny, troubles)
        troubles.tell()
        return cls(allow, deny)

    def refusal(self, shown: Identity) -> str | None:
        """Why who shows this may not enter, in a few words for the log; None where it may."""
        astray = self._astray(shown)
        if astray is not None and any(map(_is_uri, self.deny)):
            return astray
        for rule in self.deny:
            if rule.matches(shown):
                return f"deny {rule} matches {shown.shown()}"
        if any(rule.matches(shown) for rule in self.allow):
            return None
        if not self.allow:
            return f"there is no allow rule: {shown.shown()}"
        pins = f" spki={shown.spki[0]}" if all(rule.written.startswith("spki=") for rule in self.allow) else ""
        return astray or f"no allow rule matches {shown.shown()}{pins}"

    def _astray(self, shown: Identity) -> str | None:
        """That one of its URIs is read by some as another, if any rule is about URIs."""
        if not any(map(_is_uri, (*self.deny, *self.allow))):
            return None
        found = next((each for each in shown.uri if leads_astray(each)), None)
        return None if found is None else f"the certificate's URI leads nowhere certain: {visible(found)}"

    @property
    def rules(self) -> tuple[str, ...]:
        """Each rule as written, with what it does: `allow cn=build`."""
        return (*(f"allow {rule}" for rule in self.allow), *(f"deny {rule}" for rule in self.deny))

    def __str__(self) -> str:
        return ", ".join(self.rules) or "nobody"


def _is_uri(rule: Rule) -> bool:
    return rule.written.startswith("uri=")


def _rules(settings: HostSettings, key: str, written: tuple[str, ...], troubles: Troubles) -> tuple[Rule, ...]:
    """@param troubles: takes those that are wrong"""
    rules = []
    for each in written:
        try:
            rules.append(Rule.of(each))
        except ConfigurationError as error:
            troubles.add([settings.wrong(key, each, str(error))])
    return tuple(rules)


def _refuse_inventions(settings: HostSettings, deny: tuple[Rule, ...], troubles: Troubles) -> None:
    """Where keys alone are known, all else in a certificate is what its owner has made up, and makes up anew."""
    for each in deny:
        if not each.written.startswith("spki="):
            trouble = "of no use beside allow by spki= alone: who has the key writes all else himself; expected spki="
            troubles.add([settings.wrong("deny", each.written, trouble)])


# --- the subject and the issuer


def _cn(wanted: str) -> _Matches:
    return lambda shown: wanted in shown.cn


def _ou(wanted: str) -> _Matches:
    return lambda shown: wanted in shown.ou


def _o(wanted: str) -> _Matches:
    return lambda shown: wanted in shown.o


#: OpenSSL's words for attributes that RFC 4514 has none for.
_MORE_ATTRIBUTES = {"emailAddress": NameOID.EMAIL_ADDRESS, "serialNumber": NameOID.SERIAL_NUMBER}


def _issuer(wanted: str) -> _Matches:
    if "=" not in wanted:
        return lambda shown: any(
            each.value == wanted for each in shown.certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        )
    try:
        name = x509.Name.from_rfc4514_string(wanted, _MORE_ATTRIBUTES)
    except ValueError:
        raise ConfigurationError(
            "expected the CN of a CA, or its name as `openssl x509 -noout -subject -nameopt RFC2253` prints it"
        ) from None
    return lambda shown: shown.certificate.issuer == name


# --- alternative names


def _dns(wanted: str) -> _Matches:
    """RFC 9525 section 6.3. A wildcard of the client's own stands for itself alone."""
    name = host_name(wanted)
    return lambda shown: any(name in _covering(each) for each in shown.named(x509.DNSName))


def _covering(shown: str) -> tuple[str, ...]:
    """The rules that one name of a certificate falls under."""
    wildcard = shown.startswith("*.")
    name = asked_name(shown.removeprefix("*.").encode("utf-8"))
    if name is None:
        return ()
    return (f"*.{name}",) if wildcard else (name, parent(name))


_STARS = re.compile(r"(\*+)")
_WILD = {"*": "[^/?#]+", "**": ".*"}


def _uri(wanted: str) -> _Matches:
    parts = spelled(wanted)
    if parts is None:
        raise ConfigurationError("expected a URI with its scheme, as in uri=spiffe://example/ns/*/sa/build")
    place, path = parts
    if "*" in place:
        raise ConfigurationError("* and ** stand in the path alone, not in a scheme or host")
    if path.count("**") > 1 or any(each.count("*") > 1 + ("**" in each) for each in path.split("/")):
        raise ConfigurationError("** may stand once, and one of the two in a segment")
    pattern = re.compile("".join(_WILD.get(each) or re.escape(each) for each in _STARS.split(path)), re.DOTALL)

    whole = "*" not in path

    def matches(shown: Identity) -> bool:
        found = (spelled(each) for each in shown.uri if whole or not leads_astray(each))
        return any(each is not None and each[0] == place and pattern.fullmatch(each[1]) for each in found)

    return matches


def _email(wanted: str) -> _Matches:
    """RFC 5280 section 7.5: the local part exactly, the domain as a host name."""
    local, _, domain = wanted.rpartition("@")
    if not local or domain.startswith("*."):
        raise ConfigurationError("expected a mailbox, as in email=ann@example.com")
    mailbox = local, host_name(domain)
    return lambda shown: any(_mailbox(each) == mailbox for each in shown.named(x509.RFC822Name))


def _mailbox(shown: str) -> tuple[str, str | None]:
    local, _, domain = shown.rpartition("@")
    return local, asked_name(domain.encode("utf-8"))


def _ip(wanted: str) -> _Matches:
    """
    An IPv4 address has four octets in a certificate (RFC 5280 section 4.2.1.6). One of IPv6 that maps one of IPv4 is
    another address, and is under rules of IPv6 alone.
    """
    try:
        if "%" in wanted:  # a zone is of one machine, and of no certificate
            raise ValueError
        network = ipaddress.ip_network(wanted)
    except ValueError:
        raise ConfigurationError("expected an address such as 192.0.2.7, or a network such as 2001:db8::/32") from None

    def matches(shown: Identity) -> bool:
        values = (each.value for each in shown.names if isinstance(each, x509.IPAddress))
        return any(value in network for value in values if isinstance(value, ADDRESSES))

    return matches


# --- serial number and key


def _serial(wanted: str) -> _Matches:
    if not re.fullmatch(r"-?([0-9A-Fa-f]{1,42}|[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{2}){1,20})", wanted):
        raise ConfigurationError("expected hex digits, with colons or without, as in serial=0A:1B")
    number = int(wanted.replace(":", ""), 16)
    return lambda shown: shown.certificate.serial_number == number


def _spki(wanted: str) -> _Matches:
    """A pin of the key, as RFC 7469 section 2.4 makes it: a hash of the SubjectPublicKeyInfo (DER)."""
    name, _, text = wanted.partition(":")
    if not text:
        raise ConfigurationError("expected the name of a hash in front, as in spki=sha256:BASE64")
    if name not in PINS:
        raise ConfigurationError(f"there is no pin with {name!r}{nearest(name, PINS)}")
    try:
        pin = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError("what stands behind the colon is no base64") from None
    size = PINS[name]().digest_size
    if len(pin) != size:
        raise ConfigurationError(f"a {name} pin is base64 of {size} bytes, and these are {len(pin)}")
    return lambda shown: PINS[name](shown.key).digest() == pin


def _everybody(_: str) -> _Matches:
    return lambda shown: True


_WORDS: dict[str, tuple[Callable[[str], _Matches], str]] = {
    "cn": (_cn, "cn=TEXT"),
    "ou": (_ou, "ou=TEXT"),
    "o": (_o, "o=TEXT"),
    "dns": (_dns, "dns=NAME"),
    "uri": (_uri, "uri=URI"),
    "email": (_email, "email=MAILBOX"),
    "ip": (_ip, "ip=ADDRESS"),
    "issuer": (_issuer, "issuer=NAME"),
    "serial": (_serial, "serial=HEX"),
    "spki": (_spki, "spki=sha256:BASE64"),
    "all": (_everybody, "all, without a value"),
}
