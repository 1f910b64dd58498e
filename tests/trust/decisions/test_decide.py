"""`hb.decide` on a model in which everything depends on the order: levels, sets, abstention, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hash_model import HashModel
from hypothesis import given, settings
from hypothesis import strategies as st

import heatbath as hb
from heatbath.errors import BadInput
from heatbath.trust.decisions import (
    DecisionData,
    DecisionFit,
    LabelDecision,
    build_question,
    check_levels,
    fit_decisions,
    load_decision_fit,
)

MODEL = HashModel()
TEXTS = [f"text {i}" for i in range(60)]
ANIMALS = ["cat", "dog", "cats", "a dog"]
QUESTION = build_question("Which animal?", ["A", "B", "C"])


def _by_label(decision: LabelDecision) -> dict[str, float]:
    return dict(zip(decision.labels, decision.probabilities, strict=True))


@pytest.fixture(scope="module")
def fit() -> DecisionFit:
    labeled = [(text, "ABC"[i % 3]) for i, text in enumerate(TEXTS)]
    data = DecisionData(TEXTS[:30], labeled, [(f"more {i}", "ABC"[i % 3]) for i in range(25)])
    return fit_decisions(MODEL, QUESTION, data, levels=["temperature", "head"])


@settings(max_examples=10)
@given(labels=st.permutations(ANIMALS))
def test_averaged_orders_do_not_depend_on_the_order_given(labels: list[str]) -> None:
    first = hb.decide(MODEL, "Which animal?", ANIMALS, text="It barks.", level="order")
    found = hb.decide(MODEL, "Which animal?", labels, text="It barks.", level="order")
    assert found.labels == tuple(labels) and found.num_orders == 4
    assert _by_label(found) == pytest.approx(_by_label(first), abs=1e-12)
    assert found.label_mass == pytest.approx(first.label_mass)
    assert set(_by_label(found)) == set(ANIMALS) and sum(found.probabilities) == pytest.approx(1)


def test_the_raw_level_depends_on_it() -> None:
    """The negative control of the test above."""
    raw = [hb.decide(MODEL, "Which?", order, text="It barks.") for order in (ANIMALS, ANIMALS[::-1])]
    assert abs(_by_label(raw[0])["cat"] - _by_label(raw[1])["cat"]) > 1e-3
    assert raw[0].level == "raw" and raw[0].num_orders == 1 and not raw[0].has_prior


def test_raw_probabilities_are_those_of_whole_labels() -> None:
    """From the model's energies, byte by byte; "cat" has what "cats" leaves."""
    decision = hb.decide(MODEL, "Which?", ANIMALS, text="It barks.")
    question = build_question("Which?", ANIMALS)
    prompt = MODEL.encode(question.format_prompt("It barks.", (0, 1, 2, 3)) + "\n\nAnswer:")

    def probability(label: str) -> float:
        tokens = [*prompt, *f" {label}".encode()]
        total = 1.0
        for end in range(len(prompt), len(tokens)):
            energies = MODEL.open([tokens[:end]]).energies()[0]
            weights = np.exp(-(energies - energies.min()))
            total *= weights[tokens[end]] / weights.sum()
        return float(total)

    inclusive = {label: probability(label) for label in ANIMALS}
    inclusive["cat"] -= inclusive["cats"]
    mass = sum(inclusive.values())
    assert decision.label_mass == pytest.approx(mass, rel=1e-9)
    assert _by_label(decision) == pytest.approx({label: each / mass for label, each in inclusive.items()}, abs=1e-9)


def test_many_texts_are_as_one_each() -> None:
    together = hb.decide(MODEL, "Which?", ANIMALS, text=TEXTS[:20], level="order")
    for text, decision in list(zip(TEXTS, together, strict=False))[::7]:
        alone = hb.decide(MODEL, "Which?", ANIMALS, text=text, level="order")
        assert decision.probabilities == pytest.approx(alone.probabilities, abs=1e-12)


def test_offsets_remove_an_energy_on_the_label() -> None:
    """The same table with 3 nats less on "B" in every context: the fit takes exactly that away."""
    data = DecisionData(pool=TEXTS[:30])
    answers = []
    for model in (MODEL, HashModel(bias={"B": -3.0})):
        fitted = fit_decisions(model, QUESTION, data)
        answers.append(hb.decide(model, fitted, text=TEXTS[30:35]))
    for plain, biased in zip(*answers, strict=True):
        assert biased.probabilities == pytest.approx(plain.probabilities, abs=1e-6)
        assert biased.has_prior and biased.level == "order"
    raw = [hb.decide(model, QUESTION, text="t").probabilities[1] for model in (MODEL, HashModel(bias={"B": -3.0}))]
    assert raw[1] > raw[0]


