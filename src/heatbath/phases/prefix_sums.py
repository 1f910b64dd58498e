"""Sums over the prefixes of each sequence of a sweep, which give its probability at any temperature.

Interpolation of log Z is linear in the nodes, so the nodes summed over tokens are sufficient: a sequence of any length
takes a few hundred numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import NODE_BETAS, LogZ
from heatbath.record import Record

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCKS = 16
"""Number of prefixes per sequence, evenly spaced, for which sums are stored."""


@dataclass(frozen=True)
class PrefixSums:
    """Sums over the tokens of each prefix at one `beta`, (n, c) each: energies above the ground, log Z, U and Var E.

    `surprisal` is minus the log-probability at T = 1, for every `beta`.
    """

    beta: float
    excess_energy: Floats
    log_z: Floats
    mean_energy: Floats
    variance: Floats
    surprisal: Floats


@dataclass(frozen=True)
class SweepSamples:
    """n sequences of up to N tokens, sampled at `betas` (n,), with sums over their first `prefix_lengths` (c,) tokens.

    `excess_energy` (n, c) sums the energies of the tokens above the ground state of their ensembles; `log_z` (n, c)
    sums the log-partition functions, in the gauge where every ground energy is zero.

    With `may_end`, texts may have ended by themselves: `tokens` (n, N) holds -1 beyond their last, which is the
    end-of-text token. An ended text is one that stays as it is with probability 1, so it adds nothing to the sums, and
    they still give its probability at any temperature.

    `is_reweightable` is false for texts drawn through windows. The sums are of the model without windows, so they do
    not give the probability of such a text, and each counts at its own temperature alone.
    """

    betas: Floats
    tokens: NDArray[np.int32]
    prefix_lengths: Ints
    excess_energy: Floats
    log_z: LogZ
    may_end: bool = False
    is_reweightable: bool = True

    def __len__(self) -> int:
        return len(self.betas)

    @property
    def length(self) -> int:
        """Most tokens per sequence, N."""
        return int(self.tokens.shape[1])

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each sequence, the end-of-text token included, (n,)."""
        return np.asarray((self.tokens >= 0).sum(1), np.int64)

    def log_probability(self, beta: float) -> Floats:
        r"""$\log q_\beta$ of each prefix, $-\sum_t [\beta E_t + \log Z_t(\beta)]$, (n, c) nats."""
        return -beta * self.excess_energy - self.log_z.log_z(beta)

    @cached_property
    def surprisal(self) -> Floats:
        """Minus the log-probability of each prefix at T = 1, (n, c) nats."""
        return -self.log_probability(1.0)

    def own_log_probability(self) -> Floats:
        """Return the log-probability of each whole text at its own temperature, (n,) nats."""
        whole = _map_columns(lambda column: column[:, -1], self.log_z)
        return np.asarray(-self.betas * self.excess_energy[:, -1] - whole.log_z(self.betas))

    def score(self, beta: float) -> Floats:
        r"""$Q = \sum_t (E_t - U_t)$ of each prefix, (n, c) nats: minus the derivative of `log_probability` by beta."""
        return self.excess_energy - self.log_z.mean_energy(beta)

    def log_probabilities(self, betas: Floats) -> Floats:
        """Return `log_probability` of each prefix at each of `betas` (k,), (k, n, c) nats."""
        return -betas[:, None, None] * self.excess_energy - self.log_z.moments_at(betas)[0]

    def sums_at(self, beta: float) -> PrefixSums:
        """Return the sums of every prefix at one inverse temperature."""
        return PrefixSums(beta, self.excess_energy, *self.log_z.moments(beta), self.surprisal)

    def list_sums(self, betas: Floats) -> list[PrefixSums]:
        """Return `sums_at` for each of many inverse temperatures."""
        moments = zip(*self.log_z.moments_at(betas), strict=True)
        return [
            PrefixSums(b, self.excess_energy, *m, self.surprisal) for b, m in zip(betas.tolist(), moments, strict=True)
        ]

    def select_rows(self, rows: Ints | NDArray[np.bool_]) -> SweepSamples:
        """Return the sequences selected by an index or a mask."""
        return replace(
            self,
            betas=self.betas[rows],
            tokens=self.tokens[rows],
            excess_energy=self.excess_energy[rows],
            log_z=_map_columns(lambda column: column[rows], self.log_z),
        )

    def find_prefix(self, length: int) -> int:
        """Return the index of a length in `prefix_lengths`."""
        return int(np.searchsorted(self.prefix_lengths, length))


