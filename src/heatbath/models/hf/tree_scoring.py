"""Continuations of many prompts by few forward passes: a row holds a prefix, and prompts and trees that continue it.

Each token of a row attends to the prefix and to the tokens that it continues, which a mask says, and its position is
its depth. So the prompts that begin with one prefix share its keys and values, and the continuations those of their
prompt, without a copy; and rows with other prefixes join the same pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from heatbath.models.base import NetworkModel, Tokens
from heatbath.models.continuations import (
    ContinuationScorer,
    ContinuationScores,
    ContinuationTree,
    Floats,
    build_continuation_tree,
    conditional_logprobs,
)
from heatbath.models.hf.network_check import TOLERANCES
from heatbath.models.hf.teacher_forcing import positions_per_chunk
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.pool.prefix_cache import common_prefix_length
from heatbath.models.pool.slot_kv_cache import infer_slot_layout
from heatbath.models.validation import validate_context_length

ROW_POSITIONS = 160
"""New positions of a row, beyond which no further prompt joins it: attention costs their square."""
PASS_POSITIONS = 4096
MAX_EMPTY_POSITIONS, MAX_EMPTY_SHARE = 64, 0.1
"""Empty positions of a pass, after the ends of its shorter rows, and their share of the others."""
MAX_ROW_POSITIONS = 2048
PREFIX_BYTES = 512 << 20

Ints = npt.NDArray[np.int64]
Key = tuple[int, ...]


@dataclass(frozen=True)
class _TreeRow:
    """New tokens after a prefix: `parents` within them, -1 after the prefix; `evaluated` are wanted, with their prompt.

    `evaluated` holds (place, prompt, node) for each node whose energies are needed; no token sees the places of the
    prefix in `hidden` (begin, end).
    """

    prefix: Key
    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    evaluated: tuple[tuple[int, int, int], ...]
    hidden: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.tokens)


class _PrefixLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of a prefix, (B, heads, n, D), in the interface of a `transformers` cache layer for one pass."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.prefix = values
        self.new: tuple[torch.Tensor, torch.Tensor] = (values[0], values[1])
        self.is_initialized, self.is_sliding = True, False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the prefix exists."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return keys and values of the prefix and of the new positions, which are kept in `new`."""
        self.new = key_states, value_states
        return torch.cat([self.prefix[0], key_states], 2), torch.cat([self.prefix[1], value_states], 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of keys and the position of the first; used only where no mask is passed."""
        return self.prefix.shape[3] + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of positions of the longest prefix."""
        return int(self.prefix.shape[3])

    def get_max_length(self) -> int:
        """Return -1, for no limit."""
        return -1


class _PrefixCache(Cache):  # type: ignore[misc]
    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(layers=[_PrefixLayer(layer) for layer in values])


class TreeScorer:
    """A scorer of continuations that packs prompts with a common prefix into rows of one forward pass.

    Prompts that are too long for that are scored in `sessions`.
    """

    def __init__(
        self, model: TransformersModel, sessions: ContinuationScorer, *, prefix_bytes: int = PREFIX_BYTES
    ) -> None:
        self._model, self._network, self._prefix_bytes = model, model.network, prefix_bytes
        self._sessions = sessions
        self._prefixes: OrderedDict[Key, torch.Tensor] = OrderedDict()
        layout = infer_slot_layout(model.network)
        assert layout is not None
        self._shape = (len(layout.windows), 2, layout.kv_heads, layout.head_dim)
        self._output_width = int(model.network.module.get_output_embeddings().weight.shape[-1])
        self._additive = self._network.config._attn_implementation == "eager"

    def cache_prefixes(self, prefixes: Sequence[Tokens]) -> None:
        """Evaluate prefixes, and forget others where there is no room; one that is very long is left out."""
        wanted = dict.fromkeys(tuple(map(int, prefix)) for prefix in prefixes)
        missing = [prefix for prefix in wanted if prefix and prefix not in self._prefixes]
        rows = [_build_prefix_row(self._find_prefix(prefix), prefix) for prefix in missing]
        for batch in _split_rows([row for row in rows if len(row) <= MAX_ROW_POSITIONS]):
            _, cache = self._run_rows(batch)
            values = torch.stack([torch.stack(layer.new) for layer in cache.layers])
            for line, row in enumerate(batch):
                known = [self._read_prefix(row.prefix)] if row.prefix else []
                self._prefixes[row.prefix + row.tokens] = torch.cat([*known, values[:, :, line, :, : len(row)]], 3)
        for prefix in wanted:
            if prefix in self._prefixes:
                self._prefixes.move_to_end(prefix)
        while sum(each.nbytes for each in self._prefixes.values()) > self._prefix_bytes:
            self._prefixes.popitem(last=False)

    def clear_prefixes(self) -> None:
        """Forget all prefixes."""
        self._prefixes.clear()

    def score(
        self, prompts: Sequence[Tokens], tree: ContinuationTree, *, with_hidden: bool = False
    ) -> ContinuationScores:
        """Return log p of the continuations of each prompt, and its last hidden state if that is asked for."""
        resolved = [tuple(map(int, self._model.resolve_prompt(prompt))) for prompt in prompts]
        depth = _measure_depth(tree)
        validate_context_length(max(map(len, resolved)) + depth, self._model.context_length)
        longest = max(len(prompt) - len(self._find_prefix(prompt)) for prompt in resolved)
        if longest + len(tree.inner_nodes) > MAX_ROW_POSITIONS:
            return self._sessions.score(prompts, tree, with_hidden=with_hidden)
        logprobs = np.zeros((len(prompts), len(tree.tokens)))
        hidden = np.zeros((len(prompts), self._output_width)) if with_hidden else None
        for batch in _split_rows(list(self._build_rows(resolved, tree))):
            outputs, _ = self._run_rows(batch)
            self._read_outputs(batch, outputs, tree, (logprobs, hidden))
        return ContinuationScores(tree.sum_along_paths(logprobs)[:, list(tree.ends)], hidden)

    def score_masked(self, prompt: Tokens, spans: Sequence[tuple[int, int]], tree: ContinuationTree) -> Floats:
        """Return log p of the continuations of a prompt, and with each span hidden from what comes after all spans.

        The shape is (1 + spans, C). Tokens after a hidden span and before the end of the last one have read it.
        """
        whole, end = tuple(map(int, prompt)), max(last for _, last in spans)
        validate_context_length(len(whole) + _measure_depth(tree), self._model.context_length)
        self.cache_prefixes([whole[:end]])
        logprobs = np.zeros((1 + len(spans), len(tree.tokens)))
        rows = [
            replace(_build_row(whole[:end], [(number, whole[end:])], tree), hidden=span)
            for number, span in enumerate([(0, 0), *spans])
        ]
        for batch in _split_rows(rows):
            outputs, _ = self._run_rows(batch)
            self._read_outputs(batch, outputs, tree, (logprobs, None))
        return tree.sum_along_paths(logprobs)[:, list(tree.ends)]

    def _find_prefix(self, prompt: Key) -> Key:
        """Return the longest beginning of a prompt that a cached prefix has too and that leaves a token to evaluate."""
        ids = np.array(prompt[:-1], np.int64)
        shared = [common_prefix_length(ids, np.array(each, np.int64)) for each in self._prefixes]
        return prompt[: max(shared, default=0)]

    def _read_prefix(self, prefix: Key) -> torch.Tensor:
        """Return the keys and values of the beginning of a cached prefix, (L, 2, heads, n, D)."""
        holder = next(each for each in self._prefixes if each[: len(prefix)] == prefix)
        return self._prefixes[holder][:, :, :, : len(prefix)]

    def _build_rows(self, prompts: Sequence[Key], tree: ContinuationTree) -> Iterator[_TreeRow]:
        """Yield rows: prompts with one prefix, as many as fit, each with its tree."""
        by_prefix: dict[Key, list[int]] = {}
        for number, prompt in enumerate(prompts):
            by_prefix.setdefault(self._find_prefix(prompt), []).append(number)
        for prefix, numbers in by_prefix.items():
            sizes = [len(prompts[number]) - len(prefix) + len(tree.inner_nodes) - 1 for number in numbers]
            for part in _split_sizes(sizes):
                yield _build_row(prefix, [(numbers[at], prompts[numbers[at]][len(prefix) :]) for at in part], tree)

    def _run_rows(self, rows: Sequence[_TreeRow]) -> tuple[torch.Tensor, _PrefixCache]:
        """Return the outputs of the decoder, (B, q, D), and the cache with the new keys and values."""
        past, width = max(len(row.prefix) for row in rows), max(map(len, rows))
        tokens, positions = np.zeros((2, len(rows), width), np.int64)
        mask = np.zeros((len(rows), 1, width, past + width), bool)
        for line, row in enumerate(rows):
            visible, depths = _ancestors(row.parents)
            count, begin = len(row), len(row.prefix)
            tokens[line, :count] = row.tokens
            positions[line, :count] = begin + depths
            mask[line, 0, :, :begin] = True
            mask[line, 0, :, slice(*row.hidden)] = False
            mask[line, 0, :count, past : past + count] = visible
            mask[line, 0, range(count, width), range(past + count, past + width)] = True
        cache = _PrefixCache(self._gather_prefixes(tuple(row.prefix for row in rows), past))
        with torch.inference_mode():
            outputs = self._network.hidden_states(
                self._to_device(tokens), cache, mask=self._build_mask(mask), positions=self._to_device(positions)
            )
        return outputs, cache

    def _gather_prefixes(self, prefixes: tuple[Key, ...], past: int) -> torch.Tensor:
        """Return the keys and values of the prefixes of some rows, (L, 2, B, heads, past, D), zeros after the end."""
        layers, pair, heads, size = self._shape
        shape = (layers, pair, len(prefixes), heads, past, size)
        values = torch.zeros(shape, dtype=self._model.dtype, device=self._model.device)
        for line, prefix in enumerate(prefixes):
            if prefix:
                values[:, :, line, :, : len(prefix)] = self._read_prefix(prefix)
        return values

    def _build_mask(self, visible: npt.NDArray[np.bool_]) -> torch.Tensor:
        mask = self._to_device(visible)
        if not self._additive:
            return mask
        dtype = self._model.dtype
        return torch.where(mask, 0.0, torch.finfo(dtype).min).to(dtype)

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._model.device)

    def _read_outputs(
        self,
        rows: Sequence[_TreeRow],
        outputs: torch.Tensor,
        tree: ContinuationTree,
        into: tuple[Floats, Floats | None],
    ) -> None:
        """Write log p of every token after its parent, and the outputs after the prompts."""
        logprobs, hidden = into
        places = [(line, *each) for line, row in enumerate(rows) for each in row.evaluated]
        size = positions_per_chunk(self._model.vocabulary.size, max(4, self._model.dtype.itemsize))
        for begin in range(0, len(places), size):
            part = places[begin : begin + size]
            lines, columns, prompts, nodes = (list(column) for column in zip(*part, strict=True))
            with torch.inference_mode():
                selected = outputs[lines, columns]
                energies = self._network.head_energies(selected, wide=True)
            children = [(at, child) for at, node in enumerate(nodes) for child in tree.children[node]]
            at, child = (np.array(column) for column in zip(*children, strict=True))
            found = conditional_logprobs(energies, at, np.array(tree.tokens)[child])
            logprobs[np.array(prompts)[at], child] = found
            if hidden is not None:
                first = [index for index, node in enumerate(nodes) if node == 0]
                hidden[np.array(prompts)[first]] = selected[first].double().cpu().numpy()


