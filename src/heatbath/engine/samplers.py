"""Samplers by name: what each is made of, from the settings common to all and from options of its own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from heatbath import decode
from heatbath.decode import Ancestral, Greedy, Independent, Sampler, Schedule, Target
from heatbath.engine.tape import Floats
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.engine.run import Settings, Temperature

Options = dict[str, Any]

POWER = 4.0
"""The exponent of power sampling where none is given (Karan and Du 2025, arXiv:2510.14901)."""


@dataclass(frozen=True)
class Named:
    """A sampler that can be asked for by name: how it is made, the options it takes, and whether potentials count."""

    make: Callable[[Settings, Options, int], Sampler[Any, Any]]
    options: tuple[str, ...] = ()
    weighs: bool = False


def made(settings: Settings, rows: int) -> Sampler[Any, Any]:
    """The sampler that `settings` ask for.

    Raises:
        BadInput: an unknown name or option, or a setting that the sampler has no use for.
    """
    if isinstance(settings.sampler, Sampler):
        _refuse(settings.options, "a sampler that is given whole", ())
        return settings.sampler
    name = settings.sampler
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise BadInput(f"there is no sampler {name!r}{hint}: choose from {', '.join(SAMPLERS)}.")
    named = SAMPLERS[name]
    _refuse(settings.options, f"the {name} sampler", named.options)
    if settings.potentials and not named.weighs:
        able = ", ".join(other for other in SAMPLERS if SAMPLERS[other].weighs)
        raise BadInput(f"the {name} sampler weighs no potentials: choose from {able}.")
    try:
        return named.make(settings, dict(settings.options), rows)
    except TypeError as error:
        given = ", ".join(f"{option}={value!r}" for option, value in settings.options.items())
        raise BadInput(f"the {name} sampler cannot take {given}: {error}.") from error


def checked_temperatures(temperature: Temperature, rows: int) -> Floats:
    """The temperatures (rows,) or (), as given.

    Raises:
        BadInput: below 0, NaN, or of another shape.
    """
    values = np.asarray(temperature, np.float64)
    if values.shape not in ((), (rows,)):
        raise BadInput(f"{rows} rows take one temperature or {rows} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"temperature is {wrong[0]}: give a number from 0 up.")
    return values


def _refuse(options: Any, who: str, known: tuple[str, ...]) -> None:
    wrong = [name for name in options if name not in known]
    if wrong:
        what = f"its options are {', '.join(known)}" if known else "it takes no options"
        raise BadInput(f"{who} knows no {wrong[0]!r}: {what}.")


def _tokens(settings: Settings, rows: int) -> Ancestral:
    """The sampler of tokens that other samplers repeat."""
    temperature = settings.temperature
    if not isinstance(temperature, Schedule):
        temperature = checked_temperatures(temperature, rows)
    return Ancestral(temperature, settings.window, settings.fields)


def _one_temperature(settings: Settings) -> float:
    values = settings.temperature
    if isinstance(values, Schedule) or np.ndim(values):
        raise BadInput(f"the {settings.sampler} sampler takes one temperature, neither a schedule nor several.")
    return float(checked_temperatures(values, 1))


def _target(settings: Settings, options: Options, power: float = 1.0) -> Target:
    return Target(
        temperature=_one_temperature(settings),
        power=options.pop("alpha", power),
        fields=settings.fields,
        potentials=settings.potentials,
        window=settings.window,
        proposal=options.pop("proposal", None),
    )


def _led(settings: Settings, options: Options) -> Target:
    """A target that differs from the model also where nothing is asked for: then its fourth power."""
    return _target(settings, options, 1.0 if settings.potentials else POWER)


def _ancestral(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return Independent(_tokens(settings, rows))


def _greedy(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    if settings.window:
        raise BadInput("a window changes nothing for the greedy sampler: leave it out.")
    return Independent(Greedy(settings.fields), scored=1.0)


def _beam(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    temperature = _one_temperature(settings)
    return decode.Beam(temperature=temperature, fields=settings.fields, window=settings.window, **options)


def _best_of(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.BestOf(sampler=_tokens(settings, rows), potentials=settings.potentials, **options)


def _vote(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.Vote(sampler=_tokens(settings, rows), **options)


def _smc(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.SMC(_target(settings, options), **options)


def _power(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    method = options.pop("method", "smc")
    if method not in _POWER:
        raise BadInput(f"power sampling has no method {method!r}: choose from {', '.join(_POWER)}.")
    make, known = _POWER[method]
    _refuse(options, f"power sampling by {method}", ("alpha", "proposal", *known))
    return cast("Sampler[Any, Any]", make(_target(settings, options, POWER), **options))


def _anneal(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.Anneal(_led(settings, options), **options)


def _tempering(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.Tempering(_led(settings, options), **options)


def _langevin(settings: Settings, options: Options, rows: int) -> Sampler[Any, Any]:
    return decode.Langevin(_target(settings, options), **options)


_PARTICLES = ("particles", "replicates", "resampling", "threshold", "ladder")
_CHAINS = ("chains", "sweeps", "burn", "block")
_AHEAD = ("n", "candidates", "rollouts", "horizon", "block", "jackknife")
_POWER: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "smc": (decode.SMC, _PARTICLES),
    "metropolis": (decode.Metropolis, _CHAINS),
    "lookahead": (decode.Lookahead, _AHEAD),
}
_OF_POWER = tuple(dict.fromkeys(("alpha", "method", "proposal", *_PARTICLES, *_CHAINS, *_AHEAD)))

SAMPLERS: dict[str, Named] = {
    "ancestral": Named(_ancestral),
    "greedy": Named(_greedy),
    "beam": Named(_beam, ("width", "length_penalty", "groups", "diversity")),
    "best-of": Named(_best_of, ("n", "by"), weighs=True),
    "vote": Named(_vote, ("n", "key")),
    "smc": Named(_smc, ("alpha", "proposal", *_PARTICLES), weighs=True),
    "power": Named(_power, _OF_POWER, weighs=True),
    "anneal": Named(_anneal, ("alpha", "proposal", "particles", "ladder", "sweeps", "threshold"), weighs=True),
    "tempering": Named(_tempering, ("alpha", "proposal", "chains", "ladder", "sweeps", "burn"), weighs=True),
    "langevin": Named(_langevin, ("alpha", "chains", "sweeps", "burn", "step_size", "positions"), weighs=True),
}
"""What `sampler` may be called, with the options of each."""
