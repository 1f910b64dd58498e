"""The parts of a fast tokenizer: the bytes of its tokens, copies that put no space first, and its configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers

from heatbath.errors import ModelError

Spelling = Callable[[str], bytes]

_LOCAL_OPTIONS = frozenset({"backend", "is_local", "local_files_only", "name_or_path", "tokenizer_object"})
"""Options of a loaded tokenizer that say how and from where it was loaded."""
_TOKEN_FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_MARK = "\u2581"


def copy_tokenizer(tokenizer: Tokenizer, *, keeps_first_space: bool = True) -> Tokenizer:
    """Return a tokenizer with the same model that reads control tokens as text, and has no limit of length.

    `keeps_first_space=False` leaves out the steps that put a space before a text.
    """
    # The model is shared: to write and read the vocabulary again would take seconds for a large one.
    copy = Tokenizer(tokenizer.model)
    copy.normalizer, copy.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    if not keeps_first_space:
        copy.normalizer = _replace_step(tokenizer.normalizer, normalizers.Lowercase)
        copy.pre_tokenizer = _replace_step(tokenizer.pre_tokenizer, pre_tokenizers.Whitespace)
    added = tokenizer.get_added_tokens_decoder()
    for token in sorted(added):
        (copy.add_special_tokens if added[token].special else copy.add_tokens)([added[token]])
    copy.encode_special_tokens = True
    return copy


def _replace_step(step: Any, blank: Callable[[], Any]) -> Any:
    """Return a normalizer or pre-tokenizer without a first space; `blank` makes one that takes on any state."""
    state = None if step is None else _drop_prefix(json.loads(step.__getstate__()))
    if state is None:
        return None
    replaced = blank()
    replaced.__setstate__(json.dumps(state).encode())
    return replaced


def _drop_prefix(step: Any) -> Any:
    if step is None or step["type"] == "Prepend":
        return None
    if step["type"] == "Sequence":
        name = "normalizers" if "normalizers" in step else "pretokenizers"
        return {**step, name: [kept for kept in map(_drop_prefix, step[name]) if kept is not None]}
    if step["type"] == "Metaspace":
        return {**step, "prepend_scheme": "never"}
    return {**step, "add_prefix_space": False} if "add_prefix_space" in step else step


def describe_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Return the configuration of a tokenizer of `transformers`, ready for JSON.

    Control tokens are texts, as clients take them; paths and objects are left out.
    """
    config: dict[str, Any] = {}
    for name, value in getattr(tokenizer, "init_kwargs", {}).items():
        if name not in _LOCAL_OPTIONS and not name.endswith(("_file", "_files_names")):
            plain = _plain_value(value)
            if plain is not None or value is None:
                config[name] = plain
    added = tokenizer.added_tokens_decoder.items()
    config["added_tokens_decoder"] = {
        str(token): {flag: getattr(entry, flag) for flag in _TOKEN_FLAGS} for token, entry in sorted(added)
    }
    config |= {name: _plain_value(value) for name, value in getattr(tokenizer, "special_tokens_map", {}).items()}
    return {**config, "tokenizer_class": type(tokenizer).__name__, "chat_template": tokenizer.chat_template}


def _plain_value(value: Any) -> Any:
    """Return a value of a configuration ready for JSON, a token as its text; None for other objects."""
    if isinstance(value, dict):
        return {str(name): _plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return float(value)
    return value if isinstance(value, str | int | float) else getattr(value, "content", None)


def select_byte_spellings(tokenizer_json: str) -> tuple[Spelling, Spelling]:
    """Return the functions from vocabulary entry to bytes and from added token to bytes, for the tokenizer's decoder.

    Raises `ModelError` for a decoder that is not supported.
    """
    kinds = _collect_decoder_types(json.loads(tokenizer_json).get("decoder"))
    if "ByteLevel" in kinds:
        return _byte_level_bytes, str.encode
    if kinds & {"Metaspace", "ByteFallback", "Replace"}:
        return _sentencepiece_bytes, _spaced_bytes
    if "WordPiece" in kinds:
        return _word_piece_bytes, str.encode
    if not kinds:
        return str.encode, str.encode
    raise ModelError(f"the tokenizer's decoder {sorted(kinds)} is not supported: the bytes of its tokens are unknown.")


def _collect_decoder_types(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    inner = [_collect_decoder_types(part) for part in decoder.get("decoders", [])]
    return {decoder["type"]}.union(*inner)


def _byte_level_bytes(name: str) -> bytes:
    """Return the bytes of an entry of a byte-level vocabulary, which writes each byte as one printable character."""
    if all(character in _BYTE_ALPHABET for character in name):
        return bytes(_BYTE_ALPHABET[character] for character in name)
    return name.encode()


def _sentencepiece_bytes(name: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else _spaced_bytes(name)


def _spaced_bytes(name: str) -> bytes:
    return name.replace(_SPACE_MARK, " ").encode()


def _word_piece_bytes(name: str) -> bytes:
    return (name.removeprefix("##") if name.startswith("##") else " " + name).encode()


def _build_byte_alphabet() -> dict[str, int]:
    """Return the byte of each character: printable bytes are themselves, the others the code points from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_ALPHABET = _build_byte_alphabet()
