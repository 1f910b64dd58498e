"""Output and errors of `heatbath models`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from heatbath.cli.models import app
from heatbath.errors import BadInput
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hub import catalog, model_store
from heatbath.models.hub.checksums import write_checksums

RUN = CliRunner()


def test_list_shows_pulled_models() -> None:
    assert "smollm2-135m    93 MB" in RUN.invoke(app, ["list"]).output
    rows = [json.loads(line) for line in RUN.invoke(app, ["list", "--json"]).output.splitlines()]
    assert [row["name"] for row in rows] == list(catalog.CATALOG)
    assert rows[0]["path"] is None


def test_path_and_remove_of_a_pulled_model() -> None:
    folder = model_store.models_folder() / "smollm2-135m"
    folder.mkdir(parents=True)
    ModelMetadata().save(folder)
    write_checksums(folder)
    assert RUN.invoke(app, ["path"]).output.strip() == str(folder)
    assert RUN.invoke(app, ["pull"]).output.strip() == str(folder)
    assert RUN.invoke(app, ["remove", "smollm2-135m"]).exit_code == 0
    assert not folder.exists()


def test_errors_are_bad_input() -> None:
    for command in (["path"], ["remove", "smollm2-135m"], ["pull", "gemma3-270m"], ["pull", "pony"]):
        assert isinstance(RUN.invoke(app, command).exception, BadInput)
