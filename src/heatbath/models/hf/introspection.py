"""What a neural model gives besides energies: hidden states, attention weights, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heatbath.models.hf.network import Network


def hidden_states(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """States of one sequence (T,) before the first layer and after each, (L + 1, T, D)."""
    with torch.inference_mode():
        out = network.module(input_ids=tokens[None], output_hidden_states=True, use_cache=False, return_dict=True)
    return torch.stack([layer[0] for layer in out.hidden_states])


def attentions(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """Attention weights of one sequence (T,), (L, H, T, T); row t sums to one over the positions up to t."""
    with network.eager_attention(), torch.inference_mode():
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


@dataclass(frozen=True)
class TokenGradients:
    r"""How the log-probability of B answers of L tokens changes with their tokens.

    Attributes:
        logprobs: log-probability of every token at each place, given those before, (B, L, V).
        gradient: $\partial \log p(x) / \partial$ embeddings that the answer is read by, (B, L, D): what a place does to
            later ones, so zero at the last.
    """

    logprobs: torch.Tensor
    embedding_gradient: torch.Tensor


def token_gradients(network: Network, tokens: torch.Tensor, length: int, beta: float) -> TokenGradients:
    """Of the last `length` of `tokens` (B, T), at inverse temperature `beta`; one pass forward and one back."""
    read, kept = tokens[:, :-1], slice(tokens.shape[1] - 1 - length, tokens.shape[1] - 1)
    embeddings = network.module.get_input_embeddings()(read).detach().clone().requires_grad_(True)
    given = {"logits_to_keep": torch.arange(kept.start, kept.stop, device=tokens.device)}
    some = given if "logits_to_keep" in network.forward_parameters else {}
    with torch.enable_grad():
        logits = network.module(inputs_embeds=embeddings, use_cache=False, return_dict=True, **some).logits
        logits = logits if some else logits[:, kept]
        wide = logits if logits.dtype == torch.float64 else logits.float()
        logprobs = (beta * wide).log_softmax(-1)
        total = logprobs.gather(-1, tokens[:, -length:, None]).sum()
        (slope,) = torch.autograd.grad(total, embeddings)
    last = torch.zeros_like(slope[:, :1])
    gradient = torch.cat([slope[:, kept.start + 1 :], last], 1)
    return TokenGradients(logprobs.detach(), gradient.to(wide.dtype))


def input_embeddings(network: Network, size: int) -> torch.Tensor:
    """What each of `size` tokens is read by, (V, D)."""
    layer = network.module.get_input_embeddings()
    if type(layer) is torch.nn.Embedding:
        weight: torch.Tensor = layer.weight[:size]
        return weight.detach()
    table: torch.Tensor = layer(torch.arange(size, device=network.device))
    return table.detach()
