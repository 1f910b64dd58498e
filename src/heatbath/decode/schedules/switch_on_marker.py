"""A schedule with one temperature before a marker has been generated, and another after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule, validate_temperature
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

TokenBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class MarkerSchedule(Schedule):
    """The temperature `before` until the completion contains `marker`, `after` from the next token on.

    A marker of bytes is searched for in the text of the completion, `token_bytes` of its tokens joined, so that it does
    not matter how the text is split into tokens. A marker of token ids is searched for among the tokens.
    """

    marker: bytes | tuple[int, ...]
    before: float
    after: float
    token_bytes: TokenBytes | None = None

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        is_after = [self._is_in(context.completion(row)) for row in range(len(context))]
        return np.where(np.asarray(is_after, bool), self.after, self.before)

    def _is_in(self, completion: Sequence[int]) -> bool:
        if isinstance(self.marker, tuple):
            return _contains_tokens(list(completion), self.marker)
        assert self.token_bytes is not None
        return self.marker in b"".join(map(self.token_bytes, completion))


def by_phase(
    marker: str | Sequence[int], *, before: float, after: float, token_bytes: TokenBytes | None = None
) -> MarkerSchedule:
    """Return a `MarkerSchedule` for a text, with the model's `token_bytes`, or for token ids.

    Raises `BadInput` for an empty marker, a text without `token_bytes`, and for temperatures below 0.
    """
    if not len(marker):
        raise BadInput("`marker` must have at least one character or token, got none.", param="marker")
    first = validate_temperature("the temperature before the marker", before)
    second = validate_temperature("the temperature after the marker", after)
    if not isinstance(marker, str):
        return MarkerSchedule(tuple(int(token) for token in marker), first, second)
    if token_bytes is None:
        raise BadInput(
            "`marker` must come with the model's `token_bytes` if it is a text: give these, or token ids.",
            param="marker",
        )
    return MarkerSchedule(marker.encode("utf-8", errors="replace"), first, second, token_bytes)


def _contains_tokens(completion: list[int], marker: tuple[int, ...]) -> bool:
    at = -1
    for _ in range(completion.count(marker[0])):
        at = completion.index(marker[0], at + 1)
        if tuple(completion[at : at + len(marker)]) == marker:
            return True
    return False


def _build_by_phase(context: BuildContext, marker: str, before: float, after: float) -> Schedule:
    if not isinstance(marker, str):
        raise BadInput(f"`marker` must be a text, got {marker!r:.60}.", param="marker")
    return by_phase(marker, before=before, after=after, token_bytes=context.token_bytes)


SPEC = Spec("by_phase", "schedule", _build_by_phase, '{"marker": "Answer:", "before": 1.0, "after": 0.3}', order=70)
