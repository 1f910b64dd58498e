"""Components by name: what the file of a field, potential, window, schedule or sampler says of it.

A module that holds `SPEC = Spec(...)`, or `SPECS` with several, registers its components; `heatbath.engine.registry`
finds them. `build` is called with a `BuildContext` (a sampler: with `SamplerArguments`) and the value asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any, Generic, Literal, Protocol, TypeVar

from heatbath.energy.grammar_guard import GrammarGuard
from heatbath.errors import BadInput

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ComponentKind = Literal["field", "potential", "window", "schedule", "sampler"]


class TextModel(Protocol):
    """The part of a model that components are built with; every `heatbath.models.Model` has it."""

    name: str

    @property
    def vocabulary(self) -> Any: ...

    def encode(self, text: str, *, document_start: bool = True) -> list[int]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...

    def token_bytes(self, token: int) -> bytes: ...


@dataclass(frozen=True)
class BuildContext:
    """The model that a component acts on, and the most tokens a sequence may have.

    `spelling` stands for the model's `token_bytes`, where a host has read the vocabulary already. `grammar_guard` tries
    grammars in another process first, where they are those of strangers.
    """

    model: TextModel
    max_tokens: int
    spelling: Callable[[int], bytes] | None = None
    grammar_guard: GrammarGuard | None = None

    @property
    def token_bytes(self) -> Callable[[int], bytes]:
        """The bytes of each token."""
        return self.model.token_bytes if self.spelling is None else self.spelling

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return int(self.model.vocabulary.size)

    def resolve_token(self, text: str) -> int:
        """Return the one token that a text is, or the one that a number names. Raises `BadInput` for more tokens."""
        if text.isdigit():
            return int(text)
        tokens = self.model.encode(text, document_start=False)
        if len(tokens) != 1:
            raise BadInput(f"{text!r} is {len(tokens)} tokens of {self.model.name}: give one token, or its number.")
        return tokens[0]


@dataclass(frozen=True)
class Range:
    """The numbers that a request may give for an option, both ends included; whole ones if both ends are of type int.

    `or_none`: no number is a value too. `or_list`: so is a list of up to `high` + 1 finite numbers.
    """

    low: float
    high: float
    or_none: bool = False
    or_list: bool = False

    @property
    def is_whole(self) -> bool:
        """True if only whole numbers are values."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.or_none
        if isinstance(value, list | tuple):
            return self.or_list and len(value) <= self.high + 1 and all(map(_is_finite_number, value))
        kind = Integral if self.is_whole else Real
        return isinstance(value, kind) and not isinstance(value, bool) and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        kind = "a whole number" if self.is_whole else "a number"
        bounds = f"from {self.low:.12g} to {self.high:.12g}" if self.high < inf else f"of at least {self.low:.12g}"
        return f"{kind} {bounds}" + " or a list of numbers" * self.or_list + " or null" * self.or_none


def _is_finite_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


ROWS = Range(1, 4096)
SWEEPS = Range(1, 65536)
LENGTH = Range(1, 2**31 - 1)
SHARE = Range(0.0, 1.0)
POWER = Range(0.0, 1e6)
"""Ranges of options that several samplers have."""


@dataclass(frozen=True)
class Spec(Generic[T_co]):
    """A component that can be asked for by name in Python, on the command line and over HTTP.

    Attributes:
        name: its name; `aliases` are other names of a window as a keyword of `hb.generate`.
        kind: "field", "potential", "window", "schedule" or "sampler".
        build: makes it from a context and a value; an object as a value is passed as keyword arguments.
        example: a value, as error messages and the server's page show it.
        options: of a sampler, the names of its options.
        order: its place in lists of names; those without come last, by name.
        takes_context: whether `build` takes the context as its first argument.
        uses_potentials: of a sampler, whether potentials count.
        streams: of a sampler, whether it draws each sequence by itself, token by token, so that text can be shown.
        offered: whether a server may offer it to requests; what loads other models or code by name is not.
        ranges: the numbers that a request may give for an option, by its name; others have to be finite and below 1e30
            in size, whole ones below 2^31. Types are those of the annotations of `build`.
        request_limit: returns what is too large about a value from a request, as a sentence; None if nothing is.
    """

    name: str
    kind: ComponentKind
    build: Callable[..., T_co]
    example: str = ""
    options: tuple[str, ...] = ()
    order: float = float("inf")
    takes_context: bool = True
    uses_potentials: bool = False
    streams: bool = False
    offered: bool = True
    aliases: tuple[str, ...] = ()
    request_limit: Callable[[Any], str | None] | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def create(self, context: Any, *values: Any, **named: Any) -> T_co:
        """Build the component for a context."""
        return self.build(context, *values, **named) if self.takes_context else self.build(*values, **named)

    @cached_property
    def requires_value(self) -> bool:
        """True if it cannot be built without a value."""
        parameters = list(inspect.signature(self.build).parameters.values())[int(self.takes_context) :]
        return any(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)


def as_texts(value: str | Sequence[str]) -> list[str]:
    """Return one text or several as a list."""
    return [value] if isinstance(value, str) else [str(each) for each in value]
