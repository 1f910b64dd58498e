"""The pool that suits a model: one batch with or without the fast CPU decoder, or a session for each row."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from heatbath.models.base import Model, NetworkModel
from heatbath.models.pool.base import Pool
from heatbath.models.pool.per_row_pool import PerRowPool

if TYPE_CHECKING:
    from heatbath.models.cpu_llama.decoder import CpuLlama
    from heatbath.models.hf.transformers_model import TransformersModel
    from heatbath.models.pool.slot_kv_cache import SlotLayout


@dataclass(frozen=True)
class _BatchPlan:
    """The result of trying out a batched pool: `layout` is None where sessions are needed.

    `module_state` is that of the module then; the plan holds as long as it stays so.
    """

    module_state: object
    layout: SlotLayout | None = None
    cpu_decoder: CpuLlama | None = None

    def build(self, model: TransformersModel, prefix_bytes: int) -> Pool | None:
        from heatbath.models.pool.batched_pool import BatchedPool

        if self.layout is None:
            return None
        decoder = None if self.cpu_decoder is None else self.cpu_decoder.share_weights()
        return BatchedPool(model, self.layout, prefix_bytes=prefix_bytes, cpu_decoder=decoder)


# A plan takes some forward passes and, with the fast decoder, a copy of the weights: one per model.
_plans: WeakKeyDictionary[Model, _BatchPlan] = WeakKeyDictionary()
_lock = Lock()


def build_pool(model: Model, *, prefix_bytes: int = 0) -> Pool:
    """Build a pool on a model: one batch where all its layers keep keys and values, else a session for each row.

    At most `prefix_bytes` of prefixes are cached, beyond the memory of open rows; 0 caches none.
    """
    neural = _as_transformers(model)
    pool = None if neural is None else _find_plan(neural).build(neural, prefix_bytes)
    return PerRowPool(model, batch_invariant=True) if pool is None else pool


def build_fast_pool(model: Model, *, prefix_bytes: int = 0) -> Pool | None:
    """Build a pool with the fast CPU decoder; None where the model does not suit it, and sessions do as well.

    A module with forward hooks is left alone: the decoder would not call them.
    """
    neural = _as_transformers(model)
    if neural is None:
        return None
    from heatbath.models.cpu_llama.decoder import supports_network

    if _list_hooks(neural.network.module) or not supports_network(neural.network):
        return None
    plan = _find_plan(neural)
    return None if plan.cpu_decoder is None else plan.build(neural, prefix_bytes)


def _as_transformers(model: Model) -> TransformersModel | None:
    if not isinstance(model, NetworkModel):
        return None  # before PyTorch is imported
    from heatbath.models.hf.transformers_model import TransformersModel

    return model if isinstance(model, TransformersModel) else None


def _find_plan(model: TransformersModel) -> _BatchPlan:
    state = _module_state(model.network.module)
    with _lock:
        plan = _plans.get(model)
        if plan is None or plan.module_state != state:
            plan = _plans[model] = _make_plan(model, state)
    return plan


def _make_plan(model: TransformersModel, state: object) -> _BatchPlan:
    from heatbath.models.cpu_llama.decoder import CpuLlama, supports_network
    from heatbath.models.pool.batched_pool import matches_network
    from heatbath.models.pool.slot_kv_cache import infer_slot_layout

    layout = infer_slot_layout(model.network)
    if layout is None:
        return _BatchPlan(state)
    decoder = CpuLlama(model.network) if supports_network(model.network) else None
    if decoder is not None and matches_network(model, layout, decoder):
        return _BatchPlan(state, layout, decoder)
    return _BatchPlan(state, layout if matches_network(model, layout) else None)


def _module_state(module: Any) -> object:
    """A value that changes when weights are replaced or written to, or hooks come and go."""
    weights = tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in module.parameters())
    return weights, _list_hooks(module)


def _list_hooks(module: Any) -> tuple[int, ...]:
    return tuple(hook for part in module.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks))
