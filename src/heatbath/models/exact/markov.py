"""A Markov chain of energies: transfer matrices give every sum over sequences. It has no transition at T > 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, log_probabilities, parameter_fingerprint


class MarkovModel(ExactModel):
    """Energies `E[i, j]` (V, V) of token j after token i, and `initial` (V,) of the first token (0 unless given)."""

    def __init__(
        self,
        energies: npt.ArrayLike,
        initial: npt.ArrayLike | None = None,
        *,
        symbols: Sequence[bytes] | None = None,
    ) -> None:
        table = np.asarray(energies, np.float64)
        if table.ndim != 2 or table.shape[0] != table.shape[1]:
            raise BadInput(f"a Markov chain needs a square matrix of energies, not shape {table.shape}.")
        first = np.zeros(len(table)) if initial is None else np.asarray(initial, np.float64)
        if first.shape != (len(table),):
            raise BadInput(f"initial energies must have shape ({len(table)},), not {first.shape}.")
        # The last row belongs to the empty prefix, so that one table answers every state.
        self._table = np.vstack([table, first])
        if np.isnan(self._table).any() or not np.isfinite(self._table.min(-1)).all():
            raise BadInput("every row of a Markov chain's energies needs a finite entry and no NaN.")
        super().__init__("markov", Vocabulary(len(table)), symbols)

    @classmethod
    def random(cls, seed: int, size: int, *, scale: float = 1.0) -> MarkovModel:
        """Independent Gaussian energies of standard deviation `scale`, the first token's too."""
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
        """Probabilities p[i, j] (V, V) of token j after token i."""
        return np.exp(log_probabilities(self._table[:-1], beta))

    def initial_distribution(self, beta: float = 1.0) -> Floats:
        """Probabilities of the first token, (V,)."""
        return np.exp(log_probabilities(self._table[-1], beta))

    def stationary_distribution(self, beta: float = 1.0) -> Floats:
        """The distribution (V,) that a step leaves as it is. Raises `BadInput` when there is more than one."""
        balance = np.vstack(
            [self.transition_matrix(beta).T - np.eye(self.vocabulary.size), np.ones(self.vocabulary.size)]
        )
        if np.linalg.matrix_rank(balance[:-1], tol=1e-12) < self.vocabulary.size - 1:
            raise BadInput(f"the chain at beta {beta} falls apart into closed classes: no single stationary law.")
        target = np.append(np.zeros(self.vocabulary.size), 1.0)
        return np.asarray(np.linalg.lstsq(balance, target)[0])

    def entropy_rate(self, beta: float = 1.0) -> float:
        r"""$-\sum_i \pi_i \sum_j p_{ij} \log p_{ij}$, nats per token."""
        logp = log_probabilities(self._table[:-1], beta)
        plogp = np.exp(logp) * np.where(np.isinf(logp), 0.0, logp)
        return -float(self.stationary_distribution(beta) @ plogp.sum(-1))

    def logprob(self, tokens: Sequence[int], beta: float = 1.0) -> float:
        """Log-probability of a whole sequence drawn token by token at `beta`."""
        logp = log_probabilities(self._table, beta)
        states = [self.vocabulary.size, *tokens]
        return float(sum(logp[state, token] for state, token in zip(states, tokens, strict=False)))

    def log_z(self, length: int, beta: float = 1.0) -> float:
        r"""$\log \sum_x \exp(-\beta \sum_t E_t(x_t))$ over all sequences of `length` tokens, by the transfer matrix.

        It is the partition function of whole sequences, which drawing token by token at `beta` does not follow.
        """
        if length < 1:
            raise BadInput(f"a sequence of {length} tokens has no partition function: give at least 1.")
        weights = -_scale_energies(beta, self._table)
        vector = weights[-1]
        for _ in range(length - 1):
            vector = _logsumexp(vector[:, None] + weights[:-1])
        return float(_logsumexp(vector))

    def correlation(self, lag: int, beta: float = 1.0) -> Floats:
        r"""$C_{ij} = P(x_t = i, x_{t+\mathrm{lag}} = j) - \pi_i \pi_j$ of the stationary chain, (V, V)."""
        law = self.stationary_distribution(beta)
        later = np.linalg.matrix_power(self.transition_matrix(beta), lag)
        return np.asarray(law[:, None] * (later - law))


def _scale_energies(beta: float, energies: Floats) -> Floats:
    """beta E, with forbidden states forbidden at beta = 0 too."""
    return np.where(np.isinf(energies), np.inf, beta * np.where(np.isinf(energies), 0.0, energies))


def _logsumexp(values: Floats) -> Floats:
    top = np.maximum(values.max(0), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(values - top).sum(0)))
