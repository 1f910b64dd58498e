"""Greedy decoding: the ground state at every step, without randomness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heatbath.decode.base import Batch, Sampler, Step, Task
from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.decode.rng import Random
from heatbath.energy.base import Field
from heatbath.ensemble import quantile


@dataclass(frozen=True)
class Greedy(Sampler[Batch, Step]):
    """The state of lowest energy after `fields` have added; of several the first in vocabulary order.

    `Ancestral` at T = 0 draws among them instead.
    """

    fields: Field | Sequence[Field] = ()

    @cached_property
    def pipeline(self) -> EnergyPipeline:
        """What acts between the model's energies and the choice."""
        return EnergyPipeline(self.fields)

    def init(self, task: Task) -> Batch:
        batch = task.open_batch()
        return replace(batch, betas=np.full(len(batch.row_ids), np.inf))

    def step(self, rng: Random, state: Batch) -> tuple[Batch, Step]:
        batch = state.push_pending()
        steered = self.pipeline(batch.build_context(batch.session.energies()), batch.betas, rng.uniform)
        tokens = quantile(steered.final_energies, batch.betas, np.zeros(len(batch.betas)))
        return replace(batch, pending_tokens=tokens), Step(tokens, steered)
