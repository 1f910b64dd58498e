"""A calibrator: from the signals of an answer to the probability that it is right, for one model and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.errors import BadInput, format_value
from heatbath.record import Trace
from heatbath.short_repr import format_repr
from heatbath.trust.calibration.answer_selection import SelectionGuarantee
from heatbath.trust.calibration.base import Fit
from heatbath.trust.calibration.calibration_study import CalibrationStudy
from heatbath.trust.calibration.calibrator_content import CALIBRATOR_FORMAT, CalibratorContent
from heatbath.trust.calibration.fits import name_fit, parse_fit
from heatbath.trust.calibration.signal_table import Floats, is_exact
from heatbath.trust.signals import SIGNALS, Evidence, SignalValue, compute_signal_columns


@dataclass(frozen=True, repr=False)
class Calibrator:
    """The probability that an answer is right, and the threshold from which answers are given.

        calibrator = hb.calibrate(model, "questions.jsonl")
        calibrator.confidence(trace), calibrator.abstains(trace)
        calibrator.save("calibrator.json"); calibrator = load_calibrator("calibrator.json")

    Attributes:
        content: everything that its file holds.
        fit: the fitted map from signals to the probability.
        study: what a report shows; None for a calibrator that was read from a file.
    """

    content: CalibratorContent
    fit: Fit
    study: CalibrationStudy | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        guarantee = self.content.guarantee
        values = {
            "signals": ", ".join(self.content.signals),
            "fit": name_fit(self.fit),
            "threshold": guarantee.threshold,
            "max_error": guarantee.max_error,
        }
        return format_repr("Calibrator", values, first=self.content.model.model)

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of the signals that it needs."""
        return self.content.signals

    @property
    def guarantee(self) -> SelectionGuarantee:
        """The threshold with its guarantee."""
        return self.content.guarantee

    def confidence(self, answer: Trace | Evidence) -> float:
        """Return the probability that an answer is right.

        Args:
            answer: the trace of an answer, or evidence with what else its signals need.

        Raises:
            BadInput: the answer is of another model or temperature, or lacks what a signal needs.
        """
        return float(self.confidences([answer])[0])

    def confidences(self, answers: Sequence[Trace | Evidence]) -> Floats:
        """Return the probability of each answer, (n,); see `confidence`."""
        evidences = [Evidence(trace=one) if isinstance(one, Trace) else one for one in answers]
        for evidence in evidences:
            self._validate_trace(evidence.trace)
        columns = compute_signal_columns(evidences, self.signals)
        values = {name: [column[i] for i in range(len(evidences))] for name, column in columns.items()}
        return self.predict(values, allows_bounds=all(evidence.trace is not None for evidence in evidences))

    def predict(self, signals: Mapping[str, Sequence[SignalValue]], *, allows_bounds: bool = False) -> Floats:
        """Return the probability from signals that were computed already, one sequence of n values for each, (n,).

        Args:
            signals: the values of each signal.
            allows_bounds: true for signals of traces, whose bounds are those of interpolation in temperature, as in the
                calibration; false refuses bounds, which for a top-k list are as wide as what the list leaves open.

        Raises:
            BadInput: a signal is missing, is a bound in place of a number, or has no value.
        """
        scores = [_read_scores(name, signals, allows_bounds=allows_bounds) for name in self.signals]
        return self.fit.predict(np.stack(scores, axis=1))

    def abstains(self, answer: Trace | Evidence) -> bool:
        """Return true if the answer should not be given, by the threshold of the guarantee."""
        return not self.answers(self.confidence(answer))

    def answers(self, confidence: float) -> bool:
        """Return true if an answer of this confidence should be given, by the threshold of the guarantee."""
        threshold = self.guarantee.threshold
        return threshold is not None and confidence >= threshold

    def validate_model(self, fingerprint: str, settings: Mapping[str, Any] | None = None) -> None:
        """Check that a model, and the settings that are given, are those of the calibration.

        Raises:
            BadInput: they are not; the message names the first difference.
        """
        own = self.content.model
        if fingerprint != own.fingerprint:
            raise BadInput(
                f"the calibrator is for {own.model} with the fingerprint {_shorten(own.fingerprint)}, got the model "
                f"{_shorten(fingerprint)}: run heatbath calibrate with that model."
            )
        if mismatch := self.find_mismatch(settings or {}):
            raise BadInput(f"{mismatch}: use the settings of the calibration, or run heatbath calibrate with yours.")

    def find_mismatch(self, settings: Mapping[str, Any]) -> str:
        """Return a sentence on the first of `settings` that is not that of the calibration; empty if all are."""
        own = self.content.settings
        for name, value in settings.items():
            if name in own and own[name] != value:
                return f"the calibrator is for {name} = {format_value(own[name])}, got {format_value(value)}"
        return ""

    def save(self, path: str | Path) -> None:
        """Write a JSON file; an error leaves the previous one.

        Raises:
            OSError: the folder is not writable, or the disk is full.
        """
        CALIBRATOR_FORMAT.save(self.content, Path(path))

    def report(self, folder: str | Path) -> Path:
        """Write report.html, report.json, calibrator.json and the figures into a folder, and return the page.

        Raises:
            BadInput: the calibrator was read from a file, which has no report.
            OSError: the folder is not writable, or the disk is full.
        """
        from heatbath.trust.calibration.report_page import write_report

        if self.study is None:
            raise BadInput("a calibrator that was read from a file has no report: it is beside the file.")
        return write_report(self.content, self.study, Path(folder))

    def _validate_trace(self, trace: Trace | None) -> None:
        if trace is None:
            return
        self.validate_model(trace.provenance.fingerprint)
        expected = self.content.settings.get("temperature")
        found = trace.temperature[trace.scored_mask]
        if expected is not None and found.size and not np.allclose(found, expected, rtol=1e-9, atol=0):
            self.validate_model(trace.provenance.fingerprint, {"temperature": float(found[0])})


