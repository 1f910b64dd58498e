"""A pool: a batch of sequences that rows join and leave at every step, as a server needs it.

A session's rows are opened together; here each row has a life of its own. What the model has read of closed rows and
of prompts is kept and read again by later rows of the same salt that begin alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from heatbath.models.base import Tokens

if TYPE_CHECKING:
    from heatbath.models.base import Model


@dataclass(frozen=True)
class PoolStats:
    """Open rows; totals of prompt tokens since the start, and of those already known; bytes kept of prefixes."""

    rows: int = 0
    prefix_asked: int = 0
    prefix_hit: int = 0
    prefix_bytes: int = 0


class Pool(Protocol):
    """Rows are named by numbers that are never used twice. Every method raises `BadInput` for a row not open."""

    @property
    def rows(self) -> Sequence[int]:
        """The open rows."""

    @property
    def stats(self) -> PoolStats:
        """How full it is."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's energies are the same bits whatever else is in the batch."""

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        """A row for each prompt; prefixes kept under the same salt are used, under others never.

        Raises `BadInput` for an empty prompt of a model without a start token, a foreign id, or one beyond the context.
        """

    def cached_tokens(self, row: int) -> int:
        """How many tokens of the row's prompt needed no reading; final once its energies were asked for."""

    def tokens(self, row: int) -> list[int]:
        """Prompt and pushed tokens of a row."""

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Append one token to each of `rows`; evaluated when energies are next asked for. All or nothing."""

    def copy(self, row: int) -> int:
        """A new row with the same tokens."""

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        """End rows and free what they hold; with `keep` their prefix may be used again under their salt."""

    def energies(self, rows: Sequence[int]) -> Any:
        """Energies of the next token of each of `rows`, (n, V), nats. Whatever waits in any row is evaluated first."""


def build_pool(model: Model, *, prefix_bytes: int = 0) -> Pool:
    """A pool on a model: one batch where all its layers keep keys and values, else a session for each row.

    At most `prefix_bytes` are kept of prefixes, beyond what open rows hold; 0 keeps none.
    """
    from heatbath.models.pool.per_row_pool import PerRowPool

    if getattr(model, "network", None) is None:
        return PerRowPool(model, batch_invariant=True)
    from heatbath.models.cpu_llama.decoder import CpuLlama, supports_network
    from heatbath.models.hf.transformers_model import TransformersModel
    from heatbath.models.pool.batched_pool import BatchedPool, matches_network
    from heatbath.models.pool.slot_kv_cache import infer_slot_layout

    if isinstance(model, TransformersModel):
        shape = infer_slot_layout(model.network)
        if shape is not None:
            lean = CpuLlama(model.network) if supports_network(model.network) else None
            if lean is not None and matches_network(model, shape, lean):
                return BatchedPool(model, shape, prefix_bytes=prefix_bytes, cpu_decoder=lean)
            if matches_network(model, shape):
                return BatchedPool(model, shape, prefix_bytes=prefix_bytes)
    return PerRowPool(model, batch_invariant=True)
