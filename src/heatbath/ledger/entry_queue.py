"""The database of a log: entries in their order before they are in tiles, numbers by id, content.

An entry is sequenced when it has a number here, durably. SQLite serves the processes of one host, PostgreSQL several.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput, HeatbathError, MissingExtra
from heatbath.ledger.content import Content

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import insert as insert_postgres
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise MissingExtra("a ledger", "ledger") from error

SCHEMA_VERSION = 1

_LOCK_KEY = 0x6865617462617468
"""Key of the advisory lock of PostgreSQL that orders appends."""
_BUSY_SECONDS = 30.0
_ROWS_AT_ONCE = 4096
_CONTENTS_AT_ONCE = 64

_metadata = sa.MetaData()
_entries = sa.Table(
    "ledger_entries",
    _metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.LargeBinary(16), nullable=False, unique=True),
    sa.Column("body", sa.LargeBinary),
    comment="Entries in their order; the body is NULL once a tile has it.",
)
_content = sa.Table(
    "ledger_content",
    _metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("key", sa.LargeBinary(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_settings = sa.Table(
    "ledger_settings",
    _metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)


class QueueUnusable(HeatbathError):
    """The database of a log cannot be used: it is of another log or version, damaged, full, or not there."""


@dataclass(frozen=True)
class QueuedEntry:
    """An entry to sequence: id of 16 bytes, canonical bytes, contents."""

    id: bytes
    body: bytes
    contents: Sequence[Content] = ()


class EntryQueue:
    """The database of one log.

    Raises:
        QueueUnusable: it belongs to another origin, has another schema version, or cannot be opened.
        MissingExtra: PostgreSQL without its package.
    """

    def __init__(self, url: str, origin: str) -> None:
        self.origin = origin
        parsed = sa.make_url(url)
        self.is_shared = parsed.get_backend_name() == "postgresql"
        self._engine = self._build_engine(parsed)
        self._writer = self._engine.execution_options(is_writer=True)
        with translate_errors():
            self._prepare()

    def _build_engine(self, url: sa.URL) -> sa.Engine:
        if self.is_shared:
            try:
                return sa.create_engine(url.set(drivername="postgresql+psycopg"), hide_parameters=True)
            except ImportError as error:
                raise MissingExtra("a ledger in PostgreSQL", "postgres") from error
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)
        sa.event.listen(engine, "connect", _init_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _prepare(self) -> None:
        expected = {"origin": self.origin, "schema": str(SCHEMA_VERSION)}
        with self._lock_appends() as connection:
            _metadata.create_all(connection)
            found = {name: value for name, value in connection.execute(sa.select(_settings))}
            if not found:
                connection.execute(_settings.insert(), [{"name": n, "value": v} for n, v in expected.items()])
                return
        if found.get("schema") != expected["schema"]:
            raise QueueUnusable(
                f"the ledger has the schema version {found.get('schema')} and this heatbath reads {SCHEMA_VERSION}: "
                "use the version that wrote it, or a newer one."
            )
        if found.get("origin") != self.origin:
            raise QueueUnusable(f"the ledger belongs to the log {found.get('origin')!r}, not to {self.origin!r}.")

    @contextmanager
    def _lock_appends(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that no other append runs beside."""
        with self._writer.begin() as connection:
            if self.is_shared:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
            yield connection

    def append(self, entries: Sequence[QueuedEntry]) -> list[int]:
        """Sequence entries and return their numbers, when they are durable; one whose id is known keeps its number.

        Raises:
            QueueUnusable: nothing was appended.
        """
        with translate_errors(), self._lock_appends() as connection:
            known = _find_numbers(connection, [entry.id for entry in entries])
            last = connection.execute(sa.select(sa.func.max(_entries.c.number))).scalar()
            number = 0 if last is None else int(last) + 1
            rows, contents = [], []
            for entry in entries:
                if entry.id not in known:
                    known[entry.id] = number
                    rows.append({"number": number, "id": entry.id, "body": entry.body})
                    contents += [
                        {"digest": bytes.fromhex(each.digest), "key": each.key, "body": each.body}
                        for each in entry.contents
                    ]
                    number += 1
            if rows:
                connection.execute(_entries.insert(), rows)
            if contents:
                insert = insert_postgres if self.is_shared else insert_sqlite
                connection.execute(insert(_content).on_conflict_do_nothing(), contents)
        return [known[entry.id] for entry in entries]

    def read(self, begin: int, count: int) -> list[bytes]:
        """Return the bodies from number `begin` on that are not in tiles yet, `count` at most."""
        query = sa.select(_entries.c.number, _entries.c.body).where(
            _entries.c.number >= begin, _entries.c.number < begin + count
        )
        with translate_errors(), self._engine.begin() as connection:
            rows = connection.execute(query.order_by(_entries.c.number)).all()
        bodies = []
        for place, (number, body) in enumerate(rows):
            if number != begin + place or body is None:
                raise QueueUnusable(f"entry {begin + place} is neither in a tile nor in the database of the ledger.")
            bodies.append(bytes(body))
        return bodies

    def size(self) -> int:
        """Return the number of entries that are sequenced."""
        with translate_errors(), self._engine.begin() as connection:
            last = connection.execute(sa.select(sa.func.max(_entries.c.number))).scalar()
        return 0 if last is None else int(last) + 1

    def drop_bodies(self, begin: int, end: int) -> None:
        """Forget the bodies of entries `begin` to `end`, which are in tiles."""
        place = _entries.c.number >= begin, _entries.c.number < end
        query = _entries.update().where(*place, _entries.c.body.is_not(None)).values(body=None)
        with translate_errors(), self._writer.begin() as connection:
            connection.execute(query)

    def find_number(self, entry_id: bytes) -> int | None:
        """Return the number of the entry with an id, None if the log has none."""
        with translate_errors(), self._engine.begin() as connection:
            return _find_numbers(connection, [entry_id]).get(entry_id)

    def read_content(self, digest: str) -> Content | None:
        """Return the content of a digest, None if it was erased or never kept."""
        query = sa.select(_content.c.body, _content.c.key).where(_content.c.digest == bytes.fromhex(digest))
        with translate_errors(), self._engine.begin() as connection:
            row = connection.execute(query).first()
        return None if row is None else Content(bytes(row[0]), bytes(row[1]))

    def list_ids(self) -> Iterator[tuple[int, str]]:
        """Yield number and id of every entry, in their order."""
        last = -1
        while True:
            query = sa.select(_entries.c.number, _entries.c.id).where(_entries.c.number > last)
            with translate_errors(), self._engine.begin() as connection:
                rows = connection.execute(query.order_by(_entries.c.number).limit(_ROWS_AT_ONCE)).all()
            yield from ((number, bytes(entry_id).hex()) for number, entry_id in rows)
            if not rows:
                return
            last = rows[-1][0]

    def find_digests(self, digests: Sequence[str]) -> set[str]:
        """Return those of some digests whose content is kept."""
        raw = [bytes.fromhex(digest) for digest in digests]
        found: set[str] = set()
        with translate_errors(), self._engine.begin() as connection:
            for begin in range(0, len(raw), 500):
                query = sa.select(_content.c.digest).where(_content.c.digest.in_(raw[begin : begin + 500]))
                found |= {bytes(each).hex() for each in connection.execute(query).scalars()}
        return found

    def list_contents(self) -> Iterator[tuple[str, Content]]:
        """Yield every content with its digest."""
        last = b""
        while True:
            query = sa.select(_content).where(_content.c.digest > last).order_by(_content.c.digest)
            with translate_errors(), self._engine.begin() as connection:
                rows = connection.execute(query.limit(_CONTENTS_AT_ONCE)).all()
            yield from ((bytes(digest).hex(), Content(bytes(body), bytes(key))) for digest, key, body in rows)
            if not rows:
                return
            last = bytes(rows[-1][0])

    def append_erasure(self, entry: QueuedEntry, digests: Sequence[str]) -> int:
        """Erase contents and sequence the entry that says so, both or neither; return its number."""
        with translate_errors(), self._lock_appends() as connection:
            raw = [bytes.fromhex(digest) for digest in digests]
            connection.execute(_content.delete().where(_content.c.digest.in_(raw)))
            last = connection.execute(sa.select(sa.func.max(_entries.c.number))).scalar()
            number = 0 if last is None else int(last) + 1
            connection.execute(_entries.insert(), [{"number": number, "id": entry.id, "body": entry.body}])
        return number

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _find_numbers(connection: sa.Connection, ids: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for begin in range(0, len(ids), 500):
        query = sa.select(_entries.c.id, _entries.c.number).where(_entries.c.id.in_(ids[begin : begin + 500]))
        found |= {bytes(entry_id): number for entry_id, number in connection.execute(query)}
    return found


def _begin_sqlite(connection: sa.Connection) -> None:
    # One that reads first and then writes would find that another has written in between.
    is_writer = connection.get_execution_options().get("is_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _init_sqlite(connection: Any, _: Any) -> None:
    # The driver begins transactions late; two that read first and then write would block each other.
    connection.isolation_level = None
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
    # Erased content must not stay in the file.
    for pragma in ("synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `QueueUnusable` for errors of the database, `BadInput` for those of its folder."""
    try:
        yield
    except (SQLAlchemyError, TypeError) as error:  # the type of a column that was changed by hand
        cause = getattr(error, "orig", None) or error
        raise QueueUnusable(f"the database of the ledger cannot be used: {str(cause)[:200]}.") from error
    except OSError as error:
        raise BadInput(f"the folder of the ledger cannot be used: {error.strerror}.") from error
