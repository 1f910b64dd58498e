"""Comparisons of exact models with known differences, and of a model with itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from heatbath.errors import BadInput
from heatbath.models import MarkovModel
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import log_probabilities
from heatbath.phases import Comparison, ComparisonPlan, Side, compare_models
from heatbath.phases.comparison.difference_curves import compare_observables, describe_pairing
from heatbath.phases.comparison.edge_differences import compare_edges
from heatbath.phases.comparison.model_comparison import SharedTextOptions
from heatbath.phases.comparison.paired_samples import MIN_PROMPT_UNITS, SideSamples, draw_side_samples
from heatbath.phases.comparison.shared_texts import share_texts
from heatbath.phases.comparison.text_comparison import compare_on_texts

SMALL = ComparisonPlan(low=0.4, high=1.4, anchors=6, pairs=8, length=32)
TABLE = np.random.default_rng(0).normal(size=(7, 6)) * 1.5
SHIFT = np.array([-0.6, 0, 0.2, 0, 0, 0])


def _chain(table: np.ndarray = TABLE) -> MarkovModel:
    return MarkovModel(table[:-1], table[-1])


def _draw(side: Side, plan: ComparisonPlan = SMALL) -> SideSamples:
    settled = plan.settle(side.model, side.model)
    return draw_side_samples(side, None, settled, out=None, progress=lambda *_: None)


def _true_entropy(table: np.ndarray, temperature: float, length: int) -> float:
    """The mean entropy per token of the second half of a text, by propagation of the distribution of states."""
    log_p = log_probabilities(table, 1 / temperature)
    entropy = -(np.exp(log_p) * log_p).sum(1)
    state = np.eye(len(table))[-1]
    found = []
    for _ in range(length):
        found.append(float(state @ entropy))
        state = np.append(state @ np.exp(log_p), 0.0)
    return float(np.mean(found[length // 2 :]))


@pytest.fixture(scope="module")
def itself() -> Comparison:
    """A model compared with itself, with the same seed."""
    chain = _chain()
    return compare_models(Side(chain, label="<b>one</b>"), Side(chain, label="two"), plan=SMALL)


@pytest.fixture
def no_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the edges, which take most of the time."""
    monkeypatch.setattr("heatbath.phases.comparison.model_comparison.compare_edges", lambda *_: [])


@pytest.fixture
def shifted(no_edges: None) -> Comparison:
    """A chain compared with one of other energies, most of them nearer to one another."""
    return compare_models(Side(_chain()), Side(_chain(0.7 * TABLE + SHIFT)), plan=SMALL)


def test_a_model_differs_from_itself_in_nothing(itself: Comparison) -> None:
    for curve in itself.curves:
        assert not curve.difference.any(), curve.name
        assert (curve.a == curve.b).all() and (curve.a_stderr == curve.b_stderr).all()
        assert (curve.low <= 0).all() and (curve.high >= 0).all()
        assert curve.joint_p_value == 1 and not curve.significant_mask.any()
        if curve.name not in ("loop fraction", "stale fraction"):
            assert not curve.low.any() and not curve.high.any(), curve.name
    assert itself.texts is not None and itself.pairing is not None
    assert all(
        one.difference.value == one.difference.low == one.difference.high == 0 for one in itself.texts.quantities
    )
    assert itself.texts.disagreements == []
    assert (itself.pairing.identical == 1).all()
    for edge in itself.edges:
        assert all(one.difference in (None, 0.0) for one in edge.estimators)


def test_known_differences_on_shared_texts_are_exact() -> None:
    """Every ensemble is a row of the table, so each mean follows by hand from the tokens of the texts."""
    a, b = _chain(), _chain(TABLE + SHIFT)
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list("abcdef"), 40)) for _ in range(5)]
    found = compare_on_texts(Side(a), Side(b), share_texts(a, b, texts), temperature=0.8, source="")
    rows = np.concatenate([a.encode(text)[:-1] for text in texts])
    targets = np.concatenate([a.encode(text)[1:] for text in texts])
    log_p, log_q = (log_probabilities(table, 1 / 0.8)[rows] for table in (TABLE, TABLE + SHIFT))
    p, q = np.exp(log_p), np.exp(log_q)
    log_m = np.log((p + q) / 2)
    at = np.arange(len(rows)), targets
    expected = {
        "log-probability": (log_q - log_p)[at],
        "entropy": (p * log_p).sum(1) - (q * log_q).sum(1),
        "divergence A to B": (p * (log_p - log_q)).sum(1),
        "divergence B to A": (q * (log_q - log_p)).sum(1),
        "Jensen-Shannon divergence": 0.5 * ((p * (log_p - log_m)).sum(1) + (q * (log_q - log_m)).sum(1)),
        "other most likely token": p.argmax(1) != q.argmax(1),
    }
    assert found.tokens == len(rows) and found.texts == 5 and found.same_vocabulary
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.mean(), abs=1e-12), name
        by_text = value.reshape(5, -1).mean(1)
        half = stats.t.ppf(0.975, 4) * by_text.std(ddof=1) / np.sqrt(5)
        assert found[name].high - found[name].value == pytest.approx(half, abs=1e-12), name
    worst = found.disagreements[0]
    assert worst.divergence == pytest.approx(expected["Jensen-Shannon divergence"].max())


