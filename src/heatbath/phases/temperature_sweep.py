"""`sweep`: sample texts over a range of temperatures, measure curves, and locate the freeze and melt edges."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.models import Model
from heatbath.phases import curves
from heatbath.phases.advice import find_free_temperature, recommend_range
from heatbath.phases.critical import Criticality, TagChains, compute_criticality
from heatbath.phases.edge_looks import widen_edge
from heatbath.phases.edges import Edge, find_edges
from heatbath.phases.ladder import build_thermodynamic_scale
from heatbath.phases.observables import FINISHED_OBSERVABLES, TEXT_OBSERVABLES, TextFunction, measure_observables
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.phase_map_data import Budget
from heatbath.phases.plan_preparation import SweepOptions, describe_plan, prepare_plan, restrict_model, update_plan
from heatbath.phases.prefix_sums import SweepSamples
from heatbath.phases.sampling import SweepPlan, draw_batches
from heatbath.phases.sweep_prompts import assign_prompts
from heatbath.phases.tags import build_tag_chains, resolve_tag_scheme
from heatbath.phases.text_samples import decode_pieces, select_text_samples
from heatbath.phases.text_values import compute_own_sums, rate_values, text_values
from heatbath.phases.turn_baseline import find_turning_point
from heatbath.questions.scored_prompts import Prompt
from heatbath.record import Provenance, atomic_write

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]

GRID_SIZE = 121
TAGS_PER_TOKEN = 1
"""Tags required per token of a text; low, so that looping texts, which consist of short tokens, are not dropped."""


@dataclass(frozen=True)
class AnalysisOptions:
    """Analysis beyond curves and edges: critical observables of the tag scheme `tags`, and functions of the text."""

    criticality: bool = False
    tags: str = "auto"
    observables: Mapping[str, TextFunction] | None = None

    def validate(self, model: Model) -> None:
        """Check the options against `model`, before any text is sampled.

        Raises:
            BadInput: an observable has the name of a standard one, or the tag scheme does not fit the model.
            MissingExtra: the tag scheme needs a package that is not installed.
        """
        conflicts = set(self.observables or ()) & {*curves.THERMAL_RATES, *TEXT_OBSERVABLES, *FINISHED_OBSERVABLES}
        if conflicts:
            raise BadInput(f"the observable {min(conflicts)!r} is a standard one: choose another name for yours.")
        if self.criticality:
            resolve_tag_scheme(self.tags, model)


def sweep(
    model: Model,
    prompts: Sequence[Prompt] | None = None,
    *,
    plan: SweepPlan | None = None,
    analysis: AnalysisOptions | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[SweepOptions],
) -> PhaseMap:
    """Measure a model over a range of temperatures.

    A model with a chat template is given `prompts` as user turns, and its texts may end by themselves. Any other model,
    and any with `chat=False`, continues them as text; its end of text is forbidden, so that all texts have the length
    of the plan.

    Args:
        model: any model.
        prompts: texts or lists of chat messages, in turn; by default a few built-in questions
            (`sweep_prompts.BUILT_IN_PROMPTS`) for a chat, and the start of a document without one.
        plan: temperatures, length and number of texts, and seed.
        analysis: critical observables and functions of the text to measure beside the standard observables.
        out: a folder for the traces; an interrupted sweep continues from the traces in it.
        progress: called with (sequences sampled, sequences in all) after each batch.
        **options: fields of `SweepPlan`, such as window="top_p=0.9", system="…", chat=False or length=64.

    Raises:
        BadInput: the plan, a prompt or the analysis cannot be used, or the folder holds another sweep.
        NotANumber: the model returned NaN; the message names the position.
    """
    analysis = analysis or AnalysisOptions()
    plan = prepare_plan(model, update_plan(plan or SweepPlan(), options), prompts, fixed=analysis.criticality)
    analysis.validate(model)
    folder = prepare_trace_folder(Path(out), plan, model) if out is not None else None
    start = time.monotonic()
    samples = _draw_samples(restrict_model(model, plan), plan, folder, progress)
    seconds = time.monotonic() - start
    budget = Budget(len(samples), int(samples.lengths.sum()), round(seconds, 1))
    return analyze_samples(model, samples, plan, analysis, budget)


def _draw_samples(model: Model, plan: SweepPlan, folder: Path | None, progress: Progress | None) -> SweepSamples:
    for samples in draw_batches(model, plan, folder):
        if progress is not None:
            progress(len(samples), plan.sequences)
    return samples


def analyze_samples(
    model: Model, samples: SweepSamples, plan: SweepPlan, analysis: AnalysisOptions, budget: Budget
) -> PhaseMap:
    """Compute the phase map of a set of sequences; no model runs here, `model` only decodes tokens."""
    rng = np.random.default_rng([plan.seed, len(samples)])
    pool = curves.pool_samples(samples, np.unique(1 / samples.betas))
    pieces = decode_pieces(model, samples)
    edges = [edge if plan.width is None else widen_edge(edge, plan.width) for edge in find_edges(pool, pieces, rng)]
    criticality = None
    if analysis.criticality:
        criticality, order = _find_order_edge(model, samples, analysis.tags, rng)
        edges.append(order)
    texts = measure_observables(samples.tokens, pieces, analysis.observables or {}, may_end=samples.may_end)
    frozen = np.maximum(texts["loop fraction"], texts["stale fraction"])
    advice = recommend_range(edges, find_free_temperature(1 / samples.betas, frozen))
    return PhaseMap(
        model=Provenance.from_model(model),
        settings={**describe_plan(model, plan), "tags": analysis.tags},
        budget=budget,
        curves=_build_curves(pool, texts),
        edges=edges,
        advice=advice,
        turn=find_turning_point(pool, rng),
        criticality=criticality,
        samples=select_text_samples(samples, pieces, _decode_prompts(model, plan, len(samples)), advice.range),
    )


def _decode_prompts(model: Model, plan: SweepPlan, count: int) -> list[str]:
    """Return the prompt of each of `count` rows as text, control tokens of a template included."""
    texts = [model.decode(prompt) for prompt in plan.prompts]
    return [texts[i] for i in assign_prompts(len(texts), plan.seed, 0, count)]


def _build_curves(pool: curves.PooledSamples, texts: Mapping[str, Floats]) -> list[curves.Curve]:
    samples = pool.samples
    grid = np.linspace(pool.temperatures.min(), pool.temperatures.max(), GRID_SIZE)
    frame = curves.CurveFrame(pool, build_thermodynamic_scale(samples), grid)
    window, sums = curves.averaging_range(samples), compute_own_sums(samples)
    thermal = [
        curves.fit_curve(name, curves.rate_column(pool, rate, window), rate_values(samples, sums, rate, window), frame)
        for name, rate in curves.select_rates(samples).items()
    ]
    counted = [
        curves.fit_curve(name, curves.text_column(pool, value), text_values(samples, value), frame)
        for name, value in texts.items()
    ]
    return thermal + counted


def _find_order_edge(
    model: Model, samples: SweepSamples, tags: str, rng: np.random.Generator
) -> tuple[Criticality | None, Edge]:
    """Compute the critical observables and the order edge; without enough long texts the edge says so."""
    try:
        criticality = compute_critical_observables(model, samples, tags, rng)
    except BadInput as error:
        return None, Edge("order", None, None, str(error), ())
    return criticality, criticality.order


def compute_critical_observables(
    model: Model, samples: SweepSamples, tags: str, rng: np.random.Generator
) -> Criticality:
    """Compute the critical observables of the tag chains of all texts, grouped by temperature.

    Raises:
        BadInput: the tag scheme does not fit the model, or see `compute_criticality`.
    """
    scheme = resolve_tag_scheme(tags, model)
    if scheme.tagger is None:
        chains, long_enough = samples.tokens.astype(np.int64), np.ones(len(samples), np.bool_)
    else:
        texts = [model.decode(row) for row in samples.tokens.tolist()]
        chains, long_enough = build_tag_chains(texts, scheme.tagger, TAGS_PER_TOKEN * samples.length)
    betas = np.unique(samples.betas)[::-1]
    tags_k = [chains[samples.betas[long_enough] == beta] for beta in betas]
    dropped = np.array([float((~long_enough[samples.betas == beta]).sum()) for beta in betas])
    return compute_criticality(TagChains(1 / betas, tags_k, dropped, scheme.name, scheme.num_tags), rng)


def prepare_trace_folder(folder: Path, plan: SweepPlan, model: Model) -> Path:
    """Create the folder of the traces, or check that its `plan.json` is of this sweep, and return it."""
    traces = folder / "traces"
    traces.mkdir(parents=True, exist_ok=True)
    plan_file = traces / "plan.json"
    current = json.loads(json.dumps({"model": model.fingerprint, **asdict(plan)}))
    if not plan_file.exists() and any(traces.glob("batch-*.parquet")):
        raise BadInput(f"{traces} holds traces but no plan.json that says of which sweep: give another folder.")
    if plan_file.exists():
        previous = _read_plan(plan_file)
        # More sequences continue the same random streams; any other difference makes it another sweep.
        if {**previous, "sequences": 0} != {**current, "sequences": 0}:
            raise BadInput(f"{traces} holds the traces of another sweep: give another folder, or the same settings.")
    with atomic_write(plan_file) as temporary:
        temporary.write_text(json.dumps(current, indent=2), encoding="utf-8")
    return traces


def _read_plan(path: Path) -> dict[str, object]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        plan = None
    if not isinstance(plan, dict):
        raise BadInput(f"{path} is damaged, so that the traces may be of any sweep: give another folder.")
    return plan
