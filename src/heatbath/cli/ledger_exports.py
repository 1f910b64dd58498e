"""`heatbath ledger export` and `audit`: copies of a log, and what was known when something went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatbath.cli.ledger_options import DEFAULT_FOLDER, AsJson, Folder, Keys, Url, open_ledger, read_keys
from heatbath.cli.output_files import Force, validate_output_file
from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.ledger.audit import AuditFilter, AuditRow
    from heatbath.ledger.checkpoint import VerifiedCheckpoint
    from heatbath.ledger.tile_storage import TileStorage

_FORMATS = ("tiles", "chain-of-consciousness")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z?)?")


def export(
    out: Annotated[Path, typer.Argument(help="Folder for tiles, file for another format.")],
    *,
    format_name: Annotated[str, typer.Option("--format", help=f"{' or '.join(_FORMATS)}.")] = "tiles",
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export the published log as static files that any web server can serve, or in another format."""
    from heatbath.ledger.export import export_chain, export_tiles

    if format_name not in _FORMATS:
        raise BadInput(f"`--format` must be {' or '.join(_FORMATS)}, got {format_name[:60]!r}.")
    with open_ledger(ledger, url) as opened, show_progress("files") as progress:
        found = _require_checkpoint(opened.checkpoint())
        if format_name == "tiles":
            count = export_tiles(opened.storage, found, out, progress)
        elif out.exists() and not force:
            raise BadInput(f"{out} exists: add --force to overwrite it, or choose another file.")
        else:
            count = export_chain(opened.storage, found, out, progress)
    row = {"format": format_name, "path": str(out), "entries": found.checkpoint.size, "count": count}
    unit = "files" if format_name == "tiles" else "lines"
    typer.echo(json.dumps(row) if as_json else f"{found.checkpoint.size:,} entries in {count:,} {unit}: {out}")


def audit(
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    key: Keys = None,
    kind: Annotated[str | None, typer.Option(help="Kind of the entries.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.", show_default=False)] = None,
    rule: Annotated[str | None, typer.Option(help="A rule that the gate applied.", show_default=False)] = None,
    phase: Annotated[str | None, typer.Option(help="Flag of the phase.", show_default=False)] = None,
    below: Annotated[float | None, typer.Option(help="Confidence below this.", show_default=False)] = None,
    above: Annotated[float | None, typer.Option(help="Confidence of this at least.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(help="From this time on, such as 2026-05-01.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page.", show_default=False)] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find entries, and show what was known when each was made and what became known later.

    The folder may be a ledger, or a copy of its published files, which needs --key.
    """
    from heatbath.ledger.audit import AuditFilter

    for each in (since, until):
        if each is not None and not _TIME.fullmatch(each):
            raise BadInput(f"expected a time such as 2026-05-01 or 2026-05-01T12:30:00Z, got {each[:40]!r}.")
    validate_output_file(html, "HTML", force=force)
    chosen = AuditFilter(kind, model, rule, phase, below, above, since, until)
    rows, found = _find_rows(ledger, url, key, chosen)
    if html is not None:
        _write_page(html, rows, found, chosen)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row.as_json(), ensure_ascii=False))
    elif html is not None:
        typer.echo(f"{len(rows)} of {found.checkpoint.size:,} entries: {html}")
    else:
        _print_table(rows, found.checkpoint.size)


def _find_rows(
    folder: Path, url: str | None, key: list[str] | None, chosen: AuditFilter
) -> tuple[list[AuditRow], VerifiedCheckpoint]:
    from heatbath.ledger import open_checkpoint
    from heatbath.ledger.tile_storage import CHECKPOINT, TileFolder

    keys = read_keys(key)
    if url is None and (folder / CHECKPOINT).is_file():
        if not keys:
            raise BadInput("a copy of a log has no key beside it: give the public key of the log with --key.")
        storage = TileFolder(folder)
        found = open_checkpoint((storage.read(CHECKPOINT) or b"").decode(errors="replace"), keys)
        return _audit(storage, found, chosen), found
    with open_ledger(folder, url) as opened:
        published = opened.checkpoint()
        if published is not None and keys:
            published = open_checkpoint(str(published.note), keys)
        found = _require_checkpoint(published)
        return _audit(opened.storage, found, chosen), found


def _audit(storage: TileStorage, found: VerifiedCheckpoint, chosen: AuditFilter) -> list[AuditRow]:
    from heatbath.ledger.audit import audit_entries
    from heatbath.ledger.verification import read_all_entries

    size = found.checkpoint.size

    def advance() -> Iterator[tuple[int, bytes]]:
        for number, body in read_all_entries(storage, size):
            if not number % 256:
                progress(number, size)
            yield number, body

    with show_progress("entries") as progress:
        return audit_entries(advance(), chosen)


def _require_checkpoint(found: VerifiedCheckpoint | None) -> VerifiedCheckpoint:
    if found is None:
        raise BadInput("nothing is published in this ledger yet: append an entry first.")
    return found


def _write_page(path: Path, rows: Sequence[AuditRow], found: VerifiedCheckpoint, chosen: AuditFilter) -> None:
    from dataclasses import asdict

    from heatbath.ledger.audit_page import render_audit_page
    from heatbath.record.output_files import atomic_write

    conditions = ", ".join(f"{name} {value}" for name, value in asdict(chosen).items() if value is not None)
    with atomic_write(path) as temporary:
        temporary.write_text(render_audit_page(rows, found, conditions or "no conditions"), encoding="utf-8")


def _print_table(rows: Sequence[AuditRow], size: int) -> None:
    from heatbath.ledger.audit import AUDIT_COLUMNS
    from heatbath.pages.html_parts import replace_control_characters

    cells = [list(AUDIT_COLUMNS), *([replace_control_characters(cell) for cell in row.cells()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    typer.echo(f"{len(rows)} of {size:,} entries")
