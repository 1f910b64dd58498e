"""`heatbath measure`: one thermodynamic record per token of a text."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import Device, Dtype, ModelName, TraceFile
from heatbath.cli.output_files import Force, validate_output_file
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.cli.inputs import Inputs
    from heatbath.models.base import Model
    from heatbath.record import Trace, TraceWriter

Sink = Callable[["Trace"], None]


def measure(
    files: Annotated[list[str] | None, typer.Argument(help="Text files; - reads stdin.", show_default=False)] = None,
    *,
    text: Annotated[str | None, typer.Option(help="Text to measure, in place of files.", show_default=False)] = None,
    jsonl: Annotated[bool, typer.Option(help='Read JSON lines with a key "text" from the files.')] = False,
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    temperature: Annotated[float, typer.Option(help="Temperature of the records.")] = 1.0,
    bos: Annotated[bool, typer.Option(help="Put the start-of-document token before each text.")] = False,
    context: Annotated[int | None, typer.Option(help="Tokens of context at most.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per token.")] = False,
    out: TraceFile = None,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page that shows records on hover.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted --out file.")] = False,
    force: Force = False,
) -> None:
    """Measure a text: one thermodynamic record per token.

    Without --json, --out or --html, the tokens are shown coloured by surprisal. The first token of a text has no
    context and therefore no record, unless --bos is given.
    """
    from heatbath.cli.inputs import Inputs
    from heatbath.engine import beta_from_temperature
    from heatbath.models import load
    from heatbath.models.layerwise.layerwise_model import find_layerwise_model

    inputs = Inputs(text, files or [], jsonl)
    inputs.validate()
    beta_from_temperature(temperature)
    _validate_resume(out, inputs, resume, force)
    validate_output_file(out, "Parquet", force=force or resume, inputs=inputs.files)
    validate_output_file(html, "HTML", force=force, inputs=inputs.files)
    source = find_layerwise_model(model, dtype=dtype, device=device) or load(model, dtype=dtype, device=device)
    run = _Measurement(source, inputs, temperature, {"bos": bos, "context": context})
    with ExitStack() as stack:
        writer = run.open_writer(out, resume, force)
        sinks = list(_build_sinks(stack, run, html, as_json, quiet=out is not None))
        _measure_all(run, stack.enter_context(writer) if writer else None, sinks)


def _validate_resume(out: Path | None, inputs: Inputs, resume: bool, force: bool) -> None:
    """Check that there is a run to continue, and that its input can be told to be the same."""
    if not resume:
        return
    if out is None:
        raise BadInput("--resume continues a Parquet file: give --out as well.")
    if force:
        raise BadInput("--resume continues what is there and --force overwrites it: give one of them.")
    if "-" in inputs.files:
        raise BadInput("--resume cannot tell whether stdin holds the same text: give a file.")
    if out.exists() and not out.with_name(out.name + ".parts").exists():
        raise BadInput(f"{out} is complete: there is nothing to resume; --force measures again and overwrites it.")


class _Measurement:
    """A measurement: model, input, temperature and options."""

    def __init__(self, model: Model, inputs: Inputs, temperature: float, options: dict[str, Any]) -> None:
        self.model = model
        self.inputs = inputs
        self.temperature = temperature
        self.options = options

    def open_writer(self, out: Path | None, resume: bool, force: bool) -> TraceWriter | None:
        """Open the Parquet writer of this run, or return None without `out`."""
        from heatbath.record import TraceWriter

        if out is None:
            return None
        settings = [self.model.fingerprint, self.temperature, self.options, self.inputs.compute_digest()]
        return TraceWriter(out, run_id=json.dumps(settings), resume=resume, discard=force)

    def measure_documents(self, after: tuple[int, int]) -> Iterator[Trace]:
        """Measure the documents after the (sequence, position) of the last token that is already measured."""
        from heatbath.engine import measure_stream

        return measure_stream(
            self.model, self.inputs.open_documents(), temperature=self.temperature, after=after, **self.options
        )


def _measure_all(run: _Measurement, writer: TraceWriter | None, sinks: list[Sink]) -> None:
    summary = RunningSummary()
    try:
        with _progress_bar(run.inputs.num_bytes) as advance:
            for piece in _read_and_measure(run, writer):
                summary = summary.with_trace(piece)
                for sink in sinks:
                    sink(piece)
                advance(sum(map(len, piece.token_bytes)))
    except KeyboardInterrupt:
        if writer is not None:
            print(f"heatbath: {summary.tokens} tokens are saved: continue with --resume.", file=sys.stderr)
        raise
    if not summary.tokens:
        raise BadInput("the text is empty: give at least one character.")
    print(summary.format_line(run.temperature), file=sys.stderr)


@dataclass(frozen=True)
class RunningSummary:
    """Sums over the tokens of the traces so far; `scored_tokens` of the `tokens` have a context."""

    tokens: int = 0
    scored_tokens: int = 0
    surprisal: float = 0.0
    entropy: float = 0.0
    heat_capacity: float = 0.0

    def with_trace(self, trace: Trace) -> RunningSummary:
        """Return the summary with one more trace, or piece of a trace."""
        import numpy as np

        return RunningSummary(
            self.tokens + len(trace),
            self.scored_tokens + int(trace.scored_mask.sum()),
            self.surprisal - float(np.nansum(trace.record["logprob"])),
            self.entropy + float(np.nansum(trace.record["entropy"])),
            self.heat_capacity + float(np.nansum(trace.record["heat_capacity"])),
        )

    def format_line(self, temperature: float) -> str:
        """Format the means per token as one sentence."""
        head = f"{self.tokens} tokens at T = {temperature:g}"
        if not self.scored_tokens:
            return f"{head}: no token has a context, so none has a record (--bos adds a start token)."
        surprisal, entropy, capacity = (
            total / self.scored_tokens for total in (self.surprisal, self.entropy, self.heat_capacity)
        )
        return (
            f"{head}: surprisal {surprisal:.3f} nats ({surprisal / math.log(2):.3f} bits) per token, "
            f"entropy {entropy:.3f}, heat capacity {capacity:.3f}."
        )


def _read_and_measure(run: _Measurement, writer: TraceWriter | None) -> Iterator[Trace]:
    if writer is None:
        yield from run.measure_documents((-1, -1))
        return
    yield from writer.read_finished_traces()
    for piece in run.measure_documents(writer.last_row):
        writer.write(piece)
        yield piece


def _build_sinks(
    stack: ExitStack, run: _Measurement, html: Path | None, as_json: bool, *, quiet: bool
) -> Iterator[Sink]:
    if html is not None:
        from heatbath.cli.trace_html import open_page

        yield stack.enter_context(open_page(html, run.model.name, run.temperature))
    if as_json:
        yield _build_json_sink(run.inputs.has_many)
    elif html is None and not quiet:
        yield _build_strip_sink(stack)


def _build_json_sink(many: bool) -> Sink:
    def sink(trace: Trace) -> None:
        label = {"sequence": trace.sequence} if many else {}
        lines = [json.dumps(label | row, ensure_ascii=False) + "\n" for row in trace.to_rows()]
        sys.stdout.write("".join(lines))

    return sink


def _build_strip_sink(stack: ExitStack) -> Sink:
    from rich.console import Console

    from heatbath.cli.colored_tokens import render_tokens

    console = Console(highlight=False, markup=False)
    current: list[int] = []

    def sink(trace: Trace) -> None:
        if current and current != [trace.sequence]:
            console.print()
        current[:] = [trace.sequence]
        console.print(render_tokens(trace), end="", soft_wrap=True)

    stack.callback(lambda: console.print() if current else None)
    return sink


@contextmanager
def _progress_bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar over bytes on stderr, if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None
        return
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda step: bar.advance(task, step)
