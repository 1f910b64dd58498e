"""The result of a generation run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from heatbath.decode import WeightedSamples
from heatbath.engine.run_buffer import Floats, GenerationArrays
from heatbath.engine.stop_strings import StopMatch, StopStrings
from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.estimate import Estimate
from heatbath.models.base import Tokens
from heatbath.record import NODE_COLUMNS, WORK_PREFIX, Provenance, Trace, decode_pieces
from heatbath.short_repr import format_repr, short_repr


@dataclass(frozen=True, repr=False)
class Sample:
    """One sequence: its text, its tokens (a stop token last) and what they count, in nats.

    `logprob` is its log-probability in the model at T = 1, `logprob_at_temperature` at the temperature asked for.
    `finish_reason` is "stop" (a stop token or a stop text), "length" or "interrupted".
    """

    text: str
    token_ids: list[int]
    log_weight: float
    logprob: float
    logprob_at_temperature: float
    finish_reason: str

    __repr__ = short_repr


@dataclass(frozen=True, repr=False)
class Generation:
    """Continuations of prompts: `arrays` holds everything, the rest is read from it when asked for.

    A text of `stop_strings` ends the text, tokens and trace of a sequence where it is complete. A sampler of sequences
    draws to their end first, so that `arrays`, weights and log-probabilities are of what was drawn.
    """

    prompts: tuple[Tokens, ...]
    arrays: GenerationArrays
    weighted_samples: WeightedSamples
    provenance: Provenance
    token_to_bytes: Callable[[int], bytes]
    stop_token_ids: tuple[int, ...] = ()
    stop_strings: StopStrings = field(default_factory=StopStrings)

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        weights = {} if self.log_z is None else {"log_z": self.log_z, "ess": self.ess}
        values = {"samples": len(self), "tokens_spent": self.tokens_spent, **weights, "model": self.provenance.model}
        return format_repr("Generation", values, first=self.text if len(self) else "")

    def _repr_html_(self) -> str:
        from heatbath.engine.generation_html import render_generation

        return render_generation(self)

    @cached_property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each ended: "stop" (by a stop token, which is its last, or a stop text), "length" or "interrupted"."""
        ends = zip(self._stop_matches, self.weighted_samples.finish_reasons, strict=True)
        return tuple(reason if match is None else "stop" for match, reason in ends)

    @property
    def finish_reason(self) -> str:
        """Why the sequence `best_index` ended."""
        return self.finish_reasons[self.best_index]

    @cached_property
    def sequences(self) -> list[list[int]]:
        """The tokens of each continuation, without the prompt."""
        ends = zip(self._drawn_sequences, self._stop_matches, strict=True)
        return [tokens if match is None else tokens[: match.num_tokens] for tokens, match in ends]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each continuation, bytes joined first, without the stop token or stop text."""
        return [self._decode_row(row) if match is None else match.text for row, match in enumerate(self._stop_matches)]

    @property
    def best_index(self) -> int:
        """The index of the sequence to give: a draw by weight, the best or the most voted, as the sampler has it."""
        return self.weighted_samples.selected_index

    @property
    def text(self) -> str:
        """The text of the sequence `best_index`."""
        return self.texts[self.best_index]

    @cached_property
    def samples(self) -> list[Sample]:
        """All sequences with their weights."""
        columns = (
            self.texts,
            self.sequences,
            self.weighted_samples.log_weight.tolist(),
            self.logprob.tolist(),
            self.logprob_at_temperature.tolist(),
            self.finish_reasons,
        )
        return [Sample(*values) for values in zip(*columns, strict=True)]

    @cached_property
    def logprob(self) -> Floats:
        """Log-probability of each sequence in the model at T = 1, (n,), nats.

        At another temperature of the draws it is read from the nodes of the record, to the bound of their
        interpolation; NaN where there are none.
        """
        samples = self.weighted_samples
        if samples.logprob is not None and samples.logprob_temperature == 1:
            return samples.logprob
        return self._sum_columns(self._plain_logprobs())

    @cached_property
    def logprob_at_temperature(self) -> Floats:
        """Log-probability of each sequence in the model at the temperature asked for, (n,), nats; NaN if not kept."""
        samples = self.weighted_samples
        if samples.logprob is not None and samples.logprob_temperature is None:
            return samples.logprob
        record = self.arrays.record
        return self._sum_columns(None if record is None or "logprob" not in record else record["logprob"])

    @property
    def log_z(self) -> float | None:
        """log Z of the distribution that the weights are for, nats; None where the sampler gives none.

        Raises:
            Unreliable: the diagnostics say that the run has not converged; `.estimate` carries the `Estimate`.
        """
        estimate = self._require_log_z()
        return None if estimate is None else estimate.value

    @property
    def log_z_stderr(self) -> float | None:
        """Its standard error. Raises `Unreliable` as `log_z` does."""
        estimate = self._require_log_z()
        return None if estimate is None else estimate.stderr

    @property
    def reliable_log_z(self) -> Estimate | None:
        """log Z as an `Estimate`; None where the sampler gives none, or where `unreliable_reason` is given."""
        return None if self.unreliable_reason else self.weighted_samples.log_z

    @property
    def unreliable_reason(self) -> str:
        """A sentence that says why log Z and means over the samples are not reliable; empty where nothing says so."""
        reason, estimate = self.weighted_samples.unreliable_reason, self.weighted_samples.log_z
        if not reason:
            return ""
        value = "" if estimate is None else f"log Z = {estimate} and "
        return f"{value}means over the samples are not reliable: {reason}."

    def _require_log_z(self) -> Estimate | None:
        estimate = self.weighted_samples.log_z
        if estimate is not None and self.unreliable_reason:
            raise Unreliable(self.unreliable_reason, estimate)
        return estimate

    @property
    def ess(self) -> float:
        """Effective number of independent sequences."""
        return self.weighted_samples.ess

    @property
    def diagnostics(self) -> Mapping[str, float]:
        """Further figures of the sampler, by name."""
        return self.weighted_samples.diagnostics

    @property
    def tokens_spent(self) -> int:
        """Tokens drawn in all, those of discarded sequences among them."""
        return self.weighted_samples.tokens_spent

    @cached_property
    def work(self) -> dict[str, Floats]:
        """Free-energy change of each field summed over each sequence, (n,), nats; empty without a record."""
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
        n = len(self.sequences[row])
        tokens = self.arrays.tokens[row, :n]
        positions = len(self.prompts[row]) + np.arange(n)
        return Trace(
            tokens, positions, self.arrays.record.take((row, slice(n))), self.provenance, self.token_to_bytes, row
        )

    @cached_property
    def _drawn_sequences(self) -> list[list[int]]:
        return [row[:n].tolist() for row, n in zip(self.arrays.tokens, self.arrays.lengths, strict=True)]

    @cached_property
    def _stop_matches(self) -> list[StopMatch | None]:
        """For each sequence its first stop text, None where there is none."""
        if not self.stop_strings.texts:
            return [None] * len(self)
        return [
            self.stop_strings.find_first(map(self.token_to_bytes, self._spoken_tokens(row))) for row in range(len(self))
        ]

    def _decode_row(self, row: int) -> str:
        return "".join(decode_pieces(map(self.token_to_bytes, self._spoken_tokens(row))))

    def _spoken_tokens(self, row: int) -> list[int]:
        """The tokens that were drawn, without the stop token."""
        tokens = self._drawn_sequences[row]
        ended_by_token = self.weighted_samples.finish_reasons[row] == "stop" and tokens[-1] in self.stop_token_ids
        return tokens[:-1] if ended_by_token else tokens

    def _plain_logprobs(self) -> Floats | None:
        """Log-probabilities of the tokens at T = 1, (n, L); NaN where the record does not know them."""
        record = self.arrays.record
        if record is None:
            return None
        own = np.zeros(self.arrays.mask.shape, bool)
        known = np.full(own.shape, np.nan)
        if "logprob" in record:
            own = record["temperature"] == 1.0
            known = np.where(own, record["logprob"], np.nan)
        if own[self.arrays.mask].all() or NODE_COLUMNS[0] not in record:
            return known
        return np.where(own, known, -record["energy"] - np.asarray(record.nodes.log_z(1.0)))

    def _sum_columns(self, columns: Floats | None) -> Floats:
        if columns is None:
            return np.full(len(self), np.nan)
        return np.asarray(np.where(self.arrays.mask, columns, 0.0).sum(1))
