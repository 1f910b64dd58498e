"""The tokens of a prompt and what the model makes of each: scored in pieces, so that nobody waits long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.decode import Schedule
from heatbath.engine.base import Token
from heatbath.engine.local.plan import CompiledRequest
from heatbath.engine.local.rows import Row, alternatives, plain_logprob
from heatbath.engine.measurement import beta_from_temperature
from heatbath.engine.step_record import RecordMode
from heatbath.models.base import Model, ScoreChunk
from heatbath.record import Record, observe, observe_state


class PromptScorer:
    """A sequence being scored at beta, a window of it at a time."""

    def __init__(
        self, model: Model, tokens: Sequence[int], *, beta: float, record_mode: RecordMode, top_logprobs: int
    ) -> None:
        self._beta, self._record_mode, self._top_logprobs = beta, record_mode, top_logprobs
        self.tokens = [Token(token, None) for token in tokens]
        # Of a sequence of one token nothing is to be said.
        self._windows = iter(model.score([list(tokens)]) if len(tokens) > 1 else ())

    def step(self) -> bool:
        """Score one more window; whether there are more."""
        window = next(self._windows, None)
        if window is not None:
            self._append_window(window)
        return window is not None

    def _append_window(self, window: ScoreChunk) -> None:
        targets = np.asarray(window.targets, np.int64)
        record = self._build_record(window.energies, targets)
        logprobs = plain_logprob(window.energies, targets, record)
        tops = alternatives(window.energies, targets, logprobs, [self._top_logprobs] * len(targets))
        columns = None if record is None else record.columns
        for at, (position, logprob, top) in enumerate(zip(window.positions, logprobs.tolist(), tops, strict=True)):
            row = None if columns is None else Row(columns, at)
            self.tokens[position] = Token(int(targets[at]), logprob, top, row)

    def _build_record(self, energies: Any, targets: Any) -> Record | None:
        if not self._record_mode:
            return None
        see = observe if self._record_mode is True else observe_state
        return see(energies, targets, beta=self._beta)


def build_prompt_scorer(model: Model, compiled_request: CompiledRequest) -> PromptScorer:
    """The prompt of a request at the temperature it asks for, at T = 1 where a schedule does."""
    settings = compiled_request.settings
    greedy = settings.sampler == "greedy"
    temperature = 0.0 if greedy else compiled_request.request.temperature
    beta = 1.0 if isinstance(settings.temperature, Schedule) else beta_from_temperature(temperature)
    return PromptScorer(
        model,
        compiled_request.request.prompt,
        beta=beta,
        record_mode=compiled_request.record_mode,
        top_logprobs=compiled_request.request.top_logprobs,
    )
