"""Policies written as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from heatbath.policy import Policy, load_policy

WritePolicy = Callable[[str], Policy]


@pytest.fixture
def write_policy(tmp_path: Path) -> WritePolicy:
    """Return a function that loads a policy from the text of its rules."""

    def write(rules: str) -> Policy:
        path = tmp_path / "policy.yaml"
        path.write_text("rules:\n" + dedent(rules), encoding="utf-8")
        return load_policy(path)

    return write
