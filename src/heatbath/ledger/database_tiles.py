"""The published files of a log in a PostgreSQL database, where several hosts write one log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heatbath.ledger.entry_queue import translate_errors
from heatbath.ledger.tiles import find_full_tile

_LOCK_KEY = 0x6865617462617469
"""Key of the advisory lock that one publisher holds."""

_metadata = sa.MetaData()
_files = sa.Table(
    "ledger_files",
    _metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("full", sa.String, nullable=False, index=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


class DatabaseTiles:
    """The files of a log in a table; `full` is the path of the full tile that a partial one becomes."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), hide_parameters=True)
        with translate_errors(), self._engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY + 1)))
            _metadata.create_all(connection)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none."""
        with translate_errors(), self._engine.connect() as connection:
            body = connection.execute(sa.select(_files.c.body).where(_files.c.path == path)).scalar()
        return None if body is None else bytes(body)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Store files durably, all or none."""
        if not files:
            return
        rows = [{"path": path, "full": find_full_tile(path), "body": body} for path, body in files.items()]
        statement = insert(_files)
        statement = statement.on_conflict_do_update(index_elements=["path"], set_={"body": statement.excluded.body})
        with translate_errors(), self._engine.begin() as connection:
            connection.execute(statement, rows)

    def remove_partial(self, full: str) -> None:
        """Remove the partial tiles that became the full tile of this path."""
        with translate_errors(), self._engine.begin() as connection:
            connection.execute(_files.delete().where(_files.c.full == full, _files.c.path != full))

    def list_paths(self) -> Iterator[str]:
        """Yield the path of every file."""
        with translate_errors(), self._engine.connect() as connection:
            yield from connection.execute(sa.select(_files.c.path).order_by(_files.c.path)).scalars()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to write, which one process has at a time; a process that dies gives it back."""
        with translate_errors(), self._engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_KEY)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK_KEY)))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
