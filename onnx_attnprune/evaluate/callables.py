"""Python functions of the user's own, named as `module:function`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from onnx_attnprune.errors import AttnPruneError, DataError, SettingsError

Result = TypeVar("Result")

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_function_name(text: str) -> bool:
    """Whether a text has the form `module:function` (or `package.module:function`)."""
    return _NAME.fullmatch(text) is not None


def function_of(name: str) -> Callable[..., Any]:
    """The function `module:function`; the module may lie in the current folder.

    Raises SettingsError where there is no such module or function, DataError where the module can't be imported.
    """
    module_name, _, attribute = name.partition(":")
    with _current_folder_importable():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name == missing or module_name.startswith(f"{missing}."):
                raise SettingsError(
                    f"{name}: there is no module {missing!r} in the current folder or among the installed packages"
                ) from error
            raise DataError(f"{name}: module {module_name!r} imports {missing!r}, which is not there") from error
        except AttnPruneError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(f"{name}: module {module_name!r} can't be imported: {_reason(error)}") from error
    if not hasattr(module, attribute):
        raise SettingsError(f"{name}: module {module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if not callable(found):
        raise SettingsError(f"{name}: {attribute!r} is no function but {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def name_of(function: Callable[..., Any]) -> str:
    """What to call a function in messages."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}:{name}" if module and name else str(name or type(function).__name__)


@contextmanager
def raising_told(name: str) -> Iterator[None]:
    """Whatever a user's function raises inside becomes a DataError that names the function and the reason."""
    try:
        yield
    except AttnPruneError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{name}: raised {_reason(error)}") from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Modules of the current folder can be imported inside, as `python -m` would."""
    sys.path.insert(0, "")
    importlib.invalidate_caches()  # the file may be younger than Python's list of the folder
    try:
        yield
    finally:
        if "" in sys.path:  # the module may have changed the path itself
            sys.path.remove("")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
