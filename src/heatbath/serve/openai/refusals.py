"""Fields of requests that are not served, with what is refused of each and why.

A field that would change the meaning of the response is refused with its name, never dropped. Names that other servers
give to a setting of this one are refused with the name to use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Refusal = tuple[Callable[[Any], bool], str]
"""Which values of a field are refused, and why. `bool` refuses whatever is neither null nor false, empty or zero."""


def _always(value: Any) -> bool:
    return True


def _is_other_than_text(value: Any) -> bool:
    return bool(value != ["text"])


def _is_blocking(value: Any) -> bool:
    policy = value.get("policy") if isinstance(value, dict) else value
    sides = policy.values() if isinstance(policy, dict) else ()
    return not isinstance(value, dict) or any(isinstance(side, dict) and side.get("mode") == "block" for side in sides)


def _is_not_one(value: Any) -> bool:
    return bool(value != 1)


def _is_false(value: Any) -> bool:
    return value is not True


def _refuse_each(names: Iterable[str], test: Callable[[Any], bool], reason: str) -> dict[str, Refusal]:
    return dict.fromkeys(names, (test, reason))


_RENAMED: Mapping[str, str] = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "max_output_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "min_length": "min_tokens",
    "stop_sequences": "stop",
    "stop_words": "stop",
    "stop_strings": "stop",
    "num_return_sequences": "n",
    "n_probs": "logprobs",
    "top_n_tokens": "top_logprobs",
    "grammar": "structured_outputs.grammar, in the syntax of Lark",
    "guided_decoding": "structured_outputs",
    "constraint": "structured_outputs",
    "format": "response_format",
    "system": "a message of the role system",
    "suppress_tokens": "logit_bias",
    "sequence_bias": "logit_bias or thermo.fields",
    "bad_words_ids": "bad_words",
    "eos_token_id": "stop_token_ids",
    "sampling_params": "its fields at the top level",
    "parameters": "its fields at the top level",
    "options": "its fields at the top level",
    "generation_config": "its fields at the top level",
    "extra_body": "its fields at the top level",
}
"""Names of other servers, which clients send in the belief that they act, and what to give here."""

# Values that ask for nothing in the servers that have the field are taken.
_OTHER_SAMPLERS = {
    **_refuse_each(
        ("repeat_penalty", "encoder_repetition_penalty"), _is_not_one, "takes repetition_penalty, or thermo.fields"
    ),
    **_refuse_each(
        ("repeat_last_n", "repetition_penalty_range"), bool, "counts all tokens; see last_n of thermo.fields"
    ),
    **_refuse_each(("no_repeat_ngram_size",), bool, "has dry_multiplier against repetition"),
    **_refuse_each(
        ("mirostat", "mirostat_mode", "mirostat_tau", "mirostat_eta"), bool, "has mirostat as thermo.schedule"
    ),
    **_refuse_each(
        ("dynatemp_range", "dynatemp_low", "dynatemp_high"), bool, "changes temperatures by thermo.schedule"
    ),
    **_refuse_each(("dynatemp_exponent", "smoothing_curve"), _is_not_one, "changes temperatures by thermo.schedule"),
    **_refuse_each(("smoothing_factor", "top_a", "penalty_alpha"), bool, "has no such sampler; see thermo.windows"),
    **_refuse_each(
        ("tfs", "tfs_z", "skew"), lambda value: value not in (0, 1), "has no such sampler; see thermo.windows"
    ),
    **_refuse_each(("guidance_scale", "cfg_scale"), _is_not_one, "contrasts prompts by contrast of thermo.fields"),
    **_refuse_each(("negative_prompt",), bool, "contrasts prompts by contrast of thermo.fields"),
    **_refuse_each(("num_beams", "length_penalty"), _is_not_one, "uses beam search only where thermo.sampler is beam"),
    **_refuse_each(("early_stopping", "num_beam_groups", "diversity_penalty"), bool, "sets beams by thermo.options"),
    **_refuse_each(("samplers", "sampler_order", "sampler_priority"), bool, "has one order, in docs/serving.md"),
    **_refuse_each(("temperature_last",), bool, "applies windows at the temperature of the draw"),
}

# `bool` refuses a field that asks for anything.
_COMMON: Mapping[str, Refusal] = {
    **{name: (bool, f"takes {other} instead") for name, other in _RENAMED.items()},
    **_OTHER_SAMPLERS,
    "do_sample": (_is_false, "draws unless temperature is 0; set temperature to 0"),
    "spaces_between_special_tokens": (_is_false, "joins tokens as they are"),
    "detokenize": (_is_false, "always returns text; see return_token_ids"),
    "no_stop_trim": (bool, "takes include_stop_str_in_output instead"),
    "stop_regex": (bool, "stops at texts and tokens only"),
    "truncate_prompt_tokens": (bool, "truncates no prompts; shorten the prompt instead"),
    "truncate": (bool, "truncates no prompts; shorten the prompt instead"),
    "use_beam_search": (bool, "uses beam search only where thermo.sampler is beam"),
    "logits_processors": (bool, "runs no code of a request; see thermo.fields"),
    "logits_processor": (bool, "runs no code of a request; see thermo.fields"),
    "custom_logit_processor": (bool, "runs no code of a request; see thermo.fields"),
    "custom_params": (bool, "runs no code of a request; see thermo.fields"),
    "logprob_token_ids": (bool, "returns the most probable tokens only"),
    "prompt_embeds": (bool, "takes text and token ids only"),
    "input_ids": (bool, "takes token ids as prompt of /v1/completions"),
    "images": (bool, "reads text only"),
    "mm_processor_kwargs": (bool, "reads text only"),
    "media_io_kwargs": (bool, "reads text only"),
    "prompt_mask": (bool, "reads whole prompts"),
    "lora": (bool, "has one set of weights"),
    "lora_path": (bool, "has one set of weights"),
    "adapter_id": (bool, "has one set of weights"),
    "kv_transfer_params": (bool, "does not transfer its cache"),
    "vllm_xargs": (bool, "takes no such arguments"),
    "best_of_sampling": (bool, "takes best_of in completions only"),
}
_CHAT: Mapping[str, Refusal] = {
    "modalities": (_is_other_than_text, "responds in text only"),
    "audio": (_always, "responds in text only"),
    "web_search_options": (_always, "does not search the web"),
    "moderation": (_is_blocking, "has no moderation"),
    "functions": (bool, "takes functions as tools; give tools and tool_choice"),
    "function_call": (lambda value: value not in ("none", "auto"), "takes functions as tools; give tool_choice"),
    "echo": (bool, "takes echo in completions only"),
    "best_of": (_is_not_one, "takes best_of in completions only"),
    "suffix": (bool, "does not support insertion before a suffix"),
    "prompt": (bool, "takes a prompt at /v1/completions"),
    "input": (bool, "takes messages"),
    "inputs": (bool, "takes messages"),
    "instructions": (bool, "takes a message of the role system instead"),
    "chat_template": (bool, "uses the model's own template"),
    "enable_thinking": (_always, "takes it within chat_template_kwargs"),
    "documents": (bool, "passes no documents to the template; put them into a message"),
    "add_special_tokens": (bool, "leaves special tokens to the model's template"),
}
_COMPLETIONS: Mapping[str, Refusal] = {
    "suffix": (bool, "does not support insertion before a suffix"),
    "add_special_tokens": (_is_false, "adds what the tokenizer adds; give token ids instead"),
    "messages": (_always, "takes messages at /v1/chat/completions"),
    "inputs": (bool, "takes prompt instead"),
    "tools": (bool, "takes tools at /v1/chat/completions"),
    "tool_choice": (lambda value: value not in ("none", "auto"), "takes tools at /v1/chat/completions"),
    "max_completion_tokens": (_always, "takes max_tokens in completions"),
    "top_logprobs": (bool, "takes the number as logprobs in completions"),
    "chat_template": (bool, "applies a template at /v1/chat/completions only"),
    "chat_template_kwargs": (bool, "applies a template at /v1/chat/completions only"),
}
_RESPONSES: Mapping[str, Refusal] = {
    "background": (bool, "runs nothing in the background; keep the connection open, or stream"),
    "conversation": (_always, "keeps no conversations; give previous_response_id"),
    "context_management": (bool, "compacts nothing by itself; see truncation"),
    "moderation": (_is_blocking, "has no moderation"),
    "messages": (_always, "takes messages in input"),
    "inputs": (bool, "takes input"),
    "max_completion_tokens": (_always, "takes max_output_tokens"),
    "functions": (bool, "takes functions as tools; give tools and tool_choice"),
    "audio": (_always, "responds in text only"),
    "modalities": (_is_other_than_text, "responds in text only"),
    "enable_thinking": (_always, "takes it within chat_template_kwargs"),
}
CHAT_REFUSALS = {**_COMMON, **_CHAT}
COMPLETION_REFUSALS = {**_COMMON, **_COMPLETIONS}
RESPONSE_REFUSALS = {**_COMMON, **_RESPONSES}
MESSAGE_REFUSALS: Mapping[str, Refusal] = {
    "images": (bool, "reads text only"),
    "prefix": (bool, "takes continue_final_message instead"),
    "partial": (bool, "takes continue_final_message instead"),
}
"""Fields of a message; others that no message of this server has are listed as ignored."""
WITHOUT_NOTICE = frozenset(
    {
        *("modalities", "echo", "best_of", "suffix", "use_beam_search", "function_call", "add_special_tokens"),
        *("do_sample", "detokenize", "spaces_between_special_tokens", "background"),
    }
)
"""Fields whose accepted values ask for what is done anyway: they are not listed as ignored."""
