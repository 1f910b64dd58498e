"""Levels of /v1/decisions: the raw read-out stays as it is, and the level beside it is that of `hb.decide`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, server, started

import heatbath as hb
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.trust.decisions import DecisionData, DecisionFit, build_question, fit_decisions

sys.path.insert(0, str(Path(__file__).parents[2] / "trust" / "decisions"))
from hash_model import HashModel

MODEL = HashModel()
LABELS = ["cat", "dog", "cats"]
INPUT = "It barks."


def _choice(labels: list[str] = LABELS, **more: Any) -> dict[str, Any]:
    return {"type": "choice", "instructions": "Which?", "choices": [{"value": each} for each in labels], **more}


SCALE = {"type": "score", "instructions": "How loud?", "levels": [{"label": "low"}, {"label": "high"}]}
STATEMENT = {"type": "predicate", "instructions": "It is a dog."}


@pytest.fixture(scope="module")
def fit() -> DecisionFit:
    labeled = [(f"text {i}", LABELS[i % 3]) for i in range(60)]
    data = DecisionData(labeled=labeled, held_out=[(f"more {i}", LABELS[i % 3]) for i in range(20)])
    question = build_question("Which?", LABELS[::-1])
    return fit_decisions(MODEL, question, data, levels=["temperature", "head"])


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with started(server(LocalEngine(MODEL, config=EngineConfig(warm_up=False)))) as made:
        yield made


@pytest.fixture
def fitted(served: Server, fit: DecisionFit) -> Iterator[Server]:
    fits: Any = served.services.decision_fits
    fits[fit.question.digest] = fit
    yield served
    fits.clear()


def ask(made: Server, *questions: Any, thermo: Any = None, input: str = INPUT) -> Any:
    body = {"input": input, "questions": list(questions), **({} if thermo is None else {"thermo": thermo})}
    return made.post("/v1/decisions", body)


def test_the_raw_read_out_stays_as_it_is(served: Server) -> None:
    questions = [_choice(), SCALE, STATEMENT]
    plain, leveled = ask(served, *questions).json(), ask(served, *questions, thermo={}).json()
    for before, after in zip(plain["answers"], leveled["answers"], strict=True):
        assert "thermo" not in before and after.pop("thermo")["level"] == "order"
        assert after == before
    assert leveled["usage"]["input_tokens"] > plain["usage"]["input_tokens"]


def test_the_level_is_that_of_decide(served: Server) -> None:
    answers = ask(served, _choice(), SCALE, STATEMENT, thermo={"level": "order"}).json()["answers"]
    expected = [
        hb.decide(MODEL, "Which?", LABELS, text=INPUT, level="order"),
        hb.decide(MODEL, "How loud?", ["low", "high"], kind="score", text=INPUT, level="order"),
        hb.decide(MODEL, "It is a dog.", text=INPUT, level="order"),
    ]
    for answer, decision in zip(answers, expected, strict=True):
        found = answer["thermo"]
        assert found["probabilities"] == pytest.approx(list(decision.probabilities), abs=1e-12)
        assert found["label_mass"] == pytest.approx(decision.label_mass)
        assert found["num_orders"] == decision.num_orders and not found["calibrated"] and not found["has_prior"]
        assert found.keys() == {
            "level", "probabilities", "confidence", "calibrated", "label_mass", "num_orders", "has_prior",
        }  # fmt: skip


def test_the_order_of_the_choices_does_not_matter(served: Server) -> None:
    one = ask(served, _choice(), thermo={"level": "order"}).json()["answers"][0]["thermo"]["probabilities"]
    two = ask(served, _choice(LABELS[::-1]), thermo={"level": "order"}).json()["answers"][0]["thermo"]["probabilities"]
    assert one == pytest.approx(two[::-1], abs=1e-12)


@pytest.mark.parametrize("level", ["order", "temperature", "head"])
def test_a_fit_serves_its_question_in_any_order(fitted: Server, fit: DecisionFit, level: Any) -> None:
    found = ask(fitted, _choice(), thermo={"level": level}).json()["answers"][0]["thermo"]
    decision = hb.decide(MODEL, fit, text=INPUT, level=level)
    by_label = dict(zip(decision.labels, decision.probabilities, strict=True))
    assert found["probabilities"] == pytest.approx([by_label[label] for label in LABELS], abs=1e-9)
    assert found["calibrated"] == (level != "order") and found["has_prior"] == (level != "head")


def test_sets_and_abstention(fitted: Server) -> None:
    thermo = {"level": "temperature", "alpha": 0.2, "abstain_below": 0.999}
    found = ask(fitted, _choice(), thermo=thermo).json()["answers"][0]["thermo"]
    assert found["abstain"] is True and set(found["label_set"]) <= set(LABELS) and found["alpha"] == 0.2
    everything = ask(fitted, _choice(), thermo={"alpha": 0.01}).json()["answers"][0]["thermo"]
    assert everything["label_set"] == LABELS and everything["level"] == "head"
    given = ask(fitted, _choice(), thermo={"level": "order", "bound": 1.0}).json()["answers"][0]["thermo"]
    assert given["label_set"] == LABELS and "alpha" not in given


@pytest.mark.parametrize(
    ("thermo", "questions", "message"),
    [
        ({"level": "head"}, [_choice()], "the level head needs a fit for questions[0]"),
        ({"level": "temperature"}, [STATEMENT], "trust.decisions of the server has none"),
        ({"alpha": 0.1}, [_choice()], "needs held-out texts"),
        ({"alpha": 3}, [_choice()], "`alpha` must be in (0, 1)"),
        ({"rotations": 9}, [_choice()], "`rotations` must be from 1 to 3, got 9"),
        ({"levle": "order"}, [_choice()], "levle"),
        ({"level": "best"}, [_choice()], "best"),
        ({}, [_choice(["a", "A "])], "are equal but for case, spaces"),
        ({}, [_choice([f"{i:03}" for i in range(250)])] * 3, "asked in 750 orders of their options"),
    ],
)
def test_refusals(served: Server, thermo: Any, questions: list[Any], message: str) -> None:
    answer = ask(served, *questions, thermo=thermo)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"], answer.text


def test_labels_that_are_nearly_equal_are_raw_answers_still(served: Server) -> None:
    assert ask(served, _choice(["a", "A "])).status_code == 200


def test_an_empty_input_is_refused_at_a_level(served: Server) -> None:
    assert ask(served, _choice(), thermo={}, input=" ").status_code == 400


def test_a_fit_of_another_model_is_not_used(fitted: Server, fit: DecisionFit) -> None:
    from dataclasses import replace

    fits: Any = fitted.services.decision_fits
    fits[fit.question.digest] = replace(fit, fingerprint="sha256:0000")
    answer = ask(fitted, _choice(), thermo={})
    assert answer.status_code == 503 and "fit again with this model" in answer.json()["error"]["message"]


def test_fits_are_read_at_the_start(fit: DecisionFit, tmp_path: Path) -> None:
    from heatbath.errors import BadInput
    from heatbath.serve.services import _load_decision_fits
    from heatbath.serve.settings import Settings

    path = tmp_path / "fit.json"
    fit.save(path)
    found = _load_decision_fits(Settings(trust={"decisions": [str(path)]}))  # type: ignore[arg-type]
    assert list(found) == [fit.question.digest]
    with pytest.raises(BadInput, match="is the second fit"):
        _load_decision_fits(Settings(trust={"decisions": [str(path), str(path)]}))  # type: ignore[arg-type]
