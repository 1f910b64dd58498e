"""Functions of the user, named as `module:function` on the command line and in settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from heatbath.errors import BadInput


def import_function(path: str) -> Callable[..., Any]:
    """Import the function `module:function`; modules in the current folder are found as well.

    Raises:
        BadInput: `path` does not have this form, the import fails, or the object cannot be called.
    """
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise BadInput(f"expected a function as module:function, got {path!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{path} cannot be imported ({error}): check the name and the folder.") from error
    if not callable(function):
        raise BadInput(f"{path} must be a function, got {type(function).__name__}: name an object that can be called.")
    return function  # type: ignore[no-any-return]


def import_named_functions(entries: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Import functions given as `name=module:function`, and return them by name.

    Raises:
        BadInput: an entry does not have this form, a name occurs twice, or an import fails.
    """
    functions: dict[str, Callable[..., Any]] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (name.strip() and equals):
            raise BadInput(f"expected name=module:function, got {entry!r}.")
        if name in functions:
            raise BadInput(f"the name {name!r} is given twice: choose another one.")
        functions[name] = import_function(path)
    return functions
