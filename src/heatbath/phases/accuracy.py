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
from heatbath.phases.advice import BestTemperature, WrongAnswers
from heatbath.phases.curves import wilson_interval
from heatbath.questions.prompt_tokens import encode_scored_prompts, has_chat_template
from heatbath.questions.scored_prompts import ScoredPrompt, ScoreFunction, read_scored_prompts

__all__ = [
    "ScoreFunction",
    "ScoredPrompt",
    "ScoringOptions",
    "ScoringPlan",
    "ScoringResult",
    "grade_prompts",
    "read_scored_prompts",
    "score_prompts",
]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

MIN_PROMPTS = 8
"""Prompts that are needed to recommend a temperature."""
MAX_WRONG_TEXTS = 3
"""Wrong texts that are kept for a prompt and a temperature."""
_MAX_ROWS = 64


@dataclass(frozen=True)
class ScoringPlan:
    """`samples` texts of at most `max_tokens` for each prompt; `best_of` is the n of best of n and of the vote.

    `chat`, `system` and `window` are as in `SweepPlan`.
    """

    samples: int = 16
    best_of: int = 8
    max_tokens: int = 64
    seed: int = 0
    chat: bool | None = None
    system: str | None = None
    window: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.best_of <= self.samples:
            raise BadInput(f"`best_of` must be in 1 to samples = {self.samples}, got {self.best_of}.")


class ScoringOptions(TypedDict, total=False):
    """The fields of `ScoringPlan` as keyword arguments."""

    samples: int
    best_of: int
    max_tokens: int
    seed: int
    chat: bool | None
    system: str | None
    window: tuple[str, ...]


