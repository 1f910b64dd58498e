r"""The most accurate temperature, measured on scored prompts at several temperatures.

There are three ways of answering: one answer, the best of n, and the majority vote of n. Texts end at a stop token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from heatbath.engine import generate
from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.best_of_n import best_of_n_score, bootstrap_means, is_tied_with_best, majority_vote_score
from heatbath.models.base import Model, Tokens
from heatbath.phases.advice import BestTemperature
from heatbath.phases.scored_prompts import ScoredPrompt, ScoreFunction, encode_prompt, read_scored_prompts

__all__ = ["ScoreFunction", "ScoredPrompt", "ScoringOptions", "ScoringPlan", "read_scored_prompts", "score_prompts"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

MIN_PROMPTS = 8
"""Prompts that are needed to recommend a temperature."""
_MAX_ROWS = 64


@dataclass(frozen=True)
class ScoringPlan:
    """`samples` texts of at most `max_tokens` for each prompt; `best_of` is the n of best of n and of the vote."""

    samples: int = 16
    best_of: int = 8
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.best_of <= self.samples:
            raise BadInput(f"`best_of` must be in 1 to samples = {self.samples}, got {self.best_of}.")


class ScoringOptions(TypedDict, total=False):
    """The fields of `ScoringPlan` as keyword arguments."""

    samples: int
    best_of: int
    max_tokens: int
    seed: int


def score_prompts(
    model: Model,
    items: Sequence[ScoredPrompt],
    temperatures: Sequence[float],
    *,
    progress: Progress | None = None,
    **options: Unpack[ScoringOptions],
) -> tuple[BestTemperature, ...]:
    """Find the best temperature for one answer, for the best of n, and for the majority vote of n, in this order.

    A prompt uses the same random numbers at every temperature, which reduces the noise of comparisons. Standard errors
    and intervals come from a bootstrap over prompts. The interval is the contiguous range around the best temperature
    whose accuracies do not differ from it at 95 %, for all temperatures jointly.

    Args:
        model: any model; messages need a chat template.
        items: prompts with their checks.
        temperatures: the temperatures to compare, in any order.
        progress: called with (texts sampled, texts in all) after each batch.
        **options: fields of `ScoringPlan`: samples = 16, best_of = 8, max_tokens = 64, seed = 0.

    Raises:
        BadInput: no items or temperatures, a prompt that does not fit the model, a score outside 0 to 1.
        Unreliable: fewer than 8 prompts; `.estimate` carries the result.
    """
    plan, ladder = ScoringPlan(**options), np.unique(np.asarray(temperatures, np.float64))
    if not items or not ladder.size:
        raise BadInput(f"expected at least one prompt and one temperature, got {len(items)} and {ladder.size}.")
    scores_pkw = _measure_scores(model, items, ladder, plan, progress)
    rng = np.random.default_rng(plan.seed)
    ways = ("one answer", f"best of {plan.best_of}", f"majority vote of {plan.best_of}")
    best = tuple(_find_best(way, ladder, scores_pkw[:, :, w], rng) for w, way in enumerate(ways))
    if len(items) < MIN_PROMPTS:
        raise Unreliable(
            f"{len(items)} prompts are too few to choose a temperature: give at least {MIN_PROMPTS}, "
            "or read `.estimate`.",
            best,
        )
    return best


def _measure_scores(
    model: Model, items: Sequence[ScoredPrompt], ladder: Floats, plan: ScoringPlan, progress: Progress | None
) -> Floats:
    """Return the score of each prompt at each temperature for each way, (p, k, 3)."""
    prompts = [encode_prompt(model, item.prompt) for item in items]
    total = len(items) * len(ladder) * plan.samples
    scores_kpw: list[list[tuple[float, float, float]]] = []
    for temperature in ladder.tolist():
        scores_kpw.append([])
        for first, texts in _draw_texts(model, prompts, temperature, plan):
            batch = zip(items[first:], texts, strict=False)
            scores_kpw[-1] += [_score_ways(item, answers, plan.best_of) for item, answers in batch]
            if progress is not None:
                done = (len(scores_kpw) - 1) * len(items) + len(scores_kpw[-1])
                progress(done * plan.samples, total)
    return np.array(scores_kpw).swapaxes(0, 1)


def _draw_texts(
    model: Model, prompts: Sequence[Tokens], temperature: float, plan: ScoringPlan
) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the texts of a few prompts at a time, with the index of the first of these prompts."""
    each = max(1, _MAX_ROWS // plan.samples)
    for first in range(0, len(prompts), each):
        run = generate(
            model,
            prompts[first : first + each],
            n=plan.samples,
            temperature=temperature,
            max_tokens=plan.max_tokens,
            seed=plan.seed,
            first_row=first * plan.samples,
            record=None,
        )
        yield first, [run.texts[i : i + plan.samples] for i in range(0, len(run), plan.samples)]


def _score_ways(item: ScoredPrompt, texts: Sequence[str], n: int) -> tuple[float, float, float]:
    """Return the score of one prompt by one answer, by the best of n, and by majority vote."""
    scores = np.array([_score_text(item, text) for text in texts])
    votes = [item.vote(text) for text in texts]
    return float(scores.mean()), best_of_n_score(scores, n), majority_vote_score(scores, votes, n)


def _score_text(item: ScoredPrompt, text: str) -> float:
    score = float(item.score(text))
    if not 0 <= score <= 1:
        raise BadInput(f"a score must be a number from 0 to 1 or a bool, got {score} for {text[:60]!r}.")
    return score


def _find_best(way: str, ladder: Floats, scores_pk: Floats, rng: np.random.Generator) -> BestTemperature:
    mean_k, draws_bk = scores_pk.mean(0), bootstrap_means(scores_pk, rng)
    best = int(mean_k.argmax())
    worse = np.flatnonzero(~is_tied_with_best(mean_k, draws_bk))
    low = worse[worse < best].max(initial=-1) + 1
    high = worse[worse > best].min(initial=len(ladder)) - 1
    return BestTemperature(
        way,
        float(ladder[best]),
        (float(ladder[low]), float(ladder[high])),
        tuple(ladder.tolist()),
        tuple(mean_k.tolist()),
        tuple(draws_bk.std(0).tolist()),
    )