def _map_columns(function: Callable[..., Floats], *parts: LogZ) -> LogZ:
    """Return log Z of the same nodes, each column the function of that column of `parts`."""
    columns = zip(*((part.ground, part.log_z_k, part.mean_energy_k, part.variance_k) for part in parts), strict=True)
    ground, log_z_k, mean_energy_k, variance_k = (function(*column) for column in columns)
    return LogZ(parts[0].betas, ground, log_z_k, mean_energy_k, variance_k)


def compute_prefix_sums(betas: Floats, tokens: NDArray[np.int32], record: Record) -> SweepSamples:
    """Compute the sums of sequences: betas (n,), tokens (n, N), a record of shape (n, N).

    Beyond the end of a sequence tokens are -1 and the columns of the record zero.
    """
    n, length = tokens.shape
    prefix_lengths = np.unique(np.linspace(0, length, BLOCKS + 1).round().astype(np.int64)[1:])
    starts = np.concatenate([[0], prefix_lengths[:-1]])

    def sum_prefixes(column: Floats) -> Floats:
        blocks = np.add.reduceat(column, starts, axis=1, dtype=np.float64)
        return np.asarray(blocks.cumsum(1))

    excess, nodes = sum_prefixes(record["energy"] - record["ground"]), record.nodes
    log_z = LogZ(
        NODE_BETAS,
        np.zeros((n, len(prefix_lengths))),
        sum_prefixes(nodes.log_z_k),
        sum_prefixes(nodes.mean_energy_k),
        sum_prefixes(nodes.variance_k),
    )
    return SweepSamples(betas, tokens, prefix_lengths, excess, log_z)


def concatenate_samples(parts: Sequence[SweepSamples]) -> SweepSamples:
    """Join samples of one plan."""
    return replace(
        parts[0],
        betas=np.concatenate([part.betas for part in parts]),
        tokens=np.concatenate([part.tokens for part in parts]),
        excess_energy=np.concatenate([part.excess_energy for part in parts]),
        log_z=_map_columns(lambda *columns: np.concatenate(columns), *[part.log_z for part in parts]),
    )


@dataclass(frozen=True)
class TextRange:
    """A range of the text between two prefixes: the indices `start` (-1: the beginning) and `stop`."""

    start: int
    stop: int

    def mean_rate(self, samples: SweepSamples, sums_nc: Floats) -> Floats:
        """Return the average per token of summed quantities over the range, (n,)."""
        before = sums_nc[:, self.start] if self.start >= 0 else 0.0
        first = samples.prefix_lengths[self.start] if self.start >= 0 else 0
        return np.asarray((sums_nc[:, self.stop] - before) / (samples.prefix_lengths[self.stop] - first))

    def share_present(self, samples: SweepSamples) -> Floats:
        """Return the share of the range that each text reaches before it ends, (n,)."""
        first = samples.prefix_lengths[self.start] if self.start >= 0 else 0
        width = samples.prefix_lengths[self.stop] - first
        return np.asarray(np.clip(samples.lengths - first, 0, width) / width)

    def split_blocks(self) -> list[TextRange]:
        """Return the ranges between neighbouring prefixes."""
        return [TextRange(i - 1, i) for i in range(self.start + 1, self.stop + 1)]


RateFunction = Callable[[PrefixSums], Floats]
"""Maps the sums at one temperature to the sums (n, c) of a quantity per token."""
