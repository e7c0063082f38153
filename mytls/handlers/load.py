"""`package.module:name` in, the object out; whatever goes wrong on the way is one line."""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from mytls.errors import ConfigurationError, nearest


def load(argument: str, expected: str) -> Any:
    """
    The object that a handler string names.

    @param argument: `package.module:name`, where the name may have dots
    @param expected: how the whole string should look, for the error
    @raise ConfigurationError: there is no such module or name, or the module fails when it is imported
    """
    module_name, colon, name = argument.partition(":")
    if not module_name or module_name.startswith(".") or not colon or not name:
        raise ConfigurationError(f"expected {expected}")
    found: Any = _import(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            public = [each for each in vars(found) if not each.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigurationError(f"module {module_name!r} has no {name!r}{nearest(part, public)}")
        found = getattr(found, part)
    return found


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"there is no module {error.name!r} in this folder or on the path") from None
        raise ConfigurationError(f"module {module_name!r} cannot be imported: {error}") from None
    except Exception as error:  # the user's module may raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = error.filename if isinstance(error, SyntaxError) else where.filename
        line = error.lineno if isinstance(error, SyntaxError) else where.lineno
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"module {module_name!r} cannot be imported: {place}:{line}: {text}") from None
