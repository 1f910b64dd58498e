"""Schedules: temperature as a function of the step, of the state, and of a memory kept for each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.decode.base import Step
    from heatbath.decode.windows import Window
    from heatbath.energy.base import Context

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """How many samples of how many tokens fit, the temperature for as many, and the seconds they are to take."""

    samples: int
    max_tokens: int
    temperature: float | None = None
    seconds: float | None = None


class Schedule(ABC):
    """Temperatures for each step of each row, T = 0 among them.

    Memory is an array (B, k), one row of it for each row of the batch, so that the caller forks and drops both alike;
    k may be 0. A schedule that remembers nothing and cuts nothing defines `temperatures` alone.
    """

    deterministic: bool = True
    """Whether temperatures depend on the settings, the arguments and the memory alone."""

    @abstractmethod
    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        """The temperatures to draw the next tokens at, (B,); `energies` (B, V) are those the draw will be from."""

    def init(self, rows: int) -> Floats:
        """The memory of rows that have drawn nothing, (B, k)."""
        return np.empty((rows, 0))

    def windows(self, memory: Floats) -> Sequence[Window]:
        """The windows that cut after those of the sampler; usually none."""
        return ()

    def update_memory(self, memory: Floats, step: Step) -> Floats:
        """The memory after a draw, (B, k)."""
        return memory

    def exhausted_rows(self, memory: Floats) -> npt.NDArray[np.bool_]:
        """Which rows have no time for another token, (B,)."""
        return np.zeros(len(memory), bool)

    def plan(self, rows: int, tokens: int) -> Budget:
        """How many of `rows` samples of `tokens` tokens to draw."""
        return Budget(rows, tokens)


def completion_lengths(context: Context) -> Floats:
    """How many tokens each row has drawn, (B,): the place t, from 0, of the token to come."""
    lengths = [len(tokens) for tokens in context.tokens]
    return np.asarray(np.subtract(lengths, context.prompt_lengths), np.float64)


def validate_temperature(name: str, value: float, *, positive: bool = False) -> float:
    """A temperature as a float. Raises BadInput unless it is finite and 0 or more, or above 0 where it must be."""
    good = np.isfinite(value) and (value > 0 if positive else value >= 0)
    if not good:
        raise BadInput(f"{name} is {value}: give a finite temperature {'above 0' if positive else 'of 0 or more'}.")
    return float(value)


def validate_count(name: str, value: int, *, minimum: int = 1) -> int:
    """A count. Raises BadInput below `least`."""
    if value < minimum or value != int(value):
        raise BadInput(f"{name} is {value}: give a whole number of at least {minimum}.")
    return int(value)
