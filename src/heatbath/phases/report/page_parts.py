"""Parts of the HTML pages: templates, the style sheet, and figures."""

from __future__ import annotations

import re
from importlib.resources import files
from string import Template

from heatbath.phases.report.figures import inline_svg
from heatbath.phases.report.verdicts import replace_control_characters

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def load_template(name: str) -> Template:
    """Read a page template of this package."""
    return Template(files("heatbath.phases.report").joinpath(name).read_text(encoding="utf-8"))


def load_style() -> str:
    """Read the style sheet of the pages."""
    return files("heatbath.phases.report").joinpath("report_style.css").read_text(encoding="utf-8")


def render_figure(svg: str, label: str) -> str:
    """Render an SVG file of ours as a figure of the page; the name of an observable in it is text of the user's."""
    visible = _CONTROL_CHARACTERS.sub(lambda match: replace_control_characters(match[0]), svg)
    return f"<figure>{inline_svg(visible, replace_control_characters(label))}</figure>"
