"""`heatbath prompts`: check the baselines of a folder of prompts, list them, show one, render one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import Device, Dtype
from heatbath.cli.progress_bar import show_labeled_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.models.base import Model
    from heatbath.serve.stack.prompts.baseline import Baseline
    from heatbath.serve.stack.prompts.prompt_check import CheckResult
    from heatbath.serve.stack.prompts.template import PromptTemplate
    from heatbath.serve.stack.prompts.variables import Variable

DEFAULT_MODEL = "smollm2-135m"

app = typer.Typer(
    help="Check, list, show and render the prompts of a folder.", no_args_is_help=True, add_completion=False
)

Folder = Annotated[Path, typer.Argument(help="Folder of Markdown files with front matter.", show_default=False)]
PromptName = Annotated[str, typer.Argument(help="name, or name@version.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Catalog name, hub id, folder or .gguf file.", show_default="the prompt's, or smollm2-135m"),
]

MESSAGES = {
    "new": "first baseline written",
    "same": "as its baseline",
    "changed": "changed, and its baseline has not moved",
    "updated": "baseline updated",
}


@app.command()
def check(
    folder: Folder,
    *,
    model: ModelOption = None,
    dtype: Dtype = None,
    device: Device = None,
    update: Annotated[bool, typer.Option("--update", help="Accept what is measured as the baseline.")] = False,
    answers: Annotated[int | None, typer.Option(help="Answers for each input.", show_default="16")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of an answer at most.", show_default="16")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the answers.", show_default="1.0")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the answers.", show_default="0")] = None,
    tolerance: Annotated[float, typer.Option(help="Relative change that is no drift.")] = 0.02,
    false_alarms: Annotated[float, typer.Option(help="Probability of a false drift for a prompt, at most.")] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Measure each prompt on its samples, and fail where its baseline has moved.

    Measured per token: mean energy above the ground state, entropy and heat capacity, of the rendered prompt and of
    answers drawn from it. The first baseline is written beside the file as NAME.baseline.json. Exit code 1 says that a
    prompt or the model has changed and a value has moved beyond chance and tolerance: --update accepts it.
    """
    from heatbath.serve.stack.prompts.prompt_check import CheckPlan, check_prompt

    given = {"answers": answers, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    settings = {name: value for name, value in given.items() if value is not None}
    plan = CheckPlan(settings, update=update, tolerance=tolerance, false_alarms=false_alarms)
    loaded: dict[str, Model] = {}
    has_failed = False
    with show_labeled_progress() as progress:
        for template in _open_library(folder).list_files():
            name = model or template.parts.model or DEFAULT_MODEL
            if name not in loaded:
                from heatbath.models import load

                loaded[name] = load(name, dtype=dtype, device=device)
            label, total = template.reference, len(template.samples)
            result = check_prompt(
                template,
                loaded[name],
                plan,
                on_input=lambda done, label=label, total=total: progress(label, done, total),  # type: ignore[misc]
            )
            has_failed |= result.is_failure
            typer.echo(json.dumps(result.describe()) if as_json else "\n".join(_format_result(result)))
    if has_failed:
        raise typer.Exit(1)


@app.command("list")
def list_(folder: Folder, *, as_json: AsJson = False) -> None:
    """List the prompts of a folder: name, version, digest, variables and file."""
    for template in _open_library(folder).list_files():
        if as_json:
            typer.echo(json.dumps({**template.describe(), "file": str(template.path)}))
        else:
            names = ", ".join(map(_format_variable, template.variables.values())) or "no variables"
            typer.echo(f"{template.reference:<28} {template.digest[:12]}  {template.path.name}  {names}")


@app.command()
def show(folder: Folder, name: PromptName, *, as_json: AsJson = False) -> None:
    """Show a prompt: its file, and its baseline if there is one."""
    from heatbath.record.result_file import to_builtins
    from heatbath.serve.stack.prompts.baseline import baseline_path, load_baseline

    template = _open_library(folder).find(name)
    path = baseline_path(template)
    baseline = load_baseline(path) if path.exists() else None
    if as_json:
        described = {**template.describe(), "file": str(template.path), "source": template.source}
        typer.echo(json.dumps({**described, "baseline": to_builtins(baseline)}))
        return
    typer.echo(f"{template.reference}  {template.digest}  {template.path}\n\n{template.source.rstrip()}")
    if baseline is not None:
        typer.echo("\n".join(["", *_format_baseline(baseline)]))


@app.command()
def render(
    folder: Folder,
    name: PromptName,
    *,
    variable: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value; all but a text as JSON; repeatable.", show_default=False),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="Number of a sample to fill in, from 0.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose token ids to add: a catalog name or path.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Render a prompt, and with a model the token ids that it becomes."""
    template = _open_library(folder).find(name)
    rendered = template.render({**_read_sample(template, sample), **_read_values(template, variable or [])})
    described: dict[str, Any] = {**rendered.describe(), "messages": list(rendered.messages)}
    if model is not None:
        from heatbath.models import load
        from heatbath.serve.stack.prompts.baseline import encode_rendered

        loaded = load(model)
        tokens = encode_rendered(loaded, rendered)
        described |= {"model": loaded.name, "text": loaded.decode(tokens), "token_ids": tokens}
    if as_json:
        typer.echo(json.dumps(described))
        return
    for message in rendered.messages:
        typer.echo(f"# {message['role']}\n{message['content']}")
    if model is not None:
        typer.echo(f"\n{len(described['token_ids'])} tokens: {' '.join(map(str, described['token_ids']))}")


def _open_library(folder: Path) -> Any:
    from heatbath.serve.stack.prompts.library import PromptLibrary

    return PromptLibrary.open(folder)


def _read_sample(template: PromptTemplate, number: int | None) -> dict[str, Any]:
    if number is None:
        return {}
    if not 0 <= number < len(template.samples):
        raise BadInput(f"--sample is {number} and {template.reference} has {len(template.samples)}: count from 0.")
    return dict(template.samples[number])


def _read_values(template: PromptTemplate, pairs: list[str]) -> dict[str, Any]:
    """Return the values of `name=value`: a text as it is, values of other types as JSON."""
    values = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise BadInput(f"--set is {pair!r}: give name=value.")
        variable = template.variables.get(name)
        if variable is None or variable.type == "string":
            values[name] = text
            continue
        try:
            values[name] = json.loads(text)
        except ValueError:
            raise BadInput(f"--set {name} is {text!r}: give {variable.expectation}, as JSON.") from None
    return values


def _format_variable(variable: Variable) -> str:
    return f"{variable.name}: {variable.type}{'' if variable.is_required else '?'}"


def _format_result(result: CheckResult) -> list[str]:
    """Return the lines of a result: its verdict, and its values beside those of the baseline."""
    reference, baseline = result.template.reference, result.baseline
    if baseline is None:
        return [
            f"{reference}: this version was accepted with other content: raise the version in {result.template.path}."
        ]
    if result.status == "drift":
        moved = ", ".join(f"{each.part} {_words(each.quantity)}" for each in result.changes if each.is_drift)
        what = _name_change(result)
        return [f"{reference}: drift of {moved} ({what}); --update accepts it", *_format_baseline(baseline, result)]
    return [f"{reference}: {MESSAGES[result.status]}", *_format_baseline(baseline, result)]


def _name_change(result: CheckResult) -> str:
    after, before = result.baseline, result.before
    if after is None or before is None:
        return ""
    parts = ["the prompt has changed"] if after.digest != before.digest else []
    parts += [f"the model was {before.model}"] if after.fingerprint != before.fingerprint else []
    return ", ".join(parts) or "neither prompt nor model has changed"


def _format_baseline(baseline: Baseline, result: CheckResult | None = None) -> list[str]:
    """Return the lines of the values, in nats per token with 95 % intervals, and what they were."""
    settings = baseline.settings
    lines = [
        f"  {baseline.model}, {baseline.inputs} inputs of {baseline.prompt_tokens:.1f} tokens, {settings.answers} "
        f"answers to each of {baseline.answer_tokens:.1f} tokens at T = {settings.temperature:g}"
    ]
    changes = {(each.part, each.quantity): each for each in result.changes} if result else {}
    for part, values in (("prompt", baseline.prompt), ("answer", baseline.answer)):
        for name, value in values.items():
            interval = "" if value.low != value.low else f" [{value.low:.3f}, {value.high:.3f}]"
            change = changes.get((part, name))
            before = "" if change is None else f"  was {change.before:.3f}{', drift' if change.is_drift else ''}"
            lines.append(f"  {part}  {_words(name):<14} {value.value:.3f}{interval}{before}")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")
