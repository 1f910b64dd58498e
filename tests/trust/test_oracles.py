"""Metrics, fits and signals against values of netcal, cci-sdk and lm-polygraph, which tools/trust_oracles.sh computed.

Where a definition differs from ours, a function here says how and turns one into the other.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from heatbath.record import observe
from heatbath.trust.calibration.base import fit_logistic_regression
from heatbath.trust.calibration.conformal_sets import count_needed_questions, find_conformal_bound, score_answers
from heatbath.trust.calibration.fits import FITS
from heatbath.trust.calibration.ranking_metrics import (
    area_under_risk_coverage,
    area_under_roc,
    prediction_rejection_ratio,
    risk_coverage,
)
from heatbath.trust.calibration.reliability import EQUAL_MASS, calibration_error, reliability_bins
from heatbath.trust.monitoring.martingales import log_capital_path
from heatbath.trust.signals import Evidence, SampledAnswer, compute_signals
from heatbath.trust.signals.attention import rauq_uncertainty

from .signals.evidence_cases import build_trace

FOLDER = Path(__file__).parent / "oracles"


def read_cases(package: str, name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FOLDER / f"{package}.json").read_text("utf-8"))["cases"][name]
    assert cases
    return cases


def read_pairs(case: dict[str, Any], scores: str = "p") -> tuple[Any, Any]:
    return np.array(case[scores], float), np.array(case["labels"])


def read_by_linspace(p: Any, bins: int) -> Any:
    """Move confidences on an end k/B below it where `np.linspace` puts the end above k/B: 0.3 of ten bins."""
    ends = np.linspace(0.0, 1.0, bins + 1)
    wrong = [k / bins for k in range(bins) if ends[k] > k / bins]
    return np.where(np.isin(p, wrong), np.nextafter(p, 0.0), p)


def close_on_the_right(p: Any, labels: Any) -> tuple[Any, Any]:
    """Turn bins [a, b) of confidences into bins (a, b]: those of 1 - p and 1 - y, whose distances are the same."""
    return 1 - p, 1 - labels


def test_ece_of_equal_width_is_that_of_netcal() -> None:
    moved = 0
    for case in read_cases("netcal", "ece, equal width"):
        p, labels = read_pairs(case)
        theirs = read_by_linspace(p, case["bins"])
        moved += int((theirs != p).any())
        assert calibration_error(theirs, labels, bins=case["bins"]) == pytest.approx(case["value"], abs=1e-9)
        if (theirs == p).all():
            assert calibration_error(p, labels, bins=case["bins"]) == pytest.approx(case["value"], abs=1e-9)
    assert moved, "no confidence on an end that linspace misses"


@pytest.mark.parametrize(
    ("p", "labels", "value"),
    [
        ([0.95, 1.0], [1, 0], 0.475),
        ([0.0, 1.0], [1, 0], 1.0),
        ([0.0, 1.0], [0, 1], 0.0),
        ([0.7] * 4, [1, 0, 0, 0], 0.45),
    ],
)
def test_confidences_of_zero_and_one_count_once_and_one_bin_may_hold_all(p, labels, value) -> None:
    assert calibration_error(p, labels, bins=10) == pytest.approx(value)
    cases = [one for one in read_cases("netcal", "ece, equal width") if one["p"] == p and one["labels"] == labels]
    assert [one["value"] for one in cases if one["bins"] == 10] == pytest.approx([value])
    if len(set(p)) == 1:
        # netcal refuses ties on the ends of bins of equal mass.
        assert calibration_error(p, labels, rule=EQUAL_MASS) == pytest.approx(value)


def test_ece_of_equal_mass_is_that_of_netcal_for_distinct_confidences() -> None:
    for case in read_cases("netcal", "ece, equal mass"):
        p, labels = read_pairs(case)
        assert len(p) % case["bins"] == 0
        found = calibration_error(p, labels, bins=case["bins"], rule=EQUAL_MASS)
        assert found == pytest.approx(case["value"], abs=1e-9)
        bins = reliability_bins(p, labels, bins=case["bins"], rule=EQUAL_MASS)
        total = sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / len(p)
        assert total == pytest.approx(case["value"], abs=1e-9)
        assert {one.count for one in bins} == {len(p) // case["bins"]}


def test_temperature_and_beta_fits_are_those_of_netcal() -> None:
    for case in read_cases("netcal", "fits"):
        scores, labels = read_pairs(case, "scores")
        for name, peer in (("temperature", "TemperatureScaling"), ("beta", "BetaCalibration")):
            if name == "temperature" and np.corrcoef(scores, labels)[0, 1] < 0:
                # A falling signal has a negative temperature there; ours is positive, and as large as it may be.
                assert (np.diff(np.array(case[peer])[np.argsort(scores[:40])]) <= 0).all()
                assert FITS[name].build(scores[:, None], labels).predict(scores[:40, None]) == pytest.approx(
                    0.5, abs=0.01
                )
                continue
            found = FITS[name].build(scores[:, None], labels).predict(scores[:40, None])
            assert found == pytest.approx(case[peer], abs=2e-3)


def test_platt_scaling_is_that_of_netcal_but_for_the_targets() -> None:
    """netcal fits the labels themselves; Platt's targets, which ours has, lie a little inside of 0 and 1."""
    for case in read_cases("netcal", "fits"):
        scores, labels = read_pairs(case, "scores")
        log_odds = logit(scores)[:, None]
        slopes, intercept = fit_logistic_regression(log_odds, labels.astype(float))
        plain = expit(log_odds[:40, 0] * slopes[0] + intercept)
        assert plain == pytest.approx(case["LogisticCalibration"], abs=1e-3)
        smooth = FITS["platt"].build(log_odds, labels).predict(log_odds[:40])
        assert smooth == pytest.approx(case["LogisticCalibration"], abs=0.03)
        assert np.abs(smooth - plain).max() > 1e-4


