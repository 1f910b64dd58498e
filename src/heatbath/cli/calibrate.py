"""`heatbath calibrate`: the confidence of a model's answers, checked against being right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import ChatMode, Device, Dtype, ModelName, ScorerName, Seed, StopTexts, SystemMessage
from heatbath.cli.output_files import Force, validate_output_file, validate_output_folder
from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.trust.calibration import CalibrationData, Calibrator, StudyPlan

REPORT_FILES = ("report.html", "report.json", "calibrator.json")


def calibrate(
    *,
    data: Annotated[
        str,
        typer.Option(help='JSON lines with "prompt" and "answer", or a question set such as arithmetic.'),
    ],
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    count: Annotated[int | None, typer.Option(help="Questions of a set.", show_default="500")] = None,
    max_error: Annotated[float, typer.Option(help="Largest error rate among answered questions.")] = 0.1,
    confidence: Annotated[float, typer.Option(help="Confidence of that bound.")] = 0.9,
    rule: Annotated[str, typer.Option(help="Test: fixed-sequence or learn-then-test.")] = "fixed-sequence",
    fit: Annotated[
        list[str] | None, typer.Option(help="Fit that may be chosen; repeatable.", show_default="all")
    ] = None,
    signal: Annotated[
        list[str] | None, typer.Option(help="Signal, such as entropy:max; repeatable.", show_default="all")
    ] = None,
    samples: Annotated[int, typer.Option(help="Further answers per question, for signals of several.")] = 0,
    temperature: Annotated[float, typer.Option(help="Temperature of the answers; 0 takes the best token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 32,
    stop: StopTexts = None,
    chat: ChatMode = None,
    system: SystemMessage = None,
    scorer: ScorerName = None,
    judge: Annotated[
        str | None, typer.Option(help="Model that grades in place of the graders.", show_default=False)
    ] = None,
    seed: Seed = 0,
    batch: Annotated[int, typer.Option(help="Questions per batch.")] = 32,
    out: Annotated[Path, typer.Option(help="Folder for the report, or a .json file for the calibrator alone.")] = Path(
        "calibration"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Continue with the answers in the folder.")] = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibrator in place of the verdicts.")] = False,
) -> None:
    """Find out which answers to trust, and write a calibrator.

    The model answers the questions and a grader labels the answers. A signal and a fit are chosen on one part of them,
    a threshold with a guaranteed error rate is tested on another, and the report shows held-out answers. Ctrl-C keeps
    the answers that are there; --resume continues.
    """
    from heatbath.models import load
    from heatbath.trust.calibration import AnswerPlan, read_calibration_data
    from heatbath.trust.calibration.model_judge import build_model_judge
    from heatbath.user_functions import import_function

    plan = _build_plan(max_error=max_error, confidence=confidence, rule=rule, fits=fit)
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "chat": chat, "system": system}
    options |= {"samples": samples, "signals": tuple(signal or ()), "stop": tuple(stop or ()), "seed": seed}
    options["batch"] = batch
    AnswerPlan(**options)
    _validate_signals(signal or [])
    questions = read_calibration_data(
        data,
        scorer=import_function(scorer) if scorer else None,
        judge=build_model_judge(load(judge)) if judge else None,
        count=count,
    )
    plan.require_questions(len(questions))
    _validate_out(out, resume=resume, force=force)
    calibrator = _run(load(model, dtype=dtype, device=device), questions, plan, (out, options))
    _write_result(calibrator, out, as_json)


def _build_plan(*, max_error: float, confidence: float, rule: str, fits: list[str] | None) -> StudyPlan:
    from heatbath.trust.calibration import ErrorTarget, FitChoice, StudyPlan

    target = ErrorTarget(max_error, confidence, rule.replace("-", " "))
    return StudyPlan(target, FitChoice(fits=tuple(fits)) if fits else FitChoice())


def _validate_signals(names: list[str]) -> None:
    from heatbath.trust.signals import SIGNALS

    for name in names:
        SIGNALS.find(name)


def _is_file(out: Path) -> bool:
    return out.suffix.lower() == ".json"


def _validate_out(out: Path, *, resume: bool, force: bool) -> None:
    """Check before any work that the folder or file can be used."""
    from heatbath.trust.calibration.answer_file import ANSWER_FILE

    if resume and force:
        raise BadInput("--resume continues what is there and --force overwrites it: give one of them.")
    if _is_file(out):
        if resume:
            raise BadInput("--resume continues the answers in a folder: give a folder for --out.")
        validate_output_file(out, "JSON", force=force)
        return
    answers = out / ANSWER_FILE
    if answers.exists() and not (resume or force):
        raise BadInput(
            f"{out} holds the answers of a calibration: add --resume to continue it, --force to overwrite it, "
            "or give another --out."
        )
    validate_output_folder(out, REPORT_FILES, force=resume or force)
    if force:
        answers.unlink(missing_ok=True)


def _run(model: Any, data: CalibrationData, plan: StudyPlan, job: tuple[Path, dict[str, Any]]) -> Calibrator:
    from heatbath.trust import calibration

    out, options = job
    folder = None if _is_file(out) else out
    done = 0
    try:
        with show_progress("answers", "calibrating") as advance:

            def count_answers(answered: int, total: int) -> None:
                nonlocal done
                done = answered
                advance(answered, total)

            return calibration.calibrate(model, data, plan=plan, out=folder, progress=count_answers, **options)
    except KeyboardInterrupt:
        if folder is not None and done:
            print(
                f"heatbath: {done} of {len(data)} answers are saved: continue with the same command and --resume",
                file=sys.stderr,
            )
        raise


def _write_result(calibrator: Calibrator, out: Path, as_json: bool) -> None:
    from heatbath.trust.calibration.calibrator_content import CALIBRATOR_FORMAT

    if _is_file(out):
        calibrator.save(out)
        place = f"The calibrator is {out}"
    else:
        place = f"The report is {calibrator.report(out)}"
    if as_json:
        print(json.dumps(CALIBRATOR_FORMAT.dump(calibrator.content), ensure_ascii=False, allow_nan=False))
        print(f"heatbath: {place[:1].lower()}{place[1:]}", file=sys.stderr)
        return
    _print_verdicts(calibrator, place)


def _print_verdicts(calibrator: Calibrator, place: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from heatbath.pages.html_parts import replace_control_characters
    from heatbath.trust.calibration.report_words import build_calibration_verdicts

    assert calibrator.study is not None
    console = Console(highlight=False, markup=False)
    table = Table(box=None, padding=(0, 2, 1, 0), show_header=False)
    for verdict in build_calibration_verdicts(calibrator.study):
        head = Text(verdict.title, style="bold")
        table.add_row(head, Text(verdict.statement), Text(replace_control_characters(verdict.reason), style="dim"))
    console.print(table)
    console.print(place, soft_wrap=True)
