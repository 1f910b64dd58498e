"""Keys, retries, time limits and cancelling, as the official client for Python does them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import Running, running

openai = pytest.importorskip("openai")

ASKED: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": "hello"}]}


_CLIENTS: list[Any] = []


def connect(server: Running, **more: Any) -> Any:
    given = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": 0, "timeout": 20, **more}
    _CLIENTS.append(openai.OpenAI(**given))
    return _CLIENTS[-1]


@pytest.fixture(autouse=True)
def _closed_clients() -> Iterator[None]:
    """Close the clients of a test: a socket left open fails whichever test runs when it is collected."""
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    def key(name: str, **more: Any) -> dict[str, Any]:
        return {"sha256": hashlib.sha256(name.encode()).hexdigest(), **more}

    keys = {"all": key("whole"), "reader": key("reader", scopes=["read"]), "slow": key("few", concurrent=1)}
    url = f"sqlite:///{tmp_path_factory.mktemp('guarded') / 'answers.db'}"
    with running({"storage": {"url": url}, "keys": keys}, pace={"first": 0.3}) as server:
        yield server


def test_keys_raise_what_their_users_expect(guarded: Running) -> None:
    assert connect(guarded, api_key="whole").chat.completions.create(**ASKED, max_tokens=2).choices
    with pytest.raises(openai.AuthenticationError) as unknown:
        connect(guarded, api_key="wrong").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError):
        connect(guarded, api_key="reader").chat.completions.create(**ASKED, max_tokens=2)


def test_too_many_at_once_are_told_and_come_again_by_themselves(guarded: Running) -> None:
    patient = connect(guarded, api_key="few", max_retries=5)
    hasty = connect(guarded, api_key="few")
    waiting = threading.Thread(target=lambda: hasty.chat.completions.create(**ASKED, max_tokens=2))
    waiting.start()
    time.sleep(0.1)
    with pytest.raises(openai.RateLimitError) as caught:
        hasty.chat.completions.create(**ASKED, max_tokens=2)
    headers = caught.value.response.headers
    assert float(headers["retry-after-ms"]) > 0 and float(headers["retry-after"]) > 0
    raw = patient.chat.completions.with_raw_response.create(**ASKED, max_tokens=2)
    assert raw.retries_taken >= 1 and raw.parse().choices
    waiting.join()


def test_a_full_engine_is_a_rate_limit_and_a_retry_gets_in() -> None:
    with running(pace={"first": 0.4, "most": 1}) as server:
        hasty = connect(server)
        waiting = threading.Thread(target=lambda: hasty.chat.completions.create(**ASKED, max_tokens=2))
        waiting.start()
        time.sleep(0.15)
        with pytest.raises(openai.RateLimitError):
            hasty.chat.completions.create(**ASKED, max_tokens=2)
        raw = connect(server, max_retries=4).chat.completions.with_raw_response.create(**ASKED, max_tokens=2)
        assert raw.retries_taken >= 1
        waiting.join()


def test_a_server_without_its_engine_is_an_internal_error_that_may_be_tried_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'answers.db'}"
    with running({"storage": {"url": url}, "server": {"drain_seconds": 3}}, pace={"each": 0.02}) as server:
        going = connect(server).chat.completions.create(**ASKED, max_tokens=60, stream=True)
        next(iter(going))
        server.signal()
        time.sleep(0.2)
        with pytest.raises(openai.InternalServerError) as caught:
            connect(server).chat.completions.create(**ASKED, max_tokens=2)
        assert caught.value.status_code == 503 and float(caught.value.response.headers["retry-after"]) > 0
        # What runs comes to its end.
        assert [chunk.choices[0].finish_reason for chunk in going][-1] == "length"
        assert server.wait() == 0


def test_a_mistake_is_not_tried_again(mock: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        connect(mock, max_retries=3).chat.completions.create(**ASKED, temperature=-1)
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_client_out_of_patience_frees_its_rows(mock: Running) -> None:
    with pytest.raises(openai.APITimeoutError):
        connect(mock, timeout=0.3).chat.completions.create(**ASKED, max_tokens=4000)
    assert mock.until(lambda: mock.busy == 0, 3)


def test_a_stream_that_is_closed_frees_its_rows(mock: Running) -> None:
    stream = connect(mock).chat.completions.create(**ASKED, max_tokens=4000, stream=True, n=3)
    next(iter(stream))
    assert mock.busy == 1
    stream.close()
    assert mock.until(lambda: mock.busy == 0, 3)


def test_many_at_once_by_the_asynchronous_client(mock: Running) -> None:
    async def all_() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="none", max_retries=0) as client:

            async def one(count: int) -> str:
                stream = await client.chat.completions.create(**ASKED, max_tokens=count, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return list(await asyncio.gather(*map(one, range(1, 41))))

    assert [len(text) for text in asyncio.run(all_())] == list(range(1, 41))
