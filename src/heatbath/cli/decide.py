"""`heatbath decide`: check which levels a model supports, fit a question, and answer it for texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import Device, Dtype, ModelName
from heatbath.cli.output_files import Force, validate_output_file
from heatbath.errors import BadInput, format_value

if TYPE_CHECKING:
    from heatbath.trust.decisions import DecisionQuestion, LabelDecision

app = typer.Typer(
    help="Answer questions with labels: check a model, fit a question, decide about texts.",
    no_args_is_help=True,
    add_completion=False,
)

QuestionText = Annotated[
    str | None, typer.Option(help="Question, or without labels a statement to judge.", show_default=False)
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="A label, or label=description; repeatable.", show_default=False),
]
KindName = Annotated[str | None, typer.Option(help="choice, yes_no or score.", show_default=False)]
LayoutName = Annotated[str, typer.Option(help="options_first or input_first.")]
Rotations = Annotated[int | None, typer.Option(help="Orders of the options to average over.", show_default="all")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="Catalog name, hub id, folder or .gguf file.")] = "smollm2-135m",
    *,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Print which levels a model supports, and what each takes."""
    from heatbath.models import load
    from heatbath.trust.decisions import check_levels

    for each in check_levels(load(model, dtype=dtype, device=device)):
        if as_json:
            typer.echo(json.dumps({"level": each.level, "supported": each.is_supported, "reason": each.reason}))
        else:
            typer.echo(f"{each.level:<12} {'yes' if each.is_supported else 'no':<4} {each.reason}")


@app.command()
def fit(
    *,
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    question: QuestionText = None,
    label: Labels = None,
    kind: KindName = None,
    layout: LayoutName = "options_first",
    rotations: Rotations = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="Level to fit; repeatable.", show_default="order, and temperature from 50 labels"),
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(help='JSON lines with "text", for the offsets.', show_default="the labelled texts")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help='JSON lines with "text" and "label".', show_default=False)
    ] = None,
    held_out: Annotated[Path | None, typer.Option(help="More of them, for sets of labels.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="File for the fit, in JSON.")] = Path("decision.json"),
    force: Force = False,
) -> None:
    """Fit a question to texts: offsets of labels, a temperature, a head."""
    from heatbath.models import load
    from heatbath.trust.decisions import DecisionData, fit_decisions

    inputs = [str(path) for path in (pool, labelled, held_out) if path is not None]
    validate_output_file(out, "JSON", force=force, inputs=inputs)
    asked = _build_question(question, label, kind, layout)
    data = DecisionData(_read_texts(pool), _read_labelled(labelled), _read_labelled(held_out))
    if not (data.pool or data.labelled):
        raise BadInput("there is nothing to fit to: give --pool or --labelled.")
    options: dict[str, Any] = {"rotations": rotations, **({"levels": level} if level else {})}
    loaded = load(model, dtype=dtype, device=device)
    with _progress_bar() as progress:
        found = fit_decisions(loaded, asked, data, **options, progress=progress)
    found.save(out)
    temperature = "" if found.temperature is None else f", temperature {found.temperature:.3g}"
    typer.echo(f"fitted {', '.join(found.levels[1:])}{temperature}: {out}")


@app.command()
def run(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to decide about.", show_default=False)] = None,
    *,
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    file: Annotated[Path | None, typer.Option(help='JSON lines with "text" instead.', show_default=False)] = None,
    fit_file: Annotated[
        Path | None, typer.Option("--fit", help="A fit, which has its question and labels.", show_default=False)
    ] = None,
    question: QuestionText = None,
    label: Labels = None,
    kind: KindName = None,
    level: Annotated[
        str | None, typer.Option(help="raw, order, temperature or head.", show_default="the highest of the fit, or raw")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Error rate of a set of labels.", show_default=False)] = None,
    abstain_below: Annotated[
        float | None, typer.Option(help="Least probability of an answer.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about texts."""
    from heatbath.models import load
    from heatbath.trust.decisions import decide, load_decision_fit

    if bool(texts) == (file is not None):
        raise BadInput("give texts, or a file of them with --file.")
    asked = None if fit_file else _build_question(question, label, kind, "options_first")
    if fit_file and (question or label or kind):
        raise BadInput("the fit has its question and labels: leave out --question, --label and --kind.")
    content = texts or _read_texts(file)
    loaded = load(model, dtype=dtype, device=device)
    target = load_decision_fit(fit_file, loaded) if fit_file else asked
    options = {"level": level, "alpha": alpha, "abstain_below": abstain_below}
    given: Any = {name: value for name, value in options.items() if value is not None}
    with _progress_bar() as progress:
        found = decide(loaded, target, text=content, progress=progress, **given)  # type: ignore[arg-type]
    for text, decision in zip(content, found, strict=True):
        typer.echo(json.dumps({"text": text, **decision.summary()}) if as_json else _format_decision(decision))


def _format_decision(decision: LabelDecision) -> str:
    """Return the answer, its probability, the label mass, and what else was asked for."""
    parts = [f"{decision.label}  p={decision.confidence:.3f}  mass={decision.label_mass:.3g}  {decision.level}"]
    if decision.score is not None:
        parts.append(f"score={decision.score:.3f}")
    if decision.label_set is not None:
        parts.append(f"set={{{', '.join(decision.label_set)}}}")
    if decision.abstains:
        parts.append("abstains")
    return "  ".join(parts)


def _build_question(text: str | None, labels: list[str] | None, kind: str | None, layout: str) -> DecisionQuestion:
    from heatbath.trust.decisions import build_question

    if text is None:
        raise BadInput("there is no question: give --question, and --label for each label.")
    pairs = [label.partition("=")[::2] for label in labels or ()]
    if len({name for name, _ in pairs}) < len(pairs):
        raise BadInput("two labels are the same: make each different.")
    options = {name: description or None for name, description in pairs} or None
    return build_question(text, options, kind=kind, layout=layout)  # type: ignore[arg-type]


def _read_texts(path: Path | None) -> list[str]:
    return [] if path is None else [_require_text(path, number, row, "text") for number, row in _read_rows(path)]


def _read_labelled(path: Path | None) -> list[tuple[str, str]]:
    if path is None:
        return []
    names = ("text", "label")
    return [
        (_require_text(path, number, row, names[0]), _require_text(path, number, row, names[1]))
        for number, row in _read_rows(path)
    ]


def _require_text(path: Path, number: int, row: Any, name: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise BadInput(
            f'{path}, line {number}: expected "{name}" with a text, got {format_value(value)}: fix the line.'
        )
    return value


def _read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the values of JSON lines with their numbers; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}: check the path.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): convert it first.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(
                    f"{path}, line {number}: not valid JSON ({error.msg}): fix or remove the line."
                ) from error


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar of texts on stderr, if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
