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
from heatbath.models import Model, RestrictedModel
from heatbath.phases import curves as on
from heatbath.phases.advice import recommend_range
from heatbath.phases.critical import Criticality, TagChains, compute_criticality
from heatbath.phases.edges import Edge, find_freeze_edge, find_melt_edge
from heatbath.phases.observables import TEXT_OBSERVABLES, TextFunction, measure_observables
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.phase_map_data import Budget, TextSample
from heatbath.phases.prefix_sums import SweepSamples
from heatbath.phases.sampling import SweepPlan, draw_batches
from heatbath.phases.tags import build_tag_chains, resolve_tag_scheme
from heatbath.phases.turn_baseline import find_turning_point
from heatbath.record import Provenance

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

GRID_SIZE = 121
NUM_TEXT_SAMPLES = 5
TAGS_PER_TOKEN = 1
"""Tags that are asked of a text, per token: looping texts are made of short tokens, and should not be left out."""


@dataclass(frozen=True)
class AnalysisOptions:
    """What to look for beside curves and edges: critical observables of `tags`, and functions of the text."""

    criticality: bool = False
    tags: str = "auto"
    observables: Mapping[str, TextFunction] | None = None

    def validate(self, model: Model) -> None:
        """Raise `BadInput` or `MissingExtra` for what cannot be looked for, before anything is drawn."""
        taken = set(self.observables or ()) & (set(on.THERMAL_RATES) | set(TEXT_OBSERVABLES))
        if taken:
            raise BadInput(f"an observable may not be called {min(taken)!r}, heatbath has one: choose another name.")
        if self.criticality:
            resolve_tag_scheme(self.tags, model)


def sweep(
    model: Model,
    prompts: Sequence[str] | None = None,
    *,
    plan: SweepPlan | None = None,
    analysis: AnalysisOptions | None = None,
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
    plan, analysis = plan or SweepPlan(), analysis or AnalysisOptions()
    if prompts is not None:
        plan = replace(plan, prompts=tuple(tuple(model.encode(prompt)) for prompt in prompts))
    plan.validate(model)
    analysis.validate(model)
    if analysis.criticality and plan.temperatures is None:
        # Fluctuations between texts are compared at one temperature, so each needs many texts: no half-way places.
        plan = replace(plan, temperatures=tuple(np.linspace(plan.low, plan.high, plan.anchors).tolist()))
    endless = RestrictedModel(model, model.vocabulary.stop_token_ids) if model.vocabulary.stop_token_ids else model
    folder = _prepare_trace_folder(Path(out), plan, model) if out is not None else None
    started = time.monotonic()
    samples = _draw_samples(endless, plan, folder, progress)
    seconds = time.monotonic() - started
    budget = Budget(len(samples), len(samples) * plan.length, round(seconds, 1))
    return analyze_samples(model, samples, plan, analysis, budget)


def _draw_samples(model: Model, plan: SweepPlan, folder: Path | None, progress: Progress | None) -> SweepSamples:
    for samples in draw_batches(model, plan, folder):
        if progress is not None:
            progress(len(samples), plan.sequences)
    return samples


def analyze_samples(
    model: Model, samples: SweepSamples, plan: SweepPlan, analysis: AnalysisOptions, budget: Budget
) -> PhaseMap:
    """Everything that follows from the sequences alone: no model runs here."""
    rng = np.random.default_rng([plan.seed, len(samples)])
    pool = on.pool_samples(samples, np.unique(1 / samples.betas))
    pieces = [[model.token_bytes(token) for token in row] for row in samples.tokens.tolist()]
    edges = [find_freeze_edge(pool, pieces, rng), find_melt_edge(pool, rng)]
    critical = None
    if analysis.criticality:
        critical, order = _find_order_edge(model, samples, analysis.tags, rng)
        edges.append(order)
    return PhaseMap(
        model=Provenance.from_model(model),
        settings={**asdict(plan), "prompts": len(plan.prompts), "tags": analysis.tags},
        budget=budget,
        curves=_build_curves(pool, measure_observables(samples.tokens, pieces, analysis.observables or {})),
        edges=edges,
        advice=recommend_range(edges),
        turn=find_turning_point(pool, rng),
        criticality=critical,
        samples=_select_text_samples(samples, pieces),
    )


def _build_curves(pool: on.PooledSamples, texts: Mapping[str, Floats]) -> list[on.Curve]:
    grid = np.linspace(pool.temperatures.min(), pool.temperatures.max(), GRID_SIZE)
    window = on.second_half(pool.samples, pool.samples.length)
    columns = {name: on.rate_column(pool, rate, window) for name, rate in on.THERMAL_RATES.items()}
    columns |= {name: on.text_column(pool, value) for name, value in texts.items()}
    return [
        on.fit_curve(name, on.compute_points(column, pool.temperatures), pool, grid) for name, column in columns.items()
    ]


def _find_order_edge(
    model: Model, samples: SweepSamples, tags: str, rng: np.random.Generator
) -> tuple[Criticality | None, Edge]:
    """Critical observables and the order edge; too few long texts cost these, not the rest of the map."""
    try:
        found = compute_critical_observables(model, samples, tags, rng)
    except BadInput as error:
        return None, Edge("order", None, None, str(error), ())
    return found, found.order


def compute_critical_observables(
    model: Model, samples: SweepSamples, tags: str, rng: np.random.Generator
) -> Criticality:
    """Criticality of the tag chains of all texts, by the temperature they were drawn at.

    Raises:
        BadInput: see `criticality`.
    """
    tag = resolve_tag_scheme(tags, model)
    if tag.tagger is None:
        all_tags, kept = samples.tokens.astype(np.int64), np.ones(len(samples), np.bool_)
    else:
        texts = [model.decode(row) for row in samples.tokens.tolist()]
        all_tags, kept = build_tag_chains(texts, tag.tagger, TAGS_PER_TOKEN * samples.length)
    betas = np.unique(samples.betas)[::-1]
    tags_k = [all_tags[samples.betas[kept] == beta] for beta in betas]
    dropped = np.array([float((~kept[samples.betas == beta]).sum()) for beta in betas])
    return compute_criticality(TagChains(1 / betas, tags_k, dropped, tag.name, tag.num_tags), rng)


def _select_text_samples(samples: SweepSamples, pieces: Sequence[Sequence[bytes]]) -> list[TextSample]:
    """The text nearest to each of a few temperatures over the range."""
    temperatures = 1 / samples.betas
    wanted = np.linspace(temperatures.min(), temperatures.max(), NUM_TEXT_SAMPLES)
    rows = [int(np.abs(temperatures - t).argmin()) for t in wanted]
    return [TextSample(float(temperatures[i]), b"".join(pieces[i]).decode("utf-8", errors="replace")) for i in rows]


def _prepare_trace_folder(folder: Path, plan: SweepPlan, model: Model) -> Path:
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