def load_calibrator(path: str | Path, *, fingerprint: str | None = None) -> Calibrator:
    """Read a calibrator from its file, or from the folder that holds it.

    Args:
        path: calibrator.json, under any name, or its folder.
        fingerprint: the fingerprint of the model that it is for; None checks nothing until it is used.

    Raises:
        BadInput: the file does not exist, is damaged, has an unknown schema version, or is for another model.
    """
    content = CALIBRATOR_FORMAT.load(path, CalibratorContent)
    damaged = f"{path} is a damaged calibrator: write it again with `heatbath calibrate`."
    try:
        fit = parse_fit(content.fit)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(damaged) from error
    if not content.signals:
        raise BadInput(damaged)
    for name in content.signals:
        SIGNALS.find(name)
    calibrator = Calibrator(content, fit)
    if fingerprint is not None:
        calibrator.validate_model(fingerprint)
    return calibrator


def _read_scores(name: str, signals: Mapping[str, Sequence[SignalValue]], *, allows_bounds: bool) -> Floats:
    """Return a signal with its sign chosen so that larger means right, (n,)."""
    if name not in signals:
        raise BadInput(f"this calibrator needs the signal {name}, got {', '.join(signals)}: compute it too.")
    for value in signals[name]:
        if value.status == "none":
            raise BadInput(f"the signal {name} of this calibrator has no value here: {value.reason}")
        if not allows_bounds and not is_exact(value.lower, value.upper):
            raise BadInput(
                f"this calibrator needs the exact signal {name}, got one between {value.lower:g} and {value.upper:g}: "
                "record all log-probabilities in place of a top-k list."
            )
    return SIGNALS.find(name).spec.direction * np.array([value.value for value in signals[name]])


def _shorten(fingerprint: str) -> str:
    return f"{fingerprint[:19]}…" if len(fingerprint) > 20 else fingerprint
