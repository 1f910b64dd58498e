"""The indexes of documents of a server: which tenant may search which, and counts of what was found and supported."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError
from heatbath.serve.settings import RetrievalSettings

if TYPE_CHECKING:
    from heatbath.retrieval.passage import SearchHit
    from heatbath.retrieval.support_threshold import SupportThreshold

MAX_LAST_CITATIONS = 32
SUPPORT_EDGES = (-5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Edges of the histogram of supports, in nats; the first and the last bin are open."""


class SearchIndex(Protocol):
    """An index as this server searches it: `heatbath.retrieval.DocumentIndex`."""

    @property
    def version(self) -> str:
        """The digest of its content."""

    def search(self, query: str, *, k: int, filters: Mapping[str, Any] | None, mode: Any) -> list[SearchHit]:
        """Return the best passages, the best first."""


@dataclass(frozen=True)
class SearchResult:
    """The passages that a search found in an index of some version."""

    index: str
    version: str
    hits: tuple[SearchHit, ...]


@dataclass
class RetrievalCounts:
    """Counts since the start, a histogram of supports by `SUPPORT_EDGES`, and the last citations by tenant."""

    searches: int = 0
    empty: int = 0
    untriggered: int = 0
    supported: int = 0
    unsupported: int = 0
    refused: int = 0
    unknown: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * (len(SUPPORT_EDGES) + 1))
    last: deque[tuple[str, Mapping[str, Any]]] = field(default_factory=lambda: deque(maxlen=MAX_LAST_CITATIONS))

    def add_support(self, nats: float) -> None:
        """Count the support of a part of an answer by a passage."""
        self.histogram[sum(nats >= edge for edge in SUPPORT_EDGES)] += 1


class ServedIndexes:
    """The indexes of the settings. Each is opened at its first search, and searched by one thread at a time.

    `opened` are indexes that are open already.
    """

    def __init__(
        self,
        settings: RetrievalSettings,
        *,
        threshold: SupportThreshold | None = None,
        opened: Mapping[str, SearchIndex] | None = None,
    ) -> None:
        self._settings = settings
        self._threshold = threshold
        self._opened: dict[str, SearchIndex] = dict(opened or {})
        self._locks = {name: asyncio.Lock() for name in settings.indexes}
        self.counts = RetrievalCounts()

    @property
    def threshold(self) -> float:
        """The support that counts, nats."""
        from heatbath.retrieval.citations import DEFAULT_THRESHOLD

        return self._settings.threshold or DEFAULT_THRESHOLD if self._threshold is None else self._threshold.nats

    def validate_model(self, model: ModelInfo) -> None:
        """Raise `BadInput` if the threshold was chosen for another model."""
        if self._threshold is not None:
            self._threshold.validate_model(model)

    def list_names(self, tenant: str) -> list[str]:
        """Return the names of the indexes that a tenant may search."""
        found = []
        for name, index in self._settings.indexes.items():
            if index.tenants is None or tenant in index.tenants:
                found.append(name)
        return found

    def resolve_name(self, tenant: str, name: str | None, param: str) -> str:
        """Return the name of an index that a tenant may search; the only one where none is named.

        Raises:
            ApiError: 404 for one that it may not search, in the words for one that does not exist.
        """
        names = self.list_names(tenant)
        if name is None and len(names) == 1:
            return names[0]
        if name is None:
            listed = f"name one of {', '.join(names)}" if names else "there is none that this key may search"
            raise ApiError(400, f"{param} is missing: {listed}.", code="missing_required_parameter", param=param)
        if name not in names:
            listed = f"choose from {', '.join(names)}" if names else "there is none that this key may search"
            raise ApiError(404, f"there is no index {name[:64]!r}: {listed}.", code="not_found", param=param)
        return name

    async def search(self, name: str, query: str, options: Any) -> SearchResult:
        """Search an index by `k`, `filters` and `mode` of `options`.

        Raises:
            HeatbathError: what the index raises for filters it cannot use, or a damaged folder.
        """
        async with self._locks[name]:
            result = await asyncio.to_thread(self._search, name, query, options)
        self.counts.searches += 1
        self.counts.empty += not result.hits
        return result

    def _search(self, name: str, query: str, options: Any) -> SearchResult:
        if name not in self._opened:
            from heatbath.retrieval import open_index

            self._opened[name] = open_index(self._settings.indexes[name].path)
        index = self._opened[name]
        hits = index.search(query, k=options.k, filters=options.filters, mode=options.mode)
        return SearchResult(name, index.version, tuple(hits))

    def describe(self, tenant: str) -> dict[str, Any]:
        """Return the state for the page of a tenant, ready for JSON."""
        counts = self.counts
        answered = counts.searches - counts.empty
        return {
            "indexes": self.list_names(tenant),
            "threshold": self.threshold,
            "searches": counts.searches,
            "hit_rate": answered / counts.searches if counts.searches else None,
            "untriggered": counts.untriggered,
            "supported": counts.supported,
            "unsupported": counts.unsupported,
            "refused": counts.refused,
            "unknown": counts.unknown,
            "edges": list(SUPPORT_EDGES),
            "histogram": list(counts.histogram),
            "last": [citation for owner, citation in reversed(counts.last) if owner == tenant],
        }


def load_indexes(settings: RetrievalSettings) -> ServedIndexes:
    """Read the settings of indexes.

    Raises:
        BadInput: a folder that does not exist, or a file of a threshold that cannot be read.
    """
    _require_folders({name: index.path for name, index in settings.indexes.items()})
    if settings.support is None:
        return ServedIndexes(settings)
    if settings.threshold is not None:
        raise BadInput("retrieval.threshold and retrieval.support both set the threshold: keep one of them.")
    from heatbath.retrieval.support_threshold import load_threshold

    return ServedIndexes(settings, threshold=load_threshold(settings.support))


def _require_folders(paths: Mapping[str, Path]) -> None:
    missing: Sequence[str] = [name for name, path in paths.items() if not path.is_dir()]
    if missing:
        name = missing[0]
        raise BadInput(
            f"retrieval.indexes.{name}.path is {paths[name]} and there is no such folder: make it with `heatbath index "
            "add`, or correct the path."
        )
