"""The files of numba's compiled kernels, with checksums: damaged machine code is compiled again, never run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import xxhash
from numba.core.caching import IndexDataCacheFile

_DIGEST_BYTES = 16


class CheckedCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """The cache of one kernel; behind each pickle stands its hash, which unpickling does not read.

    A file that is cut short or has other bytes than were written counts as missing.
    """

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + xxhash.xxh3_128_digest(data)

    def _load_index(self) -> dict[Any, str]:
        try:
            with Path(self._index_path).open("rb") as stream:
                pickle.load(stream)  # the version of numba
                is_intact = _ends_with_hash(stream.read())
            index: dict[Any, str] = super()._load_index() if is_intact else {}
        except Exception:  # unpickling damaged bytes may raise anything
            return {}
        return index

    def _load_data(self, name: str) -> Any:
        if not _ends_with_hash(Path(self._data_path(name)).read_bytes()):
            raise OSError(f"{name} is damaged")  # which numba takes for a file that is missing
        return super()._load_data(name)


def _ends_with_hash(data: bytes) -> bool:
    return xxhash.xxh3_128_digest(data[:-_DIGEST_BYTES]) == data[-_DIGEST_BYTES:]
