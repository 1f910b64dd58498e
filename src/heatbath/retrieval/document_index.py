"""An index of documents, open for searches by words, by meaning, or by both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, format_value
from heatbath.retrieval.embedding import Embedder, load_embedder
from heatbath.retrieval.filters import match_filters, validate_filters
from heatbath.retrieval.index_update import read_index, repair_documents
from heatbath.retrieval.keyword_index import KeywordIndex, open_keywords
from heatbath.retrieval.loaders.loaded_document import replace_surrogates
from heatbath.retrieval.manifest import Manifest
from heatbath.retrieval.passage import SearchHit
from heatbath.retrieval.passage_store import DamagedTable, PassageStore
from heatbath.retrieval.rank_fusion import Ints, fuse_ranks, rank_rows
from heatbath.retrieval.snapshot import IncompleteIndex, Snapshot

SearchMode = Literal["hybrid", "bm25", "dense"]
LIST_DEPTH = 100
"""Passages of each list that are fused, at least."""
_ATTEMPTS, _PAUSE = 4, 0.1
Booleans = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]


class DocumentIndex:
    """The passages of an index folder as they were when it was opened; later changes need another `open_index`.

    Searches may run in several threads.

    Attributes:
        manifest: the settings and documents.
        version: digest of the content.
    """

    def __init__(
        self, folder: Path, snapshot: Snapshot, keywords: KeywordIndex, *, embedder: Embedder | None = None
    ) -> None:
        self.folder, self.manifest = folder, snapshot.manifest
        self.version = self.manifest.version
        self._snapshot, self._keywords, self._embedder = snapshot, keywords, embedder
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._snapshot)

    def search(
        self,
        query: str,
        *,
        k: int = 8,
        filters: Mapping[str, Any] | None = None,
        mode: SearchMode = "hybrid",
    ) -> list[SearchHit]:
        """Return the `k` best passages for a query, best first; fewer if fewer match, none for an empty query.

        Args:
            filters: names of metadata with a value, or a list of values of which one must be equal; `path` takes
                patterns such as `docs/*.md`, and `type` is the kind of document.
            mode: "bm25" ranks passages that share a word with the query, "dense" all by their cosine with it, "hybrid"
                by the sum of 1 / (60 + rank) over both lists, as far as the index has them.

        Raises:
            BadInput: an argument cannot be used, or "dense" of an index without vectors.
            MissingExtra: without the extra `retrieval`.
            ModelError: the embedding model cannot be loaded.
        """
        _validate_search(query, k, mode)
        text = replace_surrogates(query)
        if not text.strip() or not len(self):
            return []
        allowed = self._find_allowed(filters)
        depth = max(LIST_DEPTH, k)
        words = self._rank_by_words(text, depth, allowed) if mode != "dense" else None
        dense = self._rank_by_meaning(text, depth, allowed, is_required=mode == "dense") if mode != "bm25" else None
        return self._build_hits(words, dense, k)

    def texts(self) -> Iterator[str]:
        """Yield the text of every passage, in order of the documents' paths."""
        return self._snapshot.texts()

    def read_document(self, path: str) -> str:
        """Return the text of a document, whose code points the passages refer to.

        Raises:
            BadInput: the index has no such document, or lost it since it was opened.
        """
        record = next((each for each in self.manifest.documents if each.path == path), None)
        if record is None:
            raise BadInput(f"{self.folder} has no document {path!r}: see `heatbath index list {self.folder}`.")
        text = self._read_text(record.content_hash)
        if text is None and read_index(self.folder).version == self.version:
            repair_documents(self.folder, self._embedder)
            text = self._read_text(record.content_hash)
        if text is None:
            raise BadInput(f"{path} is no longer in {self.folder}, which was changed: open the index again.")
        return text

    def _read_text(self, content_hash: str) -> str | None:
        try:
            return PassageStore(self.folder).read_text(content_hash)
        except DamagedTable:
            return None

    def _find_allowed(self, filters: Mapping[str, Any] | None) -> Booleans | None:
        """Return the passages (n,) whose document meets the filters; None for all."""
        if not filters:
            return None
        validate_filters(filters)
        is_allowed = np.array([match_filters(filters, each.searchable_metadata) for each in self.manifest.documents])
        return np.asarray(is_allowed[self._snapshot.document_n])

    def _rank_by_words(self, query: str, depth: int, allowed: Booleans | None) -> tuple[Ints, Scores] | None:
        scores = self._keywords.scores(query)
        if scores is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        has_word = scores > 0
        return rank_rows(scores, depth, has_word if allowed is None else has_word & allowed), scores

    def _rank_by_meaning(
        self, query: str, depth: int, allowed: Booleans | None, *, is_required: bool
    ) -> tuple[Ints, Scores] | None:
        vectors = self._snapshot.vectors
        if vectors is None:
            if is_required:
                raise BadInput(f'{self.folder} has no vectors: search it with mode "bm25".', param="mode")
            return None
        scores = vectors @ self._open_embedder().embed_query(query)
        # Equal texts may differ in the last digits by their place in the matrix.
        return rank_rows(np.round(scores, 6), depth, allowed), scores

    def _open_embedder(self) -> Embedder:
        with self._lock:
            self._embedder = self._embedder or load_embedder(self.manifest.settings.embedding)
            return self._embedder

    def _build_hits(
        self, words: tuple[Ints, Scores] | None, dense: tuple[Ints, Scores] | None, k: int
    ) -> list[SearchHit]:
        lists = [each for each in (words, dense) if each is not None]
        if len(lists) == 1:
            rows, scores = lists[0]
            ranked = [(int(row), float(scores[row])) for row in rows[:k]]
        else:
            ranked = fuse_ranks([rows.tolist() for rows, _ in lists])[:k]
        bm25_ranks, dense_ranks = ({} if each is None else _ranks(each[0]) for each in (words, dense))
        return [
            SearchHit(self._snapshot.passage(row), rank, score, bm25_ranks.get(row), dense_ranks.get(row))
            for rank, (row, score) in enumerate(ranked, 1)
        ]


