"""
Which client certificates may enter.

    access = Access.of(["cn=build", "uri=spiffe://example/**"], ["serial=0A:1B"])
    access.refusal(certificate)  # None, or why not

The chain is verified before; here is decided who of those that the CA vouches for is meant. A certificate enters when
any `allow` rule matches and no `deny` rule does, so no `allow` rule lets nobody in. Rules are compared with the
certificate's parsed attributes, never with a name as text: what a CA lets somebody write into a name cannot look like
another attribute. A certificate that does not parse is refused, also where `all` may enter: a `deny` rule
could not be trusted to see it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from mytls.errors import ConfigurationError, Troubles, nearest, one_line, visible
from mytls.names import asked_name, host_name, parent
from mytls.settings import HostSettings

#: How much of each of a refused client's names is in the log.
_SHOWN = 64

_UNPARSED = (
    ValueError,
    TypeError,
    KeyError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@attrs.frozen
class _Shown:
    """What a certificate says, parsed whole, so that no rule meets a part of it that does not parse."""

    certificate: x509.Certificate
    subject: x509.Name
    issuer: x509.Name
    alternatives: tuple[x509.GeneralName, ...]
    key: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> _Shown:
        extensions = certificate.extensions
        try:
            names = tuple(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = ()
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(certificate, certificate.subject, certificate.issuer, names, key)

    def named(self, kind: type[x509.GeneralName]) -> Iterator[str]:
        """The text of its alternative names of one kind."""
        return (each.value for each in self.alternatives if isinstance(each, kind))


_Matches = Callable[[_Shown], bool]


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
            raise ConfigurationError(f"there is no rule {word!r}{nearest(word.lower(), _WORDS)}")
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
        troubles.tell()
        return cls(allow, deny)

    def refusal(self, certificate: x509.Certificate) -> str | None:
        """Why this certificate may not enter, in a few words for the log; None where it may."""
        try:
            shown = _Shown.of(certificate)
        except _UNPARSED as error:
            return f"the certificate does not parse: {type(error).__name__}"
        if any(rule.written.startswith("uri=") for rule in (*self.deny, *self.allow)):
            dotted = next((each for each in shown.named(x509.UniformResourceIdentifier) if _DOTS.match(each)), None)
            if dotted is not None:
                return f"the certificate's URI leads nowhere certain: {visible(dotted, _SHOWN)}"
        for rule in self.deny:
            if rule.matches(shown):
                return f"deny {rule} matches {_who(shown)}"
        if any(rule.matches(shown) for rule in self.allow):
            return None
        return f"no allow rule matches {_who(shown)}" if self.allow else "there is no allow rule, so nobody may enter"

    @property
    def rules(self) -> tuple[str, ...]:
        """Each rule as written, with what it does: `allow cn=build`."""
        return (*(f"allow {rule}" for rule in self.allow), *(f"deny {rule}" for rule in self.deny))

    def __str__(self) -> str:
        return ", ".join(self.rules) or "nobody"


def _rules(settings: HostSettings, key: str, written: tuple[str, ...], troubles: Troubles) -> tuple[Rule, ...]:
    """@param troubles: takes those that are wrong"""
    rules = []
    for each in written:
        try:
            rules.append(Rule.of(each))
        except ConfigurationError as error:
            troubles.add([settings.wrong(key, each, str(error))])
    return tuple(rules)


def _who(shown: _Shown) -> str:
    """Whom the certificate names, one name of each kind."""
    names: dict[str, Sequence[str | bytes]] = {
        "cn": _values(shown.subject, NameOID.COMMON_NAME),
        "dns": list(shown.named(x509.DNSName)),
        "uri": list(shown.named(x509.UniformResourceIdentifier)),
        "email": list(shown.named(x509.RFC822Name)),
    }
    found = [f"{word}={visible(values[0], _SHOWN)}" for word, values in names.items() if values]
    return " ".join(found) or f"serial={shown.certificate.serial_number:x}"


# --- the subject and the issuer


def _values(name: x509.Name, oid: ObjectIdentifier) -> list[str | bytes]:
    return [attribute.value for attribute in name.get_attributes_for_oid(oid)]


def _subject(oid: ObjectIdentifier) -> Callable[[str], _Matches]:
    def parse(wanted: str) -> _Matches:
        return lambda shown: wanted in _values(shown.subject, oid)

    return parse


#: OpenSSL's words for attributes that RFC 4514 has none for.
_MORE_ATTRIBUTES = {"emailAddress": NameOID.EMAIL_ADDRESS, "serialNumber": NameOID.SERIAL_NUMBER}


def _issuer(wanted: str) -> _Matches:
    if "=" not in wanted:
        return lambda shown: wanted in _values(shown.issuer, NameOID.COMMON_NAME)
    try:
        name = x509.Name.from_rfc4514_string(wanted, _MORE_ATTRIBUTES)
    except ValueError:
        raise ConfigurationError(
            "expected the CN of a CA, or its name as `openssl x509 -noout -subject -nameopt RFC2253` prints it"
        ) from None
    return lambda shown: shown.issuer == name


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


_URI = re.compile(r"([^:/?#]+):(//[^/?#]*)?(.*)", re.DOTALL)
_STARS = re.compile(r"(\*+)")
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_WILD = {"*": "[^/?#]+", "**": ".*"}
#: A segment `.` or `..` (RFC 3986 section 3.3): whether a rule means the URI with it or without is up to who reads it.
_DOTS = re.compile(r"[^?#]*/(\.|%2E){1,2}([/?#]|\Z)", re.IGNORECASE)


def _uri(wanted: str) -> _Matches:
    spelled = _spelled(wanted)
    if spelled is None:
        raise ConfigurationError("expected a URI with its scheme, as in uri=spiffe://example/ns/*/sa/build")
    place, path = spelled
    if "*" in place:
        raise ConfigurationError("* and ** stand in the path alone, not in a scheme or host")
    if path.count("**") > 1 or any(each.count("*") > 1 + ("**" in each) for each in path.split("/")):
        raise ConfigurationError("** may stand once, and one of the two in a segment")
    pattern = re.compile("".join(_WILD.get(each) or re.escape(each) for each in _STARS.split(path)), re.DOTALL)

    def matches(shown: _Shown) -> bool:
        found = (_spelled(each) for each in shown.named(x509.UniformResourceIdentifier))
        return any(each is not None and each[0] == place and pattern.fullmatch(each[1]) for each in found)

    return matches


def _spelled(uri: str) -> tuple[str, str] | None:
    """
    Scheme and authority, and the rest, in one spelling of what RFC 3986 section 6.2.2.1 holds for the same: scheme and
    host in lower case, the digits of percent-encodings in upper. Nothing is decoded.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    scheme, authority, rest = match[1], match[2] or "", match[3]
    user, at, host = authority.rpartition("@")
    place = f"{scheme.lower()}:{user}{at}{host.lower()}"
    return _ENCODED.sub(_in_upper_case, place), _ENCODED.sub(_in_upper_case, rest)


