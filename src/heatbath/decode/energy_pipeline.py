"""From a model's energies to those really drawn from: fields add one by one, then windows cut; each leaves its mark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows import Window, mask_energies
from heatbath.energy.algebra import scale_energies
from heatbath.energy.base import Context, Field
from heatbath.ensemble import State, divergence, state
from heatbath.ensemble.arrays import asarray_like, to_numpy, upcast_half
from heatbath.errors import BadInput, HeatbathError, MissingExtra, NotANumber

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PipelineStage:
    """Energies (B, V) after one more field or window of that name, at `betas` (B,); `known` is their state if it is."""

    name: str
    energies: Any
    betas: Floats
    known_state: State | None = None

    @cached_property
    def state(self) -> State:
        """Their thermodynamics."""
        return state(self.energies, self.betas) if self.known_state is None else self.known_state


@dataclass(frozen=True)
class PipelineResult:
    """What became of a model's `energies` (B, V) at `betas` (B,): a stage for each field, then one for each window.

    Rows that a field left nothing, and that were spared, are `dead` (B,): they went on without that field.
    """

    energies: Any
    betas: Floats
    field_stages: tuple[PipelineStage, ...] = ()
    window_stages: tuple[PipelineStage, ...] = ()
    dead_rows: Bools | None = None
    known_state: State | None = None

    @property
    def final_energies(self) -> Any:
        """The energies really drawn from, (B, V); the model's own if nothing steers."""
        stages = self.field_stages + self.window_stages
        return stages[-1].energies if stages else self.energies

    @cached_property
    def _model_stage(self) -> PipelineStage:
        return PipelineStage("the model", self.energies, self.betas, self.known_state)

    @cached_property
    def work(self) -> dict[str, Floats]:
        r"""Free-energy change $\Delta F = -\Delta \log Z / \beta$ of each field, (B,), nats."""
        return {
            new.name: _free_energy_change(old.state, new.state, self.betas)
            for old, new in self._iterate_pairs(self.field_stages)
        }

    @cached_property
    def log_mass(self) -> dict[str, Floats]:
        r"""$\log Z_{after} - \log Z_{before}$ of each field, then of each window, (B,)."""
        pairs = self._iterate_pairs(self.field_stages + self.window_stages)
        return {new.name: _log_mass_change(old.state, new.state, self.betas) for old, new in pairs}

    @cached_property
    def window_mass(self) -> dict[str, Floats]:
        """Probability that each window left of what it was given, (B,); rounding lifts none above 1."""
        return {window.name: np.minimum(np.exp(self.log_mass[window.name]), 1.0) for window in self.window_stages}

    @property
    def kept_mass(self) -> Floats:
        """Probability that all windows left of the ensemble that the fields made, (B,)."""
        return np.asarray(np.prod([np.ones(len(self.betas)), *self.window_mass.values()], axis=0))

    @cached_property
    def divergences(self) -> dict[str, Floats]:
        """D(after || before) of each field and window, (B,), nats."""
        pairs = self._iterate_pairs(self.field_stages)
        of_fields = {new.name: divergence(new.energies, old.energies, self.betas) for old, new in pairs}
        # What is cut off leaves the rest in proportion.
        return of_fields | {window.name: np.maximum(-self.log_mass[window.name], 0.0) for window in self.window_stages}

    @cached_property
    def divergence(self) -> Floats:
        """D(drawn || model), (B,), nats."""
        if not self.field_stages:
            return np.asarray(np.sum([np.zeros(len(self.betas)), *self.divergences.values()], axis=0))
        if len(self.field_stages) == 1 and not self.window_stages:
            return self.divergences[self.field_stages[0].name]
        return divergence(self.final_energies, self.energies, self.betas)

    def field_energies(self, tokens: Ints) -> dict[str, Floats]:
        """The energy each field gave the drawn tokens, (B,), as it came out after rounding."""
        rows = np.arange(len(tokens))
        stages = [self.energies, *(stage.energies for stage in self.field_stages)] if self.field_stages else []
        at = [to_numpy(energies[rows, tokens]).astype(np.float64) for energies in stages]
        # A token that a field has forbidden costs nothing more in the fields after it.
        return {
            stage.name: np.subtract(at[i + 1], at[i], where=np.isfinite(at[i]), out=np.zeros(len(tokens)))
            for i, stage in enumerate(self.field_stages)
        }

    def with_states(self, model_state: State, final_state: State) -> PipelineResult:
        """The same where the states of the model's energies and of those drawn from are known already."""
        fields, windows = self.field_stages, self.window_stages
        if windows:
            windows = (*windows[:-1], replace(windows[-1], known_state=final_state))
        elif fields:
            fields = (*fields[:-1], replace(fields[-1], known_state=final_state))
        return replace(self, field_stages=fields, window_stages=windows, known_state=model_state)

    def select_rows(self, rows: Ints) -> PipelineResult:
        """The same of some rows, in that order."""
        betas = self.betas[rows]
        fields, windows = (
            tuple(PipelineStage(stage.name, stage.energies[rows], betas) for stage in part)
            for part in (self.field_stages, self.window_stages)
        )
        dead = None if self.dead_rows is None else self.dead_rows[rows]
        return PipelineResult(self.energies[rows], betas, fields, windows, dead)

    def _iterate_pairs(self, stages: Iterable[PipelineStage]) -> Iterator[tuple[PipelineStage, PipelineStage]]:
        before: PipelineStage | None = None
        for stage in stages:
            yield before or self._model_stage, stage
            before = stage


