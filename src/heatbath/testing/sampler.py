"""The contract of a sampler: its draws follow the distribution it claims, on trees where that can be enumerated.

Frequencies alone see little: tests on them pass samplers whose temperature is wrong by several percent. The mean and
the variance of the energy see 2 %, so they are tested first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Sampler, run
from heatbath.decode.seeds import RowRandom
from heatbath.models.table import TableModel
from heatbath.testing.compare import Floats

Ints = npt.NDArray[np.int64]
_LEAST_EXPECTED = 10.0


@dataclass(frozen=True)
class _Draws:
    """What came out: `index` (n,) into the model's sequences, and the log-probability claimed for each draw."""

    index: Ints
    claimed: Floats


def check_sampler(
    sampler: Sampler,
    model: TableModel | None = None,
    *,
    logprobs: npt.ArrayLike | None = None,
    samples: int = 20_000,
    error_rate: float = 1e-5,
) -> None:
    """Raise AssertionError with a sentence when draws do not follow `logprobs` (n,) over `model.sequences()`.

    `logprobs` are the model's own at T = 1 unless given. Three tests, each at a third of `error_rate`: z-tests on the
    mean and on the variance of the total energy, and chi-square on the sequences. A right sampler fails with
    probability at most about `error_rate` over seeds; the seed is fixed, so that a verdict stays.
    """
    model = model or TableModel.random(0, 3, 5, stop=(2,), scale=1.5)
    target = model.logprobs() if logprobs is None else np.asarray(logprobs, np.float64)
    draws = _drawn(sampler, model, samples)
    check_claim(draws, target)
    check_energy(model.energies()[draws.index], _possible(model.energies(), target), error_rate / 3)
    check_frequencies(np.bincount(draws.index, minlength=len(target)), np.exp(target), error_rate / 3)


def check_claim(draws: _Draws, target: Floats) -> None:
    """The log-probability a sampler states for each draw is the target's."""
    worst = float(np.abs(draws.claimed - target[draws.index]).max())
    assert worst <= 1e-6, f"claimed log-probabilities are off by up to {worst:.3g} nats."


def check_energy(drawn: Floats, exact: tuple[Floats, Floats], error_rate: float) -> None:
    """z-tests on the mean and variance of the energy; `exact` holds energies and their probabilities."""
    from scipy.stats import norm

    energies, probability = exact
    mean = probability @ energies
    for what, values, expected in (
        ("mean", drawn, energies),
        ("variance", (drawn - mean) ** 2, (energies - mean) ** 2),
    ):
        first = probability @ expected
        stderr = np.sqrt(probability @ (expected - first) ** 2 / len(values))
        z = (values.mean() - first) / stderr if stderr > 0 else np.inf * (abs(values.mean() - first) > 1e-9)
        most = norm.isf(error_rate / 2)
        assert not abs(z) > most, f"the {what} of the energy is {z:+.1f} standard errors off, more than {most:.1f}."


def check_frequencies(counts: Ints, probability: Floats, error_rate: float) -> None:
    """Chi-square on how often each sequence came; rare ones are counted together."""
    from scipy.stats import chi2

    assert not counts[probability == 0].any(), "a sequence of probability 0 was drawn."
    expected = probability * counts.sum()
    common = expected >= _LEAST_EXPECTED
    found = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    found, wanted = found[wanted > 0], wanted[wanted > 0]
    if len(wanted) < 2:
        return
    p = chi2.sf(((found - wanted) ** 2 / wanted).sum(), len(wanted) - 1)
    assert p >= error_rate, f"sequence frequencies have p = {p:.2g}, less than {error_rate:.2g}."


def _drawn(sampler: Sampler, model: TableModel, samples: int) -> _Draws:
    session, rng = model.open([[]] * samples), RowRandom(0, samples)
    claimed, columns = np.zeros(samples), []
    for _, step in zip(range(model.tree.length), (step for _, step in run(sampler, rng, session)), strict=False):
        claimed += step.logprob
        columns.append(np.asarray(step.tokens))
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    stop = set(model.vocabulary.stop)
    ended = (_ended(row, stop) for row in np.stack(columns, axis=1).tolist())
    return _Draws(np.asarray([number[row] for row in ended], np.int64), claimed)


def _ended(tokens: list[int], stop: set[int]) -> tuple[int, ...]:
    last = next((t for t, token in enumerate(tokens, 1) if token in stop), len(tokens))
    return tuple(tokens[:last])


def _possible(energies: Floats, target: Floats) -> tuple[Floats, Floats]:
    possible = target > -np.inf
    return energies[possible], np.exp(target[possible])