def test_each_level_is_recorded(fit: DecisionFit) -> None:
    assert fit.levels == ("raw", "order", "temperature", "head") and fit.head is not None
    for level in fit.levels:
        found = hb.decide(MODEL, fit, text="hello", level=level)
        assert found.level == level
        assert found.num_orders == (3 if level in ("order", "temperature") else 1)
        assert found.has_prior == (level in ("order", "temperature"))
    order, warm = (hb.decide(MODEL, fit, text="hello", level=level) for level in ("order", "temperature"))  # type: ignore[arg-type]
    assert warm.temperature == fit.temperature and order.temperature is None
    ratio = math.log(warm.probabilities[0] / warm.probabilities[1])
    assert ratio == pytest.approx(math.log(order.probabilities[0] / order.probabilities[1]) / fit.temperature)  # type: ignore[operator]
    assert hb.decide(MODEL, fit, text="hello").level == "head"


def test_a_level_without_orders_reads_one() -> None:
    data = DecisionData(labeled=[(text, "ABC"[i % 3]) for i, text in enumerate(TEXTS)])
    alone = fit_decisions(MODEL, QUESTION, data, levels=["head"])
    assert alone.offsets == () and alone.temperature is None and alone.levels == ("raw", "order", "head")


def test_sets_of_labels(fit: DecisionFit) -> None:
    found = hb.decide(MODEL, fit, text="hello", level="temperature", alpha=0.2)
    assert found.alpha == 0.2 and found.bound is not None
    expected = [label for label, p in _by_label(found).items() if 1 - p <= found.bound]
    assert list(found.label_set or ()) == expected
    # 25 held-out texts bound no error rate below 1 / 26.
    assert hb.decide(MODEL, fit, text="hello", alpha=0.03).label_set == ("A", "B", "C")
    given_ = hb.decide(MODEL, fit, text="hello", bound=1.0)
    assert given_.label_set == ("A", "B", "C") and given_.alpha is None


def test_abstention() -> None:
    found = hb.decide(MODEL, "Which?", ANIMALS, text="x", abstain_below=1.0)
    assert found.abstains is True
    assert hb.decide(MODEL, "Which?", ANIMALS, text="x", abstain_below=0.0).abstains is False
    assert hb.decide(MODEL, "Which?", ANIMALS, text="x").abstains is None


def test_statements_and_scales() -> None:
    verdict = hb.decide(MODEL, "It barks.", text="A dog.", level="order")
    assert verdict.kind == "yes_no" and verdict.labels == ("Yes", "No") and verdict.num_orders == 2
    scale = hb.decide(MODEL, "How loud?", ["low", "middle", "high"], text="A dog.", kind="score", level="order")
    assert scale.num_orders == 2 and scale.score == pytest.approx(scale.probabilities[1] + 2 * scale.probabilities[2])
    question = build_question("How loud?", ["low", "middle", "high"], kind="score")
    texts = [question.format_prompt("A dog.", order) for order in question.list_orders()]
    assert "lowest first:\n- low" in texts[0] and "highest first:\n- high" in texts[1]


def test_fewer_rotations_are_evenly_spaced() -> None:
    question = build_question("Which?", [f"{i:02}" for i in range(6)])
    assert [order[0] for order in question.list_orders(3)] == [0, 2, 4]
    assert hb.decide(MODEL, question, text="x", level="order", rotations=2).num_orders == 2
    for wrong in (0, 7, True, 1.5):
        with pytest.raises(BadInput, match="`rotations` must be from 1 to 6"):
            question.list_orders(wrong)  # type: ignore[arg-type]


