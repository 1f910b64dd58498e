"""From questions to a calibrator on an exact model; its file, its refusals, and an interrupted run."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from quiz_model import QuizModel, build_questions

import heatbath as hb
from heatbath.errors import BadInput
from heatbath.trust.calibration import ErrorTarget, FitChoice, StudyPlan, load_calibrator
from heatbath.trust.calibration.answer_file import ANSWER_FILE
from heatbath.trust.calibration.calibration_run import build_answer_plan
from heatbath.trust.calibration.report_words import build_calibration_verdicts
from heatbath.trust.signals import Evidence, SignalValue

SIGNALS = ("logprob@1:mean", "logprob@1:sum", "entropy@1:mean", "log_z@1:max", "log_z@1:mean")
PLAN = StudyPlan(ErrorTarget(0.3, 0.9), FitChoice(fits=("platt", "temperature", "isotonic", "logistic")))
COUNT = 400


@pytest.fixture(scope="module")
def model():
    return QuizModel()


@pytest.fixture(scope="module")
def questions(model):
    return build_questions(model, COUNT)


@pytest.fixture(scope="module")
def calibrator(model, questions):
    return hb.calibrate(model, questions, plan=PLAN, signals=SIGNALS, max_tokens=4, batch=100)


def ask(model, prompt, temperature=0.0):
    return hb.generate(model, prompt, temperature=temperature, max_tokens=4).trace(0)


def test_confidence_is_the_share_that_is_right(model, calibrator):
    """The model knows its own chance of being right, so that the probability of the answer needs no correction."""
    study = calibrator.study
    assert study.held_out["ECE, equal mass"].value < 0.12
    assert study.held_out["AUROC"].low > 0.6
    assert 0.2 < study.held_out.accuracy.value < 0.9
    fresh = build_questions(model, 600, seed=1)
    traces = hb.generate(model, [entry["prompt"] for entry in fresh], temperature=0, max_tokens=4).traces
    confidence = calibrator.confidences(traces)
    right = np.array([trace.text[0] == entry["answer"] for trace, entry in zip(traces, fresh, strict=True)])
    # The standard error of the mean of 600 labels is 2 %.
    assert confidence.mean() == pytest.approx(right.mean(), abs=0.08)
    top = confidence > np.quantile(confidence, 0.8)
    assert right[top].mean() > right[~top].mean() + 0.2
    assert calibrator.confidence(traces[0]) == pytest.approx(confidence[0])


def test_the_threshold_abstains(model, calibrator):
    threshold = calibrator.guarantee.threshold
    assert threshold is not None and "independent" in calibrator.guarantee.assumption
    trace = ask(model, "12345")
    assert calibrator.abstains(trace) == (calibrator.confidence(trace) < threshold)
    nothing = replace(
        calibrator, content=replace(calibrator.content, guarantee=replace(calibrator.guarantee, threshold=None))
    )
    assert nothing.abstains(trace)


def test_raw_log_z_is_said_to_depend_on_the_gauge(calibrator):
    effects = {one.name: one for one in calibrator.study.gauge}
    assert effects["log_z@1:max"].moves and not effects["logprob@1:mean"].moves
    assert all(one.is_as_stated for one in effects.values())
    claim = build_calibration_verdicts(calibrator.study)[3]
    assert claim.title == "Is log Z a signal?" and claim.statement == "not shown"
    assert "moves no signal that is said to be gauge-invariant" in claim.reason


def test_the_same_seed_gives_the_same_calibrator(model, questions, calibrator):
    again = hb.calibrate(model, questions, plan=PLAN, signals=SIGNALS, max_tokens=4, batch=37)
    assert replace(again.content, created="") == replace(calibrator.content, created="")


def test_a_file_restores_the_calibrator_and_has_what_it_needs(model, calibrator, tmp_path):
    calibrator.save(tmp_path / "calibrator.json")
    again = load_calibrator(tmp_path, fingerprint=model.fingerprint)
    assert again == calibrator and again.study is None
    assert again.confidence(ask(model, "54321")) == calibrator.confidence(ask(model, "54321"))
    content = json.loads((tmp_path / "calibrator.json").read_text())
    assert content["kind"] == "heatbath calibrator" and content["schema"] == 1
    assert content["model"]["fingerprint"] == model.fingerprint
    assert content["data"]["digest"].startswith("sha256:") and content["data"]["questions"] == COUNT
    assert content["settings"]["temperature"] == 0 and content["settings"]["max_tokens"] == 4
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", content["created"])
    with pytest.raises(BadInput, match="read from a file has no report"):
        again.report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["calibrator.json"]


def change(content, path, value):
    *parents, last = path.split(".")
    target = content
    for name in parents:
        target = target[name]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema", 99, "has schema 99, expected 1"),
        ("kind", "heatbath phase map", "is not a calibrator: write one with `heatbath calibrate`"),
        ("fit.name", "plat", "is a damaged calibrator|`fit` must be one of"),
        ("fit.parameters", {}, "is a damaged calibrator"),
        ("guarantee", None, "is a damaged calibrator"),
        ("signals", [], "is a damaged calibrator"),
        ("signals", ["entropie"], "there is no signal"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(calibrator, tmp_path, path, value, words):
    file = tmp_path / "c.json"
    calibrator.save(file)
    file.write_text(json.dumps(change(json.loads(file.read_text()), path, value)))
    with pytest.raises(BadInput, match=words) as caught:
        load_calibrator(file)
    assert "\n" not in str(caught.value)


def test_another_model_other_settings_and_other_evidence_are_refused(model, calibrator, tmp_path):
    other = QuizModel(seed=7)
    with pytest.raises(
        BadInput, match="the calibrator is for quiz with the fingerprint sha256:.*run heatbath calibrate"
    ):
        calibrator.confidence(ask(other, "12345"))
    with pytest.raises(BadInput, match=r"the calibrator is for temperature = 0.0, got 0.7"):
        calibrator.confidence(ask(model, "12345", temperature=0.7))
    with pytest.raises(BadInput, match="the calibrator is for max_tokens = 4, got 8"):
        calibrator.validate_model(model.fingerprint, {"max_tokens": 8, "temperature": 0.0})
    calibrator.validate_model(model.fingerprint, {"max_tokens": 4})
    with pytest.raises(BadInput, match="of this calibrator has no value here"):
        calibrator.confidence(Evidence(text="A"))
    bounds = {name: [SignalValue.interval(0.1, 0.2)] for name in calibrator.signals}
    with pytest.raises(BadInput, match="record all log-probabilities in place of a top-k list"):
        calibrator.predict(bounds)
    with pytest.raises(BadInput, match="this calibrator needs the signal"):
        calibrator.predict({})
    calibrator.save(tmp_path / "c.json")
    with pytest.raises(BadInput, match="the calibrator is for quiz"):
        load_calibrator(tmp_path / "c.json", fingerprint=other.fingerprint)


def test_an_interrupted_run_continues(model, questions, calibrator, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done >= 150:
            raise Stop

    options = {"plan": PLAN, "signals": SIGNALS, "max_tokens": 4, "batch": 50, "out": tmp_path}
    with pytest.raises(Stop):
        hb.calibrate(model, questions, progress=stop, **options)
    path = tmp_path / ANSWER_FILE
    assert len(path.read_text().splitlines()) == 151
    path.write_text(path.read_text()[:-40])  # the last line was written in part
    seen = []
    again = hb.calibrate(model, questions, progress=lambda done, total: seen.append(done), **options)
    assert seen[0] == 149 and seen[-1] == COUNT
    assert replace(again.content, created="", settings={}) == replace(calibrator.content, created="", settings={})
    with pytest.raises(BadInput, match="holds the answers of another model, other questions or other settings"):
        hb.calibrate(model, questions, **{**options, "max_tokens": 5})
    path.write_text(path.read_text().replace('"label"', '"lable"', 1))
    with pytest.raises(BadInput, match="is damaged"):
        hb.calibrate(model, questions, **options)


def test_ready_answers_are_measured_in_place_of_the_models(model, questions):
    rng = np.random.default_rng(0)
    entries = [
        {
            "prompt": entry["prompt"],
            "response": "ABCDEFGH"[rng.integers(8)],
            "answer": entry["answer"],
            "grader": "exact",
        }
        for entry in questions
    ]
    found = hb.calibrate(model, entries, plan=PLAN, signals=SIGNALS, max_tokens=4, batch=200, temperature=1.0)
    assert found.content.data.right < 0.4 * COUNT
    assert found.study.held_out["AUROC"].value > 0.6


def test_samples_bring_signals_of_several_answers(model, questions):
    found = hb.calibrate(
        model, questions, plan=PLAN, samples=4, signals=("answer_frequency", "logprob@1:mean"), max_tokens=4, batch=200
    )
    names = {one.column.name: one.column for one in found.study.ranking.signals}
    assert names["answer_frequency"].cost >= 4 and names["logprob@1:mean"].cost == 0
    assert found.content.settings["samples"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": [{"prompt": "1", "answer": "A"}] * 30}, "needs at least 24 different questions|too few"),
        ({"signal": ("entropy",), "signals": ()}, "calibrate has no argument 'signal' .did you mean"),
        ({"max_tokens": 0}, "`max_tokens` must be an integer of at least 1"),
        ({"samples": -1}, "`samples` must be an integer of at least 0"),
        ({"system": "be brief"}, "a system message needs a chat template"),
        ({"model": "smollm2-135m"}, "give a model, such as"),
        ({"signals": ("entropie",)}, "there is no signal"),
    ],
)
def test_bad_input_is_one_sentence(model, questions, change, words):
    arguments = {"model": model, "data": questions, "plan": PLAN, "signals": SIGNALS, "max_tokens": 4} | change
    with pytest.raises(BadInput, match=words) as caught:
        hb.calibrate(arguments.pop("model"), arguments.pop("data"), **arguments)
    assert "\n" not in str(caught.value)


def test_too_few_questions_say_how_many_are_needed(model, questions):
    with pytest.raises(
        BadInput, match=r"needs at least 197 different questions, of which 30% test the threshold, got 150"
    ):
        hb.calibrate(model, questions[:150], plan=StudyPlan(ErrorTarget(0.05, 0.95)))


def test_answers_of_one_kind_are_refused(model, questions):
    wrong = [{**entry, "answer": "Z"} for entry in questions]
    with pytest.raises(BadInput, match="labels of one kind, 0 right of"):
        hb.calibrate(model, wrong, plan=PLAN, signals=SIGNALS, max_tokens=4, batch=200)


def test_a_plan_takes_one_text_or_several():
    assert build_answer_plan({"stop": "\n", "signals": "entropy"}).stop == ("\n",)
