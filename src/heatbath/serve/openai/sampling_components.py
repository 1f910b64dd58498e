"""Sampling parameters of the API as windows and fields of the engine, in the order in which they act.

The order is that of transformers and vLLM; docs/serving.md has it as a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heatbath.engine.base import ComponentSpec, ModelInfo
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.schema.sampling import GenerationRequest
from heatbath.serve.openai.validation import format_value

_IDS_PER_FIELD = 16_384
"""Token ids in one field, so that its value stays of a size that an engine accepts."""
PARAM_OF_COMPONENT = {
    "bias": "logit_bias",
    "repetition": "repetition_penalty",
    "frequency": "frequency_penalty",
    "presence": "presence_penalty",
    "dry": "dry_multiplier",
    "min_length": "min_tokens",
    "forbid": "bad_words",
    "forbid_tokens": "allowed_token_ids",
    "typical": "typical_p",
    "epsilon": "epsilon_cutoff",
    "eta": "eta_cutoff",
    "exclude_top_choices": "xtc_probability",
    **{name: name for name in ("top_k", "top_p", "min_p", "top_n_sigma")},
}
"""The parameter of the API that stands for a component."""


def request_windows(body: GenerationRequest) -> Iterator[ComponentSpec]:
    """Yield the windows in the order users expect: by rank first, then by mass, then by threshold."""
    if body.top_k is not None and body.top_k > 0:
        yield ComponentSpec("top_k", body.top_k)
    if body.top_p is not None and body.top_p < 1:
        # No mass at all still leaves the most probable token.
        yield ComponentSpec("top_p", body.top_p) if body.top_p > 0 else ComponentSpec("top_k", 1)
    if body.min_p:
        yield ComponentSpec("min_p", body.min_p)
    if body.typical_p is not None and 0 < body.typical_p < 1:
        yield ComponentSpec("typical", body.typical_p)
    if body.top_n_sigma is not None and body.top_n_sigma > 0:
        yield ComponentSpec("top_n_sigma", body.top_n_sigma)
    for name, value in (("epsilon", body.epsilon_cutoff), ("eta", body.eta_cutoff)):
        if value is not None and 0 < value < 1:
            yield ComponentSpec(name, value)
    if body.xtc_probability and body.xtc_threshold:
        yield ComponentSpec(
            "exclude_top_choices", {"threshold": body.xtc_threshold, "probability": body.xtc_probability}
        )


def request_fields(body: GenerationRequest, language: ModelInfo) -> Iterator[ComponentSpec]:
    """Yield the fields in the order of transformers and vLLM: what is forbidden, the bias, and then the penalties.

    The repetition penalty divides the logit so far, so that it has to come after the bias and before the others.
    """
    if body.allowed_token_ids is not None:
        yield from _forbid_others(body.allowed_token_ids, language)
    if body.bad_words:
        yield ComponentSpec("forbid", list(body.bad_words))
    if body.min_tokens:
        yield ComponentSpec("min_length", body.min_tokens)
    bias = _token_bias(body.logit_bias, language) if body.logit_bias else {}
    if bias:
        yield ComponentSpec("bias", bias)
    if body.repetition_penalty is not None and body.repetition_penalty != 1:
        yield ComponentSpec("repetition", body.repetition_penalty)
    if body.frequency_penalty:
        yield ComponentSpec("frequency", body.frequency_penalty)
    if body.presence_penalty:
        yield ComponentSpec("presence", body.presence_penalty)
    if body.dry_multiplier:
        yield ComponentSpec("dry", _dry_options(body))


def _dry_options(body: GenerationRequest) -> float | dict[str, Any]:
    """Return the settings of DRY by the names of the field, the multiplier alone where nothing else was given."""
    given = {
        "base": body.dry_base,
        "allowed_length": body.dry_allowed_length,
        # -1 searches all tokens, as in llama.cpp.
        "last_n": None if body.dry_penalty_last_n == -1 else body.dry_penalty_last_n,
        "breakers": body.dry_sequence_breakers,
    }
    options = {name: value for name, value in given.items() if value is not None}
    assert body.dry_multiplier is not None
    return {"multiplier": body.dry_multiplier, **options} if options else body.dry_multiplier


def _token_bias(given: Mapping[str, float], language: ModelInfo) -> dict[str, float]:
    """Return the biases by token id. A bias of 0 changes nothing, whatever it is for.

    Raises:
        ApiError: 400 for what is no token id, and for an id that is given twice, as "5" and "05".
    """
    size = language.vocabulary.size
    bias: dict[str, float] = {}
    for name, value in given.items():
        if not value:
            continue
        if not (name.isascii() and name.isdigit() and len(name) <= 10 and int(name) < size):
            message = f"logit_bias holds {format_value(name)}: give token ids below {size}."
            raise invalid_value(message, "logit_bias")
        if str(int(name)) in bias:
            message = f"logit_bias holds the token id {int(name)} twice: give each id once."
            raise invalid_value(message, "logit_bias")
        bias[str(int(name))] = value
    return bias


def _forbid_others(allowed: Sequence[int], language: ModelInfo) -> Iterator[ComponentSpec]:
    check_token_ids(allowed, language, "allowed_token_ids")
    allowed_ids = frozenset(allowed)
    others = [token for token in range(language.vocabulary.size) if token not in allowed_ids]
    for start in range(0, len(others), _IDS_PER_FIELD):
        yield ComponentSpec("forbid_tokens", others[start : start + _IDS_PER_FIELD])


def check_token_ids(tokens: Sequence[int], language: ModelInfo, param: str) -> None:
    size = language.vocabulary.size
    wrong = next((token for token in tokens if not 0 <= token < size), None)
    if wrong is not None:
        raise invalid_value(f"{param} holds {wrong}: give token ids below {size}.", param)
