"""The random energy model as a language model, whose sequences freeze at a known temperature.

Source: Derrida 1981, Phys. Rev. B 24, 2613.
"""

from __future__ import annotations

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, log_probabilities, parameter_fingerprint
from heatbath.models.exact.tree import EnergyTree


class RandomEnergyModel(ExactModel):
    r"""A model of `2^length` binary sequences with independent Gaussian energies of variance length / 2.

    Drawn token by token at T = 1 a sequence has $\log p = -E - \log Z(1)$; token energies are $-\log p(x_t | x_{<t})$
    at T = 1. The distribution $\exp(-\beta E)$ over sequences freezes at $\beta_c = 2\sqrt{\ln 2}$.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        if not 1 <= length <= 16:
            raise BadInput(f"`length` must be from 1 to 16, got {length}: all 2^length energies are held in memory.")
        self.length, self.seed = length, seed
        self.sequence_energies: Floats = np.random.default_rng(seed).normal(0.0, np.sqrt(length / 2), 2**length)
        self._tree = EnergyTree(_conditional_energies(self.sequence_energies), length)
        super().__init__(f"rem({length})", Vocabulary(2), [b"0", b"1"])
        self.context_length = length

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("RandomEnergyModel", self.sequence_energies)

    @property
    def critical_beta(self) -> float:
        r"""$\beta_c = 2 \sqrt{\ln 2}$, where the entropy per token of an infinitely long model vanishes."""
        return float(2 * np.sqrt(np.log(2)))

    def initial_state(self, rows: int) -> Ints:
        return self._tree.initial_state(rows)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return self._tree.advance(state, tokens)

    def next_energies(self, state: Ints) -> Floats:
        return self._tree.next_energies(state)

    def sequences(self) -> list[tuple[int, ...]]:
        """List all sequences, in order of tokens."""
        return self._tree.sequences()

    def logprobs(self, beta: float = 1.0) -> Floats:
        """Return the exact log-probabilities of all sequences, drawn token by token at `beta`, (n,)."""
        return self._tree.logprobs(beta)

    def log_z(self, beta: float) -> float:
        r"""Return $\log \sum_x \exp(-\beta E_x)$ over all sequences."""
        ground = self.sequence_energies.min()
        return float(np.log(np.exp(-beta * (self.sequence_energies - ground)).sum()) - beta * ground)

    def entropy(self, beta: float) -> float:
        """Return the entropy of the distribution exp(-beta E) over sequences, nats."""
        logp = log_probabilities(self.sequence_energies, beta)
        return -float(np.exp(logp) @ np.where(np.isinf(logp), 0.0, logp))


def _conditional_energies(energies: Floats) -> Floats:
    """Return the energies of the next bit at every inner node, (nodes, 2): minus log of each child's share of Z."""
    levels, below = [], -energies
    while len(below) > 1:
        pairs = below.reshape(-1, 2)
        below = np.logaddexp(pairs[:, 0], pairs[:, 1])
        levels.append(below[:, None] - pairs)
    return np.concatenate(levels[::-1])
