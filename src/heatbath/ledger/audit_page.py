"""The page of an audit: a table of the entries that were found, and all that is known of each."""

from __future__ import annotations

import json
from collections.abc import Sequence

from heatbath.ledger.audit import AUDIT_COLUMNS, AuditRow
from heatbath.ledger.checkpoint import VerifiedCheckpoint
from heatbath.pages.html_parts import escape_text, load_style, render_table
from heatbath.pages.report_folder import load_template

MAX_DETAILS = 500
"""Entries whose full record is on the page."""


def render_audit_page(rows: Sequence[AuditRow], found: VerifiedCheckpoint, conditions: str) -> str:
    """Return the page of an audit, self-contained HTML."""
    checkpoint = found.checkpoint
    summary = f"{len(rows):,} of {checkpoint.size:,} entries of {checkpoint.origin}; {conditions}."
    left_out = f"<p>The first {MAX_DETAILS} are shown.</p>" if len(rows) > MAX_DETAILS else ""
    return load_template("heatbath.ledger", "audit_template.html").substitute(
        title=escape_text(f"Audit of {checkpoint.origin}"),
        style=load_style(),
        summary=escape_text(summary),
        table=render_table(AUDIT_COLUMNS, (row.cells() for row in rows), text_columns=(7, 8)),
        details=left_out + "\n".join(map(_render_details, rows[:MAX_DETAILS])),
        checkpoint=escape_text(found.note),
    )


def _render_details(row: AuditRow) -> str:
    content = escape_text(json.dumps(row.as_json(), indent=2, ensure_ascii=False))
    return f"<details><summary>entry {row.number}</summary><pre>{content}</pre></details>"
