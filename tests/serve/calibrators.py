"""Calibrators for the mock model, without a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.engine.mock import ByteModelInfo
from heatbath.record import Provenance
from heatbath.trust.calibration.answer_selection import SelectionGuarantee
from heatbath.trust.calibration.calibrator import Calibrator
from heatbath.trust.calibration.calibrator_content import CalibratorContent, DataDescription
from heatbath.trust.calibration.fits import dump_fit
from heatbath.trust.calibration.parametric_fits import PlattFit, RegressionFit

SETTINGS = {"temperature": 1.0, "max_tokens": 8, "chat": True, "system": None, "stop": [], "samples": 0, "dtype": None}
SAMPLE = tuple(np.linspace(0.02, 0.98, 97).tolist())
"""Confidences of a calibration, uniform."""


def write_calibrator(
    path: Path,
    *,
    signals: Sequence[str] = ("logprob:mean",),
    slope: float = 6.0,
    intercept: float = 8.0,
    **changes: Any,
) -> Path:
    """Write a calibrator: the logistic function of slope times the signal, less for further ones, plus an intercept."""
    several = tuple(slope / (i + 1) for i in range(len(signals)))
    fit = PlattFit(slope, intercept) if len(signals) == 1 else RegressionFit(several, intercept)
    content = CalibratorContent(
        model=Provenance("mock", changes.pop("fingerprint", ByteModelInfo.fingerprint), "0"),
        data=DataDescription("questions", "sha256:0", 200, 100),
        settings={**SETTINGS, **changes.pop("settings", {})},
        signals=tuple(signals),
        fit=dump_fit(fit),
        guarantee=SelectionGuarantee("fixed sequence", 0.1, 0.9, changes.pop("threshold", 0.6), 60, 30, 1, 0.08),
        metrics={},
        seed=0,
        created="2026-01-01T00:00:00+00:00",
        sample=SAMPLE,
    )
    Calibrator(replace(content, **changes), fit).save(path)
    return path
