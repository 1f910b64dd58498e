"""Energies that add: fields act on the next token inside the proposal, potentials on whole prefixes through weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from heatbath.energy.algebra import scale_energies, validate_weight
from heatbath.ensemble.arrays import asarray_like, upcast_half
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Context:
    """What an energy may look at, row by row of a batch.

    Attributes:
        tokens: the tokens so far, prompt and answer.
        prompt_lengths: how many of them are prompt, (B,).
        vocab_size: V.
        stop: tokens that end an answer.
        ended: whether a row is a whole answer, (B,); () says that none is.
        rows: a number for each row that stays with it in any batch, (B,); () counts from 0.
        energies: the energies so far, the model's and those of the fields before, (B, V), or None.
    """

    tokens: Sequence[Sequence[int]]
    prompt_lengths: Sequence[int]
    vocab_size: int
    stop_token_ids: Sequence[int] = ()
    finished_mask: Sequence[bool] = ()
    row_ids: Sequence[int] = ()
    energies: Any = None

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def completion(self, row: int) -> Sequence[int]:
        """The tokens of a row after its prompt, without the stop token that ended it."""
        answer = self.tokens[row][self.prompt_lengths[row] :]
        return answer[:-1] if answer and answer[-1] in self.stop_token_ids else answer

    def is_finished(self, row: int) -> bool:
        """Whether a row is a whole answer."""
        return bool(self.finished_mask[row]) if len(self.finished_mask) else False

    def row_id(self, row: int) -> int:
        """The number that stays with a row in any batch."""
        return int(self.row_ids[row]) if len(self.row_ids) else row

    def take(self, rows: Sequence[int]) -> Context:
        """The context of some rows, in that order."""
        return replace(
            self,
            tokens=[self.tokens[row] for row in rows],
            prompt_lengths=[self.prompt_lengths[row] for row in rows],
            finished_mask=[self.is_finished(row) for row in rows],
            row_ids=[self.row_id(row) for row in rows],
            energies=None if self.energies is None else self.energies[list(rows)],
        )


class Energy(ABC):
    """Something that can be weighed, in nats; `+inf` forbids. `name` is what a record calls it."""

    name: str

    @abstractmethod
    def __call__(self, context: Context) -> Any:
        """The energies for a batch of prefixes; each row depends on its own prefix alone."""


E = TypeVar("E", bound=Energy)


class Field(Energy):
    """An energy for every next token, broadcastable to (B, V). Fields add, and keep their names when they do.

    A field that reads `Context.energies` depends on its place in the order: it says `commutes = False`.
    """

    commutes: bool = True

    @property
    def terms(self) -> tuple[tuple[float, Field], ...]:
        """The weights and fields this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Field) -> Field:
        if not isinstance(other, Field):
            raise BadInput(f"a field adds to a field, not to {type(other).__name__}: pass them side by side.")
        return FieldSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Field:
        return FieldSum(tuple((validate_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


class Potential(Energy):
    """An energy for every prefix or whole sequence, (B,): an answer's weight is exp(-E). Potentials add, names stay.

    With `scores_prefixes` it is asked about rows at any length, and guides a population from the first token on;
    otherwise about rows that have `ended` alone. What it says of prefixes never changes the law of whole answers.
    """

    scores_prefixes: bool = False

    @property
    def terms(self) -> tuple[tuple[float, Potential], ...]:
        """The weights and potentials this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Potential) -> Potential:
        if not isinstance(other, Potential):
            raise BadInput(f"a potential adds to a potential, not to {type(other).__name__}: pass them side by side.")
        return PotentialSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Potential:
        return PotentialSum(tuple((validate_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


@runtime_checkable
class GradientPotential(Protocol):
    """A potential that also gives the energy it expects of other tokens, for samplers that follow gradients."""

    def token_gradient(self, context: Context) -> Any:
        """Energy of each token at each place of the completions, up to a constant per place, (B, L, V)."""


@dataclass(frozen=True)
class FieldSum(Field):
    """A weighted sum of fields: sums of sums come out flat."""

    parts: tuple[tuple[float, Field], ...]

    @property
    def terms(self) -> tuple[tuple[float, Field], ...]:
        return self.parts

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(part.name for _, part in self.terms)

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        return all(part.commutes for _, part in self.terms)

    def __call__(self, context: Context) -> Any:
        total: Any = None
        for weight, part in _nonzero_terms(self.terms):
            energies = scale_energies(
                weight, part(context if part.commutes else _context_with_energies(context, total))
            )
            total = energies if total is None else total + energies
        return np.zeros(context.vocab_size) if total is None else total


@dataclass(frozen=True)
class PotentialSum(Potential):
    """A weighted sum of potentials: sums of sums come out flat."""

    parts: tuple[tuple[float, Potential], ...]

    @property
    def terms(self) -> tuple[tuple[float, Potential], ...]:
        return self.parts

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(part.name for _, part in self.terms)

    def __call__(self, context: Context) -> Any:
        energies = [scale_energies(weight, part(context)) for weight, part in _nonzero_terms(self.terms)]
        return reduce(add, energies) if energies else np.zeros(len(context))


def _nonzero_terms(terms: Sequence[tuple[float, E]]) -> Iterator[tuple[float, E]]:
    """The terms of a weight other than 0: one of weight 0 is absent and costs nothing."""
    return ((weight, part) for weight, part in terms if weight)


def _context_with_energies(context: Context, total: Any) -> Context:
    """What a part of a sum sees that depends on its place: the energies with those of the parts before it."""
    if context.energies is None or total is None:
        return context
    energies = upcast_half(context.energies)
    return replace(context, energies=energies + asarray_like(total, energies))
