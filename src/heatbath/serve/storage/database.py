"""A database by its URL: connections that commit durably, and an SQLite file that is created, checked and watched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from heatbath.errors import BadInput, MissingExtra
from heatbath.serve.storage.db_errors import DATABASE_DAMAGED, DatabaseFileReplaced, DatabaseUnusable
from heatbath.serve.storage.file_identity import DatabaseFiles
from heatbath.serve.storage.migrate import migrate
from heatbath.serve.storage.row_codec import from_json, to_json

# Seconds that a statement waits for another process's transaction on SQLite.
_BUSY_TIMEOUT = 3.0
# A dead host must not hold a connection longer than a request may wait.
_POSTGRES_OPTIONS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "application_name": "heatbath",
}
_POSTGRES_SESSION_SQL = "SET synchronous_commit TO on; SET statement_timeout TO '5s'; SET lock_timeout TO '5s'"


def default_url() -> str:
    """Return the URL of `heatbath.db` in `$XDG_DATA_HOME/heatbath`, else in `~/.local/share/heatbath`."""
    shared = os.environ.get("XDG_DATA_HOME")
    folder = Path(shared) if shared else Path.home() / ".local" / "share"
    return f"sqlite:///{folder / 'heatbath' / 'heatbath.db'}"


class Database:
    """A database engine, and for SQLite the file behind it. Raises `BadInput` for a URL of neither kind."""

    def __init__(self, url: str) -> None:
        parsed = _parse_url(url)
        is_file = parsed.database is not None and parsed.drivername == "sqlite"
        self.files = DatabaseFiles(Path(parsed.database or "")) if is_file else None
        self.engine = _build_engine(parsed, self.files)
        self.is_ready = False

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        return None if self.files is None else self.files.file

    def prepare(self) -> None:
        """Create the file, check it and migrate the schema. Raises `DatabaseUnusable` or the driver's error."""
        if self.files is not None:
            _create_file(self.files.file)
            self.files.open()
            _check_integrity(self.engine)
        with self.engine.begin() as connection:
            migrate(connection)
        self.ensure_present()
        self.is_ready = True

    def ensure_ready(self) -> None:
        """After a failure: prepare what has not been prepared, or a file that replaced the one opened.

        Raises:
            DatabaseFileMissing: the file is gone.
        """
        if self.is_ready:
            try:
                self.ensure_present()
            except DatabaseFileReplaced:
                self.is_ready = False
                self.engine.dispose()
        if not self.is_ready:
            self.prepare()

    def ensure_present(self) -> None:
        """Raise `DatabaseFileMissing` if the file is not the one that was opened: writes to it would be lost."""
        if self.files is not None:
            self.files.validate()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self.files is not None:
            self.files.close()


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput("the storage URL cannot be read: write sqlite:///FILE or postgresql+psycopg://….") from None
    kind = parsed.drivername
    if kind in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind not in ("sqlite", "sqlite+pysqlite"):
        raise BadInput(f"storage of kind {kind!r} is not known: write sqlite:///FILE or postgresql+psycopg://….")
    if not parsed.database or parsed.database.startswith((":", "file:")):
        raise BadInput("the storage URL names no file, so nothing would survive: write sqlite:///FILE.")
    return parsed.set(drivername="sqlite", database=str(Path(parsed.database).expanduser()))


def _build_engine(url: URL, files: DatabaseFiles | None) -> Engine:
    options: dict[str, Any] = {
        "json_serializer": lambda value: to_json(value).decode(),
        "json_deserializer": from_json,
        "hide_parameters": True,
    }
    if files is not None:
        engine = create_engine(url, creator=_build_opener(url, files), **options)
        event.listen(engine, "connect", _init_sqlite_session)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    arguments = {name: value for name, value in _POSTGRES_OPTIONS.items() if name not in url.query}
    try:
        engine = create_engine(url, connect_args=arguments, pool_timeout=3, **options)
    except ImportError as error:
        raise MissingExtra("storage in PostgreSQL", "postgres") from error
    event.listen(engine, "connect", _init_postgres_session)
    return engine


def _build_opener(url: URL, files: DatabaseFiles) -> Callable[[], sqlite3.Connection]:
    """Return a function that opens the file, never creates it: an empty one must not replace one that was moved.

    Nor does it open a file that was put in its place: the first query would replay the log over it.
    """
    try:
        wait = float(str(url.query.get("timeout", _BUSY_TIMEOUT)))
    except ValueError:
        raise BadInput(f"the storage URL has timeout={url.query['timeout']}: give seconds.") from None
    if unknown := sorted(set(url.query) - {"timeout"}):
        raise BadInput(f"the storage URL of a file has {unknown[0]}=…: it takes timeout (seconds) alone.")
    name = f"file:{quote(str(Path(url.database or '').absolute()))}?mode=rw"

    def open_file() -> sqlite3.Connection:
        files.validate_replacement()
        connection = sqlite3.connect(name, timeout=wait, uri=True, check_same_thread=False)
        try:
            files.validate_replacement()
        except DatabaseFileReplaced:
            connection.close()
            raise
        return connection

    return open_file


def _init_sqlite_session(connection: Any, _: Any) -> None:
    # The driver begins transactions late; two that read first and then write would block each other.
    connection.isolation_level = None
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _init_postgres_session(connection: Any, _: Any) -> None:
    connection.autocommit = True
    connection.execute(_POSTGRES_SESSION_SQL)
    connection.autocommit = False


def _create_file(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never opened where it exists: closing it would drop the locks that this process holds on it.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise DatabaseUnusable(
            f"The database's file cannot be made ({error.strerror}): check its folder and rights."
        ) from None


def _check_integrity(engine: Engine) -> None:
    """Check for damage and turn on the write-ahead log."""
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise DatabaseUnusable(DATABASE_DAMAGED)
        _enable_wal(cursor)


def _enable_wal(cursor: Any) -> None:
    # Of processes that start at once, all but one get "locked" here without any wait.
    until = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
