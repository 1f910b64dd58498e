"""Whose fault an error is, and what its request is told."""

from __future__ import annotations

import logging
from typing import Any

from heatbath.engine.local.group import Group
from heatbath.engine.local.job import RequestState
from heatbath.ensemble import state
from heatbath.errors import HeatbathError, ModelError, NotANumber

_LOG = logging.getLogger("heatbath.engine")


def find_faulty_requests(group: Group, energies: Any) -> set[RequestState]:
    """The requests of a group whose energies (B, V) are none; all of them where it cannot be told."""
    jobs: dict[RequestState, list[int]] = {}
    for row, answer in enumerate(group.answers):
        jobs.setdefault(answer.request_state, []).append(row)
    if len(jobs) == 1:
        return set(jobs)
    bad = {job for job, rows in jobs.items() if _is_invalid(energies[rows])}
    return bad or set(jobs)


def _is_invalid(energies: Any) -> bool:
    try:
        state(energies, 1.0)
    except HeatbathError:
        return True
    return False


def to_public_error(error: Exception, model: str, token: int) -> HeatbathError:
    """The error as its request is told of it: nothing of the inside of a program."""
    if isinstance(error, NotANumber) and not str(error).startswith(("field", "window", "potential")):
        return NotANumber(f"{model} gave NaN at generated token {token}: {error}")
    if isinstance(error, HeatbathError):
        return error
    _LOG.error("a request failed", exc_info=error)
    return ModelError(f"the request failed inside the engine ({type(error).__name__}): try it with other settings.")
