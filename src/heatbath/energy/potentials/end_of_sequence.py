"""Answers that came to an end by themselves."""

from __future__ import annotations

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import Floats
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput


class TruncationPenalty(Potential):
    """`weight` nats for an answer that was cut at the greatest length, 0 for one that a stop token ended, (B,).

    With the default of +inf the law is that of answers which fit: log Z is then the log-probability of fitting.
    Prefixes cost nothing. Raises `BadInput` for a weight below 0 or NaN.
    """

    scores_prefixes = True

    def __init__(self, weight: float = np.inf, *, name: str = "finished") -> None:
        if not weight >= 0:
            raise BadInput(f"the weight of {name!r} is {weight}: give a number of nats from 0 up.")
        self.weight = float(weight)
        self.name = name

    def __call__(self, context: Context) -> Floats:
        return np.asarray([self.weight if self._is_truncated(context, row) else 0.0 for row in range(len(context))])

    def _is_truncated(self, context: Context, row: int) -> bool:
        answer = context.tokens[row][context.prompt_lengths[row] :]
        return context.is_finished(row) and not (len(answer) and answer[-1] in context.stop_token_ids)


def _build_finished(context: BuildContext, weight: float = float("inf")) -> Potential:
    return TruncationPenalty(weight)


SPEC = Spec("finished", "potential", _build_finished, order=30)
