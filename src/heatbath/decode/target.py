r"""What a sampler of sequences aims at: $\pi(x) \propto p_T(x)^\alpha\, e^{-\sum_t E_f(x_t)/T}\, e^{-\Phi(x)}$.

$p_T(x) = \prod_t p_T(x_t|x_{<t})$ is the model at temperature T, normalised token by token; $E_f$ are the fields,
$\Phi$ the potentials. x is a whole answer: it ends with a stop token, or has the greatest length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Step, TokenSampler
from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.windows import Window
from heatbath.energy.base import Field, Potential
from heatbath.errors import BadInput, format_value


@dataclass(frozen=True)
class Target:
    """A law over whole answers, up to its partition function.

    `temperature` > 0 is T and `power` >= 0 is alpha. `proposal` draws tokens: the model at T / alpha with the fields
    unless given; its `window` cuts where it cuts at T. What a proposal cannot draw, the target has not.

    Raises:
        BadInput: a temperature or power out of range, a window beside a proposal.
    """

    temperature: float = 1.0
    power: float = 1.0
    fields: Field | Sequence[Field] = ()
    potentials: Potential | Sequence[Potential] = ()
    window: Window | Sequence[Window] | None = None
    proposal: TokenSampler | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise BadInput(f"the temperature of the target is {self.temperature}: give a positive, finite number.")
        if not 0 <= self.power < np.inf:
            raise BadInput(f"alpha is {self.power}: give a finite number from 0 up.")
        if self.proposal is not None and self.window:
            raise BadInput("a proposal brings its own window: leave the target's out.")

    @cached_property
    def proposal_sampler(self) -> TokenSampler:
        """What draws the tokens."""
        if self.proposal is not None:
            return self.proposal
        cold = self.temperature / self.power if self.power else np.inf
        return self.build_sampler_at(cold)

    def build_sampler_at(self, temperature: float) -> Ancestral:
        """The model at a temperature with the target's fields, its windows cutting where they cut at the target's."""
        return Ancestral(
            temperature, self.window, self.fields, keep_dead_rows=True, window_temperature=self.temperature
        )

    @cached_property
    def field_pipeline(self) -> EnergyPipeline:
        """The fields that belong to the target."""
        return EnergyPipeline(self.fields)

    @cached_property
    def constraint_names(self) -> str:
        """What may forbid an answer, as a sentence lists it."""
        parts = (self.potentials,) if isinstance(self.potentials, Potential) else tuple(self.potentials)
        potentials = [part.name for whole in parts for weight, part in whole.terms if weight]
        return ", ".join(map(repr, (*self.field_pipeline.names, *potentials))) or "the model and its windows"

    def score_step(self, batch: Batch, step: Step) -> TokenScores:
        """What the drawn tokens of a step count. `batch` is the one after the step, its tokens still pending."""
        betas = np.full(len(step.tokens), 1 / self.temperature)
        model = step.model_logprob if np.array_equal(step.betas, betas) else step.logprob_at(betas)
        field = self._compute_field_energy(batch, step) * betas
        dead = step.pipeline_result.dead
        return TokenScores(model, field if dead is None else np.where(dead, np.inf, field), step.logprob)

    def _compute_field_energy(self, batch: Batch, step: Step) -> Floats:
        """Energies of the drawn tokens (B,), all fields together."""
        energies: Mapping[str, Floats] = {}
        if (
            isinstance(self.proposal_sampler, Ancestral)
            and self.proposal_sampler.pipeline.fields == self.field_pipeline.fields
        ):
            energies = step.field_energy
        elif self.field_pipeline.fields:
            steered = self.field_pipeline(batch.build_context(step.energies), step.betas, _refuse_random_windows)
            energies = steered.field_energies(step.tokens)
        return np.asarray(np.sum([np.zeros(len(step.tokens)), *energies.values()], axis=0))


@dataclass(frozen=True)
class TokenScores:
    """Of drawn tokens, (B,): log p_T in the model, beta times the energy in the fields, log q in the proposal."""

    model_logprob: Floats
    field_energy: Floats
    proposal_logprob: Floats


def _refuse_random_windows() -> Floats:
    raise BadInput("a target has fields, not windows that take chances.")


DEFAULT_POWER = 4.0
"""The exponent of power sampling where none is given (Karan and Du 2025, arXiv:2510.14901)."""


def build_target(arguments: SamplerArguments, *, alpha: float = 1.0, proposal: TokenSampler | None = None) -> Target:
    """Build the target of a sampler from the settings common to all, its power `alpha` and its proposal."""
    if proposal is not None and not isinstance(proposal, TokenSampler):
        raise BadInput(f"proposal is {format_value(proposal)}: give a token sampler, such as decode.Ancestral.")
    return Target(
        temperature=arguments.single_temperature(),
        power=alpha,
        fields=arguments.fields,
        potentials=arguments.potentials,
        window=arguments.window,
        proposal=proposal,
    )


def build_default_target(arguments: SamplerArguments, **options: Any) -> Target:
    """Build a target that differs from the model also where nothing is asked for: then its fourth power."""
    options.setdefault("alpha", 1.0 if arguments.potentials else DEFAULT_POWER)
    return build_target(arguments, **options)


def split_target_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the options of a sampler into those of its target, `alpha` and `proposal`, and its own."""
    own = dict(options)
    return {name: own.pop(name) for name in ("alpha", "proposal") if name in own}, own
