"""Writes docs/reference.md from the table of keys: `python docs/make_reference.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mytls.handlers import BUILT_IN
from mytls.settings import ENDPOINT_KEYS, OPTION_KEYS, Key
from mytls.tap import Options

PAGE = Path(__file__).with_name("reference.md")

_HEAD = """\
# Reference

Made by `docs/make_reference.py` from the table in `mytls/settings.py`, as the command line and its errors are.
"""

_ENDPOINT = """
## The endpoint string

`ssl:` and `mytls:` take the same words, as `word=value` between colons. A word may go without its name where it
stands in the order of this table. A colon or a backslash within a value has a backslash before it. A path is relative
to the folder that the command was typed in.

    ssl:8443:privateKey=key.pem:certKey=fullchain.pem
    mytls:8443:privateKey=key.pem:certKey=fullchain.pem:interface=\\:\\:
    mytls:over=unix\\:/run/app.sock:privateKey=key.pem:certKey=fullchain.pem

Any other prefix (`tcp:`, `unix:`, `systemd:`, ...) is used as Twisted or its plugin makes it; mytls adds no TLS to it.
"""

_OPTIONS = """
## The options of `twistd mytls`
"""

_VALUES = """
Durations are written `250ms`, `10s`, `5m`, `1h`; `0` or `off` is no deadline. Without an endpoint it serves on
127.0.0.1:8443 with the development certificate.
"""

_HANDLERS = """
## The handler string

[Handlers](handlers.md) tells what each does.

"""


def page() -> str:
    """The whole page."""
    return "".join((_HEAD, _ENDPOINT, _words(), _OPTIONS, _options(), _VALUES, _HANDLERS, _handlers()))


def _words() -> str:
    rows = ((_code(key.word), _default(key), key.sentence) for key in ENDPOINT_KEYS)
    return _table(("word", "default", "meaning"), rows)


def _options() -> str:
    said = Options().docs
    own = (
        ("`--endpoint STRING`", "", f"{_sentence(said['endpoint'])} Also `-e`."),
        ("`--handler STRING`", "`echo`", "What to do with the decrypted bytes."),
    )
    keys = ((f"`--{key.word} VALUE`", _default(key), key.sentence) for key in OPTION_KEYS)
    rest = ((f"`--{word}`", "", _sentence(said[word])) for word in ("help", "version"))
    return _table(("option", "default", "meaning"), (*own, *keys, *rest))


def _handlers() -> str:
    return "".join(f"- {_code(expected)}\n" for _, expected in BUILT_IN.values())


def _sentence(documentation: str) -> str:
    return " ".join(documentation.split())


def _default(key: Key) -> str:
    """A value stands as code, a description as text."""
    return _code(key.default) if key.default and " " not in key.default else key.default


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
