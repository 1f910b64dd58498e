"""The confidence of served answers: a calibrator with the settings that it is valid for, and the monitor of its use."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heatbath.engine.base import ModelInfo, RecordMode, Token
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import dtype_name
from heatbath.record import NODE_COLUMNS, THERMO_COLUMNS, UNIFORM_COLUMNS, Provenance, Record, Trace
from heatbath.serve.interfaces import AnswerConfidence, Store, StoreUnavailable

if TYPE_CHECKING:
    from heatbath.trust.calibration.calibrator import Calibrator
    from heatbath.trust.monitoring import CalibrationMonitor

MAX_RESTORED = 20_000
"""The newest confidences that the monitor reads from the database when a server starts."""

_COLUMNS = (*THERMO_COLUMNS, "temperature", *NODE_COLUMNS, *UNIFORM_COLUMNS)


@dataclass(frozen=True)
class Confidence:
    """The probability that an answer is right, or the reason why it is not known.

    Attributes:
        value: None where it cannot be measured, for the `reason`.
        abstains: the calibrator's guarantee says not to give the answer; an answer without a value is not covered.
        required: the least value that the request wants; None if it wants none.
        is_stale: the monitor has found that the calibration does not hold any more.
    """

    value: float | None
    reason: str = ""
    abstains: bool = True
    required: float | None = None
    is_stale: bool = False

    @property
    def is_withheld(self) -> bool:
        """True if the answer does not meet what the request requires."""
        return self.required is not None and (self.value is None or self.value < self.required)

    def describe(self) -> dict[str, Any]:
        """Return the fields of `thermo`."""
        source = {"source": "measured"} if self.value is not None else {"source": "none", "reason": self.reason}
        found: dict[str, Any] = {"confidence": self.value, **source, "abstain": self.abstains, "stale": self.is_stale}
        if self.required is not None:
            found |= {"abstained": self.is_withheld, "required": {"confidence": self.required}}
        return found


@dataclass
class ConfidenceCounts:
    """Answers since the start: those measured, those that the guarantee abstains from, withheld, and not measured."""

    measured: int = 0
    abstaining: int = 0
    withheld: int = 0
    unmeasured: int = 0

    def add(self, confidence: Confidence) -> None:
        """Count an answer."""
        self.measured += confidence.value is not None
        self.unmeasured += confidence.value is None
        self.abstaining += confidence.value is not None and confidence.abstains
        self.withheld += confidence.is_withheld


@dataclass(frozen=True, eq=False)
class ServedCalibrator:
    """A calibrator in use.

    Attributes:
        record_mode: the record that its signals need of every token.
        digest: names the calibrator in the database.
        monitor: tests whether it still holds.
        counts: answers since the start.
    """

    calibrator: Calibrator
    record_mode: RecordMode
    digest: str
    monitor: CalibrationMonitor
    counts: ConfidenceCounts = field(default_factory=ConfidenceCounts)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the calibration."""
        return self.calibrator.content.settings

    def validate_model(self, model: ModelInfo) -> None:
        """Check that the model is that of the calibration.

        Raises:
            BadInput: it is another one, or has another data type.
        """
        dtype = dtype_name(model)
        self.calibrator.validate_model(model.fingerprint, {"dtype": dtype} if dtype else {})

    def find_mismatch(self, settings: Mapping[str, Any]) -> str:
        """Return a sentence on the first of `settings` that is not that of the calibration; empty if all are."""
        return self.calibrator.find_mismatch(settings)

    def measure(self, tokens: Sequence[Token], finish: str | None, language: ModelInfo) -> Confidence:
        """Return the confidence of an answer by the calibrator, from the records of its tokens."""
        reason = self._find_obstacle(tokens, finish)
        if reason:
            return Confidence(None, reason, is_stale=self.monitor.is_stale)
        try:
            value = self.calibrator.confidence(build_trace(tokens, language))
        except HeatbathError as error:
            return Confidence(None, str(error), is_stale=self.monitor.is_stale)
        if not 0.0 <= value <= 1.0:
            return Confidence(None, "the signals of the answer are not finite", is_stale=self.monitor.is_stale)
        return Confidence(value, abstains=not self.calibrator.answers(value), is_stale=self.monitor.is_stale)

    def _find_obstacle(self, tokens: Sequence[Token], finish: str | None) -> str:
        """Return why an answer is not one as the calibration had them; empty if it is."""
        if not tokens:
            return "the answer has no tokens"
        if finish not in ("stop", "length"):
            return "the answer was cut short"
        limit = int(self.settings.get("max_tokens", len(tokens)))
        if len(tokens) > limit:
            return f"the answer has {len(tokens)} tokens, and answers of the calibration had at most {limit}"
        if finish == "length" and len(tokens) < limit:
            return f"the answer was cut after {len(tokens)} tokens, and answers of the calibration after {limit}"
        if any(token.record is None or "ground" not in token.record for token in tokens):
            return "the engine gave no record of the tokens"
        return ""

    async def restore(self, store: Store) -> None:
        """Hand the monitor what is stored of earlier runs with this calibrator; nothing while the store is down."""
        try:
            found = await store.list_confidences(self.digest, MAX_RESTORED)
        except StoreUnavailable:
            return
        await asyncio.to_thread(self._replay, found)

    def _replay(self, found: Sequence[tuple[str, AnswerConfidence]]) -> None:
        seen = set()
        for answer, one in found:
            if answer not in seen:
                self.monitor.add_confidence(one.value)
            seen.add(answer)
        labeled = [(one.labeled_at, answer, one) for answer, one in found if one.labeled_at is not None]
        for _, answer, one in sorted(labeled, key=lambda each: each[0]):
            self.monitor.add_label(answer, one.choice, one.value, is_right=bool(one.is_right), weight=one.weight)

    def describe(self) -> dict[str, Any]:
        """Return the state for the page, ready for JSON."""
        content, counts = self.calibrator.content, self.counts
        guarantee = content.guarantee
        return {
            "signals": list(content.signals),
            "settings": {name: content.settings.get(name) for name in ("temperature", "max_tokens", "chat")},
            "created": content.created,
            "guarantee": str(guarantee),
            "threshold": guarantee.threshold,
            "measured": counts.measured,
            "abstaining": counts.abstaining,
            "withheld": counts.withheld,
            "unmeasured": counts.unmeasured,
            **self.monitor.describe(),
        }


