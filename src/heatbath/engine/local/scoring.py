"""The tokens of a prompt and what the model makes of each: scored in pieces, so that nobody waits long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.decode import Schedule
from heatbath.engine.base import Token
from heatbath.engine.local.plan import Plan
from heatbath.engine.local.rows import Row, alternatives, plain_logprob
from heatbath.engine.measuring import beta_of
from heatbath.engine.recording import Keep
from heatbath.models.base import Model, Window
from heatbath.record import Record, observe, observe_state


class Scoring:
    """A sequence being scored at beta, a window of it at a time."""

    def __init__(self, model: Model, tokens: Sequence[int], *, beta: float, keep: Keep, top: int) -> None:
        self._beta, self._keep, self._top = beta, keep, top
        self.tokens = [Token(token, None) for token in tokens]
        # Of a sequence of one token nothing is to be said.
        self._windows = iter(model.score([list(tokens)]) if len(tokens) > 1 else ())

    def step(self) -> bool:
        """Score one more window; whether there are more."""
        window = next(self._windows, None)
        if window is not None:
            self._take(window)
        return window is not None

    def _take(self, window: Window) -> None:
        targets = np.asarray(window.targets, np.int64)
        record = self._record(window.energies, targets)
        logprobs = plain_logprob(window.energies, targets, record)
        tops = alternatives(window.energies, targets, logprobs, [self._top] * len(targets))
        columns = None if record is None else record.columns
        for at, (position, logprob, top) in enumerate(zip(window.positions, logprobs.tolist(), tops, strict=True)):
            row = None if columns is None else Row(columns, at)
            self.tokens[position] = Token(int(targets[at]), logprob, top, row)

    def _record(self, energies: Any, targets: Any) -> Record | None:
        if not self._keep:
            return None
        see = observe if self._keep is True else observe_state
        return see(energies, targets, beta=self._beta)


def of_prompt(model: Model, plan: Plan) -> Scoring:
    """The prompt of a request at the temperature it asks for, at T = 1 where a schedule does."""
    settings = plan.settings
    greedy = settings.sampler == "greedy"
    temperature = 0.0 if greedy else plan.request.temperature
    beta = 1.0 if isinstance(settings.temperature, Schedule) else beta_of(temperature)
    return Scoring(model, plan.request.prompt, beta=beta, keep=plan.keep, top=plan.request.top)
