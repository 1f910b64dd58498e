"""The tokens that end a sequence: those that the files of a model name, and markers of the end of a turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

# Texts that end a sequence wherever they are control tokens: those of llama.cpp (`src/llama-vocab.cpp`, November 2026).
# It also counts markers of another file or repository, such as `<reponame>`; they end a file, not an answer, and are
# left out here.
END_TEXTS = frozenset(
    {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "<｜end▁of▁sentence｜>",
        "[e~[",
    }
)
# Texts that end no sequence where all the others are control tokens: there they end a part of an answer.
_INNER_ENDS = (
    ("<|end|>", {"<|return|>", "<|call|>"}),
    ("<|end|>", {"<|flush|>", "<|calls|>"}),
    ("</s>", {"<|tool_response>"}),
)


def find_end_tokens(module: Any, tokenizer: Any, vocab_size: int) -> tuple[int, ...]:
    """Return the ids that end a sequence, without ids outside the vocabulary.

    They are the union of `eos_token_id` of the generation configuration, of the configuration and of the tokenizer, and
    of the control tokens whose text is in `END_TEXTS`.
    """
    named = [
        *as_token_ids(getattr(getattr(module, "generation_config", None), "eos_token_id", None)),
        *_configured_ids(module.config),
        *as_token_ids(getattr(tokenizer, "eos_token_id", None)),
    ]
    markers = () if tokenizer is None else _find_end_markers(tokenizer)
    ids = dict.fromkeys([*named, *markers])
    return tuple(token for token in ids if 0 <= token < vocab_size)


def describe_end_tokens(end_token_ids: Sequence[int], token_bytes: Callable[[int], bytes]) -> str:
    """Return what ends a sequence as a clause."""
    if not end_token_ids:
        return (
            "no token ends a sequence (none in config.json, generation_config.json and the tokenizer): "
            "it ends at `max_tokens` or a `stop`"
        )
    texts = [f"{token_bytes(token).decode('utf-8', errors='replace')!r} ({token})" for token in end_token_ids]
    return f"a sequence ends with {' or '.join(texts)}"


def as_token_ids(value: int | Iterable[int] | None) -> tuple[int, ...]:
    """Return one id, several or none as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(int(token) for token in value)


def _configured_ids(config: Any) -> tuple[int, ...]:
    """Return the ids that the configuration names; a default of its class, for an entry that is missing, is none."""
    text_config = config.get_text_config(decoder=True)
    found = [
        *as_token_ids(getattr(config, "eos_token_id", None)),
        *as_token_ids(getattr(text_config, "eos_token_id", None)),
    ]
    path = Path(str(getattr(config, "name_or_path", "") or "")) / "config.json"
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return tuple(found)
    sections = [written, *(value for value in written.values() if isinstance(value, dict))]
    return tuple(found) if any("eos_token_id" in section for section in sections) else ()


def _find_end_markers(tokenizer: Any) -> list[int]:
    special = {entry.content: token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    inner = {text for text, others in _INNER_ENDS if others <= special.keys()}
    return [token for text, token in special.items() if text in END_TEXTS - inner]
