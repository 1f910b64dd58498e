"""Fields of the request that are known and not served: those that would change the meaning are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from heatbath.serve.errors import ApiError

Wrong = Callable[[Any], bool]


def _is_set(value: Any) -> bool:
    """Whether a field asks for anything: not null, false, empty or zero."""
    return bool(value)


def _other_than_text(value: Any) -> bool:
    return bool(value != ["text"])


def _blocks(value: Any) -> bool:
    policy = value.get("policy") if isinstance(value, dict) else value
    sides = policy.values() if isinstance(policy, dict) else ()
    return not isinstance(value, dict) or any(isinstance(side, dict) and side.get("mode") == "block" for side in sides)


def _always(value: Any) -> bool:
    return True


_NO_SUCH = "leave it out, this server {}"
_COMMON: Mapping[str, tuple[Wrong, str]] = {
    "truncate_prompt_tokens": (_is_set, "cuts no prompts; shorten the prompt instead"),
    "use_beam_search": (_is_set, "searches by beam only where thermo.sampler is beam"),
    "logits_processors": (_is_set, "runs no code of a request; see thermo.fields"),
    "logits_processor": (_is_set, "runs no code of a request; see thermo.fields"),
    "logprob_token_ids": (_is_set, "gives the most probable tokens alone"),
    "prompt_embeds": (_is_set, "takes text and token ids alone"),
    "prompt_mask": (_is_set, "reads whole prompts"),
    "kv_transfer_params": (_is_set, "moves no cache"),
    "vllm_xargs": (_is_set, "knows no arguments of that kind"),
    "guided_decoding_backend": (lambda value: False, ""),
    "best_of_sampling": (_is_set, "knows best_of in completions alone"),
}
_CHAT: Mapping[str, tuple[Wrong, str]] = {
    "modalities": (_other_than_text, "answers in text alone"),
    "audio": (_always, "answers in text alone"),
    "web_search_options": (_always, "searches no web"),
    "moderation": (_blocks, "has no moderation to block by"),
    "functions": (_is_set, "knows functions as tools; give tools and tool_choice"),
    "function_call": (lambda value: value not in ("none", "auto"), "knows functions as tools; give tool_choice"),
    "echo": (_is_set, "echoes in completions alone"),
    "best_of": (lambda value: value != 1, "knows best_of in completions alone"),
    "suffix": (_is_set, "fills in nothing before a suffix"),
    "chat_template": (_is_set, "uses the model's own template"),
    "documents": (_is_set, "gives documents to no template; put them into a message"),
    "add_special_tokens": (_is_set, "leaves special tokens to the model's template"),
}
_COMPLETIONS: Mapping[str, tuple[Wrong, str]] = {
    "suffix": (_is_set, "fills in nothing before a suffix"),
    "add_special_tokens": (lambda value: value is not True, "adds what the tokenizer adds; give token ids instead"),
    "messages": (_always, "takes messages at /v1/chat/completions"),
    "tools": (_is_set, "takes tools at /v1/chat/completions"),
}
HONOURED = frozenset(
    {"modalities", "echo", "best_of", "suffix", "use_beam_search", "function_call", "add_special_tokens"}
)
"""Fields whose accepted values mean what is done anyway; they are no news to the client."""

CHAT = {**_COMMON, **_CHAT}
COMPLETIONS = {**_COMMON, **_COMPLETIONS}


def remaining(unknown: Mapping[str, Any], table: Mapping[str, tuple[Wrong, str]]) -> list[str]:
    """The names of `unknown` fields that change nothing.

    Raises:
        ApiError: 400 for one whose value would change what the answer means.
    """
    for name, value in unknown.items():
        wrong, why = table.get(name, (_never, ""))
        if wrong(value):
            message = f"{name} is not served: {_NO_SUCH.format(why)}."
            raise ApiError(400, message, code="unsupported_parameter", param=name)
    return [name for name in unknown if name not in HONOURED]


def _never(value: Any) -> bool:
    return False