@pytest.mark.parametrize("length", [2, 63, 64, 65, 129, 600])
def test_texts_of_any_length_are_scored_token_by_token(length: int) -> None:
    """Blocks of 64 positions and stretches of a long text lose and repeat nothing."""
    a, b = _chain(), _chain(TABLE + SHIFT)
    text = "abcdef" * 100
    shared = share_texts(a, b, [text[:length], "ab"])
    found = compare_on_texts(Side(a), Side(b), shared, source="")
    pieces = [part for part in shared if len(part.a) > 1]
    assert found.tokens == sum(len(part.a) - part.context for part in pieces)
    total = sum(b.logprob(part.a) - a.logprob(part.a) for part in pieces)
    first = sum(b.logprob(part.a[:1]) - a.logprob(part.a[:1]) for part in pieces)
    assert found["log-probability"].value * found.tokens == pytest.approx(total - first)


def _coverage(a: Side, b: Side, seeds: range) -> tuple[float, float, int]:
    """The share of intervals of the entropy difference that hold the true one, and of those a third as wide."""
    truth = np.array(
        [
            _true_entropy(_table(b), t, SMALL.length) - _true_entropy(_table(a), t, SMALL.length)
            for t in SMALL.temperatures
        ]
    )
    whole, third = [], []
    for seed in seeds:
        sides = [_draw(replace(side, seed=2 * seed + offset)) for side, offset in ((a, 0), (b, b.seed))]
        curve = next(c for c in compare_observables(*sides, SMALL.number_units(1), {}) if c.name == "entropy")
        whole += ((curve.low <= truth) & (truth <= curve.high)).tolist()
        third += (np.abs(curve.difference - truth) <= (curve.high - curve.difference) / 3).tolist()
    return float(np.mean(whole)), float(np.mean(third)), len(whole)


def _table(side: Side) -> np.ndarray:
    return TABLE if side.label == "plain" else TABLE + SHIFT


@pytest.mark.parametrize(
    ("other", "seed"), [("shifted", 0), ("plain", 1)], ids=["another chain, same streams", "same chain, other streams"]
)
def test_intervals_cover_the_true_difference_at_the_stated_rate(other: str, seed: int) -> None:
    """48 intervals: fewer than 38 cover once in 50 000 runs of other seeds if each covers with 0.95.

    Control: intervals a third as wide cover about half the time, and fail.
    """
    a = Side(_chain(), label="plain")
    b = Side(_chain() if other == "plain" else _chain(TABLE + SHIFT), seed=seed, label=other)
    whole, third, count = _coverage(a, b, range(8))
    bound = stats.binom.ppf(2e-5, count, 0.95) / count
    assert whole >= bound > third


@pytest.mark.slow
@pytest.mark.parametrize(("other", "seed"), [("shifted", 0), ("plain", 1)])
def test_intervals_cover_between_93_and_97_percent(other: str, seed: int) -> None:
    """3600 intervals: the share leaves 95 ± 1.5 % once in 30 000 runs of other seeds."""
    a = Side(_chain(), label="plain")
    b = Side(_chain() if other == "plain" else _chain(TABLE + SHIFT), seed=seed, label=other)
    whole, third, _ = _coverage(a, b, range(600))
    assert 0.93 < whole < 0.97 and third < 0.65


def test_common_random_numbers_cancel_noise() -> None:
    """Pairs of nearly equal chains are mostly equal, and of other seeds are not."""
    near = _chain(TABLE + 0.01 * SHIFT)
    same, other = (describe_pairing(_draw(Side(_chain())), _draw(Side(near, seed=seed))) for seed in (0, 1))
    assert same.identical.mean() > 0.5 > 0.05 > other.identical.mean()
    assert np.median(same.variance_ratio) > 3 and 0.4 < np.median(other.variance_ratio) < 2.5


