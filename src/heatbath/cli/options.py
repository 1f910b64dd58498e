"""Options that several commands share, and the options of `heatbath generate` that steer a sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heatbath.errors import BadInput

ModelName = Annotated[str, typer.Option(help="Catalog name, hub id, folder or .gguf file.")]
Dtype = Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of the random numbers.")]
TraceFile = Annotated[Path | None, typer.Option(help="Write the traces to a Parquet file.", show_default=False)]

StopTexts = Annotated[list[str] | None, typer.Option(help="Text that ends a sample; repeatable.", show_default=False)]
StopTokenIds = Annotated[
    list[int] | None,
    typer.Option(help="Token id that ends a sample, beside the model's own; repeatable.", show_default=False),
]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="The model's own stop tokens end nothing.")]
RecordKind = Annotated[str, typer.Option(help="Record of each step: full, state, nodes or none.")]
SamplerName = Annotated[str, typer.Option(help="Name of a sampler.")]
SamplerOptions = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", help="name=value for the sampler, such as particles=32.", show_default=False),
]
Fields = Annotated[list[str] | None, typer.Option(help="name=value, such as dry=0.8; repeatable.", show_default=False)]
Potentials = Annotated[
    list[str] | None, typer.Option(help="name=value, such as regex=[0-9]+; repeatable.", show_default=False)
]
Windows = Annotated[
    list[str] | None, typer.Option(help="name=value, such as typical=0.95; repeatable, in order.", show_default=False)
]
TopK = Annotated[int | None, typer.Option(help="Keep the k most probable tokens.", show_default=False)]
TopP = Annotated[float | None, typer.Option(help="Keep the most probable tokens of total mass p.", show_default=False)]
MinP = Annotated[
    float | None, typer.Option(help="Keep tokens of at least p times the top probability.", show_default=False)
]


def validate_output_paths(*paths: Path | None) -> None:
    """Check that the folder of each output file exists.

    Raises:
        BadInput: a folder does not exist.
    """
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise BadInput(f"there is no folder {path.parent} for {path.name}: create it, or choose another path.")
