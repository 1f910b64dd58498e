r"""RAUQ: the probability of the tokens and the attention that each pays to the one before it (arXiv:2505.20045).

In each layer of the middle third, the head that on average attends most to the preceding token gives the weights
\(a_t\) of a recurrence of confidences, \(c_t = \alpha p_t + (1 - \alpha) a_t c_{t-1}\) from \(c_1 = p_1\). The
uncertainty of a layer is the mean of \(-\ln c_t\); that of the answer is the largest of a layer.
"""

from __future__ import annotations

import numpy as np

from heatbath.ensemble.row_layout import as_array
from heatbath.models.base import AttentionModel
from heatbath.trust.signals.base import Evidence, Floats, SignalSpec, SignalValue
from heatbath.trust.signals.record_ensembles import RecordEnsembles

ALPHA = 0.2
"""The share of a token's own probability in its confidence."""


def rauq(evidence: Evidence, alpha: float | None) -> SignalValue:
    """Return the attention-based uncertainty of the answer."""
    share = ALPHA if alpha is None else alpha
    if evidence.trace is None:
        return SignalValue.none("there is no trace")
    if not share <= 1.0:
        return SignalValue.none(f"the share of a token's own probability is {share:g}, above 1")
    if not isinstance(evidence.model, AttentionModel):
        missing = "there is no model" if evidence.model is None else f"{evidence.model.name} gives no attention weights"
        return SignalValue.none(f"{missing} to follow the attention of")
    if not evidence.trace.scored_mask.any():
        return SignalValue.none("the answer has no tokens")
    logprob = RecordEnsembles([evidence.trace]).logprob(1.0)
    if np.isnan(logprob.value).any():
        return SignalValue.none(logprob.reason)
    weights = evidence.memoize("attention", lambda: attention_to_previous(evidence))
    value, upper, lower = (
        rauq_uncertainty(np.exp(each), weights, share) for each in (logprob.value, logprob.lower, logprob.upper)
    )
    return SignalValue.exact(value) if logprob.is_exact else SignalValue.interval(lower, upper, value)


def attention_to_previous(evidence: Evidence) -> Floats:
    """Return the attention of each token of the answer but the first to the one before it, (L, H, n - 1)."""
    trace, model = evidence.trace, evidence.model
    assert trace is not None and model is not None and isinstance(model, AttentionModel)
    scored = np.flatnonzero(trace.scored_mask)
    before = list(evidence.prompt_tokens)
    if not before and scored[0] == 0:
        before = list(model.vocabulary.start_token_ids)
    weights = as_array(model.attentions([*before, *trace.tokens.tolist()])).astype(np.float64)
    rows = len(before) + scored[1:]
    return np.asarray(weights[:, :, rows, rows - 1])


def rauq_uncertainty(probabilities: Floats, weights: Floats, alpha: float = ALPHA) -> float:
    """Return the uncertainty from probabilities (n,) and the attention to the preceding token (L, H, n - 1)."""
    layers = weights.shape[0]
    middle = weights[layers // 3 : max(-(-2 * layers // 3), layers // 3 + 1)]
    if weights.shape[-1]:
        heads = middle.mean(-1).argmax(1)
        middle = middle[np.arange(len(middle)), heads]
    else:
        middle = middle[:, 0]
    confidence = np.full(len(middle), probabilities[0])
    with np.errstate(divide="ignore"):
        total = -np.log(confidence)
        for p, attention in zip(probabilities[1:].tolist(), middle.T, strict=True):
            confidence = alpha * p + (1.0 - alpha) * attention * confidence
            total = total - np.log(confidence)
    return abs(float((total / len(probabilities)).max()))


SIGNAL_SPECS = (
    SignalSpec(
        "rauq",
        "attention",
        "recurrence of token probabilities by the attention to the preceding token",
        direction=-1,
        is_gauge_invariant=True,
        needs=("trace", "model", "attention"),
        cost="one forward pass over prompt and answer",
        compute=rauq,
        parameters=(ALPHA,),
        parameter_name="alpha",
        count_tokens=lambda evidence: len(evidence.prompt_tokens) + len(evidence.trace or ()),
    ),
)
