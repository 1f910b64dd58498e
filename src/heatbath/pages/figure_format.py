"""The style of the figures of reports: colours, fonts, and file formats.

Every colour that changes in dark mode has a name in `COLOURS`, so that a page can replace it in an SVG.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1c1d21",
    "soft": "#686d76",
    "rule": "#dadce0",
    "paper": "#fefefe",
    "curve": "#274b74",
    "freeze": "#2a7ab9",
    "melt": "#d1552c",
    "use": "#2d9060",
    "order": "#8452a8",
    "turn": "#a8801c",
    "a": "#1f5a94",
    "b": "#b3451d",
}
WIDTH = 7.2

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": COLOURS["soft"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.facecolor": COLOURS["paper"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": COLOURS["paper"],
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.7,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "ytick.major.size": 2.5,
    "xtick.major.size": 3,
    "svg.fonttype": "none",
}


@contextmanager
def figure_style(salt: str) -> Iterator[None]:
    """Apply the style while figures are drawn and saved; `salt` makes the ids in an SVG unique to the figure."""
    style: Any = {**_STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style), warnings.catch_warnings():
        # A character missing from the font is an empty box in the PNG, and correct in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def write_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG, without metadata that changes from run to run."""
    figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