def test_isotonic_fit_is_that_of_netcal() -> None:
    for case in read_cases("netcal", "fits"):
        scores, labels = read_pairs(case, "scores")
        found = FITS["isotonic"].build(scores[:, None], labels).predict(scores[:40, None])
        assert found == pytest.approx(case["IsotonicRegression"], abs=1e-6)


def take_out_half_answers(probabilities: Any, size: int) -> Any:
    """Return the shares r/n of probabilities (r + 1/2)/(n + 1)."""
    return (probabilities * (size + 1) - 0.5) / size


def test_histogram_fit_is_that_of_netcal_but_for_half_an_answer_of_each_kind() -> None:
    """Scores are spread evenly, so that ten bins of equal width have 30 answers each."""
    for case in read_cases("netcal", "histogram"):
        scores, labels = read_pairs(case, "scores")
        found = FITS["histogram"].build(scores[:, None], labels).predict(scores[:60, None])
        assert take_out_half_answers(found, 30) == pytest.approx(case["values"], abs=1e-9)


def test_conformal_bound_is_that_of_cci_sdk_where_its_rank_is_not_rounded() -> None:
    rounded = 0
    for case in read_cases("cci", "quantiles"):
        size, alpha = len(case["scores"]), case["alpha"]
        bound = find_conformal_bound(case["scores"], alpha)
        rank = math.ceil((size + 1) * (1 - alpha))
        if rank == math.ceil(round((size + 1) * (1 - alpha), 9)):
            assert bound.bound == (math.inf if case["value"] is None else case["value"])
            assert (size < count_needed_questions(alpha)) == math.isinf(bound.bound)
            assert count_needed_questions(alpha) == case["needed"]
        else:
            # 100 times 0.55 is 55.00000000000001 there, so that the rank is 56.
            rounded += 1
            assert case["value"] == np.sort(case["scores"])[rank - 1]
            assert bound.bound == np.sort(case["scores"])[rank - 2]
    assert rounded


def test_venn_abers_is_that_of_cci_sdk() -> None:
    for case in read_cases("cci", "venn-abers"):
        scores, labels = read_pairs(case, "scores")
        fit, at = FITS["venn_abers"].build(scores[:, None], labels), np.array(case["at"])[:, None]
        low, high = fit.predict_interval(at)
        assert low == pytest.approx(case["low"], abs=1e-9)
        assert high == pytest.approx(case["high"], abs=1e-9)
        assert fit.predict(at) == pytest.approx(case["merged"], abs=1e-9)


def test_the_score_of_an_answer_is_the_mass_before_it_as_in_cci_sdk_and_ties_share_the_least() -> None:
    for case in read_cases("cci", "masses"):
        row = np.array(case["row"])
        ours = score_answers({str(k): float(mass) for k, mass in enumerate(row)})
        theirs = np.array(case["scores"])
        assert [ours[str(k)] for k in range(len(row))] == [theirs[row == mass].min() for mass in row]


