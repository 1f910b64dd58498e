"""The contract suite of a sequence sampler: weighted sequences follow the target, and stated errors are correct.

Runs are independent, so their scatter gives every error, whatever happens inside a run: populations that share
ancestors, chains with autocorrelation. The sampler's own effective sample size is not used.
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

_NUM_SIGN_FLIPS = 20_000
_FLOOR_ERROR_RATE = 1e-4
_NORMAL_MEDIAN = 0.6745


def check_sequence_sampler(
    sampler: Sampler,
    model: TableModel | None = None,
    *,
    target: Target | npt.ArrayLike | None = None,
    runs: int = 32,
    error_rate: float = 1e-5,
) -> None:
    """Raise AssertionError with a sentence when weighted sequences do not follow `target`, in `runs` independent runs.

    `target` is the distribution that the sampler claims: a `Target`, which is enumerated; log-masses (n,) over
    `model.sequences()`, whose sum is Z; or None for the model itself. Checked are

    * each run: sequences are finished, the steps lead to them, weights are numbers, log-probabilities are the model's;
    * mean and variance of the energy and the score of the temperature, by t-tests over runs;
    * total variation to the target, against its Monte Carlo floor: the quantile of the distance for errors of the same
      scatter and random sign;
    * log Z, where the sampler has an estimate: Z is unbiased over runs, and stated errors are of the size of the actual
      errors, within a factor of two.

    A correct sampler fails with probability about `error_rate`, or 1e-4 for the floor; seeds are fixed, so results
    repeat. Chains must be long enough to forget their start.
    """
    model = model or TableModel.random(0, 4, 6, stop_token_ids=(3,), scale=2.0)
    target = Target() if target is None else target
    masses = log_masses(target, model) if isinstance(target, Target) else np.asarray(target, np.float64)
    results = [_run_sampler(sampler, model, seed) for seed in range(runs)]
    for samples in results:
        check_numbers(samples, model)
    if isinstance(target, Target):
        check_logprobs(results, target, model)
    logprobs = masses - logsumexp(masses)
    tally = _build_tally(results, model)
    check_means(tally, compute_statistics(model, logprobs), np.exp(logprobs), error_rate / 4)
    check_distance(tally, np.exp(logprobs))
    check_log_z(results, float(logsumexp(masses)), error_rate / 4)


def log_masses(target: Target, model: TableModel) -> Floats:
    r"""Enumerate $\log p_T(x)^\alpha - \sum_t E_f(x_t)/T - \Phi(x)$ of every sequence of a model, (n,), nats.

    The sum of their exponentials is Z. Sequences that an `Ancestral` proposal cannot draw have -inf.
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
    """Return the log-mass of each next token after each prefix, (P, V)."""
    energies = np.asarray(model.open([list(prefix) for prefix in prefixes]).energies(), np.float64)
    total = energies.copy()
    for weight, part in _collect_terms(target.fields):
        total = total + scale_energies(weight, np.asarray(part(_build_context(model, prefixes, total)), np.float64))
    # For a token that model and fields forbid, the difference of energies would be NaN.
    field = np.where(np.isinf(total), np.inf, total - np.where(np.isinf(total), 0.0, energies))
    logprobs = log_probabilities(energies, 1 / target.temperature)
    score = target.power * logprobs - field / target.temperature
    score = np.where(np.isinf(field) | np.isinf(energies), -np.inf, score)
    return np.asarray(np.where(_find_drawable_tokens(target, model, prefixes, energies), score, -np.inf))


