"""What opens encrypted keys: a file, or a variable of the environment. Nobody is asked."""

from __future__ import annotations

import os

import attrs

from mytls.settings import HostSettings
from mytls.tls.files import Files, read


@attrs.frozen
class Password:
    """
    What opens the encrypted keys of a host.

    @ivar secret: the password, or None where there is none
    @ivar place: where it comes from, for errors
    """

    secret: bytes | None = attrs.field(default=None, repr=False)
    place: str = ""


def password_of(settings: HostSettings, files: Files) -> Password:
    """
    What the user has said of the password of keys.

    @raise ConfigurationError: the file cannot be read, the variable is not set, or there is nothing in it
    """
    said = settings.password_file
    if said is None:
        secret = os.environ.get("MYTLS_PASSWORD")
        return Password(os.fsencode(secret) if secret else None, "the environment variable MYTLS_PASSWORD")
    if said.startswith("env:"):
        content = os.fsencode(os.environ.get(said.removeprefix("env:"), ""))
        nothing = "this environment variable is not set, or empty"
    else:
        content = read(settings, "password-file", said, files)
        nothing = "there is no password in its first line"
    first, *_ = content.splitlines() or [b""]
    if not first:
        raise settings.wrong("password-file", said, nothing)
    return Password(first, said)