def _in_upper_case(match: re.Match[str]) -> str:
    return match[0].upper()


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
    try:
        network = ipaddress.ip_network(wanted)
    except ValueError:
        raise ConfigurationError("expected an address such as 192.0.2.7, or a network such as 2001:db8::/32") from None

    def matches(shown: _Shown) -> bool:
        values = (each.value for each in shown.alternatives if isinstance(each, x509.IPAddress))
        return any(value in network for value in values if isinstance(value, _ADDRESSES))

    return matches


_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)


# --- serial number and key


def _serial(wanted: str) -> _Matches:
    if not re.fullmatch(r"[0-9A-Fa-f]{1,42}|[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{2}){1,20}", wanted):
        raise ConfigurationError("expected hex digits, with colons or without, as in serial=0A:1B")
    number = int(wanted.replace(":", ""), 16)
    return lambda shown: shown.certificate.serial_number == number


_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


def _spki(wanted: str) -> _Matches:
    """A pin of the key, as RFC 7469 section 2.4 makes it: a hash of the SubjectPublicKeyInfo (DER)."""
    name, _, text = wanted.partition(":")
    if name not in _HASHES:
        raise ConfigurationError(f"there is no pin with {name!r}{nearest(name, _HASHES)}")
    make = _HASHES[name]
    try:
        pin = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError("what stands behind the colon is no base64") from None
    size = make().digest_size
    if len(pin) != size:
        raise ConfigurationError(f"a {name} pin is base64 of {size} bytes, and these are {len(pin)}")
    return lambda shown: make(shown.key).digest() == pin


def _everybody(_: str) -> _Matches:
    return lambda shown: True


_WORDS: dict[str, tuple[Callable[[str], _Matches], str]] = {
    "cn": (_subject(NameOID.COMMON_NAME), "cn=TEXT"),
    "ou": (_subject(NameOID.ORGANIZATIONAL_UNIT_NAME), "ou=TEXT"),
    "o": (_subject(NameOID.ORGANIZATION_NAME), "o=TEXT"),
    "dns": (_dns, "dns=NAME"),
    "uri": (_uri, "uri=URI"),
    "email": (_email, "email=MAILBOX"),
    "ip": (_ip, "ip=ADDRESS"),
    "issuer": (_issuer, "issuer=NAME"),
    "serial": (_serial, "serial=HEX"),
    "spki": (_spki, "spki=sha256:BASE64"),
    "all": (_everybody, "all, without a value"),
}
