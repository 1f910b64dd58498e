"""Metrics, fits and signals of other packages on seeded arrays, which tests/trust/test_oracles.py compares with.

`python tools/trust_oracles.py PEER` prints those of one peer as JSON, in an environment that has it: netcal, cci or
polygraph. `bash tools/trust_oracles.sh FOLDER` makes the environments and writes tests/trust/oracles/*.json.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

Case = dict[str, Any]


def draw_pairs(seed: int, size: int) -> tuple[Any, Any]:
    """Draw confidences, half of them ties on 0, 0.05, … 1, and labels that they are a little too sure of."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.uniform(size=size) < 0.5, rng.integers(0, 21, size) / 20, rng.integers(0, 1001, size) / 1000)
    labels = (rng.uniform(size=size) < 0.2 + 0.6 * p).astype(int)
    labels[:2] = [0, 1]
    return p, labels


def draw_distinct(seed: int, size: int) -> tuple[Any, Any]:
    """Draw different confidences inside (0, 1), and labels."""
    rng = np.random.default_rng(seed)
    p = (rng.permutation(999)[:size] + 1) / 1000
    labels = (rng.uniform(size=size) < 0.2 + 0.6 * p).astype(int)
    labels[:2] = [0, 1]
    return p, labels


EDGES: list[tuple[list[float], list[int]]] = [
    ([0.95, 1.0], [1, 0]),
    ([0.0, 1.0], [0, 1]),
    ([0.0, 1.0], [1, 0]),
    ([0.7, 0.7, 0.7, 0.7], [1, 0, 0, 0]),
    ([0.55, 0.56, 0.58], [1, 1, 0]),
    ([0.1, 0.3, 0.6, 0.7, 0.9], [0, 1, 0, 1, 1]),
]


def collect_netcal() -> dict[str, list[Case]]:
    """ECE by bins of equal width and of equal mass with its bins, and the fits."""
    measure, binning, scaling = (import_module(f"netcal.{name}") for name in ("metrics", "binning", "scaling"))
    width: list[Case] = []
    for p, labels in [*((np.array(p), np.array(y)) for p, y in EDGES), *(draw_pairs(seed, 60) for seed in range(8))]:
        for bins in (1, 5, 10, 15):
            value = measure.ECE(bins).measure(p, labels)
            width.append({"p": p.tolist(), "labels": labels.tolist(), "bins": bins, "value": value})
    mass = []
    for seed in range(8):
        p, labels = draw_distinct(seed, 60)
        for bins in (1, 5, 10, 15):
            value = measure.ECE(bins, equal_intervals=False).measure(p, labels)
            mass.append({"p": p.tolist(), "labels": labels.tolist(), "bins": bins, "value": value})
    fits = []
    for seed in range(4):
        p, labels = draw_distinct(seed, 200)
        for turned in (False, True):
            scores = 1 - p if turned else p
            found = {"scores": scores.tolist(), "labels": labels.tolist()}
            for name in ("TemperatureScaling", "LogisticCalibration", "BetaCalibration"):
                model = getattr(scaling, name)().fit(scores, labels, tensorboard=False)
                found[name] = model.transform(scores[:40]).tolist()
            found["IsotonicRegression"] = (
                binning.IsotonicRegression().fit(scores, labels).transform(scores[:40]).tolist()
            )
            fits.append(found)
    return {"ece, equal width": width, "ece, equal mass": mass, "fits": fits, "histogram": _collect_histograms(binning)}


