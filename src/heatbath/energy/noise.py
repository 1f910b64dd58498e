"""Noise on energies, a function of seed, row and position."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, unfinished_rows, zero_energies
from heatbath.energy.spec import BuildContext, Range, Spec
from heatbath.errors import BadInput


@dataclass(frozen=True, repr=False)
class _Noise(Field):
    scale: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < np.inf:
            raise BadInput(f"`scale` of field {self.name!r} must be finite and at least 0, got {self.scale}.")
        if not 0 <= self.seed < 2**64:
            raise BadInput(f"`seed` of field {self.name!r} must be from 0 to 2**64 - 1, got {self.seed}.")

    def __call__(self, context: Context) -> Table:
        energies = zero_energies(context)
        for row in unfinished_rows(context) if self.scale else ():
            rng = _build_generator(self.seed, context.row_id(row), len(context.tokens[row]))
            energies[row] = self.scale * self._draw_noise(rng, context.vocab_size)
        return energies

    @abstractmethod
    def _draw_noise(self, rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
        """Draw noise of scale 1 on energies, (V,)."""


@dataclass(frozen=True, repr=False)
class GumbelNoise(_Noise):
    r"""Adds $-s G_v$ with independent standard Gumbel $G_v$, s the `scale` in nats, (B, V).

    At T = 0 the ground state of $E - sG$ is an exact draw from $p \propto e^{-E/s}$. At T > 0, averaged over noise and
    draw, the token is the ground state of $E - sG - TG'$ with an independent Gumbel G': between two states the odds are
    those of $s L + T L'$, with logistic L and L', against their gap. This is not a Boltzmann distribution unless s or T
    is 0; its noise has the variance $\pi^2 (s^2 + T^2)/6$ of a temperature $\sqrt{s^2 + T^2}$. The noise depends only
    on seed, row number (`Context.row_ids`) and position: a row that returns to a position gets the same noise.

    Raises `BadInput` for a scale below 0 and a seed outside 64 bits. Source: Gumbel 1954; Maddison, Tarlow and Minka
    2014, arXiv:1411.0030.
    """

    name: str = "gumbel_noise"

    def _draw_noise(self, rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
        # G = -log X with X exponential; the least positive number keeps an X of 0 from giving infinity.
        return np.log(np.maximum(rng.standard_exponential(size), np.finfo(np.float64).tiny))


@dataclass(frozen=True, repr=False)
class GaussianNoise(_Noise):
    r"""Adds $s \xi_v$ with independent standard normal $\xi_v$, s the `scale` in nats, (B, V).

    Annealed average, the mean of the weights: $\langle e^{-\beta (E + s\xi)} \rangle = e^{\beta^2 s^2/2} e^{-\beta E}$,
    the distribution without noise, with log Z raised by $\beta^2 s^2/2$. Quenched average, the mean of the
    probabilities that tokens are drawn with: $\langle p'_v \rangle = p_v [1 + \beta^2 s^2 (\sum_w p_w^2 - p_v)] +
    O(s^4)$, so probable tokens lose to improbable ones, as at a higher temperature. At T = 0 the token is the ground
    state of $E + s\xi$, Thurstone's model (probit between two states). As Langevin dynamics on the logits it is the
    noise of one step of size $h = s^2/2$, without drift and so without a stationary distribution. The noise depends on
    seed, row number and position, as that of `GumbelNoise`.

    Raises `BadInput` for a scale below 0 and a seed outside 64 bits. Source: Thurstone 1927, doi:10.1037/h0070288.
    """

    name: str = "gaussian_noise"

    def _draw_noise(self, rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
        return rng.standard_normal(size)


def _build_generator(seed: int, row: int, position: int) -> np.random.Generator:
    # The two low words of the counter count the draws, so streams of different rows and positions never overlap.
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, position, row]))


def _build_gumbel(context: BuildContext, scale: float, *, seed: int = 0) -> Field:
    return GumbelNoise(scale, seed)


def _build_gaussian(context: BuildContext, scale: float, *, seed: int = 0) -> Field:
    return GaussianNoise(scale, seed)


_SEEDS = {"scale": Range(0.0, 1e6), "seed": Range(0, 2**63 - 1)}
SPECS = (
    Spec("gumbel_noise", "field", _build_gumbel, "1.0", order=180, ranges=_SEEDS),
    Spec("gaussian_noise", "field", _build_gaussian, "1.0", order=190, ranges=_SEEDS),
)
