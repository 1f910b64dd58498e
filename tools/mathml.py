"""Formulas in the documentation become MathML when it is built, so that a page needs no script and fetches nothing."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """What mkdocs calls with the body of every page."""
    return FORMULA.sub(_mathml, html)


def _mathml(match: re.Match[str]) -> str:
    return convert(unescape(match[2]), display="block" if match[1] == "div" else "inline")
