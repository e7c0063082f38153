"""
Mozilla's server-side TLS guidelines, as settings of OpenSSL.

`modern` and `intermediate` are those of version 6.0, which has no `old` and no DHE suites any more. `old` is that of
version 5.8, the last one, with the groups of 6.0; the DHE suites of 5.8 come back where Diffie-Hellman parameters are
given, since OpenSSL uses them with nothing else.

What a host says otherwise takes the place of one part of its profile. OpenSSL passes over names that it does not know,
so each name of a user's is looked at here; a name of a profile's that this OpenSSL does not have is left out.

@see: U{https://ssl-config.mozilla.org/guidelines/6.0.json}
@see: U{https://ssl-config.mozilla.org/guidelines/5.8.json}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL

from mytls.errors import ConfigurationError, Troubles, nearest
from mytls.settings import HostSettings


@attrs.frozen
class Profile:
    """
    What is served.

    @ivar min_version: the oldest version, in the words of C{min-version}
    @ivar max_version: the newest
    @ivar ciphers: cipher suites up to TLS 1.2, as OpenSSL names them
    @ivar ciphersuites: cipher suites of TLS 1.3
    @ivar groups: groups of the key exchange, the best first
    @ivar servers_order: whether the server's order of suites decides, or the client's
    @ivar level: OpenSSL's security level, or None for its own default
    """

    min_version: str
    max_version: str
    ciphers: tuple[str, ...]
    ciphersuites: tuple[str, ...]
    groups: tuple[str, ...]
    servers_order: bool = False
    level: int | None = None


_CIPHERSUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_GROUPS = ("X25519MLKEM768", "X25519", "prime256v1", "secp384r1")
_ECDHE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_DHE = ("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305")
#: A client that has finite-field groups gets no DHE suite where the server has none of them (RFC 7919 section 4).
_FFDHE = ("ffdhe2048", "ffdhe3072")
_OLD = (
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "DHE-RSA-AES128-SHA256",
    "DHE-RSA-AES256-SHA256",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA256",
    "AES256-SHA256",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
)

#: The guidelines, by the words of C{profile}.
PROFILES = {
    "modern": Profile("TLSv1.3", "TLSv1.3", (), _CIPHERSUITES, _GROUPS),
    "intermediate": Profile("TLSv1.2", "TLSv1.3", _ECDHE, _CIPHERSUITES, _GROUPS),
    # Versions before TLS 1.2 sign with MD5 and SHA-1, which OpenSSL does at level 0 alone.
    "old": Profile("TLSv1", "TLSv1.3", (*_ECDHE, *_DHE, *_OLD), _CIPHERSUITES, _GROUPS, servers_order=True, level=0),
}

#: The values of C{sslmethod}, names of C{OpenSSL.SSL} as in Twisted's C{ssl:}, and the newest version that they mean.
METHODS = {"TLS_METHOD": "TLSv1.3", "TLS_SERVER_METHOD": "TLSv1.3", "SSLv23_METHOD": "TLSv1.3",
           "TLSv1_2_METHOD": "TLSv1.2"}  # fmt: skip
_OLD_METHODS = ("SSLv2_METHOD", "SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD")

#: Suites of TLS 1.3 that OpenSSL has at its default level (RFC 8446 appendix B.4).
_ALL_CIPHERSUITES = (*_CIPHERSUITES, "TLS_AES_128_CCM_SHA256")
#: What OpenSSL may have, for spelling. It knows more names of the same: P-256 and secp256r1 are prime256v1.
_ALL_GROUPS = (
    *_GROUPS, "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "secp521r1", "P-256", "P-384", "P-521", "X448",
    "ffdhe2048", "ffdhe3072", "ffdhe4096", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1",
)  # fmt: skip
#: Suites of TLS 1.2 with which a server shows a certificate and encrypts, and which OpenSSL uses at its default level.
_REAL_CIPHERS = b"ALL:!aNULL:!eNULL:!PSK:!SRP:!aDSS:!AESCCM8:!IDEA:!RC4:@SECLEVEL=0"


def profile_of(settings: HostSettings, keys: Iterable[PrivateKeyTypes] = ()) -> Profile:
    """
    What a host serves: its profile, with what it says otherwise.

    @param keys: the host's private keys, where suites have to fit one of them
    @raise ConfigurationError: a name that is none, or settings with which some version could not be served
    """
    troubles = Troubles()
    for check in (_wrong_method, _wrong_ciphers, _wrong_suites, _wrong_groups):
        troubles.add(check(settings))
    troubles.tell()
    named = PROFILES[settings.profile]
    of_method = METHODS[settings.sslmethod] if settings.sslmethod else None
    chosen = attrs.evolve(
        named,
        min_version=settings.min_version or named.min_version,
        max_version=settings.max_version or of_method or named.max_version,
        ciphers=settings.ciphers or (*named.ciphers, *_dhe(settings, named)),
        ciphersuites=settings.ciphersuites or named.ciphersuites,
        groups=settings.groups or (*named.groups, *(_FFDHE if settings.dh_parameters else ())),
    )
    troubles.add((*_unserved(settings, chosen), *_unused(settings, chosen, tuple(keys))))
    troubles.tell()
    return chosen


def apply_to(context: SSL.Context, profile: Profile, level: int | None = None) -> None:
    """
    Set the suites and groups of a context that has not been used.

    @param level: OpenSSL's security level, in place of the profile's
    """
    level = profile.level if level is None else level
    words = [*(profile.ciphers or ("DEFAULT",)), *(() if level is None else (f"@SECLEVEL={level}",))]
    context.set_cipher_list(":".join(words).encode())
    context.set_tls13_ciphersuites(":".join(profile.ciphersuites).encode())
    groups = [group for group in profile.groups if _has_group(group)]
    if groups:
        _set_groups(context, groups)


def has_curve(key: PrivateKeyTypes) -> bool:
    """Whether TLS can be spoken with this key: OpenSSL takes those on other curves too, and then fails each client."""
    return not isinstance(key, EllipticCurvePrivateKey) or _door is None or _has_group(key.curve.name)


# --- versions


def _wrong_method(settings: HostSettings) -> Iterator[ConfigurationError]:
    method = settings.sslmethod
    if method is None:
        return
    if method in _OLD_METHODS:
        yield settings.wrong("sslmethod", method, "versions before TLS 1.2 are not served; leave sslmethod out")
    elif method not in METHODS:
        yield settings.wrong("sslmethod", method, f"no such method{nearest(method, METHODS)}")
    elif settings.min_version or settings.max_version or _says_profile(settings):
        others = f"profile, {settings.spelled('min-version')} or {settings.spelled('max-version')}"
        yield settings.wrong("sslmethod", method, f"it does not go with {others}; leave it out")


def _says_profile(settings: HostSettings) -> bool:
    """Of a file it is not known where it says the default."""
    in_file = "endpoint" in settings.wrote
    return settings.profile != HostSettings().profile or (not in_file and "profile" in settings.wrote)


def _unserved(settings: HostSettings, chosen: Profile) -> Iterator[ConfigurationError]:
    """Each version that is served has suites, and nothing is said of versions that are not served."""
    name, oldest, newest = settings.profile, chosen.min_version, chosen.max_version
    if oldest > newest and settings.max_version:
        yield settings.wrong("max-version", newest, f"older than all that profile {name} serves, which is {oldest} on")
    if oldest < "TLSv1.3" and not chosen.ciphers:
        yield settings.wrong(
            "min-version", oldest, f"profile {name} has no suites for it; expected another profile, or ciphers"
        )
    if oldest == "TLSv1.3" and settings.ciphers:
        yield settings.wrong(
            "ciphers", settings.ciphers[0], "these are for TLS 1.2, which is not served; expected ciphersuites"
        )
    if newest < "TLSv1.3" and settings.ciphersuites:
        yield settings.wrong(
            "ciphersuites", settings.ciphersuites[0], "these are for TLS 1.3, which is not served; expected ciphers"
        )


def _unused(settings: HostSettings, chosen: Profile, keys: Sequence[PrivateKeyTypes]) -> Iterator[ConfigurationError]:
    """What the user says can lead to a handshake."""
    if settings.ciphers and keys and not any(_usable(cipher, settings, keys) for cipher in settings.ciphers):
        kinds = " or ".join(sorted({"RSA" if isinstance(key, RSAPrivateKey) else "ECDSA" for key in keys}))
        yield settings.wrong(
            "ciphers",
            settings.ciphers[0],
            f"none can be used; expected suites for {kinds}, those with DHE need {settings.spelled('dh-parameters')}",
        )
    if settings.groups and not any(_served(group, settings, chosen) for group in settings.groups):
        other = "TLS 1.3" if chosen.max_version < "TLSv1.3" else "TLS 1.2"
        yield settings.wrong(
            "groups", settings.groups[0], f"it is for {other}, which is not served; expected X25519 too"
        )


def _served(group: str, settings: HostSettings, chosen: Profile) -> bool:
    """Whether a version that is served has this group (RFC 8446 section 4.2.7, RFC 8734, RFC 7919)."""
    name = group.upper()
    newer = "MLKEM" in name or name.endswith("TLS13") or (name.startswith("FFDHE") and not settings.dh_parameters)
    older = name.startswith("BRAINPOOL") and not newer
    return not (newer and chosen.max_version < "TLSv1.3") and not (older and chosen.min_version == "TLSv1.3")


def _usable(cipher: str, settings: HostSettings, keys: Sequence[PrivateKeyTypes]) -> bool:
    if cipher.startswith("DHE-") and not settings.dh_parameters:
        return False
    return any(isinstance(key, RSAPrivateKey) != ("-ECDSA-" in cipher) for key in keys)


# --- suites


def _dhe(settings: HostSettings, named: Profile) -> tuple[str, ...]:
    """The DHE suites that parameters for them bring back."""
    return tuple(each for each in _DHE if settings.dh_parameters and named.ciphers and each not in named.ciphers)


def _wrong_ciphers(settings: HostSettings) -> Iterator[ConfigurationError]:
    for name in settings.ciphers:
        if name in _ALL_CIPHERSUITES:
            yield settings.wrong("ciphers", name, "a suite of TLS 1.3; it belongs in ciphersuites")
        elif name not in _known_ciphers():
            yield settings.wrong("ciphers", name, f"OpenSSL has no such suite{_like(name, _known_ciphers())}")


def _wrong_suites(settings: HostSettings) -> Iterator[ConfigurationError]:
    for name in settings.ciphersuites:
        if name in _known_ciphers():
            yield settings.wrong("ciphersuites", name, "a suite of TLS 1.2; it belongs in ciphers")
        elif name not in _ALL_CIPHERSUITES:
            yield settings.wrong("ciphersuites", name, f"TLS 1.3 has no such suite{_like(name, _ALL_CIPHERSUITES)}")


@cache
def _known_ciphers() -> tuple[str, ...]:
    """The suites up to TLS 1.2 that OpenSSL has and that a server can serve, as OpenSSL names them."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(_REAL_CIPHERS)
    return tuple(name for name in SSL.Connection(context).get_cipher_list() if not name.startswith("TLS_"))


