r"""The pre-tokenizers that `tokenizer.ggml.pre` of a GGUF file names: the patterns that split a text before its merges.

A file says by a name how its vocabulary's texts were split, and nothing else. Names, patterns and flags are those of
llama.cpp (`src/llama-vocab.cpp`, read in November 2026); where it simplifies a pattern for its regular expressions, the
pattern of the model's own `tokenizer.json`, which it quotes, is used. Patterns are in the syntax of Oniguruma. Each
splits all pieces that those before it left; what lies between its matches is a piece too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from heatbath.errors import ModelError


@dataclass(frozen=True)
class PreTokenizer:
    """The split of a text into pieces within which a vocabulary merges.

    Attributes:
        patterns: regular expressions, applied one after the other.
        ignores_merges: True if a piece that is in the vocabulary is one token, whatever the merges say.
        adds_start: True if texts start with the document-start token unless the file says otherwise.
        is_byte_level: True if tokens are spelled in bytes as characters, False if in UTF-8 with `▁` for a space.
    """

    patterns: tuple[str, ...]
    ignores_merges: bool = False
    adds_start: bool = False
    is_byte_level: bool = True


_NUMBER = r"\p{N}"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_PATH_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_UPPER_NOT_HAN, _LOWER_NOT_HAN = _UPPER[:-1] + r"&&[^\p{Han}]]", _LOWER[:-1] + r"&&[^\p{Han}]]"
_CASED_NOT_HAN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER_NOT_HAN}*{_LOWER_NOT_HAN}+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER_NOT_HAN}+{_LOWER_NOT_HAN}*",
)
_ASCII_SIGNS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_SIGN_WORDS = rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
_HAN_KANA = "[一-龥\u3040-ゟ゠-ヿ]+"
_SENTENCES = r" ?[^(\s|.,!?…。，、।۔،)]+"
_LINES = r"[^\n]+|[\n]+"
_SPACE_LENGTHS = "512", "256", "128", "64", "32", "16", "8", "4", "1,2"
_SPACE_RUNS = "|".join((r"\s*[\r\n]+", *(rf"\s{{{length}}}(?!\S)" for length in _SPACE_LENGTHS), r"\s{1}"))
_DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ"
    "\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"
    "𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_CJK = "[一-龥ࠀ-一가-\ud7ff]+"
_ASIAN = "[一-鿿㐀-䶿\uf900-\ufaff\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2fdfเ-\u0e7f\u0e80-\u0effក-\u17ffက-႟ꩠ-ꩿꧠ-\ua9ff가-\ud7afᄀ-ᇿ]+"


def _join(*alternatives: str) -> PreTokenizer:
    return PreTokenizer(("|".join(alternatives),))


_GPT2 = _join(_WORDS)
_DIGITS_GPT2 = PreTokenizer((_NUMBER, _WORDS))
_LLAMA3 = _join(_CONTRACTION, _LETTERS, r"\p{N}{1,3}", _SIGNS, _SPACES)
_QWEN2 = _join(_CONTRACTION, _LETTERS, _NUMBER, _SIGNS, _SPACES)
_CASED_WORDS = f"{_CASED[0]}{_CONTRACTION}?", f"{_CASED[1]}{_CONTRACTION}?"
_GPT4O = _join(*_CASED_WORDS, r"\p{N}{1,3}", _PATH_SIGNS, _SPACES)
_DEEPSEEK3 = PreTokenizer((r"\p{N}{1,3}", _HAN_KANA, rf"{_SIGN_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"))
_BLOOM = _join(_SENTENCES)
_BAILING = _join("'(?i:[sdmt]|ll|ve|re)", _LETTERS, _NUMBER, _SIGNS, r"\s*[\r\n]|\s+(?!\S)|\s+")
_AYA = PreTokenizer((r"\d{1,3}(?=(?:\d{3})*\b)", *_GPT4O.patterns))
_LINES_UTF8 = PreTokenizer((_LINES,), is_byte_level=False)

_FAMILIES: tuple[tuple[str, PreTokenizer], ...] = (
    (
        "gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 mpt olmo jais trillion granite-docling modern-bert "
        "jina-es jina-de jina-v2-es jina-v2-de",
        _GPT2,
    ),
    ("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", _DIGITS_GPT2),
    (
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        replace(_LLAMA3, ignores_merges=True, adds_start=True),
    ),
    ("dbrx smaug-bpe glm4 chatglm-bpe", _LLAMA3),
    ("jais-2", _join(_CONTRACTION, _LETTERS, r"\p{N}{1,3}", _SIGNS, _SPACE_RUNS)),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", _QWEN2),
    (
        "qwen35",
        _join(_CONTRACTION, r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", _NUMBER, r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", _SPACES),
    ),
    ("ufakzeka", _join(_LETTERS, _NUMBER, _SIGNS, _SPACES)),
    ("seed-coder", _join(_CONTRACTION, _LETTERS, _NUMBER, r" ?[^\s\p{L}\p{N}\r\n]+", _SPACES)),
    ("laguna", PreTokenizer((_LINES, *_QWEN2.patterns))),
    (
        "minicpm5",
        replace(
            PreTokenizer((r"\p{N}{1,3}", "|".join((_CONTRACTION, _LETTERS, r"\p{N}+", _SIGNS, _SPACES)))),
            ignores_merges=True,
        ),
    ),
    ("bailingmoe bailingmoe2 llada-moe", _BAILING),
    (
        "exaone-moe",
        _join(
            _CONTRACTION,
            r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
            _NUMBER,
            r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
            r"\s*[\r\n]|\s+(?!\S)|\s+",
        ),
    ),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", _GPT4O),
    ("granite-embed-multi-97m", replace(_GPT4O, ignores_merges=True)),
    ("tiny_aya cohere2moe", _AYA),
    ("tekken", replace(_join(*_CASED, _NUMBER, _PATH_SIGNS, _SPACES), ignores_merges=True, adds_start=True)),
    (
        "youtu",
        PreTokenizer(
            (
                "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u303f︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
                "|".join((*_CASED_WORDS, _NUMBER, _PATH_SIGNS, _SPACES)),
            ),
            ignores_merges=True,
        ),
    ),
    (
        "kimi-k2",
        _join(r"\p{Han}+", *(f"{word}{_CONTRACTION}?" for word in _CASED_NOT_HAN), r"\p{N}{1,3}", _SIGNS, _SPACES),
    ),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", _DEEPSEEK3),
    (
        "spark2_5",
        PreTokenizer(
            (
                r"\p{N}{1,3}",
                _HAN_KANA,
                rf"{_SIGN_WORDS}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+",
                _NUMBER,
            )
        ),
    ),
    (
        "afmoe",
        PreTokenizer(
            (
                r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
                _ASIAN,
                rf"{_SIGN_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
            )
        ),
    ),
    (
        "deepseek-llm",
        PreTokenizer(
            (
                r"[\r\n]",
                rf"\s?[{_DEEPSEEK_LETTERS}]+",
                r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
                r"\s+$",
                _CJK,
                r"\p{N}+",
            )
        ),
    ),
    ("deepseek-coder", PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _NUMBER))),
    ("falcon", PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _WORDS, "[0-9][0-9][0-9]"))),
    ("default", PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _WORDS, r"\p{N}+", "[0-9][0-9][0-9]"))),
    ("poro-chat bloom gpt3-finnish", _BLOOM),
    ("viking", PreTokenizer((_SENTENCES, _NUMBER))),
    (
        "chameleon",
        PreTokenizer(
            (
                "<sentinel:[0-9]+>",
                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                r"([\t\n]|    |  )",
                _NUMBER,
                r"[\p{P}!-/:-@\[-`{-~]",
                _WORDS,
            ),
            adds_start=True,
        ),
    ),
    ("superbpe", PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))"))),
    ("gemma4 granite-embed-multi-311m", replace(_LINES_UTF8, adds_start=True)),
    ("sarvam-moe", _LINES_UTF8),
)

PRE_TOKENIZERS = {name: pre_tokenizer for names, pre_tokenizer in _FAMILIES for name in names.split()}

# These end every text with a separator, or drop its spaces: models of embeddings, which do not generate text.
EMBEDDING_NAMES = frozenset({"jina-v1-en", "jina-v2-code", "roberta-bpe", "whitespace"})


def find_pre_tokenizer(name: str) -> PreTokenizer:
    """Return the pre-tokenizer of a name. Raises `ModelError` for one that is not known."""
    if name in EMBEDDING_NAMES:
        raise ModelError(f"the pre-tokenizer {name!r} belongs to a model of embeddings: give a causal language model.")
    if name not in PRE_TOKENIZERS:
        raise ModelError(
            f"the pre-tokenizer {name!r} (`tokenizer.ggml.pre`) is not known, so its token ids would be wrong: "
            "give the original safetensors folder."
        )
    return PRE_TOKENIZERS[name]
