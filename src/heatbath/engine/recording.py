"""From a sampler's step to its record: the raw ensemble, and what every field and window did to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from heatbath.decode import Step
from heatbath.engine.tape import Floats
from heatbath.ensemble import State
from heatbath.record import (
    DIVERGENCE,
    FIELD_ENERGY,
    KEPT_MASS,
    WORK,
    Record,
    observe,
    observe_nodes,
    observe_state,
    record_of_state,
)

Keep = bool | Literal["nodes", "state"]


def recorded(step: Step, keep: Keep, seen: State | None = None) -> Record | None:
    r"""What is kept of a step; `seen` is the raw state with the drawn tokens, where it is known already.

    With "state" it is the thermodynamics without the nodes and the divergences, which take passes over the energies of
    their own. Of an ensemble that is steered, besides the raw one:

    `work/f` and `field_energy/f` of each field, `kept_mass/w` of each window and `kept_mass` of all, `divergence/…`
    of each and of all, `log_mass` of all, and `drawn_logprob`. For 0 < beta < inf they add up: `drawn_logprob` -
    `logprob` = beta sum(work - field energy) - ln(kept mass).
    """
    if keep is False:
        return None
    if keep == "nodes":
        return observe_nodes(step.energies, step.tokens)
    record = _raw(step, keep, seen)
    if step.drawn is step.energies:
        return record.extend({"kept_mass": step.kept_mass})
    steered = step.steered
    record = record.extend(
        {
            **_named(WORK, steered.work),
            **_named(FIELD_ENERGY, step.field_energy),
            **_named(KEPT_MASS, steered.window_mass),
            "kept_mass": step.kept_mass,
            "log_mass": np.sum([*steered.log_mass.values()], axis=0),
            "drawn_logprob": step.logprob,
        }
    )
    if keep == "state":
        return record
    return record.extend({**_named(DIVERGENCE, steered.divergences), "divergence": steered.divergence})


def _raw(step: Step, keep: Keep, seen: State | None) -> Record:
    if keep is True:
        return observe(step.energies, step.tokens, beta=step.betas)
    if seen is not None:
        return record_of_state(seen)
    return observe_state(step.energies, step.tokens, beta=step.betas)


def _named(prefix: str, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    return {prefix + name: column for name, column in columns.items()}
