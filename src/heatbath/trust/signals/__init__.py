"""Signals: numbers about one answer that may tell right answers from wrong ones.

compute_signals(Evidence(trace=…), ["logprob:mean", "entropy:max"])
compute_signal_columns(evidences)   many answers in one pass
collect_evidence(run)               of the sequences that `hb.generate` drew
SIGNALS                             all of them, with direction, gauge and cost
"""

from heatbath.trust.signals.base import (
    Aggregation,
    Evidence,
    NamedSignal,
    SampledAnswer,
    SignalSpec,
    SignalValue,
    parse_signal_name,
)
from heatbath.trust.signals.discovery import SIGNALS, SignalRegistry
from heatbath.trust.signals.evaluation import SignalColumn, compute_signal_columns, compute_signals
from heatbath.trust.signals.sampling import collect_evidence, collect_samples

__all__ = [
    "SIGNALS",
    "Aggregation",
    "Evidence",
    "NamedSignal",
    "SampledAnswer",
    "SignalColumn",
    "SignalRegistry",
    "SignalSpec",
    "SignalValue",
    "collect_evidence",
    "collect_samples",
    "compute_signal_columns",
    "compute_signals",
    "parse_signal_name",
]
