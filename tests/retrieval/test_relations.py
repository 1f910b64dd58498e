"""Passages that repeat or contradict one another, triggers, and thresholds of support."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from passages import make_passages

from heatbath.errors import BadInput
from heatbath.models.exact.urn import UrnModel
from heatbath.retrieval.passage_relations import (
    PassageRelation,
    RelationRequest,
    build_relation_requests,
    group_repeats,
    measure_relations,
)
from heatbath.retrieval.support_threshold import SupportThreshold, choose_threshold, load_threshold
from heatbath.retrieval.triggers import Trigger


def test_energies_say_what_is_repeated_and_where_it_is_contradicted() -> None:
    request = RelationRequest(2, (1, 3, 4), ((0,), (5,), (1,), (2,), (3,)), ((5,), (5, 6), (5, 6, 7)))
    energies = [[4.0, 4.0, 4.0], [3.0, 0.1, 0.1], [3.0, 0.2, 0.1], [3.0, 0.2, 2.2], [3.9, 3.0, 3.0]]
    found = request.read(-np.cumsum(energies, axis=1))
    assert [(one.first, one.second, one.kind, one.place) for one in found] == [
        (1, 2, "repeats", 1),
        (3, 2, "contradicts", 2),
    ]
    assert found[1].rise == pytest.approx(2.1) and found[0].explained == pytest.approx(1 - 3.3 / 12)


def test_only_passages_with_the_same_words_are_compared() -> None:
    passages = make_passages(["the cat sat on the mat", "rain falls in spain", "the cat sat on a mat"])
    encoded = [[1, 1], [0, 0], [1, 1, 1]]
    requests = build_relation_requests(passages, encoded, (0,))
    assert [(each.second, each.firsts) for each in requests] == [(3, (1,))]
    assert requests[0].prompts == ((0,), (0, 1, 1, 1), (0, 1, 1)) and requests[0].paths == ((1,), (1, 1), (1, 1, 1))


@pytest.mark.weights
def test_the_default_model_sees_a_copy_and_a_changed_word(load_once: object) -> None:
    from heatbath.models.session_scoring import build_continuation_scorer

    model = load_once("smollm2-135m", dtype="float32")  # type: ignore[operator]
    text = "The bridge over the river was opened in 1932 and has a span of five hundred metres between its towers."
    passages = make_passages(
        [text, text, text.replace("opened in 1932", "opened in 1957"), "Cats sleep for most of a day."]
    )
    encoded = [model.encode(each.text, document_start=False) for each in passages]
    requests = build_relation_requests(passages, encoded, model.vocabulary.start_token_ids)
    found = measure_relations(build_continuation_scorer(model), requests)
    kinds = {(one.first, one.second): one.kind for one in found}
    assert kinds == {(1, 2): "repeats", (1, 3): "contradicts", (2, 3): "contradicts"}
    place = next(one.place for one in found if one.second == 3)
    assert model.decode(encoded[2][place : place + 1]) in "1957"


def test_groups_are_joined_through_others() -> None:
    pairs = [(1, 2), (3, 4), (2, 4), (5, 6)]
    relations = [PassageRelation(first, second, "repeats", 0.9, 0.0, 0) for first, second in pairs]
    contradiction = PassageRelation(6, 7, "contradicts", 0.9, 5.0, 0)
    assert group_repeats([*relations, contradiction]) == [(1, 2, 3, 4), (5, 6)]


def test_triggers() -> None:
    assert Trigger("always").fires() and not Trigger("never").fires()
    uncertain = Trigger("uncertainty", threshold=1.5)
    assert uncertain.needs_draft and uncertain.fires(value=1.6) and not uncertain.fires(value=1.5)
    assert uncertain.fires(value=float("nan"))
    fired = np.mean([Trigger("random", rate=0.3).fires(seed=seed) for seed in range(2000)])
    assert abs(fired - 0.3) < 0.05  # five standard errors
    for wrong in (lambda: Trigger("uncertainty"), lambda: Trigger("random", rate=2.0), lambda: uncertain.fires()):
        with pytest.raises(BadInput):
            wrong()


def test_a_threshold_bounds_the_error_of_the_next_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors = [
        float((rng.normal(size=200) >= choose_threshold(list(rng.normal(size=99)), 0.1)).mean()) for _ in range(300)
    ]
    assert abs(np.mean(errors) - 0.1) < 0.01
    with pytest.raises(BadInput, match="too few"):
        choose_threshold([0.0] * 5, 0.1)
    model = UrnModel()
    threshold = SupportThreshold(1.5, 0.1, 99, "sentence", model.fingerprint)
    threshold.save(tmp_path / "support.json")
    assert load_threshold(tmp_path / "support.json") == threshold
    threshold.validate_model(model)
    with pytest.raises(BadInput, match="another model"):
        threshold.validate_model(UrnModel(2.0))
