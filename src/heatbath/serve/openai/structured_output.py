"""Structured outputs: the JSON that texts and arguments of tools have to be, what of it is enforced, and the check."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from heatbath.energy.json_schema import close_objects, relax_schema, validate_numbers
from heatbath.engine.base import ComponentSpec
from heatbath.errors import BadInput
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.json_validation import find_errors, find_schema_error

_MAX_SHOWN = 32


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


def build_json_form(schema: Any, param: str, *, strict: bool = False) -> JsonForm:
    """Return the form of a schema. Objects of a `strict` one have no properties but those that they list.

    Raises:
        ApiError: 400 for a number that would not be exact, and for what `strict` does not allow or cannot be enforced.
    """
    try:
        if strict:
            schema = close_objects(schema)
        relaxed = relax_schema(schema)
        validate_numbers(relaxed.schema)
    except BadInput as error:
        raise invalid_value(f"{param}: {error}", param) from None
    if strict and relaxed.pointers:
        pointer = relaxed.pointers[0]
        reason = f"`{pointer.rpartition('/')[2]}` at {pointer} cannot be enforced while tokens are drawn"
        raise invalid_value(f"{param}: {reason}, and strict is true: leave it or strict out.", param)
    return JsonForm(param, schema, relaxed.schema, relaxed.pointers)


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
