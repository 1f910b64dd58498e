"""The check of a folder of prompts: measure each, compare it with its baseline, keep what is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.record.output_files import atomic_write
from heatbath.record.result_file import to_builtins
from heatbath.serve.stack.prompts.baseline import (
    Baseline,
    BaselineSettings,
    baseline_path,
    load_baseline,
    measure_baseline,
)
from heatbath.serve.stack.prompts.drift import FALSE_ALARMS, TOLERANCE, Change, compare_baselines
from heatbath.serve.stack.prompts.library import VERSIONS
from heatbath.serve.stack.prompts.template import PromptTemplate

Status = Literal["new", "same", "changed", "drift", "updated", "reused"]


@dataclass(frozen=True)
class CheckPlan:
    """The way to check.

    Attributes:
        settings: those given; what is not given is as in the baseline.
        update: accept what is measured as the baseline.
        tolerance: the relative change that is no drift.
        false_alarms: the largest probability of a false drift for a prompt.
    """

    settings: Mapping[str, Any]
    update: bool = False
    tolerance: float = TOLERANCE
    false_alarms: float = FALSE_ALARMS


@dataclass(frozen=True)
class CheckResult:
    """The result for one prompt.

    Attributes:
        status: "new" (the first baseline was written), "same", "changed" (the prompt or the model is another and the
            baseline has not moved), "drift", "updated" (what was measured is the baseline now), or "reused" (the
            version was accepted with another content before, and nothing was measured).
        baseline: what was measured.
        before: the baseline that it is compared with.
    """

    template: PromptTemplate
    status: Status
    baseline: Baseline | None = None
    before: Baseline | None = None
    changes: tuple[Change, ...] = ()

    @property
    def is_failure(self) -> bool:
        """True for a drift, and for a version with two contents."""
        return self.status in ("drift", "reused")

    def describe(self) -> dict[str, Any]:
        """Return the result, ready for JSON."""
        changes = [{**to_builtins(change), "is_drift": change.is_drift} for change in self.changes]
        return {
            "prompt": self.template.reference,
            "file": str(self.template.path),
            "status": self.status,
            "baseline": to_builtins(self.baseline),
            "before": to_builtins(self.before),
            "changes": changes,
        }


def check_prompt(
    template: PromptTemplate, model: Model, plan: CheckPlan, *, on_input: Callable[[int], object] | None = None
) -> CheckResult:
    """Measure a prompt and compare it with the baseline beside its file; write the first one, and one to update.

    What is accepted is kept in the folder `versions` too, so that a server finds it when the file has gone on.

    Raises:
        BadInput: settings other than those of the baseline, or a prompt that cannot be measured.
    """
    kept = accepted_path(template)
    if kept.is_file() and kept.read_text(encoding="utf-8") != template.source:
        return CheckResult(template, "reused")
    path = baseline_path(template)
    before = load_baseline(path) if path.exists() and not plan.update else None
    baseline = measure_baseline(model, template, _choose_settings(plan, before, path), on_input=on_input)
    if before is not None:
        changes = compare_baselines(before, baseline, tolerance=plan.tolerance, false_alarms=plan.false_alarms)
        return CheckResult(template, _judge(before, baseline, changes), baseline, before, tuple(changes))
    is_update = path.exists()
    baseline.save(path)
    kept.parent.mkdir(exist_ok=True)
    with atomic_write(kept) as temporary:
        temporary.write_text(template.source, encoding="utf-8", newline="\n")
    return CheckResult(template, "updated" if is_update else "new", baseline)


def accepted_path(template: PromptTemplate) -> Path:
    """Return where the accepted content of a version is kept."""
    return template.path.parent / VERSIONS / f"{template.reference}.md"


def _choose_settings(plan: CheckPlan, before: Baseline | None, path: Path) -> BaselineSettings:
    """Return the settings given, the others as in the baseline."""
    if before is None:
        return BaselineSettings(**plan.settings)
    for name, value in plan.settings.items():
        if getattr(before.settings, name) != value:
            was = getattr(before.settings, name)
            raise BadInput(
                f"{path} was measured with {name} {was}, not {value}: leave it out, or add --update.", param=name
            )
    return before.settings


def _judge(before: Baseline, after: Baseline, changes: list[Change]) -> Status:
    if any(change.is_drift for change in changes):
        return "drift"
    is_same = (before.digest, before.fingerprint) == (after.digest, after.fingerprint)
    return "same" if is_same else "changed"
