"""Evaluation of potentials on sequences, with errors that name the potential and the token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Floats, Task
from heatbath.energy.algebra import scale_energies
from heatbath.energy.base import Context, Potential
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput, HeatbathError, MissingExtra, NotANumber
from heatbath.models.base import Tokens

PotentialTerms = tuple[tuple[float, Potential], ...]


@dataclass(frozen=True)
class PotentialScorer:
    """The weighted potentials of a task and the data of their context."""

    potentials: PotentialTerms
    prompt: Tokens
    vocab_size: int
    stop_token_ids: tuple[int, ...]

    @classmethod
    def from_task(cls, potentials: Potential | Sequence[Potential], task: Task) -> PotentialScorer:
        """Build the scorer of a task with one prompt; terms of weight 0 are left out."""
        return cls(collect_terms(potentials), task.prompts[0], task.model.vocabulary.size, task.stop_token_ids)

    def __call__(self, sequences: Sequence[Tokens], finished_mask: npt.NDArray[np.bool_]) -> Floats:
        """Return the total energies (n,) of `sequences`, nats. Raises what `evaluate_potentials` does."""
        tokens = [[*self.prompt, *sequence] for sequence in sequences]
        lengths = [len(self.prompt)] * len(tokens)
        return evaluate_potentials(
            self.potentials, Context(tokens, lengths, self.vocab_size, self.stop_token_ids, finished_mask.tolist())
        )


def collect_terms(potentials: Potential | Sequence[Potential]) -> PotentialTerms:
    """Return the weighted terms of potentials; those of weight 0 are left out."""
    parts = (potentials,) if isinstance(potentials, Potential) else tuple(potentials)
    return tuple(term for part in parts for term in part.terms if term[0])


def evaluate_potentials(terms: PotentialTerms, context: Context) -> Floats:
    """Return the total energies (B,) of the rows of a context, nats.

    Unfinished rows count only in potentials that score prefixes. Raises `BadInput` or `NotANumber` with the name of the
    potential and the length of the longest completion.
    """
    total = np.zeros(len(context))
    finished = [row for row in range(len(context)) if context.is_finished(row)]
    for weight, part in terms:
        if part.scores_prefixes and len(context):
            total += scale_energies(weight, _evaluate_potential(part, context))
        elif finished:
            total[finished] += scale_energies(weight, _evaluate_potential(part, context.take(finished)))
    return total


def _evaluate_potential(potential: Potential, context: Context) -> Floats:
    component = f"potential {potential.name!r}"
    length = max(len(tokens) - start for tokens, start in zip(context.tokens, context.prompt_lengths, strict=True))
    place = f"{component} at token {length}"
    try:
        values = to_numpy(potential(context)).astype(np.float64)
    except MissingExtra:
        raise
    except NotANumber as error:
        error.component = component
        raise
    except HeatbathError as error:
        raise BadInput(f"{place}: {error}", component=component) from error
    except Exception as error:
        raise BadInput(f"{place} raised {type(error).__name__}: {error}", component=component) from error
    if values.shape != (len(context),):
        expected = f"return one energy for each of {len(context)} rows."
        raise BadInput(f"{place} gave shape {values.shape}: {expected}", component=component)
    if np.isnan(values).any():
        raise NotANumber(f"{place} gave NaN: return a number of nats, or +inf to forbid.", component=component)
    if (values == -np.inf).any():
        raise BadInput(f"{place} gave -inf: an energy must be finite, or +inf to forbid.", component=component)
    return values