def test_a_fit_is_for_one_model(fit: DecisionFit, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    fit.save(path)
    other = HashModel(seed=1)
    for given_ in (fit, path):
        with pytest.raises(BadInput, match=r"the fit is for hash .* and the model is hash .*: fit again"):
            hb.decide(other, given_, text="x")
    with pytest.raises(BadInput, match="fit again"):
        load_decision_fit(path, other)


def test_a_fit_comes_back_from_its_file(fit: DecisionFit, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    fit.save(path)
    for level in fit.levels:
        one, two = (hb.decide(MODEL, each, text="x", level=level, alpha=None) for each in (fit, path))
        assert one == two
    assert load_decision_fit(path).held_out_scores == fit.held_out_scores


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ("[1]", "is not a decision fit"),
        ('{"kind": "heatbath phase map"}', "is not a decision fit"),
        ('{"kind": "heatbath decision fit", "schema": 99}', "has schema 99, expected 1"),
        ('{"kind": "heatbath decision fit", "schema": 1, "question": {}}', "is a damaged decision fit"),
        ('{"kind": "heatbath decision fit", "schema": 1}', "is a damaged decision fit"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "fit.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=message):
        load_decision_fit(path)
    with pytest.raises(BadInput, match="there is no file"):
        load_decision_fit(tmp_path / "none.json")


def test_a_fit_with_numbers_for_other_labels_is_damaged(fit: DecisionFit, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    fit.save(path)
    path.write_text(path.read_text().replace('"offsets": [', '"offsets": [1.0, '))
    with pytest.raises(BadInput, match="numbers for other than its 3 labels"):
        load_decision_fit(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "from 2 to 255 labels, got 0"),
        (["one"], "from 2 to 255 labels, got 1"),
        (["a", "a"], "'a' and 'a' are equal"),
        (["Yes", "yes "], "'Yes' and 'yes ' are equal"),
        (["caf\u00e9", "cafe\u0301"], "are equal but for case, spaces and Unicode form"),
        (["stra\u00dfe", "STRASSE"], "are equal"),
        (["a  b", "A b"], "are equal"),
        (["a", " "], "is empty"),
        (["a", 1], "no text"),
        ("ab", "give a list of labels"),
        ({"a": 1, "b": None}, "the description 1 is no text"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        hb.decide(MODEL, "Which?", options, text="x")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"text": ""}, "text 0 is ''"),
        ({"text": " \n"}, "give a text"),
        ({"text": []}, "there is no text"),
        ({"text": None}, "text 0 is None"),
        ({"text": ["a", None]}, "text 1 is None"),
        ({"text": "x", "level": "best"}, "`level` must be raw, order, temperature or head, got 'best'"),
        ({"text": "x", "level": "temperature"}, "the level temperature needs a fit"),
        ({"text": "x", "level": "head"}, "the level head needs a fit"),
        ({"text": "x", "alpha": 0.1}, "needs held-out texts"),
        ({"text": "x", "alpha": 2}, "`alpha` must be in"),
        ({"text": "x", "bound": float("nan")}, "`bound` must be from 0 to 1"),
        ({"text": "x", "abstain_below": 7}, "`abstain_below` must be from 0 to 1, got 7"),
        ({"text": "x", "kind": "rank"}, "`kind` must be choice, yes_no or score"),
        ({"text": "x", "kind": "yes_no"}, "leave `options` out"),
        ({"text": "x", "layout": "x"}, "`layout` must be"),
        ({"text": "x", "tokenizations": "x"}, "`tokenizations` must be"),
        ({"text": "x", "alpha": 0.1, "bound": 0.1}, "not both"),
    ],
)
def test_bad_settings(how: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        hb.decide(MODEL, "Which?", ["a", "b"], **how)


def test_settings_of_a_fit_cannot_be_changed(fit: DecisionFit) -> None:
    for how in ({"rotations": 2}, {"layout": "input_first"}, {"kind": "choice"}):
        with pytest.raises(BadInput, match="is settled by the fit"):
            hb.decide(MODEL, fit, text="x", **how)  # type: ignore[call-overload]
    with pytest.raises(BadInput, match="`options` is settled"):
        hb.decide(MODEL, fit, ["a", "b"], text="x")
    with pytest.raises(BadInput, match="the question is ''"):
        hb.decide(MODEL, "", ["a", "b"], text="x")


@pytest.mark.parametrize(
    ("data", "levels", "message"),
    [
        (DecisionData(), None, "needs 20 texts without labels, got 0"),
        (DecisionData(pool=TEXTS[:7]), None, "got 7: give 13 more"),
        (DecisionData(pool=TEXTS), ["temperature"], "temperature needs 50 labeled texts, got 0"),
        (DecisionData(labeled=[("x", "A")] * 59), ["head"], "head needs 60 labeled texts, got 59: give 1 more"),
        (DecisionData(labeled=[("x", "A")] * 60), ["head"], "5 texts of each label, got 0 of 'B': give 5 more"),
        (DecisionData(labeled=[("x", "D")]), None, "the label 'D' of labeled text 0 is none of the question's"),
        (DecisionData(labeled=["x"]), None, "give pairs of a text and its label"),  # type: ignore[list-item]
        (DecisionData(pool=TEXTS), ["raw"], "nothing to fit"),
        (DecisionData(pool=TEXTS), "head", "give a list of levels"),
    ],
)
def test_fits_say_how_many_texts_are_missing(data: DecisionData, levels: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        fit_decisions(MODEL, QUESTION, data, levels=levels)


def test_a_check_names_the_levels() -> None:
    found = {each.level: each.is_supported for each in check_levels(MODEL)}
    assert found == {"raw": True, "order": True, "temperature": True, "head": True}
    table = hb.TableModel.random(0, 3, 2)
    assert not any(each.is_supported for each in check_levels(table))


def test_tokenizations_are_stated() -> None:
    found = hb.decide(MODEL, "Which?", ["A", "B"], text="x", tokenizations="all")
    assert found.tokenizations == "all"
    # Bytes have one tokenization.
    assert found.probabilities == hb.decide(MODEL, "Which?", ["A", "B"], text="x").probabilities
