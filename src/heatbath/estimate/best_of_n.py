r"""Scores of repeated samples: best of n, majority vote, and which settings are tied with the best one.

Expectations over n out of s samples are exact (without replacement), so nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def best_of_n_score(scores_s: Floats, n: int) -> float:
    r"""Expected best score of n samples out of s: $\sum_i x_{(i)} \binom{i-1}{n-1} / \binom{s}{n}$, x ascending.

    For scores 0 and 1 with c ones it is $1 - \binom{s-c}{n}/\binom{s}{n}$ (Chen et al. 2021, arXiv 2107.03374).
    """
    probabilities = [comb(i, n - 1) / comb(len(scores_s), n) for i in range(len(scores_s))]
    return float(np.sort(scores_s) @ np.array(probabilities))


def majority_vote_score(scores_s: Floats, votes_s: Sequence[str], n: int) -> float:
    """Expected score of the most frequent vote among n samples out of s; a tie is split evenly.

    The score of a vote is the mean score of the samples with that vote.
    """
    names, vote_s = np.unique(np.array(votes_s, dtype=object).astype(str), return_inverse=True)
    counts = np.bincount(vote_s, minlength=len(names))
    score_v = np.bincount(vote_s, weights=scores_s) / counts
    tops = range(1, min(n, int(counts.max())) + 1)
    return sum(_sum_winner_scores(counts.tolist(), score_v, n, top) for top in tops) / comb(len(scores_s), n)


def _sum_winner_scores(counts: list[int], score_v: Floats, n: int, top: int) -> float:
    """Sum the mean score of the winners over all ways to draw n samples whose top vote occurs `top` times."""
    # By number of samples and number of winners: the count of ways, and the sum of the winners' scores over them.
    ways, won = np.zeros((2, n + 1, n // top + 2))
    ways[0, 0] = 1.0
    for count, score in zip(counts, score_v.tolist(), strict=True):
        before, summed = ways, won
        ways, won = np.zeros_like(before), np.zeros_like(summed)
        for m in range(min(count, top - 1) + 1):
            ways[m:] += comb(count, m) * before[: n + 1 - m]
            won[m:] += comb(count, m) * summed[: n + 1 - m]
        ways[top:, 1:] += comb(count, top) * before[: n + 1 - top, :-1]
        won[top:, 1:] += comb(count, top) * (summed + score * before)[: n + 1 - top, :-1]
    return float((won[n, 1:] / np.arange(1, won.shape[1])).sum())


def bootstrap_means(scores_pk: Floats, rng: np.random.Generator, replicas: int = 2000) -> Floats:
    """Bootstrap means of each setting k, (b, k), with the same resampled prompts p for all settings.

    Deviations are scaled by the factor that makes the variance of a resampled mean unbiased, which matters for few
    prompts.
    """
    size = len(scores_pk)
    counts = rng.multinomial(size, np.full(size, 1 / size), size=replicas)
    mean_k = scores_pk.mean(0)
    return np.asarray(mean_k + np.sqrt(size / max(size - 1, 1)) * (counts @ scores_pk / size - mean_k))


def is_tied_with_best(mean_k: Floats, draws_bk: Floats, level: float = 0.95) -> Bools:
    """Mask of the settings that are tied with the best, (k,), by paired differences in standard errors.

    The threshold is a quantile of the largest difference between any two settings, so that if all are equal all are
    tied at the given level: the best is then best by chance, and a threshold for one fixed pair would be too low.
    """
    covariance = np.atleast_2d(np.cov(draws_bk, rowvar=False))
    own = np.diag(covariance)
    # A difference without spread is either zero or certain.
    scale_kk = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 1e-18))
    deviations = draws_bk - draws_bk.mean(0)
    largest_b = [np.abs(np.subtract.outer(d, d) / scale_kk).max() for d in deviations]
    best = int(mean_k.argmax())
    return np.asarray((mean_k[best] - mean_k) / scale_kk[best] <= max(np.quantile(largest_b, level), 1.96))
