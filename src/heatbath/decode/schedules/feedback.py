"""Feedback schedules on the surprisal of the drawn tokens, by temperature or by truncation (mirostat)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule
from heatbath.decode.windows import Window, max_surprisal, zipf_top_k
from heatbath.energy.base import Context

if TYPE_CHECKING:
    from heatbath.decode.base import Step


@dataclass(frozen=True)
class SurprisalFeedback(Schedule):
    r"""Integral control of the mean surprisal: $\ln T\leftarrow\ln T-g\,(s-s^*)$ between the two temperatures.

    s is the surprisal of the drawn token, nats, with the fields and before windows. Memory is ln T, (B, 1), which
    starts at `initial_temperature`.
    """

    target: float
    gain: float
    initial_temperature: float
    min_temperature: float
    max_temperature: float

    def init(self, rows: int) -> Floats:
        return np.full((rows, 1), np.log(self.initial_temperature))

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        return np.exp(memory[:, 0])

    def update_memory(self, memory: Floats, step: Step) -> Floats:
        log_temperature = memory - self.gain * (surprisal(step) - self.target)[:, None]
        return np.clip(log_temperature, np.log(self.min_temperature), np.log(self.max_temperature))


@dataclass(frozen=True)
class MirostatSchedule(Schedule):
    r"""Truncation by feedback: $\mu\leftarrow\mu-\eta\,(s-\tau)$, from $\mu=2\tau$; memory is mu, (B, 1), nats.

    Version 2 keeps the states of surprisal at most mu. Version 1 keeps the k most probable states, with k from Zipf's
    law fitted to the hundred most probable. s is the surprisal with the fields and before windows, as in the paper;
    llama.cpp uses the renormalised one. Source: Basu et al. 2020, arXiv:2007.14966, algorithm 1.
    """

    target: float
    rate: float
    version: int
    temperature: float

    def init(self, rows: int) -> Floats:
        return np.full((rows, 1), 2 * self.target)

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        return np.full(len(memory), self.temperature)

    def windows(self, memory: Floats) -> Sequence[Window]:
        limits = memory[:, 0]
        return (max_surprisal(limits) if self.version == 2 else zipf_top_k(limits),)

    def update_memory(self, memory: Floats, step: Step) -> Floats:
        return np.asarray(memory - self.rate * (surprisal(step) - self.target)[:, None])


def surprisal(step: Step) -> Floats:
    """Return minus the log-probability of the drawn tokens before windows are applied, (B,), nats."""
    return np.asarray(-(step.logprob + np.log(step.kept_mass)))