@dataclass(frozen=True)
class ScoringResult:
    """The best temperature for each way of answering, and the prompts that were answered wrongly at the first."""

    best: tuple[BestTemperature, ...]
    wrong: tuple[WrongAnswers, ...]


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
        **options: fields of `ScoringPlan`: samples = 16, best_of = 8, max_tokens = 64, seed = 0, and chat, system and
            window as in `SweepPlan`.

    Raises:
        BadInput: no items or temperatures, a prompt that does not fit the model, a score outside 0 to 1.
        Unreliable: fewer than 8 prompts; `.estimate` carries the result.
    """
    best = grade_prompts(model, items, temperatures, progress=progress, **options).best
    if len(items) < MIN_PROMPTS:
        raise Unreliable(
            f"{len(items)} prompts are too few to choose a temperature: give at least {MIN_PROMPTS}, "
            "or read `.estimate`.",
            best,
        )
    return best


def grade_prompts(
    model: Model,
    items: Sequence[ScoredPrompt],
    temperatures: Sequence[float],
    *,
    progress: Progress | None = None,
    **options: Unpack[ScoringOptions],
) -> ScoringResult:
    """Find the best temperatures as `score_prompts` does, for any number of prompts, and what was answered wrongly.

    Raises:
        BadInput: no items or temperatures, a prompt that does not fit the model, a score outside 0 to 1.
    """
    plan, ladder = ScoringPlan(**options), np.unique(np.asarray(temperatures, np.float64))
    if not items or not ladder.size:
        raise BadInput(f"expected at least one prompt and one temperature, got {len(items)} and {ladder.size}.")
    grades_kp = _grade_texts(model, items, ladder, plan, progress)
    scores_pkw = np.array([[grade.ways for grade in row] for row in grades_kp]).swapaxes(0, 1)
    rng = np.random.default_rng(plan.seed)
    ways = ("one answer", f"best of {plan.best_of}", f"majority vote of {plan.best_of}")
    best = tuple(_find_best(way, ladder, scores_pkw[:, :, w], rng, plan.samples) for w, way in enumerate(ways))
    chosen = int(np.flatnonzero(ladder == best[0].temperature)[0])
    return ScoringResult(best, _collect_wrong(items, grades_kp[chosen], best[0].temperature))


@dataclass(frozen=True)
class _PromptGrade:
    """The scores of one prompt at one temperature for each way of answering, and the first wrong texts."""

    ways: tuple[float, float, float]
    wrong_texts: tuple[str, ...]


def _grade_texts(
    model: Model, items: Sequence[ScoredPrompt], ladder: Floats, plan: ScoringPlan, progress: Progress | None
) -> list[list[_PromptGrade]]:
    """Return the grade of each prompt at each temperature, k lists of p."""
    chat = has_chat_template(model) if plan.chat is None else plan.chat
    prompts = encode_scored_prompts(model, items, plan.max_tokens, chat=chat, system=plan.system)
    total = len(items) * len(ladder) * plan.samples
    grades_kp: list[list[_PromptGrade]] = []
    for temperature in ladder.tolist():
        grades_kp.append([])
        for first, texts in _draw_texts(model, prompts, temperature, plan):
            batch = zip(items[first:], texts, strict=False)
            grades_kp[-1] += [_grade_prompt(item, answers, plan.best_of) for item, answers in batch]
            if progress is not None:
                done = (len(grades_kp) - 1) * len(items) + len(grades_kp[-1])
                progress(done * plan.samples, total)
    return grades_kp


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
            window=plan.window,
            seed=plan.seed,
            first_row=first * plan.samples,
            record=None,
        )
        yield first, [run.texts[i : i + plan.samples] for i in range(0, len(run), plan.samples)]


def _grade_prompt(item: ScoredPrompt, texts: Sequence[str], n: int) -> _PromptGrade:
    """Score one prompt by one answer, by the best of n, and by majority vote."""
    scores = np.array([_score_text(item, text) for text in texts])
    votes = [item.vote(text) for text in texts]
    wrong = tuple(dict.fromkeys(text for text, score in zip(texts, scores, strict=True) if score < 0.5))
    ways = float(scores.mean()), best_of_n_score(scores, n), majority_vote_score(scores, votes, n)
    return _PromptGrade(ways, wrong[:MAX_WRONG_TEXTS])


def _score_text(item: ScoredPrompt, text: str) -> float:
    score = float(item.score(text))
    if not 0 <= score <= 1:
        raise BadInput(f"a score must be a number from 0 to 1 or a bool, got {score} for {text[:60]!r}.")
    return score


def _collect_wrong(
    items: Sequence[ScoredPrompt], grades_p: Sequence[_PromptGrade], temperature: float
) -> tuple[WrongAnswers, ...]:
    wrong = [
        WrongAnswers(item.question, item.expected, item.grader, temperature, grade.ways[0], grade.wrong_texts)
        for item, grade in zip(items, grades_p, strict=True)
        if grade.wrong_texts
    ]
    return tuple(sorted(wrong, key=lambda one: one.share_right))


def _accuracy_interval(mean: float, stderr: float, num_prompts: int, samples: int) -> tuple[float, float]:
    """Return the interval of an accuracy: texts of one prompt are alike, so its effective size is that of `stderr`.

    Where all prompts did equally well the error says nothing, and each prompt counts as one outcome.
    """
    size = mean * (1 - mean) / stderr**2 if stderr > 1e-9 else float(num_prompts)
    low, high = wilson_interval(np.array([mean]), np.array([min(max(size, 1.0), num_prompts * samples)]))[:, 0]
    return float(low), float(high)


def _find_best(way: str, ladder: Floats, scores_pk: Floats, rng: np.random.Generator, samples: int) -> BestTemperature:
    mean_k, draws_bk = scores_pk.mean(0), bootstrap_means(scores_pk, rng)
    stderr_k = draws_bk.std(0).tolist()
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
        tuple(stderr_k),
        tuple(
            _accuracy_interval(m, e, len(scores_pk), samples) for m, e in zip(mean_k.tolist(), stderr_k, strict=True)
        ),
    )
