"""The fast Llama-like decoder: energies against those of the module, and the choice of supported modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from heatbath.engine.pool_session import find_fast_opener
from heatbath.kernels.exp2 import LOG2E
from heatbath.models import RestrictedModel
from heatbath.models.cpu_llama import decoder, decoder_kernels
from heatbath.models.hub.load_local import load_folder
from heatbath.models.pool.batched_pool import BatchedPool
from heatbath.models.pool.open_pool import build_pool

Save = Callable[[Path, Any], Path]
WIDE: dict[str, Any] = {
    "vocab_size": 264, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 96, "initializer_range": 0.1, "bos_token_id": 256,
}  # fmt: skip
SHAPES = {
    "llama": LlamaConfig(**WIDE),
    "alone": LlamaConfig(**{**WIDE, "num_key_value_heads": 4}),
    "four": LlamaConfig(**{**WIDE, "num_key_value_heads": 1}),
    "sliding": MistralConfig(**WIDE, sliding_window=8),
    "biased": Qwen2Config(**WIDE),
}
HAS_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pair(folder: Path) -> tuple[Any, Any]:
    """The same weights, rounded to bfloat16, computed in bfloat16 and in float32."""
    rough, fine = load_folder(folder, dtype="bfloat16"), load_folder(folder, dtype="float32")
    fine.network.module.load_state_dict({k: v.float() for k, v in rough.network.module.state_dict().items()})
    return rough, fine


@pytest.mark.parametrize("multiplies", [True, False] if HAS_BFLOAT16 else [False])
@pytest.mark.parametrize("shape", SHAPES)
def test_energies_are_closer_to_float32_than_those_of_the_module(
    shape: str, multiplies: bool, tmp_path: Path, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "_multiplies_bfloat16", lambda: multiplies)
    rough, fine = pair(saved(tmp_path, SHAPES[shape]))
    pool = build_pool(rough, prefix_bytes=1 << 20)
    assert isinstance(pool, BatchedPool) and pool._cpu_decoder is not None
    rng = np.random.default_rng(0)
    rows = pool.open([rng.integers(0, 256, size).tolist() for size in (1, 40, 7, 23, 24)])
    ours, theirs = [], []
    for step in range(6):
        energies = pool.energies(rows).float()
        for got, row in zip(energies, rows, strict=True):
            exact = fine.open([pool.tokens(row)]).energies()[0]
            is_open = exact.isfinite()
            assert not is_open.all() and torch.equal(got.isfinite(), is_open), "rows without a token are closed"
            got, exact = got[is_open], exact[is_open]
            plain = rough.open([pool.tokens(row)]).energies()[0].float()[is_open]
            ours.append(float((got - exact).square().mean()))
            theirs.append(float((plain - exact).square().mean()))
        pool.push(rows, rng.integers(0, 256, len(rows)).tolist())
        if step == 3:
            pool.close([rows.pop(0)])
            rows += pool.open([[*pool.tokens(rows[0])[:30], 1, 2]])
    assert np.mean(ours) < np.mean(theirs)


def test_a_model_without_some_of_its_tokens_uses_the_decoder_too(tmp_path: Path, saved: Save) -> None:
    """As a sweep of texts of one length, which forbids the end of text."""
    rough, _ = pair(saved(tmp_path, SHAPES["llama"]))
    whole, restricted = find_fast_opener(rough), find_fast_opener(RestrictedModel(rough, [3, 7]))
    assert whole is not None and restricted is not None
    session, other = restricted([[1, 2], [5]]), whole([[1, 2], [5]])
    for _ in range(2):
        energies, plain = session.energies().float(), other.energies().float()
        assert energies[:, [3, 7]].isinf().all()
        plain[:, [3, 7]] = torch.inf
        assert torch.equal(energies, plain)
        session.push([4, 6])
        other.push([4, 6])
    session.close()


def test_modules_of_another_structure_are_refused(tiny: Callable[[str], Any], folders: Callable[[str], Path]) -> None:
    assert not decoder.supports_network(tiny("llama").network)
    for family, takes in {"llama": True, "mistral": True, "gemma3": False, "gemma2": False, "gpt2": False}.items():
        assert decoder.supports_network(load_folder(folders(family), dtype="bfloat16").network) == takes


def test_large_modules_are_not_copied(folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MAX_COPIED_WEIGHTS", 1000)
    network = load_folder(folders("llama"), dtype="bfloat16").network
    for multiplies in (True, False):
        monkeypatch.setattr(decoder, "_multiplies_bfloat16", lambda multiplies=multiplies: multiplies)
        assert decoder.supports_network(network) == multiplies


def test_modules_that_compute_differently_are_detected(tmp_path: Path, saved: Save) -> None:
    model = load_folder(saved(tmp_path, SHAPES["llama"]), dtype="bfloat16")
    model.network.module.get_decoder().layers[1].mlp.register_forward_hook(lambda _module, _args, out: 3 * out)
    assert decoder.supports_network(model.network)
    pool = build_pool(model)
    assert isinstance(pool, BatchedPool) and pool._cpu_decoder is None


@pytest.mark.parametrize(("heads", "groups", "window"), [(9, 3, 99), (4, 4, 99), (8, 2, 5), (2, 2, 1)])
def test_attention_of_rows_of_all_lengths(heads: int, groups: int, window: int) -> None:
    torch.manual_seed(0)
    kept = torch.randn(2, 3, groups, 16, 32).bfloat16()
    query, out = torch.randn(3, heads, 32).bfloat16(), torch.empty(3, heads, 32, dtype=torch.bfloat16)
    ends = np.array([[2, 1], [0, 16], [1, 7]])
    pairs = (decoder._as_pairs(kept[0]), decoder._as_pairs(kept[1]))
    how = (np.float32(32**-0.5 * LOG2E), window)
    decoder_kernels.attend(0, 3, decoder._as_words(query), pairs, ends, how, decoder._as_words(out))
    for row, (slot, end) in enumerate(ends.tolist()):
        low = max(0, end - window)
        keys, values = kept[:, slot, :, low:end].float().repeat_interleave(heads // groups, 1)
        wanted = torch.nn.functional.scaled_dot_product_attention(query[row, :, None].float(), keys, values)
        torch.testing.assert_close(out[row].float(), wanted[:, 0], atol=1e-2, rtol=1e-2)


def test_rounding_is_that_of_torch() -> None:
    numbers = torch.cat(
        [torch.randn(1000), torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 3.4e38, 1e-40, 1.00390625])]
    )
    words = np.array([decoder_kernels.to_bfloat16(np.float32(number)) for number in numbers.tolist()], np.uint16)
    np.testing.assert_array_equal(words, numbers.bfloat16().view(torch.uint16).numpy())
    assert (
        torch.from_numpy(np.array([decoder_kernels.to_bfloat16(np.float32(np.nan))], np.uint16))
        .view(torch.bfloat16)
        .isnan()
        .all()
    )
