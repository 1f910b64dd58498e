"""The abstract schedule, a temperature as a function of step, state and memory; checks of arguments; edge crossings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
class SamplingPlan:
    """The number of samples and of tokens that fit a deadline, with their temperature and expected seconds."""

    samples: int
    max_tokens: int
    temperature: float | None = None
    seconds: float | None = None


class Schedule(ABC):
    """A temperature for each step of each row; T = 0 is allowed.

    Memory is an array (B, k) with one row for each row of the batch, so that the caller forks and drops both together;
    k may be 0. A schedule without memory and windows defines `temperatures` alone.
    """

    deterministic: bool = True
    """True if temperatures depend only on the settings, the arguments and the memory."""

    @abstractmethod
    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        """Return the temperatures of the next draw, (B,).

        `energies` (B, V), which are also those in `context`, are the energies that the draw is from: the model's with
        the fields added, before windows, which depend on the temperature.
        """

    def init(self, rows: int) -> Floats:
        """Return the memory of rows without a generated token, (B, k)."""
        return np.empty((rows, 0))

    def windows(self, memory: Floats) -> Sequence[Window]:
        """Return windows that are applied after those of the sampler; none by default."""
        return ()

    def update_memory(self, memory: Floats, step: Step) -> Floats:
        """Return the memory after a draw, (B, k)."""
        return memory

    def exhausted_rows(self, memory: Floats) -> npt.NDArray[np.bool_]:
        """Return the mask of rows that have no time for another token, (B,)."""
        return np.zeros(len(memory), bool)

    def plan(self, rows: int, tokens: int) -> SamplingPlan:
        """Return how many of `rows` samples of `tokens` tokens to draw."""
        return SamplingPlan(rows, tokens)


def completion_lengths(context: Context) -> Floats:
    """Return the number of generated tokens of each row, (B,): the position t, from 0, of the next token."""
    lengths = [len(tokens) for tokens in context.tokens]
    return np.asarray(np.subtract(lengths, context.prompt_lengths), np.float64)


def validate_temperature(name: str, value: float, *, positive: bool = False) -> float:
    """Return the temperature as a float. Raises `BadInput` unless it is finite and 0 or greater, or positive."""
    is_valid = np.isfinite(value) and (value > 0 if positive else value >= 0)
    if not is_valid:
        raise BadInput(f"{name} must be finite and {'positive' if positive else '0 or greater'}, got {value}.")
    # Adding 0 makes a positive zero of a negative one, whose inverse would be -inf.
    return float(value) + 0.0


def validate_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Return the count as an integer. Raises `BadInput` below `minimum` and for fractions."""
    if value < minimum or value != int(value):
        raise BadInput(f"{name} must be a whole number of at least {minimum}, got {value}.")
    return int(value)


def find_edge_crossings(temperatures: npt.ArrayLike, edges: Mapping[str, float]) -> list[tuple[int, str, int]]:
    r"""Find the steps t of the temperatures (t,) of one row that cross an edge of a phase map.

    Returns (t, name, sign) with sign +1 when heating and -1 when cooling. A step crosses the edge $T_e$ when $T_{t-1}$
    and $T_t$ lie on different sides of it, $T=T_e$ being its upper side; edges that one step crosses are in the order
    of crossing. Raises `BadInput` for NaN among the numbers.
    """
    values = np.asarray(temperatures, np.float64).reshape(-1)
    if np.isnan(values).any() or np.isnan(np.asarray(list(edges.values()), np.float64)).any():
        raise BadInput("temperatures and edges must be numbers, got NaN.")
    crossings: list[tuple[int, str, int]] = []
    for t in range(1, len(values)):
        crossings.extend((t, name, sign) for name, sign in _find_edges_between(values[t - 1], values[t], edges))
    return crossings


def _find_edges_between(before: float, after: float, edges: Mapping[str, float]) -> Sequence[tuple[str, int]]:
    sign = 1 if after > before else -1
    crossed = [(edge, name) for name, edge in edges.items() if (before >= edge) != (after >= edge)]
    return [(name, sign) for _, name in sorted(crossed, reverse=sign < 0)]