def _find_drawable_tokens(
    target: Target, model: TableModel, prefixes: list[Prefix], energies: Floats
) -> npt.NDArray[np.bool_]:
    """Return the mask of tokens that the proposal can draw, (P, V)."""
    proposal = target.proposal_sampler
    if not isinstance(proposal, Ancestral) or not isinstance(proposal.temperatures, float | int):
        return np.ones(energies.shape, bool)
    betas = np.full(len(prefixes), np.inf if proposal.temperatures == 0 else 1 / proposal.temperatures)
    result = proposal.pipeline(_build_context(model, prefixes, energies), betas, lambda: np.zeros(len(prefixes)))
    return np.isfinite(np.asarray(result.final_energies, np.float64))


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
    """Run a sampler to its end, and check that its steps, applied to a buffer, lead to its sequences."""
    length, stop = model.tree.length, model.vocabulary.stop_token_ids
    task = Task(model, [[]], length, stop)
    sequence_sampler = as_sequence_sampler(sampler)
    state = sequence_sampler.init(task)
    rng, buffer = RowRandom(seed, state.num_streams), TokenBuffer.empty(state.num_slots, length)
    while not state.is_finished:
        state, change = evaluate_step(sequence_sampler, rng, state)
        if change.sources is not None:
            buffer = buffer.copy_prefixes(change.sources, change.lengths)
        if change.step is not None:
            buffer = buffer.append_tokens(change.slots, change.step.tokens, stop)
    samples: WeightedSamples = state.samples()
    followed = buffer.to_sequences(np.asarray(samples.slots))
    assert followed == samples.sequences, "the steps of a run do not lead to its sequences."
    return samples


def check_numbers(samples: WeightedSamples, model: TableModel) -> None:
    """Check that sequences are finished, one is selected, weights are neither NaN nor +inf, and tokens are counted."""
    count, stop = len(samples.sequences), set(model.vocabulary.stop_token_ids)
    for sequence, reason in zip(samples.sequences, samples.finish_reasons, strict=True):
        stopped = bool(sequence) and sequence[-1] in stop
        assert not stop & set(sequence[:-1]), f"the sequence {sequence} goes on after a stop token."
        assert reason == (STOP if stopped else LENGTH), f"the sequence {sequence} has finish reason {reason!r}."
        assert stopped or len(sequence) == model.tree.length, f"the sequence {sequence} is not finished."
    weights = np.asarray(samples.log_weight, np.float64)
    assert weights.shape == (count,), f"log-weights have shape {weights.shape}, expected one per sequence, ({count},)."
    assert not np.isnan(weights).any() and not (weights == np.inf).any(), "a log-weight is NaN or +inf."
    assert 0 <= samples.selected_index < count, f"the selected index is {samples.selected_index} of {count} sequences."
    assert np.isfinite(weights[samples.selected_index]), "the selected sequence has weight 0."
    longest = max(map(len, samples.sequences))
    assert samples.tokens_spent >= longest, f"{samples.tokens_spent} tokens spent cannot draw a sequence of {longest}."


def check_logprobs(runs: list[WeightedSamples], target: Target, model: TableModel) -> None:
    """Check that log-probabilities, where given, are the model's at the temperature of the target."""
    exact = dict(zip(model.sequences(), model.logprobs(1 / target.temperature).tolist(), strict=True))
    for samples in runs:
        if samples.logprob is None:
            continue
        expected = np.asarray([exact[tuple(sequence)] for sequence in samples.sequences])
        worst = float(np.abs(samples.logprob - expected).max())
        assert worst <= 1e-6, f"log-probabilities of sequences are off by up to {worst:.3g} nats."


@dataclass(frozen=True)
class WeightTally:
    """Summed weights of each sequence in each run, (R, n), and the total number of sampled sequences."""

    weights: Floats
    num_sequences: int

    def compute_residuals(self, probability: Floats) -> Floats:
        """Return the contribution of each run to the error of each frequency, (R, n): mean 0 for proper weights."""
        return np.asarray((self.weights - self.weights.sum(1, keepdims=True) * probability) / self.weights.sum())


def _build_tally(runs: list[WeightedSamples], model: TableModel) -> WeightTally:
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    top = max(float(np.max(samples.log_weight)) for samples in runs)
    weights = np.zeros((len(runs), len(number)))
    for run, samples in enumerate(runs):
        index = [number[tuple(sequence)] for sequence in samples.sequences]
        np.add.at(weights[run], index, np.exp(np.asarray(samples.log_weight) - top))
    return WeightTally(weights, sum(len(samples.sequences) for samples in runs))


