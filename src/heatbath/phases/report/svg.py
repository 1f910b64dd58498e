"""An SVG file of ours as part of a page: no namespaces, no ids that clash, colours that follow the page."""

from __future__ import annotations

import re
from html import escape

from heatbath.phases.report.plot_style import COLOURS

_REMOVED_MARKUP = re.compile(
    r"""
      ^.*?(?=<svg)                      # XML declaration and document type
    | <metadata>.*?</metadata>
    | <style\b.*?</style>               # a rule for every element of the page
    | \s xmlns(?::\w+)?="[^"]*"
    | \s id="[A-Za-z.\d]*_\d+"          # names of the parts, the same in every figure
    | \s version="1.1"
    """,
    re.DOTALL | re.VERBOSE,
)
_SIZE = re.compile(r'(<svg\b[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"')


def inline_svg(svg: str, label: str) -> str:
    """The SVG as an element of an HTML page, with its label for those who do not see it."""
    svg = _SIZE.sub(r"\1\2", _REMOVED_MARKUP.sub("", svg), count=1)
    svg = svg.replace("xlink:href", "href").replace("'DejaVu Sans'", "var(--sans)")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
