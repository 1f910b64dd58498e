"""Sessions against plain forward passes: padding, chunks, forks, sliding windows, growth of the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.models.hf import session as session_module
from heatbath.models.hf.kv_cache import GrowingCache

FAMILIES = ["llama", "mistral", "gemma3", "gemma2", "gpt2", "qwen3next"]
PROMPTS = [[256, 10, 20, 30], [7], list(range(40, 70)), []]
Tiny = Callable[[str], Any]


def assert_rows(session: Any, plain: Any) -> None:
    energies = session.energies()
    assert energies.shape[0] == len(session.tokens)
    for row, tokens in enumerate(session.tokens):
        torch.testing.assert_close(energies[row], plain.energies(tokens)[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_rows_equal_rows_alone(family: str, tiny: Tiny, plain: Tiny) -> None:
    session = tiny(family).open(PROMPTS)
    assert [list(tokens) for tokens in session.tokens] == [*PROMPTS[:3], [256]]
    for step in range(12):
        assert_rows(session, plain(family))
        session.push([step, step + 1, step + 2, step + 3])
    assert_rows(session, plain(family))


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_prefill_in_chunks_equals_prefill_at_once(
    family: str, tiny: Tiny, plain: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_CHUNK", 5)
    monkeypatch.setattr(session_module, "MIN_CHUNK", 1)
    session = tiny(family).open(PROMPTS)
    assert_rows(session, plain(family))
    for token in range(20):
        session.push([token] * 4)
    assert_rows(session, plain(family))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_run_of_pushes_and_forks(family: str, data: st.DataObject, tiny: Tiny, plain: Tiny) -> None:
    session = tiny(family).open([[256], [5, 6, 7, 8, 9], list(range(12))])
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            session.energies()
        rows = len(session.tokens)
        if data.draw(st.booleans()):
            session.fork(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=5)))
        else:
            session.push(data.draw(st.lists(st.integers(0, 255), min_size=rows, max_size=rows)))
    assert_rows(session, plain(family))


def test_buffers_grow_and_windows_do_not(tiny: Tiny, plain: Tiny) -> None:
    session = tiny("gemma3").open([[256, 1], [3]])
    for token in range(90):
        session.push([token, token + 1])
        session.energies()
    assert_rows(session, plain("gemma3"))
    layers = session._cache.layers
    assert layers[1].keys.shape[2] >= 92
    assert layers[0].keys.shape[2] <= 64


def test_dropping_a_prefix_of_rows_copies_nothing(tiny: Tiny) -> None:
    session = tiny("llama").open([[1], [2], [3]])
    session.energies()
    address = session._cache.layers[0].keys.data_ptr()
    session.fork([0, 1])
    assert session._cache.layers[0].keys.data_ptr() == address
    session.fork([1, 0])
    assert session._cache.layers[0].keys.data_ptr() != address


def test_padding_common_to_all_rows_is_dropped(tiny: Tiny, plain: Tiny) -> None:
    for family in ("llama", "mistral"):
        session = tiny(family).open([[1], list(range(30)), [4, 5]])
        session.energies()
        session.fork([0, 2, 0])
        assert session._padding.tolist() == [1, 0, 1]
        session.push([8, 9, 10])
        assert_rows(session, plain(family))


def test_the_cache_is_ours_unless_a_layer_keeps_a_state(tiny: Tiny) -> None:
    assert isinstance(tiny("gemma3").open([[1]])._cache, GrowingCache)
    assert tiny("gemma3").network.windows == (8, None, 8)
    assert tiny("qwen3next").network.windows is None


def test_energies_stay_the_same_array(tiny: Tiny) -> None:
    session = tiny("llama").open([[1], [2]])
    assert session.energies() is session.energies()
    before = session.energies()
    session.fork([0, 1])
    assert session.energies() is before


def test_bfloat16_energies_keep_their_dtype(folders: Callable[[str], Path]) -> None:
    from heatbath.models.hub.load_local import load_folder

    model = load_folder(folders("llama"), dtype="bfloat16")
    assert model.open([[1, 2]]).energies().dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([1], "one token id for each of 2 rows"),
        ([1, 999], "token id 999"),
        ([1.0, 2.0], "1.0 is not an integer"),
    ],
)
def test_bad_pushes(tokens: Sequence[Any], says: str, tiny: Tiny) -> None:
    session = tiny("llama").open([[1], [2]])
    with pytest.raises(BadInput, match=says):
        session.push(tokens)
    assert [list(row) for row in session.tokens] == [[1], [2]]


@pytest.mark.parametrize("rows", [[], [2], [-1], [0.5]])
def test_bad_forks(rows: Sequence[Any], tiny: Tiny) -> None:
    with pytest.raises(BadInput, match="row numbers from 0 to 1"):
        tiny("llama").open([[1], [2]]).fork(rows)


def test_the_context_is_a_limit(tiny: Tiny) -> None:
    model = tiny("llama")
    with pytest.raises(BadInput, match="97 tokens are more than the 96"):
        model.open([[1] * 97])
    session = model.open([[1] * 95, [2]])
    session.push([3, 3])
    session.energies()
    with pytest.raises(BadInput, match="97 tokens"):
        session.push([4, 4])


@pytest.mark.parametrize(
    ("prompts", "says"), [([], "at least one prompt"), ([[-1]], "token id -1"), (["text"], "list of token ids")]
)
def test_bad_prompts(prompts: Any, says: str, tiny: Tiny) -> None:
    with pytest.raises(BadInput, match=says):
        tiny("llama").open(prompts)


def test_numpy_prompts_are_prompts(tiny: Tiny) -> None:
    assert list(tiny("llama").open([np.array([1, 2])]).tokens[0]) == [1, 2]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_prefill_does_not_copy_the_output_matrix_for_every_row(family: str, tiny: Tiny) -> None:
    model = tiny(family)
    assert model.network.has_plain_head == (family == "llama")
    strided: list[bool] = []
    head = model.network.module.get_output_embeddings()
    hook = head.register_forward_hook(lambda _module, args, _out: strided.append(not args[0].is_contiguous()))
    session = model.open([[1, 2, 3], [4, 5], [6]])
    session.energies()
    session.push([7, 8, 9])
    session.push([7, 8, 9])
    session.energies()
    hook.remove()
    assert strided == [False, False]
