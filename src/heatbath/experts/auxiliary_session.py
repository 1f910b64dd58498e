"""A session of another model, or of the same one after another prompt, synchronized with the rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from heatbath.energy.context import Context
from heatbath.ensemble import state
from heatbath.ensemble.arrays import asarray_like, upcast_half
from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens

PromptTransform = Callable[[Tokens], Tokens]
"""Maps the prompt of a row to the prompt that another model gets in its place."""


class AuxiliarySession:
    """The energies of `model` for the rows of a context, after `prompt_of(prompt)` in place of the prompt of each row.

    Rows that equal a row of the open session, or extend one by a token, are reached by a fork and a push; any others
    open a new session. The result depends only on the rows, never on how they were reached.
    """

    def __init__(self, model: Model, prompt_of: PromptTransform | None = None) -> None:
        self.model = model
        self._prompt_of = prompt_of
        self._session: Session | None = None
        self._rows: list[tuple[int, ...]] = []

    def prompt(self, context: Context, row: int) -> Tokens:
        """Return the prompt of a row for this model."""
        prompt = context.tokens[row][: context.prompt_lengths[row]]
        # An empty prompt means the document start; made explicit, so that a row opened again later has it too.
        return (prompt if self._prompt_of is None else self._prompt_of(prompt)) or self.model.vocabulary.start_token_ids

    def energies(self, context: Context) -> Any:
        """Return energies of the next token, (B, V), nats, in the model's library. Raises `BadInput` if V differs."""
        validate_model_vocab_size(self.model, context.vocab_size)
        completions = [tokens[start:] for tokens, start in zip(context.tokens, context.prompt_lengths, strict=True)]
        rows = [(*self.prompt(context, row), *completion) for row, completion in enumerate(completions)]
        return self._synchronize_session(rows).energies()

    def _synchronize_session(self, target_rows: list[tuple[int, ...]]) -> Session:
        session, rows = self._session, self._rows
        # Cleared first: after a step that fails halfway the session does not match any rows.
        self._session, self._rows = None, []
        session = _advance_session(session, rows, target_rows) or self.model.open(target_rows)
        self._session, self._rows = session, target_rows
        return session


def normalize_energies(energies: Any) -> Any:
    r"""Return $-\log p = E + \log Z$ at T = 1, (B, V): the gauge in which different models can be compared."""
    wide = upcast_half(energies)
    log_z = state(wide, 1.0).log_z[..., None]
    return wide + (log_z if isinstance(wide, np.ndarray) else log_z.to(wide))


def scatter_rows(context: Context, rows: Sequence[int], energies: Any) -> Any:
    """Return energies (B, V) of all rows of `context`: `energies` at `rows`, 0 elsewhere."""
    if len(rows) == len(context):
        return energies
    result = asarray_like(np.zeros((len(context), context.vocab_size)), energies)
    result[list(rows)] = energies
    return result


def validate_model_vocab_size(model: Model, vocab_size: int) -> None:
    """Raise `BadInput` unless the vocabulary of the model has the size of the host's."""
    size = model.vocabulary.size
    if size != vocab_size:
        raise BadInput(
            f"vocabularies differ: {model.name} has {size} tokens, the model it is added to has {vocab_size}; "
            "use models with one vocabulary, or compare them with heatbath.engine.model_selection.rank_models."
        )


def _advance_session(
    session: Session | None, rows: list[tuple[int, ...]], target_rows: list[tuple[int, ...]]
) -> Session | None:
    """Bring the session to the target rows by a fork and at most one push; return None if that is not possible."""
    if session is None or rows == target_rows:
        return session
    index: dict[tuple[int, ...] | None, int] = {row: number for number, row in enumerate(rows)}
    for steps in (0, 1):
        before = [row[: len(row) - steps] if len(row) >= steps else None for row in target_rows]
        # Equal rows keep their own index, so that copies of one prompt need no fork.
        sources = [i if rows[i : i + 1] == [row] else index.get(row, -1) for i, row in enumerate(before)]
        if min(sources) < 0:
            continue
        if sources != list(range(len(rows))):  # a fork copies the cache of every row
            session.fork(sources)
        if steps:
            session.push([row[-1] for row in target_rows])
        return session
    return None
