"""The tokens of a conversation are those of its chat template, and user text never becomes a control token."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from heatbath.models.hf import control_texts
from heatbath.models.hf.tokenizer import ModelTokenizer

CORPUS = [
    "user\nHello world\n\nHow are you?\n assistant\n\n\nI am  fine , thank  you.\n",
    "[INST] Hello world [/INST] Hello you [INST]  What?  [/INST]\n",
    "system\nYou are a helpful\nassistant.\n<think> no </think> 12 + 34 = 46\n" * 2,
] * 3
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|im_start|>{{ m['role'] }}<|im_end|>\n\n"
    "{{ m['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "<|im_start|>{{ role }}\n{% if '</think>' in m['content'] %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] | trim }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")


def _byte_level(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()


def _metaspace(scheme: str) -> Callable[[Tokenizer], None]:
    def set_up(backend: Tokenizer) -> None:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        backend.decoder = decoders.Metaspace()

    return set_up


def _prepend(backend: Tokenizer) -> None:
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


BACKENDS: dict[str, Callable[[Tokenizer], None]] = {
    "byte level": _byte_level,
    "metaspace first": _metaspace("first"),
    "metaspace always": _metaspace("always"),
    "prepend": _prepend,
}
TEMPLATES = {"chatml": CHATML, "inst": INST, "llama3": LLAMA3, "gemma": GEMMA}


@cache
def build(backend_name: str, template: str) -> ModelTokenizer:
    """A tokenizer whose merges cross words and lines, so that a text that is cut gets other tokens."""
    learned = Tokenizer(models.BPE())
    BACKENDS[backend_name](learned)
    alphabet = sorted({*pre_tokenizers.ByteLevel.alphabet(), "▁"})
    learned.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=450, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(learned.to_str())["model"]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    merges = [tuple(merge) for merge in model["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    BACKENDS[backend_name](backend)
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    fast.add_special_tokens(
        {"additional_special_tokens": [AddedToken(name, special=True, normalized=False) for name in SPECIAL[2:]]},
        replace_extra_special_tokens=False,
    )
    fast.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    fast.chat_template = TEMPLATES[template]
    return ModelTokenizer(fast)


def reference(words: ModelTokenizer, messages: list[dict[str, str]]) -> list[int]:
    """The ids of `transformers`."""
    ids: list[int] = words.fast_tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    return ids


FEW = settings(max_examples=20)
ALL_KINDS = pytest.mark.parametrize(
    ("backend", "template"), [(backend, template) for backend in BACKENDS for template in TEMPLATES]
)
PLAIN = st.lists(
    st.sampled_from(
        ["Hello", " world", "\n", " ", "\n\n", "< ", "|", ">", "12", "é", "</think>", "[INST]", "im_end|>"]
    ),
    max_size=6,
).map("".join)
HOSTILE = st.lists(
    st.sampled_from([*SPECIAL, "<|im_", "end|>", "s>", "</", "<", "Hello", " ", "\n", "\ue000", "\U000f0000"]),
    max_size=6,
).map("".join)


def conversation(contents: list[str]) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@ALL_KINDS
@FEW
@given(contents=st.lists(PLAIN, min_size=1, max_size=4))
def test_ids_are_those_of_the_template(backend: str, template: str, contents: list[str]) -> None:
    words = build(backend, template)
    messages = conversation(contents)
    assert words.encode_chat(messages) == reference(words, messages)


@pytest.mark.parametrize(
    ("backend", "template", "content"),
    [
        ("metaspace first", "inst", "Hello world"),
        ("metaspace always", "inst", "Hello world"),
        ("prepend", "inst", " Hello world "),
        ("byte level", "inst", "Hello world"),
        ("byte level", "chatml", "\nHello"),
        ("byte level", "llama3", "\n Hello \n"),
        ("byte level", "gemma", "<think>no</think>yes"),
    ],
)
def test_ids_of_the_known_cases(backend: str, template: str, content: str) -> None:
    words = build(backend, template)
    messages = conversation([content])
    assert words.encode_chat(messages) == reference(words, messages)


def test_encoding_frame_and_content_apart_gives_other_ids() -> None:
    words = build("metaspace first", "inst")
    fast = words.fast_tokenizer
    apart = [
        token
        for piece in ("<s>[INST] ", "Hello world", " [/INST]")
        for token in fast(piece, add_special_tokens=False)["input_ids"]
    ]
    assert apart != words.encode_chat(conversation(["Hello world"]))


@ALL_KINDS
@FEW
@given(contents=st.lists(HOSTILE, min_size=1, max_size=4))
def test_user_text_never_becomes_a_control_token(backend: str, template: str, contents: list[str]) -> None:
    words = build(backend, template)
    controls = words.special_token_ids
    frame = [token for token in reference(words, conversation(["x"] * len(contents))) if token in controls]
    assert [token for token in words.encode_chat(conversation(contents)) if token in controls] == frame


@given(contents=st.lists(HOSTILE, min_size=1, max_size=4))
def test_hostile_texts_are_spelled_in_full(contents: list[str]) -> None:
    words = build("byte level", "chatml")
    messages = conversation(contents)
    spelled = b"".join(map(words.token_bytes, words.encode_chat(messages))).decode()
    assert spelled == words.fast_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


@given(contents=st.lists(HOSTILE, min_size=1, max_size=3))
def test_a_text_with_control_tokens_merges_with_the_frame_like_any_other(contents: list[str]) -> None:
    words = build("byte level", "chatml")
    ids = words.fast_tokenizer.convert_tokens_to_ids
    expected = []
    for message in conversation(contents):
        expected += [ids("<|im_start|>"), *words.encode(f"{message['role']}\n{message['content']}"), ids("<|im_end|>")]
        expected += words.encode("\n")
    assert words.encode_chat(conversation(contents), end="closed") == expected


def test_the_guard_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    words = build("byte level", "chatml")
    hostile = conversation(["<|im_end|>"])
    assert reference(words, hostile) != words.encode_chat(hostile)
    assert (
        control_texts.ControlTexts(words.fast_tokenizer.backend_tokenizer, words.fast_tokenizer.added_tokens_decoder)
        .render_chat(lambda messages, tools: messages[0]["content"], hostile, None)
        .has_marks
    )


def test_a_control_token_does_not_come_into_being_where_texts_meet() -> None:
    words = build("byte level", "chatml")
    fast = PreTrainedTokenizerFast(tokenizer_object=words.fast_tokenizer.backend_tokenizer, bos_token="<s>")
    fast.chat_template = (
        "{% for m in messages %}<|im_start|><{{ m['name'] }}{{ m['content'] | replace('~', '') }}>{% endfor %}"
    )
    joined = ModelTokenizer(fast)
    (start,) = (token for token in joined.special_token_ids if joined.token_bytes(token) == b"<|im_start|>")
    for name, content in [
        ("s", ""),
        ("", "s"),
        ("|im_", "end|"),
        ("", "|im_e~nd|"),
        ("<|im_", "end|>"),
        ("a", "<|im_e~nd|>"),
    ]:
        tokens = joined.encode_chat([{"role": "user", "name": name, "content": content}])
        assert [token for token in tokens if token in joined.special_token_ids] == [start], (name, content)
        assert b"".join(map(joined.token_bytes, tokens)).decode() == f"<|im_start|><{name}{content.replace('~', '')}>"


@ALL_KINDS
@FEW
@given(contents=st.lists(PLAIN, min_size=2, max_size=2))
def test_the_last_message_is_left_open(backend: str, template: str, contents: list[str]) -> None:
    words = build(backend, template)
    messages = conversation(contents)
    if template == "gemma" or not contents[1].strip():
        return
    expected = words.fast_tokenizer.apply_chat_template(
        messages, tokenize=True, continue_final_message=True, add_generation_prompt=False, return_dict=False
    )
    assert words.encode_chat(messages, end="open") == expected


def test_texts_in_private_use_stay() -> None:
    words = build("byte level", "chatml")
    content = "\ue000\ue001 <|im_end|> \U000f0000"
    tokens = words.encode_chat(conversation([content]))
    assert content in b"".join(map(words.token_bytes, tokens)).decode()


def test_roles_and_settings_belong_to_the_template(tmp_path: Any) -> None:
    words = build("byte level", "chatml")
    fast = PreTrainedTokenizerFast(tokenizer_object=words.fast_tokenizer.backend_tokenizer)
    fast.chat_template = "{{ start }}{{ messages[0]['content'] }}"
    tokens = ModelTokenizer(fast).encode_chat(conversation(["<|im_end|>"]), settings={"start": "<|im_start|>"})
    assert tokens[0] == fast.convert_tokens_to_ids("<|im_start|>")
    assert fast.convert_tokens_to_ids("<|im_end|>") not in tokens
