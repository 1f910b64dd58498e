"""The abstract energies: fields act on the next token inside the proposal, potentials on sequences through weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from heatbath.energy.algebra import scale_energies, validate_weight
from heatbath.energy.context import Context
from heatbath.ensemble.arrays import asarray_like, upcast_half
from heatbath.errors import BadInput
from heatbath.short_repr import format_repr

__all__ = ["Context", "Energy", "Field", "FieldSum", "Potential", "PotentialSum"]


class Energy(ABC):
    """An energy in nats that is added to a model's; `+inf` forbids. `name` labels it in records."""

    name: str

    def __repr__(self) -> str:
        values = {name: value for name, value in vars(self).items() if isinstance(value, int | float | str)}
        values = {name: value for name, value in values.items() if name != "name" and not name.startswith("_")}
        return format_repr(type(self).__name__, values, first=getattr(self, "name", None))

    @abstractmethod
    def __call__(self, context: Context) -> Any:
        """Return the energies for a batch of prefixes; each row depends on its own prefix alone."""


E = TypeVar("E", bound=Energy)


class Field(Energy):
    """An energy for every next token, broadcastable to (B, V). Fields add; a sum keeps the names of its parts.

    A field that reads `Context.energies` depends on its position in the order and sets `commutes = False`.
    """

    commutes: bool = True

    @property
    def terms(self) -> tuple[tuple[float, Field], ...]:
        """The weighted fields that this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Field) -> Field:
        if not isinstance(other, Field):
            raise BadInput(f"a field can only be added to a field, got {type(other).__name__}: pass them as a list.")
        return FieldSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Field:
        return FieldSum(tuple((validate_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


class Potential(Energy):
    """An energy for every sequence, (B,): the weight of a sequence is exp(-E). Potentials add; a sum keeps the names.

    With `scores_prefixes` it is evaluated on rows of any length and guides a population from the first token on;
    otherwise only on finished rows. Its values on prefixes never change the distribution of finished sequences.
    """

    scores_prefixes: bool = False

    @property
    def terms(self) -> tuple[tuple[float, Potential], ...]:
        """The weighted potentials that this one is the sum of."""
        return ((1.0, self),)

    def __add__(self, other: Potential) -> Potential:
        if not isinstance(other, Potential):
            raise BadInput(
                f"a potential can only be added to a potential, got {type(other).__name__}: pass them as a list."
            )
        return PotentialSum(self.terms + other.terms)

    def __mul__(self, weight: float) -> Potential:
        return PotentialSum(tuple((validate_weight(weight) * w, part) for w, part in self.terms))

    __rmul__ = __mul__


@runtime_checkable
class GradientPotential(Protocol):
    """A potential that also gives the energy it expects of other tokens, for samplers that follow gradients."""

    def token_gradient(self, context: Context) -> Any:
        """Energy of each token at each place of the completions, up to a constant per place, (B, L, V)."""


@dataclass(frozen=True, repr=False)
class FieldSum(Field):
    """A weighted sum of fields, flattened."""

    parts: tuple[tuple[float, Field], ...]

    @property
    def terms(self) -> tuple[tuple[float, Field], ...]:
        return self.parts

    def __repr__(self) -> str:
        return format_repr(type(self).__name__, {"weights": [weight for weight, _ in self.terms]}, first=self.name)

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


@dataclass(frozen=True, repr=False)
class NamedField(Field):
    """A field under another name in records; built by `name_field`."""

    part: Field
    name: str

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        return self.part.commutes

    def __call__(self, context: Context) -> Any:
        return self.part(context)


def name_field(name: str, field: Field) -> Field:
    """Return the field under another name; the parts of a sum all get it."""
    if len(field.terms) == 1 and field.terms[0] == (1.0, field):
        return NamedField(field, name)
    return FieldSum(tuple((weight, NamedField(part, name)) for weight, part in field.terms))


@dataclass(frozen=True, repr=False)
class PotentialSum(Potential):
    """A weighted sum of potentials, flattened."""

    parts: tuple[tuple[float, Potential], ...]

    @property
    def terms(self) -> tuple[tuple[float, Potential], ...]:
        return self.parts

    def __repr__(self) -> str:
        return format_repr(type(self).__name__, {"weights": [weight for weight, _ in self.terms]}, first=self.name)

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(part.name for _, part in self.terms)

    def __call__(self, context: Context) -> Any:
        energies = [scale_energies(weight, part(context)) for weight, part in _nonzero_terms(self.terms)]
        return reduce(add, energies) if energies else np.zeros(len(context))


def _nonzero_terms(terms: Sequence[tuple[float, E]]) -> Iterator[tuple[float, E]]:
    """Yield the terms whose weight is not 0; the others are absent and cost nothing."""
    return ((weight, part) for weight, part in terms if weight)


def _context_with_energies(context: Context, total: Any) -> Context:
    """Return the context with the energies of the preceding parts added, for a part that depends on its position."""
    if context.energies is None or total is None:
        return context
    energies = upcast_half(context.energies)
    return replace(context, energies=energies + asarray_like(total, energies))
