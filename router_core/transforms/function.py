"""Finds the function that a configuration names, and says plainly why there is none."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from router_core.draft import suggestion
from router_core.errors import PluginError
from router_core.isolation import fault_of
from router_core.records import Record


class UnusableFunction(PluginError):
    """There is no such function, or it cannot be one. `what` is wrong, and `mend` says what to do."""

    def __init__(self, what: str, mend: str) -> None:
        self.what = what
        self.mend = mend
        super().__init__(f"{what} {mend}")


def function_of(name: str, folder: Path) -> Callable[[Record], Any]:
    """The function `module:function`, from a module in the folder or an installed one. Raises `UnusableFunction`.

    The folder goes to the end of Python's search path, so that no module in it takes the place of an installed one.
    A module is imported once; a change of its code needs a restart.
    """
    module_name, _, function_name = name.partition(":")
    module = _module(module_name, folder.absolute())
    function = getattr(module, function_name, None)
    if function is None:
        own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        what = f"the module {module_name!r} has no function {function_name!r}."
        raise UnusableFunction(what, suggestion(function_name, own))
    if not callable(function) or inspect.isclass(function):
        raise UnusableFunction(f"{name!r} is no function.", "Name one that takes a record.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UnusableFunction(f"{name!r} yields.", "Return one record, or None to drop it.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions made in C nobody knows the arguments
        return function  # type: ignore[no-any-return]  # callable, as far as one can tell
    try:
        signature.bind(None)
    except TypeError:
        what = f"{name!r} must take one argument, the record; it takes {signature}."
        raise UnusableFunction(what, f"Write `def {function_name}(record):`.") from None
    return function  # type: ignore[no-any-return]  # the same


def _module(name: str, folder: Path) -> ModuleType:
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            what = f"the module {name!r} needs {error.name!r}, which is not installed."
            raise UnusableFunction(what, "Install it into the router's environment.") from None
        what = f"there is no module {name!r} in {folder}, nor is one installed."
        raise UnusableFunction(what, "Check `function` and `folder`.") from None
    except BaseException as error:  # a module may raise anything while it is imported, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UnusableFunction(f"the module {name!r} does not load: {fault_of(error)}.", "Mend it.") from None
    first = name.partition(".")[0]
    wanted = [path for path in (folder / f"{first}.py", folder / first / "__init__.py") if path.is_file()]
    found = Path(getattr(module, "__file__", None) or ".").resolve()
    if wanted and folder.resolve() not in found.parents:
        what = f"the module name {first!r} is taken by {found}, so {wanted[0]} is never used."
        raise UnusableFunction(what, "Give the file another name.")
    return module
