"""Signals of likelihood: the probability of the tokens of an answer, their energies, and their number."""

from __future__ import annotations

from heatbath.trust.signals.base import Evidence, SignalSpec, SignalValue
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import TokenValues


def logprob(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.logprob(temperature)


def excess_energy(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.excess_energy()


def length(evidence: Evidence, _: float | None) -> SignalValue:
    """Return the number of the answer's tokens."""
    if evidence.trace is not None:
        return SignalValue.exact(float(evidence.trace.scored_mask.sum()))
    if evidence.top_logprobs is not None:
        return SignalValue.exact(float(len(evidence.top_logprobs)))
    return SignalValue.none("there is neither a trace nor a list of log-probabilities")


SIGNAL_SPECS = (
    SignalSpec(
        "logprob",
        "likelihood",
        "log-probability of the tokens at a temperature; its sum is that of the sequence",
        direction=1,
        is_gauge_invariant=True,
        needs=("trace",),
        compute_tokens=logprob,
        aggregations=("sum", "mean", "min", "max", "last", "decision"),
        parameters=(1.0,),
        parameter_name="temperature",
    ),
    SignalSpec(
        "excess_energy",
        "likelihood",
        "energy of the token above that of the most probable one, at T = 1",
        direction=-1,
        is_gauge_invariant=True,
        needs=("trace",),
        compute_tokens=excess_energy,
        aggregations=("mean", "sum", "max", "last", "decision"),
    ),
    SignalSpec(
        "length",
        "likelihood",
        "number of tokens of the answer",
        direction=-1,
        is_gauge_invariant=True,
        needs=("trace",),
        compute=length,
    ),
)
