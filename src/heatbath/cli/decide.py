"""`heatbath decide`: check which levels a model supports, fit a question, and answer it for texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import Device, Dtype, ModelName
from heatbath.cli.output_files import Force, validate_output_file
from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput, format_value

if TYPE_CHECKING:
    from heatbath.trust.decisions import DecisionQuestion, LabelDecision

app = typer.Typer(
    help="Answer questions with labels: check, fit and run.",
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
        Path | None, typer.Option(help='JSON lines with "text", for the offsets.', show_default="the labeled texts")
    ] = None,
    labeled: Annotated[
        Path | None, typer.Option(help='JSON lines with "text" and "label".', show_default=False)
    ] = None,
    held_out: Annotated[Path | None, typer.Option(help="More of them, for sets of labels.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="File for the fit, in JSON.")] = Path("decision.json"),
    force: Force = False,
) -> None:
    """Fit a question to texts: offsets of labels, a temperature, a head."""
    from heatbath.models import load
    from heatbath.trust.decisions import DecisionData, fit_decisions

    inputs = [str(path) for path in (pool, labeled, held_out) if path is not None]
    validate_output_file(out, "JSON", force=force, inputs=inputs)
    asked = _build_question(question, label, kind, layout)
    data = DecisionData(_read_texts(pool), _read_labeled(labeled), _read_labeled(held_out))
    if not (data.pool or data.labeled):
        raise BadInput("there is nothing to fit to: give --pool or --labeled.")
    options: dict[str, Any] = {"rotations": rotations, **({"levels": level} if level else {})}
    loaded = load(model, dtype=dtype, device=device)
    with show_progress("texts") as progress:
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
    with show_progress("texts") as progress:
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
    return [text for (text,) in _read_fields(path, ("text",))]


def _read_labeled(path: Path | None) -> list[tuple[str, str]]:
    return [(text, label) for text, label in _read_fields(path, ("text", "label"))]


def _read_fields(path: Path | None, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the texts with these names of each JSON line."""
    from heatbath.questions.json_lines import read_json_lines

    for place, row in [] if path is None else read_json_lines(path, "texts"):
        for name in names:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise BadInput(
                    f'{place}: expected "{name}" with a text, got {format_value(row.get(name))}: fix the line.'
                )
        yield tuple(row[name] for name in names)
