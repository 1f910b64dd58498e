"""The display of tokens: visible control characters, the colour of a surprisal, and a trace as HTML for notebooks."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heatbath.record.trace import Trace

MAX_SURPRISAL = 8.0
"""The surprisal, in nats, from which the colour stays the same."""
MAX_HTML_TOKENS = 400
_RAMP = ((0, 110, 50), (70, 115, 0), (120, 105, 0), (150, 85, 0), (165, 55, 20), (170, 20, 40))
# Notebooks typeset what stands between dollar signs unless a class tells them not to.
BOX = '<div class="tex2jax_ignore mathjax_ignore" style="max-width:60rem;unicode-bidi:isolate">'
_TEXT_STYLE = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24rem;overflow:auto"


def escape_control_characters(piece: str) -> str:
    """Make line ends and control characters of a token visible."""
    text = piece.replace("\r", "␍").replace("\t", "→\t").replace("\n", "↵\n")
    return "".join(
        c if c in "\n\t" or not _is_control(c) else "�" if ord(c) > 0x7F else chr(0x2400 + ord(c)) for c in text
    )


def surprisal_colour(surprisal: float) -> tuple[int, int, int]:
    """Interpolate the colour ramp at a surprisal in nats: green is expected, red a surprise."""
    place = min(max(surprisal, 0.0), MAX_SURPRISAL) / MAX_SURPRISAL * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    part = place - low
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return red, green, blue


def render_trace(trace: Trace) -> str:
    """Render a trace for a notebook: its first tokens coloured by surprisal, with numbers on hover."""
    shown = trace.take(slice(MAX_HTML_TOKENS))
    columns = (shown.record[name].tolist() for name in ("logprob", "entropy", "heat_capacity"))
    spans = [_render_token(text, *values) for text, *values in zip(shown.token_texts, *columns, strict=True)]
    rest = len(trace) - len(shown)
    more = f" … and {rest:,} more" if rest else ""
    body = f'<div style="{_TEXT_STYLE}">{"".join(spans)}{more}</div>'
    return f"{BOX}{body}<div>{escape(escape_control_characters(describe_trace(trace)))}</div></div>"


def describe_trace(trace: Trace) -> str:
    """Describe a trace in one line: model, tokens, and the mean surprisal of those with a context."""
    surprisals = -trace.record["logprob"][trace.scored_mask]
    mean = f", mean surprisal {surprisals.mean():.3f} nats" if surprisals.size else ""
    return f"{trace.provenance.model}: {len(trace):,} tokens{mean}"


def _render_token(text: str, logprob: float, entropy: float, heat_capacity: float) -> str:
    shown = escape(escape_control_characters(text))
    if math.isnan(logprob):
        return f'<span title="no context">{shown}</span>'
    red, green, blue = surprisal_colour(-logprob)
    numbers = f"surprisal {-logprob:.3f}, entropy {entropy:.3f}, heat capacity {heat_capacity:.3f}"
    return f'<span style="background:rgba({red},{green},{blue},.35)" title="{numbers}">{shown}</span>'


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0
