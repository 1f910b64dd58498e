"""What every request passes: ids, headers, errors, names of the host, keys, the gate, bodies."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import pytest
from shell import Answer, Kept, app_of, ask, asking, services
from starlette.routing import Route, WebSocketRoute

from heatbath.engine.base import DeadlineExceeded, Overloaded, Unavailable
from heatbath.errors import BadInput, HeatbathError, MissingExtra, ModelError, NotANumber, Unreliable
from heatbath.serve.errors import as_api_error
from heatbath.serve.http.auth import Keyring, create_key, is_public, required_scope
from heatbath.serve.interfaces import StoreUnavailable

JSON = {"content-type": "application/json"}
ECHO = "/v1/try/echo"


def test_an_id_of_the_client_is_kept_and_another_is_made() -> None:
    app = app_of(services())
    kept = ask(app, "POST", ECHO, {"x-request-id": "a.B_9-", **JSON}, body=b"{}")
    assert kept.headers["x-request-id"] == "a.B_9-" == kept.json["id"]
    for bad in ("", "a b", "ä", "x" * 129, "a\tb", "'--", "<script>"):
        made = ask(app, "POST", ECHO, {"x-request-id": bad, **JSON}, body=b"{}")
        assert re.fullmatch(r"req_[0-9a-f]{32}", made.headers["x-request-id"]), bad
        assert made.json["id"] == made.headers["x-request-id"]
    twice = ask(app, "POST", ECHO, [("x-request-id", "a"), ("x-request-id", "b"), *JSON.items()], body=b"{}")
    assert twice.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", ECHO, 200),
        ("GET", "/nowhere", 404),
        ("GET", ECHO, 405),
        ("POST", "/v1/try/bug", 500),
        ("POST", "/v1/try/late", 200),
        ("GET", "/health/live", 200),
    ],
)
def test_every_answer_has_an_id_and_the_headers_of_security(method: str, path: str, status: int) -> None:
    got = ask(app_of(services()), method, path, JSON, body=b"{}")
    assert got.status == status
    assert got.headers["x-request-id"].startswith("req_")
    assert got.headers["content-security-policy"].startswith("default-src 'self'")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["referrer-policy"] == "no-referrer"
    assert got.headers["cache-control"] == "no-store"


def test_a_handler_adds_headers_by_the_state() -> None:
    assert ask(app_of(services()), "POST", ECHO, JSON, body=b"{}").headers["x-heatbath-overhead-ms"] == "0.1"


def test_no_path_and_no_method_are_errors_of_the_contract() -> None:
    app = app_of(services())
    assert ask(app, "GET", "/nowhere").error["code"] == "not_found"
    wrong = ask(app, "DELETE", ECHO)
    assert (wrong.status, wrong.error["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")
    asked = ask(app, "OPTIONS", ECHO, {"access-control-request-method": "POST"})
    assert asked.status == 405 and not any(name.startswith("access-control") for name in asked.headers)
    assert ask(app, "HEAD", "/health/live").status == 200
    assert ask(app, "GET", "/health/live/").status == 404, "no redirect to a name the client made up"


def test_a_bug_tells_nothing_and_is_logged_by_kind_and_place() -> None:
    log = io.StringIO()
    got = ask(app_of(services(file=log)), "POST", "/v1/try/bug", JSON, body=b'{"prompt": "private"}')
    assert (got.status, got.error["type"], got.error["code"]) == (500, "server_error", "internal_error")
    assert "secret" not in got.body.decode()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    found = next(line for line in lines if line["event"] == "bug")
    assert found["error"] == "RuntimeError" and found["id"] == got.headers["x-request-id"]
    assert any(place.startswith("bug:") for place in found["at"])
    assert "secret" not in log.getvalue() and "private" not in log.getvalue()


def test_a_path_in_an_error_of_the_model_is_taken_out() -> None:
    got = ask(app_of(services()), "POST", "/v1/try/broken", JSON, body=b"{}")
    assert got.status == 500 and "/srv" not in got.error["message"]
    assert got.error["message"] == "cannot read a file: fetch it again."


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    got = ask(app_of(services()), "POST", "/v1/try/late", JSON, body=b"{}")
    first, second = got.body.decode().split("\n\n")[:2]
    assert first == "data: 1"
    assert json.loads(second.removeprefix("data: "))["error"]["code"] == "internal_error"


def test_a_promised_length_that_cannot_be_kept_ends_the_connection() -> None:
    got = ask(app_of(services()), "POST", "/v1/try/short", JSON, body=b"{}")
    assert got.torn and got.body == b"12345"


@pytest.mark.parametrize(
    ("error", "status", "kind", "headers"),
    [
        (BadInput("no"), 400, "invalid_request_error", {}),
        (Overloaded("no", 0.25), 429, "rate_limit_error", {"retry-after-ms": "250", "retry-after": "1"}),
        (Unavailable("no"), 503, "server_error", {"retry-after": "5"}),
        (StoreUnavailable("no"), 503, "server_error", {"retry-after": "5"}),
        (DeadlineExceeded("no"), 504, "server_error", {"x-should-retry": "false"}),
        (NotANumber("no"), 500, "server_error", {}),
        (ModelError("no"), 500, "server_error", {}),
        (MissingExtra("it", "x"), 501, "server_error", {"x-should-retry": "false"}),
        (Unreliable("no", 1), 422, "invalid_request_error", {}),
        (HeatbathError("no"), 500, "server_error", {}),
        (ValueError("no"), 500, "server_error", {}),
        (ExceptionGroup("both", [Overloaded("no", 3)]), 429, "rate_limit_error", {"retry-after": "3"}),
    ],
)
def test_each_error_has_its_answer(error: Exception, status: int, kind: str, headers: dict[str, str]) -> None:
    found = as_api_error(error)
    assert (found.status, found.type) == (status, kind)
    assert headers.items() <= dict(found.headers).items()
    assert as_api_error(found) is found


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LocalHost:1", True),
        ("api.localhost", True),
        ("[::1]:8000", True),
        ("127.9.9.9", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("[::2]", False),
        ("[", False),
        ("user@127.0.0.1", True),
        ("", False),
    ],
)
def test_without_keys_only_loopback_names_are_answered(host: str, allowed: bool) -> None:
    got = ask(app_of(services()), "POST", ECHO, {"host": host, **JSON}, body=b"{}")
    assert got.status == (200 if allowed else 403), got.body
    if not allowed:
        assert got.error["code"] == "host_not_allowed"


def test_named_hosts_are_answered() -> None:
    app = app_of(services(server={"page": False, "hosts": ["heat.example", "*.in.example"]}))
    for host, status in {"heat.example": 200, "a.in.example": 200, "in.example": 403, "x.example": 403}.items():
        assert ask(app, "POST", ECHO, {"host": host, **JSON}, body=b"{}").status == status, host


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_without_keys_pages_of_other_sites_are_refused(headers: dict[str, str], status: int) -> None:
    got = ask(app_of(services()), "POST", ECHO, {**headers, **JSON}, body=b"{}")
    assert got.status == status
    if status == 403:
        assert got.error["code"] == "cross_origin"


def test_a_link_on_another_site_may_lead_here() -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(app_of(services()), "GET", "/health/ready", headers).status == 200


def test_two_hosts_or_none_are_refused() -> None:
    two = ask(app_of(services()), "GET", "/health/live", [("host", "127.0.0.1"), ("host", "127.0.0.1")])
    assert (two.status, two.error["code"]) == (400, "invalid_host")


def keyed(**scopes: list[str]) -> tuple[Any, dict[str, str], io.StringIO]:
    """An application with a key for each name, the keys, and its log."""
    import hashlib

    secrets = {name: create_key(name)[0] for name in scopes}
    keys = {
        name: {"sha256": hashlib.sha256(secrets[name].encode()).hexdigest(), "scopes": scopes[name]} for name in scopes
    }
    log = io.StringIO()
    return app_of(services(file=log, keys=keys)), secrets, log


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **JSON}


def test_keys_open_what_their_scopes_reach_and_nothing_else() -> None:
    app, secrets, log = keyed(both=["infer", "read"], asks=["infer"], reads=["read"])
    expected = {"both": (200, 404), "asks": (200, 403), "reads": (403, 404)}
    for name, statuses in expected.items():
        headers = bearer(secrets[name])
        found = ask(app, "POST", ECHO, headers, body=b"{}").status, ask(app, "GET", "/page/x", headers).status
        assert found == statuses, name
        assert ask(app, "GET", "/v1/models", headers).status == 200, "any key may see the models"
    assert ask(app, "POST", ECHO, bearer(secrets["both"]), body=b"{}").json["tenant"] == "both"
    assert not any(secret in log.getvalue() for secret in secrets.values())


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "bearer \xff", "Bearer a b"]
)
def test_without_a_known_key_there_is_401(header: str | None) -> None:
    app, _, _ = keyed(alice=["infer", "read"])
    got = ask(app, "POST", ECHO, {**JSON, **({} if header is None else {"authorization": header})}, body=b"{}")
    assert (got.status, got.error["type"], got.error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert got.headers["www-authenticate"].startswith("Bearer")


def test_two_keys_at_once_are_none() -> None:
    app, secrets, _ = keyed(alice=["infer"])
    pair = ("authorization", f"Bearer {secrets['alice']}")
    assert ask(app, "POST", ECHO, [pair, pair, *JSON.items()], body=b"{}").status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("x-api-key", "alice")], 200),
        ([("x-api-key", " alice ")], 200),
        ([("x-api-key", "alice"), ("authorization", "Bearer stale")], 200),
        ([("x-api-key", "stale"), ("authorization", "Bearer alice")], 200),
        ([("x-api-key", "alice"), ("x-api-key", "alice")], 401),
        ([("x-api-key", "Bearer alice")], 401),
        ([("x-api-key", "stale")], 401),
        ([("x-api-key", "")], 401),
    ],
)
def test_a_key_may_come_in_x_api_key(headers: list[tuple[str, str]], status: int) -> None:
    app, secrets, _ = keyed(alice=["infer"])
    sent = [(name, value.replace("alice", secrets["alice"])) for name, value in headers]
    assert ask(app, "POST", ECHO, [*sent, *JSON.items()], body=b"{}").status == status


def test_every_route_but_the_public_ones_asks_for_a_key() -> None:
    app, _, _ = keyed(alice=["infer", "read"])
    public = {"/health", "/health/live", "/health/ready", "/ping"}
    seen = 0
    sockets = [route.path for route in app.routes if isinstance(route, WebSocketRoute)]
    assert sockets == ["/v1/responses"]  # test_websocket.py opens it without a key
    for route in app.routes:
        if isinstance(route, WebSocketRoute):
            continue
        assert isinstance(route, Route)
        path = route.path.replace("{", "").replace("}", "")
        for method in route.methods or ():
            seen += 1
            status = ask(app, method, path, JSON).status
            assert (status == 401) == (path not in public), (method, path, status)
    assert seen > 8
    assert ask(app, "GET", "/nowhere").status == 401, "whether a path is there is not told either"


def test_the_page_without_its_data_is_public() -> None:
    assert is_public("GET", "/") and is_public("GET", "/static/page.js") and is_public("HEAD", "/")
    assert not is_public("POST", "/") and not is_public("GET", "/page/live") and not is_public("GET", "/metrics")
    assert is_public("POST", "/ping") and is_public("GET", "/ping") and not is_public("POST", "/health")
    scopes: dict[tuple[str, str], str | None]
    scopes = {("POST", "/tokenize"): "infer", ("GET", "/metrics"): "read", ("GET", "/v1/chat/completions/x"): "read"}
    scopes |= {("POST", path): "infer" for path in ("/rerank", "/v2/rerank", "/score", "/v1/messages")}
    scopes |= {("GET", path): None for path in ("/version", "/tokenizer_info", "/v1/models")}
    assert all(required_scope(*asked) == scope for asked, scope in scopes.items())


def test_all_keys_are_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import hmac

    from heatbath.serve.interfaces import Tenant

    secrets = ["a", "b", "c"]
    ring = Keyring({hashlib.sha256(key.encode()).digest(): Tenant(key, frozenset()) for key in secrets})
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(one) or real(one, other))
    for key in (*secrets, "wrong"):
        compared.clear()
        found = ring.find_tenant(key)
        assert len(compared) == 3
        assert (found.name if found else None) == (key if key in secrets else None)


def test_while_the_engine_starts_health_is_told_and_answers_are_not() -> None:
    made = services(ready=False)
    app = app_of(made)
    assert ask(app, "GET", "/health/live").status == 200
    ready = ask(app, "GET", "/health/ready")
    assert (ready.status, ready.json["ready"], ready.json["down"]) == (
        503,
        False,
        {"engine": "the model is being loaded"},
    )
    early = ask(app, "POST", ECHO, JSON, body=b"{}")
    assert (early.status, early.error["code"], early.headers["retry-after"]) == (503, "unavailable", "5")
    made.lifecycle.open()
    assert ask(app, "GET", "/health").json["ready"] is True
    assert ask(app, "POST", ECHO, JSON, body=b"{}").status == 200


def test_readiness_names_what_is_down() -> None:
    made = services(storage={"url": "sqlite:///unused", "required": True})
    app = app_of(made)
    assert isinstance(made.store, Kept)
    made.store.unavailable_reason = "the database is gone"
    assert ask(app, "GET", "/health/ready").json["down"] == {"storage": "the database is gone"}
    made.store.unavailable_reason = None
    made.engine.unavailable_reason = "the engine's thread has died"  # type: ignore[misc]
    assert ask(app, "GET", "/health/ready").json["down"] == {"engine": "the engine's thread has died"}


def test_a_store_that_is_not_required_does_not_make_the_server_unready() -> None:
    made = services()
    made.store.unavailable_reason = "the database is gone"  # type: ignore[misc]
    got = ask(app_of(made), "GET", "/health/ready")
    assert got.status == 200 and got.json["storage"] == "the database is gone"


def test_how_busy_it_is_needs_a_key_that_reads() -> None:
    app, secrets, _ = keyed(asks=["infer"], reads=["read"])
    assert "load" not in ask(app, "GET", "/health/ready").json
    assert "load" not in ask(app, "GET", "/health/ready", bearer(secrets["asks"])).json
    assert ask(app, "GET", "/health/ready", bearer(secrets["reads"])).json["load"]["running"] == 0


def test_while_draining_nothing_comes_in_and_the_connection_ends() -> None:
    made = services()
    made.lifecycle.drain()
    got = ask(app_of(made), "POST", ECHO, JSON, body=b"{}")
    assert (got.status, got.headers["connection"], got.headers["retry-after"]) == (503, "close", "5")
    assert ask(app_of(made), "GET", "/health/ready").json["down"] == {"server": "the server is shutting down"}


def test_what_is_cut_says_so_and_a_listener_goes_at_once() -> None:
    async def scene() -> tuple[Answer, Answer]:
        from heatbath.engine.mock import MockEngine, MockLatency

        made = services(MockEngine(MockLatency(each=0.01)))
        app = app_of(made)
        work = asyncio.create_task(asking(app, "POST", "/v1/try/stream", JSON, body=b'{"tokens": 4000}'))
        page = asyncio.create_task(asking(app, "GET", "/try/listen"))
        await asyncio.sleep(0.2)
        assert made.lifecycle.num_inference_requests == 1 and len(made.lifecycle.active_requests) == 2
        made.lifecycle.drain()
        listened = await asyncio.wait_for(page, 2)
        assert made.lifecycle.num_inference_requests == 1 and not work.done()
        made.lifecycle.cancel_all()
        cut = await asyncio.wait_for(work, 2)
        assert not made.lifecycle.active_requests and made.engine.stats.running == 0
        return cut, listened

    cut, listened = asyncio.run(scene())
    last = cut.body.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "unavailable" and not cut.torn
    assert listened.status == 200 and not listened.torn


def bounded(**server: Any) -> Any:
    return app_of(services(server={"page": False, "max_body": 100, "read_timeout": 0.2, **server}))


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    app = bounded()
    assert ask(app, "POST", ECHO, {"content-length": "100", **JSON}, body=b"x" * 100).json["bytes"] == 100
    declared = ask(app, "POST", ECHO, {"content-length": "101", **JSON}, body=b"")
    assert (declared.status, declared.error["code"]) == (413, "body_too_large")
    assert ask(app, "POST", ECHO, {"content-length": "9" * 40, **JSON}).status == 413
    for wrong in ("-1", "1e3", "٣", "+1", "0x10"):
        assert ask(app, "POST", ECHO, [("content-length", wrong.encode().decode("latin-1"))]).status == 400, wrong


def test_chunks_are_counted() -> None:
    headers = {"transfer-encoding": "chunked", **JSON}
    assert ask(bounded(), "POST", ECHO, headers, body=[b"x" * 50, b"x" * 50]).json["bytes"] == 100
    over = ask(bounded(), "POST", ECHO, headers, body=[b"x" * 50, b"x" * 50, b"x"])
    assert (over.status, over.error["code"]) == (413, "body_too_large")


def test_a_body_that_does_not_come_is_given_up() -> None:
    got = ask(bounded(), "POST", ECHO, {"transfer-encoding": "chunked", **JSON}, body=[b"x", b""])
    assert (got.status, got.error["code"], got.headers["connection"]) == (408, "body_timeout", "close")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_has_to_be_json(kind: str) -> None:
    got = ask(bounded(), "POST", ECHO, {"content-length": "2", "content-type": kind}, body=b"{}")
    assert (got.status, got.error["code"]) == (415, "unsupported_media_type")


def test_parameters_of_the_type_are_allowed_and_codings_are_not() -> None:
    plain = {"content-length": "2", "content-type": "Application/JSON; charset=utf-8"}
    assert ask(bounded(), "POST", ECHO, plain, body=b"{}").status == 200
    assert ask(bounded(), "POST", ECHO, {**plain, "content-encoding": "gzip"}, body=b"{}").status == 415


def test_a_log_line_has_the_id_and_no_content() -> None:
    log = io.StringIO()
    ask(app_of(services(file=log)), "POST", ECHO, JSON, body=b'{"prompt": "private"}')
    line = json.loads(log.getvalue())
    assert line["event"] == "request" and line["status"] == 200 and line["tenant"] == "local" and line["path"] == ECHO
    assert "private" not in log.getvalue()
