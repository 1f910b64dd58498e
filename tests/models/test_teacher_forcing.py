"""Teacher forcing: every position once, equal to a plain forward pass, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from heatbath.errors import BadInput
from heatbath.models.hf import teacher_forcing as score_module

Tiny = Callable[[str], Any]
TEXTS = [list(range(5)), [], [9], list(range(100, 190)), [3, 200], list(range(60, 100))]


def collected(model: Any, sequences: Any) -> dict[tuple[int, int], tuple[int, torch.Tensor]]:
    found: dict[tuple[int, int], tuple[int, torch.Tensor]] = {}
    last: dict[int, int] = {}
    for window in model.score(sequences):
        assert window.energies.shape[0] == len(window.rows) <= score_module.MAX_CHUNK_POSITIONS
        for row, position, target, energies in zip(
            window.rows, window.positions, window.targets, window.energies, strict=True
        ):
            assert last.get(row, 0) + 1 == position
            last[row] = position
            found[row, position] = (target, energies)
    return found


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "gemma2", "gpt2", "qwen3next"])
@pytest.mark.parametrize("chunk", [7, 512])
def test_score_equals_a_plain_forward_pass(
    family: str, chunk: int, tiny: Tiny, plain: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_module, "DECODER_CHUNK", chunk)
    monkeypatch.setattr(score_module, "MAX_CHUNK_POSITIONS", 20)
    found = collected(tiny(family), TEXTS)
    assert set(found) == {(row, t) for row, text in enumerate(TEXTS) for t in range(1, len(text))}
    for row, text in enumerate(TEXTS):
        if len(text) < 2:
            continue
        expected = plain(family).energies(text)
        for t in range(1, len(text)):
            target, energies = found[row, t]
            assert target == text[t]
            torch.testing.assert_close(energies, expected[t - 1], atol=1e-4, rtol=0)


def test_a_capped_head_is_distinguished_from_a_plain_one(tiny: Tiny) -> None:
    assert tiny("llama").network.has_plain_head
    assert tiny("gemma3").network.has_plain_head
    assert not tiny("gemma2").network.has_plain_head


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_sessions_and_scores_agree(family: str, tiny: Tiny) -> None:
    model = tiny(family)
    text = [256, *range(30, 60)]
    found = collected(model, [text])
    session = model.open([text[:1]])
    for t in range(1, len(text)):
        torch.testing.assert_close(session.energies()[0], found[0, t][1], atol=1e-4, rtol=0)
        session.push([text[t]])


def test_logits_of_a_whole_text_never_exist(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    sizes: list[int] = []
    head = model.network.module.get_output_embeddings()
    assert model.network.has_plain_head
    hook = head.register_forward_hook(lambda _module, _args, out: sizes.append(out.shape.numel() // out.shape[-1]))
    monkeypatch.setattr(score_module, "MAX_CHUNK_POSITIONS", 16)
    for _ in model.score([list(range(90))] * 5):
        pass
    hook.remove()
    assert max(sizes) <= 16
    assert sum(sizes) == 5 * 89


def test_chunk_size_follows_the_vocabulary() -> None:
    assert score_module.positions_per_chunk(49152, 4) == 256
    assert score_module.positions_per_chunk(262144, 4) == 64
    assert score_module.positions_per_chunk(1 << 24, 4) == 16


def test_bad_sequences_are_refused_before_the_first_chunk(tiny: Tiny) -> None:
    model = tiny("llama")
    with pytest.raises(BadInput, match="97 tokens are more than the 96"):
        model.score([[1, 2], [1] * 97])
    with pytest.raises(BadInput, match="token id 264 is outside the vocabulary of 264"):
        model.score([[1, 264]])


def test_nothing_to_score(tiny: Tiny) -> None:
    assert list(tiny("llama").score([])) == []
    assert list(tiny("llama").score([[], np.array([], dtype=np.int64), [5]])) == []
