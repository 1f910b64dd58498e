"""Sweeps through windows and with texts that end, against sums over a Markov chain; and the plan for a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.estimate.smooth import CurveData
from heatbath.models import MarkovModel
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import log_probabilities
from heatbath.phases import AnalysisOptions, SweepPlan, curves, sweep
from heatbath.phases.curves import PooledSamples, pool_samples, second_half
from heatbath.phases.observables import detect_loops, detect_stale_texts, measure_observables
from heatbath.phases.plan_preparation import describe_plan, prepare_plan, restrict_model, update_plan
from heatbath.phases.report.sweep_description import describe_sweep
from heatbath.phases.sampling import draw_batches
from heatbath.phases.sweep_prompts import BUILT_IN_PROMPTS, assign_prompts
from heatbath.phases.text_samples import decode_pieces, select_text_samples
from heatbath.questions.scored_prompts import read_prompt_file

SIZE, END, LENGTH = 5, 4, 32
TEMPERATURES = (0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
PLAN = SweepPlan(length=LENGTH, sequences=900, batch=300, temperatures=TEMPERATURES)
SMALL = SweepPlan(length=32, sequences=24, batch=12, anchors=6)


def build_chain() -> MarkovModel:
    """A chain of five tokens, the last of which ends a text: about one in ten steps at T = 1."""
    chain = MarkovModel.random(166, SIZE, scale=1.5)
    chain.vocabulary = Vocabulary(SIZE, stop_token_ids=(END,))
    return chain


class ChatChain(MarkovModel):
    """A chain with a chat template: the first letter of each content, between letters for the roles."""

    def encode_chat(self, messages: Any, **options: Any) -> list[int]:
        roles = {"system": 0, "user": 1}
        return [token for m in messages for token in (roles[m["role"]], ord(m["content"][0]) % 4)]


def build_chat_chain(end: bool = True) -> ChatChain:
    table = np.random.default_rng(0).normal(size=(SIZE + 1, SIZE))
    chain = ChatChain(table[:-1], table[-1])
    chain.vocabulary = Vocabulary(SIZE, stop_token_ids=(END,) if end else ())
    return chain


def exact_entropy(chain: MarkovModel, temperature: float, *, ends: bool, top_k: int | None = None) -> float:
    """Entropy per token of the model's ensemble: over all tokens where texts end, else over the second half."""
    table = chain._table.copy()
    if not ends:
        table[:, END] = np.inf
    logp = log_probabilities(table, 1 / temperature)
    entropy = -np.where(np.isinf(logp), 0.0, np.exp(logp) * np.where(np.isinf(logp), 0.0, logp)).sum(1)
    step = np.exp(logp)
    if top_k is not None:
        step = np.where(table <= np.sort(table, axis=1)[:, [top_k - 1]], step, 0.0)
        step /= step.sum(1, keepdims=True)
    state, total, tokens = np.eye(SIZE + 1)[SIZE], 0.0, 0.0
    for t in range(LENGTH):
        if ends or t >= LENGTH // 2:
            total, tokens = total + state @ entropy, tokens + state.sum()
        state = np.append(state @ step, 0.0)
        if ends:
            state[END] = 0.0
    return float(total / tokens)


@lru_cache
def pool_texts(allow_end: bool, window: tuple[str, ...]) -> PooledSamples:
    """The texts of a plan, weighted at the temperatures that all were drawn at."""
    chain = build_chain()
    plan = prepare_plan(chain, replace(PLAN, allow_end=allow_end, window=window))
    *_, samples = draw_batches(restrict_model(chain, plan), plan)
    return pool_samples(samples, np.array(TEMPERATURES))


def thermal_points(pool: PooledSamples, quantity: str = "entropy") -> CurveData:
    window = curves.averaging_range(pool.samples)
    return curves.compute_points(curves.rate_column(pool, curves.THERMAL_RATES[quantity], window), pool.temperatures)


def text_points(pool: PooledSamples, name: str) -> CurveData:
    pieces = decode_pieces(build_chain(), pool.samples)
    found = measure_observables(pool.samples.tokens, pieces, {}, may_end=pool.samples.may_end)
    return curves.compute_points(curves.text_column(pool, found[name]), pool.temperatures)


def deviations(points: CurveData, exact: Callable[[float], float]) -> np.ndarray:
    return np.asarray((points.value - np.array([exact(t) for t in points.x])) / points.value_stderr)


