"""A causal language model of `transformers`, seen as one function: tokens in, logits of chosen positions out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import Cache

from heatbath.models.hf import attention
from heatbath.models.hf.kv_cache import build_kv_cache, layer_windows

_AMPLIFICATION = 1e3


@dataclass(frozen=True)
class Network:
    """A module in evaluation mode, with what its forward pass takes and how its layers remember.

    `windows` is None where some layer keeps a state other than keys and values. `takes` names the parameters of the
    forward pass, `cache_name` the one that is the cache: `cache` since transformers 5.24, `past_key_values` before.
    """

    module: Any
    windows: tuple[int | None, ...] | None
    forward_parameters: frozenset[str]
    cache_name: str

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.module.device)

    @property
    def config(self) -> Any:
        """The part of the configuration that describes the text model."""
        return self.module.config.get_text_config(decoder=True)

    def new_kv_cache(self) -> Cache:
        """An empty key-value cache."""
        return build_kv_cache(self.module.config, self.windows)

    def logits(
        self,
        tokens: torch.Tensor,
        cache: Cache | None = None,
        *,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        keep: int = 1,
    ) -> torch.Tensor:
        """Logits (B, n, V) at the last `keep` of the positions of `tokens` (B, q); 0 keeps all."""
        chosen = {"position_ids": positions, "logits_to_keep": self._select_kept_positions(tokens, keep)}
        given = {name: value for name, value in chosen.items() if name in self.forward_parameters and value is not None}
        out = self.module(input_ids=tokens, attention_mask=mask, **self._cached(cache), **given)
        logits: torch.Tensor = out.logits
        return logits if "logits_to_keep" in self.forward_parameters else logits[:, -keep:]

    def _cached(self, cache: Cache | None) -> dict[str, Any]:
        """The cache as the forward pass takes it."""
        return {self.cache_name: cache, "use_cache": cache is not None}

    @staticmethod
    def _select_kept_positions(tokens: torch.Tensor, keep: int) -> int | torch.Tensor:
        """Positions by index, not by slice: a slice is strided, and its product with the output matrix then copies
        that matrix once a row (gigabytes at batch 64)."""
        width = tokens.shape[1]
        if keep in (0, width):
            return 0
        return torch.arange(width - keep, width, device=tokens.device)

    def hidden_states(
        self,
        tokens: torch.Tensor,
        cache: Cache | None = None,
        *,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the output head reads, (B, q, D). Only where `plain_head`."""
        given = (
            {} if positions is None or "position_ids" not in self.forward_parameters else {"position_ids": positions}
        )
        out = self.module.get_decoder()(input_ids=tokens, attention_mask=mask, **self._cached(cache), **given)
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    def head_energies(self, hidden: torch.Tensor) -> torch.Tensor:
        """Energies (n, V) of what the decoder gave, (n, D). Only where `plain_head`."""
        head = self.module.get_output_embeddings()
        energies: torch.Tensor
        if isinstance(head, torch.nn.Linear) and head.bias is None:
            energies = head(hidden.neg())  # the same bits as -head(hidden), without another pass over (n, V)
        else:
            energies = head(hidden).neg_()
        return energies

    def next_energies(
        self, tokens: torch.Tensor, cache: Cache, *, mask: torch.Tensor | None, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """Energies (B, V) after the last of the positions of `tokens` (B, q)."""
        if self.has_plain_head:
            return self.head_energies(self.hidden_states(tokens, cache, mask=mask, positions=positions)[:, -1])
        return self.logits(tokens, cache, mask=mask, positions=positions)[:, -1].neg_()

    @cached_property
    def has_plain_head(self) -> bool:
        """Whether logits are the output matrix times the decoder's output, with no cap or scale after it.

        One forward pass on one token with the decoder's output amplified: a cap cannot hide there.
        """
        decoder, head = self.module.get_decoder(), self.module.get_output_embeddings()
        if decoder is None or head is None or decoder is self.module:
            return False
        seen: list[torch.Tensor] = []
        hook = decoder.register_forward_hook(lambda _module, _args, out: seen.append(_amplify_hidden(out)))
        try:
            with torch.no_grad():
                logits = self.logits(torch.zeros((1, 1), dtype=torch.long, device=self.device), keep=0)
                return bool(seen) and torch.equal(logits, head(seen[0]))
        finally:
            hook.remove()

    @contextmanager
    def eager_attention(self) -> Iterator[None]:
        """Attention written out, for the time of the block: the fused kernels do not give their weights."""
        before = self.config._attn_implementation
        self.module.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.module.set_attn_implementation(before)


def build_network(module: Any) -> Network:
    """Prepare a `transformers` causal language model: evaluation mode, folded attention where it uses `sdpa`."""
    module.eval().requires_grad_(False)
    if module.config.get_text_config(decoder=True)._attn_implementation == "sdpa":
        module.set_attn_implementation(attention.register_attention())
    windows = layer_windows(module.config)
    takes = frozenset(inspect.signature(module.forward).parameters)
    cache_name = "cache" if "cache" in takes else "past_key_values"
    return Network(module, None if windows is None else tuple(windows), takes, cache_name)


def _amplify_hidden(output: Any) -> torch.Tensor:
    hidden: torch.Tensor = output.last_hidden_state
    return hidden.mul_(_AMPLIFICATION)
