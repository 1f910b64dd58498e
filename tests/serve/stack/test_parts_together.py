"""A policy, documents and prompts in one request: what one part adds is judged by another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prompt_files import write_prompt
from scripted import Scripted
from serving import Server, server
from test_retrieval import CHAT, ROME, Copier, build_indexes, prompts, thermo

from heatbath.policy import PolicyFile
from heatbath.serve.policy.served_policy import ServedPolicy
from heatbath.serve.settings import PolicySettings, Settings
from heatbath.serve.stack.prompts import PromptLibrary

RULES = """\
rules:
  - id: no-rome
    scope: retrieved
    match: {phrases: [Rome]}
    effect: deny
  - id: no-years
    scope: retrieved
    match: {regex: "987"}
    effect: modify
    replacement: "[year]"
  - id: no-secrets
    scope: input
    match: {phrases: [the password]}
    effect: deny
  - id: not-london
    match: {phrases: [London]}
    effect: {energy: 5}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def serve(rules: Path, engine: Scripted, **more: Any) -> Server:
    made = server(engine, indexes=build_indexes())
    settings = Settings.model_validate({**made.services.settings.model_dump(), "policy": {"file": rules}})
    policy = ServedPolicy(PolicyFile(rules), PolicySettings(file=rules))
    services = replace(made.services, settings=settings, policy=policy, **more)
    made.app.state.services = services
    return replace(made, services=services)


def test_a_passage_that_is_denied_is_not_shown_and_a_changed_one_is_shown_changed(rules: Path) -> None:
    engine = Copier(["Paris."])
    made = serve(rules, engine)
    found = made.chat(CHAT, **thermo()).json()
    (shown,) = prompts(engine)
    assert "Rome" not in shown and "987" not in shown and "France since [year]." in shown
    assert [each["document"] for each in found["thermo"]["retrieval"]["passages"]] == ["1.txt"]
    searched = made.post("/v1/search", {"query": "weather", "index": "docs"}).json()
    assert ROME not in str(searched) and "987" not in str(searched)


def test_a_second_generation_has_the_fields_of_the_policy_too(rules: Path) -> None:
    engine = Copier(["London is the capital of France."])
    made = serve(rules, engine)
    assert made.chat(CHAT, **thermo(citations={"unsupported": "retry"})).status_code == 200
    generated = [each for each in engine.requests if each.max_tokens]
    assert len(generated) == 2
    assert [len(each.fields) for each in generated] == [1, 1]


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_the_variables_of_a_prompt_are_judged(rules: Path, tmp_path: Path, endpoint: str) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    write_prompt(folder / "p.md", "# user\nTell me about {{ t }}.")
    engine = Copier(["Paris."])
    made = serve(rules, engine, prompts=PromptLibrary.open(folder))
    for value, status in (("Paris", 200), ("the password", 400)):
        if endpoint == "chat":
            found = made.chat([], thermo={"prompt": {"name": "p", "variables": {"t": value}}})
        else:
            found = made.respond(None, prompt={"id": "p", "variables": {"t": value}})
        assert found.status_code == status, found.text
    assert found.json()["error"]["code"] == "content_filter"
    assert len(engine.requests) == 1


def test_a_prompt_names_its_index_and_its_policy(rules: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, more in (("searching", "retrieval: docs\npolicy: rules"), ("other", "policy: strict")):
        path = write_prompt(folder / f"{name}.md", "# user\nWhich is the capital of {{ t }}?", name=name)
        path.write_text(path.read_text().replace("name:", f"{more}\nname:", 1))
    engine = Copier(["Paris."])
    made = serve(rules, engine, prompts=PromptLibrary.open(folder))
    found = made.chat([], thermo={"prompt": {"name": "searching", "variables": {"t": "France"}}}).json()
    assert found["thermo"]["retrieval"]["index"] == "docs" and "[1] Title 1" in prompts(engine)[0]
    refused = made.chat([], thermo={"prompt": {"name": "other", "variables": {"t": "France"}}})
    assert (
        refused.status_code == 400 and "policy strict and this server has rules" in refused.json()["error"]["message"]
    )
