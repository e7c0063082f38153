"""Writes docs/reference.md and conf/mytls.toml from the table of keys: `python docs/make_reference.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from mytls.keys import CLIENT_KEYS, ENDPOINT_KEYS, GLOBAL_KEYS, HOST_KEYS, LISTENER_KEYS, OPTION_KEYS, Key

PAGE = Path(__file__).with_name("reference.md")
CONF = Path(__file__).parent.parent / "conf" / "mytls.toml"

_HEAD = """\
# Reference

Made by `docs/make_reference.py` from the table in `mytls/keys.py`, as the command line and its errors are.
"""

_FILE = """
## The configuration file

`twistd mytls --config FILE` reads TOML. [Configuration](configuration.md) shows how, and
[conf/mytls.toml](../conf/mytls.toml) has every key. Paths count from the folder of the file. A list is an array, or a
single string.
"""

_LISTENER = """
### `[[listener]]`

One for each place to listen at. It takes every key of a host as well: as the default of its hosts, or, where it has
none, as those of its only host.
"""

_HOST = """
### `[[listener.host]]`

One for each host of the listener above it.
"""

_ENDPOINT = """
## The endpoint string

`ssl:` and `mytls:` strings are `word=value` between colons. The words of Twisted's own stand first, up to
`dhParameters`: they may go without their names, in the order of this table, and `ssl:` has no others. A colon or a
backslash within a value has a backslash before it, and a list has commas; in TOML, a string with a backslash stands in
single quotes. A path is relative to the folder that the command was typed in; in a configuration file, to that of the
file.

    ssl:8443:privateKey=key.pem:certKey=fullchain.pem
    mytls:8443:privateKey=key.pem:certKey=fullchain.pem:interface=\\:\\:
    mytls:8443:certKey=server.pem:clientCA=clients.pem:allow=cn=build,dns=*.svc.example
    mytls:over=unix\\:/run/app.sock:privateKey=key.pem:certKey=fullchain.pem

Any other prefix (`tcp:`, `unix:`, `systemd:`, ...) is used as Twisted or its plugin makes it; mytls adds no TLS to it.
"""

_CLIENT = """
## The client endpoint string

`mytls:HOST:PORT` connects to a server, wherever Twisted takes a client endpoint ([the client side](clients.md)).

    mytls:db.example:5433:trustRoots=ca.pem:certKey=me.pem
    mytls:10.0.0.7:8443:verify=uri=spiffe\\://example/db:trustRoots=bundle.pem

"""

_OPTIONS = """
## The options of `twistd mytls`

What is said here wins over the configuration file.
"""

_VALUES = """
Durations are written `250ms`, `10s`, `5m`, `1h`; `0` or `off` is no deadline. Without an endpoint or a file it serves
on 127.0.0.1:8443 with the development certificate.
"""

_HANDLERS = """
## The handler string

[Handlers](handlers.md) tells what each does.