def _like(name: str, known: Iterable[str]) -> str:
    """L{nearest}, for those too who write small letters, or a suite's name as the IANA does."""
    spelled = {_folded(each): each for each in known}
    near = get_close_matches(_folded(name), spelled, n=1)
    return nearest(spelled[near[0]] if near else name, spelled.values())


def _folded(name: str) -> str:
    return name.upper().removeprefix("TLS_").replace("_WITH_", "-").replace("_", "-")


# --- groups


def _wrong_groups(settings: HostSettings) -> Iterator[ConfigurationError]:
    if settings.groups and not _door:
        yield settings.wrong("groups", settings.groups[0], "this pyOpenSSL cannot set groups; leave it out")
        return
    for name in settings.groups:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9-]*", name) or name.upper() == "DEFAULT" or not _has_group(name):
            had = [each for each in _ALL_GROUPS if _has_group(each)]
            yield settings.wrong("groups", name, f"OpenSSL has no such group{nearest(name, had)}")


@cache
def _has_group(name: str) -> bool:
    return _set_groups(SSL.Context(SSL.TLS_METHOD), [name])


def _set_groups(context: SSL.Context, names: Sequence[str]) -> bool:
    """Whether OpenSSL has taken them; without the door it keeps its own, of which X25519MLKEM768 is the first too."""
    return _door is not None and _door(context, ":".join(names).encode())


def find_door(module: object) -> Callable[[SSL.Context, bytes], bool] | None:
    """
    What sets the groups of a context, for which pyOpenSSL has no public call.

    @param module: C{OpenSSL.SSL}
    @return: None where its private names are not those that are needed
    """
    library: Any = getattr(module, "_lib", None)
    if not all(hasattr(library, name) for name in ("SSL_CTX_set1_curves_list", "ERR_get_error")):
        return None

    def set_groups(context: Any, names: bytes) -> bool:
        taken: bool = library.SSL_CTX_set1_curves_list(context._context, names) == 1
        while library.ERR_get_error():  # whoever asks OpenSSL next would take it for the answer
            pass
        return taken

    return set_groups if hasattr(SSL.Context(SSL.TLS_METHOD), "_context") else None


_door = find_door(SSL)
