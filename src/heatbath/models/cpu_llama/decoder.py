"""A Llama-like decoder in bfloat16 on the CPU, run from its own weights with little between the matrix products.

`transformers`' forward pass makes some forty small operations a layer and lays each weight matrix out anew at every
product. Here matrices are laid out once for the processor, those that read the same input are one, and what lies
between is fused. Sums that `transformers` rounds at every step are kept in float32.
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

Words = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]


class PackedLinear:
    """One or more linear layers with the same input, laid out once: (n, in) bfloat16 -> (n, out)."""

    def __init__(self, *layers: torch.nn.Linear) -> None:
        weight = torch.cat(tuple(layer.weight for layer in layers))
        biases = [layer.bias for layer in layers]
        self.out_features, self._bias = weight.shape[0], None if biases[0] is None else torch.cat(tuple(biases))
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_BATCH_ROWS)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return out


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
    """Keys and values of one layer as the kernels and torch read them; a view takes longer than a small kernel."""

    keys: torch.Tensor
    values: torch.Tensor
    words: tuple[Words, Words]
    pairs: tuple[Any, Any]


@dataclass(frozen=True)
class _ForwardLayout:
    """Of a forward pass: slot and column of each new position (M, 2), where its keys end, its angles (M, D)."""

    piece: PositionBlock
    slot_columns: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    angles: tuple[Floats, Floats]


class _Workspace:
    """Room for what is between two products of `rows` positions, used again by every layer."""

    def __init__(self, rows: int, *widths: int) -> None:
        self.rows = rows
        self.tensors = [torch.empty((rows, width), dtype=torch.bfloat16) for width in widths]
        self.words = [_as_words(tensor) for tensor in self.tensors]


class CpuLlama:
    """The decoder of `network` from token ids to what the head reads; see `suits`."""

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
        self, tokens: torch.Tensor, buffer: torch.Tensor, piece: PositionBlock, positions: torch.Tensor
    ) -> torch.Tensor:
        """What follows the last of `tokens` (B, q), (B, D) bfloat16; keys and values go into `buffer`."""
        if buffer is not self._buffer:
            self._buffer, self._layer_caches = buffer, [_build_layer_cache(layer) for layer in buffer]
        if self._workspace.rows != tokens.numel():
            self._workspace = self._new_workspace(tokens.numel())
        stream = self._embeddings(tokens.reshape(-1)).float().numpy()
        where = self._build_layout(piece, positions)
        (read, _, _, gated), (_, _, _, gated_words) = self._workspace.tensors, self._workspace.words
        delta: Words | None = None
        for layer, kept, window in zip(self._layers, self._layer_caches, self._windows, strict=True):
            self._apply_norm(stream, delta, layer.input_norm)
            seen = self._attend(layer.qkv_proj(read), kept, where, window)
            self._apply_norm(stream, _as_words(layer.o_proj(seen)), layer.post_attention_norm)
            both = layer.gate_up_proj(read)
            _run_kernel(decoder_kernels.silu_multiply, len(stream), both.numel(), _as_words(both), gated_words)
            delta = _as_words(layer.down_proj(gated))
        self._apply_norm(stream, delta, self._final_norm)
        return read.view(*tokens.shape, -1)[:, -1].clone()

    def share_weights(self) -> CpuLlama:
        """Return a decoder on the same weights with buffers of its own, for another pool or thread."""
        other = copy(self)
        other._buffer, other._layer_caches, other._workspace = torch.empty(0), [], self._new_workspace(1)
        return other

    def _new_workspace(self, rows: int) -> _Workspace:
        layer = self._layers[0]
        heads = self._num_heads * self._head_dim
        return _Workspace(rows, len(self._final_norm), heads, heads, layer.gate_up_proj.out_features // 2)

    def _build_layout(self, piece: PositionBlock, positions: torch.Tensor) -> _ForwardLayout:
        slots, columns = piece.slots, piece.positions
        if isinstance(slots, slice):
            slots = torch.arange(slots.start, slots.stop)
        at = torch.stack([slots[:, None].expand_as(columns), columns], -1).view(-1, 2).numpy()
        like = self._embeddings.weight[:1, None].float()
        cos, sin = (angle.expand(*columns.shape, -1).reshape(len(at), -1) for angle in self._rotary(like, positions))
        return _ForwardLayout(
            piece, at, at + np.array([0, 1]), (np.ascontiguousarray(cos.numpy()), np.ascontiguousarray(sin.numpy()))
        )

    def _apply_norm(self, stream: Floats, more: Words | None, weight: Floats) -> None:
        """Add `more` to the stream and put its norm on the desk."""
        out = self._workspace.words[0]
        if more is None:
            _run_kernel(decoder_kernels.rms_norm, len(stream), stream.size, stream, weight, self._eps, out)
        else:
            _run_kernel(decoder_kernels.add_rms_norm, len(stream), stream.size, stream, more, weight, self._eps, out)

    def _attend(self, mixed: torch.Tensor, cache: _LayerCache, layout: _ForwardLayout, window: int) -> torch.Tensor:
        """Attention of all new positions (M, H D), from queries, keys and values in one (M, ...)."""
        _, query, out, _ = self._workspace.tensors
        rows, heads = len(mixed), (len(mixed), self._num_heads, self._head_dim)
        asked = self._workspace.words[1].reshape(heads)
        _run_kernel(
            decoder_kernels.rotate_and_store,
            rows,
            mixed.numel(),
            _as_words(mixed),
            layout.angles,
            layout.slot_columns,
            cache.words,
            asked,
        )
        if layout.piece.width > 1:
            return self._attend_prompt(query.view(heads), cache.keys, cache.values, layout.piece, window)
        scale, to = np.float32(self._scaling * LOG2E), self._workspace.words[2].reshape(heads)
        work = rows * layout.piece.end * self._head_dim * cache.keys.shape[1]
        _run_kernel(decoder_kernels.attend, rows, work, asked, cache.pairs, layout.ends, (scale, window), to)
        return out

    def _attend_prompt(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, piece: PositionBlock, window: int
    ) -> torch.Tensor:
        """Attention of many positions a row, with torch's own kernel."""
        batch = len(piece.starts)
        asked = query.view(batch, piece.width, self._num_heads, self._head_dim).transpose(1, 2)
        if isinstance(piece.slots, slice):
            key, value = keys[piece.slots, :, : piece.end], values[piece.slots, :, : piece.end]
        else:
            key, value = (array[:, :, : piece.end].index_select(0, piece.slots) for array in (keys, values))
        plain = piece.common_start == 0 and window >= piece.end
        mask = None if plain else piece.attention_mask(window)
        fold = self._num_heads // key.shape[1]
        key, value = (array.repeat_interleave(fold, 1) for array in (key, value))
        out = scaled_dot_product_attention(asked, key, value, attn_mask=mask, is_causal=plain, scale=self._scaling)
        return out.transpose(1, 2).reshape(batch * piece.width, -1)


def supports_network(network: Network) -> bool:
    """Whether the decoder is built like Llama's, in bfloat16 on a CPU whose products oneDNN makes.

    By the names of its parts; that it also computes alike is for numbers to show.
    """
    module = network.module
    if network.device.type != "cpu" or module.dtype != torch.bfloat16 or not network.has_plain_head:
        return False
    if not torch.backends.mkldnn.enabled or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    decoder, head = module.get_decoder(), module.get_output_embeddings()
    names = {name for name, _ in decoder.named_children()}
    linear = isinstance(head, torch.nn.Linear)
    return (
        linear
        and names == {"embed_tokens", "layers", "norm", "rotary_emb"}
        and all(map(_is_llama_layer, decoder.layers))
    )


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
    """Run a kernel over all rows: on threads where there is enough to do, else without asking how many there are."""
    if work < 2 * WORK_PER_THREAD:
        kernel(0, rows, *arguments)
    else:
        share_rows(kernel, rows, work, *arguments)
