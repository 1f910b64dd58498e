"""The verdicts on top of a report: a title, a statement and its reason, on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heatbath.pages.html_parts import escape_text


@dataclass(frozen=True)
class ReportVerdict:
    """One line of the verdict: `kind` names its colour, such as freeze, use, melt, order, best or turn."""

    kind: str
    title: str
    statement: str
    reason: str


def render_verdicts(verdicts: Iterable[ReportVerdict]) -> str:
    """Render the items of a list of verdicts."""
    return "\n".join(map(_render_verdict, verdicts))


def _render_verdict(verdict: ReportVerdict) -> str:
    return (
        f'<li style="--hue: var(--{verdict.kind})"><b>{escape_text(verdict.title)}</b>'
        f"<strong>{escape_text(verdict.statement)}</strong><span>{escape_text(verdict.reason)}</span></li>"
    )
