"""Tiny random models of many families: measuring, generation and serving have the energies of transformers.

The families and the table of docs/models.md are in tools/model_families.py.
"""

from __future__ import annotations

import importlib.util
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import heatbath as hb
from heatbath.models.hf import network_check
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.row_sessions import RecomputingSession, RowSessions
from heatbath.models.hf.session import TransformersSession
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.pretrained_loader import suppress_library_output
from heatbath.models.hub.reference import compare_with_module
from heatbath.testing import check_model

TOOL = Path(__file__).resolve().parents[2] / "tools" / "model_families.py"
LARGEST_ERROR = 2e-4
FINGERPRINT = f"sha256:{0:064}"


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_families", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_families"] = module
    spec.loader.exec_module(module)
    return module


TABLE: Any = _load_tool()
PAGE = dict(TABLE.read_page())
RECURRENT = {"mamba": "length", "falcon_mamba": "length", "rwkv": "row", "recurrent_gemma": "none"}


def build(family: str) -> tuple[TransformersModel, Any]:
    """A tiny model without a tokenizer, and the module it was made of, untouched."""
    with suppress_library_output():
        module = TABLE.build_module(family)
        return TransformersModel(
            deepcopy(module),
            None,
            name=family,
            compute_fingerprint=lambda: FINGERPRINT,
            metadata=ModelMetadata(start=(0,)),
        ), module


def test_the_page_has_the_families_that_are_tested() -> None:
    assert list(PAGE) == list(TABLE.FAMILIES)
    assert len(PAGE) >= 20


@pytest.mark.parametrize("family", TABLE.FAMILIES)
def test_energies_are_those_of_transformers(family: str) -> None:
    row = TABLE.check_family(family)
    assert max(row.score, row.session, row.pool) < LARGEST_ERROR
    assert PAGE[family] == TABLE.CACHE_TEXT[row.cache_use]


@pytest.mark.parametrize("family", RECURRENT)
def test_recurrent_models_generate_from_the_whole_context(family: str) -> None:
    """Two prompts of different lengths, three texts of each: every recorded log-probability, by definition."""
    model, module = build(family)
    prompts = [[5, 6, 7, 8, 9], [20, 21]]
    assert model.network_check.cache_use == RECURRENT[family]
    out = hb.generate(model, prompts, max_tokens=6, n=3, seed=0, temperature=1.0)
    for row, trace in enumerate(out.traces):
        prompt = prompts[row // 3]
        text = [*prompt, *out.sequences[row]]
        with torch.inference_mode():
            logits = module(torch.tensor([text]), use_cache=False).logits[0].double()
        logprobs = logits.log_softmax(-1)[range(len(prompt) - 1, len(text) - 1), text[len(prompt) :]]
        assert trace.logprob(1.0) == pytest.approx(logprobs.numpy(), abs=1e-3)


@pytest.mark.parametrize("family", ["rwkv", "mamba", "recurrent_gemma", "falcon_h1"])
def test_recurrent_models_keep_the_contract(family: str) -> None:
    sequences = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15, 16], [17, 18, 19]]
    check_model(build(family)[0], sequences, tolerance=1e-3)


def test_the_session_is_the_one_that_the_cache_allows() -> None:
    kinds = {}
    for family in RECURRENT:
        model, _ = build(family)
        kinds[family] = type(model.open([[5, 6], [7, 8]])), type(model.open([[5, 6], [7]]))
    assert kinds["mamba"] == (TransformersSession, RowSessions)
    assert kinds["rwkv"] == (RowSessions, RowSessions)
    assert kinds["recurrent_gemma"] == (RecomputingSession, RecomputingSession)


def test_a_cache_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with a cache believed in, RWKV forgets its context."""
    trust = network_check.NetworkCheck("batch", None, None, 1.0)
    monkeypatch.setattr(
        "heatbath.models.hf.transformers_model.check_network", lambda network, **options: (network, trust)
    )
    model, module = build("recurrent_gemma")
    errors = compare_with_module(model, module, [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24, 25]])
    assert errors.score.nats < LARGEST_ERROR < 1e-3 < errors.session.nats


def test_sessions_of_a_module_with_a_state_do_not_disturb_each_other() -> None:
    model, module = build("recurrent_gemma")
    first, second = model.open([[5, 6, 7]]), model.open([[30, 31, 32, 33]])
    first.energies(), second.energies()
    first.push([8])
    with torch.inference_mode():
        expected = -module(torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(first.energies()[0], expected, atol=1e-4, rtol=0)
