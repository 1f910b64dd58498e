"""`heatbath ledger`: a record of decisions that nobody can rewrite unnoticed."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli import ledger_checks, ledger_exports
from heatbath.cli.ledger_options import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    LedgerGroup,
    Target,
    Url,
    open_ledger,
    report_witnesses,
    resolve_entry,
)
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.ledger import Entry, Ledger, Receipt
    from heatbath.ledger.content import Content

app = typer.Typer(
    cls=LedgerGroup,
    help="Record decisions in a Merkle log: append, prove, verify, audit.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(ledger_checks.verify)
app.command("verify-proof")(ledger_checks.verify_proof)
app.command()(ledger_exports.export)
app.command()(ledger_exports.audit)

_FIELDS = {"data", "kind", "content", "id"}
_ENTRIES_AT_ONCE = 1024


@app.command()
def create(
    origin: Annotated[str, typer.Argument(help="Name of the log, such as example.com/agent.")],
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="A witness to ask, its public key, a space and its address; repeatable.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a ledger with a new key, and print its public key."""
    from heatbath.ledger import Ledger
    from heatbath.ledger.key_file import KEY_FILE
    from heatbath.ledger.witness_client import WITNESS_FILE, parse_witness

    witnesses = [parse_witness(line) for line in witness or ()]
    if (ledger / KEY_FILE).exists():
        raise BadInput(f"there is a ledger in {ledger}: choose another folder with --ledger.")
    with Ledger(ledger, origin, url=url) as created:
        key = str(created.verifier_keys[0])
    if witnesses:
        (ledger / WITNESS_FILE).write_text("".join(f"{each}\n" for each in witnesses), encoding="utf-8")
    typer.echo(json.dumps({"origin": origin, "folder": str(ledger), "key": key}) if as_json else key)


@app.command()
def append(
    file: Annotated[
        Path | None, typer.Argument(help='JSON lines: "data", and "kind", "content", "id".', show_default="stdin")
    ] = None,
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Append entries from JSON lines, publish them, and print their numbers and ids.

    All lines are checked before the first is written. A line whose "id" the ledger has is not appended again.
    """
    with _open_lines(file) as lines:
        for _ in _parse_lines(lines):
            pass
        lines.seek(0)
        with open_ledger(ledger, url) as opened:
            for receipt in _append_all(opened, _parse_lines(lines)):
                row = {"number": receipt.number, "id": receipt.id}
                typer.echo(json.dumps(row) if as_json else f"{receipt.number}  {receipt.id}")
            opened.publish()
            report_witnesses(opened)


def _open_lines(file: Path | None) -> IO[bytes]:
    """Return the lines as a file that can be read twice."""
    if file is not None:
        try:
            return file.open("rb")
        except OSError as error:
            raise BadInput(f"{file} cannot be read ({error.strerror}).") from None
    copy = tempfile.TemporaryFile()  # noqa: SIM115, closed by the caller
    for line in sys.stdin.buffer:
        copy.write(line)
    copy.seek(0)
    return copy


def _parse_lines(lines: Iterable[bytes]) -> Iterator[tuple[Entry, list[Content]]]:
    """Yield the entries of JSON lines. Raises `BadInput` with the number of a line that is none."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _parse_line(line)
            except BadInput as error:
                raise BadInput(f"line {number}: {error}") from None


def _parse_line(line: bytes) -> tuple[Entry, list[Content]]:
    from heatbath.ledger import build_entry

    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("this is not JSON.") from None
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict) or not set(value) <= _FIELDS:
        raise BadInput('expected an object with "data", an object, and "kind", "content" and "id" at most.')
    content = value.get("content", {})
    if not isinstance(content, dict) or not all(isinstance(each, str) for each in content.values()):
        raise BadInput('"content" must be an object of texts.')
    if not isinstance(value.get("id", ""), str):
        raise BadInput('"id" must be a text of 32 hex digits.')
    try:
        entry, contents = build_entry(
            value["data"], kind=value.get("kind", "event"), content=content, entry_id=value.get("id")
        )
        entry.encode()
    except (UnicodeEncodeError, TypeError):
        raise BadInput("a text has a lone surrogate, which UTF-8 does not have, or `kind` is no text.") from None
    return entry, contents


