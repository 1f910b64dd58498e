"""Power sampling: the model's distribution to a power alpha, by one of three methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from heatbath.decode.lookahead import Lookahead
from heatbath.decode.metropolis import Metropolis
from heatbath.decode.sampler_arguments import SamplerArguments, validate_option_names
from heatbath.decode.sequences import SequenceSampler
from heatbath.decode.smc import PARTICLE_OPTIONS, PARTICLE_RANGES, SMC
from heatbath.decode.target import DEFAULT_POWER, build_target, split_target_options
from heatbath.energy.spec import LENGTH, ROWS, SHARE, SWEEPS, Range, Spec
from heatbath.errors import BadInput

_CHAIN_OPTIONS = ("chains", "sweeps", "burn", "block")
_LOOKAHEAD_OPTIONS = ("n", "candidates", "rollouts", "horizon", "block", "jackknife")
POWER_METHODS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "smc": (SMC, PARTICLE_OPTIONS),
    "metropolis": (Metropolis, _CHAIN_OPTIONS),
    "lookahead": (Lookahead, _LOOKAHEAD_OPTIONS),
}
"""The sampler of each method, and its options."""


def build_power_sampler(arguments: SamplerArguments, *, method: str = "smc", **options: Any) -> SequenceSampler[Any]:
    """Build a sampler of the model's distribution to the power `alpha`, the fourth unless given.

    Raises:
        BadInput: an unknown method, or an option that belongs to another one.
    """
    if method not in POWER_METHODS:
        raise BadInput(f"power sampling has no method {method!r}: choose from {', '.join(POWER_METHODS)}.")
    sampler, known = POWER_METHODS[method]
    of_target, own = split_target_options(options)
    validate_option_names(own, f"power sampling by {method}", ("alpha", "proposal", *known))
    target = build_target(arguments, **{"alpha": DEFAULT_POWER, **of_target})
    return cast("SequenceSampler[Any]", sampler(target, **own))


SPEC = Spec(
    "power",
    "sampler",
    build_power_sampler,
    options=tuple(
        dict.fromkeys(("alpha", "method", "proposal", *PARTICLE_OPTIONS, *_CHAIN_OPTIONS, *_LOOKAHEAD_OPTIONS))
    ),
    order=70,
    uses_potentials=True,
    ranges={
        **PARTICLE_RANGES,
        **dict.fromkeys(("chains", "n", "candidates", "rollouts"), ROWS),
        "sweeps": SWEEPS,
        "burn": SHARE,
        "horizon": LENGTH,
        "block": Range(1, 2**31 - 1, or_none=True),
    },
)