class EnergyPipeline:
    """The `fields` and `windows` of a sampler, in the order they act.

    A row that a field leaves nothing is an error, unless rows are to `spare`: then it is marked dead. Windows cut at
    the temperature of the draw, or `cut_at` one of their own.
    """

    def __init__(
        self,
        fields: Field | Sequence[Field] = (),
        windows: Window | Sequence[Window] | None = (),
        *,
        keep_dead_rows: bool = False,
        window_temperature: float | None = None,
    ) -> None:
        self.keep_dead_rows, self.window_temperature = keep_dead_rows, window_temperature
        self.fields: tuple[Field, ...] = (fields,) if isinstance(fields, Field) else tuple(fields)
        self.windows: tuple[Window, ...] = (windows,) if isinstance(windows, Window) else tuple(windows or ())
        self._named_terms = tuple(_name_terms(self.fields))

    @property
    def acts(self) -> bool:
        """Whether there is any field or window."""
        return bool(self.fields or self.windows)

    def with_windows(self, windows: Sequence[Window]) -> EnergyPipeline:
        """The same with further windows at its end."""
        if not windows:
            return self
        return EnergyPipeline(
            self.fields,
            (*self.windows, *windows),
            keep_dead_rows=self.keep_dead_rows,
            window_temperature=self.window_temperature,
        )

    @property
    def field_names(self) -> tuple[str, ...]:
        """What the fields are called, each under a name that no other has."""
        return tuple(name for name, _, _ in self._named_terms)

    def __call__(self, context: Context, betas: Floats, draw_uniform: Callable[[], Floats]) -> PipelineResult:
        """The energies in `context` steered; `draw` gives a window that takes chances its uniform numbers, (B,).

        Raises `BadInput` or `NotANumber` with the name of the field at fault and the token it was asked about.
        """
        stages: list[PipelineStage] = []
        energies, dead = context.energies, None
        for name, weight, part in self._named_terms:
            with _attribute_errors(f"field {name!r}", context):
                total = _add_energies(energies, scale_energies(weight, part(replace(context, energies=energies))))
                if self.keep_dead_rows:
                    total, dead = _restore_dead_rows(energies, total, dead)
                stages.append(_validate_stage(PipelineStage(name, total, betas)))
            energies = total
        cut: list[PipelineStage] = []
        at = betas if self.window_temperature is None else np.full(len(betas), 1 / self.window_temperature)
        for window in self.windows:
            with _attribute_errors(f"window {window.label}", context):
                energies = mask_energies([window], energies, at, draw_uniform)
            cut.append(PipelineStage(window.label, energies, betas))
        return PipelineResult(context.energies, betas, tuple(stages), tuple(cut), dead)


