"""Settings in, permits out: the files and TCP ports that a service needs once it listens, and at a reload."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from mytls.destinations import Via, via
from mytls.errors import ConfigurationError
from mytls.guards.sandbox import Permits
from mytls.handlers.command import Command
from mytls.handlers.places import port_of, split_backends
from mytls.keys import CLIENT_KEYS, ENDPOINT_KEYS
from mytls.kinds import WITH_BACKENDS
from mytls.settings import Settings
from mytls.strings import listens_at, prefix_of, split_endpoint
from mytls.tls.files import Files

#: What the C library, OpenSSL and Python look at by themselves. Of /etc only that: other programs' keys are there too.
_OF_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64",
    *(f"/etc/{name}" for name in (
        "resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services", "protocols", "passwd", "group",
        "localtime", "ld.so.cache", "mime.types", "ca-certificates", "crypto-policies", "ssl/certs", "ssl/cert.pem",
        "ssl/openssl.cnf", "pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf",
    )),
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
#: Links that may lead elsewhere, to what is written anew in its folder.
_LINKS = ("/etc/resolv.conf", "/etc/localtime")
#: Where programs and what they are loaded by are.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_LOADERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
#: The words of endpoint strings that name files, as we and as Twisted's own call them.
_FILES = {key.word for key in (*ENDPOINT_KEYS, *CLIENT_KEYS) if key.kind.files} | {"certificate", "caCertsDir"}
#: The handlers whose code is a user's, and may be anything; so is what a plugin does.
_WITHOUT_CODE = ("echo", "discard", "exec", *WITH_BACKENDS)
#: Names are looked up there, where an answer is too long for UDP.
_DOMAIN = 53


def permits(settings: Settings, files: Files) -> Permits:
    """
    What a service with these settings needs.

    @param files: all that was read for it. What is in their folders may be read, since files are replaced by others
    """
    handlers = {host.handler or "" for listener in settings.listeners for host in listener.served}
    said = settings.sandboxed
    found = _of_python(any(_has_code(each) for each in handlers) or _has_policies(settings)) | _of_system()
    found |= Permits(read=_around(files.asked()), connect=[_DOMAIN, *said.connect])
    found |= Permits(read=map(os.path.abspath, said.read), write=map(os.path.abspath, said.write))
    found |= _of_log(settings) | _of_endpoints(settings) | _of_rego_and_spiffe(settings)
    for handler in handlers:
        found |= _of_handler(handler)
    for health in {host.backend.health for listener in settings.listeners for host in listener.served}:
        found |= _of_health(health)
    return found


def of_twistd(options: Mapping[str, Any]) -> Permits:
    """What twistd does by itself: write its log, and remove its pidfile. @param options: its own"""
    logs = not options.get("syslog") and options.get("logfile") != "-"
    log = options.get("logfile") or ("" if options.get("nodaemon") else "twistd.log")
    rundir = os.path.abspath(options.get("rundir") or ".")
    pidfile = options.get("pidfile")
    return Permits(
        write=[_folder(os.path.join(rundir, log))] if logs and log else [],
        name=[_folder(os.path.abspath(pidfile))] if pidfile else [],
    )


# --- of the machine


def _of_system() -> Permits:
    elsewhere = (os.path.dirname(os.path.realpath(link)) for link in _LINKS if os.path.islink(link))
    variables = (os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"))
    return Permits(
        read=[*_OF_SYSTEM, *(each for each in elsewhere if each != "/etc"), *filter(None, variables)],
        write=["/dev/null"],
    )


def _of_python(with_code: bool) -> Permits:
    """Modules may be imported late. @param with_code: also those in the folder that the command was typed in"""
    here = os.getcwd()
    ours = os.path.dirname(os.path.abspath(__file__))
    folders = [os.path.abspath(each) for each in sys.path if each and (with_code or os.path.abspath(each) != here)]
    of_python = {*folders, ours, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return Permits(read=of_python - {"/"})


def _around(paths: Iterable[str]) -> Iterator[str]:
    """The folders of files, also of what links lead to."""
    for path in paths:
        for each in (path, os.path.realpath(path)):
            yield each if os.path.isdir(each) else _folder(each)


def _folder(path: str) -> str:
    """The folder that a file is in; of one that is nowhere below, the file itself: its folder would be all."""
    folder = os.path.dirname(path)
    return path if folder == "/" else folder


# --- of the settings


def _of_log(settings: Settings) -> Permits:
    kind, _, path = settings.log.to.partition(":")
    return Permits(write=[_folder(os.path.abspath(path))] if kind == "file" else [])


def _of_endpoints(settings: Settings) -> Permits:
    found = Permits()
    for each in (*(listener.endpoint for listener in settings.listeners), settings.status):
        if each is not None:
            found |= _of_endpoint(each, os.path.join(settings.folder, "") if each == settings.status else "")
    return found


def _of_endpoint(description: str, folder: str) -> Permits:
    arguments, words = split_endpoint(description)
    if "over" in words:
        return _of_endpoint(words["over"], folder) | Permits(read=_around(_files(words, folder)))
    if prefix_of(description) == "unix":
        path = words.get("address") or "".join(arguments[1:2])
        return Permits(name=[_folder(os.path.abspath(path))])
    place = listens_at(description)
    port = place[0] if place else "0"
    return Permits(bind=[int(port)] if port.isdecimal() else [], read=_around(_files(words, folder)))


def _has_code(handler: str) -> bool:
    return handler.partition(":")[0] not in _WITHOUT_CODE


def _has_policies(settings: Settings) -> bool:
    return any(host.policy for listener in settings.listeners for host in listener.served)


def _of_rego_and_spiffe(settings: Settings) -> Permits:
    """Both have processes of Python's."""
    hosts = [host for listener in settings.listeners for host in listener.served]
    return _of_processes() if any(host.rego or host.spiffe for host in hosts) else Permits()


