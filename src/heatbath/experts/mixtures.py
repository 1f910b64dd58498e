"""Several models that share a vocabulary: their product, and their mixture with posterior weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.algebra import scale_energies
from heatbath.energy.base import Context, Field
from heatbath.energy.context import unfinished_rows
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import (
    AuxiliaryModel,
    AuxiliarySession,
    PromptTransform,
    normalize_energies,
    scatter_rows,
    validate_model_vocab_size,
)
from heatbath.experts.mixture_evidence import MixtureEvidence

Floats = npt.NDArray[np.float64]


class ProductOfExperts(Field):
    r"""Adds $\sum_m w_m\,[-\log p_m(x_t \mid x_{<t})]$, (B, V), nats: the host's law times $\prod_m p_m^{w_m}$.

    `weights` are 1 unless given; a negative one steers away from a member (and may then not meet a token that member
    forbids). The product is normalised token by token, as every field is. `prompt_of` gives members another prompt.

    Raises:
        BadInput: no members, weights that do not match them or are infinite, vocabularies that differ.

    Source: Hinton 2002, Training products of experts; Liu et al. 2021, arXiv:2105.03023.
    """

    def __init__(
        self,
        models: Sequence[AuxiliaryModel],
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
        running = unfinished_rows(context)
        if not running:
            return np.zeros((len(context), context.vocab_size))
        live = context.take(running)
        parts = zip(self.weights.tolist(), self._auxiliary_sessions, strict=True)
        total = sum(
            scale_energies(weight, to_numpy(normalize_energies(follower.energies(live)))) for weight, follower in parts
        )
        return scatter_rows(context, running, total)


class MixtureOfExperts(Field):
    r"""Turns the host's law into $p(x_t|x_{<t}) = \sum_m w_m(x_{<t})\, p_m(x_t|x_{<t})$, so that whole answers follow
    $\sum_m \pi_m p_m(x)$.

    The weights are posterior: $w_m \propto \pi_m\, p_m(x_{<t})$, the prior times the likelihood of the answer so far,
    each member's free energy deciding how much it is believed. The host is `models[0]`; the energy is
    $-\log p + \log p_0$, (B, V), nats. p_0 are the energies so far (`Context.energies`), so put it first in the fields.
    Likelihoods are those at T = 1; at another temperature the mixture of each token is cooled as a whole.

    Raises:
        BadInput: fewer than two members, a prior with a negative or no mass, vocabularies that differ, energies
            so far that are not the host's, or a host that forbids what another member allows.

    Source: Bayesian model averaging; Hoeting et al. 1999, Statistical Science 14.
    """

    commutes = False

    def __init__(
        self,
        models: Sequence[AuxiliaryModel],
        prior: Sequence[float] | None = None,
        *,
        prompt_of: PromptTransform | None = None,
        name: str = "mixture",
    ) -> None:
        if len(models) < 2:
            raise BadInput(f"a mixture of {len(models)} models is none: give the host and at least one other.")
        weights = _validate_numbers(models, [1.0] * len(models) if prior is None else prior, "prior")
        if (weights < 0).any() or not weights.sum() > 0:
            raise BadInput(f"the prior of a mixture is {weights.tolist()}: give weights from 0 up, one above.")
        self.prior = weights / weights.sum()
        self.name = name
        validate_vocabularies(models)
        self._models = models
        # The host keeps its own prompt: the energies so far were made with it.
        prompts = [None, *[prompt_of] * (len(models) - 1)]
        self._evidence = MixtureEvidence(
            [AuxiliarySession(model, of) for model, of in zip(models, prompts, strict=True)], name
        )

    def __call__(self, context: Context) -> Any:
        if context.energies is None:
            raise BadInput(f"field {self.name!r} needs the model's energies, and the context holds none.")
        running = unfinished_rows(context)
        if not running:
            return np.zeros((len(context), context.vocab_size))
        for model in self._models:
            validate_model_vocab_size(model, context.vocab_size)
        return scatter_rows(context, running, self._mixture_energies(context.take(running)))

    def posterior_weights(self, context: Context) -> Floats:
        """Posterior weights of the members given each row's answer so far, (B, M)."""
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
                "and an energy cannot give it back: put the member that allows most first."
            )
        with np.errstate(invalid="ignore"):
            return np.where(impossible, 0.0, own - mixed)


def validate_vocabularies(models: Sequence[Any]) -> None:
    """Raise `BadInput` unless all models have as many tokens, and tokens of the same bytes where they spell them."""
    first, *others = models
    for model in others:
        validate_model_vocab_size(model, first.vocabulary.size)
        if model is first or not (hasattr(model, "token_bytes") and hasattr(first, "token_bytes")):
            continue
        for token in range(first.vocabulary.size):
            mine, theirs = first.token_bytes(token), model.token_bytes(token)
            if mine != theirs:
                raise BadInput(
                    f"vocabularies that differ: token {token} is {mine!r} in one model and {theirs!r} in another; "
                    "take models of one vocabulary, or compare them with heatbath.engine.model_selection.rank_models."
                )


def _validate_numbers(models: Sequence[Any], values: Sequence[float], what: str) -> Floats:
    numbers = np.asarray(values, np.float64)
    if not len(models):
        raise BadInput("there are no models to combine: give at least one.")
    if numbers.shape != (len(models),) or not np.isfinite(numbers).all():
        raise BadInput(f"{what} are {list(values)}: give one finite number for each of {len(models)} models.")
    return numbers


def _log_posterior(prior: Floats, evidence_bm: Floats) -> Floats:
    r"""$\log w_m$ (B, M). Raises `BadInput` for an answer that no member can have given."""
    with np.errstate(divide="ignore"):
        joint = np.log(prior) + evidence_bm
    total = _logsumexp(joint.T)
    if (total == -np.inf).any():
        row = int(np.argmax(total == -np.inf))
        raise BadInput(f"the answer of row {row} has probability 0 under every member of the mixture.")
    return joint - total[:, None]


def _logsumexp(values: Floats) -> Floats:
    """Over the first axis; -inf where all are."""
    top = values.max(0)
    safe = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log(np.exp(values - safe).sum(0)))
