"""The record of a sampler's step: the raw ensemble, and the effect of every field and window on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from heatbath.decode import Step
from heatbath.engine.base import RecordMode
from heatbath.engine.run_buffer import Floats
from heatbath.record import (
    DIVERGENCE_PREFIX,
    FIELD_ENERGY_PREFIX,
    KEPT_MASS_PREFIX,
    WORK_PREFIX,
    Record,
    observe,
    observe_nodes,
    observe_state,
    record_from_state,
)


def build_record(step: Step, mode: RecordMode) -> Record | None:
    r"""Return the record of a step; None with mode None.

    With "state" it has no nodes and no divergences, which take further passes over the energies. For an ensemble with
    fields or windows it has, besides the columns of the raw one:

    `work/f` and `field_energy/f` of each field, `kept_mass/w` of each window and `kept_mass` of all, `divergence/…`
    of each and of all, `log_mass` of all, and `drawn_logprob`. For 0 < beta < inf they add up: `drawn_logprob` -
    `logprob` = beta sum(work - field energy) - ln(kept mass).
    """
    if mode is None:
        return None
    if mode == "nodes":
        return observe_nodes(step.energies, step.tokens)
    record = _observe_raw(step, mode)
    if step.final_energies is step.energies:
        return record.with_columns({"kept_mass": step.kept_mass})
    result = step.pipeline_result
    record = record.with_columns(
        {
            **_add_prefix(WORK_PREFIX, result.work),
            **_add_prefix(FIELD_ENERGY_PREFIX, step.field_energy),
            **_add_prefix(KEPT_MASS_PREFIX, result.window_mass),
            "kept_mass": step.kept_mass,
            "log_mass": np.sum([*result.log_mass.values()], axis=0),
            "drawn_logprob": step.logprob,
        }
    )
    if mode == "state":
        return record
    return record.with_columns({**_add_prefix(DIVERGENCE_PREFIX, result.divergences), "divergence": result.divergence})


def _observe_raw(step: Step, mode: RecordMode) -> Record:
    if mode == "full":
        return observe(step.energies, step.tokens, beta=step.betas)
    if step.model_state is not None:
        return record_from_state(step.model_state)
    return observe_state(step.energies, step.tokens, beta=step.betas)


def _add_prefix(prefix: str, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    return {prefix + name: column for name, column in columns.items()}
