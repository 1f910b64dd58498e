"""`heatbath generate`: samples from a model, with the record beside them."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.decode import Window
    from heatbath.engine import Generation, Run
    from heatbath.models import Model


def generate(
    prompt: Annotated[str | None, typer.Argument(help="Text to go on from; none starts a document.")] = None,
    *,
    chat: Annotated[str | None, typer.Option(help="Ask a chat model.", show_default=False)] = None,
    model: Annotated[str, typer.Option(help="Catalog name, hub id, folder or .gguf file.")] = "smollm2-135m",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many samples.")] = 1,
    temperature: Annotated[float, typer.Option("-T", "--temperature", help="0 is greedy.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same samples.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Tokens a sample at most.")] = 128,
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable.", show_default=False)] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the top mass p.", show_default=False)] = None,
    min_p: Annotated[float | None, typer.Option(help="Keep what has p times the top.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a sample.")] = False,
    records: Annotated[bool, typer.Option(help="With --json: every token's record as well.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a Parquet trace.", show_default=False)] = None,
) -> None:
    """Sample continuations of a prompt, with the record beside them."""
    from heatbath.engine import Run, Settings, checked_temperatures
    from heatbath.models import load

    if prompt is not None and chat is not None:
        raise BadInput("give either a prompt or --chat, not both.")
    if records and not as_json:
        raise BadInput("--records adds to the JSON: give --json as well.")
    if out is not None and not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent} to write {out.name} in: make it, or choose another.")
    checked_temperatures(temperature, 1)
    if n < 1:
        raise BadInput(f"n is {n}: ask for at least 1 sample.")
    windows = _windows(top_k, top_p, min_p)
    source = load(model, dtype=dtype, device=device)
    tokens = _tokens(source, prompt, chat)
    settings = Settings(temperature, max_tokens, windows, seed=seed)
    run = Run(source, [tokens] * n, settings)
    stopped = _drive(run, source, as_json=as_json)
    result = run.result()
    if as_json:
        _print_json(result, {"prompt": prompt or chat or "", "temperature": temperature, "seed": seed}, records)
    if out is not None and result.arrays.lengths.any():
        _save(result, out)
    if stopped:
        raise KeyboardInterrupt


def _drive(run: Run, model: Model, *, as_json: bool) -> bool:
    """Run to the end, or until Ctrl-C: then what is there is kept, and the answer is True."""
    with ExitStack() as stack:
        watch = _watcher(stack, run, model, as_json)
        try:
            for frame in run:
                if watch is not None:
                    watch.update(frame)
        except KeyboardInterrupt:
            return True
    return False


def _watcher(stack: ExitStack, run: Run, model: Model, as_json: bool) -> Any:
    """What shows the run: nothing for machines, a live strip in a terminal, the text in a pipe."""
    from rich.console import Console

    from heatbath.cli.live import Plain, Strip

    console = Console(highlight=False, markup=False)
    if as_json:
        return None
    if console.is_terminal:
        return stack.enter_context(Strip(console, model.token_bytes, len(run.prompts)))
    if len(run.prompts) == 1:
        plain = Plain(_write, model.token_bytes, model.vocabulary.stop)
        stack.callback(plain.end)
        return plain
    stack.callback(lambda: _write("".join(f"[{i}] {text}\n" for i, text in enumerate(run.result().texts))))
    return None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _windows(top_k: int | None, top_p: float | None, min_p: float | None) -> tuple[Window, ...]:
    from heatbath import decode

    windows = (
        None if top_k is None else decode.top_k(top_k),
        None if top_p is None else decode.top_p(top_p),
        None if min_p is None else decode.min_p(min_p),
    )
    return tuple(window for window in windows if window is not None)


def _tokens(model: Model, prompt: str | None, chat: str | None) -> list[int]:
    if chat is None:
        return model.encode(prompt) if prompt else []
    template = getattr(model, "chat", None)
    if template is None:
        raise BadInput(f"{model.name} has no chat template: give a plain prompt.")
    return list(template([{"role": "user", "content": chat}]))


def _print_json(result: Generation, label: dict[str, Any], records: bool) -> None:
    for row, trace in enumerate(result.traces):
        scores = {"logprob": float(trace.record["logprob"].sum()), "entropy": float(trace.record["entropy"].sum())}
        sample = {"sequence": row, **label, "text": result.texts[row], "tokens": result.sequences[row]}
        sample |= {"finish": result.finish[row], **scores}
        if records:
            sample["records"] = list(trace.rows())
        print(json.dumps(sample, ensure_ascii=False))


def _save(result: Generation, out: Path) -> None:
    from heatbath.record import write

    write(out, [trace for trace in result.traces if len(trace)])
