"""Options that several commands share, those of `generate` that steer a sampler, and those of `sweep` that ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

PromptsPath = Annotated[
    Path | None,
    typer.Option(help='JSON lines with "prompt", and "answer" to score: see docs/prompts.md.', show_default=False),
]
ChatMode = Annotated[
    bool | None,
    typer.Option(
        "--chat/--no-chat",
        " /--raw",
        help="Prompts as user turns of the chat template, or as text to continue.",
        show_default="chat if the model has a template",
    ),
]
SystemMessage = Annotated[str | None, typer.Option(help="System message in front of every prompt.", show_default=False)]
DrawWindows = Annotated[
    list[str] | None,
    typer.Option(help="Window that tokens are drawn through, such as top_p=0.9; repeatable.", show_default=False),
]
AllowEnd = Annotated[
    bool | None,
    typer.Option(
        "--allow-end/--forbid-end",
        help="Texts may end by themselves, or have one length.",
        show_default="allowed in a chat",
    ),
]
ScorerName = Annotated[
    str | None, typer.Option(help="module:function from prompt and text to a score, 0 to 1.", show_default=False)
]
ObservableNames = Annotated[
    list[str] | None,
    typer.Option(help="name=module:function from a text to a number; repeatable.", show_default=False),
]
