"""Searches: modes, filters, offsets, two folders kept apart, repair of missing files, and input without a traceback."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heatbath.errors import BadInput
from heatbath.retrieval import DocumentIndex, IndexSettings, add_documents, open_index

from .word_embedder import WordEmbedder

SETTINGS = IndexSettings(embedding="words", tokens=12, overlap=0)
DOCUMENTS = {
    "ice.md": "---\nteam: blue\ntags: [cold, water]\nyear: 2024\n---\n# Ice\n\nWater freezes at zero degrees.\r\n",
    "steam.md": "---\nteam: red\nyear: 2025\n---\n# Steam\n\nWater boils at a hundred degrees.\n",
    "lake.txt": "A lake re\u0301sume\u0301 in winter.\r\n\r\nWater freezes at zero degrees.\n",
    "tool.py": "def read_json_lines(path):\n    return open(path)\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("docs")
    for name, text in DOCUMENTS.items():
        (source / name).write_bytes(text.encode())
    add_documents(source.parent / "index", [*source.iterdir()], settings=SETTINGS, embedder=WordEmbedder())
    return source.parent / "index"


@pytest.fixture(scope="module")
def index(folder: Path) -> DocumentIndex:
    return open_index(folder, embedder=WordEmbedder())


def paths(index: DocumentIndex, query: str, **options: Any) -> list[str]:
    return [hit.passage.document for hit in index.search(query, **options)]


def test_hybrid_fuses_both_lists_with_one_entry_per_passage(index: DocumentIndex) -> None:
    hits = index.search("lake winter", k=50)
    assert hits[0].passage.document == "lake.txt" and (hits[0].bm25_rank, hits[0].dense_rank) == (1, 1)
    assert hits[0].score == pytest.approx(0.032787, abs=5e-7)
    assert len({hit.passage.id for hit in hits}) == len(hits) == len(index)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    for hit in hits:
        text = index.read_document(hit.passage.document)
        assert text == DOCUMENTS[hit.passage.document]
        assert text[hit.passage.start : hit.passage.end] == hit.passage.text


def test_equal_passages_come_in_order_of_their_path(index: DocumentIndex) -> None:
    for mode in ("bm25", "dense"):
        first, second = index.search("Water freezes at zero degrees.", k=2, mode=mode)  # type: ignore[arg-type]
        assert (first.passage.document, second.passage.document) in {("ice.md", "lake.txt"), ("lake.txt", "ice.md")}
    assert paths(index, "boils", mode="bm25") == ["steam.md"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"team": "blue"}, {"ice.md"}),
        ({"team": ["blue", "red"]}, {"ice.md", "steam.md"}),
        ({"tags": "cold"}, {"ice.md"}),
        ({"year": 2025}, {"steam.md"}),
        ({"year": "2025"}, set()),
        ({"team": None}, {"lake.txt", "tool.py"}),
        ({"path": "*.md"}, {"ice.md", "steam.md"}),
        ({"type": "source_code"}, {"tool.py"}),
        ({"team": "blue", "year": 2025}, set()),
    ],
)
def test_filters_hold_for_both_lists(index: DocumentIndex, filters: dict[str, Any], expected: set[str]) -> None:
    for mode in ("dense", "hybrid"):
        assert set(paths(index, "water degrees", filters=filters, k=50, mode=mode)) == expected
    assert set(paths(index, "water degrees path", filters=filters, k=50, mode="bm25")) <= expected


def test_parts_of_identifiers_and_stems_are_found(index: DocumentIndex) -> None:
    for query in ("json line", "read_json_lines", "reading JSON"):
        assert paths(index, query, mode="bm25") == ["tool.py"]


@pytest.mark.parametrize("query", ["", "  \n", "the of and", "zzzqqq", "\ud800", "\x00", "a" * 10**6, "!!!", "字"])
def test_odd_queries_have_a_result_or_none(index: DocumentIndex, query: str) -> None:
    assert index.search(query, mode="bm25") == []
    assert len(index.search(query)) == (0 if not query.strip() else len(index))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "`k` must be"),
        ({"k": True}, "`k` must be"),
        ({"mode": "fuzzy"}, "`mode` must be"),
        ({"filters": ["x"]}, "`filters` must map"),
        ({"filters": {"a": {"b": 1}}}, "filter 'a' must be"),
    ],
)
def test_arguments_that_cannot_be_used_get_a_sentence(
    index: DocumentIndex, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        index.search("water", **options)
    with pytest.raises(BadInput, match="no document 'none'"):
        index.read_document("none")


def test_two_folders_share_nothing(index: DocumentIndex, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("The launch code is heliotrope.", encoding="utf-8")
    add_documents(tmp_path / "other", [tmp_path / "secret.txt"], settings=SETTINGS, embedder=WordEmbedder())
    other = open_index(tmp_path / "other", embedder=WordEmbedder())
    assert paths(other, "heliotrope", mode="bm25") == ["secret.txt"]
    assert paths(index, "heliotrope", mode="bm25") == []
    assert "secret.txt" not in paths(open_index(folder, embedder=WordEmbedder()), "heliotrope code", k=100)
    with pytest.raises(BadInput, match="no document"):
        index.read_document("secret.txt")


def test_an_empty_index_and_one_without_words_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    add_documents(tmp_path / "index", [tmp_path / "empty.txt"], settings=SETTINGS, embedder=WordEmbedder())
    assert open_index(tmp_path / "index", embedder=WordEmbedder()).search("anything") == []
    (tmp_path / "marks.txt").write_text("the of and ...", encoding="utf-8")
    add_documents(tmp_path / "index", [tmp_path / "marks.txt"], embedder=WordEmbedder())
    assert open_index(tmp_path / "index", embedder=WordEmbedder()).search("the of", mode="bm25") == []
    with pytest.raises(BadInput, match="is no index"):
        open_index(tmp_path / "nothing")


@pytest.mark.parametrize("mapped", ["whole", "missing", "cut short"])
@pytest.mark.parametrize("loss", ["bm25", "passages.lance", "texts.lance", "half of a vector file", "the vocabulary"])
def test_files_that_are_missing_or_cut_short_are_repaired_at_opening(
    folder: Path, tmp_path: Path, loss: str, mapped: str
) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    expected = open_index(folder, embedder=WordEmbedder()).search("water degrees", k=20)
    file = next(copy.glob("passages-*.arrow"))
    if mapped != "whole":
        file.write_bytes(b"" if mapped == "missing" else file.read_bytes()[:-100])
    if loss == "bm25":
        shutil.rmtree(next(copy.glob("bm25-*")))
    elif loss == "the vocabulary":
        next(copy.glob("bm25-*/vocab*")).write_text("{", encoding="utf-8")
    elif loss == "half of a vector file":
        for file in copy.glob("passages.lance/data/*"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        shutil.rmtree(copy / loss)
    index = open_index(copy, embedder=WordEmbedder())
    assert [replace(hit, score=0) for hit in index.search("water degrees", k=20)] == [
        replace(hit, score=0) for hit in expected
    ]
    assert index.read_document("ice.md") == DOCUMENTS["ice.md"]


def test_a_document_of_ten_million_characters_is_indexed(tmp_path: Path) -> None:
    line = f"{'happy' * 12} {'family' * 10}\n"
    text = (line * (10**7 // len(line) + 1))[: 10**7 - 20] + "\n\nxylophone at last"
    (tmp_path / "big.txt").write_text(text, encoding="utf-8")
    settings = IndexSettings(embedding="none", tokens=500, overlap=0)
    report = add_documents(tmp_path / "index", [tmp_path / "big.txt"], settings=settings)
    hits = open_index(tmp_path / "index").search("xylophone")
    assert (
        len(hits) == 1
        and report.passages > 300
        and text[hits[0].passage.start : hits[0].passage.end] == hits[0].passage.text
    )
    with pytest.raises(BadInput, match="has no vectors"):
        open_index(tmp_path / "index").search("xylophone", mode="dense")


def test_the_packaged_model_finds_by_meaning_and_nothing_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name, text in {"a.txt": "The cat sleeps on the sofa.", "b.txt": "Interest rates rose again."}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    add_documents(tmp_path / "index", [tmp_path / "a.txt", tmp_path / "b.txt"])
    index = open_index(tmp_path / "index")
    assert paths(index, "a kitten takes a nap") == ["a.txt", "b.txt"]
    assert index.search("a kitten takes a nap")[0].bm25_rank is None
