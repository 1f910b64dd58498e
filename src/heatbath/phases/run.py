"""`sweep`: draw texts over a range of temperatures; find where the model freezes, where it melts, and what to use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.models import Model, Restricted
from heatbath.phases import curves as on
from heatbath.phases.advice import between
from heatbath.phases.collect import Plan, batches
from heatbath.phases.critical import Chains, Criticality, criticality
from heatbath.phases.edges import Edge, freeze, melt
from heatbath.phases.observables import TEXTUAL, TextFunction, measured
from heatbath.phases.phasemap import Budget, PhaseMap, Sample
from heatbath.phases.samples import Samples
from heatbath.phases.tags import chains, tagging
from heatbath.phases.turn import turning_point
from heatbath.record import About

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

GRID = 121
SHOWN = 5
TAGS_PER_TOKEN = 1
"""Tags that are asked of a text, per token: looping texts are made of short tokens, and should not be left out."""


@dataclass(frozen=True)
class Look:
    """What to look for beside curves and edges: critical observables of `tags`, and functions of the text."""

    criticality: bool = False
    tags: str = "auto"
    observables: Mapping[str, TextFunction] | None = None

    def check(self, model: Model) -> None:
        """Raise `BadInput` or `MissingExtra` for what cannot be looked for, before anything is drawn."""
        taken = set(self.observables or ()) & (set(on.THERMAL) | set(TEXTUAL))
        if taken:
            raise BadInput(f"an observable may not be called {min(taken)!r}, heatbath has one: choose another name.")
        if self.criticality:
            tagging(self.tags, model)


def sweep(
    model: Model,
    prompts: Sequence[str] | None = None,
    *,
    plan: Plan | None = None,
    look: Look | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> PhaseMap:
    """Measure a model over temperature. End-of-text is forbidden, so that every text has the plan's length.

    Args:
        model: any model.
        prompts: what to continue, in turn; by default the start of a document.
        plan: temperatures, lengths, budget and seed.
        look: critical observables and functions of the text to measure beside the standard ones.
        out: a folder for the traces; a sweep that was stopped goes on from what is there.
        progress: called with (sequences drawn, sequences wanted) after each batch.

    Raises:
        BadInput: a plan, prompt or tag that cannot be used, or a folder that holds another sweep.
        NotANumber: the model gave NaN; names the position.
    """
    plan, look = plan or Plan(), look or Look()
    if prompts is not None:
        plan = replace(plan, prompts=tuple(tuple(model.encode(prompt)) for prompt in prompts))
    plan.check(model)
    look.check(model)
    if look.criticality and plan.temperatures is None:
        # Fluctuations between texts are compared at one temperature, so each needs many texts: no half-way places.
        plan = replace(plan, temperatures=tuple(np.linspace(plan.low, plan.high, plan.anchors).tolist()))
    endless = Restricted(model, model.vocabulary.stop) if model.vocabulary.stop else model
    folder = _claimed(Path(out), plan, model) if out is not None else None
    started = time.monotonic()
    samples = _drawn(endless, plan, folder, progress)
    seconds = time.monotonic() - started
    budget = Budget(len(samples), len(samples) * plan.length, round(seconds, 1))
    return examine(model, samples, plan, look, budget)


def _drawn(model: Model, plan: Plan, folder: Path | None, progress: Progress | None) -> Samples:
    for samples in batches(model, plan, folder):
        if progress is not None:
            progress(len(samples), plan.sequences)
    return samples


def examine(model: Model, samples: Samples, plan: Plan, look: Look, budget: Budget) -> PhaseMap:
    """Everything that follows from the sequences alone: no model runs here."""
    rng = np.random.default_rng([plan.seed, len(samples)])
    pool = on.pool(samples, np.unique(1 / samples.betas))
    pieces = [[model.token_bytes(token) for token in row] for row in samples.tokens.tolist()]
    edges = [freeze(pool, pieces, rng), melt(pool, rng)]
    critical = None
    if look.criticality:
        critical, order = _order(model, samples, look.tags, rng)
        edges.append(order)
    return PhaseMap(
        model=About.of(model),
        settings={**asdict(plan), "prompts": len(plan.prompts), "tags": look.tags},
        budget=budget,
        curves=_curves(pool, measured(samples.tokens, pieces, look.observables or {})),
        edges=edges,
        advice=between(edges),
        turn=turning_point(pool, rng),
        criticality=critical,
        samples=_shown(samples, pieces),
    )


def _curves(pool: on.Pool, texts: Mapping[str, Floats]) -> list[on.Curve]:
    grid = np.linspace(pool.temperatures.min(), pool.temperatures.max(), GRID)
    window = on.second_half(pool.samples, pool.samples.length)
    columns = {name: on.rate_column(pool, rate, window) for name, rate in on.THERMAL.items()}
    columns |= {name: on.text_column(pool, value) for name, value in texts.items()}
    return [on.curve(name, on.points_of(column, pool.temperatures), pool, grid) for name, column in columns.items()]


def _order(model: Model, samples: Samples, tags: str, rng: np.random.Generator) -> tuple[Criticality | None, Edge]:
    """Critical observables and the order edge; too few long texts cost these, not the rest of the map."""
    try:
        found = critical_observables(model, samples, tags, rng)
    except BadInput as error:
        return None, Edge("order", None, None, str(error), ())
    return found, found.order


def critical_observables(model: Model, samples: Samples, tags: str, rng: np.random.Generator) -> Criticality:
    """Criticality of the tag chains of all texts, by the temperature they were drawn at.

    Raises:
        BadInput: see `criticality`.
    """
    tag = tagging(tags, model)
    if tag.function is None:
        all_tags, kept = samples.tokens.astype(np.int64), np.ones(len(samples), np.bool_)
    else:
        texts = [model.decode(row) for row in samples.tokens.tolist()]
        all_tags, kept = chains(texts, tag.function, TAGS_PER_TOKEN * samples.length)
    betas = np.unique(samples.betas)[::-1]
    tags_k = [all_tags[samples.betas[kept] == beta] for beta in betas]
    dropped = np.array([float((~kept[samples.betas == beta]).sum()) for beta in betas])
    return criticality(Chains(1 / betas, tags_k, dropped, tag.name, tag.count), rng)


def _shown(samples: Samples, pieces: Sequence[Sequence[bytes]]) -> list[Sample]:
    """The text nearest to each of a few temperatures over the range."""
    temperatures = 1 / samples.betas
    wanted = np.linspace(temperatures.min(), temperatures.max(), SHOWN)
    rows = [int(np.abs(temperatures - t).argmin()) for t in wanted]
    return [Sample(float(temperatures[i]), b"".join(pieces[i]).decode("utf-8", errors="replace")) for i in rows]


def _claimed(folder: Path, plan: Plan, model: Model) -> Path:
    """The folder of this sweep's traces, made if need be; its `plan.json` says whose they are."""
    traces = folder / "traces"
    traces.mkdir(parents=True, exist_ok=True)
    label = traces / "plan.json"
    mine = json.loads(json.dumps({"model": model.fingerprint, **asdict(plan)}))
    if label.exists():
        there = json.loads(label.read_text())
        # A larger budget continues the same stream of rows; anything else is another sweep.
        if {**there, "sequences": 0} != {**mine, "sequences": 0}:
            raise BadInput(f"{traces} holds the traces of another sweep: give another folder, or the same settings.")
    label.write_text(json.dumps(mine, indent=2))
    return traces
