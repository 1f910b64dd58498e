"""Energies that add: fields act on the next token inside the proposal, potentials on whole prefixes through weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from heatbath.energy.algebra import checked_weight, scaled
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Context:
    """What a field may look at: for each row of a batch the tokens so far, and how many of them are prompt."""

    tokens: Sequence[Sequence[int]]
    prompt_lengths: Sequence[int]
    vocab_size: int


class Energy(ABC):
    """Something that can be weighed, in nats; `+inf` forbids. `name` is what a record calls it."""

    name: str

    @abstractmethod
    def __call__(self, context: Context) -> Any:
        """The energies for a batch of prefixes; each row depends on its own prefix alone."""


class Field(Energy):
    """An energy for every next token, broadcastable to (B, V). Fields add, and keep their names when they do."""

    @property
    def terms(self) -> tuple[tuple[float, Field], ...]:
        """The weights and fields this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Field) -> Field:
        if not isinstance(other, Field):
            raise BadInput(f"a field adds to a field, not to {type(other).__name__}: pass them side by side.")
        return FieldSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Field:
        return FieldSum(tuple((checked_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


class Potential(Energy):
    """An energy for every prefix or whole sequence, (B,). Potentials add, and keep their names when they do."""

    @property
    def terms(self) -> tuple[tuple[float, Potential], ...]:
        """The weights and potentials this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Potential) -> Potential:
        if not isinstance(other, Potential):
            raise BadInput(f"a potential adds to a potential, not to {type(other).__name__}: pass them side by side.")
        return PotentialSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Potential:
        return PotentialSum(tuple((checked_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


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

    def __call__(self, context: Context) -> Any:
        return _total(self.terms, context)


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
        return _total(self.terms, context)


def _total(terms: Sequence[tuple[float, Energy]], context: Context) -> Any:
    return reduce(add, (scaled(weight, part(context)) for weight, part in terms))