@pytest.mark.parametrize("window", [(), ("top_k=2",)])
@pytest.mark.parametrize("ends", [False, True])
def test_entropies_are_those_of_the_chain(ends: bool, window: tuple[str, ...]) -> None:
    """At most 4.5 standard errors at any of six temperatures: 4e-5 in all."""
    chain, points, k = build_chain(), thermal_points(pool_texts(ends, window)), 2 if window else None
    assert np.abs(deviations(points, lambda t: exact_entropy(chain, t, ends=ends, top_k=k))).max() < 4.5
    wrong = deviations(points, lambda t: exact_entropy(chain, t, ends=not ends, top_k=k))
    other = deviations(points, lambda t: exact_entropy(chain, t, ends=ends, top_k=None if k else 2))
    assert min(np.abs(wrong).max(), np.abs(other).max()) > 9, "ends and windows would be seen"


def test_texts_drawn_through_a_window_count_at_their_own_temperature_alone() -> None:
    """The records give their probability without the window, which is not that of the draw."""
    pool = pool_texts(False, ("top_k=2",))
    samples, points = pool.samples, thermal_points(pool_texts(False, ("top_k=2",)))
    assert sorted(set((1 / samples.betas).round(9))) == pytest.approx(TEMPERATURES)
    assert np.isnan(points.slope).all(), "a response needs the probability of the text"
    for g, temperature in enumerate(TEMPERATURES):
        own = np.isclose(1 / samples.betas, temperature)
        np.testing.assert_array_equal(pool.weights[:, :, g] > 0, np.broadcast_to(own, pool.weights.shape[:2]))
        entropy = samples.sums_at(1 / temperature).log_z + samples.sums_at(1 / temperature).mean_energy / temperature
        half = (entropy[own, -1] - entropy[own, samples.find_prefix(LENGTH // 2)]) / (LENGTH // 2)
        assert points.value[g] == pytest.approx(half.mean())
    assert not np.allclose(
        pool_samples(replace(samples, is_reweightable=True), pool.temperatures).weights, pool.weights
    )


def test_the_share_of_finished_texts_and_their_lengths_are_those_of_the_chain() -> None:
    """At most 4.5 standard errors at any of six temperatures: 4e-5 for each of the two."""

    def alive(temperature: float) -> np.ndarray:
        step = np.exp(log_probabilities(build_chain()._table, 1 / temperature))
        state, shares = np.eye(SIZE + 1)[SIZE], [1.0]
        for _ in range(LENGTH):
            state = np.append(state @ step, 0.0)
            state[END] = 0.0
            shares.append(state.sum())
        return np.array(shares)

    pool = pool_texts(True, ())
    assert np.abs(deviations(text_points(pool, "tokens"), lambda t: float(alive(t)[:-1].sum()))).max() < 4.5
    finished = deviations(text_points(pool, "finished fraction"), lambda t: float(1 - alive(t)[-1]))
    assert np.abs(finished).max() < 4.5


def test_the_response_of_the_entropy_of_finished_texts() -> None:
    """The covariance with the score gives the derivative of the exact curve: at most 4.5 standard errors."""
    points, h = thermal_points(pool_texts(True, ())), 1e-4
    above, below = (
        np.array([exact_entropy(build_chain(), t + sign * h, ends=True) for t in points.x]) for sign in (1, -1)
    )
    assert np.abs((points.slope - (above - below) / (2 * h)) / points.slope_stderr).max() < 4.5
    assert np.abs(points.slope / points.slope_stderr).max() > 9, "a response of zero would be seen"


def test_a_range_that_few_texts_reach_is_left_out() -> None:
    pool = pool_texts(True, ())
    short = replace(pool.samples, tokens=np.where(np.arange(LENGTH) < 8, pool.samples.tokens, -1))
    late = curves.rate_column(replace(pool, samples=short), curves.THERMAL_RATES["entropy"], second_half(short, LENGTH))
    assert np.isnan(curves.compute_points(late, pool.temperatures).value).all()


def test_an_ended_text_is_in_no_loop_and_has_its_own_length() -> None:
    tokens = np.array([[1, 2] * 8, [1, 2, 3, 4, *[-1] * 12], [1] * 15 + [END]], np.int32)
    pieces = [[b"a", b"b"] * 8, [b"a", b"b", b"c"], [b"a"] * 15]
    assert detect_loops(tokens, 16).tolist() == [1, 0, 0]
    assert detect_loops(tokens, 8).tolist() == [1, 0, 1], "a loop so far, although the text ends later"
    assert detect_stale_texts(pieces, 16).tolist() == [1, 0, 0]
    found = measure_observables(tokens, pieces, {}, may_end=True)
    assert found["tokens"].tolist() == [16, 4, 16] and found["finished fraction"].tolist() == [0, 1, 1]
    assert found["repetition"][1] == 0 and found["distinct bigrams"][1] == 1
    assert found["characters"].tolist() == [16, 3, 15]


@pytest.mark.parametrize("options", [{"allow_end": True}, {"window": ("top_k=2",)}])
def test_texts_that_are_read_back_are_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    chain = build_chain()
    plan = prepare_plan(chain, replace(SMALL, sequences=48, **options))
    model = restrict_model(chain, plan)
    *_, drawn = draw_batches(model, plan, tmp_path)
    (tmp_path / "batch-0003.parquet").unlink()
    *_, resumed = draw_batches(model, plan, tmp_path)
    *_, apart = draw_batches(model, plan)
    for again in (resumed, apart):
        np.testing.assert_array_equal(again.tokens, drawn.tokens)
        np.testing.assert_array_equal(again.log_probability(1.1), drawn.log_probability(1.1))
        assert (again.may_end, again.is_reweightable) == (drawn.may_end, drawn.is_reweightable)
    if "allow_end" in options:
        assert (drawn.lengths < plan.length).any() and (drawn.tokens[drawn.lengths < plan.length, -1] == -1).all()
        with pytest.raises(BadInput, match="length other than 32"):
            [*draw_batches(chain, replace(plan, allow_end=False), tmp_path)]


def test_a_model_with_a_template_is_asked_in_a_chat_and_may_end() -> None:
    plan = prepare_plan(build_chat_chain(), SMALL)
    assert plan.chat and plan.allow_end and len(plan.prompts) == len(BUILT_IN_PROMPTS)
    assert plan.prompts[0] == (1, ord(BUILT_IN_PROMPTS[0][0]) % 4)
    assert prepare_plan(build_chat_chain(), plan) == plan, "a prepared plan stays as it is"
    spoken = prepare_plan(build_chat_chain(), replace(SMALL, system="be brief"), ["abc"])
    assert spoken.prompts == ((0, ord("b") % 4, 1, ord("a") % 4),)
    own = prepare_plan(
        build_chat_chain(),
        replace(SMALL, system="x"),
        [[{"role": "system", "content": "b"}, {"role": "user", "content": "a"}]],
    )
    assert own.prompts == ((0, ord("b") % 4, 1, ord("a") % 4),), "a system message of the prompt's own stays"
    assert not prepare_plan(build_chat_chain(end=False), SMALL).allow_end


def test_text_is_continued_without_a_template_or_when_asked_to() -> None:
    for model, plan in ((build_chain(), SMALL), (build_chat_chain(), replace(SMALL, chat=False))):
        settled = prepare_plan(model, plan)
        assert not settled.chat and not settled.allow_end and settled.prompts == ((),)
        assert prepare_plan(model, plan, ["ab"]).prompts == ((0, 1),)
    tokens = prepare_plan(build_chat_chain(), replace(SMALL, prompts=((1, 2),)))
    assert not tokens.chat and tokens.prompts == ((1, 2),), "tokens are taken as they are"


def test_criticality_compares_texts_of_one_length() -> None:
    settled = prepare_plan(build_chat_chain(), SMALL, fixed=True)
    assert settled.chat and not settled.allow_end and len(settled.temperatures or ()) == 6


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (build_chain, {"chat": True}, "has no chat template"),
        (build_chain, {"system": "x"}, "a system message needs a chat template"),
        (build_chat_chain, {"chat": False, "system": "x"}, "a system message needs a chat template"),
        (lambda: MarkovModel.random(0, 4), {"allow_end": True}, "no token that ends a text"),
        (build_chain, {"window": "top_q=2"}, "no window 'top_q'"),
        (build_chain, {"window": "top_p=2"}, "top_p"),
        (build_chain, {"window": [3]}, "must be text such as"),
        (build_chain, {"window": "top_k=2", "anchors": 12}, "at least 48 for 12 temperatures, got 24"),
        (build_chain, {"windows": "top_k=2"}, "no argument 'windows' .did you mean 'window'"),
        (build_chain, {"lenght": 3}, "did you mean 'length'"),
    ],
)
def test_what_cannot_be_swept_is_refused(model: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sweep(model(), plan=SMALL, **options)


def test_ends_and_criticality_are_refused() -> None:
    with pytest.raises(BadInput, match="texts of one length"):
        sweep(build_chain(), plan=replace(SMALL, allow_end=True), analysis=AnalysisOptions(criticality=True))
    with pytest.raises(BadInput, match="no prompts"):
        sweep(build_chain(), [], plan=SMALL)


def test_the_map_says_what_was_swept() -> None:
    model = build_chat_chain()
    plan = prepare_plan(model, update_plan(SMALL, {"window": ["top_k=3", "min_p=0.01"], "system": "be brief"}))
    settings = describe_plan(model, plan)
    assert settings["chat"] is True and settings["allow_end"] is True and settings["system"] == "be brief"
    assert (settings["prompts"], settings["prompt_source"]) == (len(BUILT_IN_PROMPTS), "built-in")
    assert list(settings["window"]) == ["top_k=3", "min_p=0.01"]
    assert describe_plan(model, prepare_plan(model, SMALL, ["a", "b"]))["prompt_source"] == "given"
    chart = sweep(build_chain(), plan=SMALL)
    assert chart.settings["prompt_source"] == "start of a document" and chart.settings["dtype"] is None


def test_the_whole_range_that_a_plan_allows_can_be_swept() -> None:
    chart = sweep(MarkovModel.random(0, 4), plan=replace(SMALL, low=0.1, high=3.0))
    assert (chart["entropy"].temperature[[0, -1]] == pytest.approx([0.1, 3.0])) and np.isfinite(
        chart["entropy"].value
    ).all()


def test_every_round_uses_each_prompt_once_and_batches_do_not_matter() -> None:
    whole = assign_prompts(13, 5, 0, 130)
    for r in range(10):
        assert sorted(whole[13 * r : 13 * r + 13]) == list(range(13))
    assert [i for first in range(0, 130, 10) for i in assign_prompts(13, 5, first, 10)] == whole
    assert len({tuple(whole[13 * r : 13 * r + 13]) for r in range(10)}) == 10, "rounds have orders of their own"


@pytest.mark.weights
def test_an_instruct_model_is_asked_by_its_template(smollm2: Any) -> None:
    """Prompts are the ids of the template, texts may end, and the precision is the one in memory."""
    plan, questions = replace(SMALL, sequences=16, batch=8, system="Be brief."), ["Where is Paris?", "2 + 2 ="]
    prepared = prepare_plan(smollm2, plan, questions)
    for tokens, question in zip(prepared.prompts, questions, strict=True):
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        assert list(tokens) == smollm2.encode_chat(turns)
    chart = sweep(smollm2, questions, plan=plan)
    settings = chart.settings
    assert (settings["chat"], settings["allow_end"]) == (True, True)
    assert (settings["dtype"], settings["device"]) == ("float32", "cpu")
    assert {sample.prompt for sample in chart.samples} <= {smollm2.decode(prompt) for prompt in prepared.prompts}
    assert describe_sweep(chart) == [
        "float32 on cpu, chat template, system message 'Be brief.', 2 prompts",
        "drawn without windows, up to 32 tokens, end of text allowed",
    ]
    assert prepare_plan(smollm2, replace(SMALL, chat=False)).prompts == ((),)


def test_a_prompt_that_does_not_fit_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "ab"}\n\n{"messages": [{"role": "user", "content": "a"}]}\n')
    items = read_prompt_file(path).items
    with pytest.raises(BadInput, match=r"prompts.jsonl, line 3: markov has no chat template"):
        prepare_plan(build_chain(), SMALL, items)
    short = build_chat_chain()
    short.context_length = 34
    with pytest.raises(BadInput, match=r"line 3: a prompt of 4 tokens and 32 more do not fit the context of 34"):
        prepare_plan(short, replace(SMALL, system="x"), items[1:])
    assert prepare_plan(short, SMALL, items).prompts == ((1, 1), (1, 1))


@pytest.mark.parametrize(("share", "loops"), [(0.8, True), (0.2, False)])
def test_the_text_that_is_shown_loops_where_most_do(share: float, loops: bool) -> None:
    """The recommended range is sampled inside it, and at every place the text is the median of its neighbours."""
    samples, rng = pool_texts(False, ()).samples, np.random.default_rng(0)
    looping = rng.random(len(samples)) < share
    tokens = np.where(looping[:, None], 1, rng.integers(0, 4, samples.tokens.shape)).astype(np.int32)
    samples = replace(samples, tokens=tokens, betas=1 / np.linspace(0.2, 1.8, len(samples)))
    pieces = decode_pieces(build_chain(), samples)
    chosen = select_text_samples(samples, pieces, [""] * len(samples), (0.6, 0.9))
    assert [one.recommended for one in chosen] == [False] * 5 + [True] * 3
    assert all(0.6 <= one.temperature <= 0.9 for one in chosen if one.recommended)
    assert all((set(one.text) == {"b"}) == loops for one in chosen)
    assert len(select_text_samples(samples, pieces, [""] * len(samples), None)) == 5