def _build_prefix_row(known: Key, prefix: Key) -> _TreeRow:
    """Return the row that continues a known prefix up to a longer one."""
    tokens = prefix[len(known) :]
    return _TreeRow(known, tokens, tuple(range(-1, len(tokens) - 1)), ())


def _build_row(prefix: Key, suffixes: Sequence[tuple[int, Key]], tree: ContinuationTree) -> _TreeRow:
    """Return the row of some (prompt, suffix) pairs, each followed by the nodes of the tree that have children."""
    tokens: list[int] = []
    parents: list[int] = []
    evaluated = []
    for number, suffix in suffixes:
        begin = len(tokens)
        tokens += suffix
        parents += [-1, *range(begin, begin + len(suffix) - 1)]
        places = {0: len(tokens) - 1}
        for node in tree.inner_nodes[1:]:
            parents.append(places[tree.parents[node]])
            places[node] = len(tokens)
            tokens.append(tree.tokens[node])
        evaluated += [(place, number, node) for node, place in places.items()]
    return _TreeRow(prefix, tuple(tokens), tuple(parents), tuple(evaluated))


@lru_cache(maxsize=16)
def _ancestors(parents: tuple[int, ...]) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return the tokens that each one continues, itself included, (q, q), and its depth after the prefix, (q,)."""
    visible = np.eye(len(parents), dtype=bool)
    for place, parent in enumerate(parents):
        if parent >= 0:
            visible[place] |= visible[parent]
    return visible, visible.sum(1) - 1


def _measure_depth(tree: ContinuationTree) -> int:
    """Return the number of tokens after the prompt that are evaluated along the longest path."""
    depths = [0] * len(tree.tokens)
    for node, parent in enumerate(tree.parents[1:], 1):
        depths[node] = depths[parent] + 1
    return max(depths[node] for node in tree.inner_nodes)


def _split_sizes(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield groups of places, in order of size, whose sizes add up to `ROW_POSITIONS` or that are one alone."""
    group: list[int] = []
    for place in np.argsort(sizes, kind="stable").tolist():
        if group and sum(sizes[each] for each in group) + sizes[place] > ROW_POSITIONS:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _split_rows(rows: Sequence[_TreeRow]) -> Iterator[list[_TreeRow]]:
    """Yield batches of rows of similar length, with a bounded number of positions, and of empty ones, each."""
    batch: list[_TreeRow] = []
    used = 0
    for row in sorted(rows, key=len):
        positions = (len(batch) + 1) * len(row)
        empty = positions - used - len(row)
        if batch and (positions > PASS_POSITIONS or empty > MAX_EMPTY_POSITIONS + MAX_EMPTY_SHARE * used):
            yield batch
            batch, used = [], 0
        batch.append(row)
        used += len(row)
    if batch:
        yield batch


