r"""The best temperature by measured accuracy: prompts whose answers can be checked, drawn at several temperatures.

Three ways of answering: one answer, the best of n, the majority vote of n. A text may end when the model likes.
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
from heatbath.models.base import Model, Tokens, encode_chat
from heatbath.phases.advice import BestTemperature
from heatbath.phases.scored_prompts import Prompt, ScoredPrompt, ScoreFunction, read_scored_prompts

__all__ = ["ScoreFunction", "ScoredPrompt", "ScoringOptions", "ScoringPlan", "read_scored_prompts", "score_prompts"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

MIN_PROMPTS = 8
"""Fewest prompts that a temperature is recommended by."""
_MAX_ROWS = 64


@dataclass(frozen=True)
class ScoringPlan:
    """`samples` of at most `max_tokens` for each prompt, the n of best of n and of the vote, and the seed."""

    samples: int = 16
    best_of: int = 8
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.best_of <= self.samples:
            raise BadInput(f"the best of {self.best_of} out of {self.samples} samples: give 1 <= best_of <= samples.")


class ScoringOptions(TypedDict, total=False):
    """`Draws` as keyword arguments."""

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
    """The best temperature for one answer, for the best of n and for the majority vote of n, in this order.

    A prompt draws from the same random numbers at every temperature, which makes temperatures easier to tell apart.
    Standard errors and intervals are from a bootstrap over prompts; the interval is the unbroken range around the best
    temperature that cannot be told from it at 95 %, all temperatures taken together.

    Args:
        model: any model; messages need a chat template.
        items: prompts with their checks.
        temperatures: where to measure, in any order.
        progress: called with (texts drawn, texts wanted) after each batch.
        draws: those of `Draws`: samples = 16, best_of = 8, max_tokens = 64, seed = 0.

    Raises:
        BadInput: no items or temperatures, a prompt that does not fit, a check that gives no number from 0 to 1.
        Unreliable: fewer than 8 prompts; carries what was found.
    """
    plan, ladder = ScoringPlan(**options), np.unique(np.asarray(temperatures, np.float64))
    if not items or not ladder.size:
        raise BadInput(f"{len(items)} prompts at {ladder.size} temperatures: give at least one of each.")
    scores_pkw = _measure_scores(model, items, ladder, plan, progress)
    rng = np.random.default_rng(plan.seed)
    ways = ("one answer", f"best of {plan.best_of}", f"majority vote of {plan.best_of}")
    found = tuple(_find_best(way, ladder, scores_pkw[:, :, w], rng) for w, way in enumerate(ways))
    if len(items) < MIN_PROMPTS:
        raise Unreliable(
            f"{len(items)} prompts are too few to choose a temperature by: give at least {MIN_PROMPTS}, or read `.estimate`.",
            found,
        )
    return found


def _measure_scores(
    model: Model, items: Sequence[ScoredPrompt], ladder: Floats, plan: ScoringPlan, progress: Progress | None
) -> Floats:
    """The score of each prompt at each temperature in each way, (p, k, 3)."""
    prompts = [_encode_prompt(model, item.prompt) for item in items]
    wanted = len(items) * len(ladder) * plan.samples
    scores_kpw: list[list[tuple[float, float, float]]] = []
    for temperature in ladder.tolist():
        scores_kpw.append([])
        for first, texts in _draw_texts(model, prompts, temperature, plan):
            batch = zip(items[first:], texts, strict=False)
            scores_kpw[-1] += [_score_ways(item, answers, plan.best_of) for item, answers in batch]
            if progress is not None:
                done = (len(scores_kpw) - 1) * len(items) + len(scores_kpw[-1])
                progress(done * plan.samples, wanted)
    return np.array(scores_kpw).swapaxes(0, 1)


def _draw_texts(
    model: Model, prompts: Sequence[Tokens], temperature: float, plan: ScoringPlan
) -> Iterator[tuple[int, list[list[str]]]]:
    """The texts of several prompts at a time, and the number of the first of these prompts."""
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


def _encode_prompt(model: Model, prompt: Prompt) -> Tokens:
    if isinstance(prompt, str):
        return model.encode(prompt)
    return encode_chat(model, prompt)


def _score_ways(item: ScoredPrompt, texts: Sequence[str], n: int) -> tuple[float, float, float]:
    """The score of one prompt by one answer, by the best of n and by majority vote."""
    scores = np.array([_score_text(item, text) for text in texts])
    votes = [item.vote(text) for text in texts]
    return float(scores.mean()), best_of_n_score(scores, n), majority_vote_score(scores, votes, n)


def _score_text(item: ScoredPrompt, text: str) -> float:
    score = float(item.score(text))
    if not 0 <= score <= 1:
        raise BadInput(f"the check gave {score} for {text[:60]!r}: return a number from 0 to 1, or a truth value.")
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
