"""A fast Llama-like decoder in bfloat16 on the CPU: packed weights, and fused kernels between the matrix products.

The forward pass of `transformers` makes some forty small operations per layer and reorders each weight matrix at every
product. Here matrices are packed once for the processor, those with the same input are joined, and the operations
between them are fused. Sums that `transformers` rounds at every step are kept in float32.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

from heatbath.kernels.exp2 import LOG2E
from heatbath.kernels.thread_pool import WORK_PER_THREAD, share_rows
from heatbath.models.cpu_llama import decoder_kernels
from heatbath.models.hf.network import Network
from heatbath.models.pool.slot_kv_cache import PositionBlock

_LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
_MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_NO_WINDOW = 1 << 40
_PACKED_BATCH_ROWS = 64
_MAX_COPIED_WEIGHTS = 600_000_000
"""Weights of the largest model that is copied to float32: 2.4 GB."""

Words = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]


class PackedLinear:
    """One or more linear layers with the same input, packed once: (n, in) bfloat16 -> (n, out).

    A processor without instructions for bfloat16 multiplies in float32, from a copy of the weights twice their size.
    The products are then those of the same numbers, and only sums are more precise.
    """

    def __init__(self, *layers: torch.nn.Linear) -> None:
        dtype = torch.bfloat16 if _multiplies_bfloat16() else torch.float32
        weight = torch.cat(tuple(layer.weight for layer in layers)).to(dtype)
        biases = [layer.bias for layer in layers]
        self.out_features = weight.shape[0]
        self._bias = None if biases[0] is None else torch.cat(tuple(biases)).to(dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_BATCH_ROWS)
        self._dtype = dtype

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        converted = inputs.to(self._dtype)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(converted, self._weight, self._bias, "none", [], "")
        return out.to(inputs.dtype)


@dataclass(frozen=True)
class _DecoderLayer:
    qkv_proj: PackedLinear
    o_proj: PackedLinear
    gate_up_proj: PackedLinear
    down_proj: PackedLinear
    input_norm: Floats
    post_attention_norm: Floats


@dataclass(frozen=True)
class _LayerCache:
    """Views of the keys and values of one layer, made once: a new view takes longer than a small kernel."""

    keys: torch.Tensor
    values: torch.Tensor
    words: tuple[Words, Words]
    pairs: tuple[Any, Any]


@dataclass(frozen=True)
class _ForwardLayout:
    """The layout of a forward pass over M new positions.

    Attributes:
        slot_columns: slot and column of each, (M, 2).
        ends: slot and end of the keys of each, (M, 2).
        angles: cosines and sines of the rotary embedding of each, (M, D).
    """

    block: PositionBlock
    slot_columns: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    angles: tuple[Floats, Floats]


class _Workspace:
    """Buffers for the values between two matrix products of `rows` positions, shared by all layers."""

    def __init__(self, rows: int, *widths: int) -> None:
        self.rows = rows
        self.tensors = [torch.empty((rows, width), dtype=torch.bfloat16) for width in widths]
        self.words = [_as_words(tensor) for tensor in self.tensors]


class CpuLlama:
    """The decoder of `network`, from token ids to hidden states; see `supports_network`."""

    def __init__(self, network: Network) -> None:
        decoder = network.module.get_decoder()
        attention = decoder.layers[0].self_attn
        self._embeddings, self._rotary = decoder.embed_tokens, decoder.rotary_emb
        self._layers = [_build_layer(layer) for layer in decoder.layers]
        self._final_norm = _norm_weights(decoder.norm)
        self._eps = np.float32(decoder.norm.variance_epsilon)
        self._head_dim = int(attention.head_dim)
        self._num_heads = attention.q_proj.out_features // self._head_dim
        self._scaling = float(attention.scaling)
        self._windows = [_NO_WINDOW if window is None else window for window in network.windows or ()]
        self._buffer, self._layer_caches, self._workspace = torch.empty(0), list[_LayerCache](), self._new_workspace(1)
        self.head = PackedLinear(network.module.get_output_embeddings())

    def __call__(
        self, tokens: torch.Tensor, buffer: torch.Tensor, block: PositionBlock, positions: torch.Tensor
    ) -> torch.Tensor:
        """Return the hidden state after the last of `tokens` (B, q), (B, D) bfloat16.

        Keys and values are written to `buffer`.
        """
        if buffer is not self._buffer:
            self._buffer, self._layer_caches = buffer, [_build_layer_cache(layer) for layer in buffer]
        if self._workspace.rows != tokens.numel():
            self._workspace = self._new_workspace(tokens.numel())
        stream = self._embeddings(tokens.reshape(-1)).float().numpy()
        layout = self._build_layout(block, positions)
        (hidden, _, _, product), (_, _, _, product_words) = self._workspace.tensors, self._workspace.words
        delta: Words | None = None
        for layer, cache, window in zip(self._layers, self._layer_caches, self._windows, strict=True):
            self._apply_norm(stream, delta, layer.input_norm)
            attended = self._attend(layer.qkv_proj(hidden), cache, layout, window)
            self._apply_norm(stream, _as_words(layer.o_proj(attended)), layer.post_attention_norm)
            gate_up = layer.gate_up_proj(hidden)
            _run_kernel(decoder_kernels.silu_multiply, len(stream), gate_up.numel(), _as_words(gate_up), product_words)
            delta = _as_words(layer.down_proj(product))
        self._apply_norm(stream, delta, self._final_norm)
        return hidden.view(*tokens.shape, -1)[:, -1].clone()

    def share_weights(self) -> CpuLlama:
        """Return a decoder on the same weights with buffers of its own, for another pool or thread."""
        other = copy(self)
        other._buffer, other._layer_caches, other._workspace = torch.empty(0), [], self._new_workspace(1)
        return other

    def _new_workspace(self, rows: int) -> _Workspace:
        layer = self._layers[0]
        heads = self._num_heads * self._head_dim
        return _Workspace(rows, len(self._final_norm), heads, heads, layer.gate_up_proj.out_features // 2)

    def _build_layout(self, block: PositionBlock, positions: torch.Tensor) -> _ForwardLayout:
        slots, columns = block.slots, block.positions
        if isinstance(slots, slice):
            slots = torch.arange(slots.start, slots.stop)
        slot_columns = torch.stack([slots[:, None].expand_as(columns), columns], -1).view(-1, 2).numpy()
        like = self._embeddings.weight[:1, None].float()
        cos, sin = (
            angle.expand(*columns.shape, -1).reshape(len(slot_columns), -1) for angle in self._rotary(like, positions)
        )
        return _ForwardLayout(
            block,
            slot_columns,
            slot_columns + np.array([0, 1]),
            (np.ascontiguousarray(cos.numpy()), np.ascontiguousarray(sin.numpy())),
        )

    def _apply_norm(self, stream: Floats, delta: Words | None, weight: Floats) -> None:
        """Add `delta` to the stream and write its norm into the workspace."""
        out = self._workspace.words[0]
        if delta is None:
            _run_kernel(decoder_kernels.rms_norm, len(stream), stream.size, stream, weight, self._eps, out)
        else:
            _run_kernel(decoder_kernels.add_rms_norm, len(stream), stream.size, stream, delta, weight, self._eps, out)

    def _attend(self, qkv: torch.Tensor, cache: _LayerCache, layout: _ForwardLayout, window: int) -> torch.Tensor:
        """Return the attention of all new positions (M, H D), from queries, keys and values `qkv` (M, ...)."""
        _, query, out, _ = self._workspace.tensors
        rows, heads = len(qkv), (len(qkv), self._num_heads, self._head_dim)
        query_words = self._workspace.words[1].reshape(heads)
        _run_kernel(
            decoder_kernels.rotate_and_store,
            rows,
            qkv.numel(),
            _as_words(qkv),
            layout.angles,
            layout.slot_columns,
            cache.words,
            query_words,
        )
        if layout.block.width > 1:
            return self._attend_prompt(query.view(heads), cache.keys, cache.values, layout.block, window)
        scale, target = np.float32(self._scaling * LOG2E), self._workspace.words[2].reshape(heads)
        work = rows * layout.block.end * self._head_dim * cache.keys.shape[1]
        _run_kernel(decoder_kernels.attend, rows, work, query_words, cache.pairs, layout.ends, (scale, window), target)
        return out

    def _attend_prompt(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, block: PositionBlock, window: int
    ) -> torch.Tensor:
        """Return the attention of several positions per row, with the kernel of torch."""
        batch = len(block.starts)
        queries = query.view(batch, block.width, self._num_heads, self._head_dim).transpose(1, 2)
        if isinstance(block.slots, slice):
            key, value = keys[block.slots, :, : block.end], values[block.slots, :, : block.end]
        else:
            key, value = (array[:, :, : block.end].index_select(0, block.slots) for array in (keys, values))
        causal = block.common_start == 0 and window >= block.end
        mask = None if causal else block.attention_mask(window)
        fold = self._num_heads // key.shape[1]
        key, value = (array.repeat_interleave(fold, 1) for array in (key, value))
        out = scaled_dot_product_attention(queries, key, value, attn_mask=mask, is_causal=causal, scale=self._scaling)
        return out.transpose(1, 2).reshape(batch * block.width, -1)


def supports_network(network: Network) -> bool:
    """Return True if the decoder is built like Llama's, in bfloat16 on a CPU that oneDNN supports.

    Where the processor has no instructions for bfloat16 the model must be small, since its weights are copied.
    Compares the names of modules only; `matches_network` compares numbers.
    """
    module = network.module
    if network.device.type != "cpu" or module.dtype != torch.bfloat16 or not network.has_plain_head:
        return False
    if not torch.backends.mkldnn.enabled or not (_multiplies_bfloat16() or _is_small(module)):
        return False
    decoder, head = module.get_decoder(), module.get_output_embeddings()
    names = {name for name, _ in decoder.named_children()}
    linear = isinstance(head, torch.nn.Linear)
    return (
        linear
        and names == {"embed_tokens", "layers", "norm", "rotary_emb"}
        and all(map(_is_llama_layer, decoder.layers))
    )


def _multiplies_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_small(module: torch.nn.Module) -> bool:
    return sum(weights.numel() for weights in module.parameters()) <= _MAX_COPIED_WEIGHTS


def _is_llama_layer(layer: Any) -> bool:
    if {name for name, _ in layer.named_children()} != _LAYER_PARTS:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    parts = [{name for name, _ in part.named_children()} for part in (attention, mlp)]
    if parts != [_ATTENTION_PARTS, _MLP_PARTS] or type(mlp.act_fn).__name__ not in {"SiLU", "SiLUActivation"}:
        return False
    linears = [part for part in (*attention.children(), *mlp.children()) if part is not mlp.act_fn]
    fused_biases = [attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]
    same = len({bias is None for bias in fused_biases}) == 1
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return same and all(type(part) is torch.nn.Linear for part in linears) and all(map(_is_rms_norm, norms))


def _is_rms_norm(norm: torch.nn.Module) -> bool:
    return hasattr(norm, "variance_epsilon") and {name for name, _ in norm.named_parameters()} == {"weight"}


def _build_layer(layer: Any) -> _DecoderLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return _DecoderLayer(
        qkv_proj=PackedLinear(attention.q_proj, attention.k_proj, attention.v_proj),
        o_proj=PackedLinear(attention.o_proj),
        gate_up_proj=PackedLinear(mlp.gate_proj, mlp.up_proj),
        down_proj=PackedLinear(mlp.down_proj),
        input_norm=_norm_weights(layer.input_layernorm),
        post_attention_norm=_norm_weights(layer.post_attention_layernorm),
    )


def _norm_weights(norm: Any) -> Floats:
    weights: Floats = norm.weight.detach().float().numpy()
    return weights


def _as_words(array: torch.Tensor) -> Words:
    words: Words = array.view(torch.uint16).numpy()
    return words


def _as_pairs(array: torch.Tensor) -> npt.NDArray[np.int32]:
    pairs: npt.NDArray[np.int32] = array.view(torch.int32).numpy()
    return pairs


def _build_layer_cache(layer: torch.Tensor) -> _LayerCache:
    keys, values = layer[0], layer[1]
    return _LayerCache(keys, values, (_as_words(keys), _as_words(values)), (_as_pairs(keys), _as_pairs(values)))


def _run_kernel(kernel: Any, rows: int, work: int, *arguments: Any) -> None:
    """Run a kernel over all rows, on several threads if there is enough work."""
    if work < 2 * WORK_PER_THREAD:
        kernel(0, rows, *arguments)
    else:
        share_rows(kernel, rows, work, *arguments)
