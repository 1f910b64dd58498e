"""Ancestral sampling: every token is drawn from the tempered distribution given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Sampler, Step, started
from heatbath.decode.seeds import RowRandom
from heatbath.decode.steer import Steered, steered, windowed
from heatbath.decode.windows import Window
from heatbath.energy.base import Context, Field
from heatbath.ensemble import quantile
from heatbath.models.base import Session

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Draws at `temperatures` (one, or one per row), after `fields` have added and `windows` have cut, in that order.

    T = 0 draws among the ground states, each equally likely.
    """

    temperatures: float | Sequence[float] | Floats = 1.0
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()

    def init(self, session: Session) -> Batch:
        return started(session, self.temperatures)

    def step(self, rng: RowRandom, batch: Batch) -> tuple[Batch, Step]:
        return drawn(batch.advanced(), rng.uniform(), window=self.window, fields=self.fields)


def drawn(
    batch: Batch,
    uniform: Floats,
    *,
    window: Window | Sequence[Window] | None = None,
    fields: Field | Sequence[Field] = (),
) -> tuple[Batch, Step]:
    """One inverse-CDF draw per row, in vocabulary order, from the steered energies."""
    energies = batch.session.energies()
    windows = (window,) if isinstance(window, Window) else tuple(window or ())
    parts = (fields,) if isinstance(fields, Field) else tuple(fields)
    source = _source(batch, energies, parts, windows)
    tokens = quantile(source.drawn, batch.betas, uniform)
    step = Step(
        tokens,
        energies,
        batch.betas,
        source.drawn,
        source.kept_mass,
        source.work,
        source.field_energies(tokens) if parts else {},
    )
    return replace(batch, pending=tokens), step


def _source(batch: Batch, energies: Any, fields: Sequence[Field], windows: Sequence[Window]) -> Steered:
    if not fields and not windows:
        return Steered(energies, np.ones(len(batch.betas)), {}, ())
    context = Context(batch.session.tokens, batch.prompt_lengths.tolist(), int(energies.shape[-1]))
    return windowed(steered(energies, context, batch.betas, fields), batch.betas, windows)
