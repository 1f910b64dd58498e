"""Prompt files for tests."""

from __future__ import annotations

from pathlib import Path

GREETING = """\
---
name: greeting
version: 1
description: Greets somebody.
variables:
  who: {type: string, description: Whom to greet.}
  times: {type: integer, default: 2}
  facts: {type: list, default: []}
samples:
  - who: Ann
---
# system
Greet {{ times }} times.

# user
I am {{ who }}.{% for fact in facts %}
{{ loop.index }}. {{ fact }}{% endfor %}
"""


def write_prompt(path: Path, body: str, variables: str = "{t: string}", *, name: str = "p", version: str = "1") -> Path:
    path.write_text(f"---\nname: {name}\nversion: {version}\nvariables: {variables}\n---\n{body}\n", encoding="utf-8")
    return path
