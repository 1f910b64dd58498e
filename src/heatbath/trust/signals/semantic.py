r"""Semantic signals: the entropy and the free energy of the meanings of several samples (arXiv:2302.09664).

With the clusters \(c\) of the samples there are three estimators of their probabilities, each named in the signal:

counts        the share of the samples in each cluster
monte_carlo   the mean over samples of \(-\ln P(c)\), with \(P(c)\) the probability of the different sequences found
unique        \(P(c)\) of the different sequences found, normalized

A sequence that was drawn twice counts once in \(P(c)\), which is therefore never above 1. An entropy is exact as the
value of its estimator for these samples; of the model it is an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heatbath.trust.signals.base import Evidence, Floats, Need, SignalSpec, SignalValue
from heatbath.trust.signals.clusters import Clustering, cluster_samples, sequence_log_masses

Estimator = Literal["counts", "monte_carlo", "unique"]


def semantic_entropy(
    evidence: Evidence, _: float | None, *, clustering: Clustering, estimator: Estimator
) -> SignalValue:
    """Return the entropy of the meanings."""
    clusters = cluster_samples(evidence, clustering)
    if isinstance(clusters, str):
        return SignalValue.none(clusters)
    if estimator == "counts":
        return SignalValue.exact(entropy_of_weights(np.log(clusters.counts)))
    masses = sequence_log_masses(evidence.samples, clusters)
    if isinstance(masses, str):
        return SignalValue.none(masses)
    if estimator == "monte_carlo":
        return SignalValue.exact(abs(float(-masses[clusters.labels].mean())))
    if not np.isfinite(masses).any():
        return SignalValue.none("all samples have probability 0")
    return SignalValue.exact(entropy_of_weights(masses))


def entropy_of_weights(log_weights: Floats | NDArray[np.float64]) -> float:
    """Return the entropy of the distribution proportional to the exponentials of `log_weights`."""
    logp = log_weights - np.logaddexp.reduce(log_weights)
    return abs(float(-(np.exp(logp) * np.where(np.isfinite(logp), logp, 0.0)).sum()))


def semantic_free_energy(
    evidence: Evidence, _: float | None, *, clustering: Clustering, estimator: Estimator
) -> SignalValue:
    r"""Return \(-\ln P\) of the meaning of the answer; without an answer of the meaning with most samples.

    By different sequences it is bounded: the sequences found in this cluster are less than all of it, and those found
    in the others belong to them.
    """
    clusters = cluster_samples(evidence, clustering)
    if isinstance(clusters, str):
        return SignalValue.none(clusters)
    label = clusters.judged_label
    if estimator == "counts":
        share = clusters.counts[label] / len(evidence.samples) if label < clusters.num_clusters else 0.0
        return SignalValue.exact(-math.log(share) if share else math.inf)
    masses = sequence_log_masses(evidence.samples, clusters)
    if isinstance(masses, str):
        return SignalValue.none(masses)
    found = float(np.exp(masses[label])) if label < clusters.num_clusters else 0.0
    others = (
        float(np.exp(np.delete(masses, label)).sum()) if label < clusters.num_clusters else float(np.exp(masses).sum())
    )
    return _bound_free_energy(found, min(others, 1.0))


def _bound_free_energy(found: float, others: float) -> SignalValue:
    lower = max(0.0, -math.log1p(-others)) if others < 1.0 else math.inf
    upper = max(0.0, -math.log(found)) if found else math.inf
    return SignalValue.interval(min(lower, upper), upper, upper)


def cluster_count(evidence: Evidence, _: float | None, *, clustering: Clustering) -> SignalValue:
    """Return the number of meanings among the samples."""
    clusters = cluster_samples(evidence, clustering)
    return SignalValue.none(clusters) if isinstance(clusters, str) else SignalValue.exact(float(clusters.num_clusters))


def cluster_mass(evidence: Evidence, _: float | None, *, clustering: Clustering) -> SignalValue:
    """Return the share of the samples that have the most frequent meaning."""
    clusters = cluster_samples(evidence, clustering)
    if isinstance(clusters, str):
        return SignalValue.none(clusters)
    return SignalValue.exact(float(clusters.counts.max() / len(evidence.samples)))


def count_sample_tokens(evidence: Evidence) -> int:
    """Return the number of tokens of the samples."""
    return sum(len(sample.tokens) for sample in evidence.samples)


def count_entailment_tokens(evidence: Evidence) -> int:
    """Return about the number of tokens of the samples, and of the prompt that compares them and its ends."""
    texts = {sample.text for sample in evidence.samples}
    return 2 * count_sample_tokens(evidence) + len(evidence.prompt_tokens) + 30 + 6 * len(texts) ** 2


_NEEDS: Mapping[Clustering, tuple[Need, ...]] = {
    "equality": ("samples",),
    "embedding": ("samples", "embedding"),
    "entailment": ("samples", "model"),
}
_COSTS: Mapping[Clustering, str] = {
    "equality": "the samples",
    "embedding": "the samples and their embeddings",
    "entailment": "the samples, reading them once more, and some tokens for each ordered pair of different texts",
}
_ESTIMATORS: tuple[Estimator, ...] = ("counts", "monte_carlo", "unique")


def _build_spec(name: str, clustering: Clustering, summary: str, compute: Callable[..., SignalValue]) -> SignalSpec:
    suffix = "" if clustering == "equality" else f"_{clustering}"
    return SignalSpec(
        name + suffix,
        "semantic",
        f"{summary}, clusters by {clustering}",
        direction=1 if name == "cluster_mass" else -1,
        is_gauge_invariant=True,
        needs=_NEEDS[clustering],
        cost=_COSTS[clustering],
        compute=partial(compute, clustering=clustering),
        count_tokens=count_entailment_tokens if clustering == "entailment" else count_sample_tokens,
    )


def _build_specs(clustering: Clustering) -> list[SignalSpec]:
    entropies = [
        _build_spec(
            f"semantic_entropy_{estimator}",
            clustering,
            f"entropy of the meanings, estimator {estimator}",
            partial(semantic_entropy, estimator=estimator),
        )
        for estimator in _ESTIMATORS
    ]
    free_energies = [
        _build_spec(
            f"semantic_free_energy_{estimator}",
            clustering,
            f"free energy of the answer's meaning, estimator {estimator}",
            partial(semantic_free_energy, estimator=estimator),
        )
        for estimator in ("counts", "unique")
    ]
    return [
        *entropies,
        *free_energies,
        _build_spec("cluster_count", clustering, "number of meanings", cluster_count),
        _build_spec("cluster_mass", clustering, "share of the most frequent meaning", cluster_mass),
    ]


SIGNAL_SPECS = tuple(spec for clustering in _NEEDS for spec in _build_specs(clustering))
