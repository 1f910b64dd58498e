"""Hidden states, attention and gradients against `transformers` and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from heatbath.errors import BadInput
from heatbath.models import ChatModel, GradientModel, NetworkModel, TableModel, ToolModel
from heatbath.models.hub.pretrained_loader import suppress_library_output

Tiny = Callable[[str], Any]
TEXT, TOKENS = [256, *range(40, 60)], 259


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_attentions_are_those_of_eager_attention(family: str, tiny: Tiny, folders: Callable[[str], Path]) -> None:
    model = tiny(family)
    before = model.network.config._attn_implementation
    ours = model.attentions(TEXT)
    with suppress_library_output(), torch.no_grad():
        module = AutoModelForCausalLM.from_pretrained(folders(family), dtype=torch.float32, attn_implementation="eager")
        theirs = torch.cat(module(torch.tensor([TEXT]), output_attentions=True).attentions)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours.sum(-1), torch.ones(ours.shape[:-1]))
    assert ours.triu(1).abs().max() == 0
    assert model.network.config._attn_implementation == before


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_hidden_states(family: str, tiny: Tiny, plain: Tiny) -> None:
    ours = tiny(family).hidden_states(TEXT)
    with torch.no_grad():
        theirs = plain(family).module(torch.tensor([TEXT]), output_hidden_states=True).hidden_states
    assert ours.shape == (4, len(TEXT), 32)
    torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("position", [None, 5])
def test_gradient_is_that_of_the_embedding_table(position: int | None, tiny: Tiny, plain: Tiny) -> None:
    module = plain("llama").module
    table = module.get_input_embeddings().weight
    each = module(torch.tensor([TEXT])).logits[0, :-1, :TOKENS].log_softmax(-1)[range(len(TEXT) - 1), TEXT[1:]]
    (slope,) = torch.autograd.grad(each.sum() if position is None else each[position - 1], table)
    ours = tiny("llama").gradient(TEXT, position=position)
    torch.testing.assert_close(ours, slope[TEXT], atol=1e-4, rtol=1e-4)
    assert ours.abs().max() > 1e-2


def test_a_gradient_needs_a_probability(tiny: Tiny) -> None:
    with pytest.raises(BadInput, match="at least two tokens"):
        tiny("llama").gradient([1])
    with pytest.raises(BadInput, match="position 0 has no probability"):
        tiny("llama").gradient([1, 2], position=0)
    with pytest.raises(BadInput, match="empty"):
        tiny("llama").hidden_states([])


def test_capabilities(tiny: Tiny) -> None:
    model = tiny("llama")
    assert all(isinstance(model, kind) for kind in (ChatModel, GradientModel, NetworkModel, ToolModel))
    exact = TableModel.random(0, 3, 4)
    assert not any(isinstance(exact, kind) for kind in (ChatModel, GradientModel, NetworkModel, ToolModel))
