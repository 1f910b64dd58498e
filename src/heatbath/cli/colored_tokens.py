"""Tokens as coloured text: the background colour of a token shows its surprisal."""

from __future__ import annotations

import math

from rich.style import Style
from rich.text import Text

from heatbath.record import Trace
from heatbath.record.token_display import escape_control_characters, surprisal_colour


def render_tokens(trace: Trace) -> Text:
    """Render the tokens of a trace, from green (expected) to red (a surprisal of 8 nats or more)."""
    text = Text()
    for piece, logprob in zip(trace.token_texts, trace.record["logprob"].tolist(), strict=True):
        text.append(escape_control_characters(piece), token_style(-logprob))
    return text


def token_style(surprisal: float) -> Style:
    """Return the style for a surprisal in nats; dim for NaN."""
    if math.isnan(surprisal):
        return Style(dim=True)
    red, green, blue = surprisal_colour(surprisal)
    return Style(color="white", bgcolor=f"rgb({red},{green},{blue})")
