"""Functions of the user's own, named on the command line as module:function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from heatbath.errors import BadInput


def import_function(name: str) -> Callable[..., Any]:
    """The function called `module:function`; modules are looked for in the current folder as well.

    Raises:
        BadInput: the name is not of that form, or there is no such module or function.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise BadInput(f"{name!r} names no function: write module:function.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{name} cannot be imported ({error}): check the name and the folder.") from error
    if not callable(found):
        raise BadInput(f"{name} is no function but {type(found).__name__}: name one that can be called.")
    return found  # type: ignore[no-any-return]


def import_named_functions(entries: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Functions by name, from `name=module:function` each.

    Raises:
        BadInput: an entry is not of that form, or a name is given twice.
    """
    functions: dict[str, Callable[..., Any]] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (name.strip() and equals):
            raise BadInput(f"{entry!r} is no observable: write name=module:function.")
        if name in functions:
            raise BadInput(f"the observable {name!r} is given twice: choose another name.")
        functions[name] = import_function(path)
    return functions
