"""The contract of a sampler of whole answers: what it weighs is the law it claims, and its errors are what they are.

Runs are independent, so their scatter gives every error, whatever is going on inside a run: populations that share
ancestors, chains that remember. No claim of the sampler's about its own effective size enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Task
from heatbath.decode.independent import as_sequence_sampler
from heatbath.decode.rng import RowRandom
from heatbath.decode.sequences import LENGTH, STOP, Sampler, TokenBuffer, WeightedSamples, evaluate_step
from heatbath.decode.target import Target
from heatbath.energy.algebra import scale_energies
from heatbath.energy.base import Context, Field, Potential
from heatbath.models.exact.base import log_probabilities
from heatbath.models.exact.table import TableModel
from heatbath.models.exact.tree import Prefix
from heatbath.testing.comparison import Floats
from heatbath.testing.token_sampler import compute_statistics

_NUM_SIGN_FLIPS = 300
_FLOOR_SIGMAS = 4.0
_NORMAL_MEDIAN = 0.6745


def check_sequence_sampler(
    sampler: Sampler,
    model: TableModel | None = None,
    *,
    target: Target | npt.ArrayLike | None = None,
    runs: int = 32,
    error_rate: float = 1e-5,
) -> None:
    """Raise AssertionError with a sentence when weighted answers do not follow `target`, in `runs` independent runs.

    `target` is the law that the sampler claims: a `Target`, which is enumerated; log-masses (n,) over
    `model.sequences()`, whose sum is Z; or None for the model itself. Checked are

    * each run: answers are whole, the moves lead to them, weights are numbers, log-probabilities are the model's;
    * mean and variance of the energy and the score of the temperature, by t-tests over runs;
    * total variation to the target, against its Monte Carlo floor: what errors of the same scatter and of random sign
      would give, mean and four standard deviations;
    * log Z, where the sampler gives one: it is right on average over runs, and the errors stated are of the size of
      those made, within a factor of two.

    A right sampler fails with probability about `error_rate`, or 1e-4 for the floor; seeds are fixed, so that a verdict
    stays. Chains must have been long enough to forget where they began.
    """
    model = model or TableModel.random(0, 4, 6, stop_token_ids=(3,), scale=2.0)
    target = Target() if target is None else target
    masses = log_masses(target, model) if isinstance(target, Target) else np.asarray(target, np.float64)
    drawn = [_run_sampler(sampler, model, seed) for seed in range(runs)]
    for samples in drawn:
        check_numbers(samples, model)
    if isinstance(target, Target):
        check_logprobs(drawn, target, model)
    law = masses - logsumexp(masses)
    seen = _build_tally(drawn, model)
    check_means(seen, compute_statistics(model, law), np.exp(law), error_rate / 4)
    check_distance(seen, np.exp(law))
    check_log_z(drawn, float(logsumexp(masses)), error_rate / 4)


def log_masses(target: Target, model: TableModel) -> Floats:
    r"""$\log p_T(x)^\alpha - \sum_t E_f(x_t)/T - \Phi(x)$ of every sequence of a model, by listing them, (n,), nats.

    Their sum of exponentials is Z. What the proposal cannot draw has none, if the proposal is an `Ancestral`.
    """
    sequences = model.sequences()
    prefixes = sorted({sequence[:t] for sequence in sequences for t in range(len(sequence))})
    score = _compute_prefix_scores(target, model, prefixes)
    row = {prefix: at for at, prefix in enumerate(prefixes)}
    sums = [sum(score[row[x[:t]], x[t]] for t in range(len(x))) for x in sequences]
    context = _build_context(model, sequences, None)
    context = Context(
        context.tokens, context.prompt_lengths, context.vocab_size, context.stop_token_ids, [True] * len(sequences)
    )
    potential = np.zeros(len(sequences))
    for weight, part in _collect_terms(target.potentials):
        potential += scale_energies(weight, np.asarray(part(context), np.float64))
    return np.asarray(sums, np.float64) - potential


def _compute_prefix_scores(target: Target, model: TableModel, prefixes: list[Prefix]) -> Floats:
    """What each next token adds to the log-mass after each prefix, (P, V)."""
    energies = np.asarray(model.open([list(prefix) for prefix in prefixes]).energies(), np.float64)
    total = energies.copy()
    for weight, part in _collect_terms(target.fields):
        total = total + scale_energies(weight, np.asarray(part(_build_context(model, prefixes, total)), np.float64))
    # A token that is forbidden twice is forbidden: its energies do not subtract.
    field = np.where(np.isinf(total), np.inf, total - np.where(np.isinf(total), 0.0, energies))
    law = log_probabilities(energies, 1 / target.temperature)
    score = np.where(np.isinf(field) | np.isinf(energies), -np.inf, target.power * law - field / target.temperature)
    return np.asarray(np.where(_find_drawable_tokens(target, model, prefixes, energies), score, -np.inf))


def _find_drawable_tokens(
    target: Target, model: TableModel, prefixes: list[Prefix], energies: Floats
) -> npt.NDArray[np.bool_]:
    """Which tokens the proposal can draw, (P, V)."""
    proposal = target.proposal_sampler
    if not isinstance(proposal, Ancestral) or not isinstance(proposal.temperatures, float | int):
        return np.ones(energies.shape, bool)
    betas = np.full(len(prefixes), np.inf if proposal.temperatures == 0 else 1 / proposal.temperatures)
    drawn = proposal.pipeline(
        _build_context(model, prefixes, energies), betas, lambda: np.zeros(len(prefixes))
    ).final_energies
    return np.isfinite(np.asarray(drawn, np.float64))


def _build_context(model: TableModel, tokens: list[Prefix], energies: Floats | None) -> Context:
    return Context(
        tokens=[list(row) for row in tokens],
        prompt_lengths=[0] * len(tokens),
        vocab_size=model.vocabulary.size,
        stop_token_ids=model.vocabulary.stop_token_ids,
        energies=energies,
    )


def _collect_terms(energies: Any) -> list[tuple[float, Any]]:
    parts = (energies,) if isinstance(energies, Field | Potential) else tuple(energies)
    return [term for part in parts for term in part.terms if term[0]]


def _run_sampler(sampler: Sampler, model: TableModel, seed: int) -> WeightedSamples:
    """One run to its end; its moves are followed, as a tape would, and must lead to its answers."""
    length, stop = model.tree.length, model.vocabulary.stop_token_ids
    task = Task(model, [[]], length, stop)
    drawn = as_sequence_sampler(sampler)
    state = drawn.init(task)
    rng, buffer = RowRandom(seed, state.num_streams), TokenBuffer.empty(state.num_slots, length)
    while not state.is_finished:
        state, move = evaluate_step(drawn, rng, state)
        if move.sources is not None:
            buffer = buffer.copy_prefixes(move.sources, move.lengths)
        if move.step is not None:
            buffer = buffer.append_tokens(move.slots, move.step.tokens, stop)
    samples: WeightedSamples = state.samples()
    assert buffer.to_sequences(np.asarray(samples.slots)) == samples.sequences, (
        "the moves of a run do not lead to its answers."
    )
    return samples


def check_numbers(samples: WeightedSamples, model: TableModel) -> None:
    """Answers are whole, the value is one of them, weights are neither NaN nor +inf, tokens drawn are paid for."""
    count, stop = len(samples.sequences), set(model.vocabulary.stop_token_ids)
    for answer, finish in zip(samples.sequences, samples.finish_reasons, strict=True):
        ended = bool(answer) and answer[-1] in stop
        assert not stop & set(answer[:-1]), f"the answer {answer} goes on after a stop token."
        assert finish == (STOP if ended else LENGTH), f"the answer {answer} is said to have ended by {finish!r}."
        assert ended or len(answer) == model.tree.length, f"the answer {answer} is not whole."
    weights = np.asarray(samples.log_weight, np.float64)
    assert weights.shape == (count,), f"log-weights have shape {weights.shape}: give one for each of {count} answers."
    assert not np.isnan(weights).any() and not (weights == np.inf).any(), "a log-weight is NaN or +inf."
    assert 0 <= samples.selected_index < count, f"the value is answer {samples.selected_index} of {count}."
    assert np.isfinite(weights[samples.selected_index]), "the value is an answer of weight 0."
    most = max(map(len, samples.sequences))
    assert samples.tokens_spent >= most, f"{samples.tokens_spent} tokens spent cannot draw an answer of {most}."


def check_logprobs(runs: list[WeightedSamples], target: Target, model: TableModel) -> None:
    """Where a sampler gives log-probabilities, they are the model's at the temperature of the target."""
    exact = dict(zip(model.sequences(), model.logprobs(1 / target.temperature).tolist(), strict=True))
    for samples in runs:
        if samples.logprob is None:
            continue
        wanted = np.asarray([exact[tuple(answer)] for answer in samples.sequences])
        worst = float(np.abs(samples.logprob - wanted).max())
        assert worst <= 1e-6, f"log-probabilities of answers are off by up to {worst:.3g} nats."


