"""Signals of agreement between samples, and their products with signals of one trace (CoCoA, arXiv:2502.04964)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np

from heatbath.trust.signals.base import Evidence, SignalSpec, SignalValue
from heatbath.trust.signals.clusters import cluster_samples, embed_texts
from heatbath.trust.signals.evaluation import compute_signals
from heatbath.trust.signals.semantic import count_sample_tokens

Similarity = Literal["equality", "embedding"]


def answer_frequency(evidence: Evidence, _: float | None) -> SignalValue:
    """Return the share of the samples that equal the answer; without an answer that of the most frequent one."""
    clusters = cluster_samples(evidence, "equality")
    if isinstance(clusters, str):
        return SignalValue.none(clusters)
    label = clusters.judged_label
    return SignalValue.exact(float((clusters.labels == label).mean()))


def agreement(evidence: Evidence, _: float | None) -> SignalValue:
    """Return the share of the pairs of samples that are equal: without bias for the sum of squared probabilities."""
    clusters = cluster_samples(evidence, "equality")
    if isinstance(clusters, str):
        return SignalValue.none(clusters)
    count = len(evidence.samples)
    if count < 2:
        return SignalValue.none("agreement needs at least 2 samples, got 1")
    return SignalValue.exact(float((clusters.counts * (clusters.counts - 1)).sum() / (count * (count - 1))))


def dissimilarity(evidence: Evidence, similarity: Similarity) -> float | str:
    """Return 1 less the mean similarity of the answer to the samples, from 0 to 1, or why it is not known."""
    if evidence.answer_text is None:
        return "there is no answer to compare the samples with"
    if similarity == "equality":
        clusters = cluster_samples(evidence, "equality")
        return clusters if isinstance(clusters, str) else float((clusters.labels != clusters.answer_label).mean())
    if not evidence.samples:
        return "there are no samples"
    if evidence.embed is None:
        return "there is no `embed` to compare texts with"
    vectors = embed_texts(evidence, [evidence.answer_text, *(sample.text for sample in evidence.samples)])
    return float(1.0 - np.clip(vectors[1:] @ vectors[0], 0.0, 1.0).mean())


def cocoa(evidence: Evidence, _: float | None, *, signal: str, sign: float, similarity: Similarity) -> SignalValue:
    """Return the product of an uncertainty of the answer's trace and its dissimilarity to the samples."""
    factor = evidence.memoize(("dissimilarity", similarity), lambda: dissimilarity(evidence, similarity))
    if isinstance(factor, str):
        return SignalValue.none(factor)
    found = evidence.memoize(("signal", signal), lambda: compute_signals(evidence, [signal])[signal])
    if found.status == "none":
        return found
    # Nothing times an infinite uncertainty is nothing: all samples agree.
    value, *ends = (sign * each * factor if factor else 0.0 for each in (found.value, found.lower, found.upper))
    return SignalValue.exact(value) if found.status == "exact" else SignalValue.interval(min(ends), max(ends), value)


def _build_cocoa(name: str, signal: str, sign: float, similarity: Similarity) -> SignalSpec:
    suffix = "" if similarity == "equality" else f"_{similarity}"
    word = "minus " if sign < 0 else ""
    return SignalSpec(
        f"cocoa_{name}{suffix}",
        "agreement",
        f"{word}{signal} times the dissimilarity of the answer to the samples, by {similarity}",
        direction=-1,
        is_gauge_invariant=True,
        needs=("trace", "samples") if similarity == "equality" else ("trace", "samples", "embedding"),
        cost="the samples" if similarity == "equality" else "the samples and their embeddings",
        compute=partial(cocoa, signal=signal, sign=sign, similarity=similarity),
        count_tokens=count_sample_tokens,
    )


def _build_plain(compute: Callable[[Evidence, float | None], SignalValue], summary: str) -> SignalSpec:
    return SignalSpec(
        compute.__name__,
        "agreement",
        summary,
        direction=1,
        is_gauge_invariant=True,
        needs=("samples",),
        cost="the samples",
        compute=compute,
        count_tokens=count_sample_tokens,
    )


_FACTORS: Mapping[str, tuple[str, float]] = {
    "msp": ("logprob:sum", -1.0),
    "ppl": ("logprob:mean", -1.0),
    "mte": ("entropy:mean", 1.0),
}
_SIMILARITIES: tuple[Similarity, ...] = ("equality", "embedding")

SIGNAL_SPECS = (
    _build_plain(answer_frequency, "share of the samples that equal the answer"),
    _build_plain(agreement, "share of the pairs of samples that are equal"),
    *(
        _build_cocoa(name, signal, sign, similarity)
        for similarity in _SIMILARITIES
        for name, (signal, sign) in _FACTORS.items()
    ),
)
