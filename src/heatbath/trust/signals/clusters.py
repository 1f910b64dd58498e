"""Clusters of sampled answers by meaning: a cluster is a macrostate, its sequences are the microstates.

Texts join the first cluster whose first text they equal: after normalization, by the cosine of their embeddings, or by
entailment in both directions.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, NotANumber
from heatbath.trust.signals.base import Evidence, Floats, SampledAnswer
from heatbath.trust.signals.entailment import EntailmentScorer

Clustering = Literal["equality", "embedding", "entailment"]
COSINE_THRESHOLD = 0.85
"""Cosine of the embeddings from which on two texts mean the same."""
MASS_TOLERANCE = 1e-6
"""Excess over 1 that is allowed to the total probability of different sequences."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_PUNCTUATION = re.compile(rf"(?<!\d)[{re.escape(string.punctuation)}]|[{re.escape(string.punctuation)}](?!\d)")


def normalize_sample(text: str) -> str:
    """Return a text in one case and Unicode form, without articles, punctuation and extra spaces.

    Signs, points and slashes between digits stay, and so does a minus before a number: -1.5 is not 15. Graders, which
    look for an expected answer, are more lenient.
    """
    folded = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text).casefold())
    signed = re.sub(r"(?<![\w.])[-\u2212](?=\.?\d)", "\x00", folded)
    plain = _PUNCTUATION.sub(" ", signed).replace("\x00", "-")
    return " ".join(_ARTICLES.sub(" ", plain).split())


@dataclass(frozen=True)
class Clusters:
    """The cluster of each sample, `labels` (n,), and of the answer, `answer_label`; None for no answer.

    The label of an answer that is in no sample's cluster is `num_clusters`.
    """

    labels: NDArray[np.int64]
    num_clusters: int
    answer_label: int | None

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of samples in each cluster."""
        return np.bincount(self.labels, minlength=self.num_clusters)

    @property
    def judged_label(self) -> int:
        """The cluster of the answer; without an answer that with most samples, the first of equal ones."""
        return int(self.counts.argmax()) if self.answer_label is None else self.answer_label


def cluster_samples(evidence: Evidence, clustering: Clustering) -> Clusters | str:
    """Return the clusters of the samples and the answer, or why there are none."""
    return evidence.memoize(("clusters", clustering), lambda: _cluster_samples(evidence, clustering))


def _cluster_samples(evidence: Evidence, clustering: Clustering) -> Clusters | str:
    if not evidence.samples:
        return "there are no samples"
    if clustering == "embedding" and evidence.embed is None:
        return "there is no `embed` to compare texts with"
    if clustering == "entailment" and evidence.model is None:
        return "there is no model to score entailment with"
    texts = [_validate_sample(sample).text for sample in evidence.samples]
    answer = evidence.answer_text
    everything = texts if answer is None else [*texts, answer]
    keys = [normalize_sample(text) for text in everything]
    # Texts that are equal after normalization mean the same, whatever else decides.
    first = list(dict.fromkeys(keys))
    groups = {
        "equality": lambda: list(range(len(first))),
        "embedding": lambda: _group_by_embedding([everything[keys.index(key)] for key in first], evidence),
        "entailment": lambda: _group_by_entailment([everything[keys.index(key)] for key in first], evidence),
    }[clustering]()
    by_key = dict(zip(first, groups, strict=True))
    labels, names = _number_labels([by_key[key] for key in keys[: len(texts)]])
    own = None if answer is None else names.get(by_key[keys[-1]], len(names))
    return Clusters(labels, len(names), own)


def group_texts(count: int, is_equal: Callable[[int, int], bool]) -> list[int]:
    """Return the group of each of `count` texts: that of the first earlier text, first in its group, that it equals."""
    groups: list[int] = []
    leaders: list[int] = []
    for i in range(count):
        match = next((group for group, leader in enumerate(leaders) if is_equal(leader, i)), None)
        if match is None:
            match = len(leaders)
            leaders.append(i)
        groups.append(match)
    return groups


def embed_texts(evidence: Evidence, texts: Sequence[str]) -> Floats:
    """Return unit vectors (n, d) of texts. Raises `BadInput` or `NotANumber` for an `embed` that gives others."""
    assert evidence.embed is not None
    vectors = np.asarray(evidence.embed(list(texts)), np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise BadInput(f"`embed` must give one vector for each of {len(texts)} texts, got shape {vectors.shape}.")
    if np.isnan(vectors).any():
        raise NotANumber("`embed` gave NaN: check the model that it runs.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0.0, lengths, 1.0))


def _group_by_embedding(texts: Sequence[str], evidence: Evidence) -> list[int]:
    vectors = embed_texts(evidence, texts)
    cosine = vectors @ vectors.T
    return group_texts(len(texts), lambda i, j: bool(cosine[i, j] >= COSINE_THRESHOLD))


def _group_by_entailment(texts: Sequence[str], evidence: Evidence) -> list[int]:
    assert evidence.model is not None
    question = evidence.model.decode(evidence.prompt_tokens)
    both = EntailmentScorer(evidence.model, question, texts).compare_texts()
    return group_texts(len(texts), lambda i, j: bool(both[i, j]))


def _number_labels(groups: Sequence[int]) -> tuple[NDArray[np.int64], dict[int, int]]:
    """Return labels from 0 up in order of appearance, and the label of each group."""
    names = {group: label for label, group in enumerate(dict.fromkeys(groups))}
    return np.asarray([names[group] for group in groups], np.int64), names


def _validate_sample(sample: Any) -> SampledAnswer:
    if not isinstance(sample, SampledAnswer):
        raise BadInput(f"`samples` must hold `SampledAnswer` objects, got {type(sample).__name__}.", param="samples")
    if sample.logprob > 0.0:
        raise BadInput(f"the log-probability of a sample must be at most 0, got {sample.logprob:g}.", param="samples")
    return sample


def sequence_log_masses(samples: Sequence[SampledAnswer], clusters: Clusters) -> Floats | str:
    """Return the log of the total probability of the different sequences in each cluster, or why it is not known.

    Raises:
        BadInput: the probabilities of different sequences add up to more than 1.
    """
    if any(math.isnan(sample.logprob) for sample in samples):
        return "the log-probabilities of the samples are not known"
    parts: list[dict[Hashable, float]] = [{} for _ in range(clusters.num_clusters)]
    for sample, label in zip(samples, clusters.labels.tolist(), strict=True):
        parts[label].setdefault(tuple(sample.tokens) or sample.text, sample.logprob)
    masses = np.asarray([np.logaddexp.reduce(list(part.values())) for part in parts])
    total = float(np.exp(np.logaddexp.reduce(masses)))
    if total > 1.0 + MASS_TOLERANCE:
        raise BadInput(
            f"the probabilities of the different samples add up to {total:.6g}, above 1: give the log-probability "
            "of each whole sequence in the distribution it was drawn from.",
            param="samples",
        )
    return masses - max(0.0, math.log(total)) if total > 0.0 else masses
