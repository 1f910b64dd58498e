"""From `name=value` to the component: a value is a number, a text, a list, or an object of named settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from heatbath.energy import Field, after_tokens, apply_when, until_tokens
from heatbath.energy.base import name_field
from heatbath.energy.spec import BuildContext, Spec
from heatbath.engine.base import ComponentSpec
from heatbath.engine.registry.discovery import Registry
from heatbath.errors import BadInput, HeatbathError, format_value

T = TypeVar("T")
_BUILD_ERRORS = (TypeError, AttributeError, ValueError, LookupError, OverflowError)


def build(registry: Registry[T], component: tuple[str, Any], context: BuildContext) -> T:
    """Build (name, value), the value as it came from JSON, None for none; no file is ever read.

    Raises:
        BadInput: no such name, or a value that does not fit.
    """
    name, value = component
    spec = registry.find(name)
    if value is None and spec.requires_value:
        raise BadInput(f"the {spec.kind} {name} needs a value: give {spec.example.removesuffix(' or @file')}.")
    return _build_spec(spec, context, {} if value is None else value)


def build_labeled(registry: Registry[T], component: ComponentSpec, context: BuildContext) -> T:
    """Build a component; a field with a label has it as its name. Raises as `build` does."""
    built: Any = build(registry, (component.name, component.value), context)
    if component.label is not None:
        built = name_field(component.label, built)
    return built  # type: ignore[no-any-return]


def build_from_text(registry: Registry[T], text: str, context: BuildContext) -> T:
    """Build `name=value`. `@path` stands for the contents of a file; values that are no JSON are text.

    Raises:
        BadInput: no such name, a value that does not fit, a file that cannot be read.
    """
    name, equals, value = text.partition("=")
    spec = registry.find(name)
    if not equals and spec.requires_value:
        raise BadInput(f"the {spec.kind} {name} needs a value: write {name}={spec.example}.")
    return _build_spec(spec, context, _parse_value(value, f"{spec.kind} {name}") if equals else {})


def resolve_components(
    registry: Registry[T], given: Any, context: BuildContext, *, built: type[T], param: str
) -> list[T]:
    """Return the components given: each one built, a `ComponentSpec`, `"name=value"` or `{name: value, …}`; or None.

    Raises:
        BadInput: anything else, or what `build` raises.
    """
    if given is None:
        return []
    if isinstance(given, built | str | Mapping | ComponentSpec):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, bytes):
        raise _wrong_type(registry, given, built, param)
    found: list[T] = []
    for item in given:
        if isinstance(item, built):
            found.append(item)
        elif isinstance(item, ComponentSpec):
            found.append(build_labeled(registry, item, context))
        elif isinstance(item, str):
            found.append(build_from_text(registry, item, context))
        elif isinstance(item, Mapping):
            found += [build(registry, (name, value), context) for name, value in item.items()]
        else:
            raise _wrong_type(registry, item, built, param)
    return found


def _wrong_type(registry: Registry[T], value: Any, built: type[T], param: str) -> BadInput:
    spec = next(iter(registry.values()))
    return BadInput(
        f"{param} is {format_value(value)}: give a {registry.kind} (`{built.__name__}`), a text such as "
        f"{spec.name + '=' + spec.example!r}, or a list of them.",
        param=param,
    )


def _build_spec(spec: Spec[T], context: BuildContext, value: Any) -> T:
    named = dict(value) if isinstance(value, Mapping) else {}
    positional = () if isinstance(value, Mapping) else (value,)
    placement = {name: named.pop(name, None) for name in ("weight", "after", "until") if spec.kind == "field"}
    try:
        built: Any = spec.create(context, *positional, **named)
        return built if spec.kind != "field" else _place_field(built, **placement)  # type: ignore[return-value]
    except HeatbathError:
        raise
    except _BUILD_ERRORS as error:
        raise BadInput(
            f"the {spec.kind} {spec.name} does not take {format_value(value)} ({error}): write {spec.example}."
        ) from error


def _place_field(field: Field, *, weight: Any, after: Any, until: Any) -> Field:
    """Return the field with settings that any field takes: a weight, and the tokens from and until which it acts."""
    field = field if weight is None else weight * field
    field = field if after is None else apply_when(after_tokens(after), field)
    return field if until is None else apply_when(until_tokens(until), field)


def _parse_value(text: str, label: str) -> Any:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise BadInput(f"the {label} is to be read from {text[1:]}, which cannot be: {error}.") from error
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text
