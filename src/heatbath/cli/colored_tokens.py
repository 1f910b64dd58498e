"""Tokens as coloured text: the background colour of a token shows its surprisal."""

from __future__ import annotations

import math

from rich.style import Style
from rich.text import Text

from heatbath.record import Trace

_RAMP = ((0, 110, 50), (70, 115, 0), (120, 105, 0), (150, 85, 0), (165, 55, 20), (170, 20, 40))
_MAX_SURPRISAL = 8.0


def render_tokens(trace: Trace) -> Text:
    """Render the tokens of a trace, from green (expected) to red (a surprisal of 8 nats or more)."""
    text = Text()
    for piece, logprob in zip(trace.token_texts, trace.record["logprob"].tolist(), strict=True):
        text.append(escape_control_characters(piece), token_style(-logprob))
    return text


def escape_control_characters(piece: str) -> str:
    """Make line ends and control characters of a token visible."""
    text = piece.replace("\r", "␍").replace("\t", "→\t").replace("\n", "↵\n")
    return "".join(
        c if c in "\n\t" or not _is_control(c) else "�" if ord(c) > 0x7F else chr(0x2400 + ord(c)) for c in text
    )


def token_style(surprisal: float) -> Style:
    """Return the style for a surprisal in nats; dim for NaN."""
    if math.isnan(surprisal):
        return Style(dim=True)
    red, green, blue = surprisal_colour(surprisal)
    return Style(color="white", bgcolor=f"rgb({red},{green},{blue})")


def surprisal_colour(surprisal: float) -> tuple[int, int, int]:
    """Interpolate the colour ramp at a surprisal in nats."""
    place = min(max(surprisal, 0.0), _MAX_SURPRISAL) / _MAX_SURPRISAL * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    part = place - low
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return red, green, blue


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0
