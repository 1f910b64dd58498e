"""A phase map as HTML for notebooks: its verdicts, and a picture of two curves with the edges."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from heatbath.pages.html_parts import replace_control_characters
from heatbath.phases.curves import Curve
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.phases.report.verdicts import Z_95, build_verdicts
from heatbath.record.token_display import BOX

WIDTH, HEIGHT = 560, 90
CURVES = ("entropy", "heat capacity")
_LEFT = 'style="text-align:left"'
_NOWRAP = 'style="text-align:left;white-space:nowrap"'


def render_phase_map(map_: PhaseMapData) -> str:
    """Render the verdicts of a map as a table, and entropy and heat capacity over temperature as small pictures."""
    title = f"Phase map of {map_.model.model}: {map_.budget.sequences:,} texts, {map_.budget.tokens:,} tokens"
    rows = "".join(
        f"<tr><th {_LEFT}>{_clean(verdict.title)}</th><td {_NOWRAP}><b>{_clean(verdict.statement)}</b></td>"
        f"<td {_LEFT}>{_clean(verdict.reason)}</td></tr>"
        for verdict in build_verdicts(map_)
    )
    pictures = "".join(_render_curve(curve, map_) for curve in map_.curves if curve.name in CURVES)
    return f"{BOX}<div><b>{_clean(title)}</b></div><table><tbody>{rows}</tbody></table>{pictures}</div>"


def _render_curve(curve: Curve, map_: PhaseMapData) -> str:
    """Draw a curve with its 95 % band as inline SVG, the intervals of the edges shaded."""
    low, high = curve.value - Z_95 * curve.stderr, curve.value + Z_95 * curve.stderr
    bottom, top = float(low.min()), float(high.max())
    t = curve.temperature
    x = _scale(t, t[0], t[-1], (0.0, WIDTH))
    y, above, below = (_scale(values, bottom, top, (HEIGHT, 0.0)) for values in (curve.value, high, low))
    band = [*zip(x, above, strict=True), *zip(x[::-1], below[::-1], strict=True)]
    intervals = [_scale(edge.interval, t[0], t[-1], (0.0, WIDTH)) for edge in map_.edges if edge.interval]
    values = f"{curve.value.min():.3g} to {curve.value.max():.3g}"
    label = _clean(f"{curve.name}, {values}, over T from {t[0]:.2f} to {t[-1]:.2f}")
    return (
        f'<figure style="margin:.5rem 0"><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{label}" style="max-width:100%">{"".join(map(_render_interval, intervals))}'
        f'<polygon points="{_join(band)}" fill="currentColor" fill-opacity=".2"/>'
        f'<polyline points="{_join(list(zip(x, y, strict=True)))}" fill="none" stroke="currentColor"/></svg>'
        f"<figcaption>{label}; intervals of the edges shaded</figcaption></figure>"
    )


def _scale(values: Any, low: float, high: float, place: tuple[float, float]) -> list[float]:
    """Map values from [low, high] to a place in the picture."""
    scaled: list[float] = np.interp(values, [low, max(high, low + 1e-12)], place).round(1).tolist()
    return scaled


def _render_interval(ends: list[float]) -> str:
    width = round(ends[1] - ends[0], 1)
    return f'<rect x="{ends[0]}" y="0" width="{width}" height="{HEIGHT}" fill="#88f" fill-opacity=".25"/>'


def _join(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _clean(text: str) -> str:
    return escape(replace_control_characters(text))
