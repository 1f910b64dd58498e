"""The keyword arguments of `hb.generate`: their types, and from them the settings of a run.

They have the names that the command line and the HTTP API use. A window is an argument by its name (`top_p=0.9`); a
sampler's options are arguments too (`particles=32`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from heatbath.decode import Sampler, Schedule, TokenSampler, Window
from heatbath.decode.sampler_arguments import Temperature
from heatbath.energy import Field, Potential
from heatbath.energy.grammar_guard import GrammarGuard
from heatbath.engine.base import RecordMode
from heatbath.engine.registry import (
    FIELDS,
    POTENTIALS,
    SAMPLERS,
    SCHEDULES,
    WINDOWS,
    BuildContext,
    build,
    resolve_components,
)
from heatbath.engine.settings import GenerationSettings, validate_integer
from heatbath.errors import BadInput, suggest_name
from heatbath.models.base import Model

Components = Mapping[str, Any]
"""Components by name with their values, as in a request over HTTP."""


class GenerationOptions(TypedDict, total=False):
    """The keyword arguments of `hb.generate` besides `n`, `on_step` and `observers`.

    First the settings of a run, then the windows, then the options of samplers.
    """

    temperature: Temperature
    schedule: str | Schedule | Components
    max_tokens: int
    window: str | Window | Components | Sequence[str | Window | Components] | None
    fields: str | Field | Components | Sequence[str | Field | Components]
    potentials: str | Potential | Components | Sequence[str | Potential | Components]
    sampler: str | Sampler
    seed: int
    first_row: int
    record: RecordMode
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    edges: Mapping[str, float]

    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical: float | None
    typical_p: float | None
    epsilon: float | None
    epsilon_cutoff: float | None
    eta: float | None
    eta_cutoff: float | None
    top_n_sigma: float | None
    p_less: bool | None
    p_less_norm: bool | None
    top_h: float | None
    exclude_top_choices: Components | None

    alpha: float
    method: Literal["smc", "metropolis", "lookahead"]
    proposal: TokenSampler
    particles: int
    replicates: int
    resampling: str
    threshold: float
    ladder: int | Sequence[float]
    accepts: int
    max_rejects: int
    chains: int
    sweeps: int
    burn: float
    block: int | None
    candidates: int
    rollouts: int
    horizon: int
    jackknife: bool
    step_size: float
    positions: int | None
    width: int
    length_penalty: float
    groups: int
    diversity: float
    by: Literal["logprob", "mean_logprob"]
    key: Callable[[str], Hashable]


SETTINGS_NAMES = frozenset(entry.name for entry in fields(GenerationSettings)) - {"options"}

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("max_new_tokens", "max_completion_tokens", "n_predict", "num_predict"), "write max_tokens=…"),
        "min_new_tokens": 'write fields="min_length=8"',
        "min_tokens": 'write fields="min_length=8"',
        **dict.fromkeys(
            ("num_return_sequences", "num_samples", "num_completions"), "write n=… for the number of sequences"
        ),
        "do_sample": 'leave it out: every token is drawn, and temperature=0 or sampler="greedy" takes the likeliest',
        "num_beams": 'write sampler="beam", width=…',
        "num_beam_groups": 'write sampler="beam", groups=…',
        "diversity_penalty": 'write sampler="beam", diversity=…',
        "best_of": 'write sampler="best-of", n=…',
        "early_stopping": "leave it out: a beam search ends when no hypothesis can win any more",
        **dict.fromkeys(
            ("return_dict_in_generate", "return_dict"),
            "leave it out: the result always has texts, sequences, log-probabilities and records",
        ),
        **dict.fromkeys(
            ("output_scores", "output_logits", "output_log_probs", "logprobs", "top_logprobs", "records"),
            'write record="full", the default; log-probabilities are in result.logprob and result.traces',
        ),
        **dict.fromkeys(("use_cache", "pad_token_id"), "leave it out: rows are cached and padded as needed"),
        "eos_token_id": "write stop_token_ids=[…]",
        "ignore_stop": "write ignore_eos=True",
        **dict.fromkeys(("stop_strings", "stop_sequences", "stop_words", "stopping_criteria"), "write stop=[…]"),
        **dict.fromkeys(("repetition_penalty", "repeat_penalty"), 'write fields="repetition=1.1"'),
        "presence_penalty": 'write fields="presence=0.5"',
        "frequency_penalty": 'write fields="frequency=0.5"',
        "no_repeat_ngram_size": 'write fields="dry=0.8"',
        "dry_multiplier": 'write fields="dry=0.8"',
        **dict.fromkeys(("logit_bias", "sequence_bias"), 'write fields={"bias": {" yes": 2.0}}'),
        **dict.fromkeys(("bad_words", "bad_words_ids"), 'write fields={"forbid": ["phrase"]}'),
        **dict.fromkeys(("response_format", "guided_json", "json_schema"), 'write fields={"json_schema": {…}}'),
        **dict.fromkeys(("guided_regex", "regex"), 'write fields={"regex": "[0-9]+"}'),
        **dict.fromkeys(("logits_processor", "field"), "write fields=[…]"),
        "potential": "write potentials=[…]",
        "windows": "write window=[…]",
        **dict.fromkeys(("xtc_threshold", "xtc_probability"), 'write exclude_top_choices={"threshold": 0.1, …}'),
        **dict.fromkeys(("generator", "random_state", "rng"), "write seed=…"),
        **dict.fromkeys(("streamer", "stream", "callback"), "write on_step=… for a function that gets every step"),
        **dict.fromkeys(("input_ids", "inputs", "prompts", "messages"), "give the prompt as the second argument"),
        "attention_mask": "leave it out: prompts of different lengths are padded as needed",
        **dict.fromkeys(("generation_config", "sampling_params"), "give its values as keyword arguments"),
    }
)
"""Names that other libraries use, and what to write here."""


def build_settings(
    model: Model, options: Mapping[str, Any], *, guard: GrammarGuard | None = None
) -> GenerationSettings:
    """Build the settings of a run from the keyword arguments of `hb.generate`.

    `guard` tries grammars in another process before they are compiled in this one.

    Raises:
        BadInput: an unknown argument, or a value of another type.
    """
    windows = {name: spec for spec in WINDOWS.values() for name in (spec.name, *spec.aliases)}
    own = {name: value for name, value in options.items() if name in SETTINGS_NAMES}
    rest = {name: value for name, value in options.items() if name not in own and name not in windows}
    schedule = rest.pop("schedule", None)
    _validate_names(rest, windows)
    max_tokens = validate_integer("max_tokens", own.get("max_tokens", 128), minimum=1)
    context = BuildContext(model, max_tokens, grammar_guard=guard)
    if schedule is not None:
        own["temperature"] = _resolve_schedule(schedule, context, own)
    keywords = [
        (windows[name], options[name])
        for name in windows
        if name in options and options[name] is not None and options[name] is not False
    ]
    own["window"] = [
        *resolve_components(WINDOWS, own.get("window"), context, built=Window, param="window"),
        *(build(WINDOWS, (spec.name, None if value is True else value), context) for spec, value in keywords),
    ]
    for name, registry, kind in (("fields", FIELDS, Field), ("potentials", POTENTIALS, Potential)):
        own[name] = resolve_components(registry, own.get(name), context, built=kind, param=name)
    return GenerationSettings(**own, options=rest)


def _resolve_schedule(given: Any, context: BuildContext, own: Mapping[str, Any]) -> Schedule:
    if "temperature" in own:
        raise BadInput("schedule stands in place of temperature: give one of them.", param="schedule")
    found = resolve_components(SCHEDULES, given, context, built=Schedule, param="schedule")  # type: ignore[type-abstract]
    if len(found) != 1:
        raise BadInput(f"schedule names {len(found)} schedules: give one.", param="schedule")
    return found[0]


def _validate_names(rest: Mapping[str, Any], windows: Mapping[str, Any]) -> None:
    """Raise `BadInput` for an argument that is no setting, window or option of any sampler."""
    known = {option for spec in SAMPLERS.values() for option in spec.options}
    for name in rest:
        if name in known:
            continue
        if name in OTHER_NAMES:
            raise BadInput(f"generate has no argument {name!r}: {OTHER_NAMES[name]}.", param=name)
        hint = suggest_name(name, [*SETTINGS_NAMES, "schedule", "n", "on_step", "observers", *windows, *known])
        raise BadInput(f"generate has no argument {name!r}{hint}: see help(heatbath.generate).", param=name)
