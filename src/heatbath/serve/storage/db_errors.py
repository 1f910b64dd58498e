"""What is wrong with a database, in one sentence that tells neither path, host nor password."""

from __future__ import annotations

import sqlite3
import zlib

import msgspec
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from heatbath.errors import HeatbathError


class DatabaseUnusable(HeatbathError):
    """The database cannot be used as it is, and waiting does not help: damaged, of a newer schema, not writable."""


# What a content raises that has been tampered with.
UNREADABLE_ERRORS = (zlib.error, msgspec.DecodeError)


class DatabaseFileMissing(Exception):
    """The file of the database is no longer where it was."""


NOT_RESPONDING = "The database does not answer; it is tried again every second."
QUEUE_FULL = "More answers wait to be stored than there is room for; try again in a moment."
STORE_CLOSED = "The store has been closed."
NEWER_SCHEMA = "The database was written by a newer heatbath: update this one, or name another database."
DATABASE_DAMAGED = "The database is damaged: restore a copy, or name another one; it was left as it is."
_READ_ONLY = "The database cannot be written: give this user the right to write it."
_DISK_FULL = "The disk of the database is full: make room; it is tried again every second."
_ACCESS_DENIED = "The database refuses this user: check name, password and rights in its URL."
_WRONG_TABLES = "The tables of the database are not as they should be: restore a copy, or name another one."
_NO_DATABASE = "There is no database of that name on the server: create it, or name another one."

_SQLITE_MESSAGES = {
    sqlite3.SQLITE_ERROR: _WRONG_TABLES,
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "The database's file cannot be opened: check its folder and rights.",
    sqlite3.SQLITE_CORRUPT: DATABASE_DAMAGED,
    sqlite3.SQLITE_NOTADB: DATABASE_DAMAGED,
    sqlite3.SQLITE_BUSY: "Another process keeps the database locked; it is tried again every second.",
    sqlite3.SQLITE_LOCKED: "Another process keeps the database locked; it is tried again every second.",
    sqlite3.SQLITE_IOERR: "The disk of the database fails to read or write; it is tried again every second.",
}
_POSTGRES_MESSAGES = {
    "53100": _DISK_FULL,
    "53300": "The database takes no more connections; it is tried again every second.",
    "25006": _READ_ONLY,
    "42501": _ACCESS_DENIED,
    "28000": _ACCESS_DENIED,
    "28P01": _ACCESS_DENIED,
    "3D000": _NO_DATABASE,
    "42P01": _WRONG_TABLES,
    "42703": _WRONG_TABLES,
    "XX001": DATABASE_DAMAGED,
    "XX002": DATABASE_DAMAGED,
    "57014": NOT_RESPONDING,
    "55P03": NOT_RESPONDING,
}
_PERMANENT = {
    _READ_ONLY,
    _ACCESS_DENIED,
    _NO_DATABASE,
    _WRONG_TABLES,
    DATABASE_DAMAGED,
    NEWER_SCHEMA,
    _SQLITE_MESSAGES[sqlite3.SQLITE_CANTOPEN],
}


def describe_db_error(error: BaseException) -> str:
    """What `error` means for whoever runs the server."""
    if isinstance(error, DatabaseUnusable):
        return str(error)
    if isinstance(error, DatabaseFileMissing):
        return "The database's file has been moved or deleted: put it back, or restart the server."
    if isinstance(error, PoolTimeout):
        return NOT_RESPONDING
    if isinstance(error, UNREADABLE_ERRORS):
        return DATABASE_DAMAGED
    cause = error.orig if isinstance(error, DBAPIError) else error
    if cause is error and not isinstance(error, sqlite3.Error):
        return (
            f"Storing fails for a reason that is not foreseen ({type(error).__name__}); it is tried again every second."
        )
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return _SQLITE_MESSAGES.get(-1 if code is None else code & 0xFF, _SQLITE_MESSAGES[sqlite3.SQLITE_IOERR])
    return _POSTGRES_MESSAGES.get(_sql_state(cause), "The database cannot be reached; it is tried again every second.")


def is_permanent(error: BaseException) -> bool:
    """Whether it stays so until somebody does something."""
    return describe_db_error(error) in _PERMANENT


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed in a moment: a connection was lost, or a server is restarting."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    return not is_row_error(error) and not is_permanent(error)


def is_row_error(error: BaseException) -> bool:
    """Whether the fault lies in what was to be stored, not in the database."""
    if isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            return not isinstance(cause, sqlite3.OperationalError) and not _is_known_code(cause)
        # Classes 22 and 23 of the standard: a value that no column takes, a rule of the table broken.
        return _sql_state(cause)[:2] in ("22", "23")
    return isinstance(error, (StatementError, TypeError, ValueError, OverflowError, RecursionError))


def _is_known_code(cause: sqlite3.Error) -> bool:
    return getattr(cause, "sqlite_errorcode", -1) & 0xFF in _SQLITE_MESSAGES


def _sql_state(cause: BaseException | None) -> str:
    state = getattr(cause, "sqlstate", None)
    if state:
        return str(state)
    # A refused connection carries no code, only the server's words.
    words = str(cause)
    if "password authentication failed" in words or "no pg_hba.conf entry" in words:
        return "28P01"
    if "does not exist" in words:
        return "28000" if "role" in words else "3D000"
    return ""
