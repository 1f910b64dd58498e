r"""Contrast between two prompts: what the prompt changes, times gamma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.energy.base import Context, Field
from heatbath.energy.context import unfinished_rows
from heatbath.ensemble.arrays import asarray_like, to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import (
    AuxiliaryModel,
    AuxiliarySession,
    PromptTransform,
    normalize_energies,
    scatter_rows,
)


class Contrast(Field):
    r"""Classifier-free guidance: $\log p_\gamma = \log p(x|c') + \gamma [\log p(x|c) - \log p(x|c')] + \mathrm{const}$.

    c is the row's own prompt and c' is `other`: tokens that stand in its place (none for the plain model, an
    instruction to keep away from), or a function from a row's prompt to them. The energy of a token is
    $(\gamma - 1)(E - E')$ with both sides normalised at T = 1, (B, V), nats, so that no model's zero of energy
    matters; added to E it gives the law above. gamma = 1 is the prompt alone, 0 is c' alone, above 1 overdoes it.

    E are the energies so far (`Context.energies`): put it first in the fields, or what stands before it is guided too.
    What the model forbids after c stays forbidden. At another temperature the guided law is cooled as a whole.

    Raises:
        BadInput: a negative or infinite gamma; a call without energies; vocabularies that differ; a token that is
            possible after c and forbidden after c', whose guided energy would be -inf.

    Source: Sanchez et al. 2023, arXiv:2306.17806, equation 7.
    """

    commutes = False

    def __init__(
        self,
        model: AuxiliaryModel,
        other: Sequence[int] | PromptTransform = (),
        *,
        gamma: float,
        name: str = "contrast",
    ) -> None:
        if not 0 <= gamma < np.inf:
            raise BadInput(f"gamma is {gamma}: give a number from 0 up; 1 leaves the model as it is.")
        self.gamma = float(gamma)
        self.name = name
        self._auxiliary_session = AuxiliarySession(model, other if callable(other) else lambda prompt: other)

    def __call__(self, context: Context) -> Any:
        if context.energies is None:
            raise BadInput(f"field {self.name!r} needs the model's energies, and the context holds none.")
        running = unfinished_rows(context)
        if self.gamma == 1 or not running:
            return np.zeros((len(context), context.vocab_size))
        live = context.take(running)
        own = normalize_energies(live.energies)
        other = asarray_like(normalize_energies(self._auxiliary_session.energies(live)), own)
        return scatter_rows(context, running, self._guidance_energies(own, other))

    def _guidance_energies(self, own: Any, other: Any) -> Any:
        forbidden, unknown = own == np.inf, other == np.inf
        if self.gamma > 1 and bool((unknown & ~forbidden).any()):
            row, token = np.argwhere(to_numpy(unknown & ~forbidden))[0].tolist()
            raise BadInput(
                f"field {self.name!r}: token {token} of row {row} is possible after its prompt and forbidden after "
                "the other, so that its energy would be -inf: let both models forbid the same."
            )
        # Zeros where the model forbids: inf - inf is no number, and a sum with +inf stays +inf.
        own, other = own * 1, other * 1
        own[forbidden], other[forbidden] = 0.0, 0.0
        return (self.gamma - 1) * (own - other)
