"""Write docs/cli.md from the commands' own --help. With --check: print what differs and exit with 1.

Run after changing a command: python tools/cli_docs.py, then read the diff.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# Commands

This page is what `--help` prints; `python tools/cli_docs.py` writes it and a test compares the two.

Exit codes: 0 success, 1 failure, 2 bad input or usage, 130 interrupted by Ctrl-C. A failure is one sentence on standard
error; `HEATBATH_DEBUG=1` shows the traceback as well.
"""


def help_of(*words: str) -> str:
    """What `heatbath WORDS --help` prints on a terminal 80 columns wide."""
    from heatbath.cli.main import main

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        code = main([*words, "--help"])
    if code:
        raise SystemExit(f"heatbath {' '.join(words)} --help ended with exit code {code}")
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def commands() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand, as the words one types."""
    from heatbath.cli.main import build_application

    group = build_application()
    for name in group.list_commands(None):
        yield (name,)
        yield from ((name, under) for under in getattr(group.get_command(None, name), "commands", {}))


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "80"
    sections = [f"## heatbath\n\n```text\n{help_of()}\n```\n"]
    for words in commands():
        level = "#" * (len(words) + 1)
        sections.append(f"{level} heatbath {' '.join(words)}\n\n```text\n{help_of(*words)}\n```\n")
    return "\n".join([HEAD, *sections])


def main() -> int:
    """Write the page, or check it."""
    new = page()
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    old = PAGE.read_text(encoding="utf-8")
    diff = difflib.unified_diff(old.splitlines(), new.splitlines(), "docs/cli.md", "--help", lineterm="")
    print(*diff, sep="\n")
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
