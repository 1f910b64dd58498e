"""Greedy decoding: the state of lowest energy at every step, without randomness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.decode.ancestral import draw_tokens
from heatbath.decode.base import Batch, Step, Task, TokenSampler
from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.decode.independent import Independent
from heatbath.decode.rng import Random, ZeroRandom
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.energy.base import Field
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Greedy(TokenSampler):
    """Take the state of lowest energy after `fields` are added, the first in vocabulary order where several tie.

    `Ancestral` at T = 0 draws among ties instead.
    """

    fields: Field | Sequence[Field] = ()

    @cached_property
    def pipeline(self) -> EnergyPipeline:
        """The fields between the model's energies and the choice."""
        return EnergyPipeline(self.fields)

    def init(self, task: Task) -> Batch:
        batch = task.open_batch()
        return replace(batch, betas=np.full(len(batch.row_ids), np.inf))

    def step(self, rng: Random, state: Batch, energies: Any) -> tuple[Batch, Step]:
        return draw_tokens(ZeroRandom(len(state.row_ids)), state, energies, self.pipeline)


def _build_greedy(arguments: SamplerArguments) -> Independent:
    if arguments.window:
        raise BadInput("a window changes nothing for the greedy sampler: leave it out.")
    return Independent(Greedy(arguments.fields), logprob_temperature=1.0)


SPEC = Spec("greedy", "sampler", _build_greedy, order=20, streams=True)