def test_a_true_difference_is_found_and_named(shifted: Comparison) -> None:
    truth = [_true_entropy(0.7 * TABLE + SHIFT, t, 32) - _true_entropy(TABLE, t, 32) for t in SMALL.temperatures]
    entropy = shifted["entropy"]
    assert (np.abs(entropy.difference - truth) < 2 * (entropy.high - entropy.difference)).all()
    assert entropy.joint_p_value < 1e-3 and entropy.significant_mask.any()
    assert shifted.texts is not None
    jensen = shifted.texts["Jensen-Shannon divergence"]
    assert 0 < jensen.low < jensen.value < shifted.texts["divergence A to B"].value


def _staying(scale: float) -> MarkovModel:
    """A chain whose states repeat themselves, with changes of one energy: loops freeze at a known temperature."""
    return MarkovModel(scale * 2.0 * (1 - np.eye(4)), np.zeros(4))


def test_edges_of_scaled_energies_differ_by_the_scale() -> None:
    """Energies times 1.3 move every edge to 1.3 times its temperature."""
    plan = ComparisonPlan(low=0.2, high=1.3, anchors=9, pairs=16, length=32)
    sides = [_draw(Side(_staying(scale)), plan) for scale in (1.0, 1.3)]
    (freeze, _) = compare_edges(*sides, plan.number_units(1), np.random.default_rng(0))
    cycle = freeze.estimators[0]
    # The last 16 tokens are equal with probability p^15 = 1/2, where p = 1 / (1 + 3 exp(-2/T)).
    exact = 2 / np.log(3 / (2 ** (1 / 15) - 1))
    assert cycle.interval is not None and cycle.a is not None
    assert cycle.a == pytest.approx(exact, abs=0.08)
    assert 0 < cycle.interval[0] < 0.3 * exact < cycle.interval[1] < 0.3


def test_other_vocabularies_are_compared_by_the_text_alone() -> None:
    a, b = _started(_chain()), _started(MarkovModel(np.zeros((5, 5)), symbols=[b"ab", b"c", b"d", b"e", b"f"]))
    texts = ["abcd", "efabab", "cdef"]
    found = compare_on_texts(Side(a), Side(b), share_texts(a, b, texts), source="")
    assert not found.same_vocabulary and [one.name for one in found.quantities] == ["log-probability per byte"]
    expected = sum(_logprob(b, text) - _logprob(a, text) for text in texts) / sum(map(len, texts))
    assert found["log-probability per byte"].value == pytest.approx(expected)


def _started(model: MarkovModel) -> MarkovModel:
    """Let token 0 start a document."""
    model.vocabulary = Vocabulary(model.vocabulary.size, start_token_ids=(0,))
    return model


def _logprob(model: MarkovModel, text: str) -> float:
    return model.logprob([0, *model.encode(text)]) - model.logprob([0])


def test_other_vocabularies_without_a_document_start_are_refused() -> None:
    a, b = _chain(), MarkovModel(np.zeros((5, 5)))
    with pytest.raises(BadInput, match="vocabularies differ and markov has no document start"):
        share_texts(a, b, ["abc"])


