"""Attention of one new position over grouped heads, without copying or repeating keys.

A step has one query per head. Queries that share a key head are folded into rows, so that each key is read once: half
the time of the same call with grouped heads at batch 64. Everything else uses the SDPA attention of `transformers`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION_NAME = "heatbath_folded"
_SUPPORTED_OPTIONS = frozenset({"dropout", "scaling", "sliding_window", "is_causal", "position_ids", "use_cache"})


def folded_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of `query` (B, H, Q, D) over `key`, `value` (B, H/G, N, D), as (B, Q, H, D).

    Queries are folded where Q = 1.
    """
    groups = getattr(module, "num_key_value_groups", 1)
    if not _can_fold(query, attention_mask, groups, options):
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return result
    batch, heads, _, width = query.shape
    rows = query.reshape(batch, heads // groups, groups, width)
    out = scaled_dot_product_attention(rows, key, value, attn_mask=attention_mask, scale=options.get("scaling"))
    return out.reshape(batch, 1, heads, value.shape[3]), None


def _can_fold(query: torch.Tensor, mask: torch.Tensor | None, groups: int, options: dict[str, Any]) -> bool:
    if query.shape[2] != 1 or groups == 1 or options.get("dropout"):
        return False
    if mask is not None and mask.shape[1] != 1:
        return False
    return all(value is None or name in _SUPPORTED_OPTIONS for name, value in options.items())


def register_attention() -> str:
    """Register the function with `transformers` and return its name; may be repeated."""
    AttentionInterface.register(ATTENTION_NAME, folded_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
    return ATTENTION_NAME
