"""The tokenizer of a tokenizer.json, with the few methods of a tokenizer of `transformers` that encoding needs."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_PLAIN_CLASSES = {"TokenizersBackend", "PreTrainedTokenizerFast"}
"""The classes of `transformers` that use a tokenizer.json as it is; others rebuild parts of it."""
_PLAIN_OPTIONS = {
    "added_tokens_decoder",
    "backend",
    "bos_token",
    "chat_template",
    "clean_up_tokenization_spaces",
    "eos_token",
    "extra_special_tokens",
    "is_local",
    "local_files_only",
    "model_input_names",
    "model_max_length",
    "pad_token",
    "tokenizer_class",
    "unk_token",
}


class TokenizerFile:
    """A fast tokenizer as `heatbath.models.hf.tokenizer.ModelTokenizer` takes it; it has no chat template."""

    chat_template = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.backend_tokenizer = tokenizer

    def __call__(self, text: str, *, split_special_tokens: bool = False, **options: Any) -> dict[str, list[int]]:
        """Return the ids of a text; with `split_special_tokens`, control tokens in it are split like other text."""
        self.backend_tokenizer.encode_special_tokens = split_special_tokens
        return {"input_ids": self.backend_tokenizer.encode(text).ids}

    @cached_property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by id."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def get_vocab(self) -> dict[str, int]:
        """Return the ids of all tokens."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)


def open_tokenizer(folder: Path, vocab_size: int) -> TokenizerFile | None:
    """Return the tokenizer of a folder; None unless `transformers` would use its file as it is, with an id for each.

    Control tokens must be marked as such in tokenizer.json itself, since other files can mark more.
    """
    try:
        options = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        if options.get("tokenizer_class") not in _PLAIN_CLASSES or not options.keys() <= _PLAIN_OPTIONS:
            return None
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # the reader raises bare exceptions; `transformers` will say what is wrong
        return None
    special = {entry.content for entry in tokenizer.get_added_tokens_decoder().values() if entry.special}
    named = {options[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if options.get(name)}
    is_plain = named <= special and not options.get("extra_special_tokens") and not options.get("added_tokens_decoder")
    if not is_plain or (folder / "special_tokens_map.json").exists() or (folder / "added_tokens.json").exists():
        return None
    found = TokenizerFile(tokenizer)
    return found if set(found.get_vocab().values()) == set(range(vocab_size)) else None
