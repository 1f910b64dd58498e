"""Samplers from the settings of a run."""

from __future__ import annotations

import difflib

from heatbath.decode import Sampler, SequenceSampler, TokenSampler
from heatbath.decode.sampler_arguments import SamplerArguments, validate_option_names
from heatbath.engine.registry.discovery import SAMPLERS
from heatbath.engine.registry.option_types import validate_option_types
from heatbath.engine.settings import GenerationSettings
from heatbath.errors import BadInput, HeatbathError, format_value


def build_sampler(settings: GenerationSettings, rows: int) -> Sampler:
    """Build the sampler that `settings` ask for.

    Raises:
        BadInput: an unknown name or option, or a setting that the sampler has no use for.
    """
    if isinstance(settings.sampler, TokenSampler | SequenceSampler):
        validate_option_names(settings.options, "a sampler that is given whole", ())
        return settings.sampler
    name = settings.sampler
    if not isinstance(name, str) or name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1) if isinstance(name, str) else ()
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise BadInput(
            f"there is no sampler {format_value(name)}{hint}: choose from {', '.join(SAMPLERS)}.", param="sampler"
        )
    spec = SAMPLERS[name]
    validate_option_names(settings.options, f"the {name} sampler", spec.options)
    if settings.potentials and not spec.uses_potentials:
        able = ", ".join(other for other in SAMPLERS if SAMPLERS[other].uses_potentials)
        raise BadInput(f"the {name} sampler weighs no potentials: choose from {able}.")
    arguments = SamplerArguments(
        name, settings.temperature, settings.window, settings.fields, settings.potentials, rows
    )
    try:
        sampler = spec.create(arguments, **settings.options)
    except (TypeError, ValueError) as error:
        if isinstance(error, HeatbathError):
            raise
        given = ", ".join(f"{option}={format_value(value)}" for option, value in settings.options.items())
        raise BadInput(f"the {name} sampler cannot take {given}: {error}.") from error
    validate_option_types(name, sampler, settings.options)
    return sampler
