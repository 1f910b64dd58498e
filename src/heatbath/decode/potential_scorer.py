"""Asking potentials about answers: prefixes where they can score them, whole answers always; faults get a sentence."""

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


@dataclass(frozen=True)
class PotentialScorer:
    """The potentials of a task, weighed, and what their context needs."""

    potentials: tuple[tuple[float, Potential], ...]
    prompt: Tokens
    vocab_size: int
    stop_token_ids: tuple[int, ...]

    @classmethod
    def from_task(cls, potentials: Potential | Sequence[Potential], task: Task) -> PotentialScorer:
        """For a task with one prompt; parts of weight 0 are absent."""
        parts = (potentials,) if isinstance(potentials, Potential) else tuple(potentials)
        terms = tuple(term for part in parts for term in part.terms if term[0])
        return cls(terms, task.prompts[0], task.model.vocabulary.size, task.stop_token_ids)

    def __call__(self, sequences: Sequence[Tokens], finished_mask: npt.NDArray[np.bool_]) -> Floats:
        """Energies (n,) of answers, whole where `ended`, in nats.

        Raises `BadInput` or `NotANumber` with the potential's name and the token it was asked after.
        """
        total = np.zeros(len(sequences))
        for weight, part in self.potentials:
            rows = list(range(len(sequences))) if part.scores_prefixes else np.flatnonzero(finished_mask).tolist()
            if rows:
                total[rows] += scale_energies(
                    weight, self._evaluate_potential(part, [sequences[row] for row in rows], finished_mask[rows])
                )
        return total

    def _evaluate_potential(
        self, potential: Potential, sequences: Sequence[Tokens], finished_mask: npt.NDArray[np.bool_]
    ) -> Floats:
        tokens = [[*self.prompt, *answer] for answer in sequences]
        context = Context(
            tokens, [len(self.prompt)] * len(tokens), self.vocab_size, self.stop_token_ids, finished_mask.tolist()
        )
        who = f"potential {potential.name!r}"
        place = f"{who} at token {max(map(len, sequences))}"
        try:
            values = to_numpy(potential(context)).astype(np.float64)
        except MissingExtra:
            raise
        except NotANumber as error:
            error.component = who
            raise
        except HeatbathError as error:
            raise BadInput(f"{place}: {error}", component=who) from error
        except Exception as error:
            raise BadInput(f"{place} raised {type(error).__name__}: {error}", component=who) from error
        if values.shape != (len(sequences),):
            wanted = f"give one energy for each of {len(sequences)} rows."
            raise BadInput(f"{place} gave shape {values.shape}: {wanted}", component=who)
        if np.isnan(values).any():
            raise NotANumber(f"{place} gave NaN: give a number of nats, or +inf to forbid.", component=who)
        if (values == -np.inf).any():
            raise BadInput(f"{place} gave -inf: an energy must be finite, or +inf to forbid.", component=who)
        return values