def _append_all(ledger: Ledger, entries: Iterator[tuple[Entry, list[Content]]]) -> Iterator[Receipt]:
    batch: list[Any] = []
    for each in entries:
        batch.append(each)
        if len(batch) == _ENTRIES_AT_ONCE:
            yield from ledger.append_many(batch)
            batch = []
    yield from ledger.append_many(batch)


@app.command()
def show(
    target: Target,
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    content: Annotated[bool, typer.Option("--content", help="Print the contents too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print an entry and whether it is published."""
    with open_ledger(ledger, url) as opened:
        number = resolve_entry(opened, target)
        entry, state = opened.read_entry(number), opened.entry_state(number)
        contents = opened.read_content(entry)
    texts = {name: None if body is None else body.decode(errors="replace") for name, body in contents.items()}
    head = {"number": number, "state": state, "id": entry.id, "kind": entry.kind, "time": entry.time}
    if as_json:
        row = {**head, "data": entry.data, "digests": entry.content, **({"content": texts} if content else {})}
        typer.echo(json.dumps(row, ensure_ascii=False))
        return
    typer.echo(f"entry {number}, {state}: {entry.kind} {entry.id} of {entry.time}")
    typer.echo(json.dumps(entry.data, indent=2, ensure_ascii=False))
    for name, digest in entry.content.items():
        typer.echo(f"content {name}: {digest}{' (erased)' if texts[name] is None else ''}")
        if content and texts[name] is not None:
            typer.echo(texts[name])


@app.command()
def prove(
    target: Target,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the proof.", show_default="NUMBER.tlog-proof")
    ] = None,
    reveal: Annotated[
        list[str] | None,
        typer.Option(help="A content that the proof has the key of; repeatable.", show_default="answer"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that an entry is in the log, which anybody can verify without the log."""
    from heatbath.ledger.portable_proof import REVEALED, build_portable_proof
    from heatbath.record.output_files import atomic_write

    with open_ledger(ledger, url) as opened:
        number = resolve_entry(opened, target)
        proof = build_portable_proof(opened, number, reveal or REVEALED)
    path = out or Path(f"{number}.tlog-proof")
    if path.exists() and not force:
        raise BadInput(f"{path} exists: add --force to overwrite it, or choose another file with -o.")
    with atomic_write(path) as temporary:
        temporary.write_text(str(proof), encoding="utf-8", newline="")
    typer.echo(json.dumps({"number": number, "file": str(path)}) if as_json else str(path))


@app.command()
def erase(
    target: Target,
    *,
    reason: Annotated[str, typer.Option(help="Reason, which the log keeps.")],
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Erase the contents of an entry; the entry, its proofs, and an entry about the erasure stay."""
    with open_ledger(ledger, url) as opened:
        number = resolve_entry(opened, target)
        receipt = opened.erase(number, reason)
        opened.publish()
        report_witnesses(opened)
    row = {"erased": number, "number": receipt.number, "id": receipt.id}
    typer.echo(json.dumps(row) if as_json else f"erased the contents of entry {number}; entry {receipt.number} says so")


@app.command()
def rotate(
    *,
    retire: Annotated[bool, typer.Option("--retire", help="Remove the old key.")] = False,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a key, which signs beside the old one until that is retired, and print its public key."""
    from heatbath.ledger.rotation import add_key, retire_key

    with open_ledger(ledger, url) as opened:
        changed = retire_key(opened) if retire else add_key(opened)
        report_witnesses(opened)
        keys = [str(key) for key in opened.verifier_keys]
    if as_json:
        typer.echo(json.dumps({"retired" if retire else "added": str(changed), "keys": keys}))
    else:
        typer.echo(f"retired {changed}" if retire else str(changed))


@app.command()
def timestamp(
    authority: Annotated[str, typer.Argument(metavar="URL", help="Address of an RFC 3161 timestamp authority.")],
    *,
    ledger: Folder = DEFAULT_FOLDER,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have an authority state that the last checkpoint exists, and keep its statement."""
    from heatbath.ledger.timestamps import request_timestamp, store_timestamp

    with open_ledger(ledger, url) as opened:
        found = opened.publish().checkpoint
    path = store_timestamp(ledger, found.size, request_timestamp(found, authority))
    typer.echo(json.dumps({"size": found.size, "file": str(path)}) if as_json else str(path))