def mix_starts(e_values: list[list[float]]) -> Any:
    """Return the capital that is divided among all times to begin from the e-values of the test begun at each."""
    steps = len(e_values)
    shares = [1 / ((s + 1) * (s + 2)) for s in range(steps)]
    return np.array([sum(shares[s] * e_values[s][t - s] for s in range(t + 1)) + 1 / (t + 2) for t in range(steps)])


def test_capital_is_that_of_the_bets_of_cci_sdk_divided_among_all_times_to_begin() -> None:
    for case in read_cases("cci", "betting"):
        outcomes, stakes = np.array(case["outcomes"]), np.array(case["stakes"])
        factors = 1 + stakes * (outcomes[:, None] - case["rate"])
        assert np.exp(log_capital_path(factors)) == pytest.approx(mix_starts(case["e_values"]), rel=1e-9)


def test_order_metrics_are_those_of_lm_polygraph_for_distinct_confidences() -> None:
    for case in read_cases("polygraph", "metrics"):
        p, labels = read_pairs(case)
        assert area_under_roc(p, labels) == pytest.approx(case["auroc"], abs=1e-12)
        if not case["has_ties"]:
            assert area_under_risk_coverage(p, labels) == pytest.approx(case["aurc"], abs=1e-12)
            assert 1 - area_under_risk_coverage(p, labels) == pytest.approx(case["area"], abs=1e-12)


def test_ties_are_in_the_order_of_the_rows_in_lm_polygraph_and_in_none_here() -> None:
    differ = 0
    for case in read_cases("polygraph", "metrics"):
        p, labels = read_pairs(case)
        kept_order = np.empty(len(p))
        kept_order[np.argsort(-p, kind="stable")] = -np.arange(len(p))
        assert area_under_risk_coverage(kept_order, labels) == pytest.approx(case["aurc"], abs=1e-12)
        differ += abs(area_under_risk_coverage(p, labels) - case["aurc"]) > 1e-6
    assert differ


def put_chance_at_the_share_of_right(case: dict[str, Any], share: float) -> float:
    """Return the PRR with the area of a random order as it is on average; lm-polygraph draws 1,000 orders."""
    return float((case["area"] - share) / (case["best"] - share))


def test_prr_is_that_of_lm_polygraph_with_the_area_of_chance_as_it_is_on_average() -> None:
    for case in read_cases("polygraph", "metrics"):
        p, labels = read_pairs(case)
        # The area of one random order has a standard deviation below 0.1, so that the mean of 1,000 is this near.
        assert case["random"] == pytest.approx(labels.mean(), abs=0.02)
        assert 1 - risk_coverage(labels, labels).risk.mean() == pytest.approx(case["best"], abs=1e-12)
        if not case["has_ties"]:
            ours = prediction_rejection_ratio(p, labels)
            assert ours == pytest.approx(put_chance_at_the_share_of_right(case, labels.mean()), abs=1e-12)
            assert ours == pytest.approx(case["prr"], abs=0.05)


def test_ece_of_lm_polygraph_has_bins_closed_on_the_right() -> None:
    """For 1, 8 and 16 bins, whose ends are exact."""
    for case in read_cases("polygraph", "metrics"):
        p, labels = read_pairs(case)
        for bins in (1, 8, 16):
            found = calibration_error(*close_on_the_right(p, labels), bins=bins)
            assert found == pytest.approx(case["ece"][str(bins)], abs=1e-9)


TOKEN_SIGNALS = [
    *("logprob:sum", "logprob:mean", "entropy:mean", "self_certainty:mean"),
    *("cocoa_msp", "cocoa_ppl", "cocoa_mte", "renyi_entropy@0.5:mean", "renyi_entropy@2:mean"),
]


def build_evidence(case: dict[str, Any]) -> Evidence:
    energies, tokens = -np.array(case["logits"]), np.array(case["tokens"])
    trace = build_trace(observe(energies, tokens, beta=1.0), tokens)
    samples = [SampledAnswer("same" if one else f"other{i}") for i, one in enumerate(case["similar"])]
    return Evidence(trace=trace, text="same", samples=samples)


