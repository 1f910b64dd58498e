"""`heatbath generate`: text from any sampler, steered by fields, with a record of every token."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from heatbath.cli.options import (
    Device,
    Dtype,
    Fields,
    IgnoreEos,
    MinP,
    ModelName,
    Potentials,
    RecordKind,
    SamplerName,
    SamplerOptions,
    Seed,
    StopTexts,
    StopTokenIds,
    TopK,
    TopP,
    TraceFile,
    Windows,
)
from heatbath.cli.output_files import Force, validate_output_file
from heatbath.errors import BadInput, HeatbathError

if TYPE_CHECKING:
    from heatbath.engine import Generation, Run
    from heatbath.models import Model


class GenerateCommand(TyperCommand):
    """The command, whose help lists the samplers there are; they are imported only for it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from heatbath.engine.registry import SAMPLERS

        for option in self.params:
            if option.name == "sampler":
                option.help = f"{', '.join(SAMPLERS)}."  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


COMMAND_CLASS = GenerateCommand


def generate(
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; without it, a document starts.")] = None,
    *,
    chat: Annotated[
        str | None, typer.Option(help="Message to a chat model, in place of a prompt.", show_default=False)
    ] = None,
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    sampler: SamplerName = "ancestral",
    option: SamplerOptions = None,
    alpha: Annotated[float | None, typer.Option(help="Exponent of the target p^alpha.", show_default=False)] = None,
    field: Fields = None,
    potential: Potentials = None,
    window: Windows = None,
    schedule: Annotated[
        str | None, typer.Option(help="name=value, in place of a temperature.", show_default=False)
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(help="phases.json whose edges are marked in the records.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Number of samples.")] = 1,
    temperature: Annotated[float, typer.Option("-T", "--temperature", help="Temperature; 0 is greedy.")] = 1.0,
    seed: Seed = 0,
    max_tokens: Annotated[int, typer.Option(help="Maximum tokens per sample.")] = 128,
    stop: StopTexts = None,
    stop_token_ids: StopTokenIds = None,
    ignore_eos: IgnoreEos = False,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    record: RecordKind = "full",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all samples.")] = False,
    records: Annotated[bool, typer.Option(help="Add the record of every token to --json.")] = False,
    out: TraceFile = None,
    force: Force = False,
) -> None:
    """Generate text with any sampler, with a record of every token.

    Fields, potentials, windows and schedules steer the sampler. Their values are JSON or text; @file reads the value
    from a file. An unknown name lists the known ones.
    """
    label = {"prompt": prompt or chat or "", "sampler": sampler, "temperature": temperature, "seed": seed}
    output = OutputArguments(label, as_json, records, out)
    _validate_output(output, record, force)
    sampling = SamplingArguments(model, {"dtype": dtype, "device": device}, sampler, _parse_options(option, alpha), n)
    _validate_arguments(sampling, temperature, prompt, chat)
    source, tokens = sampling.load_model(prompt, chat)
    windows = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    settings: dict[str, Any] = {
        **({"temperature": temperature} if schedule is None else {"schedule": schedule}),
        "max_tokens": max_tokens,
        "window": window or [],
        "fields": field or [],
        "potentials": potential or [],
        **windows,
        "stop": stop or (),
        "stop_token_ids": stop_token_ids or (),
        "ignore_eos": ignore_eos,
        "seed": seed,
        "edges": _read_edges(chart),
        "record": None if record == "none" else record,
    }
    _run_to_end(sampling.build_run(source, tokens, settings), source, output)


@dataclass(frozen=True)
class SamplingArguments:
    """Model, sampler with its options, and number of samples."""

    model: str
    load_options: dict[str, Any]
    sampler: str
    options: dict[str, Any]
    n: int

    def load_model(self, prompt: str | None, chat: str | None) -> tuple[Model, list[int]]:
        """Load the model, and encode the prompt or the chat message."""
        from heatbath.models import load
        from heatbath.models.base import encode_chat

        source = load(self.model, **self.load_options)
        if chat is None:
            return source, source.encode(prompt) if prompt else []
        return source, encode_chat(source, [{"role": "user", "content": chat}])

    def build_run(self, model: Model, tokens: list[int], settings: dict[str, Any]) -> Run:
        """Build the run, from the keyword arguments of `heatbath.generate`."""
        from dataclasses import replace

        from heatbath.energy.grammar_guard import GrammarGuard
        from heatbath.engine import Run, build_settings, repeat_prompts
        from heatbath.engine.pool_session import find_fast_opener

        # A grammar that makes the compiler crash gets a sentence too. Costs about 1 s, and nothing without a grammar.
        with GrammarGuard(model.token_bytes, model.vocabulary) as guard:
            built = build_settings(model, settings, guard=guard if guard.is_supported() else None)
        chosen = replace(built, sampler=self.sampler, options=self.options)
        prompts, chosen = repeat_prompts([tokens], chosen, self.n)
        return Run(model, prompts, chosen, opener=find_fast_opener(model))


@dataclass(frozen=True)
class OutputArguments:
    """Format and destination of the output."""

    labels: dict[str, Any]
    as_json: bool
    records: bool
    path: Path | None


def _validate_output(output: OutputArguments, record: str, force: bool) -> None:
    """Check that what is to be written is recorded and has a place."""
    if output.records and not output.as_json:
        raise BadInput("--records adds to the JSON: give --json as well.")
    validate_output_file(output.path, "Parquet", force=force)
    if record != "full" and (output.records or output.path is not None):
        raise BadInput(f"--records and --out need the whole record, not --record {record}: leave it out.")