@dataclass(frozen=True)
class WeightTally:
    """Summed weights of each sequence in each run, (R, n), from so many `answers` in all."""

    weights: Floats
    num_sequences: int

    def compute_residuals(self, probability: Floats) -> Floats:
        """What each run adds to the error of each frequency, (R, n): mean zero if the weights are proper."""
        return np.asarray((self.weights - self.weights.sum(1, keepdims=True) * probability) / self.weights.sum())


def _build_tally(runs: list[WeightedSamples], model: TableModel) -> WeightTally:
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    top = max(float(np.max(samples.log_weight)) for samples in runs)
    weights = np.zeros((len(runs), len(number)))
    for run, samples in enumerate(runs):
        index = [number[tuple(answer)] for answer in samples.sequences]
        np.add.at(weights[run], index, np.exp(np.asarray(samples.log_weight) - top))
    return WeightTally(weights, sum(len(samples.sequences) for samples in runs))


def check_means(tally: WeightTally, values: dict[str, Floats], probability: Floats, error_rate: float) -> None:
    """t-tests over runs on the weighted means of `values` (n,)."""
    impossible = tally.weights.sum(0)[probability == 0]
    assert not impossible.any(), "an answer that the target forbids has weight."
    residuals = tally.compute_residuals(probability)
    for what, value in values.items():
        variance = float(probability @ (value - probability @ value) ** 2)
        # Runs that all missed what is rare do not differ; independent draws would have this error at the least.
        least = np.sqrt(variance / tally.num_sequences)
        _assert_zero(residuals @ value, error_rate / len(values), f"the {what}", least=least)


