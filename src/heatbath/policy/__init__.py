"""Rules as energies and as a gate: what a text may say, what a rule costs, and the people who decide in doubt."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heatbath.policy.review import ReviewAction, ReviewDecision, ReviewItem, ReviewQueue
from heatbath.policy.verdict import ACTIONS, Action, RuleMatch, Scope, Verdict

if TYPE_CHECKING:
    from heatbath.policy.policy import Policy, load_policy
    from heatbath.policy.policy_file import PolicyFile
    from heatbath.policy.rule import PolicyRule

__all__ = [
    "ACTIONS",
    "Action",
    "Policy",
    "PolicyFile",
    "PolicyRule",
    "ReviewAction",
    "ReviewDecision",
    "ReviewItem",
    "ReviewQueue",
    "RuleMatch",
    "Scope",
    "Verdict",
    "load_policy",
]

_LAZY_NAMES = {
    "Policy": "policy",
    "PolicyFile": "policy_file",
    "PolicyRule": "rule",
    "load_policy": "policy",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
