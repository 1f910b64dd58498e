"""`compare_models`: draw paired texts of two models, score shared texts, and estimate all differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heatbath.models.base import TensorModel, dtype_name
from heatbath.phases.comparison.comparison import Comparison
from heatbath.phases.comparison.comparison_data import SideSummary, TextComparison
from heatbath.phases.comparison.difference_curves import compare_observables, describe_pairing
from heatbath.phases.comparison.edge_differences import compare_edges
from heatbath.phases.comparison.paired_samples import (
    MIN_PROMPT_UNITS,
    ComparisonPlan,
    Side,
    SideSamples,
    describe_plan,
    draw_side_samples,
)
from heatbath.phases.comparison.shared_texts import have_same_vocabulary, share_samples, share_texts
from heatbath.phases.comparison.text_comparison import compare_on_texts
from heatbath.phases.observables import TextFunction
from heatbath.questions.scored_prompts import Prompt
from heatbath.record import Provenance

Progress = Callable[[str, int, int], object]
"""Called with what is being done, and how many of how many texts are done."""


@dataclass(frozen=True)
class SharedTextOptions:
    """The shared texts: `texts` of the user, or None for drawn ones; and the `temperature` of the distributions."""

    texts: Sequence[str] | None = None
    temperature: float = 1.0
    source: str = ""


def compare_models(
    a: Side,
    b: Side,
    prompts: Sequence[Prompt] | None = None,
    *,
    plan: ComparisonPlan | None = None,
    shared: SharedTextOptions | None = None,
    observables: Mapping[str, TextFunction] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two models, or one model in two precisions, quantisations, seeds or windows; differences are B − A.

    Both sides continue the same prompts at the same temperatures from the same random streams (unless their seeds
    differ), so that much of the noise cancels. If both models have a chat template, prompts are user turns and texts
    may end, as in a sweep. With at least 20 prompts the intervals hold for prompts like these, with fewer for these.

    Args:
        a: one side.
        b: the other side, from which A is subtracted.
        prompts: texts or messages that both sides continue, in turn; by default as in a sweep.
        plan: temperatures, number of pairs and length.
        shared: texts for the comparison of the next-token distributions; by default texts that both sides drew.
        observables: functions of the text to compare beside the standard observables.
        out: a folder for the traces; an interrupted comparison continues from the traces in it.
        progress: called with ("texts of A", texts done, texts in all) and so on.

    Raises:
        BadInput: the plan, a prompt, a window or a text cannot be used, or the folder holds other texts.
        NotANumber: a model returned NaN.
    """
    plan, shared, report = plan or ComparisonPlan(), shared or SharedTextOptions(), progress or (lambda *_: None)
    plan = plan.settle(a.model, b.model)
    sampled_a, sampled_b = (
        draw_side_samples(
            side,
            prompts,
            plan,
            out=Path(out) / f"traces-{letter.lower()}" if out is not None else None,
            progress=lambda done, total, letter=letter: report(f"texts of {letter}", done, total),  # type: ignore[misc]
        )
        for letter, side in (("A", a), ("B", b))
    )
    num_prompts = sampled_a.num_prompts
    unit_n = plan.number_units(num_prompts)
    rng = np.random.default_rng([a.seed, b.seed, plan.rows])
    return Comparison(
        a=_summarize_side(a),
        b=_summarize_side(b),
        settings=describe_plan(plan, num_prompts),
        pairing=describe_pairing(sampled_a, sampled_b),
        curves=compare_observables(sampled_a, sampled_b, unit_n, observables or {}),
        edges=compare_edges(sampled_a, sampled_b, unit_n, rng),
        texts=_compare_texts(sampled_a, sampled_b, shared),
        notes=_build_notes(a, b, num_prompts),
    )


def _summarize_side(side: Side) -> SideSummary:
    model, facts = side.model, {}
    if isinstance(model, TensorModel):
        facts = {"dtype": dtype_name(model), "device": str(model.device)}
    windows = ", ".join(window.label for window in side.windows) or "none"
    return SideSummary(side.name, Provenance.from_model(model), {**facts, "seed": side.seed, "windows": windows})


def _compare_texts(a: SideSamples, b: SideSamples, shared: SharedTextOptions) -> TextComparison:
    if shared.texts is not None:
        texts = share_texts(a.side.model, b.side.model, shared.texts)
        source = shared.source or f"{len(shared.texts)} given texts"
    else:
        texts = share_samples(a, b, shared.temperature)
        temperatures = 1 / a.samples.betas
        nearest = temperatures[np.abs(temperatures - shared.temperature).argmin()]
        source = f"texts that A and B drew at T = {nearest:.2f}, as many of each"
    return compare_on_texts(a.side, b.side, texts, temperature=shared.temperature, source=source)


def _build_notes(a: Side, b: Side, num_prompts: int) -> list[str]:
    notes = []
    if not have_same_vocabulary(a.model, b.model):
        notes.append(
            "The vocabularies differ: quantities per token are per token of each model's own, divergences between "
            "next-token distributions are not defined, and the same random numbers mean other tokens on each side."
        )
    if a.windows or b.windows:
        notes.append(
            "Windows cut what is drawn; entropy, heat capacity and the other energies are those of the whole "
            "distribution along the drawn texts."
        )
    if num_prompts >= MIN_PROMPT_UNITS:
        notes.append("The intervals are over prompts: they hold for further prompts like these.")
    elif num_prompts > 1:
        notes.append(
            f"The intervals are over texts of these {num_prompts} prompts; from {MIN_PROMPT_UNITS} prompts on they are "
            "over prompts, and hold for further ones."
        )
    if a.seed != b.seed:
        notes.append("The seeds differ, so the pairs share prompts and temperatures only, and no noise cancels.")
    return notes
