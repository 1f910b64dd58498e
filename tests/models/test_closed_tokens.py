"""Rows of the output matrix without a token have energy +inf: outside log Z, never drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import heatbath as hb
from heatbath.models.base import Vocabulary
from heatbath.models.hf.transformers_model import _find_closed_tokens
from heatbath.models.hub.load_local import load_folder
from heatbath.models.pool.open_pool import build_pool

Tiny = Callable[[str], Any]
SIZE, TOKENS = 264, 259
TEXT = [256, *range(40, 60)]
FAMILIES = ["llama", "gemma2", "qwen3next"]


def _log_z(plain: Any, tokens: list[int], temperature: float) -> np.ndarray[Any, Any]:
    """Sum over the rows with a token, after each position."""
    with torch.no_grad():
        logits = plain.module(torch.tensor([tokens])).logits[0, :, :TOKENS].double()
    return np.asarray((logits / temperature).logsumexp(-1))


@pytest.mark.parametrize("family", FAMILIES)
def test_log_z_of_measuring_is_over_tokens(family: str, tiny: Tiny, plain: Tiny) -> None:
    trace = hb.measure(tiny(family), TEXT, temperature=2.0)
    assert trace.record["log_z"][trace.scored_mask] == pytest.approx(_log_z(plain(family), TEXT, 2.0)[:-1], abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_z_of_generating_is_over_tokens_and_no_other_row_is_drawn(family: str, tiny: Tiny, plain: Tiny) -> None:
    out = hb.generate(tiny(family), [[5, 6, 7]], n=120, max_tokens=4, temperature=5.0, seed=0, ignore_eos=True)
    assert max(token for row in out.sequences for token in row) < TOKENS
    for row in (0, 50):
        tokens = [5, 6, 7, *out.sequences[row]]
        expected = _log_z(plain(family), tokens, 5.0)[2:-1]
        assert out.traces[row].record["log_z"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_pools_and_gradients_leave_them_out(family: str, tiny: Tiny) -> None:
    model = tiny(family)
    pool = build_pool(model)
    energies = pool.energies(pool.open([TEXT, TEXT[:3]]))
    assert bool((energies[:, TOKENS:] == torch.inf).all()) and bool(energies[:, :TOKENS].isfinite().all())
    logprobs = model.token_gradients([TEXT], 3).logprobs
    assert bool((logprobs[..., TOKENS:] == -torch.inf).all())
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(1, 3))


def test_without_closing_them_they_are_drawn(folders: Callable[[str], Path]) -> None:
    """Negative control: at T = 5 some of 480 tokens are among 5 of 264 rows."""
    model = load_folder(folders("llama"), dtype="float32")
    object.__setattr__(model.network, "closed_tokens", None)
    out = hb.generate(model, [[5, 6, 7]], n=120, max_tokens=4, temperature=5.0, seed=0, ignore_eos=True)
    assert max(token for row in out.sequences for token in row) >= TOKENS


class _Words:
    """A vocabulary of the ids 0 to 6 and 9."""

    def __len__(self) -> int:
        return 8

    def get_vocab(self) -> dict[str, int]:
        return {str(token): token for token in (*range(7), 9)}


@pytest.mark.parametrize(
    ("size", "ends", "padding", "closed"),
    [
        (12, (), (), [7, 8, 10, 11]),
        (12, (11,), (), [7, 8, 10]),
        (12, (7, 8), (), [10, 11]),
        (10, (7, 8), (), []),
        (8, (), (), [7]),
        (12, (8,), (5, 8), [5, 7, 10, 11]),
    ],
)
def test_gaps_are_closed_and_ends_stay_open(
    size: int, ends: tuple[int, ...], padding: tuple[int, ...], closed: list[int]
) -> None:
    """A token that ends a document does so even if the tokenizer does not have it."""
    found = _find_closed_tokens(_Words(), Vocabulary(size, stop_token_ids=ends), padding)
    energies = torch.zeros(2, size)
    if found is not None:
        energies[..., found] = torch.inf
    assert energies.isinf().nonzero().tolist() == [[row, token] for row in (0, 1) for token in closed]
