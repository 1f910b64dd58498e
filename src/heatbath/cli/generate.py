"""`heatbath generate`: answers to a prompt by any sampler, steered by fields, with the record beside them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

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
    prompt: Annotated[str | None, typer.Argument(help="Text to go on from; none starts a document.")] = None,
    *,
    chat: Annotated[str | None, typer.Option(help="Ask a chat model.", show_default=False)] = None,
    model: Annotated[str, typer.Option(help="Catalog name, hub id, folder or .gguf file.")] = "smollm2-135m",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)] = None,
    sampler: Annotated[str, typer.Option(help="Name of a sampler.")] = "ancestral",
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", help="name=value for the sampler, such as particles=32.", show_default=False),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Power of the model's law to aim at.", show_default=False)] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="name=value, such as dry=0.8; can be repeated.", show_default=False)
    ] = None,
    potential: Annotated[
        list[str] | None, typer.Option(help="name=value, such as regex=[0-9]+; can be repeated.", show_default=False)
    ] = None,
    window: Annotated[
        list[str] | None, typer.Option(help="name=value, such as typical=0.95; cut in order.", show_default=False)
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="name=value in place of a temperature.", show_default=False)
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(help="A phases.json, to note where a schedule crosses edges.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many samples.")] = 1,
    temperature: Annotated[float, typer.Option("-T", "--temperature", help="0 is greedy.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same samples.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Tokens a sample at most.")] = 128,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends a sample; can be repeated.", show_default=False)
    ] = None,
    stop_token_ids: Annotated[
        list[int] | None,
        typer.Option(help="Token id that ends a sample, not the model's own.", show_default=False),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable.", show_default=False)] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the top mass p.", show_default=False)] = None,
    min_p: Annotated[float | None, typer.Option(help="Keep what has p times the top.", show_default=False)] = None,
    record: Annotated[str, typer.Option(help="full, state, nodes or none.")] = "full",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all samples.")] = False,
    records: Annotated[bool, typer.Option(help="With --json: every token's record as well.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a Parquet trace.", show_default=False)] = None,
) -> None:
    """Answer a prompt by any sampler, steered by fields, with the record beside it.

    A field, potential, window or schedule without a known name lists those there are. Values are JSON or text; @file
    reads one.
    """
    if prompt is not None and chat is not None:
        raise BadInput("give either a prompt or --chat, not both.")
    if records and not as_json:
        raise BadInput("--records adds to the JSON: give --json as well.")
    if out is not None and not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent} to write {out.name} in: make it, or choose another.")
    if record != "full" and (records or out is not None):
        raise BadInput(f"--records and --out need the whole record, not --record {record}: leave it out.")
    options = _parse_options(option or [], alpha)
    job = SamplingArguments(model, {"dtype": dtype, "device": device}, sampler, options, n)
    _validate_arguments(job, temperature)
    source, tokens = job.load_model(prompt, chat)
    settings: dict[str, Any] = {
        **({"temperature": temperature} if schedule is None else {"schedule": schedule}),
        "max_tokens": max_tokens,
        "window": window or [],
        "fields": field or [],
        "potentials": potential or [],
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "stop": stop or (),
        "stop_token_ids": stop_token_ids,
        "seed": seed,
        "edges": _read_edges(chart),
        "record": None if record == "none" else record,
    }
    run = job.build_run(source, tokens, settings)
    label = {"prompt": prompt or chat or "", "sampler": sampler, "temperature": temperature, "seed": seed}
    _run_to_end(run, source, OutputArguments(label, as_json, records, out))


@dataclass(frozen=True)
class SamplingArguments:
    """Which model, which sampler, how many answers."""

    model: str
    load_options: dict[str, str | None]
    sampler: str
    options: dict[str, Any]
    n: int

    def load_model(self, prompt: str | None, chat: str | None) -> tuple[Model, list[int]]:
        """The model and the prompt's tokens."""
        from heatbath.models import load
        from heatbath.models.base import encode_chat

        source = load(self.model, **self.load_options)
        if chat is None:
            return source, source.encode(prompt) if prompt else []
        return source, encode_chat(source, [{"role": "user", "content": chat}])

    def build_run(self, model: Model, tokens: list[int], settings: dict[str, Any]) -> Run:
        """Build the run, from the keyword arguments of `heatbath.generate`."""
        from dataclasses import replace

        from heatbath.engine import Run, build_settings, repeat_prompts
        from heatbath.engine.pool_session import find_fast_opener

        chosen = replace(build_settings(model, settings), sampler=self.sampler, options=self.options)
        prompts, chosen = repeat_prompts([tokens], chosen, self.n)
        return Run(model, prompts, chosen, opener=find_fast_opener(model))


