"""Tokenizers of GGUF files: the ids of llama.cpp for every pre-tokenizer it knows, or a refusal in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from heatbath.errors import ModelError
from heatbath.models.hf.tokenizer import ModelTokenizer
from heatbath.models.hub.gguf_pre_tokenizers import EMBEDDING_NAMES, PRE_TOKENIZERS
from heatbath.models.hub.gguf_tokenizer import GgufVocabulary, TokenType, build_tokenizer

GOLDEN = json.loads((Path(__file__).parent / "data" / "llama_cpp_tokens.json").read_text(encoding="utf-8"))
SAMPLED = {name: next(n for n in GOLDEN["ids"] if PRE_TOKENIZERS[n] == rule) for name, rule in PRE_TOKENIZERS.items()
           if rule.is_byte_level}  # fmt: skip
# llama.cpp leaves combining marks out of these patterns, which the models' own tokenizer.json has in them.
WITHOUT_MARKS = {"gpt-4o", "tekken", "kimi-k2"}


def _vocabulary(pre: str, **changes: Any) -> GgufVocabulary:
    tokens, merges = tuple(GOLDEN["tokens"]), tuple(GOLDEN["merges"])
    return replace(GgufVocabulary("gpt2", pre, tokens, (TokenType.NORMAL,) * len(tokens), merges=merges), **changes)


@pytest.mark.parametrize("pre", sorted(SAMPLED))
def test_ids_are_those_of_llama_cpp(pre: str) -> None:
    tokenizer = build_tokenizer(_vocabulary(pre))
    for text, expected in zip(GOLDEN["texts"], GOLDEN["ids"][SAMPLED[pre]], strict=True):
        if SAMPLED[pre] in WITHOUT_MARKS and any(mark in text for mark in ("\u0301", "\u094d")):
            continue
        assert tokenizer(text)["input_ids"] == expected, (pre, text)


def test_the_golden_ids_tell_the_pre_tokenizers_apart() -> None:
    # These differ only by marks, which llama.cpp leaves out, and by whole words before merges.
    families = ["bailingmoe", "deepseek-r1-qwen", "qwen35"], ["chatglm-bpe", "falcon-h1", "minicpm5"]
    alike = {frozenset(pair) for names in families for pair in combinations(names, 2)}
    ids = GOLDEN["ids"]
    same = {frozenset(pair) for pair in combinations(ids, 2) if ids[pair[0]] == ids[pair[1]]}
    assert same <= alike


@pytest.mark.parametrize("pre", sorted(WITHOUT_MARKS))
def test_a_combining_mark_stays_with_its_letter(pre: str) -> None:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE_TOKENIZERS[pre].patterns]
    pieces = [piece for piece, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str("a\u0301b स्ते")]
    assert pieces == ["a\u0301b", " स्ते"]


@pytest.mark.parametrize(
    "pre", ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"]
)
def test_digits_are_split_off_before_the_words(pre: str) -> None:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE_TOKENIZERS[pre].patterns]
    pieces = [piece for piece, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str("\n\n12 a 3")]
    assert pieces == ["\n\n", "1", "2", " a", " ", "3"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pre": "zephyr-9"}, "the pre-tokenizer 'zephyr-9' .* is not known"),
        ({"pre": ""}, "the pre-tokenizer '' .* is not known"),
        *(({"pre": name}, "belongs to a model of embeddings") for name in sorted(EMBEDDING_NAMES)),
        ({"model": "bert"}, "the tokenizer 'bert' .* is not supported"),
        ({"merges": ()}, "has no merges"),
        ({"model": "llama"}, "has no scores"),
        ({"tokens": ("a", "b", "a"), "types": (1, 1, 1)}, "has the token 'a' twice"),
        ({"types": (1, 1)}, "764 tokens and 2 types"),
    ],
)
def test_what_is_not_known_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        build_tokenizer(_vocabulary(**{"pre": "gpt-2", **changes}))


UTF8 = GOLDEN["utf8"]
UTF8_FILES: dict[str, tuple[dict[str, Any], bool]] = {
    "default": ({"model": "llama"}, False),
    "parse_special": ({"model": "llama"}, True),
    "no_space_prefix": ({"model": "llama", "flags": {"add_space_prefix": False}}, False),
    "end_without_start": ({"model": "llama", "flags": {"add_bos_token": False, "add_eos_token": True}}, False),
    "gemma4": ({"model": "gemma4", "pre": "gemma4"}, False),
    "sarvam-moe": ({"model": "gpt2", "pre": "sarvam-moe"}, False),
}


@pytest.mark.parametrize("name", UTF8_FILES)
def test_ids_of_vocabularies_in_utf8_are_those_of_llama_cpp(name: str) -> None:
    changes, reads_control_tokens = UTF8_FILES[name]
    tokens = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *UTF8["pieces"], *UTF8["added"])
    normal = len(UTF8["pieces"])
    types = (2, 3, 3, *(6,) * 256, *(1,) * normal, 4, 4, 4, 3)
    scores = (*(0.0,) * 259, *(-float(i) for i in range(normal)), *(-1000.0,) * 4)
    special_ids = {"bos": 1, "eos": 2, "unknown": 0}
    base = GgufVocabulary("llama", "default", tokens, types, scores, tuple(UTF8["merges"]), special_ids)
    tokenizer = build_tokenizer(replace(base, **changes))
    for text, expected in zip(UTF8["texts"], UTF8["ids"][name], strict=True):
        assert tokenizer(text, split_special_tokens=not reads_control_tokens)["input_ids"] == expected, text


PIECES = ("▁", "a", "b", "▁a", "ab", "▁ab", "▁▁", "bb")


def _sentencepiece(**flags: bool) -> GgufVocabulary:
    """A vocabulary with `<s>`, `</s>`, all bytes, and words with falling scores."""
    tokens = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES, "<user>", "   ")
    kinds = TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL
    types = (*kinds, *(TokenType.BYTE,) * 256, *(TokenType.NORMAL,) * len(PIECES), *(TokenType.USER_DEFINED,) * 2)
    return GgufVocabulary(
        "llama", "default", tokens, types, tuple(-float(i) for i in range(len(tokens))), flags=flags,
        special_ids={"bos": 1, "eos": 2, "unknown": 0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "text", "expected"),
    [
        ({}, "ab", ["<s>", "▁ab"]),
        ({}, " ab", ["<s>", "▁", "▁ab"]),
        ({"add_space_prefix": False}, "ab", ["<s>", "ab"]),
        ({"add_space_prefix": False}, " ab", ["<s>", "▁ab"]),
        ({"add_bos_token": False}, "ab", ["▁ab"]),
        ({"add_eos_token": True}, "ab", ["<s>", "▁ab", "</s>"]),
        ({"add_bos_token": False, "add_eos_token": True, "add_space_prefix": False}, "", ["</s>"]),
        ({}, "a<user>b", ["<s>", "▁a", "<user>", "▁", "b"]),
        ({}, "a   b", ["<s>", "▁a", "   ", "▁", "b"]),
        ({"add_space_prefix": False}, "é\n", ["<s>", "<0xC3>", "<0xA9>", "<0x0A>"]),
        ({"add_space_prefix": False}, "</s>", ["<s>", "<0x3C>", "<0x2F>", "<0x73>", "<0x3E>"]),
    ],
)
def test_sentencepiece_files(flags: dict[str, bool], text: str, expected: list[str]) -> None:
    tokenizer = build_tokenizer(_sentencepiece(**flags))
    assert tokenizer.convert_ids_to_tokens(tokenizer(text, split_special_tokens=True)["input_ids"]) == expected


@given(text=st.text("ab é<>s/\n", max_size=24))
def test_bytes_of_sentencepiece_tokens_join_to_the_text(text: str) -> None:
    words = ModelTokenizer(build_tokenizer(_sentencepiece(add_space_prefix=False, add_bos_token=False)))
    assert b"".join(map(words.token_bytes, words.encode(text))) == text.encode()


def test_start_and_end_of_a_byte_level_file() -> None:
    ids = {"bos": 3, "eos": 4}
    for pre, flags, expected in [
        ("gpt-2", {}, [5]),
        ("gpt-2", {"add_bos_token": True, "add_eos_token": True}, [3, 5, 4]),
        ("llama-bpe", {}, [3, 5]),
        ("llama-bpe", {"add_bos_token": False}, [5]),
    ]:
        tokenizer = build_tokenizer(_vocabulary(pre, special_ids=ids, flags=flags))
        assert tokenizer(_byte(5))["input_ids"] == expected, (pre, flags)


def _byte(token: int) -> str:
    return bytes(build_tokenizer(_vocabulary("gpt-2")).backend_tokenizer.decode([token]), "utf-8").decode()


def test_an_end_of_a_turn_is_a_control_token_whatever_its_type() -> None:
    base = _sentencepiece(add_bos_token=False, add_space_prefix=False)
    for kind in (TokenType.NORMAL, TokenType.USER_DEFINED):
        tokens, types = (*base.tokens, "<|im_end|>"), (*base.types, kind)
        tokenizer = build_tokenizer(replace(base, tokens=tokens, types=types, scores=(*base.scores, -999.0)))
        (end,) = tokenizer("<|im_end|>")["input_ids"]
        assert end == len(base.tokens)
        assert end not in ModelTokenizer(tokenizer).encode("<|im_end|>")


@pytest.mark.parametrize(("name", "expected"), [("Phi-3 mini", ["<user>", "a"]), ("Llama", ["<user>", "<0x0A>", "a"])])
def test_added_tokens_of_some_models_take_the_spaces_after_them(name: str, expected: list[str]) -> None:
    vocabulary = replace(_sentencepiece(add_bos_token=False, add_space_prefix=False), name=name)
    tokenizer = build_tokenizer(vocabulary)
    assert tokenizer.convert_ids_to_tokens(tokenizer("<user>\na")["input_ids"]) == expected


def test_files_with_raw_utf8_merges() -> None:
    tokens = ("<pad>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "\n", "\n\n")
    types = (3, 3, *(6,) * 256, *(1,) * 5)
    vocabulary = GgufVocabulary("gemma4", "gemma4", tokens, types, merges=("▁ a", "\n \n"), special_ids={"bos": 1})
    for flags, start in (({"add_bos_token": False}, []), ({}, ["<bos>"])):
        tokenizer = build_tokenizer(replace(vocabulary, flags=flags))
        found = tokenizer.convert_ids_to_tokens(tokenizer(" a\n\né")["input_ids"])
        assert found == [*start, "▁a", "\n\n", "<0xC3>", "<0xA9>"]


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for vocabulary in (_vocabulary("smollm"), _sentencepiece(), _sentencepiece(add_space_prefix=False)):
        tokenizer = build_tokenizer(vocabulary)
        tokenizer.save_pretrained(tmp_path)
        again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
        for text in (*GOLDEN["texts"], "  ab", "<s>"):
            assert again(text)["input_ids"] == tokenizer(text)["input_ids"], text


def test_a_pattern_that_is_missing_changes_ids() -> None:
    plain = Tokenizer(models.BPE({token: i for i, token in enumerate(GOLDEN["tokens"])},
                                 [tuple(merge.split(" ", 1)) for merge in GOLDEN["merges"]]))  # fmt: skip
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    right = build_tokenizer(_vocabulary("smollm"))
    assert plain.encode("\n\n1").ids != right("\n\n1")["input_ids"]


@pytest.mark.weights
def test_the_default_model_has_the_ids_of_llama_cpp(smollm2: Any) -> None:
    named = smollm2.tokenizer.fast_tokenizer.convert_ids_to_tokens
    assert named(smollm2.encode("\n\n1")) == ["ĊĊ", "1"]
    default = GOLDEN["default_model"]
    assert [smollm2.encode(text) for text in default["texts"]] == default["ids"]
