"""The forward passes of a causal language model of `transformers`: logits, hidden states, energies."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from heatbath.models.hf import attention
from heatbath.models.hf.kv_cache import NetworkCache, StateCache, build_kv_cache, layer_windows
from heatbath.models.hf.output_head import compute_wide_logits

CacheUse = Literal["batch", "length", "row", "none"]

_AMPLIFICATION = 1e3
_CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")


@dataclass(frozen=True)
class Network:
    """A module in evaluation mode.

    Attributes:
        windows: sliding window of each layer; None where some layer keeps a state other than keys and values.
        forward_parameters: names of the parameters of the forward pass.
        cache_name: the parameter for the cache: `cache` since transformers 5.24, before that `past_key_values` or
            `cache_params`; `state` for RWKV; None for a network without a cache.
        closed_tokens: ids with no token behind them, whose energies are +inf: a slice or an index (n,); None for none.
        cache_use: the sessions that the cache is right for: a padded "batch", rows of one "length", a "row" alone, or
            "none".
        has_plain_head: True if logits are the output matrix times the decoder's output, with no cap or scale after it.
    """

    module: Any
    windows: tuple[int | None, ...] | None
    forward_parameters: frozenset[str]
    cache_name: str | None
    closed_tokens: slice | torch.Tensor | None = None
    cache_use: CacheUse = "batch"
    has_plain_head: bool = False

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(self.module.device)

    @property
    def config(self) -> Any:
        """The part of the configuration that describes the text model."""
        return self.module.config.get_text_config(decoder=True)

    def new_kv_cache(self) -> NetworkCache:
        """Return an empty cache: of keys and values, or of the state of a recurrent network."""
        return StateCache() if self.cache_name == "state" else build_kv_cache(self.module.config, self.windows)

    def logits(
        self,
        tokens: torch.Tensor,
        cache: NetworkCache | None = None,
        *,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        keep: int = 1,
    ) -> torch.Tensor:
        """Return the logits (B, n, V) at the last `keep` positions of `tokens` (B, q); 0 keeps all.

        As the network gives them: closed tokens have logits as well. `position_energies` has them closed.
        """
        values = {"position_ids": positions, "logits_to_keep": self._select_kept_positions(tokens, keep)}
        options = {
            name: value for name, value in values.items() if name in self.forward_parameters and value is not None
        }
        out = self._call(self.module, tokens, cache, mask, options)
        logits: torch.Tensor = out.logits
        return logits if "logits_to_keep" in self.forward_parameters else logits[:, -keep:]

    def _call(
        self, module: Any, tokens: torch.Tensor, cache: NetworkCache | None, mask: Any, options: dict[str, Any]
    ) -> Any:
        """Run the module or its decoder; keep the state that a recurrent network returns."""
        options = {**options, "use_cache": cache is not None}
        if self.cache_name is not None and cache is not None:
            options[self.cache_name] = cache.state if isinstance(cache, StateCache) else cache
        out = module(input_ids=tokens, attention_mask=mask, **options)
        if isinstance(cache, StateCache):
            cache.state = out.state
        return out

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
        cache: NetworkCache | None = None,
        *,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the input of the output head, (B, q, D). Only for a network with `has_plain_head`."""
        takes_positions = positions is not None and "position_ids" in self.forward_parameters
        options = {"position_ids": positions} if takes_positions else {}
        hidden: torch.Tensor = self._call(self.module.get_decoder(), tokens, cache, mask, options).last_hidden_state
        return hidden

    def head_energies(self, hidden: torch.Tensor, *, wide: bool = False) -> torch.Tensor:
        """Return the energies (n, V) of hidden states (n, D). Only for a network with `has_plain_head`.

        In the dtype of the weights, or `wide`, in float32 at least.
        """
        head = self.module.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            energies: torch.Tensor = head(hidden).neg_()
            energies = energies.float() if wide and energies.itemsize < 4 else energies
        else:
            multiply = partial(compute_wide_logits, head) if wide else head
            # The product with -hidden has the same bits as -head(hidden), without another pass over (n, V).
            energies = multiply(hidden.neg()) if head.bias is None else multiply(hidden).neg_()
        return self.close_tokens(energies)

    def position_energies(
        self, tokens: torch.Tensor, cache: NetworkCache | None = None, *, keep: int = 1, **options: Any
    ) -> torch.Tensor:
        """Return the energies (B, n, V) at the last `keep` positions of `tokens` (B, q); 0 keeps all."""
        return self.close_tokens(self.logits(tokens, cache, keep=keep, **options).neg_())

    def close_tokens(self, energies: torch.Tensor) -> torch.Tensor:
        """Set the energies (..., V) of ids without a token to +inf, in place."""
        if self.closed_tokens is not None:
            energies[..., self.closed_tokens] = torch.inf
        return energies

    def next_energies(
        self,
        tokens: torch.Tensor,
        cache: NetworkCache | None,
        *,
        mask: torch.Tensor | None,
        positions: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the energies (B, V) after the last position of `tokens` (B, q)."""
        if self.has_plain_head:
            return self.head_energies(self.hidden_states(tokens, cache, mask=mask, positions=positions)[:, -1])
        return self.position_energies(tokens, cache, mask=mask, positions=positions)[:, -1]

    @contextmanager
    def eager_attention(self) -> Iterator[None]:
        """Use eager attention inside the block: the fused kernels do not return attention weights."""
        before = self.config._attn_implementation
        self.module.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.module.set_attn_implementation(before)


def build_network(module: Any, closed_tokens: slice | torch.Tensor | None = None) -> Network:
    """Prepare a causal language model of `transformers`: evaluation mode, folded attention in place of `sdpa`."""
    module.eval().requires_grad_(False)
    if module.config.get_text_config(decoder=True)._attn_implementation == "sdpa":
        module.set_attn_implementation(attention.register_attention())
    parameters = frozenset(inspect.signature(module.forward).parameters)
    cache_name = next((name for name in _CACHE_NAMES if name in parameters), None)
    windows = layer_windows(module.config) if cache_name in {"cache", "past_key_values"} else None
    if isinstance(closed_tokens, torch.Tensor):
        closed_tokens = closed_tokens.to(module.device)
    return Network(module, None if windows is None else tuple(windows), parameters, cache_name, closed_tokens)


def detect_plain_head(network: Network) -> bool:
    """Return the value of `has_plain_head`, from a forward pass on one token.

    The decoder's output is amplified in it, so that a cap shows.
    """
    decoder, head = network.module.get_decoder(), network.module.get_output_embeddings()
    if decoder is None or head is None or decoder is network.module:
        return False
    outputs: list[torch.Tensor] = []
    hook = decoder.register_forward_hook(lambda _module, _args, out: outputs.extend(_amplify_hidden(out)))
    try:
        with torch.no_grad():
            logits = network.logits(torch.zeros((1, 1), dtype=torch.long, device=network.device), keep=0)
            fits = bool(outputs) and outputs[0].shape[-1] == head.weight.shape[-1]
            return fits and torch.equal(logits, head(outputs[0]).to(logits.dtype))
    finally:
        hook.remove()


def _amplify_hidden(output: Any) -> list[torch.Tensor]:
    """Amplify the hidden state of an output in place and return it, nothing for an output without one."""
    hidden = getattr(output, "last_hidden_state", None)
    return [] if hidden is None else [hidden.mul_(_AMPLIFICATION)]
