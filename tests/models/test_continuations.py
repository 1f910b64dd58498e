"""Scores of continuations: sessions against enumeration, one pass over trees against sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.engine.base import Request
from heatbath.engine.local import continuation_scoring
from heatbath.engine.local.continuation_scoring import ContinuationScoring
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.models.continuations import build_continuation_tree
from heatbath.models.hf import tree_scoring
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.session_scoring import SessionScorer, build_continuation_scorer

TABLE = TableModel.random(4, 3, 5)
Paths = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=6)


def enumerate_logprob(prompt: Sequence[int], path: Sequence[int]) -> float:
    probabilities = np.exp(TABLE.logprobs())

    def mass(begin: tuple[int, ...]) -> float:
        return float(probabilities[[each[: len(begin)] == begin for each in TABLE.sequences()]].sum())

    return float(np.log(mass((*prompt, *path)) / mass(tuple(prompt))))


@given(paths=Paths, prompts=st.lists(st.lists(st.integers(0, 2), max_size=2), min_size=1, max_size=3))
def test_sessions_equal_enumeration(paths: list[list[int]], prompts: list[list[int]]) -> None:
    found = SessionScorer(TABLE).score(prompts, build_continuation_tree(paths)).logprobs
    expected = [[enumerate_logprob(prompt, path) for path in paths] for prompt in prompts]
    assert found == pytest.approx(np.array(expected), abs=1e-10)


def test_each_beginning_is_one_node() -> None:
    tree = build_continuation_tree([[5, 6, 7], [5, 6], [8], [5, 6, 7]])
    assert tree.tokens == (-1, 5, 8, 6, 7) and tree.parents == (-1, 0, 0, 1, 3)
    assert tree.ends == (4, 3, 2, 4) and tree.inner_nodes == (0, 1, 3)
    for wrong in ([], [[1], []]):
        with pytest.raises(BadInput, match="no tokens"):
            build_continuation_tree(wrong)


LONG = [[7, 1, 2, 3, 4, 5, 6, 7, 8, 9], [7, 1, 2, 3, 4, 5, 6, 7, 8, 30, 31, 32], [7, 1, 2, 40], [50], [50, 51]]
TREE = build_continuation_tree([[10, 11, 12], [10, 11], [10, 13], [14], [15, 16, 17, 18], [14, 10, 11]])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("cached", [[], [LONG[0][:9]], [LONG[0][:9], LONG[0][:3], LONG[3]]])
def test_one_pass_over_trees_equals_sessions(
    tiny: Callable[[str], TransformersModel], family: str, cached: list[list[int]]
) -> None:
    model = tiny(family)
    scorer = build_continuation_scorer(model)
    assert isinstance(scorer, tree_scoring.TreeScorer)
    scorer.cache_prefixes(cached)
    expected = SessionScorer(model).score(LONG, TREE, with_hidden=True)
    found = scorer.score(LONG, TREE, with_hidden=True)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=2e-4)
    assert found.hidden == pytest.approx(expected.hidden, abs=2e-3)


def test_small_passes_give_the_same(tiny: Callable[[str], TransformersModel], monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = build_continuation_scorer(tiny("llama"))
    whole = scorer.score(LONG, TREE).logprobs
    monkeypatch.setattr(tree_scoring, "ROW_POSITIONS", 1)
    monkeypatch.setattr(tree_scoring, "PASS_POSITIONS", 1)
    assert scorer.score(LONG, TREE).logprobs == pytest.approx(whole, abs=2e-4)
    monkeypatch.setattr(tree_scoring, "MAX_ROW_POSITIONS", 1)
    assert scorer.score(LONG, TREE).logprobs == pytest.approx(whole, abs=2e-4)


@pytest.mark.parametrize("family", ["gemma3", "gemma2", "mistral"])
def test_other_networks_are_scored_in_sessions(tiny: Callable[[str], TransformersModel], family: str) -> None:
    assert isinstance(build_continuation_scorer(tiny(family)), SessionScorer)


def test_prefixes_are_forgotten_where_there_is_no_room(tiny: Callable[[str], TransformersModel]) -> None:
    model = tiny("llama")
    scorer = tree_scoring.TreeScorer(model, SessionScorer(model), prefix_bytes=1)
    scorer.cache_prefixes([LONG[0][:9]])
    expected = SessionScorer(model).score(LONG, TREE).logprobs
    assert scorer.score(LONG, TREE).logprobs == pytest.approx(expected, abs=2e-4)


def test_a_prompt_beyond_the_context_is_refused(tiny: Callable[[str], TransformersModel]) -> None:
    scorer = build_continuation_scorer(tiny("llama"))
    assert scorer.score([[1] * 93], TREE).logprobs.shape == (1, 6)
    with pytest.raises(BadInput, match="more than the 96"):
        scorer.score([[1] * 94], TREE)


def test_closed_tokens_are_impossible(tiny: Callable[[str], TransformersModel]) -> None:
    found = build_continuation_scorer(tiny("llama")).score([[1, 2]], build_continuation_tree([[3], [263]])).logprobs
    assert np.isfinite(found[0, 0]) and found[0, 1] == -np.inf


def test_a_prompt_read_in_pieces_gives_the_same(
    tiny: Callable[[str], TransformersModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine evaluates 256 positions of a prompt between two steps of others, here 3, and keeps none of them."""
    monkeypatch.setattr(continuation_scoring, "PROMPT_POSITIONS", 3)
    model = tiny("llama")
    scorer = build_continuation_scorer(model)
    scorer.cache_prefixes([LONG[0][:7]])  # left by a request that was cancelled
    paths = ((10, 11), (14,))
    request = Request(tuple(LONG[1]), "id", max_tokens=0, continuations=paths, hidden_state=True)
    scoring, steps = ContinuationScoring(scorer, request), 0
    while scoring.step():
        steps += 1
    assert steps == 4
    job = SimpleNamespace()
    scoring.write(job)  # type: ignore[arg-type]
    expected = SessionScorer(model).score([LONG[1]], build_continuation_tree(paths), with_hidden=True)
    assert job.continuation_logprobs == pytest.approx(expected.logprobs[0], abs=2e-4)
    assert job.hidden_state == pytest.approx(expected.hidden[0], abs=2e-3)  # type: ignore[index]
    assert not scorer._prefixes  # type: ignore[attr-defined]
