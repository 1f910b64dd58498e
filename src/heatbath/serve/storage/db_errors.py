"""Errors of a database as one sentence without path, host or password, and whether waiting may help."""

from __future__ import annotations

import sqlite3
import zlib
from typing import NamedTuple

import msgspec
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from heatbath.errors import HeatbathError


class DatabaseUnusable(HeatbathError):
    """The database cannot be used as it is, and waiting does not help: damaged, of a newer schema, not writable."""


# Raised by stored content that has been tampered with.
UNREADABLE_ERRORS = (zlib.error, msgspec.DecodeError)


class DatabaseFileMissing(Exception):
    """The file of the database is no longer where it was."""


class DatabaseFileReplaced(DatabaseFileMissing):
    """Another file is where the file of the database was."""


class DatabaseProblem(NamedTuple):
    """One sentence for whoever runs the server, and whether it stays so until somebody does something."""

    message: str
    permanent: bool = False


NOT_RESPONDING = "The database does not respond; it is tried again every second."
QUEUE_FULL = "The queue of the storage is full; try again in a moment."
STORE_CLOSED = "The store has been closed."
NEWER_SCHEMA = "The database was written by a newer heatbath: update this one, or name another database."
DATABASE_DAMAGED = "The database is damaged: restore a copy, or name another one; it was left as it is."
_NOT_RESPONDING = DatabaseProblem(NOT_RESPONDING)
_DAMAGED = DatabaseProblem(DATABASE_DAMAGED, permanent=True)
_READ_ONLY = DatabaseProblem("The database cannot be written: give this user the right to write it.", permanent=True)
_DISK_FULL = DatabaseProblem("The disk of the database is full: make room; it is tried again every second.")
_LOCKED = DatabaseProblem("Another process keeps the database locked; it is tried again every second.")
_UNREACHABLE = DatabaseProblem("The database cannot be reached; it is tried again every second.")
_FILE_MISSING = DatabaseProblem("The database's file has been moved or deleted: put it back, or restart the server.")
_FILE_REPLACED = DatabaseProblem(
    "The database's file has been moved or deleted, and another one is in its place, which is opened now."
)
_ACCESS_DENIED = DatabaseProblem(
    "The database refuses this user: check name, password and rights in its URL.", permanent=True
)
_WRONG_TABLES = DatabaseProblem(
    "The tables of the database are not as they should be: restore a copy, or name another one.", permanent=True
)
_NO_DATABASE = DatabaseProblem(
    "There is no database of that name on the server: create it, or name another one.", permanent=True
)
_DISK_ERROR = DatabaseProblem("The disk of the database fails to read or write; it is tried again every second.")

_SQLITE_PROBLEMS = {
    sqlite3.SQLITE_ERROR: _WRONG_TABLES,
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: DatabaseProblem(
        "The database's file cannot be opened: check its folder and rights.", permanent=True
    ),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_IOERR: _DISK_ERROR,
}
_POSTGRES_PROBLEMS = {
    "53100": _DISK_FULL,
    "53300": DatabaseProblem("The database takes no more connections; it is tried again every second."),
    "25006": _READ_ONLY,
    "42501": _ACCESS_DENIED,
    "28000": _ACCESS_DENIED,
    "28P01": _ACCESS_DENIED,
    "3D000": _NO_DATABASE,
    "42P01": _WRONG_TABLES,
    "42703": _WRONG_TABLES,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
    "57014": _NOT_RESPONDING,
    "55P03": _NOT_RESPONDING,
}


def classify_db_error(error: BaseException) -> DatabaseProblem:
    """Return what an error of the database means for whoever runs the server."""
    if isinstance(error, DatabaseUnusable):
        return DatabaseProblem(str(error), permanent=True)
    if isinstance(error, DatabaseFileReplaced):
        return _FILE_REPLACED
    if isinstance(error, DatabaseFileMissing):
        return _FILE_MISSING
    if isinstance(error, PoolTimeout):
        return _NOT_RESPONDING
    if isinstance(error, UNREADABLE_ERRORS):
        return _DAMAGED
    cause = error.orig if isinstance(error, DBAPIError) else error
    if cause is error and not isinstance(error, sqlite3.Error):
        kind = type(error).__name__
        return DatabaseProblem(f"Storing fails for an unexpected reason ({kind}); it is tried again every second.")
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return _SQLITE_PROBLEMS.get(-1 if code is None else code & 0xFF, _DISK_ERROR)
    return _POSTGRES_PROBLEMS.get(_sql_state(cause), _UNREACHABLE)


def is_transient(error: BaseException) -> bool:
    """Return whether the same may succeed in a moment: a connection was lost, or a server is restarting."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    return not is_row_error(error) and not classify_db_error(error).permanent


def is_row_error(error: BaseException) -> bool:
    """Return whether the fault lies in what was to be stored, not in the database."""
    if isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            return not isinstance(cause, sqlite3.OperationalError) and not _is_known_code(cause)
        # Classes 22 and 23 of the standard: a value that no column takes, a rule of the table broken.
        return _sql_state(cause)[:2] in ("22", "23")
    return isinstance(error, (StatementError, TypeError, ValueError, OverflowError, RecursionError))


def _is_known_code(cause: sqlite3.Error) -> bool:
    return getattr(cause, "sqlite_errorcode", -1) & 0xFF in _SQLITE_PROBLEMS


def _sql_state(cause: BaseException | None) -> str:
    state = getattr(cause, "sqlstate", None)
    if state:
        return str(state)
    # A refused connection carries no code, only the server's message.
    text = str(cause)
    if "password authentication failed" in text or "no pg_hba.conf entry" in text:
        return "28P01"
    if "does not exist" in text:
        return "28000" if "role" in text else "3D000"
    return ""
