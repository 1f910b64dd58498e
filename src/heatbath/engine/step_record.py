"""From a sampler's step to its record: the raw ensemble, and what every field and window did to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from heatbath.decode import Step
from heatbath.engine.base import RecordMode
from heatbath.engine.run_buffer import Floats
from heatbath.ensemble import State
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


def build_record(step: Step, mode: RecordMode, raw_state: State | None = None) -> Record | None:
    r"""What is kept of a step; `seen` is the raw state with the drawn tokens, where it is known already.

    With "state" it is the thermodynamics without the nodes and the divergences, which take passes over the energies of
    their own. Of an ensemble that is steered, besides the raw one:

    `work/f` and `field_energy/f` of each field, `kept_mass/w` of each window and `kept_mass` of all, `divergence/…`
    of each and of all, `log_mass` of all, and `drawn_logprob`. For 0 < beta < inf they add up: `drawn_logprob` -
    `logprob` = beta sum(work - field energy) - ln(kept mass).
    """
    if mode is None:
        return None
    if mode == "nodes":
        return observe_nodes(step.energies, step.tokens)
    record = _observe_raw(step, mode, raw_state)
    if step.final_energies is step.energies:
        return record.with_columns({"kept_mass": step.kept_mass})
    steered = step.pipeline_result
    record = record.with_columns(
        {
            **_add_prefix(WORK_PREFIX, steered.work),
            **_add_prefix(FIELD_ENERGY_PREFIX, step.field_energy),
            **_add_prefix(KEPT_MASS_PREFIX, steered.window_mass),
            "kept_mass": step.kept_mass,
            "log_mass": np.sum([*steered.log_mass.values()], axis=0),
            "drawn_logprob": step.logprob,
        }
    )
    if mode == "state":
        return record
    return record.with_columns(
        {**_add_prefix(DIVERGENCE_PREFIX, steered.divergences), "divergence": steered.divergence}
    )


def _observe_raw(step: Step, mode: RecordMode, raw_state: State | None) -> Record:
    if mode == "full":
        return observe(step.energies, step.tokens, beta=step.betas)
    if raw_state is not None:
        return record_from_state(raw_state)
    return observe_state(step.energies, step.tokens, beta=step.betas)


def _add_prefix(prefix: str, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    return {prefix + name: column for name, column in columns.items()}
