"""Greedy decoding: the ground state at every step, without randomness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.decode.ancestral import drawn
from heatbath.decode.base import Batch, Sampler, Step, started
from heatbath.decode.seeds import RowRandom
from heatbath.energy.base import Field
from heatbath.models.base import Session


@dataclass(frozen=True)
class Greedy(Sampler):
    """The state of lowest energy after `fields` have added; of several the first in vocabulary order.

    `Ancestral` at T = 0 draws among them instead.
    """

    fields: Field | Sequence[Field] = ()

    def init(self, session: Session) -> Batch:
        return started(session, 0.0)

    def step(self, rng: RowRandom, batch: Batch) -> tuple[Batch, Step]:
        return drawn(batch.advanced(), np.zeros(len(batch.betas)), fields=self.fields)
