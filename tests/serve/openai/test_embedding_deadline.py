"""Embedding of texts ends at the deadline, and once nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from serving import server

from heatbath.energy.potentials import embedding
from heatbath.energy.potentials.embedding import MiniLM
from heatbath.serve.openai import models
from heatbath.serve.settings import EngineSettings


class Tokenizer:
    """Three word pieces for every text."""

    def get_vocab_size(self) -> int:
        return 10

    def encode_batch(self, texts: Sequence[str]) -> list[Any]:
        return [type("Encoding", (), {"ids": [1, 2, 3]}) for _ in texts]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were embedded; each takes 40 ms."""
    made: list[int] = []

    def embed(ids: Sequence[Any], network: Any) -> Any:
        time.sleep(0.04)
        made.append(len(ids))
        return np.ones((len(ids), 384))

    network = type("Network", (), {"config": type("Config", (), {"hidden_size": 384})})
    monkeypatch.setattr(embedding, "_mean_hidden_states", embed)
    monkeypatch.setattr(embedding, "load_minilm", lambda: MiniLM(Tokenizer(), network))
    return made


def test_embedding_ends_at_the_deadline(batches: list[int]) -> None:
    host = server()
    settings = host.services.settings.model_copy(update={"engine": EngineSettings(deadline_seconds=0.5)})
    host.app.state.services = replace(host.services, settings=settings)
    texts = [f"text {i}" for i in range(2000)]
    response = host.post("/v1/embeddings", {"model": models.EMBEDDING_MODEL, "input": texts})
    assert response.status_code == 504 and "not embedded within 0.5 s" in response.json()["error"]["message"]
    assert 0 < len(batches) < 20


def test_calls_take_turns(batches: list[int]) -> None:
    model = embedding.load_minilm()
    looks: list[int] = []
    check: Callable[[], None] = lambda: looks.append(len(batches))  # noqa: E731
    assert model.embed_token_ids([[1]] * 70, before_batch=check).shape == (70, 384)
    assert looks == [0, 1, 2] and batches == [32, 32, 6]
    assert not model._lock.locked()
