"""The tokenizer of a GGUF file, built from its metadata: the same token ids as llama.cpp gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from heatbath.errors import ModelError
from heatbath.models.hf.end_tokens import END_TEXTS
from heatbath.models.hub.gguf_pre_tokenizers import PreTokenizer, find_pre_tokenizer

_SPACE_MARK = "\u2581"
# llama.cpp's ids of a SentencePiece vocabulary whose file does not name them.
_SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unknown": 0}
# Models whose added tokens take the spaces after them, which a file cannot say; llama.cpp knows them by name as well.
_STRIPPING_MODELS = ("phi-3", "phi3")
_NOT_STRIPPING = frozenset({"<unk>", "<s>", "<|endoftext|>"})


class TokenType(IntEnum):
    """The values of `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class GgufVocabulary:
    """The tokenizer metadata of a GGUF file.

    Attributes:
        model: "gpt2" (byte-level merges), "gemma4" (merges of UTF-8 with `▁` for a space) or "llama" (SentencePiece).
        pre: name of the pre-tokenizer.
        special_ids: ids of "bos", "eos", "eot", "eom", "unknown" and "padding", those that the file has.
        flags: the values of "add_bos_token", "add_eos_token" and "add_space_prefix", those that the file has.
        name: name of the model.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    special_ids: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    chat_template: str | None = None
    name: str = ""

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that the file names as an end: of the text, of a turn, of a message."""
        named = [self.special_ids[name] for name in ("eos", "eot", "eom") if name in self.special_ids]
        return tuple(dict.fromkeys(named))


def read_vocabulary(path: Path) -> GgufVocabulary:
    """Read the tokenizer metadata of a GGUF file. Raises `ModelError` for a file without a vocabulary."""
    fields = GGUFReader(path).fields

    def value(name: str, default: Any = None) -> Any:
        return fields[f"tokenizer.{name}"].contents() if f"tokenizer.{name}" in fields else default

    tokens = value("ggml.tokens")
    if not tokens:
        raise ModelError("the file has no vocabulary (`tokenizer.ggml.tokens`)")
    model = str(value("ggml.model", ""))
    ids = {name: value(f"ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom", "unknown", "padding")}
    if model == "llama":
        ids = {name: _SENTENCEPIECE_IDS.get(name) if found is None else found for name, found in ids.items()}
    flags = {name: value(f"ggml.{name}") for name in ("add_bos_token", "add_eos_token", "add_space_prefix")}
    return GgufVocabulary(
        model,
        pre="gemma4" if model == "gemma4" else str(value("ggml.pre") or "default"),
        tokens=tuple(token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)),
        types=tuple(value("ggml.token_type") or [TokenType.NORMAL] * len(tokens)),
        scores=tuple(value("ggml.scores") or ()),
        merges=tuple(value("ggml.merges") or ()),
        special_ids={name: int(found) for name, found in ids.items() if found is not None and found < len(tokens)},
        flags={name: bool(found) for name, found in flags.items() if found is not None},
        chat_template=value("chat_template"),
        name=str(fields["general.name"].contents()) if "general.name" in fields else "",
    )


def build_tokenizer(vocabulary: GgufVocabulary) -> PreTrainedTokenizerFast:
    """Build the fast tokenizer of a vocabulary.

    Raises `ModelError` for a kind of tokenizer or a pre-tokenizer that is not known, a token that stands twice, or
    tokens without a type.
    """
    count, typed = len(vocabulary.tokens), len(vocabulary.types)
    if count != typed:
        raise ModelError(f"the vocabulary has {count} tokens and {typed} types: the file is damaged, fetch it again.")
    if vocabulary.model == "llama":
        tokenizer, adds_start = _build_sentencepiece(vocabulary), True
    elif vocabulary.model in ("gpt2", "gemma4"):
        pre_tokenizer = find_pre_tokenizer(vocabulary.pre)
        tokenizer, adds_start = _build_merging(vocabulary, pre_tokenizer), pre_tokenizer.adds_start
    else:
        raise ModelError(
            f"the tokenizer {vocabulary.model!r} (`tokenizer.ggml.model`) is not supported: "
            "give a file with 'gpt2', 'llama' or 'gemma4', or the original safetensors folder."
        )
    _add_tokens(tokenizer, vocabulary)
    tokenizer.post_processor = _build_post_processor(vocabulary, adds_start=adds_start)
    named = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    names = {key: vocabulary.tokens[token] for key, token in vocabulary.special_ids.items()}
    special = {name: names[key] for name, key in named.items() if key in names}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    fast.chat_template = vocabulary.chat_template
    return fast


def _build_merging(vocabulary: GgufVocabulary, pre_tokenizer: PreTokenizer) -> Tokenizer:
    ids = _token_ids(vocabulary)
    if not vocabulary.merges:
        raise ModelError("the file has no merges (`tokenizer.ggml.merges`): give the original safetensors folder.")
    pairs = [_split_merge(merge) for merge in vocabulary.merges]
    merges = [pair for pair in pairs if pair[0] in ids and pair[1] in ids and "".join(pair) in ids]
    tokenizer = Tokenizer(
        models.BPE(
            ids,
            merges,
            ignore_merges=pre_tokenizer.ignores_merges,
            byte_fallback=not pre_tokenizer.is_byte_level,
        )
    )
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre_tokenizer.patterns]
    if pre_tokenizer.is_byte_level:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.normalizer = normalizers.Replace(" ", _SPACE_MARK)
        tokenizer.decoder = _build_utf8_decoder(strips_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


def _build_sentencepiece(vocabulary: GgufVocabulary) -> Tokenizer:
    """Build a tokenizer that joins the neighbours whose union has the highest score, the leftmost of equal ones."""
    adds_space = vocabulary.flags.get("add_space_prefix", True)
    unknown = vocabulary.special_ids.get("unknown")
    tokenizer = Tokenizer(
        models.BPE(
            _token_ids(vocabulary),
            _rank_merges(vocabulary),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces: list[Any] = [normalizers.Replace(" ", _SPACE_MARK)]
    # A space goes before every stretch of text between added tokens, also before one that starts with a space.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE_MARK), *spaces] if adds_space else spaces)
    tokenizer.decoder = _build_utf8_decoder(strips_space=adds_space)
    return tokenizer


def _rank_merges(vocabulary: GgufVocabulary) -> list[tuple[str, str]]:
    """Return every pair of tokens whose union is a token of text, by falling score of the union."""
    known = set(vocabulary.tokens)
    if len(vocabulary.scores) != len(vocabulary.tokens):
        raise ModelError("the file has no scores (`tokenizer.ggml.scores`): give the original safetensors folder.")
    text_types = {TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED}
    rows = zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True)
    texts = [(token, score) for token, kind, score in rows if kind in text_types and token not in END_TEXTS]
    scored = sorted(texts, key=lambda row: -row[1])
    return [
        (token[:cut], token[cut:])
        for token, _ in scored
        for cut in range(1, len(token))
        if token[:cut] in known and token[cut:] in known
    ]


def _token_ids(vocabulary: GgufVocabulary) -> dict[str, int]:
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    if len(ids) != len(vocabulary.tokens):
        twice = next(token for i, token in enumerate(vocabulary.tokens) if ids[token] != i)
        raise ModelError(f"the vocabulary has the token {twice!r:.40} twice: the file is damaged, fetch it again.")
    return ids


def _split_merge(merge: str) -> tuple[str, str]:
    """Return the two parts of a merge; a space at the start belongs to the first."""
    cut = merge.find(" ", 1)
    return (merge[:cut], merge[cut + 1 :]) if cut > 0 else (merge, "")


def _add_tokens(tokenizer: Tokenizer, vocabulary: GgufVocabulary) -> None:
    """Register control tokens, and the user's tokens, which are matched in every text.

    A token that ends a turn is a control token even where the file calls it an ordinary one: many files do.
    """
    strips = any(name in vocabulary.name.lower() for name in _STRIPPING_MODELS)
    special, users = [], []
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        rstrip = strips and token not in _NOT_STRIPPING
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN) or token in END_TEXTS:
            special.append(AddedToken(token, special=True, normalized=False, rstrip=rstrip))
        elif kind == TokenType.USER_DEFINED:
            users.append(AddedToken(token, special=False, normalized=False, rstrip=rstrip))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(users)


def _build_post_processor(vocabulary: GgufVocabulary, *, adds_start: bool) -> Any:
    """Return the processor that puts start and end of a document around a text, as the file says."""
    adds = {
        "bos": vocabulary.flags.get("add_bos_token", adds_start),
        "eos": vocabulary.flags.get("add_eos_token", False),
    }
    ids = {name: vocabulary.special_ids[name] for name in adds if adds[name] and name in vocabulary.special_ids}
    start, end = [[name] if name in ids else [] for name in ("bos", "eos")]
    return processors.TemplateProcessing(
        single=[*start, "$A", *end],
        pair=[*start, "$A", *end, *start, "$B", *end],
        # The name of a token may contain the colon of the template's syntax, so that it stands for another name here.
        special_tokens=[{"id": name, "ids": [i], "tokens": [vocabulary.tokens[i]]} for name, i in ids.items()],
    )


def _build_utf8_decoder(*, strips_space: bool) -> Any:
    steps: list[Any] = [decoders.Replace(_SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips_space else steps)
