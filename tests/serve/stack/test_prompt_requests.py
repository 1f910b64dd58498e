"""Prompts of the library in requests: rendered, named in the response and the record, refused in one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prompt_files import GREETING, write_prompt
from serving import HELLO, Server, server

from heatbath.engine.mock import MockEngine
from heatbath.errors import BadInput
from heatbath.serve.services import build_services
from heatbath.serve.settings import Settings
from heatbath.serve.stack.prompts import PromptLibrary

SECRET = "Ann of Cleves"
CHAT = "/v1/chat/completions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greeting.md").write_text(GREETING)
    write_prompt(tmp_path / "divide.md", "x\n{{ 1 // n }}", "{n: integer}", name="divide")
    write_prompt(tmp_path / "other.md", "x", "{}", name="other", version="3")
    (tmp_path / "other.md").write_text((tmp_path / "other.md").read_text().replace("name:", "model: gpt-2\nname:"))
    return tmp_path


@pytest.fixture
def made(folder: Path) -> Server:
    made = server()
    services = replace(made.services, prompts=PromptLibrary.open(folder))
    made.app.state.services = services
    return replace(made, services=services)


def prompt(**variables: Any) -> dict[str, Any]:
    return {"prompt": {"name": "greeting", "variables": {"who": SECRET, **variables}}}


def render(made: Server, name: str = "greeting", **variables: Any) -> Any:
    return made.client.post(f"/v1/prompts/{name}/render", json={"variables": variables})


def test_a_prompt_can_be_listed_read_and_rendered(made: Server) -> None:
    listed = made.client.get("/v1/prompts").json()
    assert [each["id"] for each in listed["data"]] == ["divide", "greeting", "other"] and listed["problems"] == []
    one = made.client.get("/v1/prompts/greeting@1").json()
    assert one["source"] == GREETING and one["versions"] == ["1"]
    assert one["variables"]["times"] == {"type": "integer", "description": "", "required": False, "default": 2}
    found = render(made, who="Bo", times=3).json()
    assert found["text"] == "system: Greet 3 times.\nuser: I am Bo.\n"  # the template of the mock model
    assert bytes(found["token_ids"]).decode() == found["text"] and found["count"] == len(found["token_ids"])
    assert (found["name"], found["version"], found["digest"]) == ("greeting", "1", one["digest"])


def test_a_chat_begins_with_the_prompt(made: Server) -> None:
    told = made.chat([], thermo=prompt(), return_token_ids=True, max_tokens=3).json()
    rendered = render(made, who=SECRET).json()
    assert told["prompt_token_ids"] == rendered["token_ids"]
    assert told["thermo"]["prompt"] == {name: rendered[name] for name in ("name", "version", "digest")}
    more = made.chat(HELLO, thermo=prompt(), return_token_ids=True, max_tokens=3).json()
    assert bytes(more["prompt_token_ids"]).decode() == rendered["text"] + "user: hi\n"


def test_a_stream_names_the_prompt_at_its_end(made: Server) -> None:
    lines = made.chat([], thermo=prompt(), stream=True, max_tokens=3).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert chunks[-1]["thermo"]["prompt"]["name"] == "greeting"


def test_messages_take_a_prompt(made: Server) -> None:
    body = {"messages": HELLO, "max_tokens": 3, "thermo": prompt()}
    told = made.post("/v1/messages", body).json()
    assert told["thermo"]["prompt"]["version"] == "1"
    assert told["usage"]["input_tokens"] == render(made, who=SECRET).json()["count"] + len("user: hi\n")


@pytest.mark.parametrize("form", ["plain", "part"])
def test_a_response_takes_the_prompt_of_its_api(made: Server, form: str) -> None:
    value: Any = SECRET if form == "plain" else {"type": "input_text", "text": SECRET}
    asked = {"id": "greeting", "variables": {"who": value}}
    told = made.respond(None, prompt=asked, return_token_ids=True, max_output_tokens=3).json()
    rendered = render(made, who=SECRET).json()
    assert told["prompt_token_ids"] == rendered["token_ids"]
    assert told["prompt"] == {**asked, "version": "1"}
    assert told["thermo"] == {"prompt": {name: rendered[name] for name in ("name", "version", "digest")}}
    again = made.client.get(f"/v1/responses/{told['id']}").json()
    assert again["prompt"] == told["prompt"]


def test_a_response_takes_thermo_prompt_and_streams(made: Server) -> None:
    text = made.respond("hi", thermo=prompt(), stream=True, max_output_tokens=3).text
    last = json.loads([line for line in text.split("\n") if line.startswith("data: {")][-1].removeprefix("data: "))
    assert last["type"] == "response.incomplete" and last["response"]["thermo"]["prompt"]["name"] == "greeting"


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
def test_the_record_names_the_prompt_and_not_the_values(made: Server, path: str) -> None:
    made.post(path, {("messages" if path == CHAT else "input"): HELLO, "thermo": prompt(), "store": True})
    (outcome,) = made.store.answers.values()
    digest = made.client.get("/v1/prompts/greeting").json()["digest"]
    assert outcome.request.settings["prompt"] == {"name": "greeting", "version": "1", "digest": digest}
    assert SECRET not in json.dumps(dict(outcome.request.settings))
    assert outcome.content is not None and SECRET in json.dumps(outcome.content["messages"])


def test_a_changed_file_is_served_at_once_and_a_broken_one_is_not(made: Server, folder: Path) -> None:
    file = folder / "greeting.md"
    for source in (GREETING.replace("I am", "My name is").replace("version: 1", "version: 2"), GREETING + "{{ x }}"):
        when = file.stat().st_mtime_ns + 1_000_000
        file.write_text(source)
        os.utime(file, ns=(when, when))
        assert "My name is Bo" in render(made, who="Bo").json()["text"]
    assert "I am Bo" in render(made, "greeting@1", who="Bo").json()["text"]
    (problem,) = made.client.get("/v1/prompts").json()["problems"]
    assert problem.startswith("greeting.md:18: ") and str(folder) not in problem


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown": ({"name": "greting"}, "thermo.prompt.name", "there is no prompt 'greting' (did you mean 'greeting'?)."),
    "version": ({"name": "greeting@9"}, "thermo.prompt.version", "has no version '9'"),
    "missing": ({"name": "greeting"}, "thermo.prompt.variables.who", "needs the variable who"),
    "extra": ({"name": "divide", "variables": {"m": 1}}, "thermo.prompt.variables.m", "has no variable 'm'"),
    "type": ({"name": "divide", "variables": {"n": "1"}}, "thermo.prompt.variables.n", "give a whole number"),
    "failing": ({"name": "divide", "variables": {"n": 0}}, "thermo.prompt", "divide.md:7: the template fails"),
    "model": ({"name": "other"}, "thermo.prompt.name", "is for the model gpt-2 and this server has mock"),
    "field": ({"name": "divide", "x": 1}, "thermo.prompt.x", "not one of its fields"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_prompt_that_cannot_be_used_is_one_sentence(made: Server, case: str) -> None:
    asked, param, words = REFUSED[case]
    for path, body in ((CHAT, {"messages": HELLO}), ("/v1/responses", {"input": "hi"})):
        refused = made.post(path, {**body, "thermo": {"prompt": asked}})
        error = refused.json()["error"]
        assert refused.status_code == 400 and error["param"] == param
        assert words in error["message"] and "/tmp" not in error["message"] and "\n" not in error["message"]


def test_the_form_of_responses_names_its_own_fields(made: Server) -> None:
    for asked, param in (
        ({"id": "x"}, "prompt.id"),
        ({"id": "greeting", "variables": {"who": {"type": "input_image"}}}, "prompt.variables.who"),
    ):
        assert made.respond("hi", prompt=asked).json()["error"]["param"] == param
    both = made.respond("hi", prompt={"id": "greeting"}, thermo=prompt())
    assert both.json()["error"]["param"] == "prompt"


def test_two_system_messages_are_refused(made: Server) -> None:
    system = [{"role": "system", "content": "x"}, *HELLO]
    assert "leave one of them out" in made.chat(system, thermo=prompt()).json()["error"]["message"]
    refused = made.respond("hi", instructions="x", thermo=prompt()).json()["error"]
    assert refused["param"] == "instructions"


def test_where_there_is_no_conversation_or_no_library_it_is_refused(made: Server) -> None:
    error = made.complete("hi", thermo=prompt()).json()["error"]
    assert error["param"] == "thermo.prompt" and "use a chat" in error["message"]
    bare = server()
    assert "set prompts.folder" in bare.chat(thermo=prompt()).json()["error"]["message"]
    assert "set prompts.folder" in bare.respond("x", prompt={"id": "p"}).json()["error"]["message"]
    assert bare.client.get("/v1/prompts").json() == {"object": "list", "data": [], "problems": []}
    assert bare.client.get("/v1/prompts/p").status_code == 404 == made.client.get("/v1/prompts/p").status_code


def test_a_chat_without_messages_still_needs_some(made: Server) -> None:
    for send in (made.chat, server().chat):
        error = send([]).json()["error"]
        assert (error["param"], error["message"]) == ("messages", "messages is []: give a list with at least 1 item.")
    assert made.respond(None).json()["error"]["code"] == "missing_required_parameter"


def test_the_settings_open_the_folder_and_a_mistake_stops_the_start(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('db')}/outcomes.db"
    build: Callable[[], Any] = lambda: build_services(  # noqa: E731
        Settings(prompts={"folder": folder}, storage={"url": url}, server={"page": False}), engine=MockEngine()
    )
    library = build().prompts
    assert library.find("greeting").version == "1"
    write_prompt(folder / "new.md", "{{ wrong }}")
    assert library.find("greeting").version == "1"
    logged = capsys.readouterr().err
    assert "new.md:6: " in logged and "the last good one is kept" in logged
    with pytest.raises(BadInput, match="wrong is not among"):
        build()
