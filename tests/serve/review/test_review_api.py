"""The API of the queue: what a client, a reviewer and a stranger may do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reviewing import SECRET, chat_payload, item
from starlette.testclient import TestClient

from heatbath.engine.mock import MockEngine
from heatbath.errors import BadInput
from heatbath.serve.app import build_app
from heatbath.serve.http.auth import required_scope
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.services import build_services
from heatbath.serve.settings import KeySettings, Settings

SCOPES = {"client": ["infer"], "other": ["infer", "read"], "ann": ["review"], "bob": ["review"], "page": ["read"]}


@dataclass
class Made:
    """A server with a key for each of `SCOPES`, of the same name."""

    client: TestClient
    queue: StoredReviewQueue

    def ask(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        response = self.client.request(method, path, json=body, headers={"authorization": f"Bearer {who}"})
        return response.status_code, response.json()

    def submit(self, request: str = "r", **others: Any) -> str:
        given = {"tenant": "client", "text": SECRET, "payload": chat_payload(n=2, request=request), **others}
        submit: Callable[..., Any] = self.queue.submit
        assert self.client.portal is not None
        return str(self.client.portal.call(submit, item(request, **given)))


def _settings(folder: Path, **more: Any) -> Settings:
    keys = {
        name: KeySettings(sha256=hashlib.sha256(name.encode()).hexdigest(), scopes=scopes)
        for name, scopes in SCOPES.items()
    }
    return Settings(
        **{
            "model": {"name": "mock"},
            "keys": keys,
            "storage": {"url": f"sqlite:///{folder / 'a.db'}"},
            "review": {"enabled": True},
            **more,
        }
    )


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    services = build_services(_settings(tmp_path), engine=MockEngine())
    assert services.review is not None
    with TestClient(build_app(services), base_url="http://localhost") as client:
        yield Made(client, services.review)


def test_a_client_gets_its_answer_after_the_last_decision(made: Made) -> None:
    first, second = made.submit(choice=0), made.submit(choice=1)
    status, handle = made.ask("client", "GET", f"/v1/review/{first}")
    assert (status, handle["object"], handle["status"], handle["id"]) == (202, "review", "pending", first)
    assert made.ask("ann", "POST", f"/v1/review/{first}/decision", {"action": "reject", "reason": "no"})[0] == 200
    assert made.ask("client", "GET", f"/v1/review/{first}?wait=0.1")[0] == 202
    assert made.ask("bob", "POST", f"/v1/review/{second}/decision", {"action": "edit", "text": "new"})[0] == 200
    for id in (first, second):
        response = made.client.get(f"/v1/review/{id}", headers={"authorization": "Bearer client"})
        assert response.status_code == 200 and response.headers["x-heatbath-review"] == "reject, edit"
        contents = [choice["message"]["content"] for choice in response.json()["choices"]]
        assert contents == ["", "new"] and SECRET not in response.text


def test_an_answer_that_chance_sent_is_not_held(made: Made) -> None:
    held, random = made.submit(choice=0), made.submit(choice=1, rules=(), probability=0.5)
    assert made.ask("client", "GET", f"/v1/review/{random}")[0] == 404
    assert made.ask("ann", "POST", f"/v1/review/{held}/decision", {"action": "edit", "text": "new"})[0] == 200
    assert made.ask("ann", "POST", f"/v1/review/{random}/decision", {"action": "reject"})[0] == 200
    status, released = made.ask("client", "GET", f"/v1/review/{held}")
    assert status == 200
    assert [choice["message"]["content"] for choice in released["choices"]] == ["new", SECRET]


def test_only_the_tenant_gets_it_and_only_reviewers_decide(made: Made) -> None:
    id = made.submit()
    for who in ("other", "ann", "page"):
        status, refusal = made.ask(who, "GET", f"/v1/review/{id}")
        assert status == 404 and SECRET not in str(refusal)
    for who in ("client", "other", "page"):
        for method, path, body in (
            ("GET", "/v1/review", None),
            ("POST", f"/v1/review/{id}/lock", {}),
            ("POST", f"/v1/review/{id}/decision", {"action": "approve"}),
        ):
            status, refusal = made.ask(who, method, path, body)
            assert status == 403 and refusal["error"]["code"] == "missing_scope"
    status, found = made.ask("ann", "GET", "/v1/review")
    assert status == 200 and [each["id"] for each in found["data"]] == [id] and found["data"][0]["text"] == SECRET
    assert made.ask("ann", "POST", "/v1/chat/completions", {"model": "mock", "messages": []})[0] == 403
    assert made.ask("nobody", "GET", f"/v1/review/{id}")[0] == 401


@pytest.mark.parametrize(
    "path", ["/v1/review", "/v1/review\n", "/v1/review/x/lock", "/v1/review/x/lock\n", "/v1/review/"]
)
def test_no_path_is_without_its_scope(path: str) -> None:
    assert required_scope("POST", path) == "review"
    assert required_scope("GET", path) == "review"
    assert required_scope("GET", "/v1/review/x") is None and required_scope("POST", "/v1/review/x") == "review"


def test_reviewers_do_not_get_in_each_others_way(made: Made) -> None:
    id = made.submit(rules=("b", "a"), priority=3)
    status, taken = made.ask("ann", "POST", f"/v1/review/{id}/lock", {"seconds": 60})
    assert status == 200 and taken["locked_by"] == "ann" and taken["rules"] == ["b", "a"] and taken["priority"] == 3
    for path, body in (("lock", {}), ("decision", {"action": "approve"})):
        status, refusal = made.ask("bob", "POST", f"/v1/review/{id}/{path}", body)
        assert status == 409 and refusal["error"]["code"] == "locked" and refusal["item"]["locked_by"] == "ann"
    decided = {"action": "edit", "text": "new", "reason": "short"}
    status, done = made.ask("ann", "POST", f"/v1/review/{id}/decision", decided)
    assert status == 200 and done["status"] == "decided" and done["locked_by"] is None
    given = {name: done["decision"][name] for name in ("action", "reviewer", "reason", "text")}
    assert given == {"action": "edit", "reviewer": "ann", "reason": "short", "text": "new"}
    for who in ("ann", "bob"):
        status, refusal = made.ask(who, "POST", f"/v1/review/{id}/decision", {"action": "reject"})
        assert status == 409 and refusal["error"]["code"] == "already_decided" and refusal["item"] == done
    assert made.ask("bob", "GET", "/v1/review?status=decided&action=edit&rule=a")[1]["data"] == [done]
    status, state = made.ask("page", "GET", "/page/review")
    assert status == 200 and state == {"pending": 0, "locked": 0, "oldest_seconds": None, "decisions": {"edit": 1}}


def test_pages_of_the_list(made: Made) -> None:
    ids = [made.submit(f"r{k}") for k in range(5)]
    first = made.ask("ann", "GET", "/v1/review?limit=3")[1]
    rest = made.ask("ann", "GET", f"/v1/review?limit=3&offset={first['next']}")[1]
    assert [each["id"] for each in first["data"] + rest["data"]] == ids and rest["next"] is None


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "param"),
    [
        ("ann", "GET", "/v1/review?limit=0", None, "limit"),
        ("ann", "GET", "/v1/review?offset=x", None, "offset"),
        ("ann", "GET", "/v1/review?status=open", None, "status"),
        ("ann", "GET", "/v1/review?action=allow", None, "action"),
        ("ann", "GET", "/v1/review?random=1", None, "random"),
        ("client", "GET", "/v1/review/{id}?wait=61", None, "wait"),
        ("ann", "POST", "/v1/review/{id}/lock", {"seconds": -1}, "seconds"),
        ("ann", "POST", "/v1/review/{id}/decision", {"action": "edit"}, "text"),
        ("ann", "POST", "/v1/review/{id}/decision", {"action": "approve", "text": "x"}, "text"),
        ("ann", "POST", "/v1/review/{id}/decision", {"action": "allow"}, "action"),
    ],
)
def test_wrong_values(made: Made, who: str, method: str, path: str, body: Any, param: str) -> None:
    status, refusal = made.ask(who, method, path.replace("{id}", made.submit()), body)
    assert status == 400 and refusal["error"]["param"] == param and refusal["error"]["message"].endswith(".")


def test_items_that_are_not_there(made: Made) -> None:
    assert made.ask("client", "GET", "/v1/review/rev_none")[0] == 404
    for path, body in (("lock", {}), ("decision", {"action": "approve"})):
        assert made.ask("ann", "POST", f"/v1/review/rev_none/{path}", body)[0] == 404


def test_a_server_without_a_queue_says_so(tmp_path: Path) -> None:
    services = build_services(_settings(tmp_path, review={"enabled": False}), engine=MockEngine())
    assert services.review is None
    with TestClient(build_app(services), base_url="http://localhost") as client:
        made = Made(client, None)
        for who, path in (("client", "/v1/review/x"), ("ann", "/v1/review"), ("page", "/page/review")):
            status, refusal = made.ask(who, "GET", path)
            assert status == 404 and "review.enabled" in refusal["error"]["message"]


def test_no_reviewer_is_called_timeout(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    keys = {"timeout": KeySettings(sha256="0" * 64, scopes=frozenset({"review"}))}
    with pytest.raises(BadInput, match=r"keys\.timeout"):
        build_services(settings.model_copy(update={"keys": keys}), engine=MockEngine())


def test_the_decision_reaches_the_monitor_with_its_weight(made: Made) -> None:
    added: list[Any] = []

    class Monitor:
        def add_label(self, *given: Any, **named: Any) -> None:
            added.append((given, named))

    class Served:
        digest, monitor = "c", Monitor()

    made.client.app.state.services.__dict__["calibrator"] = Served()
    for request, calibrator in (("a", "c"), ("b", "old")):
        id = made.submit(request, confidence=0.75, calibrator=calibrator)
        assert made.ask("ann", "POST", f"/v1/review/{id}/decision", {"action": "approve"})[0] == 200
        assert made.ask("ann", "POST", f"/v1/review/{id}/decision", {"action": "approve"})[0] == 409
    assert added == [(("a", 0, 0.75), {"is_right": True, "weight": 0.0})]
