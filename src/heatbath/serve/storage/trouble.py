"""What is wrong with a database, in one sentence that tells neither path, host nor password."""

from __future__ import annotations

import sqlite3
import zlib

import msgspec
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from heatbath.errors import HeatbathError


class Unusable(HeatbathError):
    """The database cannot be used as it is, and waiting does not help: damaged, of a newer schema, not writable."""


# What a content raises that has been tampered with.
UNREADABLE = (zlib.error, msgspec.DecodeError)


class Vanished(Exception):
    """The file of the database is no longer where it was."""


SILENT = "The database does not answer; it is tried again every second."
FULL_QUEUE = "More answers wait to be stored than there is room for; try again in a moment."
CLOSED = "The store has been closed."
NEWER = "The database was written by a newer heatbath: update this one, or name another database."
DAMAGED = "The database is damaged: restore a copy, or name another one; it was left as it is."
_READ_ONLY = "The database cannot be written: give this user the right to write it."
_FULL = "The disk of the database is full: make room; it is tried again every second."
_REFUSED = "The database refuses this user: check name, password and rights in its URL."
_TABLES = "The tables of the database are not as they should be: restore a copy, or name another one."
_ABSENT = "There is no database of that name on the server: create it, or name another one."

_SQLITE = {
    sqlite3.SQLITE_ERROR: _TABLES,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "The database's file cannot be opened: check its folder and rights.",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_BUSY: "Another process keeps the database locked; it is tried again every second.",
    sqlite3.SQLITE_LOCKED: "Another process keeps the database locked; it is tried again every second.",
    sqlite3.SQLITE_IOERR: "The disk of the database fails to read or write; it is tried again every second.",
}
_POSTGRES = {
    "53100": _FULL,
    "53300": "The database takes no more connections; it is tried again every second.",
    "25006": _READ_ONLY,
    "42501": _REFUSED,
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "3D000": _ABSENT,
    "42P01": _TABLES,
    "42703": _TABLES,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
    "57014": SILENT,
    "55P03": SILENT,
}
_LASTING = {_READ_ONLY, _REFUSED, _ABSENT, _TABLES, DAMAGED, NEWER, _SQLITE[sqlite3.SQLITE_CANTOPEN]}


def sentence(error: BaseException) -> str:
    """What `error` means for whoever runs the server."""
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, Vanished):
        return "The database's file has been moved or deleted: put it back, or restart the server."
    if isinstance(error, PoolTimeout):
        return SILENT
    if isinstance(error, UNREADABLE):
        return DAMAGED
    cause = error.orig if isinstance(error, DBAPIError) else error
    if cause is error and not isinstance(error, sqlite3.Error):
        return (
            f"Storing fails for a reason that is not foreseen ({type(error).__name__}); it is tried again every second."
        )
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return _SQLITE.get(-1 if code is None else code & 0xFF, _SQLITE[sqlite3.SQLITE_IOERR])
    return _POSTGRES.get(_state(cause), "The database cannot be reached; it is tried again every second.")


def lasting(error: BaseException) -> bool:
    """Whether it stays so until somebody does something."""
    return sentence(error) in _LASTING


def passing(error: BaseException) -> bool:
    """Whether the same may succeed in a moment: a connection was lost, or a server is restarting."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    return not of_the_row(error) and not lasting(error)


def of_the_row(error: BaseException) -> bool:
    """Whether the fault lies in what was to be stored, not in the database."""
    if isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            return not isinstance(cause, sqlite3.OperationalError) and not _known(cause)
        # Classes 22 and 23 of the standard: a value that no column takes, a rule of the table broken.
        return _state(cause)[:2] in ("22", "23")
    return isinstance(error, (StatementError, TypeError, ValueError, OverflowError, RecursionError))


def _known(cause: sqlite3.Error) -> bool:
    return getattr(cause, "sqlite_errorcode", -1) & 0xFF in _SQLITE


def _state(cause: BaseException | None) -> str:
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
