"""Answers of a given form: response_format, structured_outputs and the older guided fields, as one field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from heatbath.engine.base import ComponentSpec
from heatbath.serve.api.schema.sampling import ResponseFormat, Sampling, StructuredOutputs
from heatbath.serve.errors import invalid_value

Form = tuple[str, ComponentSpec]
"""The request field that asks for a form, and the field that gives it."""


def structure(asked: Sampling) -> list[ComponentSpec]:
    """The field that gives the answer its form; none where any text will do.

    Raises:
        ApiError: 400 for more than one form.
    """
    return [field for _, field in forms(asked)]


def forms(asked: Sampling) -> list[Form]:
    """At most one."""
    found = [*_response_format(asked.response_format), *_structured(asked.structured_outputs), *_guided(asked)]
    if len(found) > 1:
        first, second = found[0][0], found[1][0]
        raise invalid_value(f"{second} asks for another form than {first}: give one of them.", second)
    return found


def _response_format(format: ResponseFormat | None) -> Iterator[Form]:
    if format is None or format.type == "text":
        return
    if format.type == "json_object":
        yield "response_format", ComponentSpec("json_schema", '{"type": "object"}')
        return
    if format.json_schema is None:
        raise invalid_value(
            "response_format.json_schema is missing: give a name and a schema.", "response_format.json_schema"
        )
    schema = {} if format.json_schema.schema is None else format.json_schema.schema
    yield "response_format.json_schema.schema", ComponentSpec("json_schema", json.dumps(schema))


def _structured(outputs: StructuredOutputs | None) -> Iterator[Form]:
    if outputs is None:
        return
    if outputs.structural_tag is not None:
        raise invalid_value(
            "structured_outputs.structural_tag is not served: give a grammar.", "structured_outputs.structural_tag"
        )
    yield from _named("structured_outputs.", outputs, ("json", "regex", "choice", "grammar"))
    if outputs.json_object:
        yield "structured_outputs.json_object", ComponentSpec("json_schema", '{"type": "object"}')


def _guided(asked: Sampling) -> Iterator[Form]:
    yield from _named("guided_", asked, ("guided_json", "guided_regex", "guided_choice", "guided_grammar"))


def _named(prefix: str, holder: Any, names: tuple[str, ...]) -> Iterator[Form]:
    for name in names:
        value = getattr(holder, name)
        if value is not None:
            kind = name.removeprefix("guided_")
            yield prefix + kind, _asked(kind, value, prefix + kind)


def _asked(kind: str, value: Any, param: str) -> ComponentSpec:
    if kind == "json":
        return ComponentSpec("json_schema", _schema(value, param))
    if kind == "choice":
        return ComponentSpec("lark", "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in value))
    return ComponentSpec("regex" if kind == "regex" else "lark", value)


def _schema(value: str | dict[str, Any], param: str) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        raise invalid_value(f"{param} is no JSON: give a JSON schema.", param) from None
    return value