def _find_next_position(context: Context) -> int:
    """The place of the token to come in the longest answer, from 0."""
    return max(len(tokens) - length for tokens, length in zip(context.tokens, context.prompt_lengths, strict=True))


@contextmanager
def _attribute_errors(component: str, context: Context) -> Iterator[None]:
    """Errors say who made them and at which token; those of a field's own code become `BadInput`."""
    try:
        yield
    except MissingExtra:
        raise
    except HeatbathError as error:
        kind = NotANumber if isinstance(error, NotANumber) else BadInput
        raise kind(f"{component} at token {_find_next_position(context)}: {error}", component=component) from error
    except Exception as error:
        sentence = f"{component} at token {_find_next_position(context)} raised {type(error).__name__}: {error}"
        raise BadInput(sentence, component=component) from error


def _restore_dead_rows(before: Any, after: Any, dead_rows: Bools | None) -> tuple[Any, Bools | None]:
    """Rows that have nothing left keep the energies from before, and are dead."""
    ground = after.min(-1)
    nothing = to_numpy(getattr(ground, "values", ground)) == np.inf
    if not nothing.any():
        return after, dead_rows
    rows = np.flatnonzero(nothing)
    total = after.copy() if isinstance(after, np.ndarray) else after.clone()
    total[rows] = upcast_half(before)[rows]
    return total, nothing if dead_rows is None else dead_rows | nothing


def _name_terms(fields: Sequence[Field]) -> Iterator[tuple[str, float, Field]]:
    """Every part of every field under a name that no other has; one of weight 0 is absent and costs nothing."""
    seen: dict[str, int] = {}
    for weight, part in (term for field in fields for term in field.terms):
        seen[part.name] = seen.get(part.name, 0) + 1
        if weight:
            yield part.name if seen[part.name] == 1 else f"{part.name}-{seen[part.name]}", weight, part


def _add_energies(energies: Any, values: Any) -> Any:
    wide = upcast_half(energies)
    try:
        total = wide + asarray_like(values, wide)
    except (ValueError, RuntimeError) as error:
        raise _shape_error(values, energies) from error
    if total.shape != energies.shape:
        raise _shape_error(values, energies)
    return total


def _shape_error(values: Any, energies: Any) -> BadInput:
    given, needed = tuple(np.shape(values)), tuple(energies.shape)
    return BadInput(f"it gave energies of shape {given}, which do not broadcast to {needed}.")


def _validate_stage(stage: PipelineStage) -> PipelineStage:
    """The stage itself, its thermodynamics looked at: a field that forbids everything is named at once."""
    _ = stage.state
    return stage


def _log_mass_change(before: State, after: State, betas: Floats) -> Floats:
    """At T = 0, where log Z is no number, the ground states hold all of it: 0 where they are the same."""
    with np.errstate(invalid="ignore"):
        shift = _to_float64(after.log_z) - _to_float64(before.log_z)
        cold = np.where(_to_float64(after.ground) == _to_float64(before.ground), 0.0, -np.inf)
    return np.where(np.isinf(betas), cold, shift)


def _free_energy_change(before: State, after: State, betas: Floats) -> Floats:
    r"""$\Delta F = -\Delta \log Z / \beta$; its limits are the shift of the ground state and of the mean energy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = _to_float64(after.log_z) - _to_float64(before.log_z)
        change = -shift / betas
    hot = np.where(shift == 0, _to_float64(after.mean_energy) - _to_float64(before.mean_energy), change)
    cold = _to_float64(after.ground) - _to_float64(before.ground)
    return np.where(betas == 0, hot, np.where(np.isinf(betas), cold, change))


def _to_float64(values: Any) -> Floats:
    return to_numpy(values).astype(np.float64)
