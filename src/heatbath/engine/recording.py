"""From a sampler's step to its record: the raw ensemble, and what every field and window did to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from heatbath.decode import Step
from heatbath.engine.tape import Floats
from heatbath.record import DIVERGENCE, FIELD_ENERGY, KEPT_MASS, WORK, Record, observe, observe_nodes

Keep = bool | Literal["nodes"]


def recorded(step: Step, keep: Keep) -> Record | None:
    r"""What is kept of a step. Of an ensemble that is steered, besides the raw one:

    `work/f` and `field_energy/f` of each field, `kept_mass/w` of each window and `kept_mass` of all, `divergence/…`
    of each and of all, `log_mass` of all, and `drawn_logprob`. For 0 < beta < inf they add up: `drawn_logprob` -
    `logprob` = beta sum(work - field energy) - ln(kept mass).
    """
    if keep is False:
        return None
    if keep == "nodes":
        return observe_nodes(step.energies, step.tokens)
    record = observe(step.energies, step.tokens, beta=step.betas)
    if step.drawn is step.energies:
        return record.extend({"kept_mass": step.kept_mass})
    steered = step.steered
    total = {"kept_mass": step.kept_mass, "log_mass": np.sum([*steered.log_mass.values()], axis=0)}
    return record.extend(
        {
            **_named(WORK, steered.work),
            **_named(FIELD_ENERGY, step.field_energy),
            **_named(KEPT_MASS, steered.window_mass),
            **_named(DIVERGENCE, steered.divergences),
            **total,
            "divergence": steered.divergence,
            "drawn_logprob": step.logprob,
        }
    )


def _named(prefix: str, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    return {prefix + name: column for name, column in columns.items()}
