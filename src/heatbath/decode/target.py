r"""The target of a sequence sampler, $\pi(x) \propto p_T(x)^\alpha\, e^{-\sum_t E_f(x_t)/T}\, e^{-\Phi(x)}$.

$p_T(x) = \prod_t p_T(x_t|x_{<t})$ is the model at temperature T, normalised token by token; $E_f$ are the fields,
$\Phi$ the potentials. x is a finished sequence: it ends with a stop token or has the greatest length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Step, TokenSampler
from heatbath.decode.energy_pipeline import EnergyPipeline, PipelineResult
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.windows import Window
from heatbath.energy.base import Field, Potential
from heatbath.errors import BadInput, format_value

MAX_POWER = 1e9
"""The largest power of a target: beyond it the weights of sequences, and their squares, overflow."""


@dataclass(frozen=True)
class Target:
    """A distribution over finished sequences, up to its partition function.

    Attributes:
        temperature: T > 0.
        power: alpha, from 0 to `MAX_POWER`.
        window: truncates the proposal, as it would at temperature T.
        proposal: draws the tokens; the model at T / alpha with the fields unless given. Sequences that the proposal
            cannot draw have probability 0 in the target.

    Raises:
        BadInput: a temperature or power out of range, or a window together with a proposal.
    """

    temperature: float = 1.0
    power: float = 1.0
    fields: Field | Sequence[Field] = ()
    potentials: Potential | Sequence[Potential] = ()
    window: Window | Sequence[Window] | None = None
    proposal: TokenSampler | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise BadInput(
                f"the temperature of a target must be positive and finite, got {self.temperature}.", param="temperature"
            )
        if not 0 <= self.power <= MAX_POWER:
            raise BadInput(f"`alpha` must be from 0 to {MAX_POWER:g}, got {self.power}.", param="alpha")
        if self.proposal is not None and self.window:
            raise BadInput("a target takes a window or a proposal, got both: set the window of the proposal.")

    @cached_property
    def proposal_sampler(self) -> TokenSampler:
        """The token sampler that draws proposals."""
        if self.proposal is not None:
            return self.proposal
        return self.build_sampler_at(self._proposal_temperature)

    def build_sampler_at(self, temperature: float) -> Ancestral:
        """Build a sampler of the model at `temperature` with the target's fields and windows.

        The windows truncate the distribution at the temperature of the target.
        """
        return Ancestral(
            temperature, self.window, self.fields, keep_dead_rows=True, window_temperature=self.temperature
        )

    @cached_property
    def has_local_proposal(self) -> bool:
        """True if the proposal is the model at T / alpha with the fields of the target."""
        sampler = self.proposal_sampler
        return (
            isinstance(sampler, Ancestral)
            and isinstance(sampler.temperatures, float | int)
            and sampler.temperatures == self._proposal_temperature
            and sampler.pipeline.fields == self.field_pipeline.fields
        )

    @property
    def _proposal_temperature(self) -> float:
        return self.temperature / self.power if self.power else np.inf

    @cached_property
    def field_pipeline(self) -> EnergyPipeline:
        """The fields of the target as a pipeline."""
        return EnergyPipeline(self.fields)

    @cached_property
    def constraint_names(self) -> str:
        """Names of the fields and potentials that may forbid a sequence, for error messages."""
        energies = (self.potentials,) if isinstance(self.potentials, Potential) else tuple(self.potentials)
        potentials = [part.name for energy in energies for weight, part in energy.terms if weight]
        return ", ".join(map(repr, (*self.field_pipeline.field_names, *potentials))) or "the model and its windows"

    def score_step(self, batch: Batch, step: Step) -> TokenScores:
        """Return the scores of the drawn tokens of a step; `batch` is the one after it, with the tokens pending."""
        betas = np.full(len(step.tokens), 1 / self.temperature)
        model = step.model_logprob if np.array_equal(step.betas, betas) else step.logprob_at(betas)
        field = self._compute_field_energy(batch, step) * betas
        dead = step.pipeline_result.dead_rows
        field = field if dead is None else np.where(dead, np.inf, field)
        proposal = step.logprob if step.log_accepted_mass is None else step.logprob - step.log_accepted_mass
        return TokenScores(model, field, proposal)

    def predict_increments(self, result: PipelineResult) -> Floats:
        r"""Return the change of log-weights that a draw from a local proposal brings, before it is made, (B,).

        It is $\log Z_q - \alpha \log Z_T$, the same for all tokens if there are no fields, if these only forbid, or if
        alpha is 1; otherwise it is a prediction.
        """
        log_z = result.model_log_z(np.full(len(result.betas), 1 / self.temperature))
        change = result.final_log_z - self.power * log_z
        return change if result.dead_rows is None else np.where(result.dead_rows, -np.inf, change)

    def _compute_field_energy(self, batch: Batch, step: Step) -> Floats:
        """Return the energies of the drawn tokens in all fields together, (B,)."""
        energies: Mapping[str, Floats] = {}
        if (
            isinstance(self.proposal_sampler, Ancestral)
            and self.proposal_sampler.pipeline.fields == self.field_pipeline.fields
        ):
            energies = step.field_energy
        elif self.field_pipeline.fields:
            result = self.field_pipeline(batch.build_context(step.energies), step.betas, _refuse_random_windows)
            energies = result.field_energies(step.tokens)
        return np.asarray(np.sum([np.zeros(len(step.tokens)), *energies.values()], axis=0))


@dataclass(frozen=True)
class TokenScores:
    """Scores of drawn tokens, (B,): log p_T of the model, beta times the energy of fields, log q of the proposal.

    For tokens drawn by rejection q is an estimate, whose inverse is unbiased; it is inf where none was accepted.
    """

    model_logprob: Floats
    field_energy: Floats
    proposal_logprob: Floats


def _refuse_random_windows() -> Floats:
    raise BadInput("the fields of a target must not be random.")


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
