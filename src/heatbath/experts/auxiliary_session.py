"""Another model, or the same one after another prompt, kept in step with the rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from heatbath.energy.base import Context
from heatbath.ensemble import state
from heatbath.ensemble.arrays import asarray_like, upcast_half
from heatbath.errors import BadInput

Prompt = Sequence[int]
PromptTransform = Callable[[Prompt], Prompt]


class ForkableSession(Protocol):
    """What a follower needs of a session: energies (B, V) of rows that take a token each, and fork."""

    def energies(self) -> Any: ...
    def push(self, tokens: Sequence[int]) -> None: ...
    def fork(self, indices: Sequence[int]) -> None: ...


class AuxiliaryModel(Protocol):
    """What a follower needs of a model; every `Model` has it."""

    @property
    def vocabulary(self) -> Any: ...
    def open(self, prompts: Sequence[Sequence[int]]) -> ForkableSession: ...


class AuxiliarySession:
    """The energies of `model` for the rows of a context, `prompt_of(prompt)` in place of each row's prompt.

    Rows that stand where a row of the open session stands, or one token further, are reached by a fork and a push;
    any others open a new session. What comes out depends on the rows alone, never on the path to them.
    """

    def __init__(self, model: AuxiliaryModel, prompt_of: PromptTransform | None = None) -> None:
        self.model = model
        self._prompt_of = prompt_of
        self._session: ForkableSession | None = None
        self._rows: list[tuple[int, ...]] = []

    def prompt(self, context: Context, row: int) -> Prompt:
        """What stands before the answer of a row for this model."""
        prompt = context.tokens[row][: context.prompt_lengths[row]]
        # An empty prompt opens as the document start; spelled out, so that a row reopened later has it too.
        return (prompt if self._prompt_of is None else self._prompt_of(prompt)) or self.model.vocabulary.start_token_ids

    def energies(self, context: Context) -> Any:
        """Energies of the next token, (B, V), nats, in the library of the model. Raises `BadInput` if V differs."""
        validate_model_vocab_size(self.model, context.vocab_size)
        answers = [tokens[start:] for tokens, start in zip(context.tokens, context.prompt_lengths, strict=True)]
        return self._synchronize_session(
            [(*self.prompt(context, row), *answer) for row, answer in enumerate(answers)]
        ).energies()

    def _synchronize_session(self, wanted: list[tuple[int, ...]]) -> ForkableSession:
        session, rows = self._session, self._rows
        # A step that fails halfway leaves nothing behind that could pass for a session in step.
        self._session, self._rows = None, []
        session = _advance_session(session, rows, wanted) or self.model.open(wanted)
        self._session, self._rows = session, wanted
        return session


def normalize_energies(energies: Any) -> Any:
    r"""$-\log p = E + \log Z$ at T = 1, (B, V): the gauge in which energies of different models compare."""
    wide = upcast_half(energies)
    log_z = state(wide, 1.0).log_z[..., None]
    return wide + (log_z if isinstance(wide, np.ndarray) else log_z.to(wide))


def scatter_rows(context: Context, rows: Sequence[int], energies: Any) -> Any:
    """Energies (B, V) of all rows of `context`: those of the `running` rows, 0 for rows that have ended."""
    if len(rows) == len(context):
        return energies
    everything = asarray_like(np.zeros((len(context), context.vocab_size)), energies)
    everything[list(rows)] = energies
    return everything


def validate_model_vocab_size(model: AuxiliaryModel, vocab_size: int) -> None:
    """Raise `BadInput` unless the model's vocabulary has the size of the host's."""
    size = model.vocabulary.size
    if size != vocab_size:
        name = getattr(model, "name", type(model).__name__)
        raise BadInput(
            f"vocabularies that differ: {name} has {size} tokens, the model it is added to has {vocab_size}; "
            "take models of one vocabulary, or compare them with heatbath.engine.model_selection.rank_models."
        )


def _advance_session(
    session: ForkableSession | None, rows: list[tuple[int, ...]], target_rows: list[tuple[int, ...]]
) -> ForkableSession | None:
    """The session with the `wanted` rows, reached by a fork and at most one push; None if there is no such way."""
    if session is None or rows == target_rows:
        return session
    place: dict[tuple[int, ...] | None, int] = {row: number for number, row in enumerate(rows)}
    for steps in (0, 1):
        before = [row[: len(row) - steps] if len(row) >= steps else None for row in target_rows]
        # Of equal rows each keeps its own place, so that the copies of one prompt need no fork.
        sources = [i if rows[i : i + 1] == [row] else place.get(row, -1) for i, row in enumerate(before)]
        if min(sources) < 0:
            continue
        if sources != list(range(len(rows))):  # a fork copies the cache of every row
            session.fork(sources)
        if steps:
            session.push([row[-1] for row in target_rows])
        return session
    return None
