"""Parts of the HTML pages: templates, the style sheet, escaped text, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
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


def escape_text(value: object) -> str:
    """Escape a value for HTML, with control characters made visible."""
    return escape(replace_control_characters(str(value)))


def render_figure(svg: str, label: str) -> str:
    """Render an SVG file of ours as a figure of the page; the name of an observable in it is text of the user's."""
    visible = _CONTROL_CHARACTERS.sub(lambda match: replace_control_characters(match[0]), svg)
    return f"<figure>{inline_svg(visible, replace_control_characters(label))}</figure>"


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int] = ()) -> str:
    """Render a table; the columns `text_columns` hold sentences and wrap."""
    kinds = [' class="words"' if i in text_columns else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{escape_text(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "\n".join(
        f"<tr>{''.join(f'<td{kind}>{escape_text(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
