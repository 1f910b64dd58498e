"""`heatbath measure`: one thermodynamic record for each token of a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.cli.inputs import Inputs
    from heatbath.models.base import Model
    from heatbath.record import Trace, TraceWriter

Sink = Callable[["Trace"], None]


def measure(
    files: Annotated[list[str] | None, typer.Argument(help="Text files; - is stdin.", show_default=False)] = None,
    *,
    text: Annotated[str | None, typer.Option(help="A text to measure.", show_default=False)] = None,
    jsonl: Annotated[bool, typer.Option(help='The files hold JSON lines with a field "text".')] = False,
    model: Annotated[str, typer.Option(help="Catalog name, hub id, folder or .gguf file.")] = "smollm2-135m",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of the columns.")] = 1.0,
    bos: Annotated[bool, typer.Option(help="Put the model's document start before each text.")] = False,
    context: Annotated[
        int | None, typer.Option(help="Score with at most so many tokens at once.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a token.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a Parquet trace.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to hover over.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted --out.")] = False,
) -> None:
    """Measure a text: one thermodynamic record per token.

    Without --json, --out or --html the tokens are shown coloured by surprisal. The first token of a text has nothing
    before it and no numbers, unless --bos is given.
    """
    from heatbath.cli.inputs import Inputs
    from heatbath.engine import beta_from_temperature
    from heatbath.models import load

    inputs = Inputs(text, files or [], jsonl)
    inputs.validate()
    beta_from_temperature(temperature)
    if resume and out is None:
        raise BadInput("--resume goes on with a Parquet file: give --out as well.")
    _validate_output_paths(out, html)
    run = _Measurement(load(model, dtype=dtype, device=device), inputs, temperature, {"bos": bos, "context": context})
    with ExitStack() as stack:
        writer = run.open_writer(out, resume)
        sinks = list(_build_sinks(stack, run, html, as_json, quiet=out is not None))
        _measure_all(run, stack.enter_context(writer) if writer else None, sinks)


class _Measurement:
    """What is measured and how."""

    def __init__(self, model: Model, inputs: Inputs, temperature: float, options: dict[str, Any]) -> None:
        self.model = model
        self.inputs = inputs
        self.temperature = temperature
        self.options = options

    def open_writer(self, out: Path | None, resume: bool) -> TraceWriter | None:
        """The Parquet writer of this run."""
        from heatbath.record import TraceWriter

        if out is None:
            return None
        settings = [self.model.fingerprint, self.temperature, self.options, self.inputs.compute_digest()]
        return TraceWriter(out, run_id=json.dumps(settings), resume=resume)

    def measure_documents(self, after: tuple[int, int]) -> Iterator[Trace]:
        """What is still to be measured."""
        from heatbath.engine import measure_stream

        return measure_stream(
            self.model, self.inputs.open_documents(), temperature=self.temperature, after=after, **self.options
        )


def _measure_all(run: _Measurement, writer: TraceWriter | None, sinks: list[Sink]) -> None:
    from heatbath.cli.running_summary import RunningSummary

    totals = RunningSummary()
    try:
        with _progress_bar(run.inputs.num_bytes) as advance:
            for piece in _read_and_measure(run, writer):
                totals = totals.with_trace(piece)
                for sink in sinks:
                    sink(piece)
                advance(sum(map(len, piece.token_bytes)))
    except KeyboardInterrupt:
        if writer is not None:
            print(f"heatbath: {totals.tokens} tokens are kept: --resume goes on from there.", file=sys.stderr)
        raise
    if not totals.tokens:
        raise BadInput("the text is empty: give at least one character.")
    print(totals.format_line(run.temperature), file=sys.stderr)


def _read_and_measure(run: _Measurement, writer: TraceWriter | None) -> Iterator[Trace]:
    if writer is None:
        yield from run.measure_documents((-1, -1))
        return
    yield from writer.read_finished_traces()
    for piece in run.measure_documents(writer.last_row):
        writer.write(piece)
        yield piece


def _validate_output_paths(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise BadInput(f"there is no folder {path.parent} to write {path.name} in: make it, or choose another.")


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
    shown: list[int] = []

    def sink(trace: Trace) -> None:
        if shown and shown[-1] != trace.sequence:
            console.print()
        shown[:] = [trace.sequence]
        console.print(render_tokens(trace), end="", soft_wrap=True)

    stack.callback(lambda: console.print() if shown else None)
    return sink


@contextmanager
def _progress_bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar over bytes on stderr, when a person is there to see it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None
        return
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda step: bar.advance(task, step)