def build_tree_scorer(model: NetworkModel, sessions: ContinuationScorer) -> TreeScorer | None:
    """Return a scorer of trees; None for a network with windows, another cache or head, or other results."""
    if not isinstance(model, TransformersModel) or not model.network.has_plain_head:
        return None
    layout = infer_slot_layout(model.network)
    if layout is None or layout.mask_kinds is not None or any(window is not None for window in layout.windows):
        return None
    scorer = TreeScorer(model, sessions)
    return scorer if _matches_sessions(model, scorer, sessions) else None


def _matches_sessions(model: TransformersModel, scorer: TreeScorer, sessions: ContinuationScorer) -> bool:
    """Return whether the scorer gives the log-probabilities of sessions: a network may read masks in its own way."""
    size = model.vocabulary.size
    prompts = [[token % size for token in tokens] for tokens in ([1, 2, 3, 4, 5], [1, 2, 6], [7, 8])]
    tree = build_continuation_tree([[token % size for token in path] for path in ([2], [2, 3, 4], [2, 5, 1], [9, 1])])
    expected = sessions.score(prompts, tree).logprobs
    scorer.cache_prefixes([prompts[0][:2]])
    actual = scorer.score(prompts, tree).logprobs
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(actual)):
        return False
    spread = max(1.0, float(expected[finite].std())) if finite.any() else 1.0
    limit = 5 * TOLERANCES.get(model.dtype, 0.1) * spread
    return bool(np.abs(actual[finite] - expected[finite]).max(initial=0.0) <= limit)
