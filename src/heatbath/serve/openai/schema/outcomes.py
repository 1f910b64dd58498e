"""Labels of answers that carried a confidence."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class OutcomeRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A label of choice `index` of the answer `id`, of the first choice where no index is given."""

    id: Annotated[str, Meta(min_length=1, max_length=512)]
    correct: bool
    index: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class Outcome(Struct, kw_only=True):
    """The label as it is stored; `replaced`: a different one was stored before."""

    id: str
    object: Literal["outcome"] = "outcome"
    index: int
    correct: bool
    confidence: float
    replaced: bool
