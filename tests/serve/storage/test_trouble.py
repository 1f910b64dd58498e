"""What goes wrong with a file: one sentence, nothing lost, and on again when it is mended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import start_process
from sqlalchemy import event
from stored import answer, back, discreet, newest, open_as_nobody, opened, refused, whole

from heatbath.errors import BadInput, MissingExtra
from heatbath.installation import install_command
from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.storage import DatabaseUnusable, SqlStore, open_store, writer


@contextlib.contextmanager
def tiny_disk() -> Iterator[Path | None]:
    """A disk of two megabytes; None where none may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="heatbath-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder)


def _fill(folder: Path) -> Path:
    """Take every byte that is left."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return ballast


async def _until_refused(store: SqlStore, prefix: str, match: str) -> list[str]:
    kept = []
    with pytest.raises(StoreUnavailable, match=match) as caught:
        for k in range(10**4):
            await store.save(answer(f"{prefix}{k}", content={"noise": os.urandom(4096).hex()}))
            kept.append(f"{prefix}{k}")
    discreet(str(caught.value))
    return kept


def test_a_full_disk() -> None:
    async def main(folder: Path) -> None:
        async with opened(f"sqlite:///{folder / 'heatbath.db'}") as store:
            await store.save(answer())
            ballast = _fill(folder)
            kept = ["a", *await _until_refused(store, "b", "disk of the database is full")]
            assert store.unavailable_reason is not None
            assert {each.request.id for each in await store.list_recent(10**4, None)} == set(kept)
            ballast.unlink()
            await back(store)
            await store.save(answer("c"))
            assert {each.request.id for each in await store.list_recent(10**4, None)} == {*kept, "c"}

    with tiny_disk() as folder:
        if folder is None:
            pytest.skip("no file system may be mounted here; a file that may not grow is tested instead")
        asyncio.run(main(folder))


def test_a_file_that_may_not_grow(sqlite: str) -> None:
    def pages(limit: int) -> Any:
        return lambda connection, _: connection.execute(f"PRAGMA max_page_count={limit}")

    async def main() -> None:
        async with opened(sqlite) as store:
            engine, short = store._database.engine, pages(60)
            event.listen(engine, "connect", short)
            engine.dispose()
            kept = await _until_refused(store, "a", "disk of the database is full")
            assert {each.request.id for each in await store.list_recent(10**4, None)} == set(kept)
            event.remove(engine, "connect", short)
            event.listen(engine, "connect", pages(2**30))
            engine.dispose()
            await back(store)
            await store.save(answer("b"))
        assert {each.request.id for each in await newest(sqlite)} == {*kept, "b"}

    asyncio.run(main())


def test_a_file_locked_by_another_process(sqlite: str) -> None:
    async def main() -> None:
        async with opened(f"{sqlite}?timeout=0.2") as store:
            await store.save(answer())
            with contextlib.closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await refused(store, "another process|Another process", within=4.0)
                # Reading goes on, and the next is refused at once.
                assert await store.get("a", None) is not None
                await refused(store, "Another process", within=2.0)
                other.execute("ROLLBACK")
            await back(store)
            await store.save(answer("b"))
            assert [each.request.id for each in await store.list_recent(9, None)] == ["b", "a"]

    asyncio.run(main())


def test_a_lock_that_is_held_for_a_moment_is_waited_for(sqlite: str) -> None:
    async def main() -> None:
        async with opened(sqlite) as store:
            with contextlib.closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                task = asyncio.ensure_future(store.save(answer()))
                await asyncio.sleep(0.3)
                assert not task.done()
                other.execute("ROLLBACK")
            await task
            assert store.unavailable_reason is None

    asyncio.run(main())


def test_more_waiting_than_there_is_room_for(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MAX_QUEUED", 4)

    async def main() -> None:
        async with opened(sqlite) as store:
            with contextlib.closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                first = asyncio.ensure_future(store.save(answer("first")))
                await asyncio.sleep(0)
                while store._writer._queue:
                    await asyncio.sleep(0.01)
                rest = [asyncio.ensure_future(store.save(answer(str(k)))) for k in range(6)]
                await asyncio.sleep(0)
                assert [task.done() for task in rest] == [False] * 4 + [True] * 2
                other.execute("ROLLBACK")
            outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
            assert [outcome is None for outcome in outcomes] == [True] * 5 + [False] * 2
            discreet(str(outcomes[-1]))
            assert len(await store.list_recent(9, None)) == 5

    asyncio.run(main())


def test_a_file_that_is_moved_away(sqlite: str, tmp_path: Path) -> None:
    path, aside = Path(sqlite.removeprefix("sqlite:///")), tmp_path / "aside.db"

    async def main() -> None:
        async with opened(sqlite) as store:
            await store.save(answer())
            path.rename(aside)
            await refused(store, "moved or deleted")
            with pytest.raises(StoreUnavailable, match="cannot be opened"):
                await store.list_recent(9, None)
            assert not path.exists()
            aside.rename(path)
            await back(store)
            await store.save(answer("b"))
            assert {"a", "b"} <= {each.request.id for each in await store.list_recent(9, None)}

    asyncio.run(main())


@pytest.mark.parametrize("name", ["a b.db", "é#&=.db"])
def test_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _filled(f"sqlite:///{path}")
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_copy_put_in_its_place(sqlite: str, tmp_path: Path) -> None:
    path, copy = Path(sqlite.removeprefix("sqlite:///")), tmp_path / "copy.db"
    asyncio.run(newest(sqlite))
    shutil.copy(path, copy)

    async def main() -> None:
        async with opened(sqlite) as store:
            await store.save(answer())
            for each in path.parent.glob("heatbath.db*"):
                each.unlink()
            copy.rename(path)
            await refused(store, "moved or deleted, and another one is in its place")
            await back(store)
            await store.save(answer("b"))
        assert [each.request.id for each in await newest(sqlite)] == ["b"]

    asyncio.run(main())


def _filled(url: str) -> Path:
    async def main() -> None:
        async with opened(url) as store:
            await asyncio.gather(*(store.save(answer(str(k))) for k in range(200)))

    asyncio.run(main())
    return Path(url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("where", [0, 40_000])
def test_a_damaged_file_is_refused_and_left_as_it_is(sqlite: str, where: int) -> None:
    path = _filled(sqlite)
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xa5" * 60_000)
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable, match="damaged") as caught:
        open_store(sqlite)
    discreet(str(caught.value).replace("; it", ", it"))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", ["file", "folder"])
def test_a_file_that_may_not_be_written(mode: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="heatbath-ro-"))
    said = folder / "said"
    said.touch(mode=0o666)
    said.chmod(0o666)
    folder.chmod(0o755)
    url = f"sqlite:///{folder / 'heatbath.db'}"
    if mode == "file":
        _filled(url).chmod(0o644)
    process = start_process(open_as_nobody, url, said)
    process.join(20)
    assert process.exitcode == 0
    assert "rights" in said.read_text() or "right to write" in said.read_text()
    discreet(said.read_text(), "heatbath-ro")
    shutil.rmtree(folder)


def test_a_file_that_becomes_read_only(sqlite: str) -> None:
    def lock(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA query_only=ON")

    async def main() -> None:
        async with opened(sqlite) as store:
            await store.save(answer())
            event.listen(store._database.engine, "connect", lock)
            store._database.engine.dispose()
            await refused(store, "cannot be written")
            event.remove(store._database.engine, "connect", lock)
            store._database.engine.dispose()
            await back(store)
            await store.save(answer("b"))
            assert all(map(whole, await store.list_recent(9, None)))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("", "cannot be read"),
        ("no url: secret", "cannot be read"),
        ("mysql://me:secret@host/db", "kind 'mysql' is not known"),
        ("postgresql+asyncpg://me:secret@host/db", "kind 'postgresql\\+asyncpg' is not known"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:secret?mode=memory&uri=true", "names no file"),
        ("sqlite:///secret?mode=ro", "has mode="),
        ("sqlite:///secret?timeout=long", "has timeout=long"),
    ],
)
def test_a_url_that_names_no_database(url: str, match: str) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=re.escape(install_command("postgres"))):
        open_store("postgresql+psycopg://me:secret@host/db")


@pytest.mark.parametrize(
    "command", ["DROP TABLE contents{cascade}", "UPDATE contents SET body = CAST('tampered' AS {bytes})"]
)
def test_tables_and_contents_that_somebody_has_changed(url: str, command: str) -> None:
    async def main() -> None:
        async with opened(url) as store:
            await store.save(answer())
            with store._database.engine.begin() as connection:
                words = {"bytes": "BLOB", "cascade": ""}
                if connection.dialect.name == "postgresql":
                    words = {"bytes": "bytea", "cascade": " CASCADE"}
                connection.exec_driver_sql(command.format(**words))
            with pytest.raises(StoreUnavailable, match="not as they should be|damaged") as caught:
                await store.list_recent(9, None)
            discreet(str(caught.value))

    asyncio.run(main())
