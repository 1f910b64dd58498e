"""The file of an SQLite database and the write-ahead log that belongs to it, by device and inode.

SQLite finds a log by its name alone, and replays it over whatever file has the name of the database: a file that was
put in the place of another would be overwritten by what the other one's log holds.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from pathlib import Path

from heatbath.serve.storage.db_errors import DatabaseFileMissing, DatabaseFileReplaced, DatabaseUnusable

Inode = tuple[int, int]


class DatabaseFiles:
    """The file of a database with its log, and a note beside them of the two that belong together.

    The note is there as long as the log is, so that a process that starts after a killed one can tell as well.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._log = file.with_name(file.name + "-wal")
        self._note = file.with_name(file.name + "-owner")
        self._opened: tuple[Inode, Inode | None] | None = None

    def open(self) -> None:
        """Take the file that is there now; a log that is known to be another file's is set aside first.

        Raises:
            DatabaseUnusable: the log cannot be renamed.
        """
        try:
            self._set_foreign_log_aside()
        except OSError as error:
            raise DatabaseUnusable(
                f"The database's file has been replaced, and the log of the earlier one cannot be renamed "
                f"({error.strerror}): remove the file that ends in -wal, or put the earlier database back."
            ) from None
        inode = _read_inode(self.file)
        self._opened = None if inode is None else (inode, None)

    def validate(self) -> None:
        """Check that the file is the one that was opened.

        Raises:
            DatabaseFileMissing: there is none.
            DatabaseFileReplaced: there is another one, whose name the log has; it is set aside.
        """
        inode = _read_inode(self.file)
        if inode is None:
            raise DatabaseFileMissing
        self.validate_replacement()
        self._take_note()

    def validate_replacement(self) -> None:
        """Raise `DatabaseFileReplaced` if another file is in the place of the one that was opened."""
        inode = _read_inode(self.file)
        if self._opened is not None and inode not in (None, self._opened[0]):
            with contextlib.suppress(OSError):  # `open` tries again, and refuses
                self._set_foreign_log_aside()
            raise DatabaseFileReplaced

    def close(self) -> None:
        """After the last connection: leave no note where there is no log, and no log to a file that is not its own."""
        with contextlib.suppress(OSError):
            if _read_inode(self._log) is None:
                self._note.unlink(missing_ok=True)
            else:
                self._set_foreign_log_aside()

    def _take_note(self) -> None:
        """Write down which log there is now: SQLite makes a new one after the last connection was closed."""
        log = _read_inode(self._log)
        if self._opened is None or log is None or self._opened[1] == log:
            return
        self._opened = self._opened[0], log
        draft = self._note.with_name(f"{self._note.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a note that cannot be written only tells nothing
            draft.write_text(json.dumps({"file": self._opened[0], "log": log}), encoding="utf-8")
            draft.replace(self._note)

    def _read_note(self) -> tuple[Inode, Inode | None] | None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            (file_device, file_inode), (log_device, log_inode) = note["file"], note["log"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (int(file_device), int(file_inode)), (int(log_device), int(log_inode))

    def _set_foreign_log_aside(self) -> None:
        """Rename a log that belongs to a file other than the one that is there: SQLite would replay it."""
        inode, log = _read_inode(self.file), _read_inode(self._log)
        pairs = [pair for pair in (self._opened, self._read_note()) if pair is not None]
        if inode is None or log is None or not any(pair[1] == log and pair[0] != inode for pair in pairs):
            return
        names = (f"{self._log.name}.replaced{number or ''}" for number in itertools.count())
        aside = next(path for path in map(self.file.with_name, names) if not path.exists())
        self._log.rename(aside)
        self._note.unlink(missing_ok=True)
        self.file.with_name(self.file.name + "-shm").unlink(missing_ok=True)
        logging.getLogger(__name__).error(
            "the database's file has been replaced by another one; writes that only the log of the earlier one holds "
            f"are in {aside.name}: to use them, put both back under their names while no server runs"
        )


def _read_inode(file: Path) -> Inode | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
