"""`heatbath ledger verify` and `verify-proof`: of a whole log, and of one entry without the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.ledger_options import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    Keys,
    Quorum,
    Url,
    Witnesses,
    open_ledger,
    read_file,
    read_keys,
    read_text,
)
from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.ledger import Ledger
    from heatbath.ledger.signed_note import VerifierKey
    from heatbath.ledger.tile_storage import TileStorage
    from heatbath.ledger.verification import VerificationReport


def verify(
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    key: Keys = None,
    witness: Witnesses = None,
    quorum: Quorum = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint that was kept elsewhere; repeatable.", show_default=False),
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option(help="Certificates of timestamp authorities, PEM, to verify timestamps.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a whole log: entries, tiles, signatures, and the database if it is there.

    The folder may be a ledger, or a copy of its published files, which needs --key.
    """
    from heatbath.ledger.tile_storage import TileFolder

    keys, witnesses = read_keys(key), read_keys(witness)
    seen = [read_text(path) for path in checkpoint or ()]
    required = len(witnesses) if quorum is None else quorum
    if url is None and (ledger / "checkpoint").is_file():
        if not keys:
            raise BadInput("a copy of a log has no key beside it: give the public key of the log with --key.")
        report = _verify(TileFolder(ledger), keys, (witnesses, required), seen, None)
    else:
        with open_ledger(ledger, url) as opened:
            trusted = keys or list(opened.verifier_keys)
            report = _verify(opened.storage, trusted, (witnesses, required), seen, opened)
    times = _verify_timestamps(ledger, report, authority) if authority else []
    _print_report(report, times, is_key_given=bool(keys), as_json=as_json)
    if not report.is_intact:
        raise typer.Exit(1)


def _verify(
    storage: TileStorage,
    keys: Sequence[VerifierKey],
    witnesses: tuple[Sequence[VerifierKey], int],
    seen: Sequence[str],
    ledger: Ledger | None,
) -> VerificationReport:
    from heatbath.ledger.database_comparison import DatabaseComparison
    from heatbath.ledger.verification import verify_log

    comparison = None if ledger is None else DatabaseComparison(ledger.queue)
    with show_progress("entries") as progress:
        report = verify_log(
            storage,
            keys,
            witnesses=witnesses[0],
            quorum=witnesses[1],
            seen=seen,
            observe=None if comparison is None else comparison.observe,
            progress=progress,
        )
    if comparison is not None and report.is_intact:
        report.findings += comparison.finish()
    return report


def _verify_timestamps(folder: Path, report: VerificationReport, authority: Path) -> list[tuple[int, str]]:
    """Return sizes and times of the timestamps that verify; others are findings."""
    from heatbath.ledger.entry import format_time
    from heatbath.ledger.timestamps import TIMESTAMP_FOLDER, TimestampFailed, verify_timestamp

    roots, times = read_file(authority), []
    if report.checkpoint is None or not report.is_intact:
        return []
    for path in sorted((folder / TIMESTAMP_FOLDER).glob("*.tsr")):
        try:
            size = int(path.stem)
            times.append(
                (size, format_time(verify_timestamp(report.compute_checkpoint(size), path.read_bytes(), roots)))
            )
        except (ValueError, TimestampFailed) as error:
            report.add(f"{TIMESTAMP_FOLDER}/{path.name}", str(error))
    return times


def _print_report(
    report: VerificationReport, times: Sequence[tuple[int, str]], *, is_key_given: bool, as_json: bool
) -> None:
    found = report.checkpoint
    if as_json:
        row: dict[str, Any] = {
            "intact": report.is_intact,
            "origin": None if found is None else found.checkpoint.origin,
            "size": None if found is None else found.checkpoint.size,
            "entries": report.entries,
            "checkpoints_seen": report.seen,
            "witnesses": [] if found is None else [{"name": name, "time": time} for name, time in found.witnesses],
            "timestamps": [{"size": size, "time": time} for size, time in times],
            "key_given": is_key_given,
            "unpublished": report.unpublished,
            "findings": [{"path": each.path, "message": each.message} for each in report.findings],
        }
        typer.echo(json.dumps(row))
        return
    for each in report.findings:
        typer.echo(str(each))
    if not report.is_intact or found is None:
        typer.echo(f"DAMAGED: {len(report.findings)} findings")
        return
    parts = [f"intact: {report.entries:,} entries of {found.checkpoint.origin}"]
    parts += [f"continues {report.seen} checkpoints seen elsewhere"] if report.seen else []
    parts += [f"cosigned by {', '.join(name for name, _ in found.witnesses)}"] if found.witnesses else []
    parts += [f"{size:,} entries existed at {time}" for size, time in times]
    typer.echo("; ".join(parts))
    if not is_key_given:
        typer.echo(
            "the key is the one in the folder: give --key, from elsewhere, to find a log that was made anew", err=True
        )


def verify_proof(
    file: Annotated[Path, typer.Argument(help="A .tlog-proof file.")],
    *,
    key: Keys = None,
    witness: Witnesses = None,
    quorum: Quorum = None,
    entry: Annotated[
        Path | None, typer.Option(help="Bytes of the entry.", show_default="those that the proof carries")
    ] = None,
    answer: Annotated[Path | None, typer.Option(help="Copy of the answer.", show_default=False)] = None,
    content: Annotated[
        list[str] | None, typer.Option(help="Copy of another content, NAME=FILE; repeatable.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify that an entry is in a log, and that a copy of its answer is the one that was logged.

    Neither a server nor the log is needed.
    """
    from heatbath.ledger import parse_entry, parse_proof
    from heatbath.ledger.merkle import hash_leaf
    from heatbath.ledger.portable_proof import read_entry_body, verify_content

    keys, witnesses = read_keys(key), read_keys(witness)
    if not keys:
        raise BadInput("give the public key of the log with --key.")
    proof = parse_proof(read_text(file))
    copies = _read_copies(answer, content)
    body = read_entry_body(proof) if entry is None else read_file(entry)
    required = len(witnesses) if quorum is None else quorum
    found = proof.verify(hash_leaf(body), keys, witnesses, quorum=required)
    parsed = parse_entry(body)
    for name, copy in copies.items():
        verify_content(proof, parsed, name, copy)
    row = {
        "verified": True,
        "origin": found.checkpoint.origin,
        "number": proof.index,
        "size": found.checkpoint.size,
        "witnesses": [{"name": name, "time": time} for name, time in found.witnesses],
        "contents": sorted(copies),
        "kind": parsed.kind,
        "time": parsed.time,
        "data": parsed.data,
    }
    if as_json:
        typer.echo(json.dumps(row))
        return
    typer.echo(f"verified: entry {proof.index} of {found.checkpoint.size:,} in {found.checkpoint.origin}")
    typer.echo(f"{parsed.kind} of {parsed.time}: {json.dumps(parsed.data, ensure_ascii=False)}")
    for name in copies:
        typer.echo(f"the {name} is the one that was logged")
    if found.witnesses:
        typer.echo(f"cosigned by {', '.join(name for name, _ in found.witnesses)}")


def _read_copies(answer: Path | None, content: Sequence[str] | None) -> dict[str, bytes]:
    copies = {} if answer is None else {"answer": read_file(answer)}
    for each in content or ():
        name, separator, path = each.partition("=")
        if not name or not separator:
            raise BadInput(f"expected NAME=FILE for --content, got {each[:60]!r}.")
        copies[name] = read_file(Path(path))
    return copies
