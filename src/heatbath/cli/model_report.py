"""The part of `heatbath doctor` about a model: one line for each check."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer


def report_model(name: str, *, dtype: str | None, device: str | None, as_json: bool) -> bool:
    """Print the checks of a model as they are made, or one JSON object; return True if all passed."""
    from heatbath.models.hub.model_checks import check_model_by_name

    checks = []
    for check in check_model_by_name(name, dtype=dtype, device=device):
        checks.append(check)
        if not as_json:
            typer.echo(f"{'ok' if check.passed else 'FAILED':<8}{check.name:<15}{check.text}")
    passed = all(check.passed for check in checks)
    if as_json:
        typer.echo(json.dumps({"model": name, "passed": passed, "checks": [asdict(check) for check in checks]}))
    return passed