def test_signals_of_tokens_are_those_of_lm_polygraph() -> None:
    for case in read_cases("polygraph", "tokens"):
        values, size = case["values"], len(case["logits"][0])
        found = {name: one.value for name, one in compute_signals(build_evidence(case), TOKEN_SIGNALS).items()}
        expected = {
            "logprob:sum": -values["MaximumSequenceProbability"],
            "logprob:mean": -values["Perplexity"],
            "entropy:mean": values["MeanTokenEntropy"],
            "self_certainty:mean": -values["SelfCertainty"],
            "cocoa_msp": values["CocoaMSP"],
            "cocoa_ppl": values["CocoaPPL"],
            "cocoa_mte": values["CocoaMTE"],
            # Minus the entropy and minus ln V: the divergence from the uniform distribution has plus ln V.
            "renyi_entropy@0.5:mean": -values["RenyiNeg, order 0.5"] - math.log(size),
            "renyi_entropy@2:mean": -values["RenyiNeg, order 2"] - math.log(size),
        }
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_rauq_is_that_of_lm_polygraph_but_for_a_layer_more_and_an_offset() -> None:
    """It takes the layer after the middle third too, and adds 1 to each layer's mean."""
    for case in read_cases("polygraph", "rauq"):
        weights, probabilities = np.array(case["attention"]), np.exp(case["logprobs"])
        layers = len(weights)
        last = 2 * layers // 3
        ours = rauq_uncertainty(probabilities, weights)
        # Alone, as the middle one of three equal layers.
        more = rauq_uncertainty(probabilities, np.repeat(weights[last : last + 1], 3, axis=0))
        assert layers % 3 == 0 and 1 + max(ours, more) == pytest.approx(case["value"], rel=1e-9)


def build_samples(case: dict[str, Any]) -> Evidence:
    """Samples whose embedding is their class, so that clusters by embedding are the classes."""
    classes = dict(zip(case["texts"], case["classes"], strict=True))
    samples = [
        SampledAnswer(text, math.log(probability))
        for text, probability in zip(case["texts"], case["probabilities"], strict=True)
    ]
    return Evidence(samples=samples, embed=lambda texts: np.eye(len(classes))[[classes[text] for text in texts]])


def normalize_masses(direct: float, total: float) -> float:
    """Return the entropy of p/s from the sum of -p ln p over masses p that add up to s."""
    return direct / total + math.log(total)


def test_signals_of_samples_are_those_of_lm_polygraph() -> None:
    for case in read_cases("polygraph", "samples"):
        values, evidence = case["values"], build_samples(case)
        found = {name.removesuffix("_embedding"): one.value for name, one in compute_signals(evidence).items()}
        assert found["cluster_count"] == len(set(case["classes"]))
        assert found["cluster_mass"] == pytest.approx(1 - values["LabelProb"])
        assert found["cluster_count"] == values["NumSemSets"]
        assert found["semantic_entropy_counts"] == pytest.approx(values["frequency"], abs=1e-12)
        assert found["semantic_entropy_monte_carlo"] == pytest.approx(values["sum, unique"], abs=1e-12)
        if len(case["texts"]) == len(set(case["classes"])):
            expected = normalize_masses(values["sum, unique, direct"], sum(case["probabilities"]))
            assert found["semantic_entropy_unique"] == pytest.approx(expected, abs=1e-12)


def count_classes_by_their_samples(counts: Any) -> float:
    """Return the sum of -q ln q with a term for each sample, where ours has one for each class."""
    shares = counts / counts.sum()
    return float(-(counts * shares * np.log(shares)).sum())


def test_direct_entropy_of_lm_polygraph_has_a_term_for_each_sample() -> None:
    above = 0
    for case in read_cases("polygraph", "samples"):
        counts = np.bincount(case["classes"]).astype(float)
        theirs = case["values"]["frequency, direct"]
        assert theirs == pytest.approx(count_classes_by_their_samples(counts), abs=1e-12)
        above += theirs > math.log(len(counts)) + 1e-9
    assert above, "an entropy above the log of the number of classes"


def test_sequences_that_were_drawn_twice_make_the_entropy_of_lm_polygraph_negative_and_not_ours() -> None:
    for case in read_cases("polygraph", "samples"):
        entropy = compute_signals(build_samples(case))["semantic_entropy_monte_carlo_embedding"].value
        assert entropy >= 0.0 and case["values"]["sum"] <= entropy + 1e-9
    assert min(case["values"]["sum"] for case in read_cases("polygraph", "samples")) < 0