def test_windows_compare_what_is_drawn() -> None:
    """The sides differ by a window only: the raw models agree, and the mass that it cuts is counted."""
    chain = _chain()
    a, b = Side(chain), Side(chain, window="top_k=2")
    found = compare_on_texts(a, b, share_texts(chain, chain, ["abcdef", "fedcba"]), source="")
    names = [one.name for one in found.quantities]
    assert not {"log-probability", "divergence A to B"} & set(names)
    rows = [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    kept = np.array([np.sort(np.exp(log_probabilities(TABLE, 1.0))[row])[-2:].sum() for row in rows])
    assert found["mass of A that B cannot draw"].value == pytest.approx(1 - kept.mean())
    assert found["mass of B that A cannot draw"].value == 0
    assert found["divergence B to A"].value == pytest.approx(-np.log(kept).mean())


def test_a_random_window_is_refused() -> None:
    chain = _chain()
    side = Side(chain, window='exclude_top_choices={"threshold": 0.1, "probability": 0.5}')
    with pytest.raises(BadInput, match="random window"):
        compare_on_texts(side, side, share_texts(chain, chain, ["abc", "abd"]), source="")


def test_prompts_cycle_apart_from_temperatures_and_become_units_when_many() -> None:
    plan = replace(SMALL, pairs=4)
    order = plan.number_prompts(4)
    pairs = {(prompt, plan.temperatures[r % plan.anchors]) for r, prompt in enumerate(order.tolist())}
    assert len(pairs) == plan.rows, "every prompt at every temperature, once"
    assert (plan.number_units(4) == np.arange(plan.rows)).all()
    many = replace(plan, pairs=2 * MIN_PROMPT_UNITS).number_units(MIN_PROMPT_UNITS)
    assert len(np.unique(many)) == MIN_PROMPT_UNITS and (np.bincount(many) == 2 * plan.anchors).all()


def test_sides_of_other_seeds_continue_the_same_prompts() -> None:
    chain, prompts = _chain(), ["a", "bc", "dd"]
    plan = SMALL.settle(chain, chain)
    one, other = (
        draw_side_samples(Side(chain, seed=seed), prompts, plan, out=None, progress=lambda *_: None) for seed in (0, 5)
    )
    assert one.prompts == other.prompts and (one.samples.betas == other.samples.betas).all()
    assert (one.samples.tokens != other.samples.tokens).any()


def test_texts_that_end_by_themselves_are_compared_by_their_tokens(no_edges: None) -> None:
    """Token 5 ends a text; the mean entropy per token is a ratio, and a model still differs from itself in nothing."""
    chain, other = _chain(), _chain(0.7 * TABLE)
    for model in (chain, other):
        model.vocabulary = Vocabulary(6, stop_token_ids=(5,))
    plan = replace(SMALL, allow_end=True).settle(chain, other)
    sides = [_draw(Side(model), plan) for model in (chain, other, chain)]
    assert sides[0].samples.lengths.min() < 16 and (sides[0].samples.tokens[:, -1] == -1).any()
    same, differs = (
        {curve.name: curve for curve in compare_observables(sides[0], side, plan.number_units(1), {})}
        for side in (sides[2], sides[1])
    )
    assert not any(curve.difference.any() for curve in same.values())
    assert "finished fraction" in differs and differs["entropy"].joint_p_value < 0.01
    hot = 1 / sides[0].samples.betas == max(plan.temperatures)
    tokens = sides[0].samples.lengths[hot]
    sums = sides[0].samples.select_rows(hot).sums_at(float(sides[0].samples.betas[hot][0]))
    entropy = (sums.log_z + sums.beta * sums.mean_energy)[:, -1]
    assert differs["entropy"].a[-1] == pytest.approx(entropy.sum() / tokens.sum())
    assert compare_models(Side(chain), Side(other), plan=plan).texts is not None


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (ComparisonPlan(anchors=5), "`anchors` must be from 6 to 72, got 5."),
        (ComparisonPlan(pairs=3), "`pairs` must be at least 4 for intervals, got 3."),
        (ComparisonPlan(low=1, high=0.5), "temperatures must satisfy"),
        (ComparisonPlan(length=40), "`length` must be a multiple"),
        (ComparisonPlan(chat=True), "has no chat template"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused(plan: ComparisonPlan, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        compare_models(Side(_chain()), Side(_chain()), plan=plan)


def test_an_interrupted_comparison_continues_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_edges: None
) -> None:
    sides = Side(_chain()), Side(_chain(TABLE + SHIFT))
    plan, shared = replace(SMALL, pairs=4), SharedTextOptions(["abcdef", "fedcba"])

    def stop(label: str, done: int, total: int) -> None:
        if label == "texts of B":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_models(*sides, plan=plan, shared=shared, out=tmp_path, progress=stop)
    assert list(tmp_path.glob("traces-?/traces/*.parquet"))
    monkeypatch.setattr("heatbath.phases.sampling.generate", _count_calls(calls := []))
    resumed = compare_models(*sides, plan=plan, shared=shared, out=tmp_path)
    assert len(calls) == 1, "only the batch that was not drawn"
    again = compare_models(*sides, plan=plan, shared=shared)
    for one, other in zip(resumed.curves, again.curves, strict=True):
        assert np.allclose(one.difference, other.difference, rtol=0, atol=1e-9), one.name
    with pytest.raises(BadInput, match="another sweep"):
        compare_models(*sides, plan=replace(plan, length=64), out=tmp_path)


def _count_calls(calls: list[int]):  # type: ignore[no-untyped-def]
    from heatbath.engine import generate

    def counted(*given, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        return generate(*given, **options)

    return counted
