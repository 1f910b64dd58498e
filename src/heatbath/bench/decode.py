"""The cost of decoding: windows, power sampling, populations, masks, and a comparison with genlm-control."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from heatbath.bench import masks, peers, power, windows
from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, time_sides
from heatbath.engine import Generation, generate
from heatbath.errors import MissingExtra
from heatbath.models import Model, load

MODEL = "smollm2-135m"
PARTICLES, LENGTH, POWER = 32, 64, 2.0


def lines() -> Iterator[BenchmarkLine]:
    """Measure the lines of decoding; lines that need an optional package that is not installed are left out."""
    yield from windows.lines()
    yield from power.lines()
    half = load(MODEL, dtype="bfloat16")
    yield population_line(half)
    for part in (lambda: masks.lines(half), peers.lines):
        yield from skip_missing_extras(part)


def skip_missing_extras(part: Callable[[], Iterator[BenchmarkLine]]) -> Iterator[BenchmarkLine]:
    """Yield the lines of `part` up to the first that needs a missing package, which is printed on stderr."""
    try:
        yield from part()
    except MissingExtra as missing:
        print(f"left out: {missing}", file=sys.stderr)


def population_line(
    model: Model, prompt: Sequence[int] = (), *, length: int = LENGTH, repeats: int = 2
) -> BenchmarkLine:
    """Measure tokens per second of SMC for the square of the model, against as many independent rows.

    Both run without records and stop tokens, so they draw the same number of tokens. The weights become uneven fast:
    the population is resampled every few tokens, and the line states how often.
    """
    runs: list[Generation] = []

    def smc() -> object:
        runs.append(
            _generate_samples(model, prompt, length, alpha=POWER, sampler="smc", replicates=1, particles=PARTICLES)
        )
        return runs

    sides = {"smc": smc, "plain": lambda: _generate_samples(model, [prompt] * PARTICLES, length)}
    seconds = time_sides(sides, repeats=repeats)
    ours, theirs = (PARTICLES * length / seconds[name] for name in ("smc", "plain"))
    forks = runs[-1].weighted_samples.diagnostics["resamplings"]
    title = f"SMC against ancestral, {PARTICLES} rows, {length} tokens, bfloat16, no record, {forks:g} resamplings"
    return lower_limit_line(title, ours, theirs, limit=0.7, unit="token/s")


def _generate_samples(model: Model, prompt: Any, length: int, **options: Any) -> Generation:
    return generate(model, prompt, max_tokens=length, record=None, ignore_eos=True, **options)
