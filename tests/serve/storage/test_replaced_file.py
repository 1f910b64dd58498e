"""A database file that another one replaces, under a server or after it was killed: no log is replayed over it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from process import start_process
from stored import answer, back, newest, opened, refused, store_for_ever

from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.storage import DatabaseUnusable, open_store

NEW = [f"new{k}" for k in reversed(range(20))]


def _fill_other(folder: Path) -> Path:
    """The file of another database."""
    path = folder / "other.db"

    async def main() -> None:
        async with opened(f"sqlite:///{path}") as store:
            for name in reversed(NEW):
                await store.save(answer(name))

    asyncio.run(main())
    return path


def _store_until_killed(url: str, acknowledged: Path) -> None:
    process = start_process(store_for_ever, url, "old", acknowledged)
    for _ in range(1000):
        if acknowledged.exists() and acknowledged.stat().st_size > 100:
            break
        time.sleep(0.02)
    process.kill()
    process.join(20)


def _replace(path: Path, copy: Path) -> None:
    copy.replace(path)


def _move_and_replace(path: Path, copy: Path) -> None:
    path.rename(path.with_name("aside.db"))
    copy.rename(path)


def _delete_and_replace(path: Path, copy: Path) -> None:
    path.unlink()
    copy.rename(path)


REPLACEMENTS = [_replace, _move_and_replace, _delete_and_replace]


@pytest.mark.parametrize(
    ("noticed", "replace"),
    [
        *(("by a write", replace) for replace in REPLACEMENTS),
        *((noticed, _move_and_replace) for noticed in ("by a read", "idle", "at the end")),
    ],
)
def test_a_log_is_never_replayed_over_another_file(
    sqlite: str, tmp_path: Path, noticed: str, replace: Callable[[Path, Path], None]
) -> None:
    path = Path(sqlite.removeprefix("sqlite:///"))
    other = _fill_other(tmp_path)

    async def main() -> None:
        async with opened(sqlite) as store:
            for k in range(3):
                await store.save(answer(f"old{k}"))
            await store.list_recent(9, None)
            inode = path.stat().st_ino
            replace(path, other)
            assert path.stat().st_ino != inode
            if noticed == "by a write":
                await refused(store, "another one is in its place")
                await back(store)
                await store.save(answer("after"))
            elif noticed == "by a read":
                # Connections that are open read on in the earlier file; a new one would replay its log.
                store._database.engine.dispose()
                with pytest.raises(StoreUnavailable, match="another one is in its place"):
                    await store.list_recent(9, None)
            elif noticed == "idle":
                for _ in range(300):
                    if path.with_name("heatbath.db-wal.replaced").exists():
                        break
                    await asyncio.sleep(0.02)
                await back(store)
                assert len(await store.list_recent(99, None)) == len(NEW)
        found = [each.request.id for each in await newest(sqlite)]
        assert found == (["after"] if noticed == "by a write" else []) + NEW
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # The writes of the earlier one are kept, and its file takes them under their name.
        aside = path.with_name("aside.db")
        if aside.exists():
            path.with_name("heatbath.db-wal.replaced").rename(path.with_name("aside.db-wal"))
            assert {"old0", "old1", "old2"} <= {each.request.id for each in await newest(f"sqlite:///{aside}")}

    asyncio.run(main())


@pytest.mark.parametrize("replace", REPLACEMENTS[:2])
def test_a_log_that_a_killed_server_left_is_not_replayed_over_another_file(
    sqlite: str, tmp_path: Path, replace: Callable[[Path, Path], None]
) -> None:
    path = Path(sqlite.removeprefix("sqlite:///"))
    other = _fill_other(tmp_path)
    acknowledged = tmp_path / "acknowledged"
    _store_until_killed(sqlite, acknowledged)
    assert path.with_name("heatbath.db-wal").stat().st_size > 0
    holder = path.open("rb")  # so that its inode is not used again
    replace(path, other)
    found = [each.request.id for each in asyncio.run(newest(sqlite))]
    holder.close()
    assert found == NEW
    assert path.with_name("heatbath.db-wal.replaced").stat().st_size > 0


def test_a_log_that_cannot_be_renamed_is_refused(sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(sqlite.removeprefix("sqlite:///"))
    other = _fill_other(tmp_path)
    _store_until_killed(sqlite, tmp_path / "acknowledged")
    holder = path.open("rb")
    _move_and_replace(path, other)

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DatabaseUnusable, match=r"cannot be renamed \(Permission denied\): remove"):
        open_store(sqlite)
    holder.close()


def test_files_that_were_moved_together_belong_together(sqlite: str, tmp_path: Path) -> None:
    path, acknowledged = Path(sqlite.removeprefix("sqlite:///")), tmp_path / "acknowledged"
    _store_until_killed(sqlite, acknowledged)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for file in path.parent.glob("heatbath.db*"):
        shutil.copy(file, folder / file.name)
    found = {each.request.id for each in asyncio.run(newest(f"sqlite:///{folder / path.name}"))}
    assert set(acknowledged.read_text().split()) <= found
