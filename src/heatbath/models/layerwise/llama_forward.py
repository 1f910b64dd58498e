"""The forward pass of Llama over whole sequences, layer by layer: the operations of `transformers`, in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from heatbath.models.layerwise.llama_shape import LAYER_WEIGHTS, LlamaShape, layer_tensor

Weights = Callable[[str], torch.Tensor]


def hidden_states(shape: LlamaShape, weights: Weights, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the input of the output head for each sequence, (T, D); a layer's weights are read once for all."""
    embeddings = weights("model.embed_tokens.weight")
    states = [embeddings[torch.tensor(list(tokens), dtype=torch.long)][None] for tokens in sequences]
    del embeddings
    angles = [_rotary_angles(shape, state.shape[1]) for state in states]
    for i in range(shape.layers):
        layer = {name: weights(layer_tensor(i, name)) for name in LAYER_WEIGHTS}
        states = [_apply_layer(shape, layer, state, *angle) for state, angle in zip(states, angles, strict=True)]
    norm = weights("model.norm.weight")
    return [_rms_norm(state, norm, shape.eps)[0] for state in states]


def _apply_layer(
    shape: LlamaShape, layer: dict[str, torch.Tensor], state: torch.Tensor, *angles: torch.Tensor
) -> torch.Tensor:
    normed = _rms_norm(state, layer["input_layernorm"], shape.eps)
    state = state + linear(_attend(shape, layer, normed, *angles), layer["self_attn.o_proj"])
    normed = _rms_norm(state, layer["post_attention_layernorm"], shape.eps)
    gated = silu(linear(normed, layer["mlp.gate_proj"])) * linear(normed, layer["mlp.up_proj"])
    return state + linear(gated, layer["mlp.down_proj"])


def _attend(
    shape: LlamaShape, layer: dict[str, torch.Tensor], normed: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    parts = (linear(normed, layer[f"self_attn.{name}_proj"]) for name in "qkv")
    query, key, value = (part.view(1, normed.shape[1], -1, shape.head_dim).transpose(1, 2) for part in parts)
    query, key = query * cos + _rotate_half(query) * sin, key * cos + _rotate_half(key) * sin
    fold = shape.heads // shape.key_heads
    key, value = (each.repeat_interleave(fold, 1) for each in (key, value))
    out = scaled_dot_product_attention(query, key, value, is_causal=query.shape[2] > 1, scale=shape.head_dim**-0.5)
    return out.transpose(1, 2).reshape(1, normed.shape[1], -1)


def _rms_norm(state: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    variance = state.pow(2).mean(-1, keepdim=True)
    return weight * (state * torch.rsqrt(variance + eps))


def _rotate_half(states: torch.Tensor) -> torch.Tensor:
    half = states.shape[-1] // 2
    return torch.cat((-states[..., half:], states[..., :half]), -1)


def _rotary_angles(shape: LlamaShape, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float) / shape.head_dim
    frequencies = 1.0 / (shape.rope_theta**exponents)
    angles = torch.arange(length)[:, None].float() * frequencies
    both = torch.cat((angles, angles), -1)
    return both.cos(), both.sin()


def output_matrix(shape: LlamaShape, weights: Weights) -> torch.Tensor:
    """Return the matrix of the output head, (V, D)."""
    return weights("model.embed_tokens.weight" if shape.tied else "lm_head.weight")
