"""A self-contained HTML page that shows the record of every token of a text on hover."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TextIO

from heatbath.record import Trace, atomic_write
from heatbath.record.token_display import escape_control_characters, surprisal_colour

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1b1b1f; --paper: #fcfcfa; --line: #c9c9c4; --panel: #f0f0ec; --mix: 28%; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ececea; --paper: #17181a; --line: #44464a; --panel: #222428; --mix: 62%; }}
}}
body {{ margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 14rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.7 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }}
h1 {{ font: 600 1.2rem/1.4 system-ui, sans-serif; }}
p {{ font: 0.95rem/1.5 system-ui, sans-serif; }}
section {{ white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid var(--line); padding: 0.8rem 0; }}
span {{ background: color-mix(in srgb, rgb(var(--c)) var(--mix), var(--paper)); border-radius: 2px; }}
span.none {{ background: none; opacity: 0.7; }}
span:hover, span:focus {{ outline: 2px solid var(--ink); outline-offset: 1px; }}
#panel {{ position: fixed; inset: auto 0 0 0; background: var(--panel); border-top: 1px solid var(--line);
  padding: 0.6rem 1rem; min-height: 5.5rem; }}
#panel dl {{ display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; max-width: 60rem; margin: 0 auto; }}
#panel div {{ display: flex; gap: 0.5rem; }}
#panel dt {{ opacity: 0.75; }}
#panel dd {{ margin: 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Colours show surprisal, from 0 to 8 nats or more. Hover over a token, or move with Tab and the arrow keys, to see \
its record. Energies and entropies are in nats; log_z and the energies depend on the gauge of the model.</p>
<main>"""

_TAIL = """</main>
<aside id="panel" role="status" aria-live="polite" aria-label="Record of the token"><dl></dl></aside>
<script>
"use strict";
const names = {names};
const panel = document.querySelector("#panel dl");
const text = value => value === null ? "none" : typeof value === "number" && !Number.isInteger(value)
  ? value.toPrecision(5) : String(value);
function show(token) {{
  const values = JSON.parse(token.dataset.r);
  panel.replaceChildren(...names.map((name, i) => {{
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = name === "text" ? JSON.stringify(values[i]) : text(values[i]);
    pair.append(term, value);
    return pair;
  }}));
}}
const main = document.querySelector("main");
for (const kind of ["mouseover", "focusin"])
  main.addEventListener(kind, event => {{ if (event.target.dataset.r) show(event.target); }});
main.addEventListener("keydown", event => {{
  const step = {{ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling"}}[event.key];
  const next = step && event.target[step];
  if (!next || !next.dataset.r) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}});
</script>
</body>
</html>
"""

_COLUMNS = (
    "text",
    "position",
    "token_id",
    "logprob_at_temperature",
    "rank",
    "entropy",
    "heat_capacity",
    "p_max",
    "energy",
    "log_z",
    "mean_energy",
    "variance",
    "ground",
)


@contextmanager
def open_page(path: Path, model: str, temperature: float) -> Iterator[Callable[[Trace], None]]:
    """Yield a function that adds a trace, or a piece of one; the file appears when the block ends without an error."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_HEAD.format(title=escape(f"{model} at T = {temperature:g}")))
        current: list[int] = []

        def write_trace(trace: Trace) -> None:
            is_new = current != [trace.sequence]
            if is_new:
                file.write("</section>\n<section>" if current else "<section>")
            _write_tokens(file, trace, first=is_new)
            current[:] = [trace.sequence]

        yield write_trace
        file.write("</section>\n" if current else "")
        file.write(_TAIL.format(names=json.dumps(_COLUMNS)))


def _write_tokens(file: TextIO, trace: Trace, *, first: bool) -> None:
    for i, row in enumerate(trace.to_rows()):
        values = escape(json.dumps([_round_value(row[name]) for name in _COLUMNS], ensure_ascii=False))
        tabindex = 0 if first and i == 0 else -1
        text = escape(escape_control_characters(row["text"]))
        file.write(
            f'<span tabindex="{tabindex}"{_format_style(row["logprob_at_temperature"])} data-r="{values}">{text}</span>'
        )


def _format_style(logprob: float | None) -> str:
    if logprob is None:
        return ' class="none"'
    red, green, blue = surprisal_colour(-logprob)
    return f' style="--c:{red},{green},{blue}"'


def _round_value(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