def check_distance(tally: WeightTally, probability: Floats) -> None:
    """Total variation to `probability` (n,), against errors of the same size and random signs."""
    residuals = tally.compute_residuals(probability)
    distance = 0.5 * np.abs(residuals.sum(0)).sum()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_NUM_SIGN_FLIPS, len(residuals)))
    floor = 0.5 * np.abs(signs @ residuals).sum(1)
    independent = 0.5 * np.sqrt(probability * (1 - probability) / tally.num_sequences).sum()
    most = max(floor.mean() + _FLOOR_SIGMAS * floor.std(), independent)
    assert distance <= most, f"the total variation to the target is {distance:.3g}, above its floor of {most:.3g}."


def check_log_z(runs: list[WeightedSamples], log_z: float, error_rate: float) -> None:
    r"""$e^{\log \hat Z}$ has mean Z over runs, and stated errors are of the size of those made.

    Estimates that are not the mean weight may be off by their own variance, which is the order of their bias.
    """
    found = [samples.log_z for samples in runs if samples.log_z is not None]
    if not found:
        return
    off = np.asarray([estimate.value for estimate in found]) - log_z
    stderr = np.asarray([estimate.stderr for estimate in found])
    weighed = all(
        abs(_compute_log_mean_weight(samples) - samples.log_z.value) < 1e-6 for samples in runs if samples.log_z
    )
    slack = 0.0 if weighed else float(np.var(off))
    _assert_zero(np.expm1(off) / len(off), error_rate, "the partition function", slack)
    known = np.isfinite(stderr) & (stderr > 0)
    _check_errors(np.abs(off[known]) / stderr[known], error_rate)


def _check_errors(sizes: Floats, error_rate: float) -> None:
    """Raise unless the median of |error| / stated error (R,) can be that of a normal number, within a factor of two.

    At the ends of that range half of the runs lie beyond, which is tested exactly.
    """
    from scipy.stats import binom

    most = binom.isf(error_rate / 2, len(sizes), 0.5) if len(sizes) else 0
    for side, beyond in (("larger", sizes > 2 * _NORMAL_MEDIAN), ("smaller", sizes < _NORMAL_MEDIAN / 2)):
        assert beyond.sum() <= most, (
            f"errors of log Z are {side} than what is stated, in {beyond.sum()} of {len(sizes)} runs."
        )


def _compute_log_mean_weight(samples: WeightedSamples) -> float:
    return float(logsumexp(samples.log_weight) - np.log(len(samples.log_weight)))


def _assert_zero(parts: Floats, error_rate: float, what: str, slack: float = 0.0, *, least: float = 0.0) -> None:
    """A t-test on the sum of independent `parts` (R,), off zero by `slack` at most; its error is `least` or more."""
    from scipy.stats import t

    count, total = len(parts), float(parts.sum())
    stderr = max(float(parts.std(ddof=1) * np.sqrt(count)), least) + 1e-12
    z = max(abs(total) - slack, 0.0) / stderr
    most = float(t.isf(error_rate / 2, count - 1))
    assert z <= most, f"{what} is {total:+.3g} off, {z:.1f} standard errors, more than {most:.1f}."
