"""Samplers by name: what each is made of, from the settings common to all and from options of its own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from heatbath import decode
from heatbath.decode import Ancestral, Greedy, Independent, Sampler, Schedule, SequenceSampler, Target, TokenSampler
from heatbath.engine.run_buffer import Floats
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.engine.settings import GenerationSettings, Temperature

SamplerOptions = dict[str, Any]

DEFAULT_ALPHA = 4.0
"""The exponent of power sampling where none is given (Karan and Du 2025, arXiv:2510.14901)."""


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler that can be asked for by name: how it is made, the options it takes, and whether potentials count."""

    build: Callable[[GenerationSettings, SamplerOptions, int], Sampler]
    options: tuple[str, ...] = ()
    uses_potentials: bool = False


def build_sampler(settings: GenerationSettings, rows: int) -> Sampler:
    """The sampler that `settings` ask for.

    Raises:
        BadInput: an unknown name or option, or a setting that the sampler has no use for.
    """
    if isinstance(settings.sampler, TokenSampler | SequenceSampler):
        _reject_unknown_options(settings.options, "a sampler that is given whole", ())
        return settings.sampler
    name = settings.sampler
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise BadInput(f"there is no sampler {name!r}{hint}: choose from {', '.join(SAMPLERS)}.")
    named = SAMPLERS[name]
    _reject_unknown_options(settings.options, f"the {name} sampler", named.options)
    if settings.potentials and not named.uses_potentials:
        able = ", ".join(other for other in SAMPLERS if SAMPLERS[other].uses_potentials)
        raise BadInput(f"the {name} sampler weighs no potentials: choose from {able}.")
    try:
        return named.build(settings, dict(settings.options), rows)
    except TypeError as error:
        given = ", ".join(f"{option}={value!r}" for option, value in settings.options.items())
        raise BadInput(f"the {name} sampler cannot take {given}: {error}.") from error


def validate_temperatures(temperature: Temperature, rows: int) -> Floats:
    """The temperatures (rows,) or (), as given.

    Raises:
        BadInput: below 0, NaN, or of another shape.
    """
    values = np.asarray(temperature, np.float64)
    if values.shape not in ((), (rows,)):
        raise BadInput(f"{rows} rows take one temperature or {rows} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"temperature is {wrong[0]}: give a number from 0 up.", param="temperature")
    return values


def _reject_unknown_options(options: Any, owner: str, known: tuple[str, ...]) -> None:
    wrong = [name for name in options if name not in known]
    if wrong:
        what = f"its options are {', '.join(known)}" if known else "it takes no options"
        raise BadInput(f"{owner} knows no {wrong[0]!r}: {what}.")


def _build_token_sampler(settings: GenerationSettings, rows: int) -> Ancestral:
    """The sampler of tokens that other samplers repeat."""
    temperature = settings.temperature
    if not isinstance(temperature, Schedule):
        temperature = validate_temperatures(temperature, rows)
    return Ancestral(temperature, settings.window, settings.fields)


def _require_single_temperature(settings: GenerationSettings) -> float:
    values = settings.temperature
    if isinstance(values, Schedule) or np.ndim(values):
        raise BadInput(f"the {settings.sampler} sampler takes one temperature, neither a schedule nor several.")
    return float(validate_temperatures(values, 1))


def _build_target(settings: GenerationSettings, options: SamplerOptions, power: float = 1.0) -> Target:
    return Target(
        temperature=_require_single_temperature(settings),
        power=options.pop("alpha", power),
        fields=settings.fields,
        potentials=settings.potentials,
        window=settings.window,
        proposal=options.pop("proposal", None),
    )


def _build_default_target(settings: GenerationSettings, options: SamplerOptions) -> Target:
    """A target that differs from the model also where nothing is asked for: then its fourth power."""
    return _build_target(settings, options, 1.0 if settings.potentials else DEFAULT_ALPHA)


def _build_ancestral(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return Independent(_build_token_sampler(settings, rows))


def _build_greedy(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    if settings.window:
        raise BadInput("a window changes nothing for the greedy sampler: leave it out.")
    return Independent(Greedy(settings.fields), logprob_temperature=1.0)


def _build_beam(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    temperature = _require_single_temperature(settings)
    return decode.Beam(temperature=temperature, fields=settings.fields, window=settings.window, **options)


def _build_best_of(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.BestOf(sampler=_build_token_sampler(settings, rows), potentials=settings.potentials, **options)


def _build_vote(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.Vote(sampler=_build_token_sampler(settings, rows), **options)


def _build_smc(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.SMC(_build_target(settings, options), **options)


def _build_power(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    method = options.pop("method", "smc")
    if method not in _POWER_METHODS:
        raise BadInput(f"power sampling has no method {method!r}: choose from {', '.join(_POWER_METHODS)}.")
    make, known = _POWER_METHODS[method]
    _reject_unknown_options(options, f"power sampling by {method}", ("alpha", "proposal", *known))
    return cast("Sampler", make(_build_target(settings, options, DEFAULT_ALPHA), **options))


def _build_anneal(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.Anneal(_build_default_target(settings, options), **options)


def _build_tempering(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.Tempering(_build_default_target(settings, options), **options)


def _build_langevin(settings: GenerationSettings, options: SamplerOptions, rows: int) -> Sampler:
    return decode.Langevin(_build_target(settings, options), **options)


_PARTICLE_OPTIONS = ("particles", "replicates", "resampling", "threshold", "ladder")
_CHAIN_OPTIONS = ("chains", "sweeps", "burn", "block")
_LOOKAHEAD_OPTIONS = ("n", "candidates", "rollouts", "horizon", "block", "jackknife")
_POWER_METHODS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "smc": (decode.SMC, _PARTICLE_OPTIONS),
    "metropolis": (decode.Metropolis, _CHAIN_OPTIONS),
    "lookahead": (decode.Lookahead, _LOOKAHEAD_OPTIONS),
}
_POWER_OPTIONS = tuple(
    dict.fromkeys(("alpha", "method", "proposal", *_PARTICLE_OPTIONS, *_CHAIN_OPTIONS, *_LOOKAHEAD_OPTIONS))
)

SAMPLERS: dict[str, SamplerEntry] = {
    "ancestral": SamplerEntry(_build_ancestral),
    "greedy": SamplerEntry(_build_greedy),
    "beam": SamplerEntry(_build_beam, ("width", "length_penalty", "groups", "diversity")),
    "best-of": SamplerEntry(_build_best_of, ("n", "by"), uses_potentials=True),
    "vote": SamplerEntry(_build_vote, ("n", "key")),
    "smc": SamplerEntry(_build_smc, ("alpha", "proposal", *_PARTICLE_OPTIONS), uses_potentials=True),
    "power": SamplerEntry(_build_power, _POWER_OPTIONS, uses_potentials=True),
    "anneal": SamplerEntry(
        _build_anneal, ("alpha", "proposal", "particles", "ladder", "sweeps", "threshold"), uses_potentials=True
    ),
    "tempering": SamplerEntry(
        _build_tempering, ("alpha", "proposal", "chains", "ladder", "sweeps", "burn"), uses_potentials=True
    ),
    "langevin": SamplerEntry(
        _build_langevin, ("alpha", "chains", "sweeps", "burn", "step_size", "positions"), uses_potentials=True
    ),
}
"""What `sampler` may be called, with the options of each."""

TOKEN_SAMPLERS = tuple(name for name, entry in SAMPLERS.items() if not entry.options)
"""Samplers that draw each sequence by itself, token by token."""
