"""Parts of the HTML pages of reports: escaped text, tables, figures, and the style sheet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from heatbath.pages.figure_format import COLOURS

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
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def replace_control_characters(text: str) -> str:
    """Replace control characters by visible symbols; line breaks and tabs stay."""
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\N{REPLACEMENT CHARACTER}"


def escape_text(value: object) -> str:
    """Return a value as text of an HTML page, control characters visible."""
    return escape(replace_control_characters(str(value)))


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int] = ()) -> str:
    """Render a table of plain text; the columns `text_columns` hold sentences and wrap."""
    return render_cells(head, ([escape_text(cell) for cell in row] for row in rows), text_columns)


def render_cells(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int]) -> str:
    """Render a table whose cells are HTML."""
    kinds = [' class="words"' if i in text_columns else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{escape_text(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "\n".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>" for row in rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def load_style() -> str:
    """Read the style sheet of the pages."""
    return files("heatbath.pages").joinpath("report_style.css").read_text(encoding="utf-8")


def render_figure(svg: str, label: str) -> str:
    """Render an SVG file of ours as a figure of the page; the name of an observable in it is text of the user's."""
    visible = _CONTROL_CHARACTERS.sub(lambda match: replace_control_characters(match[0]), svg)
    return f"<figure>{inline_svg(visible, replace_control_characters(label))}</figure>"


def inline_svg(svg: str, label: str) -> str:
    """Convert an SVG file of ours to an element of an HTML page, with a label for screen readers.

    Namespaces and ids that would clash are removed, and colours become the variables of the page.
    """
    svg = _SIZE.sub(r"\1\2", _REMOVED_MARKUP.sub("", svg), count=1)
    svg = svg.replace("xlink:href", "href").replace("'DejaVu Sans'", "var(--sans)")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