def _of_processes() -> Permits:
    python = os.path.realpath(sys.executable)
    return Permits(run=[python, *_LOADERS], read=["/proc"], write=[tempfile.gettempdir()])


def _of_handler(handler: str) -> Permits:
    prefix, _, argument = handler.partition(":")
    if prefix == "exec":
        return _of_program(Command.of(argument))
    found = Permits()
    for backend in split_backends(argument) if prefix in WITH_BACKENDS else ():
        found |= _of_backend(backend)
    return found


def _of_program(command: Command) -> Permits:
    """A program may read what we may, and what is beside it."""
    folders = {os.path.dirname(os.path.realpath(command.program)), os.path.dirname(command.program)} - {"/"}
    return Permits(run=[*_PROGRAMS, *folders], read=["/proc", *([command.folder] if command.folder else [])])


def _of_backend(description: str) -> Permits:
    """Where it is dialled. What the words of another's endpoint mean is not known: sandbox-connect has to say it."""
    _, words = split_endpoint(description)
    found = Permits(read=_around(_files(words, "")), connect=_ports(port_of(description)))
    if "bindAddress" in words:
        found |= Permits(bind=[0])
    if "rego" in words:
        found |= _of_processes()
    if "via" in words:
        found |= Permits(connect=_ports(_port_of_proxy(words["via"])))
    if "endpoint" in words:
        found |= _of_backend(words["endpoint"])
    return found


def _port_of_proxy(written: str) -> str | None:
    try:
        proxy: Via = via(written)
    except ConfigurationError:  # which is told by who makes the endpoint
        return None
    return str(proxy.port)


def _ports(written: str | None) -> list[int]:
    return [int(written)] if written is not None and written.isdecimal() else []


def _of_health(health: str) -> Permits:
    """The port of an C{http://} address."""
    return Permits(connect=[urlsplit(health).port or 80]) if health.startswith("http") else Permits()


def _files(words: Mapping[str, str], folder: str) -> Iterator[str]:
    """The files that the words of an endpoint string name."""
    for word in _FILES & set(words):
        for each in words[word].split(","):
            if each and not each.startswith("env:"):
                yield os.path.abspath(os.path.join(folder, each))
