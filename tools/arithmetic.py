"""Sums that the default model gets partly right: power sampling against low temperature, best of n and votes.

    python tools/arithmetic.py --questions 60

The questions are reasoning-gym's `chain_sum` with two terms of one digit, of which greedy decoding gets between 20 and
70 % right; that was the rule by which the task was chosen, on other questions than these. Every method answers the same
questions. An answer is right if the last number in it is. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import heatbath as hb
from heatbath.decode.vote import last_number

Floats = npt.NDArray[np.float64]
ALPHA = 4.0
N = 8
LENGTH = 20
CHAINS = {"chains": 4, "sweeps": 4}
AHEAD = {"n": 2, "candidates": 3, "rollouts": 2, "horizon": 8, "block": 8}
COLD = f"low temperature, T = 1/{ALPHA:g}"

CHOSEN = ("best", "majority")
"""Methods that choose among draws and weigh none."""
METHODS: dict[str, dict[str, Any]] = {
    "greedy": {},
    f"power {ALPHA:g}, smc": {"alpha": ALPHA, "particles": N, "replicates": 1},
    f"power {ALPHA:g}, metropolis": {"alpha": ALPHA, "method": "metropolis", **CHAINS},
    f"power {ALPHA:g}, lookahead": {"alpha": ALPHA, "method": "lookahead", **AHEAD},
}


@dataclass(frozen=True)
class Score:
    """Of one question: whether the answer given is right, the weight on right answers, and the tokens spent."""

    right: float
    share: float
    tokens: float


def questions(count: int, seed: int) -> list[tuple[str, float]]:
    """`count` different sums with their results."""
    import reasoning_gym  # type: ignore[import-not-found,unused-ignore]

    limits = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    drawn = reasoning_gym.create_dataset("chain_sum", seed=seed, size=20 * count, **limits)
    found = {entry["question"]: float(entry["answer"]) for entry in drawn}
    return list(found.items())[:count]


def scored(result: hb.Generation, truth: float, *, single: bool = False, value: int | None = None) -> Score:
    """What a generation is worth; of `single` answers each could be the only one."""
    right = np.asarray([last_number(sample.text) == truth for sample in result.samples], np.float64)
    logs = np.asarray([sample.log_weight for sample in result.samples])
    weights = np.exp(logs - logs.max())
    given = result.best_index if value is None else value
    return Score(right[given], right @ weights / weights.sum(), result.tokens_spent / (len(right) if single else 1))


def majority(result: hb.Generation) -> int:
    """The first answer whose result most answers share."""
    found = [last_number(sample.text) for sample in result.samples]
    return found.index(Counter(found).most_common(1)[0][0])


def answered(model: Any, question: str, truth: float, seed: int) -> dict[str, Score]:
    """The score of every method on one question; one set of independent draws serves all that only choose."""
    prompt = model.encode_chat([{"role": "user", "content": question}])
    common: dict[str, Any] = {"max_tokens": LENGTH, "seed": seed, "record": None}
    warm = hb.generate(model, prompt, sampler="best-of", n=N, **common)
    cold = hb.generate(model, prompt, temperature=1 / ALPHA, n=N, **common)
    scores = {
        "ancestral, T = 1": scored(warm, truth, single=True, value=0),
        f"best of {N} by log p, T = 1": scored(warm, truth),
        f"majority of {N}, T = 1": scored(warm, truth, value=majority(warm)),
        COLD: scored(cold, truth, single=True),
        f"majority of {N}, T = 1/{ALPHA:g}": scored(cold, truth, value=majority(cold)),
    }
    for name, settings in METHODS.items():
        chosen = {"sampler": "power" if "alpha" in settings else "greedy", **settings}
        scores[name] = scored(hb.generate(model, prompt, **common, **chosen), truth)
    return scores


def wilson(right: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    p = right / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def row(name: str, scores: Sequence[Score]) -> str:
    """One line of the table."""
    right = [score.right for score in scores]
    low, high = wilson(sum(right), len(right))
    share, tokens = (np.mean([getattr(score, key) for score in scores]) for key in ("share", "tokens"))
    accuracy = f"{100 * np.mean(right):.0f} ({100 * low:.0f} to {100 * high:.0f})"
    weight = "–" if name.startswith(CHOSEN) else f"{100 * share:.1f}"
    return f"| {name} | {accuracy} | {weight} | {tokens:.0f} |"


def difference(a: Sequence[Score], b: Sequence[Score], of: Callable[[Score], float]) -> str:
    """The mean over questions of a - b with its 95 % interval, in points."""
    gaps = 100 * np.asarray([of(x) - of(y) for x, y in zip(a, b, strict=True)])
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return f"{gaps.mean():+.1f} ({gaps.mean() - half:+.1f} to {gaps.mean() + half:+.1f})"


def main() -> None:
    """Print the table, then each method against low temperature. Ctrl-C stops after the questions that are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--dtype", default="bfloat16", help="float32 or bfloat16")
    chosen = parser.parse_args()
    model, done = hb.load("smollm2-135m", dtype=chosen.dtype), list[dict[str, Score]]()
    start = time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):
        for question, truth in questions(chosen.questions, chosen.seed):
            done.append(answered(model, question, truth, len(done)))
            print(f"{len(done)} {question!r}", file=sys.stderr, flush=True)
    show({name: [scores[name] for scores in done] for name in done[0]})
    print(f"\n{len(done)} questions in {time.perf_counter() - start:.0f} s")


def show(table: dict[str, list[Score]]) -> None:
    """The scores of every method, as tables."""
    print("| method | right, % (95 %) | weight on right answers, % | tokens a question |\n|---|---|---|---|")
    for name, scores in table.items():
        print(row(name, scores))
    print(f"\n| less {COLD} | given answer, points (95 %) | weight on right answers, points (95 %) |\n|---|---|---|")
    for name, scores in table.items():
        if name != COLD:
            pair = [difference(scores, table[COLD], of) for of in (lambda s: s.right, lambda s: s.share)]
            print(f"| {name} | {pair[0]} | {'–' if name.startswith(CHOSEN) else pair[1]} |")


if __name__ == "__main__":
    main()
