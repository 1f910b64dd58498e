"""What a neural model gives besides energies: hidden states, attention weights, gradients."""

from __future__ import annotations

import torch

from heatbath.models.network import Network


def hidden_states(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """States of one sequence (T,) before the first layer and after each, (L + 1, T, D)."""
    with torch.inference_mode():
        out = network.module(input_ids=tokens[None], output_hidden_states=True, use_cache=False, return_dict=True)
    return torch.stack([layer[0] for layer in out.hidden_states])


def attentions(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """Attention weights of one sequence (T,), (L, H, T, T); row t sums to one over the positions up to t."""
    with network.eager(), torch.inference_mode():
        out = network.module(input_ids=tokens[None], output_attentions=True, use_cache=False, return_dict=True)
    return torch.stack([layer[0] for layer in out.attentions])


def gradient(network: Network, tokens: torch.Tensor, position: int | None) -> torch.Tensor:
    """Gradient of log p(tokens), or of one token's, with respect to the input embeddings, (T, D)."""
    embeddings = network.module.get_input_embeddings()(tokens[None]).detach().clone().requires_grad_(True)
    with torch.enable_grad():
        out = network.module(inputs_embeds=embeddings, use_cache=False, return_dict=True)
        logprobs = out.logits[0, :-1].float().log_softmax(-1).gather(-1, tokens[1:, None])[:, 0]
        chosen = logprobs.sum() if position is None else logprobs[position - 1]
        (slope,) = torch.autograd.grad(chosen, embeddings)
    result: torch.Tensor = slope[0]
    return result
