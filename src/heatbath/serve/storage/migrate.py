"""Migration of a database to the schema of this version, once, however many processes start at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from heatbath.serve.storage.db_errors import NEWER_SCHEMA, DatabaseUnusable

# Not alembic's own name, which another program in the same database may use.
VERSION_TABLE = "heatbath_schema"
# A number that no other program uses for its lock: the characters "heatbath".
_LOCK_ID = int.from_bytes(b"heatbath")


def migrate(connection: Connection) -> None:
    """Run missing migrations inside the transaction of `connection`. Raises `DatabaseUnusable` for a newer database."""
    if connection.dialect.name == "postgresql":
        # Another process may be migrating for longer than a statement may otherwise take.
        connection.execute(text("SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK_ID})
    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "fn": _build_upgrade(scripts)}
    )
    if not set(context.get_current_heads()) <= {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseUnusable(NEWER_SCHEMA)
    with Operations.context(context):
        context.run_migrations()


def _build_upgrade(scripts: ScriptDirectory) -> Any:
    def steps(current: Any, context: MigrationContext) -> Any:
        return scripts._upgrade_revs("head", current)

    return steps
