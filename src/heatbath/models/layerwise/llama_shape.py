"""The sizes of a Llama model, and the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LAYER_WEIGHTS = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""The weights of one layer."""


def layer_tensor(layer: int, name: str) -> str:
    """Return the name of a layer's weight in a model's file."""
    return f"model.layers.{layer}.{name}.weight"


@dataclass(frozen=True)
class LlamaShape:
    """The sizes and constants of a Llama model; `tied` if the output matrix is that of the embeddings."""

    layers: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_dim: int
    vocab: int
    eps: float
    rope_theta: float
    tied: bool

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor in the model's file."""
        queries, keys = self.heads * self.head_dim, self.key_heads * self.head_dim
        layer: tuple[tuple[int, ...], ...] = (
            (self.hidden,),
            (queries, self.hidden),
            (keys, self.hidden),
            (keys, self.hidden),
            (self.hidden, queries),
            (self.hidden,),
            (self.inner, self.hidden),
            (self.inner, self.hidden),
            (self.hidden, self.inner),
        )
        shapes = {
            layer_tensor(i, name): shape
            for i in range(self.layers)
            for name, shape in zip(LAYER_WEIGHTS, layer, strict=True)
        }
        head = {} if self.tied else {"lm_head.weight": (self.vocab, self.hidden)}
        ends: Mapping[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        return {**ends, **shapes, **head}
