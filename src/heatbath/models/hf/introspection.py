"""Hidden states, attention weights and gradients of a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heatbath.models.hf.network import Network


def hidden_states(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """Return the hidden states of one sequence (T,) before the first layer and after each, (L + 1, T, D)."""
    with torch.inference_mode():
        out = network.module(input_ids=tokens[None], output_hidden_states=True, use_cache=False, return_dict=True)
    return torch.stack([layer[0] for layer in out.hidden_states])


def attentions(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    """Return the attention weights of one sequence (T,), (L, H, T, T); row t sums to one over positions up to t."""
    with network.eager_attention(), torch.inference_mode():
        out = network.module(input_ids=tokens[None], output_attentions=True, use_cache=False, return_dict=True)
    return torch.stack([layer[0] for layer in out.attentions])


def gradient(network: Network, tokens: torch.Tensor, position: int | None) -> torch.Tensor:
    """Return the gradient of log p of a sequence, or of one token in it, in the input embeddings, (T, D)."""
    embeddings = network.module.get_input_embeddings()(tokens[None]).detach().clone().requires_grad_(True)
    with torch.enable_grad():
        out = network.module(inputs_embeds=embeddings, use_cache=False, return_dict=True)
        logits = -network.close_tokens(-out.logits[0, :-1].float())
        logprobs = logits.log_softmax(-1).gather(-1, tokens[1:, None])[:, 0]
        total = logprobs.sum() if position is None else logprobs[position - 1]
        (embedding_gradient,) = torch.autograd.grad(total, embeddings)
    result: torch.Tensor = embedding_gradient[0]
    return result


@dataclass(frozen=True)
class TokenGradients:
    r"""Log-probabilities of B sequences of L tokens, and their gradient in the embeddings of these tokens.

    Attributes:
        logprobs: log-probability of every token at each position, given those before, (B, L, V).
        embedding_gradient: $\partial \log p(x) / \partial$ input embeddings, (B, L, D): the effect of a position on
            later ones, so zero at the last.
    """

    logprobs: torch.Tensor
    embedding_gradient: torch.Tensor


def token_gradients(network: Network, tokens: torch.Tensor, length: int, beta: float) -> TokenGradients:
    """Return the gradients of the last `length` of `tokens` (B, T) at `beta`, by one forward and one backward pass."""
    inputs, scored = tokens[:, :-1], slice(tokens.shape[1] - 1 - length, tokens.shape[1] - 1)
    embeddings = network.module.get_input_embeddings()(inputs).detach().clone().requires_grad_(True)
    keep = {"logits_to_keep": torch.arange(scored.start, scored.stop, device=tokens.device)}
    options = keep if "logits_to_keep" in network.forward_parameters else {}
    with torch.enable_grad():
        logits = network.module(inputs_embeds=embeddings, use_cache=False, return_dict=True, **options).logits
        logits = logits if options else logits[:, scored]
        wide = logits if logits.dtype == torch.float64 else logits.float()
        logprobs = (-network.close_tokens(-beta * wide)).log_softmax(-1)
        total = logprobs.gather(-1, tokens[:, -length:, None]).sum()
        (input_gradient,) = torch.autograd.grad(total, embeddings)
    last = torch.zeros_like(input_gradient[:, :1])
    gradient = torch.cat([input_gradient[:, scored.start + 1 :], last], 1)
    return TokenGradients(logprobs.detach(), gradient.to(wide.dtype))


def input_embeddings(network: Network, size: int) -> torch.Tensor:
    """Return the input embeddings of the first `size` tokens, (V, D)."""
    layer = network.module.get_input_embeddings()
    if type(layer) is torch.nn.Embedding:
        weight: torch.Tensor = layer.weight[:size]
        return weight.detach()
    table: torch.Tensor = layer(torch.arange(size, device=network.device))
    return table.detach()
