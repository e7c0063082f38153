"""`package.module:name` in, the object out; whatever goes wrong on the way is one line."""

from __future__ import annotations

import importlib
import inspect
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
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(f"module {module_name!r} has no {name!r}{nearest(part, _public(found))}") from None
        except BaseException as error:  # an attribute may be made by the user's code
            trouble = f"module {module_name!r}: {name!r} cannot be read: {_told(error)}"
            raise ConfigurationError(trouble) from None
    return found


def check_call(function: Any, *given: str) -> None:
    """
    Whether a call can be of any use, as far as the function tells: of one in C a signature may not be to be had, and
    what a decorator passes on nobody knows.

    @param given: what it will be given, in words
    @raise ConfigurationError: it takes more or less, or it is a generator
    """
    try:
        generates = _generates(function) or _generates(getattr(type(function), "__call__", None))  # noqa: B004  # what it is
        signature = inspect.signature(function, follow_wrapped=False)
    except Exception:  # ValueError where there is none; an object of the user's may raise anything
        return
    if generates:
        raise ConfigurationError("it is a generator, and a call of it runs nothing; expected return in place of yield")
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ConfigurationError(f"it cannot be called with {', '.join(given)} alone: {error}") from None


def _generates(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"there is no module {error.name!r} in this folder or on the path") from None
        trouble = _text(error) or type(error).__name__
    except (
        BaseException
    ) as error:  # the user's module may raise anything, and sys.exit would end a reload without a word
        trouble = _told(error)
    raise ConfigurationError(f"module {module_name!r} cannot be imported: {trouble}")


def _public(found: Any) -> list[str]:
    """The names that somebody may have meant."""
    try:
        return [each for each in vars(found) if not each.startswith("_")]
    except Exception:  # it has none, or hides them
        return []


def _told(error: BaseException) -> str:
    """Where it was raised, and what it says, in one line."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}: "
    else:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if _of_the_user(each.filename)]
        place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return place + " ".join(f"{type(error).__name__}: {_text(error)}".split()).removesuffix(":")


def _of_the_user(file: str) -> bool:
    return file not in (__file__, importlib.__file__) and not file.startswith("<frozen ")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # the user's too
        return ""
