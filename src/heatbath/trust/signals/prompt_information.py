r"""Signals of the prompt: what it tells of itself, and of the answer.

The predictive information of a prompt (Bialek, Nemenman and Tishby 2001) is the part of its entropy that does not grow
with its length: \(\sum_t (S_t - h)\), with the entropy rate \(h\) the mean over its second half. It is what a reader
gains from the beginning of the prompt for the rest of it.
"""

from __future__ import annotations

import numpy as np

from heatbath.engine.measurement import measure
from heatbath.trust.signals.base import Evidence, SignalSpec, SignalValue
from heatbath.trust.signals.record_ensembles import RecordEnsembles
from heatbath.trust.signals.token_values import TokenValues


def predictive_information(evidence: Evidence, _: float | None) -> SignalValue:
    """Return the entropy of the prompt's tokens above the rate of its second half."""
    if evidence.prompt is None:
        return SignalValue.none("there is no trace of the prompt")
    if not evidence.prompt.scored_mask.any():
        return SignalValue.none("the prompt has no token with a context")
    entropy = RecordEnsembles([evidence.prompt]).entropy(1.0)
    if np.isnan(entropy.value).any():
        return SignalValue.none(entropy.reason)
    return _weigh_tokens(entropy, _excess_weights(len(entropy.value)))


def _excess_weights(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the weights that make a sum over tokens less the count times the mean over the second half."""
    rate = np.zeros(count)
    rate[count // 2 :] = count / (count - count // 2)
    return np.ones(count) - rate


def _weigh_tokens(values: TokenValues, weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> SignalValue:
    value = float(weights @ values.value)
    if values.is_exact:
        return SignalValue.exact(value)
    lower = float(np.where(weights > 0.0, weights * values.lower, weights * values.upper).sum())
    upper = float(np.where(weights > 0.0, weights * values.upper, weights * values.lower).sum())
    return SignalValue.interval(lower, upper, value)


def pointwise_information(evidence: Evidence, _: float | None) -> SignalValue:
    r"""Return \(\ln p(answer | prompt) - \ln p(answer)\), over the tokens that have a probability in both."""
    if evidence.trace is None or evidence.model is None:
        return SignalValue.none("it needs the trace of the answer and the model")
    trace, model = evidence.trace, evidence.model
    if not trace.scored_mask.any():
        return SignalValue.none("the answer has no tokens")
    alone = measure(model, trace.tokens.tolist(), bos=bool(model.vocabulary.start_token_ids))
    both = trace.scored_mask & alone.scored_mask
    if not both.any():
        return SignalValue.none("the answer has no token whose probability without the prompt is known")
    # The trace may lack nodes; then its values are not known at T = 1.
    given = RecordEnsembles([trace]).logprob(1.0)
    if np.isnan(given.value).any():
        return SignalValue.none(given.reason)
    chosen, without = both[trace.scored_mask], float(alone.logprob(1.0)[both].sum())
    value, lower, upper = (float(end[chosen].sum()) - without for end in (given.value, given.lower, given.upper))
    if value != value:
        return SignalValue.none("the answer has probability 0 with and without the prompt")
    return SignalValue.exact(value) if given.is_exact else SignalValue.interval(lower, upper, value)


SIGNAL_SPECS = (
    SignalSpec(
        "predictive_information",
        "prompt",
        "entropy of the prompt's tokens above the rate of its second half",
        direction=1,
        is_gauge_invariant=True,
        needs=("prompt",),
        cost="records of the prompt's tokens",
        compute=predictive_information,
    ),
    SignalSpec(
        "pointwise_information",
        "prompt",
        "log-probability of the answer with the prompt less that without",
        direction=1,
        is_gauge_invariant=True,
        needs=("trace", "model"),
        cost="one forward pass over the answer alone",
        compute=pointwise_information,
        count_tokens=lambda evidence: len(evidence.trace or ()),
    ),
)
