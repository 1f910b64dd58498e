"""SIGKILL during an update leaves the old index or the new one, and the next update ends as if nothing happened."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heatbath.retrieval import add_documents, open_index

from .crashing_update import SETTINGS
from .word_embedder import WordEmbedder

SCRIPT = Path(__file__).with_name("crashing_update.py")


def write_documents(folder: Path, words: str) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(6):
        (folder / f"{i}.txt").write_text(f"Text {i} is about {words} and number {i}.\n\n" * 4, encoding="utf-8")


def start_update(index: Path, source: Path, place: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(index), str(source), str(place)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


class Scene:
    """A source folder in an old and a new state, an index of the old one, and the versions of both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source, self.old_index = folder, folder / "docs", folder / "old"
        write_documents(self.source, "heat")
        (self.source / "gone.txt").write_text("This leaves the index.", encoding="utf-8")
        self.old = add_documents(self.old_index, [self.source], settings=SETTINGS, embedder=WordEmbedder()).version
        (self.source / "gone.txt").unlink()
        write_documents(self.source, "cold")
        self.new = add_documents(folder / "new", [self.source], settings=SETTINGS, embedder=WordEmbedder()).version

    def copy(self, name: str) -> Path:
        target = self.folder / name
        shutil.copytree(self.old_index, target)
        return target

    def check(self, index: Path) -> str:
        """Open an index after a crash, then update it, and return the version that was found."""
        found = open_index(index, embedder=WordEmbedder())
        assert found.version in {self.old, self.new}
        word = "heat" if found.version == self.old else "cold"
        hits = found.search(f"{word} number 3", k=3)
        assert [hit.passage.document for hit in hits] == ["docs/3.txt"] * 3
        text = found.read_document("docs/3.txt")
        assert all(text[hit.passage.start : hit.passage.end] == hit.passage.text for hit in hits)
        report = add_documents(index, [self.source], embedder=WordEmbedder())
        assert report.version == self.new
        finished = open_index(index, embedder=WordEmbedder())
        fresh = open_index(self.folder / "new", embedder=WordEmbedder())
        assert finished.search("cold number 5", k=20) == fresh.search("cold number 5", k=20)
        left = [each.name for each in index.iterdir() if each.name.startswith(".")]
        assert not left and len([*index.glob("bm25-*")]) == len([*index.glob("passages-*.arrow")]) == 1
        return found.version


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("crash"))


@pytest.fixture(scope="module")
def places(scene: Scene) -> int:
    index = scene.copy("counted")
    output, _ = start_update(index, scene.source, 0).communicate(timeout=300)
    assert open_index(index).version == scene.new
    return int(output)


def kill_at(scene: Scene, place: int) -> str:
    index = scene.copy(f"place{place}")
    process = start_update(index, scene.source, place)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    return scene.check(index)


def test_sigkill_at_two_of_the_writes(scene: Scene, places: int) -> None:
    assert places > 20
    kill_at(scene, random.randint(1, places - 1))
    assert kill_at(scene, places) == scene.new


@pytest.mark.slow
def test_sigkill_at_every_write(scene: Scene, places: int) -> None:
    found = [kill_at(scene, place) for place in range(1, places + 1)]
    assert found == sorted(found, key=[scene.old, scene.new].index)
    assert set(found) == {scene.old, scene.new}


@pytest.mark.slow
def test_sigkill_at_a_random_moment_of_a_first_update(scene: Scene, tmp_path: Path) -> None:
    start = time.perf_counter()
    start_update(tmp_path / "timed", scene.source, 0).communicate(timeout=300)
    whole = time.perf_counter() - start
    for number in range(10):
        index = tmp_path / f"moment{number}"
        process = start_update(index, scene.source, 0)
        time.sleep(random.uniform(0.3, 1.0) * whole)
        process.kill()
        process.communicate()
        settings = None if (index / "index.json").exists() else SETTINGS
        report = add_documents(index, [scene.source], settings=settings, embedder=WordEmbedder())
        assert report.version == scene.new
        assert len(open_index(index)) == report.passages
