"""The settings of a run of generation, and what can be checked of them before it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from heatbath.decode import Sampler, Window
from heatbath.decode.sampler_arguments import Temperature
from heatbath.energy import Field, Potential
from heatbath.engine.base import RecordMode, validate_record_mode
from heatbath.errors import BadInput, format_value
from heatbath.models.base import Model, Tokens
from heatbath.short_repr import short_repr


@dataclass(frozen=True, repr=False)
class GenerationSettings:
    """Settings of a generation run. Row i draws from the stream (`seed`, `first_row` + i), whatever batch it is in.

    Attributes:
        temperature: one, one for each row, or a `Schedule`.
        sampler: a name of `heatbath.engine.SAMPLERS`, with `options` of its own, or a `Sampler` that brings everything
            that is asked of draws.
        record: "full" for everything, "state" for all but the nodes of log Z and the divergences, "nodes" for energies
            and the nodes alone, None for nothing.
        stop: texts that end a sequence; they are not part of its text.
        stop_token_ids: tokens that end a sequence beside the model's own.
        ignore_eos: the model's own stop tokens end nothing.
        edges: temperatures of a phase map by name; the record then says at which steps a schedule crosses them.
    """

    temperature: Temperature = 1.0
    max_tokens: int = 128
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    potentials: Potential | Sequence[Potential] = ()
    sampler: str | Sampler = "ancestral"
    seed: int = 0
    first_row: int = 0
    record: RecordMode = "full"
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    edges: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = short_repr

    def resolve_stop_token_ids(self, model: Model) -> tuple[int, ...]:
        """Return the tokens that end a sequence."""
        own = () if self.ignore_eos else model.vocabulary.stop_token_ids
        return tuple(dict.fromkeys((*own, *self.stop_token_ids)))


def validate_settings(model: Model, prompts: Sequence[Tokens], settings: GenerationSettings) -> None:
    """Raise `BadInput` for settings that no sampler can follow, and for prompts that leave them no room."""
    if not prompts:
        raise BadInput("there is no prompt: give at least one ([] starts a document).")
    validate_integer("max_tokens", settings.max_tokens, minimum=1)
    validate_integer("seed", settings.seed)
    validate_integer("first_row", settings.first_row)
    validate_record_mode(settings.record)
    _validate_stop_token_ids(settings.stop_token_ids, model.vocabulary.size)
    if not isinstance(settings.ignore_eos, bool):
        raise BadInput(f"ignore_eos is {format_value(settings.ignore_eos)}: give True or False.", param="ignore_eos")
    _validate_components(settings)
    if model.context_length is None:
        return
    longest = max(len(prompt) or len(model.vocabulary.start_token_ids) for prompt in prompts)
    room = model.context_length - longest
    if room < 0:
        raise BadInput(
            f"a prompt of {longest} tokens is longer than the context of {model.context_length}: shorten it."
        )
    if settings.max_tokens > room + 1:
        raise BadInput(
            f"{settings.max_tokens} tokens after a prompt of {longest} do not fit the context of "
            f"{model.context_length}: ask for at most {room + 1}."
        )


def validate_integer(name: str, value: Any, *, minimum: int = 0) -> int:
    """Return a whole number. Raises `BadInput` for anything else, or for one below `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise BadInput(f"{name} is {format_value(value)}: give a whole number of at least {minimum}.", param=name)
    if value < minimum:
        raise BadInput(f"{name} is {value}: give at least {minimum}.", param=name)
    return int(value)


def _validate_stop_token_ids(token_ids: Any, vocab_size: int) -> None:
    if isinstance(token_ids, str | bytes) or not isinstance(token_ids, Iterable):
        raise BadInput(
            f"stop_token_ids is {format_value(token_ids)}: give a list of token ids; texts go into stop.",
            param="stop_token_ids",
        )
    for token in token_ids:
        if isinstance(token, bool) or not isinstance(token, Integral) or not 0 <= int(token) < vocab_size:
            raise BadInput(
                f"stop_token_ids holds {format_value(token)}: give token ids from 0 to {vocab_size - 1}.",
                param="stop_token_ids",
            )


def _validate_components(settings: GenerationSettings) -> None:
    """Raise `BadInput` where fields, potentials, windows, edges or options are of another type."""
    kinds: tuple[tuple[str, Any, type], ...] = (
        ("fields", settings.fields, Field),
        ("potentials", settings.potentials, Potential),
        ("window", () if settings.window is None else settings.window, Window),
    )
    for name, given, kind in kinds:
        for part in (given,) if isinstance(given, kind) or not isinstance(given, Sequence) else given:
            if not isinstance(part, kind):
                raise BadInput(f"{name} holds {format_value(part)}: give objects of type {kind.__name__}.", param=name)
    for name, value in (("edges", settings.edges), ("options", settings.options)):
        if not isinstance(value, Mapping):
            raise BadInput(f"{name} is {format_value(value)}: give a mapping from names to values.", param=name)
    for name, edge in settings.edges.items():
        if isinstance(edge, bool) or not isinstance(edge, Real) or not 0 <= edge <= sys.float_info.max:
            given = format_value(edge)
            raise BadInput(f"the edge {name!r} is {given}: give a finite temperature from 0 up.", param="edges")