def load_served_calibrator(path: Path) -> ServedCalibrator:
    """Read the calibrator of the settings.

    Raises:
        BadInput: the file cannot be read, or its signals need more than the answer itself.
    """
    from heatbath.trust.calibration.answer_records import find_needed_record, require_answer_signals
    from heatbath.trust.calibration.calibrator import load_calibrator
    from heatbath.trust.calibration.calibrator_content import CALIBRATOR_FORMAT
    from heatbath.trust.monitoring import CalibrationMonitor

    calibrator = load_calibrator(path)
    content = calibrator.content
    require_answer_signals(content.signals)
    temperature = content.settings.get("temperature")
    if not isinstance(temperature, int | float) or not temperature >= 0.0 or math.isinf(temperature):
        raise BadInput(f"{path} does not say the temperature that it is for: write it again with `heatbath calibrate`.")
    return ServedCalibrator(
        calibrator,
        find_needed_record(content.signals, float(temperature)),
        hashlib.sha256(CALIBRATOR_FORMAT.format(content).encode()).hexdigest()[:32],
        CalibrationMonitor(content.sample, seed=content.seed),
    )


def stored_confidence(choice: int, confidence: Confidence, digest: str) -> AnswerConfidence | None:
    """Return a confidence as it is stored; None where there is none."""
    if confidence.value is None:
        return None
    return AnswerConfidence(choice, confidence.value, digest, confidence.is_withheld)


def build_trace(tokens: Sequence[Token], language: ModelInfo) -> Trace:
    """Return the trace of an answer from the records of its tokens, which all have one."""
    records = [token.record or {} for token in tokens]
    names = [name for name in _COLUMNS if name in records[0]]
    record = Record({name: np.array([row[name] for row in records], np.float64) for name in names})
    ids = np.array([token.id for token in tokens], np.int64)
    provenance = Provenance(language.name, language.fingerprint, "")
    return Trace(ids, np.arange(len(ids)), record, provenance, language.token_bytes)
