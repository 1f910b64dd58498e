"""Updates of an index: incremental by content, files that leave, names, settings, resumption, one writer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from heatbath.errors import BadInput
from heatbath.retrieval import IndexSettings, add_documents, open_index, passage_writer, remove_documents
from heatbath.retrieval.folder_lock import lock_folder
from heatbath.retrieval.manifest import MANIFEST_FILE

from .word_embedder import WordEmbedder

SETTINGS = IndexSettings(embedding="words", tokens=12, overlap=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("---\nteam: blue\n---\n# Heat\n\nHeat flows from hot to cold.\n", encoding="utf-8")
    (folder / "sub" / "b.txt").write_text("Entropy rises.\n\n" * 12, encoding="utf-8")
    (folder / ".hidden.md").write_text("no", encoding="utf-8")
    (folder / "image.png").write_bytes(b"\x89PNG")
    return folder


def test_an_update_takes_changes_only_and_drops_what_has_gone(source: Path, tmp_path: Path) -> None:
    index, embedder = tmp_path / "index", WordEmbedder()
    first = add_documents(index, [source], settings=SETTINGS, embedder=embedder)
    assert first.added == ["docs/a.md", "docs/sub/b.txt"] and first.embedded == embedder.embedded > 0

    again = add_documents(index, [source], embedder=embedder)
    assert again.unchanged == first.added and again.embedded == 0 and again.version == first.version

    (source / "a.md").write_text("# Cold\n\nCold is a lack of heat.\n", encoding="utf-8")
    (source / "sub" / "b.txt").unlink()
    changed = add_documents(index, embedder=embedder)
    assert (
        changed.changed == ["docs/a.md"] and changed.removed == ["docs/sub/b.txt"] and changed.version != first.version
    )
    hits = open_index(index, embedder=embedder).search("entropy heat hot")
    assert {hit.passage.text for hit in hits} == {"# Cold\n\nCold is a lack of heat."}


def test_the_version_depends_on_content_alone(source: Path, tmp_path: Path) -> None:
    one = add_documents(tmp_path / "one", [source], settings=SETTINGS, embedder=WordEmbedder())
    other = tmp_path / "elsewhere" / "docs"
    shutil.copytree(source, other)
    add_documents(tmp_path / "two", [other / "sub"], settings=SETTINGS, embedder=WordEmbedder())
    remove_documents(tmp_path / "two", ["sub"])
    two = add_documents(tmp_path / "two", [other], settings=SETTINGS, embedder=WordEmbedder())
    assert one.version == two.version


def test_equal_texts_are_embedded_once_and_parts_that_stay_are_kept(source: Path, tmp_path: Path) -> None:
    file, embedder = source / "long.txt", WordEmbedder()
    paragraphs = [f"Paragraph {i} speaks of topic number {i} and no more.\n\n" for i in range(20)]
    file.write_text("".join(paragraphs) + paragraphs[0], encoding="utf-8")
    first = add_documents(tmp_path / "index", [file], settings=IndexSettings("words", 12, 0), embedder=embedder)
    assert first.passages == 21 and first.embedded == 20
    file.write_text("".join([*paragraphs, "A new end.\n\n"]), encoding="utf-8")
    second = add_documents(tmp_path / "index", embedder=embedder)
    assert second.changed == ["long.txt"] and second.embedded == 1


def test_an_interrupted_update_leaves_the_index_and_is_resumed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_writer, "BATCH_PASSAGES", 4)
    index = tmp_path / "index"
    add_documents(index, [source / "a.md"], settings=SETTINGS, embedder=WordEmbedder())
    before = open_index(index).version
    for i in range(10):
        (source / f"{i}.txt").write_text(f"Text number {i} is {i}.\n\n" * 3, encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        add_documents(index, [source], embedder=WordEmbedder(fail_at=8))
    assert open_index(index).version == before
    resumed = add_documents(index, [source], embedder=WordEmbedder())
    fresh = add_documents(tmp_path / "fresh", [source], settings=SETTINGS, embedder=WordEmbedder())
    assert resumed.embedded < fresh.embedded and resumed.passages == fresh.passages


def test_files_that_cannot_be_read_are_left_out_with_a_sentence(source: Path, tmp_path: Path) -> None:
    (source / "data.txt").write_bytes(b"\x00\x01\x02")
    (source / "latin.md").write_bytes("Käse".encode("latin-1"))
    (source / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (source / "empty.txt").write_bytes(b"")
    report = add_documents(tmp_path / "index", [source], settings=SETTINGS, embedder=WordEmbedder())
    assert {Path(name).name for name in report.skipped} == {"data.txt", "latin.md", "broken.pdf"}
    assert "docs/empty.txt" in report.added
    with pytest.raises(BadInput, match=r"data\.txt holds binary data"):
        add_documents(tmp_path / "other", [source / "data.txt"], settings=SETTINGS, embedder=WordEmbedder())


def test_files_of_one_name_get_folders_in_front(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"Text of {name}.", encoding="utf-8")
    index = tmp_path / "index"
    add_documents(index, [tmp_path / "x" / "a.txt"], settings=SETTINGS, embedder=WordEmbedder())
    report = add_documents(index, [tmp_path / "y" / "a.txt"], embedder=WordEmbedder())
    assert report.added == ["y/a.txt"]
    assert [each.path for each in open_index(index).manifest.documents] == ["a.txt", "y/a.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"paths": ["missing.txt"]}, r"no file or folder .*missing\.txt"),
        ({"paths": []}, "no documents yet"),
        ({"settings": IndexSettings("words", 0, 0)}, "`tokens` must be at least 1"),
        ({"settings": IndexSettings("words", 10**7, 0)}, "at most 1000000"),
    ],
)
def test_input_that_cannot_be_used_leaves_no_folder(
    source: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    given = {"paths": [source], "settings": SETTINGS, "embedder": WordEmbedder(), **change}
    with pytest.raises(BadInput, match=words):
        add_documents(tmp_path / "index", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "index").exists()


def test_settings_of_an_index_stay_and_foreign_folders_are_refused(source: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    add_documents(index, [source], settings=SETTINGS, embedder=WordEmbedder())
    with pytest.raises(BadInput, match="for good"):
        add_documents(index, [source], settings=IndexSettings("words", 13, 3), embedder=WordEmbedder())
    with pytest.raises(BadInput, match="files that are no index"):
        add_documents(source, [source], settings=SETTINGS, embedder=WordEmbedder())
    with pytest.raises(BadInput, match="is a file"):
        add_documents(source / "a.md", [source], settings=SETTINGS, embedder=WordEmbedder())
    (index / MANIFEST_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="is damaged"):
        open_index(index)


def test_a_second_writer_gets_a_sentence(source: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    add_documents(index, [source], settings=SETTINGS, embedder=WordEmbedder())
    with lock_folder(index), pytest.raises(BadInput, match="another process"):
        add_documents(index, [source], embedder=WordEmbedder())
    with pytest.raises(BadInput, match=r"no document 'docs/a\.mdx' \(did you mean 'docs/a\.md'\?\)"):
        remove_documents(index, ["docs/a.mdx"])
    assert remove_documents(index, ["docs/"]).passages == 0
    assert open_index(index).search("heat") == []
