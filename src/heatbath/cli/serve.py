"""`heatbath serve`: an OpenAI-compatible server with a record of every token and a dashboard."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.errors import MissingExtra

if TYPE_CHECKING:
    from heatbath.serve.settings import Settings, SettingsOrigin

REQUIRED_PACKAGES = [
    "alembic",
    "httptools",
    "msgspec",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 chooses a free one.", show_default="8000")] = None,
    model: Annotated[
        str | None, typer.Option(help="Catalog name, hub id, folder or .gguf file.", show_default="smollm2-135m")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 or bfloat16.", show_default="bfloat16 if the processor is fast at it, else float32"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.", show_default=False)] = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Create an API key, print it, and exit.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address, or the key, as one JSON object.")] = False,
) -> None:
    """Serve a model over the OpenAI API, with records and a dashboard.

    Options override environment variables HEATBATH_SECTION__NAME, which override the settings file. No API key is
    needed on 127.0.0.1; on any other address the server requires at least one. Ctrl-C or SIGTERM finishes running
    requests and exits; a second one exits at once.
    """
    if any(find_spec(part) is None for part in REQUIRED_PACKAGES):
        raise MissingExtra("heatbath serve", "serve")
    if new_key is not None:
        return _print_new_key(new_key, as_json)
    options: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "model": {"name": model, "dtype": dtype},
    }
    raise typer.Exit(_run_server(config, options, as_json))


def _print_new_key(name: str, as_json: bool) -> None:
    from heatbath.serve.http.auth import create_key

    key, lines = create_key(name)
    if as_json:
        typer.echo(json.dumps({"key": key, "toml": lines}))
        return
    typer.echo(f"API key (it is not stored and cannot be shown again):\n\n{key}\n\nSettings that accept it:\n\n{lines}")


def _run_server(config: Path | None, options: dict[str, dict[str, Any]], as_json: bool) -> int:
    from heatbath.serve.server import serve
    from heatbath.serve.services import build_services
    from heatbath.serve.settings import read_settings
    from heatbath.serve.sockets import validate_settings

    flags = {
        part: {name: value for name, value in names.items() if value is not None} for part, names in options.items()
    }
    settings, origin = read_settings(config, {part: names for part, names in flags.items() if names})
    validate_settings(settings)
    return serve(build_services(settings), lambda address: _print_address(address, settings, origin, as_json))


def _print_address(address: str, settings: Settings, origin: SettingsOrigin, as_json: bool) -> None:
    page = f"{address}/" if settings.server.page else None
    if as_json:
        where = {
            "file": origin.file and str(origin.file),
            "environment": origin.environment,
            "flags": origin.flag_names,
        }
        content = {
            "url": address,
            "api": f"{address}/v1",
            "page": page,
            "model": settings.model.name,
            "settings": where,
        }
        print(json.dumps(content), flush=True)
        return
    dashboard = f"dashboard {page}, " if page else ""
    print(f"Serving {settings.model.name}: {dashboard}API {address}/v1, settings from {origin}.", flush=True)
    if sys.stderr.isatty():
        print("Press Ctrl-C to stop.", file=sys.stderr)
