"""The contract of a sampler: its draws follow the distribution it claims, on trees where that can be enumerated.

Frequencies alone see little: tests on them pass samplers whose temperature is wrong by several percent. So three
numbers are tested before: mean and variance of the energy, and the mean of the score of the temperature, which sees
2 % in the default setting.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Task, TokenSampler
from heatbath.decode.rng import RowRandom
from heatbath.decode.sequences import run
from heatbath.models.exact.table import TableModel
from heatbath.testing.comparison import Floats

Ints = npt.NDArray[np.int64]
_MIN_EXPECTED = 10.0


@dataclass(frozen=True)
class _Draws:
    """What came out: `index` (n,) into the model's sequences, and the log-probability claimed for each draw."""

    sequence_index: Ints
    claimed_logprob: Floats


def check_sampler(
    sampler: TokenSampler,
    model: TableModel | None = None,
    *,
    logprobs: npt.ArrayLike | None = None,
    samples: int = 20_000,
    error_rate: float = 1e-5,
) -> None:
    """Raise AssertionError with a sentence when draws do not follow `logprobs` (n,) over `model.sequences()`.

    `logprobs` are the model's own at T = 1 unless given. Four tests, each at a quarter of `error_rate`: z-tests on the
    mean and variance of the total energy and on the score of the temperature, and chi-square on the sequences. A right
    sampler fails with probability about `error_rate` over seeds; the seed is fixed, so that a verdict stays.
    """
    model = model or TableModel.random(0, 4, 6, stop_token_ids=(3,), scale=2.0)
    target = model.logprobs() if logprobs is None else np.asarray(logprobs, np.float64)
    draws = _draw_sequences(sampler, model, samples)
    check_claim(draws, target)
    check_moments(draws.sequence_index, compute_statistics(model, target), np.exp(target), error_rate / 4)
    check_frequencies(np.bincount(draws.sequence_index, minlength=len(target)), np.exp(target), error_rate / 4)


def check_claim(draws: _Draws, target: Floats) -> None:
    """The log-probability a sampler states for each draw is the target's."""
    worst = float(np.abs(draws.claimed_logprob - target[draws.sequence_index]).max())
    assert worst <= 1e-6, f"claimed log-probabilities are off by up to {worst:.3g} nats."


def check_moments(index: Ints, statistics: dict[str, Floats], probability: Floats, error_rate: float) -> None:
    """z-tests on the means of `statistics` (n,) over the drawn sequences `index`."""
    from scipy.stats import norm

    most = norm.isf(error_rate / 2)
    for what, values in statistics.items():
        mean = probability @ values
        stderr = np.sqrt(probability @ (values - mean) ** 2 / len(index))
        off = values[index].mean() - mean
        z = off / stderr if abs(off) > 1e-9 else 0.0
        assert not abs(z) > most, f"the {what} is {z:+.1f} standard errors off, more than {most:.1f}."


def check_frequencies(counts: Ints, probability: Floats, error_rate: float) -> None:
    """Chi-square on how often each sequence came; rare ones are counted together."""
    from scipy.stats import chi2

    assert not counts[probability == 0].any(), "a sequence of probability 0 was drawn."
    expected = probability * counts.sum()
    common = expected >= _MIN_EXPECTED
    found = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    found, wanted = found[wanted > 0], wanted[wanted > 0]
    if len(wanted) < 2:
        return
    p = chi2.sf(((found - wanted) ** 2 / wanted).sum(), len(wanted) - 1)
    assert p >= error_rate, f"sequence frequencies have p = {p:.2g}, less than {error_rate:.2g}."


def _draw_sequences(sampler: TokenSampler, model: TableModel, samples: int) -> _Draws:
    task, rng = Task(model, [[]] * samples, model.tree.length, model.vocabulary.stop_token_ids), RowRandom(0, samples)
    claimed, columns = np.zeros(samples), []
    for _, step in zip(range(model.tree.length), (step for _, step in run(sampler, rng, task)), strict=False):
        claimed += step.logprob
        columns.append(np.asarray(step.tokens))
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    stop = set(model.vocabulary.stop_token_ids)
    ended = (_cut_after_stop(row, stop) for row in np.stack(columns, axis=1).tolist())
    return _Draws(np.asarray([number[row] for row in ended], np.int64), claimed)


def _cut_after_stop(tokens: list[int], stop: set[int]) -> tuple[int, ...]:
    last = next((t for t, token in enumerate(tokens, 1) if token in stop), len(tokens))
    return tuple(tokens[:last])


def compute_statistics(model: TableModel, target: Floats) -> dict[str, Floats]:
    """What is averaged, (n,) each, 0 where the target forbids a sequence."""
    possible, probability = target > -np.inf, np.exp(target)
    energies = np.where(possible, model.energies(), 0.0)
    return {
        "mean of the energy": energies,
        "variance of the energy": np.where(possible, (energies - probability @ energies) ** 2, 0.0),
        "score of the temperature": _compute_temperature_score(model.sequences(), target),
    }


def _compute_temperature_score(sequences: list[tuple[int, ...]], target: Floats) -> Floats:
    r"""$\sum_t [-\log p(x_t | x_{<t}) - S(x_{<t})]$: how likelihood answers to a temperature changed at every token."""
    mass: dict[tuple[int, ...], float] = defaultdict(float)
    for sequence, p in zip(sequences, np.exp(target), strict=True):
        for t in range(len(sequence) + 1):
            mass[sequence[:t]] += p
    entropy: dict[tuple[int, ...], float] = defaultdict(float)
    for prefix, p in mass.items():
        if prefix and p > 0:
            share = p / mass[prefix[:-1]]
            entropy[prefix[:-1]] -= share * np.log(share)
    met = np.asarray([sum(entropy[sequence[:t]] for t in range(len(sequence))) for sequence in sequences])
    return np.where(target > -np.inf, -target - met, 0.0)
