"""A Llama-like decoder in bfloat16 on the CPU, run from its own weights with little between the matrix products.

`transformers`' forward pass makes some forty small operations a layer and lays each weight matrix out anew at every
product. Here matrices are laid out once for the processor, those that read the same input are one, and what lies
between is fused. Sums that `transformers` rounds at every step are kept in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

from heatbath.ensemble.kernels.exponent import LOG2E
from heatbath.ensemble.kernels.jit import WORK_PER_THREAD, share_rows
from heatbath.models import fused
from heatbath.models.network import Network
from heatbath.models.slots import Piece

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_EVERYTHING = 1 << 40
_LAID_OUT_FOR = 64

Words = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]


class Matrix:
    """One or more linear layers with the same input, laid out once: (n, in) bfloat16 -> (n, out)."""

    def __init__(self, *layers: torch.nn.Linear) -> None:
        weight = torch.cat(tuple(layer.weight for layer in layers))
        biases = [layer.bias for layer in layers]
        self.size, self._bias = weight.shape[0], None if biases[0] is None else torch.cat(tuple(biases))
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _LAID_OUT_FOR)

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(given, self._weight, self._bias, "none", [], "")
        return out


@dataclass(frozen=True)
class _Layer:
    mixed: Matrix
    out: Matrix
    both: Matrix
    down: Matrix
    before: Floats
    between: Floats


@dataclass(frozen=True)
class _Kept:
    """Keys and values of one layer as the kernels and torch read them; a view takes longer than a small kernel."""

    keys: torch.Tensor
    values: torch.Tensor
    words: tuple[Words, Words]
    pairs: tuple[Any, Any]


@dataclass(frozen=True)
class _Where:
    """Of a forward pass: slot and column of each new position (M, 2), where its keys end, its angles (M, D)."""

    piece: Piece
    at: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    angles: tuple[Floats, Floats]


class _Desk:
    """Room for what is between two products of `rows` positions, used again by every layer."""

    def __init__(self, rows: int, *widths: int) -> None:
        self.rows = rows
        self.tensors = [torch.empty((rows, width), dtype=torch.bfloat16) for width in widths]
        self.words = [_words(tensor) for tensor in self.tensors]


class Lean:
    """The decoder of `network` from token ids to what the head reads; see `suits`."""

    def __init__(self, network: Network) -> None:
        decoder = network.module.get_decoder()
        attention = decoder.layers[0].self_attn
        self._embeddings, self._rotary = decoder.embed_tokens, decoder.rotary_emb
        self._layers = [_layer(layer) for layer in decoder.layers]
        self._last = _weights(decoder.norm)
        self._eps = np.float32(decoder.norm.variance_epsilon)
        self._width = int(attention.head_dim)
        self._heads = attention.q_proj.out_features // self._width
        self._scaling = float(attention.scaling)
        self._windows = [_EVERYTHING if window is None else window for window in network.windows or ()]
        self._buffer, self._kept, self._desk = torch.empty(0), list[_Kept](), self._new_desk(1)
        self.head = Matrix(network.module.get_output_embeddings())

    def __call__(
        self, tokens: torch.Tensor, buffer: torch.Tensor, piece: Piece, positions: torch.Tensor
    ) -> torch.Tensor:
        """What follows the last of `tokens` (B, q), (B, D) bfloat16; keys and values go into `buffer`."""
        if buffer is not self._buffer:
            self._buffer, self._kept = buffer, [_kept(layer) for layer in buffer]
        if self._desk.rows != tokens.numel():
            self._desk = self._new_desk(tokens.numel())
        stream = self._embeddings(tokens.reshape(-1)).float().numpy()
        where = self._where(piece, positions)
        (read, _, _, gated), (_, _, _, gated_words) = self._desk.tensors, self._desk.words
        delta: Words | None = None
        for layer, kept, window in zip(self._layers, self._kept, self._windows, strict=True):
            self._norm(stream, delta, layer.before)
            seen = self._attended(layer.mixed(read), kept, where, window)
            self._norm(stream, _words(layer.out(seen)), layer.between)
            both = layer.both(read)
            _share(fused.gate, len(stream), both.numel(), _words(both), gated_words)
            delta = _words(layer.down(gated))
        self._norm(stream, delta, self._last)
        return read.view(*tokens.shape, -1)[:, -1].clone()

    def _new_desk(self, rows: int) -> _Desk:
        layer = self._layers[0]
        heads = self._heads * self._width
        return _Desk(rows, len(self._last), heads, heads, layer.both.size // 2)

    def _where(self, piece: Piece, positions: torch.Tensor) -> _Where:
        slots, columns = piece.slots, piece.positions
        if isinstance(slots, slice):
            slots = torch.arange(slots.start, slots.stop)
        at = torch.stack([slots[:, None].expand_as(columns), columns], -1).view(-1, 2).numpy()
        like = self._embeddings.weight[:1, None].float()
        cos, sin = (angle.expand(*columns.shape, -1).reshape(len(at), -1) for angle in self._rotary(like, positions))
        return _Where(
            piece, at, at + np.array([0, 1]), (np.ascontiguousarray(cos.numpy()), np.ascontiguousarray(sin.numpy()))
        )

    def _norm(self, stream: Floats, more: Words | None, weight: Floats) -> None:
        """Add `more` to the stream and put its norm on the desk."""
        out = self._desk.words[0]
        if more is None:
            _share(fused.norm, len(stream), stream.size, stream, weight, self._eps, out)
        else:
            _share(fused.add_norm, len(stream), stream.size, stream, more, weight, self._eps, out)

    def _attended(self, mixed: torch.Tensor, kept: _Kept, where: _Where, window: int) -> torch.Tensor:
        """Attention of all new positions (M, H D), from queries, keys and values in one (M, ...)."""
        _, query, out, _ = self._desk.tensors
        rows, heads = len(mixed), (len(mixed), self._heads, self._width)
        asked = self._desk.words[1].reshape(heads)
        _share(fused.place, rows, mixed.numel(), _words(mixed), where.angles, where.at, kept.words, asked)
        if where.piece.width > 1:
            return self._read(query.view(heads), kept.keys, kept.values, where.piece, window)
        scale, to = np.float32(self._scaling * LOG2E), self._desk.words[2].reshape(heads)
        work = rows * where.piece.end * self._width * kept.keys.shape[1]
        _share(fused.attend, rows, work, asked, kept.pairs, where.ends, (scale, window), to)
        return out

    def _read(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, piece: Piece, window: int
    ) -> torch.Tensor:
        """Attention of many positions a row, with torch's own kernel."""
        batch = len(piece.starts)
        asked = query.view(batch, piece.width, self._heads, self._width).transpose(1, 2)
        if isinstance(piece.slots, slice):
            key, value = keys[piece.slots, :, : piece.end], values[piece.slots, :, : piece.end]
        else:
            key, value = (array[:, :, : piece.end].index_select(0, piece.slots) for array in (keys, values))
        plain = piece.start == 0 and window >= piece.end
        mask = None if plain else piece.seen(window)
        fold = self._heads // key.shape[1]
        key, value = (array.repeat_interleave(fold, 1) for array in (key, value))
        out = scaled_dot_product_attention(asked, key, value, attn_mask=mask, is_causal=plain, scale=self._scaling)
        return out.transpose(1, 2).reshape(batch * piece.width, -1)


