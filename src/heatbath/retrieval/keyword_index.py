"""BM25 scores of passages (bm25s), by stemmed words and the parts of identifiers.

Source: Lù 2024, arXiv:2407.03618; the weights are those of Lucene, k1 = 1.5 and b = 0.75.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import MissingExtra
from heatbath.retrieval.snapshot import Snapshot

Floats = npt.NDArray[np.float32]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+")
_LONGEST_WORD = 64
STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be but by for if in into is it its no not of on or such that the their then there these "
        "they this to was were what when where which who will with"
    )
)


class KeywordIndex:
    """BM25 scores of n passages for any query.

    Raises:
        MissingExtra: without the extra `retrieval`.
    """

    def __init__(self, scorer: Any, size: int) -> None:
        self._scorer, self.size = scorer, size

    @classmethod
    def build(cls, texts: Iterable[str]) -> KeywordIndex:
        """Index n passages; one without words gets score 0 for every query."""
        vocabulary: dict[str, int] = {}
        split = _WordSplitter()
        ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in split(text)] for text in texts]
        if not vocabulary:
            return cls(None, len(ids))
        scorer = _import_bm25s().BM25(method="lucene", k1=1.5, b=0.75)
        scorer.index((ids, vocabulary), show_progress=False)
        return cls(scorer, len(ids))

    @classmethod
    def load(cls, folder: Path) -> KeywordIndex:
        """Load what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: the folder is not there, or a file of it is damaged.
        """
        scorer = _import_bm25s().BM25.load(folder, mmap=False, show_progress=False)
        data, columns = scorer.scores["data"], scorer.scores["indptr"]
        if len(data) != columns[-1] or len(scorer.scores["indices"]) != len(data):
            raise ValueError(f"the arrays in {folder} do not fit together")
        return cls(scorer, int(scorer.scores["num_docs"]))

    def save(self, folder: Path) -> None:
        """Write the index to a folder; one without any word writes nothing."""
        if self._scorer is not None:
            self._scorer.save(folder, show_progress=False)

    def scores(self, query: str) -> Floats | None:
        """Return the score of every passage, (n,), 0 for those without a word of the query; None if none has one."""
        if self._scorer is None:
            return None
        vocabulary = self._scorer.vocab_dict
        ids = [vocabulary[word] for word in _WordSplitter()(query) if word in vocabulary]
        return np.asarray(self._scorer.get_scores_from_ids(ids), np.float32) if ids else None


class _WordSplitter:
    """Splits texts into stemmed words, identifiers also into their parts; stems are remembered."""

    def __init__(self) -> None:
        try:
            from Stemmer import Stemmer
        except ImportError as error:
            raise MissingExtra("searching by words", "retrieval") from error
        self._stem = Stemmer("english").stemWord
        self._terms: dict[str, tuple[str, ...]] = {}

    def __call__(self, text: str) -> Iterator[str]:
        known = self._terms
        for match in _WORD.finditer(unicodedata.normalize("NFKC", text)):
            word = match[0]
            terms = known.get(word)
            if terms is None:
                terms = known[word] = self._find_terms(word)
            yield from terms

    def _find_terms(self, word: str) -> tuple[str, ...]:
        """Return what a word counts as: nothing for a stop word, and `read_file` as read_file, read and file."""
        if len(word) > _LONGEST_WORD:  # encoded data, which nobody searches for
            return ()
        parts = _PART.findall(word)
        words = dict.fromkeys([word, *parts] if len(parts) > 1 else [word])
        folded = (each.casefold() for each in words)
        return tuple(self._stem(each) for each in folded if each not in STOP_WORDS and each.strip("_"))


def _import_bm25s() -> Any:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtra("searching by words", "retrieval") from error
    return bm25s


def open_keywords(folder: Path, snapshot: Snapshot) -> KeywordIndex:
    """Return the keyword index of a snapshot: from its file, or made anew where that is missing or damaged."""
    try:
        keywords = KeywordIndex.load(_keyword_folder(folder, snapshot.manifest.version))
        if keywords.size == len(snapshot):
            return keywords
    except (OSError, ValueError, KeyError, EOFError):
        pass
    return KeywordIndex.build(snapshot.texts())


def save_keywords(folder: Path, snapshot: Snapshot) -> None:
    """Write the keyword index of a snapshot under the name of its version, whole or not at all."""
    target = _keyword_folder(folder, snapshot.manifest.version)
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    KeywordIndex.build(snapshot.texts()).save(temporary)
    shutil.rmtree(target, ignore_errors=True)
    if temporary.exists():
        temporary.rename(target)


def prune_keywords(folder: Path, version: str) -> None:
    """Remove the keyword indexes of other versions."""
    for path in (*folder.glob("bm25-*"), *folder.glob(".bm25-*.part")):
        if path != _keyword_folder(folder, version):
            shutil.rmtree(path, ignore_errors=True)


def _keyword_folder(folder: Path, version: str) -> Path:
    return folder / f"bm25-{version[:16]}"
