"""What a run of generation gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heatbath.decode import WeightedSamples
from heatbath.engine.run_buffer import Floats, GenerationArrays
from heatbath.errors import BadInput
from heatbath.models.base import Tokens
from heatbath.record import WORK_PREFIX, Provenance, Trace, decode_pieces


@dataclass(frozen=True)
class Sample:
    """One answer: its text and tokens (the stop token last), log-weight and log-probability in nats, and its end."""

    text: str
    token_ids: list[int]
    log_weight: float
    logprob: float
    finish: str


@dataclass(frozen=True)
class Generation:
    """Continuations of prompts: `arrays` holds everything, the rest is read from it when asked for.

    `drawn` is what the sampler said of them; `finish` says of each row why it ended: "stop" (a stop token, which is
    its last), "length" or "interrupted".
    """

    prompts: tuple[Tokens, ...]
    arrays: GenerationArrays
    weighted_samples: WeightedSamples
    provenance: Provenance
    token_to_bytes: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        return self.weighted_samples.finish

    @cached_property
    def sequences(self) -> list[list[int]]:
        """The tokens of each continuation, without the prompt."""
        return [row[:n].tolist() for row, n in zip(self.arrays.tokens, self.arrays.lengths, strict=True)]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each continuation, bytes joined first, without the stop token."""
        return [
            "".join(decode_pieces(map(self.token_to_bytes, self._tokens_without_stop(row)))) for row in range(len(self))
        ]

    @property
    def selected_index(self) -> int:
        """Which answer to give: a draw by weight, the best or the most voted, as the sampler has it."""
        return self.weighted_samples.value

    @property
    def text(self) -> str:
        """The text of the answer to give."""
        return self.texts[self.selected_index]

    @cached_property
    def samples(self) -> list[Sample]:
        """All answers with their weights."""
        columns = (
            self.texts,
            self.sequences,
            self.weighted_samples.log_weight.tolist(),
            self.logprob.tolist(),
            self.finish_reasons,
        )
        return [Sample(*values) for values in zip(*columns, strict=True)]

    @cached_property
    def logprob(self) -> Floats:
        """Log-probability of each answer in the model, (n,), nats; NaN if not kept.

        At the temperature asked for; at T = 1 where the sampler is greedy or takes the best of n.
        """
        if self.weighted_samples.logprob is not None:
            return self.weighted_samples.logprob
        record = self.arrays.record
        if record is None or "logprob" not in record:
            return np.full(len(self), np.nan)
        return np.asarray(np.where(self.arrays.mask, record["logprob"], 0.0).sum(1))

    @property
    def log_z(self) -> float | None:
        """log Z of the law that the weights are for, nats; None where the sampler gives none."""
        return None if self.weighted_samples.log_z is None else self.weighted_samples.log_z.value

    @property
    def log_z_stderr(self) -> float | None:
        """Its standard error."""
        return None if self.weighted_samples.log_z is None else self.weighted_samples.log_z.stderr

    @property
    def ess(self) -> float:
        """Effective number of independent answers."""
        return self.weighted_samples.ess

    @property
    def diagnostics(self) -> Mapping[str, float]:
        """Further figures of the sampler, by name."""
        return self.weighted_samples.diagnostics

    @property
    def tokens_spent(self) -> int:
        """Tokens drawn in all, those of discarded answers among them."""
        return self.weighted_samples.tokens_spent

    @cached_property
    def work(self) -> dict[str, Floats]:
        """Free-energy change of each field summed over each answer, (n,), nats; empty without a record."""
        record = self.arrays.record
        names = [name for name in record or () if name.startswith(WORK_PREFIX)]
        mask = self.arrays.mask
        return {name.removeprefix(WORK_PREFIX): np.where(mask, record[name], 0.0).sum(1) for name in names if record}

    @cached_property
    def traces(self) -> list[Trace]:
        """The trace of each continuation: views of `arrays`, positions counted from the prompt's first token."""
        return [self.trace(row) for row in range(len(self))]

    def trace(self, row: int) -> Trace:
        """The trace of one continuation.

        Raises:
            BadInput: the run kept no record.
        """
        if self.arrays.record is None or "entropy" not in self.arrays.record:
            raise BadInput("this run kept no full record: generate with record='full'.")
        n = int(self.arrays.lengths[row])
        tokens = self.arrays.tokens[row, :n]
        positions = len(self.prompts[row]) + np.arange(n)
        return Trace(
            tokens, positions, self.arrays.record.take((row, slice(n))), self.provenance, self.token_to_bytes, row
        )

    def _tokens_without_stop(self, row: int) -> list[int]:
        tokens = self.sequences[row]
        return tokens[:-1] if self.finish_reasons[row] == "stop" else tokens
