"""The progress bar of commands that work through many texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressCallback = Callable[[int, int], None]
"""Called with what is done and all there is to do."""


@contextmanager
def show_progress(label: str, next_step: str | None = None) -> Iterator[ProgressCallback]:
    """Show a progress bar with the time left on stderr, if it is a terminal; `next_step` is its label at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            description = label if done < total else next_step or label
            bar.update(task, completed=done, total=total, description=description)

        yield advance
