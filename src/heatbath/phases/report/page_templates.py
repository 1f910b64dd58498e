"""The templates of the HTML pages of phase maps and comparisons."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def load_template(name: str) -> Template:
    """Read a page template of this package."""
    return Template(files("heatbath.phases.report").joinpath(name).read_text(encoding="utf-8"))
