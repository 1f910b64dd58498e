"""The settings of a run of generation, and what can be checked of them before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heatbath.decode import Sampler, Schedule, Window
from heatbath.energy import Field, Potential
from heatbath.engine.base import RecordMode, validate_record_mode
from heatbath.engine.run_buffer import Floats
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens

Temperature = float | Sequence[float] | Floats | Schedule


@dataclass(frozen=True)
class GenerationSettings:
    """How to generate. Row i draws from the stream (`seed`, `first_row` + i), whatever batch it is in.

    `sampler` is a name of `heatbath.engine.SAMPLERS`, with `options` of its own, or a `Sampler` that brings everything
    that is asked of draws. `record` is "full" for everything, "state" for all but the nodes of log Z and the
    divergences, "nodes" for energies and the nodes alone, None for nothing. A row ends with a token of `stop`, the model's own if None. `edges`
    are temperatures of a phase map by name; the record then says at which steps a schedule crosses them.
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
    stop_token_ids: Sequence[int] | None = None
    edges: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def validate_settings(model: Model, prompts: Sequence[Tokens], settings: GenerationSettings) -> None:
    """Raise `BadInput` for settings that no sampler can follow, and for prompts that leave them no room."""
    if not prompts:
        raise BadInput("there is no prompt: give at least one ([] starts a document).")
    if settings.max_tokens < 1:
        raise BadInput(f"max_tokens is {settings.max_tokens}: give at least 1.")
    validate_record_mode(settings.record)
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
