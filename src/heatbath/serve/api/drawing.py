"""From what a request asks for to what the engine is asked: stops, windows, fields, temperature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heatbath.engine.base import ComponentSpec, ModelInfo
from heatbath.serve.api.reading import shown
from heatbath.serve.api.schema.sampling import Sampling
from heatbath.serve.api.structure import forms, structure
from heatbath.serve.errors import invalid_value

_SEEDS = 2**63
_AT_ONCE = 16_384
"""Token ids in one field, so that its value stays of a size an engine takes."""


def drawing(asked: Sampling, language: ModelInfo, most: int) -> dict[str, Any]:
    """What a request asks of each of its prompts, `most` answers of one, as settings of `engine.base.Request`.

    Raises:
        ApiError: 400 for values that contradict one another or the vocabulary.
    """
    if (asked.n or 1) > most:
        raise invalid_value(f"n is {asked.n}: this server gives at most {most} answers.", "n")
    return {
        "n": asked.n or 1,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        # Seeds of the API are signed, those of an engine are not; the one that comes back has to fit both.
        "seed": None if asked.seed is None else asked.seed % _SEEDS,
        "windows": tuple(_windows(asked)),
        "fields": (*_fields(asked, language), *structure(asked)),
        "stop": _stops(asked),
        "keep_stop": bool(asked.include_stop_str_in_output),
        "salt": asked.cache_salt or "",
        "priority": asked.priority or 0,
        **_ends(asked, language),
    }


def _stops(asked: Sampling) -> tuple[str, ...]:
    if isinstance(asked.stop, str):
        return (asked.stop,)
    return tuple(asked.stop or ())


def _ends(asked: Sampling, language: ModelInfo) -> dict[str, Any]:
    # An answer of a set form ends with it, since nothing can follow.
    endless = bool(asked.ignore_eos) and not forms(asked)
    own = () if endless else language.vocabulary.stop_token_ids
    more = tuple(asked.stop_token_ids or ())
    _in_vocabulary(more, language, "stop_token_ids")
    if not more:
        return {"ignore_stop": endless}
    return {"stop_tokens": tuple(dict.fromkeys((*own, *more)))}


def _windows(asked: Sampling) -> Iterator[ComponentSpec]:
    """In the order in which their users know them: what cuts by rank first, then by mass, then by threshold."""
    if asked.top_k is not None and asked.top_k > 0:
        yield ComponentSpec("top_k", asked.top_k)
    if asked.top_p is not None and asked.top_p < 1:
        # No mass at all still leaves the most probable token.
        yield ComponentSpec("top_p", asked.top_p) if asked.top_p > 0 else ComponentSpec("top_k", 1)
    if asked.min_p:
        yield ComponentSpec("min_p", asked.min_p)
    if asked.typical_p is not None and 0 < asked.typical_p < 1:
        yield ComponentSpec("typical", asked.typical_p)
    if asked.top_n_sigma is not None and asked.top_n_sigma > 0:
        yield ComponentSpec("top_n_sigma", asked.top_n_sigma)
    for name, value in (("epsilon", asked.epsilon_cutoff), ("eta", asked.eta_cutoff)):
        if value is not None and 0 < value < 1:
            yield ComponentSpec(name, value)
    if asked.xtc_probability and asked.xtc_threshold:
        chance = {"threshold": asked.xtc_threshold, "probability": asked.xtc_probability}
        yield ComponentSpec("exclude_top_choices", chance)


def _fields(asked: Sampling, language: ModelInfo) -> Iterator[ComponentSpec]:
    if asked.repetition_penalty is not None and asked.repetition_penalty != 1:
        yield ComponentSpec("repetition", asked.repetition_penalty)
    numbers = (("presence", asked.presence_penalty), ("frequency", asked.frequency_penalty))
    yield from (ComponentSpec(name, value) for name, value in numbers if value)
    if asked.dry_multiplier:
        yield ComponentSpec("dry", asked.dry_multiplier)
    bias = _bias(asked.logit_bias or {}, language)
    if bias:
        yield ComponentSpec("bias", bias)
    if asked.min_tokens:
        yield ComponentSpec("min_length", asked.min_tokens)
    if asked.bad_words:
        yield ComponentSpec("forbid", list(asked.bad_words))
    if asked.allowed_token_ids is not None:
        yield from _only(asked.allowed_token_ids, language)


def _bias(given: Mapping[str, float], language: ModelInfo) -> dict[str, float]:
    """By token id. A bias of 0 changes nothing, whatever it is for."""
    found = {name: value for name, value in given.items() if value}
    for name in found:
        if not (name.isascii() and name.isdigit() and int(name[:10]) < language.vocabulary.size and len(name) <= 10):
            message = f"logit_bias holds {shown(name)}: give token ids below {language.vocabulary.size}."
            raise invalid_value(message, "logit_bias")
    return found


def _only(allowed: list[int], language: ModelInfo) -> Iterator[ComponentSpec]:
    _in_vocabulary(allowed, language, "allowed_token_ids")
    kept = frozenset(allowed)
    others = [token for token in range(language.vocabulary.size) if token not in kept]
    for start in range(0, len(others), _AT_ONCE):
        yield ComponentSpec("forbid_tokens", others[start : start + _AT_ONCE])


def _in_vocabulary(tokens: list[int] | tuple[int, ...], language: ModelInfo, param: str) -> None:
    size = language.vocabulary.size
    wrong = next((token for token in tokens if not 0 <= token < size), None)
    if wrong is not None:
        raise invalid_value(f"{param} holds {wrong}: give token ids below {size}.", param)
