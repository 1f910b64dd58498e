"""Greedy decoding: the ground state at every step, without randomness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heatbath.decode.base import Batch, Sampler, Step, Task
from heatbath.decode.seeds import Random
from heatbath.decode.steer import Steering
from heatbath.energy.base import Field
from heatbath.ensemble import quantile


@dataclass(frozen=True)
class Greedy(Sampler[Batch, Step]):
    """The state of lowest energy after `fields` have added; of several the first in vocabulary order.

    `Ancestral` at T = 0 draws among them instead.
    """

    fields: Field | Sequence[Field] = ()

    @cached_property
    def steering(self) -> Steering:
        """What acts between the model's energies and the choice."""
        return Steering(self.fields)

    def init(self, task: Task) -> Batch:
        batch = task.open()
        return replace(batch, betas=np.full(len(batch.rows), np.inf))

    def step(self, rng: Random, state: Batch) -> tuple[Batch, Step]:
        batch = state.advanced()
        steered = self.steering(batch.context(batch.session.energies()), batch.betas, rng.uniform)
        tokens = quantile(steered.drawn, batch.betas, np.zeros(len(batch.betas)))
        return replace(batch, pending=tokens), Step(tokens, steered)
