"""The contents of a calibrator file: everything that a calibrator is, beside the fitted map itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from heatbath.record import Provenance
from heatbath.record.result_file import ResultFormat
from heatbath.trust.calibration.answer_selection import SelectionGuarantee
from heatbath.trust.calibration.base import Fit
from heatbath.trust.calibration.calibration_study import CalibrationStudy
from heatbath.trust.calibration.fits import dump_fit

CALIBRATOR_FORMAT = ResultFormat("calibrator", "heatbath calibrate", "calibrator.json", (1,))


@dataclass(frozen=True)
class DataDescription:
    """The questions of a calibration: their name, the SHA-256 of their contents, how many, and how many right."""

    name: str
    digest: str
    questions: int
    right: int


@dataclass(frozen=True)
class CalibratorContent:
    """The contents of a calibrator file, beside its kind and schema version.

    `sample` holds the confidences of different questions that neither chose nor fitted anything, in rising order: the
    distribution that a monitor compares later ones with. A file without it has no such monitor.
    """

    model: Provenance
    data: DataDescription
    settings: Mapping[str, Any]
    signals: tuple[str, ...]
    fit: Mapping[str, Any]
    guarantee: SelectionGuarantee
    metrics: Mapping[str, float]
    seed: int
    created: str
    sample: tuple[float, ...] = ()


def build_content(
    provenance: Provenance, data: DataDescription, settings: Mapping[str, Any], *, fit: Fit, study: CalibrationStudy
) -> CalibratorContent:
    """Return the contents of a calibrator file for a study."""
    metrics = {one.name: one.value for one in study.held_out.metrics}
    return CalibratorContent(
        provenance,
        data,
        settings,
        study.chosen[0],
        dump_fit(fit),
        study.guarantee,
        metrics,
        int(settings.get("seed", 0)),
        datetime.now(UTC).isoformat(timespec="seconds"),
        study.sample,
    )