"""

_CONF_HEAD = """\
# The configuration of mytls:  twistd mytls --config mytls.toml
#
# What one service needs is set. All the rest stands behind a mark, with its default, or with an example where
# the default is no value: take the mark away to set it. What is wrong is told line by line before anything
# listens, first what the file itself has wrong, then what it names; --check tells without listening.
#
# Paths count from the folder of this file. Durations are "250ms", "10s", "5m", "1h"; 0 or "off" is none.
# A list is an array, or a single string.
"""

_CONF_HOST = """
# Hosts of the listener above, one table for each. Every key of the listener, but for endpoint, unknown-name
# and hosts, may stand here; what does not is as the listener says. spiffe may stand there too, where no
# certificate does.
# [[listener.host]]
"""

#: What is set in a file to start from.
_SET = ("endpoint", "certKey", "privateKey", "handler")


def page() -> str:
    """The whole reference."""
    return "".join(
        (
            _HEAD,
            _FILE,
            _file(),
            _ENDPOINT,
            _words(),
            _CLIENT,
            _words(CLIENT_KEYS),
            _OPTIONS,
            _options(),
            _VALUES,
            _HANDLERS,
            _handlers(),
        )
    )


def conf() -> str:
    """The file with every key."""
    keys = {key.name: key for key in (*LISTENER_KEYS, *HOST_KEYS)}
    names, spiffe, unknown_name, hosts = (keys.pop(name) for name in ("names", "spiffe", "unknown-name", "hosts"))
    first = [keys.pop(name) for name in ("endpoint", "certificate", "private-key", "handler")]
    return "".join(
        (
            _CONF_HEAD,
            *(_conf_table(f"[{table}]" if table else "", keys_in) for table, keys_in in GLOBAL_KEYS.items()),
            _conf_table("[[listener]]", (*first, *keys.values(), unknown_name, hosts)),
            _CONF_HOST,
            _conf_key(names),
            _conf_key(spiffe),
            *(_conf_line(name, example) for name, example in _OF_A_HOST.items()),
        )
    )


#: A host beside the one of the listener, which has a certificate of files.
_OF_A_HOST: Mapping[str, str] = {"handler": '"proxy:tcp:127.0.0.1:8081"'}


def value(key: Key) -> str:
    """The key's default as the file has it, or an example where the default is no value."""
    if key.example:
        return key.example
    return f'"{key.default}"' if key.kind.quoted else key.default


def _conf_table(heading: str, keys: Iterable[Key]) -> str:
    return "".join((f"\n{heading}\n" if heading else "", *(_conf_key(key) for key in keys)))


def _conf_key(key: Key) -> str:
    default = f" Default: {key.default}." if key.example and key.default else ""
    sentence = textwrap.wrap(
        key.sentence + default, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    return "\n" + "\n".join(sentence) + "\n" + _conf_line(key.name, value(key), is_set=key.word in _SET)


def _conf_line(name: str, written: str, *, is_set: bool = False) -> str:
    return f"{'' if is_set else '# '}{name} = {written}\n"


def _file() -> str:
    tables = (
        _keys(f"\n### `[{table}]`\n" if table else "\n### Above all tables\n", keys)
        for table, keys in GLOBAL_KEYS.items()
    )
    return "".join((_keys(_LISTENER, LISTENER_KEYS), _keys(_HOST, HOST_KEYS), *tables))


def _keys(head: str, keys: Iterable[Key]) -> str:
    rows = ((_code(key.name), key.kind.expected, _default(key), key.sentence) for key in keys)
    return head + _table(("key", "value", "default", "meaning"), rows)


def _words(keys: Iterable[Key] = ENDPOINT_KEYS) -> str:
    rows = ((_code(key.word), _default(key), key.sentence) for key in keys)
    return _table(("word", "default", "meaning"), rows)


def _options() -> str:
    from mytls.tap import Options  # the file with every key needs nothing of what serves it

    said = Options().docs
    own = (
        ("`--endpoint STRING`", "", f"{_sentence(said['endpoint'])} Also `-e`."),
        ("`--handler STRING`", "`echo`", "What to do with the decrypted bytes."),
        ("`--config FILE`", "", f"{_sentence(said['config'])} Also `-c`."),
        ("`--check`", "", _sentence(said["check"])),
    )
    keys = (
        (f"`--{key.word}`" if key.kind.flag else f"`--{key.word} VALUE`", _default(key), key.sentence)
        for key in OPTION_KEYS
    )
    rest = ((f"`--{word}`", "", _sentence(said[word])) for word in ("help", "version"))
    return _table(("option", "default", "meaning"), (*own, *keys, *rest))


def _handlers() -> str:
    from mytls.handlers import BUILT_IN

    return "".join(f"- {_code(expected)}\n" for _, expected in BUILT_IN.values())


def _sentence(documentation: str) -> str:
    return " ".join(documentation.split())


def _default(key: Key) -> str:
    """A value stands as code, a description as text."""
    return _code(key.default) if key.default and not key.example and " " not in key.default else key.default


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    CONF.write_text(conf(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
