"""What is told of each token: log-probabilities, alternatives, records; of prompts too; and to observers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from asking import answers

from heatbath.engine import generate, measure
from heatbath.engine.base import ComponentSpec, Request
from heatbath.models import MarkovModel, TableModel, Vocabulary
from heatbath.record import Frame, Observer

CHAIN = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))
_ONLY_WHOLE = ("nodes/", "divergence")
"""Columns that only a full record has."""

COLD = MarkovModel(np.array([[0.0, np.inf, 1.0], [1.0, 0.0, np.inf], [0.5, 0.5, 0.5]]))


@pytest.mark.parametrize("record", [None, "state", "full"])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("sampler", ["ancestral", "greedy", "vote"])
def test_log_probabilities_are_those_at_one(sampler: str, temperature: float, record: str | None) -> None:
    settings = {"temperature": temperature, "sampler": sampler, "record": record, "seed": 4}
    request = Request((1, 2), "x", max_tokens=8, **settings)
    plain, topped = answers(CHAIN, [request, Request(**{**vars(request), "top_logprobs": 3})])
    trace = measure(CHAIN, [1, 2, *plain.ids()])
    expected = trace.logprob(1.0)[2:]
    assert [token.logprob for token in plain.tokens()] == pytest.approx(expected.tolist(), abs=1e-6)
    assert topped.ids() == plain.ids()
    for place, token in enumerate(topped.tokens()):
        assert len(token.top_logprobs) == 3
        values = dict(token.top_logprobs)
        assert list(values.values()) == sorted(values.values(), reverse=True)
        if token.id in values:
            assert values[token.id] == pytest.approx(expected[place], abs=1e-6)
    assert all((token.record is None) == (record is None) for token in plain.tokens())


@pytest.mark.parametrize(
    "settings", [{}, {"windows": (ComponentSpec("top_k", 2),)}, {"fields": (ComponentSpec("bias", {"a": 2.0}),)}]
)
@pytest.mark.parametrize("record", ["state", "full"])
def test_records_are_those_of_generate(settings: dict[str, Any], record: str) -> None:
    from heatbath.decode import top_k
    from heatbath.energy import LogitBias

    (answered,) = answers(
        CHAIN, [Request((1,), "x", n=2, max_tokens=7, temperature=0.7, seed=2, record=record, **settings)]
    )
    more = {"windows": {"window": top_k(2)}, "fields": {"fields": LogitBias({0: 2.0})}}
    given = next((more[name] for name in settings), {})
    whole = generate(CHAIN, [1], n=2, max_tokens=7, temperature=0.7, seed=2, **given)
    kept = whole.arrays.record
    assert kept is not None
    for choice in range(2):
        for place, token in enumerate(answered.tokens(choice)):
            assert token.record is not None
            assert set(token.record) == {name for name in kept if record == "full" or not name.startswith(_ONLY_WHOLE)}
            for name, value in token.record.items():
                np.testing.assert_allclose(value, kept[name][choice, place], rtol=1e-6, atol=1e-9)


def test_prompts_are_scored_as_measuring_does() -> None:
    prompt = tuple(np.random.default_rng(1).integers(0, 4, 50).tolist())
    requests = [
        Request(prompt, "score", max_tokens=0, score_prompt=True, top_logprobs=2, temperature=0.5),
        Request(prompt[:9], "both", max_tokens=4, score_prompt=True, record=None, seed=1),
        Request((2,), "one", max_tokens=1, score_prompt=True, seed=1),
    ]
    score, both, one = answers(CHAIN, requests)
    trace = measure(CHAIN, prompt, temperature=0.5)
    tokens = score.began.scored_prompt
    assert [token.id for token in tokens] == list(prompt)
    assert tokens[0].logprob is None and tokens[0].record is None
    assert [token.logprob for token in tokens[1:]] == pytest.approx(trace.logprob(1.0)[1:].tolist(), abs=1e-6)
    for place, token in enumerate(tokens[1:], 1):
        assert len(token.top_logprobs) == 2 and token.record is not None
        assert token.record["entropy"] == pytest.approx(trace.record["entropy"][place])
        assert token.record["temperature"] == 0.5
    assert len(both.began.scored_prompt) == 9 and len(both.ids()) == 4
    assert all(token.record is None for token in both.began.scored_prompt)
    assert both.ids() == generate(CHAIN, prompt[:9], max_tokens=4, seed=1).sequences[0]
    assert len(one.began.scored_prompt) == 1 and one.began.scored_prompt[0].logprob is None


def test_absent_states_have_no_place_among_the_alternatives_that_count() -> None:
    (answered,) = answers(COLD, [Request((0,), "x", max_tokens=3, top_logprobs=3, seed=1)])
    first = answered.tokens()[0]
    assert first.top_logprobs[-1] == (1, -np.inf)
    assert np.logaddexp.reduce([value for _, value in first.top_logprobs]) == pytest.approx(0.0)


def test_observers_see_every_row_of_every_step_once() -> None:
    class Sum(Observer):
        def __init__(self) -> None:
            self.tokens: list[int] = []
            self.entropy = 0.0

        def update(self, frame: Frame) -> None:
            self.tokens += frame.tokens.tolist()
            if frame.record is not None:
                assert len(frame.rows) == len(frame.record["entropy"])
                self.entropy += float(frame.record["entropy"].sum())

    seen = Sum()
    requests = [
        Request((0,), str(i), n=2, max_tokens=5 + i, seed=i, windows=(ComponentSpec("top_k", 3),) * (i % 2))
        for i in range(6)
    ]
    found = answers(CHAIN, requests, observers=[seen])
    tokens = [token for answered in found for choice in range(2) for token in answered.tokens(choice)]
    assert sorted(seen.tokens) == sorted(token.id for token in tokens)
    assert seen.entropy == pytest.approx(sum(token.record["entropy"] for token in tokens if token.record))


def test_stops_end_answers_and_their_text() -> None:
    symbols = [b"ab", b"c", "é".encode(), b"."]
    model = MarkovModel(np.random.default_rng(3).normal(size=(4, 4)), symbols=symbols)
    model.vocabulary = Vocabulary(4, stop_token_ids=(3,))
    requests = [
        Request((0,), str(i), max_tokens=30, seed=i, stop=("bc", "cé"), keep_stop=i % 2 == 1) for i in range(40)
    ]
    kinds = set()
    for request, answered in zip(requests, answers(model, requests), strict=True):
        ids, finish = answered.ids(), answered.finish()
        stopped = answered.grown[-1].stop_reason
        whole = model.decode([token for token in ids if token != 3])
        if isinstance(stopped, str):
            assert whole.rstrip("é").endswith(stopped.rstrip("é"))
            at = min(whole.find(stop) for stop in request.stop if stop in whole)
            assert answered.text() == whole[:at] + (stopped if request.keep_stop else "")
        else:
            assert answered.text() == whole and not any(stop in whole for stop in request.stop)
        assert (
            (finish == "stop") == (stopped is not None) == (len(ids) < 30 or ids[-1] == 3 or isinstance(stopped, str))
        )
        assert whole.isprintable()
        drawn = generate(model, [0], max_tokens=30, seed=request.seed).sequences[0]
        assert drawn[: len(ids)] == ids
        kinds.add((finish, type(stopped)))
    assert kinds >= {("stop", str), ("stop", int)}


def test_whole_answers_end_at_stops_too() -> None:
    model = TableModel(lambda prefix: [0.0, 0.3], length=9, symbols=[b"a", b"b"])
    (answered,) = answers(model, [Request((0,), "x", max_tokens=8, seed=1, stop=("ba",), sampler="vote")])
    texts = [answered.text(choice) for choice in range(answered.choices)]
    assert all("ba" not in text for text in texts) and any(answered.finish(choice) == "stop" for choice in range(8))