def _validate_arguments(arguments: SamplingArguments, temperature: float, prompt: str | None, chat: str | None) -> None:
    """Check the arguments before a model is loaded."""
    from heatbath.engine import validate_temperatures

    if prompt is not None and chat is not None:
        raise BadInput("give either a prompt or --chat, not both.")
    validate_temperatures(temperature, 1)
    if arguments.n < 1:
        raise BadInput(f"`n` must be at least 1, got {arguments.n}.")


def _parse_options(entries: list[str] | None, alpha: float | None) -> dict[str, Any]:
    """Parse the options of a sampler; values are JSON or text."""
    import json

    options: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    for each in entries or ():
        name, equals, text = each.partition("=")
        if not equals:
            raise BadInput(f"the option {each!r} has no value: write name=value.")
        try:
            options[name] = json.loads(text)
        except json.JSONDecodeError:
            options[name] = text
    return options


def _read_edges(chart: Path | None) -> dict[str, float]:
    """The temperatures of the edges of a phase map."""
    if chart is None:
        return {}
    from heatbath.phases import PhaseMap

    return {edge.name: edge.temperature for edge in PhaseMap.load(chart).edges if edge.temperature is not None}


def _run_to_end(run: Run, model: Model, output: OutputArguments) -> None:
    """Run to the end, to Ctrl-C or to an error, and print what has been generated."""
    failure: BaseException | None = None
    with ExitStack() as stack:
        observer = _build_observer(stack, run, model, output.as_json)
        try:
            for frame in run:
                if observer is not None:
                    observer.update(frame)
        except (KeyboardInterrupt, HeatbathError) as error:
            failure = error
    result = run.result()
    if output.as_json:
        _print_json(result, output, failure)
    elif failure is None and (result.reliable_log_z is not None or result.diagnostics):
        print(format_summary(result), file=sys.stderr)
    if output.path is not None and result.arrays.lengths.any():
        _write_traces(result, output.path)
    if failure is not None:
        raise failure


def _build_observer(stack: ExitStack, run: Run, model: Model, as_json: bool) -> Any:
    """Build the display: none for JSON, a live view in a terminal, plain text in a pipe."""
    from rich.console import Console

    from heatbath.cli.live_display import PlainTextWriter, TokenCountView, TokenStripView

    console = Console(highlight=False, markup=False)
    if as_json:
        return None
    if not run.has_independent_rows:
        stack.callback(lambda: _write_stdout(run.result().text + "\n"))
        return stack.enter_context(TokenCountView(Console(stderr=True)))
    if console.is_terminal and run.settings.record in ("full", "state"):
        return stack.enter_context(TokenStripView(console, model.token_bytes, len(run.prompts)))
    if len(run.prompts) == 1:
        plain = PlainTextWriter(_write_stdout, model.token_bytes, run.stop_token_ids, run.stop_strings)
        stack.callback(plain.flush)
        return plain
    stack.callback(lambda: _write_stdout("".join(f"[{i}] {text}\n" for i, text in enumerate(run.result().texts))))
    return None


def _write_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def format_summary(result: Generation) -> str:
    """Format the number of samples, log Z and diagnostics in one line."""
    parts = [f"{len(result)} samples, {result.tokens_spent} tokens generated"]
    if result.reliable_log_z is not None:
        parts.append(f"log Z {result.reliable_log_z.value:.3f} ± {result.reliable_log_z.stderr:.3f}")
    if result.ess == result.ess:
        parts.append(f"effective samples {result.ess:.1f}")
    scalars = {name: value for name, value in result.diagnostics.items() if "/" not in name}
    parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in scalars.items()]
    if result.unreliable_reason:
        parts.append(result.unreliable_reason)
    return "; ".join(parts)


def _print_json(result: Generation, output: OutputArguments, failure: BaseException | None) -> None:
    import json
    from dataclasses import asdict

    samples, log_z = [asdict(sample) for sample in result.samples], result.reliable_log_z
    if output.records:
        for sample, trace in zip(samples, result.traces, strict=True):
            sample["records"] = list(trace.to_rows())
    content = {
        **output.labels,
        "text": result.text,
        "best_index": result.best_index,
        "samples": samples,
        "log_z": None if log_z is None else log_z.value,
        "log_z_stderr": None if log_z is None else log_z.stderr,
        "unreliable": result.unreliable_reason or None,
        "ess": result.ess,
        "tokens_spent": result.tokens_spent,
        "work": {name: values.tolist() for name, values in result.work.items()},
        "diagnostics": dict(result.diagnostics),
    }
    if failure is not None:
        content["error"] = str(failure) or "stopped by Ctrl-C"
    print(json.dumps(_replace_nonfinite(content), ensure_ascii=False))


def _replace_nonfinite(value: Any) -> Any:
    """Replace NaN and infinity by None, as JSON has neither."""
    if isinstance(value, dict):
        return {name: _replace_nonfinite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_replace_nonfinite(each) for each in value]
    if isinstance(value, float):
        value = float(value)
        return value if abs(value) < float("inf") else None
    return value


def _write_traces(result: Generation, out: Path) -> None:
    from heatbath.record import write_traces

    write_traces(out, [trace for trace in result.traces if len(trace)])
