"""From a model and questions to a calibrator: `hb.calibrate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from heatbath.errors import BadInput, suggest_name
from heatbath.models.base import Model
from heatbath.record import Provenance
from heatbath.trust.calibration.answer_collection import AnswerPlan, Progress, collect_answers
from heatbath.trust.calibration.calibration_data import CalibrationData, read_calibration_data
from heatbath.trust.calibration.calibration_study import StudyPlan, analyze_answers
from heatbath.trust.calibration.calibrator import Calibrator
from heatbath.trust.calibration.calibrator_content import DataDescription, build_content

Source = str | Path | Sequence[Mapping[str, Any]] | CalibrationData


class CalibrationOptions(TypedDict, total=False):
    """The fields of `AnswerPlan` as keyword arguments of `hb.calibrate`; `stop` and `signals` are one or several."""

    temperature: float
    max_tokens: int
    chat: bool | None
    system: str | None
    stop: str | Sequence[str]
    samples: int
    sample_temperature: float
    signals: str | Sequence[str]
    seed: int
    batch: int


def calibrate(
    model: Model,
    data: Source,
    *,
    plan: StudyPlan | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[CalibrationOptions],
) -> Calibrator:
    """Find out how far the signals of a model's answers tell right ones from wrong ones.

    The model answers every question, a grader labels the answers, and the questions are split at random: one part
    chooses signal, aggregation and fit by cross-validation, one shows the error rate of a threshold, and one is held
    out for the report. Duplicates and near duplicates are in one part.

    Args:
        model: any model.
        data: a file of JSON lines with `prompt` and `answer`, the name of a question set, the objects themselves, or
            what `read_calibration_data` returns.
        plan: the guarantee that is asked for, and what may be chosen; an error rate of 0.1 with confidence 0.9. Its
            seed is that of everything random, unless `seed` is given.
        out: a folder for the answers; an interrupted run continues there.
        progress: called with (questions answered, questions in all) after each batch.
        **options: fields of `AnswerPlan`, such as max_tokens=16, samples=10 or chat=False.

    Raises:
        BadInput: fewer questions than the guarantee needs, answers of one kind only, or a question that is invalid.
        NotANumber: the model gave NaN.
    """
    if not (hasattr(model, "open") and hasattr(model, "vocabulary")):
        raise BadInput(f"model is {model!r:.60}: give a model, such as heatbath.load('smollm2-135m').", param="model")
    plan = plan or StudyPlan()
    answer_plan = build_answer_plan({"seed": plan.seed, **options}).resolve(model)
    questions = data if isinstance(data, CalibrationData) else read_calibration_data(data)
    plan.require_questions(len(questions))
    folder = None if out is None else Path(out)
    answers = collect_answers(model, questions, answer_plan, folder=folder, progress=progress)
    chosen, study = analyze_answers(questions, answers, replace(plan, seed=answer_plan.seed))
    right = sum(answer.label for answer in answers)
    content = build_content(
        Provenance.from_model(model),
        DataDescription(questions.name, questions.digest, len(questions), right),
        {**answer_plan.settings(model), "seed": answer_plan.seed},
        fit=chosen.fit,
        study=study,
    )
    return Calibrator(content, chosen.fit, study)


def build_answer_plan(options: Mapping[str, Any]) -> AnswerPlan:
    """Return the plan of keyword arguments.

    Raises:
        BadInput: an argument that the plan does not have, or a value out of range.
    """
    names = [field.name for field in fields(AnswerPlan)]
    for name in options:
        if name not in names:
            hint = suggest_name(name, names)
            raise BadInput(f"calibrate has no argument {name!r}{hint}: see help(heatbath.calibrate).")
    values = dict(options)
    for name in ("stop", "signals"):
        if name in values:
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    return AnswerPlan(**values)