@dataclass(frozen=True)
class OutputArguments:
    """Where the answers go."""

    labels: dict[str, Any]
    as_json: bool
    records: bool
    path: Path | None


def _validate_arguments(arguments: SamplingArguments, temperature: float) -> None:
    """What can be refused before a model is loaded."""
    from heatbath.engine import validate_temperatures

    validate_temperatures(temperature, 1)
    if arguments.n < 1:
        raise BadInput(f"n is {arguments.n}: ask for at least 1 sample.")


def _parse_options(entries: list[str], alpha: float | None) -> dict[str, Any]:
    """The options of a sampler; values are JSON or text."""
    import json

    found: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    for each in entries:
        name, equals, text = each.partition("=")
        if not equals:
            raise BadInput(f"the option {each!r} has no value: write name=value.")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def _read_edges(chart: Path | None) -> dict[str, float]:
    """The temperatures of the edges of a phase map."""
    if chart is None:
        return {}
    from heatbath.phases import PhaseMap

    return {edge.name: edge.temperature for edge in PhaseMap.load(chart).edges if edge.temperature is not None}


def _run_to_end(run: Run, model: Model, output: OutputArguments) -> None:
    """Run to the end, to Ctrl-C or to an error, and give out what there is."""
    failed: BaseException | None = None
    with ExitStack() as stack:
        watch = _build_observer(stack, run, model, output.as_json)
        try:
            for frame in run:
                if watch is not None:
                    watch.update(frame)
        except (KeyboardInterrupt, HeatbathError) as error:
            failed = error
    result = run.result()
    if output.as_json:
        _print_json(result, output, failed)
    elif failed is None and (result.log_z is not None or result.diagnostics):
        print(format_summary(result), file=sys.stderr)
    if output.path is not None and result.arrays.lengths.any():
        _write_traces(result, output.path)
    if failed is not None:
        raise failed


def _build_observer(stack: ExitStack, run: Run, model: Model, as_json: bool) -> Any:
    """What shows the run: nothing for machines, a live strip in a terminal, the text in a pipe."""
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
    """One line on what the answer rests on."""
    parts = [f"{len(result)} answers, {result.tokens_spent} tokens drawn"]
    if result.log_z is not None:
        parts.append(f"log Z {result.log_z:.3f} ± {result.log_z_stderr:.3f}")
    if result.ess == result.ess:
        parts.append(f"effective answers {result.ess:.1f}")
    shown = {name: value for name, value in result.diagnostics.items() if "/" not in name}
    parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in shown.items()]
    return "; ".join(parts)


def _print_json(result: Generation, output: OutputArguments, failure: BaseException | None) -> None:
    import json
    from dataclasses import asdict

    samples = [asdict(sample) for sample in result.samples]
    if output.records:
        for sample, trace in zip(samples, result.traces, strict=True):
            sample["records"] = list(trace.to_rows())
    content = {
        **output.labels,
        "text": result.text,
        "best_index": result.best_index,
        "samples": samples,
        "log_z": result.log_z,
        "log_z_stderr": result.log_z_stderr,
        "ess": result.ess,
        "tokens_spent": result.tokens_spent,
        "work": {name: values.tolist() for name, values in result.work.items()},
        "diagnostics": dict(result.diagnostics),
    }
    if failure is not None:
        content["error"] = str(failure) or "stopped by Ctrl-C"
    print(json.dumps(_replace_nonfinite(content), ensure_ascii=False))


def _replace_nonfinite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
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
