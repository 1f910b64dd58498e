"""A generation as HTML for notebooks: one row per sequence, with what each counts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from heatbath.record.token_display import BOX, escape_control_characters

if TYPE_CHECKING:
    from heatbath.engine.result import Generation, Sample

MAX_ROWS = 20
MAX_CHARACTERS = 600
_TEXT_CELL = '<td style="text-align:left;white-space:pre-wrap;overflow-wrap:anywhere">'


def render_generation(generation: Generation) -> str:
    """Render the first sequences of a generation as a table, the chosen one in bold, with a line on all of them."""
    samples = generation.samples[:MAX_ROWS]
    pairs = zip(samples, _compute_shares(generation), strict=False)
    rows = [_render_row(number, sample, share) for number, (sample, share) in enumerate(pairs)]
    if generation.best_index < len(rows):
        rows[generation.best_index] = rows[generation.best_index].replace("<tr>", '<tr style="font-weight:bold">', 1)
    rest = len(generation) - len(samples)
    more = f"<div>… and {rest:,} more</div>" if rest > 0 else ""
    head = "".join(f"<th>{name}</th>" for name in ("", "text", "ended by", "log p", "weight"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    summary = escape(escape_control_characters(_describe_generation(generation)))
    return f"{BOX}{table}{more}<div>{summary}</div></div>"


def _describe_generation(generation: Generation) -> str:
    parts = [f"{generation.provenance.model}: {len(generation):,} sequences, {generation.tokens_spent:,} tokens drawn"]
    if generation.log_z is not None:
        parts.append(f"log Z {generation.log_z:.3f} ± {generation.log_z_stderr:.3f}")
    if generation.ess == generation.ess:
        parts.append(f"effective sequences {generation.ess:.1f}")
    return ", ".join(parts)


def _compute_shares(generation: Generation) -> list[float]:
    """Return the share of each sequence in the sum of the weights."""
    log_weight = np.asarray(generation.weighted_samples.log_weight, np.float64)
    largest = log_weight.max(initial=-np.inf)
    weights = np.exp(log_weight - largest) if np.isfinite(largest) else np.zeros(len(log_weight))
    shares: list[float] = (weights / max(weights.sum(), 1e-300)).tolist()
    return shares


def _render_row(number: int, sample: Sample, share: float) -> str:
    text = sample.text if len(sample.text) <= MAX_CHARACTERS else sample.text[:MAX_CHARACTERS] + "…"
    cells = "".join(f"<td>{cell}</td>" for cell in (sample.finish_reason, f"{sample.logprob:.2f}", f"{share:.3f}"))
    return f"<tr><td>{number}</td>{_TEXT_CELL}{escape(escape_control_characters(text))}</td>{cells}</tr>"
