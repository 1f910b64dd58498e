"""Options that the commands of `heatbath ledger` share, the opening of a ledger, and the exit code of a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from heatbath.errors import BadInput, HeatbathError

if TYPE_CHECKING:
    from heatbath.ledger import Ledger
    from heatbath.ledger.signed_note import VerifierKey

Folder = Annotated[Path, typer.Option("--ledger", help="Folder of the ledger.")]
Url = Annotated[str | None, typer.Option(help="PostgreSQL database that several hosts share.", show_default="a file")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Target = Annotated[str, typer.Argument(metavar="NUMBER|ID", help="Number or id of an entry.")]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", help="Public key of the log, or a file of such; repeatable.", show_default=False),
]
Witnesses = Annotated[
    list[str] | None,
    typer.Option("--witness", help="Public key of a witness, or a file of such; repeatable.", show_default=False),
]
Quorum = Annotated[
    int | None, typer.Option(min=0, help="Witnesses that must have cosigned.", show_default="every given one")
]

DEFAULT_FOLDER = Path("ledger")


class LedgerRefusal(HeatbathError):
    """An entry, a proof or a log that is refused; exit code 1, since it is what was asked about that is wrong."""


class LedgerGroup(TyperGroup):
    """The command group, which exits with code 1 for bad input."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BadInput as error:
            raise LedgerRefusal(str(error)) from error


def open_ledger(folder: Path, url: str | None) -> Ledger:
    """Open a ledger that is there. Raises `BadInput` if there is none."""
    from heatbath.ledger import Ledger

    return Ledger(folder, url=url)


def resolve_entry(ledger: Ledger, target: str) -> int:
    """Return the number of an entry from its number or id. Raises `BadInput` if there is none."""
    if target.isascii() and target.isdecimal() and len(target) < 20:
        ledger.entry_state(int(target))
        return int(target)
    number = ledger.find_number(target)
    if number is None:
        raise BadInput(
            f"there is no entry {target[:60]!r} in this ledger: give its number, or its id of 32 hex digits."
        )
    return number


def read_keys(given: list[str] | None) -> list[VerifierKey]:
    """Return public keys, each given as itself or as a file of keys, one a line.

    Raises:
        BadInput: a key that is malformed, or a file that is not there.
    """
    from heatbath.ledger.signed_note import parse_verifier_key

    lines: list[str] = []
    for each in given or ():
        lines += read_text(Path(each)).splitlines() if "+" not in each or Path(each).is_file() else [each]
    return [parse_verifier_key(line) for line in lines if line.strip()]


def read_text(path: Path) -> str:
    """Return the text of a file. Raises `BadInput` if it cannot be read or is not UTF-8."""
    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not a text file in UTF-8.") from None


def read_file(path: Path) -> bytes:
    """Return the content of a file. Raises `BadInput` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}).") from None


def report_witnesses(ledger: Ledger) -> None:
    """Print on stderr which witnesses did not cosign."""
    for problem in ledger.witness_problems:
        typer.echo(f"heatbath: {problem}", err=True)
