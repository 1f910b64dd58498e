"""The work that the energies of a policy do on ordinary text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.energy_pipeline import EnergyPipeline, PipelineResult
from heatbath.energy import Context
from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.engine.registry import FIELDS, BuildContext, build_labeled
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.estimate import Estimate
from heatbath.estimate.proportion import ratio_estimate
from heatbath.models.base import Model, ScoreChunk
from heatbath.policy.corpus import CorpusText, document_numbers
from heatbath.policy.policy import Policy

Floats = npt.NDArray[np.float64]
_ROWS = 32
"""Positions whose energies are held at once, (32, V) for each rule."""


@dataclass(frozen=True)
class RuleCost:
    """The cost of one rule, each a mean per token whose standard error takes documents as independent.

    Attributes:
        work: the free-energy change, nats; negative where the rule favours something.
        forbidden_mass: the probability of the tokens that it forbids and no rule before it.
        largest_work: the largest work on one token, nats.
    """

    work: Estimate
    forbidden_mass: Estimate
    largest_work: float


@dataclass(frozen=True)
class EnergyCost:
    """The cost of each rule with an energy, by its id, and of all together, on `tokens` of `documents`."""

    tokens: int
    documents: int
    rules: dict[str, RuleCost]
    total: RuleCost


def measure_cost(
    policy: Policy,
    model: Model,
    corpus: Sequence[CorpusText],
    *,
    max_tokens: int = 256,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EnergyCost:
    """Score texts with the fields of a policy at T = 1, each text up to `max_tokens`, as if it were being generated.

    Raises:
        BadInput: the policy has no rule with an energy, or no text has two tokens.
    """
    context = BuildContext(model, max_tokens, TokenBytesCache(model.token_bytes, model.vocabulary.size))
    pipeline = EnergyPipeline([build_labeled(FIELDS, spec, context) for spec in policy.fields], keep_dead_rows=True)
    if not pipeline.fields:
        raise BadInput("no rule of the policy has an energy: there is no work to measure.")
    tables: list[dict[str, Floats]] = []
    rows: list[int] = []
    documents = document_numbers(corpus)
    for done, each in enumerate(corpus):
        tokens = model.encode(each.text)[:max_tokens]
        for chunk in model.score([tokens]):
            tables += _measure_chunk(pipeline, model, tokens, chunk)
            rows += [documents[done]] * len(chunk.positions)
        progress(done + 1, len(corpus))
    if not rows:
        raise BadInput("no text has two tokens: give longer texts.")
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return _summarize(columns, np.asarray(rows), pipeline.field_names)


def _measure_chunk(
    pipeline: EnergyPipeline, model: Model, tokens: Sequence[int], chunk: ScoreChunk
) -> list[dict[str, Floats]]:
    """Return the columns `work/…` and `mass/…` of each rule, and `mass` of all, of a few positions at a time."""
    found = []
    for first in range(0, len(chunk.positions), _ROWS):
        positions = chunk.positions[first : first + _ROWS]
        energies = to_numpy(chunk.energies[first : first + _ROWS])
        prefixes = [tokens[:position] for position in positions]
        context = Context(
            prefixes, [0] * len(prefixes), model.vocabulary.size, model.vocabulary.stop_token_ids, energies=energies
        )
        found.append(_build_columns(pipeline.add_fields(context, np.ones(len(prefixes)))))
    return found


def _build_columns(result: PipelineResult) -> dict[str, Floats]:
    log_p = -np.asarray(result.energies, np.float64) - result.model_log_z(result.betas)[:, None]
    columns = {f"work/{name}": work for name, work in result.work.items()}
    before: Any = result.energies
    for stage in result.field_stages:
        columns[f"mass/{stage.name}"] = _lost_mass(log_p, before, stage.energies)
        before = stage.energies
    columns["mass"] = _lost_mass(log_p, result.energies, before)
    return columns


def _lost_mass(log_p: Floats, before: Any, after: Any) -> Floats:
    """Return the probability of the tokens that are possible before and not after, (B,)."""
    lost = np.isposinf(np.asarray(after)) & np.isfinite(np.asarray(before))
    return np.asarray(np.exp(np.where(lost, log_p, -np.inf)).sum(-1))


def _summarize(columns: dict[str, Floats], documents: npt.NDArray[np.int64], names: Sequence[str]) -> EnergyCost:
    counts = np.bincount(documents).astype(np.float64)
    counts = counts[counts > 0]

    def estimate(values: Floats) -> Estimate:
        sums = np.bincount(documents, values).astype(np.float64)
        return ratio_estimate(sums[np.bincount(documents) > 0], counts)

    def summarize(work: Floats, mass: Floats) -> RuleCost:
        return RuleCost(estimate(work), estimate(mass), float(work.max()))

    rules = {name: summarize(columns[f"work/{name}"], columns[f"mass/{name}"]) for name in names}
    total = np.sum([columns[f"work/{name}"] for name in names], axis=0)
    return EnergyCost(len(documents), len(counts), rules, summarize(total, columns["mass"]))
