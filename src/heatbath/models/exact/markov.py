"""A Markov chain, whose sums over sequences follow from transfer matrices. It has no transition at T > 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, log_probabilities, parameter_fingerprint


class MarkovModel(ExactModel):
    """A model with energies `E[i, j]` (V, V) of token j after token i, and `initial` (V,) of the first token, or 0."""

    def __init__(
        self,
        energies: npt.ArrayLike,
        initial: npt.ArrayLike | None = None,
        *,
        symbols: Sequence[bytes] | None = None,
    ) -> None:
        table = np.asarray(energies, np.float64)
        if table.ndim != 2 or table.shape[0] != table.shape[1]:
            raise BadInput(f"`energies` must be a square matrix, got shape {table.shape}.")
        first = np.zeros(len(table)) if initial is None else np.asarray(initial, np.float64)
        if first.shape != (len(table),):
            raise BadInput(f"`initial` must have shape ({len(table)},), got {first.shape}.")
        # The last row is that of the empty prefix, so that one table holds all states.
        self._table = np.vstack([table, first])
        if np.isnan(self._table).any() or not np.isfinite(self._table.min(-1)).all():
            raise BadInput("every row of `energies` and `initial` needs a finite entry and no NaN.")
        super().__init__("markov", Vocabulary(len(table)), symbols)

    @classmethod
    def random(cls, seed: int, size: int, *, scale: float = 1.0) -> MarkovModel:
        """Build a model with independent Gaussian energies of standard deviation `scale`, also for the first token."""
        table = np.random.default_rng(seed).normal(0.0, scale, (size + 1, size))
        return cls(table[:-1], table[-1])

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("MarkovModel", self._table, self.symbols)

    def initial_state(self, rows: int) -> Ints:
        return np.full((rows, 1), self.vocabulary.size, np.int64)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return tokens[:, None]

    def next_energies(self, state: Ints) -> Floats:
        return np.asarray(self._table[state[:, 0]])

    def transition_matrix(self, beta: float = 1.0) -> Floats:
        """Return the probabilities p[i, j] (V, V) of token j after token i."""
        return np.exp(log_probabilities(self._table[:-1], beta))

    def initial_distribution(self, beta: float = 1.0) -> Floats:
        """Return the probabilities of the first token, (V,)."""
        return np.exp(log_probabilities(self._table[-1], beta))

    def stationary_distribution(self, beta: float = 1.0) -> Floats:
        """Return the distribution (V,) that a step leaves unchanged. Raises `BadInput` when there is more than one."""
        balance = np.vstack(
            [self.transition_matrix(beta).T - np.eye(self.vocabulary.size), np.ones(self.vocabulary.size)]
        )
        if np.linalg.matrix_rank(balance[:-1], tol=1e-12) < self.vocabulary.size - 1:
            raise BadInput(
                f"the chain at beta {beta} has several closed classes: there is no single stationary distribution."
            )
        target = np.append(np.zeros(self.vocabulary.size), 1.0)
        return np.asarray(np.linalg.lstsq(balance, target)[0])

    def entropy_rate(self, beta: float = 1.0) -> float:
        r"""Return $-\sum_i \pi_i \sum_j p_{ij} \log p_{ij}$, nats per token."""
        logp = log_probabilities(self._table[:-1], beta)
        plogp = np.exp(logp) * np.where(np.isinf(logp), 0.0, logp)
        return -float(self.stationary_distribution(beta) @ plogp.sum(-1))

    def logprob(self, tokens: Sequence[int], beta: float = 1.0) -> float:
        """Return the log-probability of a sequence drawn token by token at `beta`."""
        logp = log_probabilities(self._table, beta)
        states = [self.vocabulary.size, *tokens]
        return float(sum(logp[state, token] for state, token in zip(states, tokens, strict=False)))

    def log_z(self, length: int, beta: float = 1.0) -> float:
        r"""Return $\log \sum_x \exp(-\beta \sum_t E_t(x_t))$ over all sequences of `length` tokens.

        It is the partition function of the distribution over sequences, which is not what drawing token by token at
        `beta` samples. Computed with the transfer matrix.
        """
        if length < 1:
            raise BadInput(f"`length` must be at least 1, got {length}.")
        weights = -_scale_energies(beta, self._table)
        vector = weights[-1]
        for _ in range(length - 1):
            vector = _logsumexp(vector[:, None] + weights[:-1])
        return float(_logsumexp(vector))

    def correlation(self, lag: int, beta: float = 1.0) -> Floats:
        r"""Return $C_{ij} = P(x_t = i, x_{t+\mathrm{lag}} = j) - \pi_i \pi_j$ of the stationary chain, (V, V)."""
        stationary = self.stationary_distribution(beta)
        later = np.linalg.matrix_power(self.transition_matrix(beta), lag)
        return np.asarray(stationary[:, None] * (later - stationary))


def _scale_energies(beta: float, energies: Floats) -> Floats:
    """Return beta E, with forbidden states forbidden at beta = 0 too."""
    return np.where(np.isinf(energies), np.inf, beta * np.where(np.isinf(energies), 0.0, energies))


def _logsumexp(values: Floats) -> Floats:
    top = np.maximum(values.max(0), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(values - top).sum(0)))
