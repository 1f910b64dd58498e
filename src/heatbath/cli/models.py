"""`heatbath models`: list, pull, path and remove."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from heatbath.models.hub import catalog

app = typer.Typer(help="List, download, locate and remove models.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="Name from `heatbath models list`.")]


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the models of the catalog and which of them are downloaded."""
    rows = [_build_row(entry) for entry in catalog.CATALOG.values()]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "pulled" if row["path"] else f"{row['megabytes']} MB"
        typer.echo(f"{row['name']:<{width}}  {state:>7}  {row['licence']:<18}  {row['about']}")


@app.command()
def pull(
    name: Name = catalog.DEFAULT_MODEL,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of the model without a prompt.")
    ] = False,
) -> None:
    """Download, verify and convert a model, and print its folder."""
    ask = _confirm_terms if sys.stdin.isatty() else None
    typer.echo(str(catalog.pull(name, accept_terms=accept_terms, confirm=ask)))


@app.command()
def path(name: Name = catalog.DEFAULT_MODEL) -> None:
    """Print the folder of a downloaded model."""
    typer.echo(str(catalog.resolve_folder(name)))


@app.command()
def remove(name: Name) -> None:
    """Delete a downloaded model from the cache."""
    typer.echo(f"removed {catalog.remove(name)}")


def _confirm_terms(terms: str) -> bool:
    typer.echo(terms, err=True)
    return typer.confirm("Do you accept these terms?", err=True)


def _build_row(entry: catalog.CatalogEntry) -> dict[str, Any]:
    folder = catalog.find_folder(entry.name)
    return {
        "name": entry.name,
        "about": entry.description,
        "licence": entry.licence,
        "megabytes": entry.megabytes,
        "path": None if folder is None else str(folder),
    }
