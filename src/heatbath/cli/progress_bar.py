"""Progress bars on stderr of commands that work through many texts; none where it is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ProgressCallback = Callable[[int, int], None]
"""Called with what is done and all there is to do."""
LabeledCallback = Callable[[str, int, int], None]
"""Called with the label of a bar, what is done of it and all there is to do."""


@contextmanager
def show_progress(label: str, next_step: str | None = None) -> Iterator[ProgressCallback]:
    """Show a progress bar with the time left; `next_step` is its label at the end."""
    with _open_display() as display:
        if display is None:
            yield lambda done, total: None
            return
        task = display.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            description = label if done < total else next_step or label
            display.update(task, completed=done, total=total, description=description)

        yield advance


@contextmanager
def show_labeled_progress() -> Iterator[LabeledCallback]:
    """Show a progress bar for each label, from its first step on."""
    with _open_display() as display:
        if display is None:
            yield lambda label, done, total: None
            return
        tasks: dict[str, TaskID] = {}

        def advance(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = display.add_task(label, total=total)
            display.update(tasks[label], completed=done)

        yield advance


@contextmanager
def _open_display() -> Iterator[Progress | None]:
    """Open the display of bars; None where stderr is no terminal."""
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
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as display:
        yield display
