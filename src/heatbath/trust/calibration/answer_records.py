"""The records that a calibrator needs of an answer, for whoever measures its confidence while it is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from heatbath.engine.measurement import beta_from_temperature
from heatbath.errors import BadInput
from heatbath.record import Provenance, Trace, observe_state
from heatbath.trust.calibration.answer_collection import NEEDS_MORE
from heatbath.trust.signals import SIGNALS, Evidence, compute_signal_columns

NEEDS_IN_WORDS = {
    "samples": "several samples of each answer",
    "prompt": "the trace of the prompt",
    "model": "further passes of the model",
    "attention": "attention weights",
    "embedding": "an embedding model",
}


def require_answer_signals(signals: Sequence[str]) -> None:
    """Check that signals need nothing but the records of the answer itself.

    Raises:
        BadInput: one needs more; the message says what.
    """
    for name in signals:
        for need in SIGNALS.find(name).spec.needs:
            if need in NEEDS_MORE:
                raise BadInput(
                    f"the signal {name} of this calibrator needs {NEEDS_IN_WORDS[need]}, which a server does not have "
                    "for every answer: calibrate with signals of the answer alone."
                )


def find_needed_record(signals: Sequence[str], temperature: float) -> Literal["state", "full"]:
    """Return the smallest record from which signals have the values that a full record gives, at a temperature.

    Whatever is exact without log Z at other temperatures is the same with it. That is tried on a small ensemble.
    """
    chooses_tokens = any(SIGNALS.find(name).aggregation == "decision" for name in signals)
    if chooses_tokens and temperature != 1.0:
        # Decision tokens are those of the highest entropy at T = 1, where that is known.
        return "full"
    columns = compute_signal_columns([Evidence(trace=_build_example(temperature))], signals)
    return "state" if all(column.statuses[0] == "exact" for column in columns.values()) else "full"


def _build_example(temperature: float) -> Trace:
    """Return the trace of three tokens with the columns that are exact at their own temperature."""
    energies: Any = np.random.default_rng(0).normal(size=(3, 7))
    tokens = np.array([1, 4, 2])
    record = observe_state(energies, tokens, beta=beta_from_temperature(temperature))
    return Trace(tokens, np.arange(3), record, Provenance("", "", ""), lambda token: b"")
