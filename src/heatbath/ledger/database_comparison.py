"""The comparison of a ledger's database with its entries: ids by number, and contents by their keyed digests."""

from __future__ import annotations

from collections.abc import Iterator

from heatbath.errors import BadInput
from heatbath.ledger.entry import Entry
from heatbath.ledger.entry_queue import EntryQueue
from heatbath.ledger.verification import Finding, VerificationReport

DATABASE = "the database"

_ENTRIES_AT_ONCE = 256


class DatabaseComparison:
    """Compares the entries of a log, which are given in their order, with its database.

    Memory grows with the number of erased contents only.
    """

    def __init__(self, queue: EntryQueue) -> None:
        self._queue, self._report = queue, VerificationReport()
        self._ids: Iterator[tuple[int, str]] = queue.list_ids()
        self._digests: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        self._erased: set[str] = set()

    def observe(self, number: int, entry: Entry) -> None:
        """Compare one entry."""
        found = next(self._ids, (-1, ""))
        if found != (number, entry.id):
            self._report.add(
                DATABASE, f"entry {number} has the id {entry.id}, and the database has {found[1] or 'none'}."
            )
        if entry.kind == "erasure" and isinstance(entry.data.get("digests"), list):
            self._erased.update(map(str, entry.data["digests"]))
        self._digests.update(dict.fromkeys(entry.content.values(), number))
        if len(self._digests) >= _ENTRIES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        try:
            kept = self._queue.find_digests(list(self._digests))
        except ValueError:
            kept = set()
        self._missing |= {digest: number for digest, number in self._digests.items() if digest not in kept}
        self._digests = {}

    def finish(self) -> list[Finding]:
        """Compare the contents with their digests, and return what is wrong.

        A content that is gone must have an entry that says so.
        """
        self._flush()
        for digest, number in self._missing.items():
            if digest not in self._erased:
                self._report.add(DATABASE, f"content {digest[:16]}… of entry {number} is gone and no entry says so.")
        for digest, content in self._queue.list_contents():
            try:
                content.validate(digest)
            except BadInput as error:
                self._report.add(DATABASE, str(error))
        return self._report.findings
