"""From a model's energies to those really drawn from: fields add one by one, then windows cut; each leaves its mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows import Window, applied
from heatbath.energy.algebra import scaled
from heatbath.energy.base import Context, Field
from heatbath.ensemble import State, state
from heatbath.ensemble.arrays import asarray_like, to_numpy, widened
from heatbath.errors import BadInput, NotANumber

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Steered:
    """Energies drawn from (B, V), probability the windows left (B,), free-energy change of each field (B,).

    `stages` are the energies (B, V) before the first field and after each.
    """

    drawn: Any
    kept_mass: Floats
    work: dict[str, Floats]
    stages: tuple[Any, ...]

    def field_energies(self, tokens: Ints) -> dict[str, Floats]:
        """The energy each field gave the drawn tokens, (B,), as it came out after rounding."""
        rows = np.arange(len(tokens))
        at = [to_numpy(stage[rows, tokens]).astype(np.float64) for stage in self.stages]
        return {name: at[i + 1] - at[i] for i, name in enumerate(self.work)}


def steered(energies: Any, context: Context, betas: Floats, fields: Sequence[Field]) -> Steered:
    """Fields one upon another in their order. Raises `BadInput` or `NotANumber` with the name of the field at fault."""
    stages, work = [energies], {}
    before = state(energies, betas) if fields else None
    for name, weight, field in _named(fields):
        stages.append(_plus(stages[-1], scaled(weight, field(context)), name))
        after = _state(stages[-1], betas, name)
        work[name] = _free_energy_change(before, after, betas)
        before = after
    return Steered(stages[-1], np.ones(len(betas)), work, tuple(stages))


def windowed(steered: Steered, betas: Floats, windows: Sequence[Window]) -> Steered:
    """Windows in their order, on the distribution at `betas` of what the fields made."""
    if not windows:
        return steered
    drawn = applied(windows, steered.drawn, betas)
    with np.errstate(invalid="ignore"):
        kept = _array(state(drawn, betas).log_z) - _array(state(steered.drawn, betas).log_z)
    # Rounding may lift a kept mass above 1; at T = 0 every window keeps the ground states, which hold all of it.
    mass = np.where(np.isinf(betas), 1.0, np.minimum(np.exp(kept), 1.0))
    return Steered(drawn, mass, steered.work, steered.stages)


def _named(fields: Sequence[Field]) -> Iterator[tuple[str, float, Field]]:
    """Every part of every field, under a name that no other has."""
    seen: dict[str, int] = {}
    for weight, part in (term for field in fields for term in field.terms):
        seen[part.name] = seen.get(part.name, 0) + 1
        yield part.name if seen[part.name] == 1 else f"{part.name}-{seen[part.name]}", weight, part


def _plus(energies: Any, values: Any, name: str) -> Any:
    wide = widened(energies)
    try:
        total = wide + asarray_like(values, wide)
    except (ValueError, RuntimeError) as error:
        raise _misshapen(name, values, energies) from error
    if total.shape != energies.shape:
        raise _misshapen(name, values, energies)
    return total


def _misshapen(name: str, values: Any, energies: Any) -> BadInput:
    given, needed = tuple(np.shape(values)), tuple(energies.shape)
    return BadInput(f"field {name!r} gave energies of shape {given}, which do not broadcast to {needed}.")


def _state(energies: Any, betas: Floats, name: str) -> State:
    try:
        return state(energies, betas)
    except NotANumber as error:
        raise NotANumber(f"with field {name!r}: {error}") from error
    except BadInput as error:
        raise BadInput(f"with field {name!r}: {error}") from error


def _free_energy_change(before: Any, after: State, betas: Floats) -> Floats:
    r"""$\Delta F = -\Delta \log Z / \beta$; its limits are the shift of the ground state and of the mean energy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = _array(after.log_z) - _array(before.log_z)
        change = -shift / betas
    hot = np.where(shift == 0, _array(after.mean_energy) - _array(before.mean_energy), change)
    cold = _array(after.ground) - _array(before.ground)
    return np.where(betas == 0, hot, np.where(np.isinf(betas), cold, change))


def _array(values: Any) -> Floats:
    return to_numpy(values).astype(np.float64)
