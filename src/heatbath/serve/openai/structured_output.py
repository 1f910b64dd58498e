"""Structured outputs: the JSON that texts and arguments of tools have to be, what of it is enforced, and the check."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from heatbath.energy.json_schema import (
    close_listed_objects,
    close_objects,
    parse_schema,
    relax_schema,
    validate_numbers,
)
from heatbath.engine.base import ComponentSpec
from heatbath.errors import BadInput
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.json_validation import find_errors, find_schema_error
from heatbath.serve.openai.schema.sampling import ResponseFormat, StructuredOutputs

_MAX_SHOWN = 32
_JSON_OBJECT = {"type": "object"}


@dataclass(frozen=True)
class JsonForm:
    """A schema that a JSON text has to be valid under.

    Attributes:
        param: the parameter of the request that holds it.
        schema: the schema that a finished text is checked against.
        enforced: the part of it that is enforced while tokens are drawn.
        relaxed: JSON pointers to the keywords that are not.
    """

    param: str
    schema: Any
    enforced: Any
    relaxed: tuple[str, ...] = ()

    @property
    def field(self) -> ComponentSpec:
        """The field that enforces it."""
        return ComponentSpec("json_schema", json.dumps(self.enforced))


class Form(NamedTuple):
    """A format that the text must have: the parameter that asks for it, the field that enforces it, and its schema."""

    param: str
    field: ComponentSpec
    json: JsonForm | None = None

    @property
    def canonical_value(self) -> tuple[str, Any]:
        """The form as it can be compared: one that is asked for twice, by two names of it, is one form."""
        return self.field.name, self.field.value if self.json is None else json.dumps(self.json.schema, sort_keys=True)


def build_response_format(format: ResponseFormat) -> Form:
    """Return the form that `response_format` asks for, which is not text.

    Raises:
        ApiError: 400, the schema is missing or cannot be enforced.
    """
    if format.type == "json_object":
        return _json_form(build_json_form(_JSON_OBJECT, "response_format"))
    if format.json_schema is None:
        message = "response_format.json_schema is missing: give a name and a schema."
        raise invalid_value(message, "response_format.json_schema")
    schema = {} if format.json_schema.schema is None else format.json_schema.schema
    param = "response_format.json_schema.schema"
    return _json_form(build_json_form(schema, param, strict=bool(format.json_schema.strict)))


def build_structured_outputs(outputs: StructuredOutputs) -> Iterator[Form]:
    """Yield the forms that `structured_outputs` asks for.

    Raises:
        ApiError: 400 for what is not served, and for options of JSON where another form is asked for.
    """
    if outputs.structural_tag is not None:
        param = "structured_outputs.structural_tag"
        raise invalid_value(f"{param} is not served: give a grammar.", param)
    whitespace = _whitespace(outputs)
    for kind in ("json", "regex", "choice", "grammar"):
        value = getattr(outputs, kind)
        if value is not None:
            closed = outputs.disable_additional_properties is not False
            yield build_form(f"structured_outputs.{kind}", kind, value, whitespace=whitespace, closed=closed)
    if outputs.json_object:
        yield _json_form(build_json_form(_JSON_OBJECT, "structured_outputs.json_object", whitespace=whitespace))


def _whitespace(outputs: StructuredOutputs) -> str | None:
    """Return the pattern of white space in JSON that `structured_outputs` asks for, None for the usual one."""
    if outputs.json is None and not outputs.json_object:
        for name in ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern"):
            if getattr(outputs, name) not in (None, False):
                param = f"structured_outputs.{name}"
                raise invalid_value(f"{param} has no effect without structured_outputs.json: leave it out.", param)
    if not outputs.disable_any_whitespace:
        return outputs.whitespace_pattern
    if outputs.whitespace_pattern:
        param = "structured_outputs.whitespace_pattern"
        raise invalid_value(f"{param} contradicts disable_any_whitespace: give one of them.", param)
    return ""


def build_form(param: str, kind: str, value: Any, *, whitespace: str | None = None, closed: bool = True) -> Form:
    """Return the form of one value in the parameters of vLLM and SGLang.

    Objects of a `closed` schema have no properties but those they list, unless they say otherwise: so do the back ends
    that these servers use by default. `response_format` and tools leave them open, as JSON Schema does.

    Args:
        param: the parameter of the request.
        kind: "json", "regex", "choice" or "grammar".
        value: the schema, also as text, the pattern, the choices or the grammar.
        whitespace: a pattern of the white space in JSON, None for the usual one.
        closed: see above.

    Raises:
        ApiError: 400, the schema cannot be enforced.
    """
    if kind == "json":
        schema = _parse_schema(value, param) if isinstance(value, str) else value
        return _json_form(build_json_form(schema, param, whitespace=whitespace, closed=closed))
    if kind == "choice":
        return Form(
            param, ComponentSpec("lark", "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in value))
        )
    return Form(param, ComponentSpec("regex" if kind == "regex" else "lark", value))


def _json_form(form: JsonForm) -> Form:
    return Form(form.param, form.field, form)


def _parse_schema(text: str, param: str) -> Any:
    try:
        return parse_schema(text)
    except BadInput as error:
        raise invalid_value(f"{param}: {error}", param) from None


def build_json_form(
    schema: Any, param: str, *, strict: bool = False, closed: bool = False, whitespace: str | None = None
) -> JsonForm:
    """Return the form of a schema.

    Args:
        schema: the schema.
        param: the parameter of the request.
        strict: whether its objects have no properties but those they list, and every keyword has to be enforced.
        closed: whether its objects have no properties but those they list where nothing says otherwise.
        whitespace: a pattern of the white space between tokens of JSON, None for the usual one.

    Raises:
        ApiError: 400 for a number that would not be exact, and for what `strict` does not allow or cannot be enforced.
    """
    try:
        if strict:
            schema = close_objects(schema)
        relaxed = relax_schema(close_listed_objects(schema) if closed else schema)
        validate_numbers(relaxed.schema)
    except BadInput as error:
        raise invalid_value(f"{param}: {error}", param) from None
    if strict and relaxed.pointers:
        pointer = relaxed.pointers[0]
        reason = f"`{pointer.rpartition('/')[2]}` at {pointer} cannot be enforced while tokens are drawn"
        raise invalid_value(f"{param}: {reason}, and strict is true: leave it or strict out.", param)
    return JsonForm(param, schema, _set_whitespace(relaxed.schema, whitespace), relaxed.pointers)


def _set_whitespace(schema: Any, pattern: str | None) -> Any:
    """Return a schema with an option of the grammar's library for white space; what is no schema stays."""
    if pattern is None or not (schema is True or isinstance(schema, dict)):
        return schema
    whole = {} if schema is True else schema
    return {**whole, "x-guidance": {**whole.get("x-guidance", {}), "whitespace_pattern": pattern}}