def _collect_histograms(binning: Any) -> list[Case]:
    """Histogram binning of evenly spread scores, whose ten bins of equal width have equal mass."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        scores = (rng.permutation(300) + 0.5) / 300
        labels = (rng.uniform(size=300) < scores).astype(int)
        values = binning.HistogramBinning(10).fit(scores, labels).transform(scores[:60])
        found.append({"scores": scores.tolist(), "labels": labels.tolist(), "values": values.tolist()})
    return found


def collect_cci() -> dict[str, list[Case]]:
    """Conformal quantiles, scores and sets, Venn-Abers, and the betting test of a rate."""
    stats = import_module("cli_sdk.stats")
    quantiles = []
    for size in (1, 6, 8, 9, 18, 19, 20, 39, 99, 199):
        for alpha in (0.01, 0.05, 0.1, 0.2, 0.45, 0.5):
            scores = np.random.default_rng(size).integers(0, 40, size) / 40
            value = stats.conformal.conformal_quantile(scores, alpha)
            needed = stats.conformal.minimum_calibration_size(alpha)
            quantiles.append({"scores": scores.tolist(), "alpha": alpha, "value": _finite(value), "needed": needed})
    intervals = []
    for seed in range(6):
        scores, labels = draw_pairs(seed, 30)
        at = np.concatenate([scores[:10], [0.0, 0.02, 0.333, 0.512, 1.0]])
        if seed % 2:
            scores, at = 2 * scores - 0.5, 3 * at - 1
        low, high = stats.venn_abers.ivap.calibrate_and_predict(scores, labels, at)
        merged = stats.venn_abers.merge_to_probability(low, high)
        columns = {"scores": scores, "labels": labels, "at": at, "low": low, "high": high, "merged": merged}
        intervals.append({name: np.asarray(column).tolist() for name, column in columns.items()})
    return {"quantiles": quantiles, "venn-abers": intervals, "masses": _collect_masses(stats), "betting": _bet(stats)}


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else float(value)


def _collect_masses(stats: Any) -> list[Case]:
    """The mass before each class, in units of 1/64 so that sums are exact."""
    found = []
    for seed in range(20):
        row = np.random.default_rng(seed).multinomial(64, np.full(5, 0.2)) / 64
        score = stats.conformal.raps.true_class_score
        scores = [score(row, k, k_reg=5, lam=0.0, u=0.0) for k in range(5)]
        found.append({"row": row.tolist(), "scores": scores})
    return found


def _bet(stats: Any) -> list[Case]:
    """E-values of every stretch of a series of outcomes: row s has those of the test that begins with outcome s."""
    found = []
    for seed, rate in enumerate((0.1, 0.3, 0.5)):
        outcomes = (np.random.default_rng(seed).uniform(size=14) < 2 * rate).astype(float)
        rows = []
        for start in range(len(outcomes)):
            test = stats.evalues.anytime.BettingMartingale(rate)
            rows.append([test.update(one) for one in outcomes[start:]])
        fractions = import_module("cli_sdk.stats.evalues.anytime")._BET_FRACTIONS
        stakes = [fraction / rate for fraction in fractions]
        found.append({"rate": rate, "outcomes": outcomes.tolist(), "stakes": stakes, "e_values": rows})
    return found


def collect_polygraph() -> dict[str, list[Case]]:
    """Metrics of the order, ECE, and estimators on given log-probabilities, attention and samples."""
    return {
        "metrics": _collect_metrics(import_module("lm_polygraph.ue_metrics")),
        "tokens": _collect_token_signals(import_module("lm_polygraph.estimators")),
        "samples": _collect_sample_signals(import_module("lm_polygraph.estimators")),
        "rauq": _collect_rauq(import_module("lm_polygraph.estimators")),
    }


def _collect_metrics(metrics: Any) -> list[Case]:
    base = import_module("lm_polygraph.ue_metrics.ue_metric")
    found = []
    for seed in range(8):
        p, labels = draw_pairs(seed, 50) if seed % 2 else draw_distinct(seed, 50)
        area = metrics.PredictionRejectionArea()
        random = base.get_random_scores(area, labels)
        case = {
            "p": p.tolist(),
            "labels": labels.tolist(),
            "has_ties": bool(seed % 2),
            "area": area(-p, labels),
            "best": area(-labels, labels),
            "random": random,
            "prr": base.normalize_metric(area(-p, labels), area(-labels, labels), random),
            "aurc": metrics.RiskCoverageCurveAUC()(-p, labels),
            "auroc": metrics.ROCAUC()(p, labels),
            "ece": {str(bins): metrics.ECE(n_bins=bins)(-p, labels) for bins in (1, 8, 16, 20)},
        }
        found.append(case)
    return found


def _collect_token_signals(estimators: Any) -> list[Case]:
    calculator = import_module("lm_polygraph.stat_calculators.entropy").EntropyCalculator()
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        logits = np.round(rng.normal(0, 3, (1 + seed, 7)), 3)
        tokens = rng.integers(0, 7, 1 + seed)
        logp = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        stats: Case = {"greedy_log_probs": [logp], "greedy_log_likelihoods": [logp[np.arange(len(tokens)), tokens]]}
        stats |= calculator(stats)
        similar = (rng.uniform(size=5) < 0.4).astype(float)
        stats["greedy_sentence_similarity"] = [similar]
        named = {
            **{name: getattr(estimators, name)() for name in ("MaximumSequenceProbability", "Perplexity")},
            **{name: getattr(estimators, name)() for name in ("MeanTokenEntropy", "SelfCertainty")},
            **{name: getattr(estimators, name)() for name in ("CocoaMSP", "CocoaPPL", "CocoaMTE")},
            "RenyiNeg, order 0.5": estimators.RenyiNeg(alpha=0.5, temperature=1),
            "RenyiNeg, order 2": estimators.RenyiNeg(alpha=2, temperature=1),
        }
        values = {name: float(estimator(stats)[0]) for name, estimator in named.items()}
        found.append(
            {"logits": logits.tolist(), "tokens": tokens.tolist(), "similar": similar.tolist(), "values": values}
        )
    return found


SAMPLES: list[list[tuple[str, int, float]]] = [
    [("Paris", 0, 0.6), ("Paris", 0, 0.6), ("Paris", 0, 0.6), ("its Paris", 0, 0.3), ("London", 1, 0.1)],
    [("a b", 0, 0.5), ("c", 1, 0.2), ("a b", 0, 0.5), ("d", 2, 0.3), ("d", 2, 0.3)],
    [("x", 0, 1.0), ("x", 0, 1.0)],
    [("x", 0, 0.01), ("y", 1, 0.02), ("z", 2, 0.03), ("w", 3, 0.04)],
    [("x", 0, 0.5), ("y", 1, 0.25), ("z", 2, 0.25)],
]
"""Text, class and probability of each sample; the same text has the same probability."""


def _collect_sample_signals(estimators: Any) -> list[Case]:
    found = []
    for samples in SAMPLES:
        texts, classes, probabilities = (list(column) for column in zip(*samples, strict=True))
        members = [[i for i, one in enumerate(classes) if one == k] for k in range(max(classes) + 1)]
        same = np.equal.outer(classes, classes).astype(float)[None]
        stats = {
            "sample_texts": [texts],
            "sample_log_probs": [np.log(probabilities).tolist()],
            "semantic_classes_entail": {
                "sample_to_class": {0: dict(enumerate(classes))},
                "class_to_sample": {0: members},
            },
            "semantic_matrix_entail": same,
            "semantic_matrix_contra": 1 - same,
        }
        entropy = estimators.SemanticEntropy
        named: dict[str, Callable[[Any], Any]] = {
            "sum": entropy(),
            "sum, unique": entropy(use_unique_responses=True),
            "sum, unique, direct": entropy(use_unique_responses=True, entropy_estimation="direct"),
            "frequency": entropy(class_probability_estimation="frequency"),
            "frequency, direct": entropy(class_probability_estimation="frequency", entropy_estimation="direct"),
            "LabelProb": estimators.LabelProb(),
            "NumSemSets": estimators.NumSemSets(),
        }
        values = {name: float(estimator(stats)[0]) for name, estimator in named.items()}
        found.append({"texts": texts, "classes": classes, "probabilities": probabilities, "values": values})
    return found


def _collect_rauq(estimators: Any) -> list[Case]:
    found = []
    for seed, (layers, heads, length) in enumerate([(3, 2, 5), (6, 3, 4), (9, 2, 7), (12, 4, 3)]):
        rng = np.random.default_rng(seed)
        attention = np.round(np.tril(rng.uniform(0, 1, (layers * heads, length, length))), 3)
        logprobs = np.round(np.log(rng.uniform(0.05, 1, length)), 4)
        estimator = estimators.RAUQ(n_layers=layers, n_heads=heads)
        value = float(estimator({"attention_all": [attention], "greedy_log_likelihoods": [logprobs]})[0])
        previous = np.diagonal(attention.reshape(layers, heads, length, length), offset=-1, axis1=2, axis2=3)
        found.append({"attention": previous.tolist(), "logprobs": logprobs.tolist(), "value": value})
    return found


PEERS: dict[str, tuple[str, Callable[[], dict[str, list[Case]]]]] = {
    "netcal": ("netcal", collect_netcal),
    "cci": ("cci-sdk", collect_cci),
    "polygraph": ("lm-polygraph", collect_polygraph),
}


if __name__ == "__main__":
    package, collect = PEERS[sys.argv[1]]
    print(json.dumps({"package": package, "version": version(package), "cases": collect()}))
