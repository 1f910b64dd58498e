"""Classifier-free guidance: the log-odds between two prompts, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from heatbath.energy.base import Field
from heatbath.energy.context import Context, unfinished_rows
from heatbath.energy.spec import BuildContext, Spec
from heatbath.ensemble.arrays import asarray_like, to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import (
    AuxiliarySession,
    PromptTransform,
    normalize_energies,
    scatter_rows,
)
from heatbath.models.base import Model, Tokens


class Contrast(Field):
    r"""Classifier-free guidance: $\log p_\gamma = \log p(x|c') + \gamma [\log p(x|c) - \log p(x|c')] + \mathrm{const}$.

    c is the prompt of the row and c' is `other`: tokens in its place (none for the unconditional model, or a negative
    prompt), or a function from the prompt of a row to them. The energy of a token is $(\gamma - 1)(E - E')$ with both
    sides normalized at T = 1, (B, V), nats, so that the gauge of either model does not matter; added to E it gives the
    distribution above. gamma = 1 is the prompt alone, 0 is c' alone, and above 1 the effect of the prompt is amplified.

    E are the energies so far (`Context.energies`): put this field first, or the fields before it are amplified too.
    Tokens that the model forbids after c stay forbidden. The temperature applies to the guided distribution.

    Raises:
        BadInput: a negative or infinite gamma; a call without energies; different vocabularies; a token that is
            possible after c and forbidden after c', whose guided energy would be -inf.

    Source: Sanchez et al. 2023, arXiv:2306.17806, equation 7.
    """

    commutes = False

    def __init__(
        self,
        model: Model,
        other: Tokens | PromptTransform = (),
        *,
        gamma: float,
        name: str = "contrast",
    ) -> None:
        if not 0 <= gamma < np.inf:
            raise BadInput(f"`gamma` must be finite and at least 0, got {gamma}: 1 leaves the model unchanged.")
        self.gamma = float(gamma)
        self.name = name
        self._auxiliary_session = AuxiliarySession(model, other if callable(other) else lambda prompt: other)

    def __call__(self, context: Context) -> Any:
        if context.energies is None:
            raise BadInput(f"field {self.name!r} needs the energies of the model, and the context has none.")
        rows = unfinished_rows(context)
        if self.gamma == 1 or not rows:
            return np.zeros((len(context), context.vocab_size))
        unfinished = context.take(rows)
        own = normalize_energies(unfinished.energies)
        other = asarray_like(normalize_energies(self._auxiliary_session.energies(unfinished)), own)
        return scatter_rows(context, rows, self._guidance_energies(own, other))

    def _guidance_energies(self, own: Any, other: Any) -> Any:
        forbidden, other_forbidden = own == np.inf, other == np.inf
        if self.gamma > 1 and bool((other_forbidden & ~forbidden).any()):
            row, token = np.argwhere(to_numpy(other_forbidden & ~forbidden))[0].tolist()
            raise BadInput(
                f"field {self.name!r}: token {token} of row {row} is possible after its prompt and forbidden after "
                "the other, so its energy would be -inf: use models that forbid the same tokens."
            )
        # Zeros where the model forbids: inf - inf is NaN, and the sum with +inf stays +inf.
        own, other = own * 1, other * 1
        own[forbidden], other[forbidden] = 0.0, 0.0
        return (self.gamma - 1) * (own - other)


def _build_contrast(context: BuildContext, other: str | Sequence[int], *, gamma: float = 1.5) -> Field:
    tokens = (context.model.encode(other) if other else ()) if isinstance(other, str) else [int(each) for each in other]
    if not all(0 <= token < context.vocab_size for token in tokens):
        raise BadInput(f"`other` must hold token ids below {context.vocab_size}.", param="fields", component="contrast")
    return Contrast(cast(Model, context.model), tokens, gamma=gamma)


SPEC = Spec("contrast", "field", _build_contrast, '{"other": "prompt", "gamma": 1.5}', order=150)