@dataclass(frozen=True)
class OutputCheck:
    """The results for the choices of a response: valid, not, or None where that is not known or a choice was cut."""

    relaxed: Mapping[str, Sequence[str]]
    valid: list[bool | None] = field(default_factory=list)
    errors: list[list[str]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The results as the value of a header."""
        return ", ".join({True: "true", False: "false", None: "unknown"}[each] for each in self.valid)

    @property
    def thermo(self) -> dict[str, Any]:
        """The results under `thermo`."""
        return {"structured_output": {"relaxed": self.relaxed, "valid": self.valid, "errors": self.errors}}


@dataclass(frozen=True)
class StructuredOutput:
    """The forms of one request: of its text, and of the arguments of each tool by name."""

    text: JsonForm | None = None
    tools: Mapping[str, JsonForm] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The header that names the keywords which are not enforced while tokens are drawn."""
        keywords = {pointer.rpartition("/")[2] for form in self._forms() for pointer in form.relaxed}
        return {"x-heatbath-relaxed": ", ".join(sorted(keywords)[:_MAX_SHOWN])} if keywords else {}

    def _forms(self) -> Iterator[JsonForm]:
        if self.text is not None:
            yield self.text
        yield from self.tools.values()

    async def require_valid_schemas(self) -> None:
        """Raise `ApiError`, 400 with the parameter, for a schema that is none."""
        for form in self._forms():
            wrong = await asyncio.to_thread(find_schema_error, form.schema)
            if wrong is not None:
                raise invalid_value(f"{form.param}: {wrong}: correct it.", form.param)

    async def check(self, choices: Sequence[Sequence[tuple[str | None, str]] | None]) -> OutputCheck:
        """Check choices, each the JSON texts of it with the name of the tool; None is a choice that was cut."""
        check = OutputCheck({form.param: form.relaxed for form in self._forms() if form.relaxed})
        for parts in choices:
            found: list[str] | None = None if parts is None else []
            for name, text in parts or ():
                form = self.text if name is None else self.tools.get(name)
                errors = [] if form is None else await asyncio.to_thread(partial(find_errors, form.schema, text))
                found = None if errors is None or found is None else found + errors
            check.valid.append(None if found is None else not found)
            check.errors.append(found or [])
        return check
