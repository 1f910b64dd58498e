"""Products and mixtures of models that share a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from heatbath.energy.algebra import scale_energies
from heatbath.energy.base import Field
from heatbath.energy.context import Context, unfinished_rows
from heatbath.energy.spec import BuildContext, Spec, as_texts
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import (
    AuxiliarySession,
    PromptTransform,
    normalize_energies,
    scatter_rows,
    validate_model_vocab_size,
)
from heatbath.experts.mixture_evidence import MixtureEvidence
from heatbath.models.base import Model

Floats = npt.NDArray[np.float64]


class ProductOfExperts(Field):
    r"""Adds $\sum_m w_m\,[-\log p_m(x_t \mid x_{<t})]$, (B, V), nats: the host times $\prod_m p_m^{w_m}$.

    `weights` are 1 by default; a negative one steers away from a member, which must then not forbid any token. The
    product is normalized token by token, like every field. `prompt_of` gives the members another prompt.

    Raises:
        BadInput: no members, weights that do not match them or are infinite, different vocabularies.

    Source: Hinton 2002, Training products of experts; Liu et al. 2021, arXiv:2105.03023.
    """

    def __init__(
        self,
        models: Sequence[Model],
        weights: Sequence[float] | None = None,
        *,
        prompt_of: PromptTransform | None = None,
        name: str = "product",
    ) -> None:
        self.weights = _validate_numbers(models, [1.0] * len(models) if weights is None else weights, "weights")
        self.name = name
        validate_vocabularies(models)
        self._auxiliary_sessions = [AuxiliarySession(model, prompt_of) for model in models]

    def __call__(self, context: Context) -> Any:
        rows = unfinished_rows(context)
        if not rows:
            return np.zeros((len(context), context.vocab_size))
        unfinished = context.take(rows)
        parts = zip(self.weights.tolist(), self._auxiliary_sessions, strict=True)
        total = sum(
            scale_energies(weight, to_numpy(normalize_energies(session.energies(unfinished))))
            for weight, session in parts
        )
        return scatter_rows(context, rows, total)


class MixtureOfExperts(Field):
    r"""Mixes models, $p(x_t|x_{<t}) = \sum_m w_m(x_{<t})\, p_m(x_t|x_{<t})$: sequences follow $\sum_m \pi_m p_m(x)$.

    The weights are posterior weights: $w_m \propto \pi_m\, p_m(x_{<t})$, the prior times the likelihood of the
    completion so far. The host is `models[0]`; the energy is $-\log p + \log p_0$, (B, V), nats. p_0 is that of the
    energies so far (`Context.energies`), so put this field first. Likelihoods are at T = 1; the temperature applies to
    the mixture of each token as a whole.

    Raises:
        BadInput: fewer than two members, a prior with negative or no mass, different vocabularies, energies so far
            that are not the host's, or a host that forbids a token which another member allows.

    Source: Bayesian model averaging; Hoeting et al. 1999, Statistical Science 14.
    """

    commutes = False

    def __init__(
        self,
        models: Sequence[Model],
        prior: Sequence[float] | None = None,
        *,
        prompt_of: PromptTransform | None = None,
        name: str = "mixture",
    ) -> None:
        if len(models) < 2:
            raise BadInput(f"a mixture needs the host and at least one other model, got {len(models)}.")
        weights = _validate_numbers(models, [1.0] * len(models) if prior is None else prior, "prior")
        if (weights < 0).any() or not weights.sum() > 0:
            raise BadInput(f"`prior` must be at least 0 with one weight above 0, got {weights.tolist()}.")
        self.prior = weights / weights.sum()
        self.name = name
        validate_vocabularies(models)
        self._models = models
        # The host keeps the prompt of the row: the energies so far belong to it.
        prompts = [None, *[prompt_of] * (len(models) - 1)]
        self._evidence = MixtureEvidence(
            [AuxiliarySession(model, prompt) for model, prompt in zip(models, prompts, strict=True)], name
        )

    def __call__(self, context: Context) -> Any:
        if context.energies is None:
            raise BadInput(f"field {self.name!r} needs the energies of the model, and the context has none.")
        rows = unfinished_rows(context)
        if not rows:
            return np.zeros((len(context), context.vocab_size))
        for model in self._models:
            validate_model_vocab_size(model, context.vocab_size)
        return scatter_rows(context, rows, self._mixture_energies(context.take(rows)))

    def posterior_weights(self, context: Context) -> Floats:
        """Return the posterior weights of the members given the completion of each row so far, (B, M)."""
        return np.exp(_log_posterior(self.prior, self._evidence.update(context)[0]))

    def _mixture_energies(self, context: Context) -> Floats:
        evidence, logp_mbv = self._evidence.update(context)
        mixed = _logsumexp(_log_posterior(self.prior, evidence).T[:, :, None] + logp_mbv)
        own = logp_mbv[0]
        impossible = own == -np.inf
        if (impossible & (mixed > -np.inf)).any():
            row, token = np.argwhere(impossible & (mixed > -np.inf))[0]
            raise BadInput(
                f"field {self.name!r}: the host forbids token {token} of row {row}, which another member allows, "
                "and an energy cannot allow it again: put the member that allows most tokens first."
            )
        with np.errstate(invalid="ignore"):
            return np.where(impossible, 0.0, own - mixed)


def validate_vocabularies(models: Sequence[Model]) -> None:
    """Raise `BadInput` unless all models have the same number of tokens, with the same bytes."""
    first, *others = models
    for model in others:
        validate_model_vocab_size(model, first.vocabulary.size)
        for token in range(first.vocabulary.size) if model is not first else ():
            piece, other_piece = first.token_bytes(token), model.token_bytes(token)
            if piece != other_piece:
                raise BadInput(
                    f"vocabularies differ: token {token} is {piece!r} in one model and {other_piece!r} in another; "
                    "use models with one vocabulary, or compare them with heatbath.engine.model_selection.rank_models."
                )


def _validate_numbers(models: Sequence[Model], values: Sequence[float], name: str) -> Floats:
    numbers = np.asarray(values, np.float64)
    if not len(models):
        raise BadInput("expected at least one model to combine, got none.")
    if numbers.shape != (len(models),) or not np.isfinite(numbers).all():
        raise BadInput(f"`{name}` must be one finite number for each of {len(models)} models, got {list(values)}.")
    return numbers


def _log_posterior(prior: Floats, evidence_bm: Floats) -> Floats:
    r"""Return $\log w_m$ (B, M). Raises `BadInput` for a completion that is impossible under every member."""
    with np.errstate(divide="ignore"):
        joint = np.log(prior) + evidence_bm
    total = _logsumexp(joint.T)
    if (total == -np.inf).any():
        row = int(np.argmax(total == -np.inf))
        raise BadInput(f"the completion of row {row} has probability 0 under every member of the mixture.")
    return joint - total[:, None]


def _logsumexp(values: Floats) -> Floats:
    """Reduce over the first axis; -inf where all values are."""
    top = values.max(0)
    safe = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log(np.exp(values - safe).sum(0)))


def _build_product(
    context: BuildContext, models: str | Sequence[str], *, weights: Sequence[float] | None = None
) -> Field:
    return ProductOfExperts(_load_models(models), weights)


def _build_mixture(
    context: BuildContext, models: str | Sequence[str], *, prior: Sequence[float] | None = None
) -> Field:
    return MixtureOfExperts([cast(Model, context.model), *_load_models(models)], prior)


def _load_models(names: str | Sequence[str]) -> list[Model]:
    from heatbath.models import load

    return [load(name) for name in as_texts(names)]


# They load models by name, which no request may ask for.
SPECS = (
    Spec(
        "product",
        "field",
        _build_product,
        '"model" or {"models": […], "weights": […]}',
        order=160,
        offered=False,
    ),
    Spec(
        "mixture",
        "field",
        _build_mixture,
        '"model" or {"models": […], "prior": […]}',
        order=170,
        offered=False,
    ),
)