def open_index(folder: str | Path, *, embedder: Embedder | None = None) -> DocumentIndex:
    """Open an index folder, and repair it first where files of it are missing or damaged.

    `embedder` stands in for the model that the index names, which is loaded by the first search by meaning.

    Raises:
        BadInput: there is no index, or it lacks passages of documents whose files have changed since.
        MissingExtra: without the extra `retrieval`.
    """
    place = Path(folder)
    snapshot = _load_snapshot(place, read_index(place), embedder)
    return DocumentIndex(place, snapshot, open_keywords(place, snapshot), embedder=embedder)


def _load_snapshot(folder: Path, manifest: Manifest, embedder: Embedder | None) -> Snapshot:
    """Load the passages. An update that ends meanwhile takes files away: what it wrote is read then."""
    for attempt in range(_ATTEMPTS):
        try:
            mapped = Snapshot.load_file(folder, manifest)
            return mapped if mapped is not None else Snapshot.load(PassageStore(folder), manifest)
        except (DamagedTable, IncompleteIndex):
            if attempt == _ATTEMPTS - 2:
                repair_documents(folder, embedder)
            else:
                time.sleep(_PAUSE)
            manifest = read_index(folder)
    raise BadInput(f"{folder} cannot be repaired: remove it and add its documents again.", param="folder")


def _ranks(rows: Ints) -> dict[int, int]:
    return {int(row): rank for rank, row in enumerate(rows, 1)}


def _validate_search(query: object, k: object, mode: object) -> None:
    if not isinstance(query, str):
        raise BadInput(f"`query` must be a text, got {format_value(query)}.", param="query")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadInput(f"`k` must be an integer of at least 1, got {format_value(k)}.", param="k")
    if mode not in get_args(SearchMode):
        raise BadInput(
            f"`mode` must be {', '.join(map(repr, get_args(SearchMode)))}, got {format_value(mode)}.", param="mode"
        )
