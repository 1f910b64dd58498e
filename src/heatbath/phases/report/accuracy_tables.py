"""The tables of a report on scored prompts: accuracies with their intervals, and what was scored wrong."""

from __future__ import annotations

from heatbath.pages.html_parts import escape_text, render_cells, render_table
from heatbath.phases.advice import Advice, BestTemperature, WrongAnswers
from heatbath.phases.report.verdicts import Z_95

MAX_WRONG_PROMPTS = 40
MAX_CHARACTERS = 400


def render_accuracy(advice: Advice) -> str:
    """Render the accuracies at each temperature with their intervals, and the prompts that were answered wrongly."""
    if not advice.best:
        return ""
    head = ("T", *(one.way for one in advice.best))
    rows = [
        (f"{t:.2f}", *(format_accuracy(one, k) for one in advice.best))
        for k, t in enumerate(advice.best[0].temperatures)
    ]
    note = "In brackets 95 % intervals (Wilson, with the effective number of answers) for prompts like these."
    return (
        f"<h2>Accuracy on the scored prompts</h2>\n<p>{escape_text(note)}</p>\n{render_table(head, rows)}\n"
        f"{_render_wrong(advice)}"
    )


def format_accuracy(best: BestTemperature, k: int) -> str:
    """Format one accuracy with its interval, or with its band for a map that has no intervals."""
    if not best.accuracy_interval:
        return f"{best.accuracy[k]:.1%} ± {Z_95 * best.accuracy_stderr[k]:.1%}"
    low, high = best.accuracy_interval[k]
    return f"{best.accuracy[k]:.1%} ({low:.1%} to {high:.1%})"


def _render_wrong(advice: Advice) -> str:
    if not advice.wrong:
        return ""
    shown = advice.wrong[:MAX_WRONG_PROMPTS]
    count = f"{len(shown)} of {len(advice.wrong)} prompts" if len(shown) < len(advice.wrong) else "All prompts"
    title = f"Scored wrong at T = {advice.wrong[0].temperature:.2f}"
    note = (
        f"{count} with a wrong answer at the best temperature for one answer, the worst first, with a few of these "
        "answers. If they look right to you, change the grader of the prompt."
    )
    head = ("prompt", "expected", "grader", "right", "scored wrong")
    table = render_cells(head, map(_wrong_row, shown), text_columns=(0, 1, 4))
    return f"<h3>{escape_text(title)}</h3>\n<p>{escape_text(note)}</p>\n{table}"


def _wrong_row(wrong: WrongAnswers) -> list[str]:
    texts = "".join(f"<li>{escape_text(_shorten(text))}</li>" for text in wrong.texts)
    prompt, expected, grader = (escape_text(_shorten(cell)) for cell in (wrong.prompt, wrong.expected, wrong.grader))
    return [prompt, expected, grader, f"{wrong.share_right:.0%}", f'<ol class="texts">{texts}</ol>']


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"