def check_means(tally: WeightTally, values: dict[str, Floats], probability: Floats, error_rate: float) -> None:
    """Run t-tests over runs on the weighted means of `values` (n,)."""
    impossible = tally.weights.sum(0)[probability == 0]
    assert not impossible.any(), "a sequence that the target forbids has weight."
    residuals = tally.compute_residuals(probability)
    for what, value in values.items():
        variance = float(probability @ (value - probability @ value) ** 2)
        # Runs that all missed rare sequences do not differ; independent draws would have at least this error.
        min_stderr = np.sqrt(variance / tally.num_sequences)
        _assert_zero(residuals @ value, error_rate / len(values), f"the {what}", min_stderr=min_stderr)


def check_distance(tally: WeightTally, probability: Floats) -> None:
    """Check the total variation to `probability` (n,) against errors of the same size and random signs."""
    residuals = tally.compute_residuals(probability)
    distance = 0.5 * np.abs(residuals.sum(0)).sum()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_NUM_SIGN_FLIPS, len(residuals)))
    floor = 0.5 * np.abs(signs @ residuals).sum(1)
    independent = 0.5 * np.sqrt(probability * (1 - probability) / tally.num_sequences).sum()
    # A quantile: where a few sequences have most of the mass, the distance has longer tails than a normal number.
    limit = max(float(np.quantile(floor, 1 - _FLOOR_ERROR_RATE)), independent)
    assert distance <= limit, f"the total variation to the target is {distance:.3g}, above its floor of {limit:.3g}."


def check_log_z(runs: list[WeightedSamples], log_z: float, error_rate: float) -> None:
    r"""Check that $e^{\log \hat Z}$ has mean Z over runs, and that stated errors are of the size of actual errors.

    Estimates that are not the mean weight may be off by their own variance, which is the order of their bias.
    """
    estimates = [samples.log_z for samples in runs if samples.log_z is not None]
    if not estimates:
        return
    errors = np.asarray([estimate.value for estimate in estimates]) - log_z
    stderr = np.asarray([estimate.stderr for estimate in estimates])
    is_mean_weight = all(
        abs(_compute_log_mean_weight(samples) - samples.log_z.value) < 1e-6 for samples in runs if samples.log_z
    )
    slack = 0.0 if is_mean_weight else float(np.var(errors))
    _assert_zero(np.expm1(errors) / len(errors), error_rate, "the partition function", slack)
    is_known = np.isfinite(stderr) & (stderr > 0)
    _check_errors(np.abs(errors[is_known]) / stderr[is_known], error_rate)


def _check_errors(sizes: Floats, error_rate: float) -> None:
    """Raise unless the median of |error| / stated error (R,) can be that of a normal number, within a factor of two.

    At the ends of that range half of the runs lie beyond, which is tested exactly.
    """
    from scipy.stats import binom

    limit = binom.isf(error_rate / 2, len(sizes), 0.5) if len(sizes) else 0
    for side, beyond in (("larger", sizes > 2 * _NORMAL_MEDIAN), ("smaller", sizes < _NORMAL_MEDIAN / 2)):
        assert beyond.sum() <= limit, (
            f"errors of log Z are {side} than the stated ones, in {beyond.sum()} of {len(sizes)} runs."
        )


def _compute_log_mean_weight(samples: WeightedSamples) -> float:
    return float(logsumexp(samples.log_weight) - np.log(len(samples.log_weight)))


def _assert_zero(parts: Floats, error_rate: float, what: str, slack: float = 0.0, *, min_stderr: float = 0.0) -> None:
    """Run a t-test that the sum of independent `parts` (R,) is within `slack` of 0, with at least `min_stderr`."""
    from scipy.stats import t

    count, total = len(parts), float(parts.sum())
    stderr = max(float(parts.std(ddof=1) * np.sqrt(count)), min_stderr) + 1e-12
    z = max(abs(total) - slack, 0.0) / stderr
    limit = float(t.isf(error_rate / 2, count - 1))
    assert z <= limit, f"{what} is {total:+.3g} off, {z:.1f} standard errors, more than {limit:.1f}."
