"""The forward passes of a causal language model of `transformers`: logits, hidden states, next energies."""

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
    """A module in evaluation mode.

    Attributes:
        windows: sliding window of each layer; None where some layer keeps a state other than keys and values.
        forward_parameters: names of the parameters of the forward pass.
        cache_name: the parameter for the cache: `cache` since transformers 5.24, `past_key_values` before.
    """

    module: Any
    windows: tuple[int | None, ...] | None
    forward_parameters: frozenset[str]
    cache_name: str

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(self.module.device)

    @property
    def config(self) -> Any:
        """The part of the configuration that describes the text model."""
        return self.module.config.get_text_config(decoder=True)

    def new_kv_cache(self) -> Cache:
        """Return an empty key-value cache."""
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
        """Return the logits (B, n, V) at the last `keep` positions of `tokens` (B, q); 0 keeps all."""
        values = {"position_ids": positions, "logits_to_keep": self._select_kept_positions(tokens, keep)}
        options = {
            name: value for name, value in values.items() if name in self.forward_parameters and value is not None
        }
        out = self.module(input_ids=tokens, attention_mask=mask, **self._cache_arguments(cache), **options)
        logits: torch.Tensor = out.logits
        return logits if "logits_to_keep" in self.forward_parameters else logits[:, -keep:]

    def _cache_arguments(self, cache: Cache | None) -> dict[str, Any]:
        """Return the arguments of the forward pass for a cache."""
        return {self.cache_name: cache, "use_cache": cache is not None}

    @staticmethod
    def _select_kept_positions(tokens: torch.Tensor, keep: int) -> int | torch.Tensor:
        """Return the value of `logits_to_keep`: positions by index.

        A slice would be strided, and its product with the output matrix copies that matrix once per row (gigabytes at
        batch 64).
        """
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
        """Return the input of the output head, (B, q, D). Only for a network with `has_plain_head`."""
        takes_positions = positions is not None and "position_ids" in self.forward_parameters
        options = {"position_ids": positions} if takes_positions else {}
        out = self.module.get_decoder()(
            input_ids=tokens, attention_mask=mask, **self._cache_arguments(cache), **options
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    def head_energies(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the energies (n, V) of hidden states (n, D). Only for a network with `has_plain_head`."""
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
        """Return the energies (B, V) after the last position of `tokens` (B, q)."""
        if self.has_plain_head:
            return self.head_energies(self.hidden_states(tokens, cache, mask=mask, positions=positions)[:, -1])
        return self.logits(tokens, cache, mask=mask, positions=positions)[:, -1].neg_()

    @cached_property
    def has_plain_head(self) -> bool:
        """True if logits are the output matrix times the decoder's output, with no cap or scale after it.

        Tested by one forward pass on one token with the decoder's output amplified, so that a cap shows.
        """
        decoder, head = self.module.get_decoder(), self.module.get_output_embeddings()
        if decoder is None or head is None or decoder is self.module:
            return False
        outputs: list[torch.Tensor] = []
        hook = decoder.register_forward_hook(lambda _module, _args, out: outputs.append(_amplify_hidden(out)))
        try:
            with torch.no_grad():
                logits = self.logits(torch.zeros((1, 1), dtype=torch.long, device=self.device), keep=0)
                return bool(outputs) and torch.equal(logits, head(outputs[0]))
        finally:
            hook.remove()

    @contextmanager
    def eager_attention(self) -> Iterator[None]:
        """Use eager attention inside the block: the fused kernels do not return attention weights."""
        before = self.config._attn_implementation
        self.module.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.module.set_attn_implementation(before)


def build_network(module: Any) -> Network:
    """Prepare a causal language model of `transformers`: evaluation mode, folded attention in place of `sdpa`."""
    module.eval().requires_grad_(False)
    if module.config.get_text_config(decoder=True)._attn_implementation == "sdpa":
        module.set_attn_implementation(attention.register_attention())
    windows = layer_windows(module.config)
    parameters = frozenset(inspect.signature(module.forward).parameters)
    cache_name = "cache" if "cache" in parameters else "past_key_values"
    return Network(module, None if windows is None else tuple(windows), parameters, cache_name)


def _amplify_hidden(output: Any) -> torch.Tensor:
    hidden: torch.Tensor = output.last_hidden_state
    return hidden.mul_(_AMPLIFICATION)
