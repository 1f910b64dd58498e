"""The pipeline from a model's energies to those of the draw: fields add in order, then windows truncate."""

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
    """Energies (B, V) after the field or window of that name, at `betas` (B,), with their state where it is known."""

    name: str
    energies: Any
    betas: Floats
    known_state: State | None = None

    @cached_property
    def state(self) -> State:
        """Thermodynamics of the energies."""
        return state(self.energies, self.betas) if self.known_state is None else self.known_state


@dataclass(frozen=True)
class PipelineResult:
    """A model's `energies` (B, V) at `betas` (B,), with a stage for each field and then one for each window.

    `dead_rows` (B,) marks rows in which a field forbids every token, where such rows are kept: the field is ignored
    there.
    """

    energies: Any
    betas: Floats
    field_stages: tuple[PipelineStage, ...] = ()
    window_stages: tuple[PipelineStage, ...] = ()
    dead_rows: Bools | None = None
    known_state: State | None = None

    @property
    def final_energies(self) -> Any:
        """Energies of the draw, (B, V); the model's own where there are neither fields nor windows."""
        stages = self.field_stages + self.window_stages
        return stages[-1].energies if stages else self.energies

    @cached_property
    def final_log_z(self) -> Floats:
        """log Z of the energies of the draw, (B,)."""
        stages = self.field_stages + self.window_stages
        return _to_float64((stages[-1] if stages else self._model_stage).state.log_z)

    def model_log_z(self, betas: Floats) -> Floats:
        """Return log Z of the model's own energies at `betas` (B,), (B,)."""
        if np.array_equal(betas, self.betas):
            return _to_float64(self._model_stage.state.log_z)
        return _to_float64(state(self.energies, betas).log_z)

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
        """Probability that each window kept of its input, (B,), at most 1."""
        return {window.name: np.minimum(np.exp(self.log_mass[window.name]), 1.0) for window in self.window_stages}

    @property
    def kept_mass(self) -> Floats:
        """Probability that all windows together kept of the distribution with the fields, (B,)."""
        return np.asarray(np.prod([np.ones(len(self.betas)), *self.window_mass.values()], axis=0))

    @cached_property
    def divergences(self) -> dict[str, Floats]:
        """D(after || before) of each field and window, (B,), nats."""
        pairs = self._iterate_pairs(self.field_stages)
        of_fields = {new.name: divergence(new.energies, old.energies, self.betas) for old, new in pairs}
        # Truncation keeps the proportions of the rest, so its divergence is minus the log of the kept mass.
        return of_fields | {window.name: np.maximum(-self.log_mass[window.name], 0.0) for window in self.window_stages}

    @cached_property
    def divergence(self) -> Floats:
        """D(distribution of the draw || model), (B,), nats."""
        if not self.field_stages:
            return np.asarray(np.sum([np.zeros(len(self.betas)), *self.divergences.values()], axis=0))
        if len(self.field_stages) == 1 and not self.window_stages:
            return self.divergences[self.field_stages[0].name]
        return divergence(self.final_energies, self.energies, self.betas)

    def field_energies(self, tokens: Ints) -> dict[str, Floats]:
        """Return the energy that each field added to the drawn tokens, (B,), after rounding."""
        rows = np.arange(len(tokens))
        stages = [self.energies, *(stage.energies for stage in self.field_stages)] if self.field_stages else []
        at = [to_numpy(energies[rows, tokens]).astype(np.float64) for energies in stages]
        # A token that a field has forbidden gets no energy from the fields after it.
        return {
            stage.name: np.subtract(at[i + 1], at[i], where=np.isfinite(at[i]), out=np.zeros(len(tokens)))
            for i, stage in enumerate(self.field_stages)
        }

    def with_states(self, model_state: State, final_state: State) -> PipelineResult:
        """Return a copy that knows the states of the model's energies and of the final energies."""
        fields, windows = self.field_stages, self.window_stages
        if windows:
            windows = (*windows[:-1], replace(windows[-1], known_state=final_state))
        elif fields:
            fields = (*fields[:-1], replace(fields[-1], known_state=final_state))
        return replace(self, field_stages=fields, window_stages=windows, known_state=model_state)

    def with_betas(self, betas: Floats) -> PipelineResult:
        """Return the same energies at other temperatures, of fields alone: windows depend on the temperature."""
        fields = tuple(PipelineStage(stage.name, stage.energies, betas) for stage in self.field_stages)
        return PipelineResult(self.energies, betas, fields, (), self.dead_rows)

    def select_rows(self, rows: Ints) -> PipelineResult:
        """Return the result for some rows, in that order."""
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
    """The `fields` and `windows` of a sampler, in order.

    A row in which a field forbids every token is an error, or is marked as dead with `keep_dead_rows`. Windows truncate
    the distribution at the temperature of the draw, or at `window_temperature`.
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
    def has_steps(self) -> bool:
        """True if there is any field or window."""
        return bool(self.fields or self.windows)

    def with_windows(self, windows: Sequence[Window]) -> EnergyPipeline:
        """Return a pipeline with further windows at its end."""
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
        """Names of the fields, made unique."""
        return tuple(name for name, _, _ in self._named_terms)

    def __call__(self, context: Context, betas: Floats, draw_uniform: Callable[[], Floats]) -> PipelineResult:
        """Apply the fields and windows to the energies in `context`.

        `draw_uniform` returns uniform numbers (B,) for a random window. Raises `BadInput` or `NotANumber` with the name
        of the component at fault and the index of the token.
        """
        return self.apply_windows(self.add_fields(context, betas), context, draw_uniform)

    def add_fields(self, context: Context, betas: Floats) -> PipelineResult:
        """Add the fields alone to the energies in `context`; they do not depend on `betas`."""
        stages: list[PipelineStage] = []
        energies, dead = context.energies, None
        for name, weight, part in self._named_terms:
            with _attribute_errors(f"field {name!r}", context):
                total = _add_energies(energies, scale_energies(weight, part(replace(context, energies=energies))))
                if self.keep_dead_rows:
                    total, dead = _restore_dead_rows(energies, total, dead)
                stages.append(_validate_stage(PipelineStage(name, total, betas)))
            energies = total
        return PipelineResult(context.energies, betas, tuple(stages), (), dead)

    def apply_windows(
        self, result: PipelineResult, context: Context, draw_uniform: Callable[[], Floats]
    ) -> PipelineResult:
        """Apply the windows to energies with the fields added."""
        stages: list[PipelineStage] = []
        energies, betas = result.final_energies, result.betas
        at = betas if self.window_temperature is None else np.full(len(betas), 1 / self.window_temperature)
        for window in self.windows:
            with _attribute_errors(f"window {window.label}", context):
                energies = mask_energies([window], energies, at, draw_uniform)
            stages.append(PipelineStage(window.label, energies, betas))
        return replace(result, window_stages=tuple(stages))


def _find_next_position(context: Context) -> int:
    """Return the index of the next token in the longest completion, from 0."""
    return max(len(tokens) - length for tokens, length in zip(context.tokens, context.prompt_lengths, strict=True))


@contextmanager
def _attribute_errors(component: str, context: Context) -> Iterator[None]:
    """Add the component and the index of the token to errors; other exceptions become `BadInput`."""
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
    """Restore the energies of rows in which every token is forbidden, and mark those rows as dead."""
    ground = after.min(-1)
    empty = to_numpy(getattr(ground, "values", ground)) == np.inf
    if not empty.any():
        return after, dead_rows
    rows = np.flatnonzero(empty)
    total = after.copy() if isinstance(after, np.ndarray) else after.clone()
    total[rows] = upcast_half(before)[rows]
    return total, empty if dead_rows is None else dead_rows | empty


def _name_terms(fields: Sequence[Field]) -> Iterator[tuple[str, float, Field]]:
    """Iterate over the terms of all fields with unique names; terms of weight 0 are left out."""
    counts: dict[str, int] = {}
    for weight, part in (term for field in fields for term in field.terms):
        counts[part.name] = counts.get(part.name, 0) + 1
        if weight:
            yield part.name if counts[part.name] == 1 else f"{part.name}-{counts[part.name]}", weight, part


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
    return BadInput(
        f"expected energies that broadcast to {tuple(energies.shape)}, got shape {tuple(np.shape(values))}."
    )


def _validate_stage(stage: PipelineStage) -> PipelineStage:
    """Return the stage after computing its state, which raises where the field forbids everything."""
    _ = stage.state
    return stage


def _log_mass_change(before: State, after: State, betas: Floats) -> Floats:
    """Return the change of log Z; at T = 0 it is 0 where the ground energy is the same, else -inf."""
    with np.errstate(invalid="ignore"):
        shift = _to_float64(after.log_z) - _to_float64(before.log_z)
        cold = np.where(_to_float64(after.ground) == _to_float64(before.ground), 0.0, -np.inf)
    return np.where(np.isinf(betas), cold, shift)


def _free_energy_change(before: State, after: State, betas: Floats) -> Floats:
    r"""Return $\Delta F = -\Delta \log Z / \beta$; its limits are the shift of the ground and of the mean energy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = _to_float64(after.log_z) - _to_float64(before.log_z)
        change = -shift / betas
    hot = np.where(shift == 0, _to_float64(after.mean_energy) - _to_float64(before.mean_energy), change)
    cold = _to_float64(after.ground) - _to_float64(before.ground)
    return np.where(betas == 0, hot, np.where(np.isinf(betas), cold, change))


def _to_float64(values: Any) -> Floats:
    return to_numpy(values).astype(np.float64)
