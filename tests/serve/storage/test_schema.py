"""One schema on both databases, reached once however many start together."""

from __future__ import annotations

import asyncio
import stat
from collections import Counter
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from process import start_process
from sqlalchemy import Column, Integer, MetaData
from stored import answer, newest, opened, store_many, whole

from heatbath.serve.storage import DatabaseUnusable, default_url, open_store
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.migrate import VERSION_TABLE
from heatbath.serve.storage.schema import metadata


def _differences(url: str, wanted: MetaData) -> list[object]:
    database = Database(url)
    database.prepare()
    with database.engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), wanted)
    database.engine.dispose()
    return list(found)


def test_the_migrations_arrive_at_the_tables(url: str) -> None:
    assert _differences(url, metadata) == []


def test_a_forgotten_migration_is_seen(url: str) -> None:
    wanted = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(wanted)
    wanted.tables["answers"].append_column(Column("forgotten", Integer))
    assert len(_differences(url, wanted)) == 1


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    async def fill() -> None:
        async with opened(url) as store:
            await store.save(answer())
            with store._database.engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    asyncio.run(fill())
    with pytest.raises(DatabaseUnusable, match=r"^The database was written by a newer heatbath: [^.]+\.$"):
        open_store(url)
    database = Database(url)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM answers").scalar() == 1
    database.engine.dispose()


def test_processes_that_start_at_once_share_one_database(url: str) -> None:
    """Each stores answers of its own, and two of them the same ones."""
    processes = [start_process(store_many, url, prefix, 40) for prefix in ("a", "b", "c", "c")]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    found = asyncio.run(newest(url))
    assert Counter(each.request.id for each in found) == Counter(f"{prefix}-{k}" for prefix in "abc" for k in range(40))
    assert all(map(whole, found))
    assert _differences(url, metadata) == []


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "heatbath.db"
    asyncio.run(newest(f"sqlite:///{path}"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commits_are_durable(url: str) -> None:
    database = Database(url)
    database.prepare()
    settings = ("journal_mode", "synchronous", "foreign_keys")
    with database.engine.connect() as connection:
        if database.file is not None:
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in settings]
            assert found == ["wal", 2, 1]
        else:
            found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("synchronous_commit", "fsync")]
            assert found == ["on", "on"]
    database.engine.dispose()


def test_the_default_lies_in_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/heatbath/heatbath.db"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/.local/share/heatbath/heatbath.db"
