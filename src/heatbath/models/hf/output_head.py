"""The product with the output matrix in float32, for weights of fewer bits.

The logits of a head in bfloat16 are rounded to 8 bits, a grid of 1/8 nat for values from 16 on. The products and sums
before that rounding are exact enough: only the result needs more bits.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

_WEIGHTS_PER_BLOCK = 1 << 22


def compute_wide_logits(head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits (..., V) of hidden states (..., D): in float32 where the weights have fewer bits."""
    weight, bias = head.weight, head.bias
    if weight.dtype.itemsize >= 4:
        logits: torch.Tensor = head(hidden)
        return logits
    rows = hidden.reshape(-1, hidden.shape[-1]).to(weight.dtype)
    logits = _multiply_wide(rows, weight)
    if bias is not None:
        logits += bias
    return logits.view(*hidden.shape[:-1], -1)


def use_wide_head(module: Any) -> None:
    """Let the output head of a module compute in float32, so that caps and scales after it do as well."""
    head = module.get_output_embeddings()
    if type(head) is torch.nn.Linear and head.weight.dtype.itemsize < 4:
        vars(head)["forward"] = MethodType(compute_wide_logits, head)


def _multiply_wide(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `rows` (n, D) times `weight` (V, D), in float32."""
    if rows.device.type == "cuda":
        return torch.mm(rows, weight.T, out_dtype=torch.float32)
    # On a CPU the result has the dtype of the factors. A block of the matrix at a time takes little memory.
    wide_rows = rows.float()
    logits = wide_rows.new_empty((len(rows), len(weight)))
    count = max(1, _WEIGHTS_PER_BLOCK // weight.shape[1])
    for begin in range(0, len(weight), count):
        part = slice(begin, begin + count)
        logits[:, part] = wide_rows @ weight[part].float().T
    return logits