def suits(network: Network) -> bool:
    """Whether the decoder is built like Llama's, in bfloat16 on a CPU whose products oneDNN makes.

    By the names of its parts; that it also computes alike is for numbers to show.
    """
    module = network.module
    if network.device.type != "cpu" or module.dtype != torch.bfloat16 or not network.plain_head:
        return False
    if not torch.backends.mkldnn.enabled or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    decoder, head = module.get_decoder(), module.get_output_embeddings()
    names = {name for name, _ in decoder.named_children()}
    linear = isinstance(head, torch.nn.Linear)
    return linear and names == {"embed_tokens", "layers", "norm", "rotary_emb"} and all(map(_plain, decoder.layers))


def _plain(layer: Any) -> bool:
    if {name for name, _ in layer.named_children()} != _LAYER:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    parts = [{name for name, _ in part.named_children()} for part in (attention, mlp)]
    if parts != [_ATTENTION, _MLP] or type(mlp.act_fn).__name__ not in {"SiLU", "SiLUActivation"}:
        return False
    linears = [part for part in (*attention.children(), *mlp.children()) if part is not mlp.act_fn]
    fused_biases = [attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]
    same = len({bias is None for bias in fused_biases}) == 1
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return same and all(type(part) is torch.nn.Linear for part in linears) and all(map(_rms, norms))


def _rms(norm: torch.nn.Module) -> bool:
    return hasattr(norm, "variance_epsilon") and {name for name, _ in norm.named_parameters()} == {"weight"}


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        mixed=Matrix(attention.q_proj, attention.k_proj, attention.v_proj),
        out=Matrix(attention.o_proj),
        both=Matrix(mlp.gate_proj, mlp.up_proj),
        down=Matrix(mlp.down_proj),
        before=_weights(layer.input_layernorm),
        between=_weights(layer.post_attention_layernorm),
    )


def _weights(norm: Any) -> Floats:
    weights: Floats = norm.weight.detach().float().numpy()
    return weights


def _words(array: torch.Tensor) -> Words:
    words: Words = array.view(torch.uint16).numpy()
    return words


def _pairs(array: torch.Tensor) -> npt.NDArray[np.int32]:
    pairs: npt.NDArray[np.int32] = array.view(torch.int32).numpy()
    return pairs


def _kept(layer: torch.Tensor) -> _Kept:
    keys, values = layer[0], layer[1]
    return _Kept(keys, values, (_words(keys), _words(values)), (_pairs(keys), _pairs(values)))


def _share(kernel: Any, rows: int, work: int, *arguments: Any) -> None:
    """Run a kernel over all rows: on threads where there is enough to do, else without asking how many there are."""
    if work < 2 * WORK_PER_THREAD:
        kernel(0, rows, *arguments)
    else:
        share_rows(kernel, rows, work, *arguments)
