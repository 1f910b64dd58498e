"""`heatbath compare`: two models, precisions, quantisations, seeds, windows or sweeps, and their differences."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatbath.cli.options import AllowEnd, ChatMode, Device, Dtype, Seed, SystemMessage
from heatbath.cli.progress_bar import show_labeled_progress
from heatbath.cli.side_specs import SideSpec, parse_side_specs
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.models import Model
    from heatbath.phases.comparison import Comparison, ComparisonPlan, Side
    from heatbath.phases.comparison.model_comparison import Progress, SharedTextOptions
    from heatbath.questions.scored_prompts import Prompt

SideArgument = Annotated[str, typer.Argument(help="A model, as MODEL or MODEL:SETTINGS, or the folder of a sweep.")]
OtherSide = Annotated[
    str | None, typer.Argument(help="The other one; :SETTINGS is the model of A.", show_default="the model of A")
]
OptionalDtype = Annotated[str | None, typer.Option(help="dtype of B alone.", show_default=False)]
OptionalSeed = Annotated[int | None, typer.Option(help="Seed of B alone.", show_default=False)]
WindowList = Annotated[
    list[str] | None, typer.Option(help="name=value, cuts the draws of both sides; repeatable.", show_default=False)
]
WindowListOfB = Annotated[
    list[str] | None, typer.Option(help="name=value, cuts the draws of B alone.", show_default=False)
]
PromptsFile = Annotated[Path | None, typer.Option(help='JSON lines with "prompt" or "messages".', show_default=False)]
TextsFile = Annotated[
    Path | None,
    typer.Option(help='Shared texts: a text file, or .jsonl with a key "text".', show_default="texts both sides drew"),
]


def compare(
    a: SideArgument,
    b: OtherSide = None,
    *,
    dtype: Dtype = None,
    dtype_b: OptionalDtype = None,
    device: Device = None,
    window: WindowList = None,
    window_b: WindowListOfB = None,
    seed: Seed = 0,
    seed_b: OptionalSeed = None,
    temperatures: Annotated[tuple[float, float], typer.Option(help="Lowest and highest temperature.")] = (0.2, 1.8),
    anchors: Annotated[int, typer.Option(help="Number of temperatures.")] = 17,
    pairs: Annotated[int, typer.Option(help="Pairs of texts at each temperature.")] = 20,
    length: Annotated[int, typer.Option(help="Tokens per text.")] = 128,
    prompts: PromptsFile = None,
    chat: ChatMode = None,
    system: SystemMessage = None,
    allow_end: AllowEnd = None,
    texts: TextsFile = None,
    text_temperature: Annotated[float, typer.Option(help="Temperature of the shared texts' distributions.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder for the page and the traces.")] = Path("comparison"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the comparison in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json in place of tables.")] = False,
) -> None:
    """Compare two models, precisions, seeds or windows, with intervals.

    Differences are B − A, with 95 % intervals. Both sides continue the same prompts at the same temperatures from the
    same random numbers. SETTINGS are separated by commas: float32 or bfloat16, cpu or cuda, seed=1, and windows such as
    top_p=0.9. So smollm2-135m:float32 and :bfloat16 are the same model in two precisions. Two folders of sweeps are
    compared from their phases.json.
    """
    if texts is not None and not texts.is_file():
        raise BadInput(f"there is no file {texts}: check --texts.")
    maps = _find_maps(a, b)
    if maps is not None:
        _validate_folder(out, resume=False)
        _print_result(_compare_maps(*maps), out, as_json)
        return
    common = SideSpec(windows=tuple(window or ()), dtype=dtype, device=device, seed=seed)
    of_b = SideSpec(windows=tuple(window_b or ()), dtype=dtype_b, seed=seed_b)
    specs = parse_side_specs((a, b), common, of_b)
    from heatbath.phases.comparison import ComparisonPlan

    plan = ComparisonPlan(temperatures[0], temperatures[1], anchors, pairs, length, chat, system, allow_end)
    items, shared = _read_prompts(prompts), _build_shared(texts, text_temperature)
    _validate_folder(out, resume)
    sides = _load_sides(specs)
    plan = plan.settle(sides[0].model, sides[1].model)
    for side in sides:
        plan.build_sweep_plan(side, items)
    with show_labeled_progress() as progress:
        comparison = _run(sides, items, (plan, shared), (out, progress))
    _print_result(comparison, out, as_json)


def _run(
    sides: tuple[Side, Side],
    prompts: Sequence[Prompt] | None,
    settings: tuple[ComparisonPlan, SharedTextOptions],
    output: tuple[Path, Progress],
) -> Comparison:
    from heatbath.phases.comparison import compare_models

    try:
        return compare_models(*sides, prompts, plan=settings[0], shared=settings[1], out=output[0], progress=output[1])
    except KeyboardInterrupt:
        print(f"heatbath: finished batches are saved in {output[0]}: continue with --resume.", file=sys.stderr)
        raise


def _find_maps(a: str, b: str | None) -> tuple[Path, Path] | None:
    """Return the phase maps to compare if both sides are sweeps, None if both are models."""
    sides = [Path(side) for side in (a, b or "")]
    are_maps = [_is_map(side) for side in sides]
    if all(are_maps):
        return sides[0], sides[1]
    if any(are_maps):
        other = sides[1 - are_maps.index(True)]
        raise BadInput(
            f"A and B must both be sweeps or both be models; {sides[are_maps.index(True)]} is a sweep, and "
            f"{str(other) if str(other) != '.' else 'B'} is not."
        )
    return None


def _is_map(side: Path) -> bool:
    """Return whether a side is the folder or file of a sweep; a text that is too long for a path is not."""
    return os.path.isfile(side / "phases.json") or (side.suffix == ".json" and os.path.isfile(side))


def _compare_maps(a: Path, b: Path) -> Comparison:
    from heatbath.phases import PhaseMap
    from heatbath.phases.comparison import compare_maps

    maps = [PhaseMap.load(path) for path in (a, b)]
    labels = tuple(f"{map_.model.model} in {path}" for map_, path in zip(maps, (a, b), strict=True))
    return compare_maps(maps[0], maps[1], (labels[0], labels[1]))


def _read_prompts(path: Path | None) -> list[Prompt] | None:
    from heatbath.questions.scored_prompts import read_prompt_file

    return None if path is None else [item.prompt for item in read_prompt_file(path).items]


def _build_shared(path: Path | None, temperature: float) -> SharedTextOptions:
    from heatbath.cli.inputs import Inputs
    from heatbath.phases.comparison.model_comparison import SharedTextOptions

    if not 0 < temperature < float("inf"):
        raise BadInput(f"`text_temperature` must be above 0, got {temperature:g}.")
    if path is None:
        return SharedTextOptions(temperature=temperature)
    inputs = Inputs(None, [str(path)], path.suffix == ".jsonl")
    inputs.validate()
    found = [text.read() if isinstance(text, TextIOBase) else str(text) for text in inputs.open_documents()]
    return SharedTextOptions(found, temperature, f"the texts of {path.name}")


def _load_sides(specs: tuple[SideSpec, SideSpec]) -> tuple[Side, Side]:
    """Load the models, one that both sides share only once, and check the windows before any text is drawn."""
    from heatbath.models import load
    from heatbath.phases.comparison import Side

    models: dict[tuple[str, str | None, str | None], Model] = {}
    sides = []
    for spec in specs:
        key = (spec.model, spec.dtype, spec.device)
        if key not in models:
            models[key] = load(spec.model, dtype=spec.dtype, device=spec.device)
        model = models[key]
        side = Side(model, spec.seed or 0, spec.windows, spec.format_label(specs, model.name))
        side.windows  # noqa: B018
        sides.append(side)
    return sides[0], sides[1]


def _validate_folder(out: Path, resume: bool) -> None:
    """Check before any work that the folder can be used."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder for --out.")
    if not resume and ((out / "comparison.json").exists() or any(out.glob("traces-?/traces/*.parquet"))):
        raise BadInput(f"{out} holds a comparison: add --resume to continue it, or give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".writable"
    probe.touch()
    probe.unlink()


def _print_result(comparison: Comparison, out: Path, as_json: bool) -> None:
    page = comparison.save(out)
    if as_json:
        from heatbath.phases.result_file import COMPARISON_FORMAT

        print(COMPARISON_FORMAT.format(comparison), end="")
        print(f"heatbath: the page is {page}", file=sys.stderr)
        return
    from rich.console import Console

    from heatbath.cli.comparison_summary import print_comparison

    console = Console(highlight=False, markup=False)
    print_comparison(comparison, console)
    console.print(f"\nThe page is {page}", soft_wrap=True)
