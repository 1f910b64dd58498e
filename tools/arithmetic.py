"""Sums that the embedded model gets partly right: power sampling against low temperature, best of n and votes.

    python tools/arithmetic.py --questions 60

The questions are reasoning-gym's `chain_sum` with two terms of one digit, of which greedy decoding gets between 20 and
70 % right; that was the rule by which the task was chosen, on other questions than these. Every method answers the same
questions. An answer is right if the last number in it is. Needs `pip install 'heatbath[bench]'`.
"""

from __future__ import annotations

import argparse
import time
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
CHAINS = {"chains": 4, "sweeps": 6}
AHEAD = {"n": 4, "candidates": 3, "rollouts": 2, "horizon": 12, "block": 8}

METHODS: dict[str, dict[str, Any]] = {
    "greedy": {"sampler": "greedy"},
    "ancestral, T = 1": {"n": N},
    f"low temperature, T = 1/{ALPHA:g}": {"n": N, "temperature": 1 / ALPHA},
    f"best of {N} by log p": {"sampler": "best-of", "n": N},
    f"majority of {N}": {"sampler": "vote", "n": N},
    f"power {ALPHA:g}, smc": {"sampler": "power", "alpha": ALPHA, "particles": N, "replicates": 1},
    f"power {ALPHA:g}, metropolis": {"sampler": "power", "alpha": ALPHA, "method": "metropolis", **CHAINS},
    f"power {ALPHA:g}, lookahead": {"sampler": "power", "alpha": ALPHA, "method": "lookahead", **AHEAD},
}
SINGLE = ("greedy", "ancestral", "low temperature")
"""Methods whose answers are independent draws, each of which could be the only one."""


@dataclass(frozen=True)
class Score:
    """Of one question: whether the answer given is right, the weight on right answers, tokens spent and ESS."""

    right: float
    share: float
    tokens: float
    ess: float


def questions(count: int, seed: int) -> list[tuple[str, float]]:
    """`count` different sums with their results."""
    import reasoning_gym

    limits = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    drawn = reasoning_gym.create_dataset("chain_sum", seed=seed, size=20 * count, **limits)
    found = {entry["question"]: float(entry["answer"]) for entry in drawn}
    return list(found.items())[:count]


def scored(result: Any, truth: float, single: bool) -> Score:
    """What a generation is worth."""
    right = np.asarray([last_number(sample.text) == truth for sample in result.samples], np.float64)
    logs = np.asarray([sample.log_weight for sample in result.samples])
    weights = np.exp(logs - logs.max())
    tokens = result.tokens_spent / (len(right) if single else 1)
    return Score(right[result.drawn.value], right @ weights / weights.sum(), tokens, result.ess)


def answered(model: Any, asked: Sequence[tuple[str, float]], name: str) -> list[Score]:
    """The scores of one method."""
    scores = []
    for number, (question, truth) in enumerate(asked):
        prompt = model.chat([{"role": "user", "content": question}])
        settings = {"max_tokens": LENGTH, "seed": number, "record": False, **METHODS[name]}
        scores.append(scored(hb.generate(model, prompt, **settings), truth, name.startswith(SINGLE)))
    return scores


def wilson(right: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    p = right / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def row(name: str, scores: Sequence[Score], seconds: float) -> str:
    """One line of the table."""
    right = [score.right for score in scores]
    low, high = wilson(sum(right), len(right))
    share, tokens, ess = (np.mean([getattr(score, key) for score in scores]) for key in ("share", "tokens", "ess"))
    accuracy = f"{100 * np.mean(right):.0f} ({100 * low:.0f} to {100 * high:.0f})"
    return f"| {name} | {accuracy} | {100 * share:.1f} | {tokens:.0f} | {ess:.1f} | {seconds:.0f} |"


def difference(a: Sequence[Score], b: Sequence[Score], of: Callable[[Score], float]) -> str:
    """The mean over questions of a - b with its 95 % interval, in points."""
    gaps = 100 * np.asarray([of(x) - of(y) for x, y in zip(a, b, strict=True)])
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return f"{gaps.mean():+.1f} ({gaps.mean() - half:+.1f} to {gaps.mean() + half:+.1f})"


def main() -> None:
    """Print the table, then each method against low temperature."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--dtype", default="bfloat16")
    chosen = parser.parse_args()
    model, asked = hb.load("smollm2-135m", dtype=chosen.dtype), questions(chosen.questions, chosen.seed)
    print(f"{len(asked)} questions, such as {asked[0][0]!r}\n", flush=True)
    print("| method | right, % (95 %) | weight on right answers, % | tokens a question | effective answers | s |")
    print("|---|---|---|---|---|---|", flush=True)
    table = {}
    for name in METHODS:
        start = time.perf_counter()
        table[name] = answered(model, asked, name)
        print(row(name, table[name], time.perf_counter() - start), flush=True)
    cold = next(name for name in METHODS if name.startswith("low"))
    print(f"\n| against {cold} | given answer, points (95 %) | weight on right answers, points (95 %) |")
    print("|---|---|---|")
    for name in METHODS:
        if name != cold:
            pair = [difference(table[name], table[cold], of) for of in (lambda s: s.right, lambda s: s.share)]
            print(f"| {name} | {pair[0]} | {pair[1]} |")


if __name__ == "__main__":
    main()
