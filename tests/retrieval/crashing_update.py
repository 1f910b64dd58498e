"""A process that updates an index and kills itself at the nth change of its folder: INDEX SOURCE N.

N is counted in calls that write, rename or delete; every call is a place to die before it and after it. With N = 0 it
lives, and prints how many places there were.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from word_embedder import WordEmbedder

from heatbath.retrieval import IndexSettings, add_documents, passage_writer
from heatbath.retrieval.passage_store import PassageStore

SETTINGS = IndexSettings(embedding="words", tokens=12, overlap=0)
places = 0


def with_places(function: Callable[..., Any], last: int) -> Callable[..., Any]:
    """Return a function with a place to die before it and one after it."""

    def call(*arguments: Any, **options: Any) -> Any:
        count_place(last)
        result = function(*arguments, **options)
        count_place(last)
        return result

    return call


def count_place(last: int) -> None:
    """Die here if it is the place."""
    global places
    places += 1
    if places == last:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Update the index."""
    index, source, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    passage_writer.BATCH_PASSAGES = 4
    for owner, name in ((os, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree"), (np, "save")):
        setattr(owner, name, with_places(getattr(owner, name), last))
    for name in ("add_texts", "add_passages", "prune"):
        setattr(PassageStore, name, with_places(getattr(PassageStore, name), last))
    settings = None if (index / "index.json").exists() else SETTINGS
    add_documents(index, [source], settings=settings, embedder=WordEmbedder())
    print(places)


if __name__ == "__main__":
    main()
