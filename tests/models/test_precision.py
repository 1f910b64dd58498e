"""The precision of log-probabilities: a head in float32 for weights in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import heatbath as hb
from heatbath.models.hf import output_head
from heatbath.models.hub.load_local import load_folder

TEXT = [256, *range(40, 60)]


def _reference_energies(model: Any, cap: float | None) -> torch.Tensor:
    """From the model's own hidden states in bfloat16, by products in float64."""
    module = model.network.module
    with torch.inference_mode():
        hidden = module.get_decoder()(input_ids=torch.tensor([TEXT]), use_cache=False).last_hidden_state[0]
        logits = hidden.double() @ module.get_output_embeddings().weight.double().T
    return -(logits if cap is None else cap * (logits / cap).tanh())[:-1, :259]


@pytest.mark.parametrize(("family", "cap"), [("llama", None), ("gemma2", 1.5)])
def test_measuring_in_bfloat16_has_a_head_in_float32(
    family: str, cap: float | None, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_head, "_WEIGHTS_PER_BLOCK", 32 * 100)  # several blocks, the last one short
    model = load_folder(folders(family), dtype="bfloat16")
    energies = torch.cat([chunk.energies for chunk in model.score([TEXT])])
    assert energies.dtype == torch.float32
    expected = _reference_energies(model, cap)
    torch.testing.assert_close(energies[:, :259].double(), expected, atol=1e-5, rtol=1e-5)
    # Negative control: one rounding to bfloat16 is far from it.
    assert (expected.bfloat16().double() - expected).abs().max() > 1e-3


def test_a_head_with_a_bias_is_added_in_float32() -> None:
    head = torch.nn.Linear(16, 40).bfloat16()
    hidden = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    wide = output_head.compute_wide_logits(head, hidden)
    expected = hidden.double() @ head.weight.double().T + head.bias.double()
    assert wide.dtype == torch.float32 and wide.shape == (3, 2, 40)
    torch.testing.assert_close(wide.double(), expected.detach(), atol=1e-5, rtol=1e-5)


def test_float32_heads_are_left_alone(folders: Callable[[str], Path]) -> None:
    model = load_folder(folders("gemma2"), dtype="float32")
    assert "forward" not in vars(model.network.module.get_output_embeddings())


def test_log_probabilities_at_low_temperature_are_not_on_a_grid(folders: Callable[[str], Path]) -> None:
    trace = hb.measure(load_folder(folders("llama"), dtype="bfloat16"), TEXT)
    energies = torch.tensor(trace.energies[trace.scored_mask])
    assert not torch.equal(energies, energies.bfloat16().to(energies.dtype))
