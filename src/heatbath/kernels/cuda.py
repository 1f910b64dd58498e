r"""Reductions and draws on a CUDA device, in Triton: energies are read once.

A program holds one tile of a row in registers: its lowest energy first, then weights, mean and spread relative to it.
A second, small kernel brings the tiles of a row to the row's ground, in float64: with $\delta$ a tile's lowest energy
above the ground, $Z=\sum_i e^{-\beta\delta_i}z_i$, and means and variances combine as those of a mixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

Floats = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

TILE_SIZE = 4096
NUM_WARPS = 8


def _jit(function: Function) -> Any:
    return triton.jit(function)


@_jit
def _boltzmann_weights(e: Any, low: Any, beta: Any) -> Any:
    """Return height above `low` and Boltzmann weight, 0 for an absent state; at beta = inf, those at `low` remain."""
    present = e < float("inf")
    d = tl.where(present, e - low, 0.0)
    x = tl.where(d == 0.0, 0.0, beta * d)
    return d, tl.where(present, tl.exp(-x), 0.0)


@_jit
def _reduce_tiles(
    energies: Any,
    betas: Any,
    out: Any,
    states: Any,
    count: Any,
    stride: Any,
    tile: tl.constexpr,
    double: tl.constexpr,
) -> None:
    """Store status, lowest energy, z, mean, spread and sum of squared weights for each tile and beta."""
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    v = part * tile + tl.arange(0, tile)
    e = tl.load(energies + row * states + v, mask=v < states, other=float("inf"))
    e = e.to(tl.float64) if double else e.to(tl.float32)
    low = tl.min(e, axis=0)
    status = tl.max(tl.where(e != e, 2, tl.where(e == -float("inf"), 1, 0)), axis=0)
    for k in range(count):
        beta = tl.load(betas + row * stride + k)
        beta = beta if double else beta.to(tl.float32)
        d, w = _boltzmann_weights(e, low, beta)
        z = tl.sum(w, axis=0)
        mean = tl.sum(w * d, axis=0) / tl.where(z > 0.0, z, 1.0)
        away = d - mean
        at = out + ((row * parts + part) * count + k) * 6
        tl.store(at, status)
        tl.store(at + 1, low)
        tl.store(at + 2, z)
        tl.store(at + 3, mean)
        tl.store(at + 4, tl.sum(w * away * away, axis=0))
        tl.store(at + 5, tl.sum(w * w, axis=0))


@_jit
def _combine_tiles(tiles: Any, betas: Any, out: Any, parts: Any, stride: Any, width: tl.constexpr) -> None:
    """Combine the tiles of one row at one beta into status, ground, Z, sum w d, sum w d^2 and sum w^2."""
    row, k, count = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    i = tl.arange(0, width)
    at, real = tiles + ((row * parts + i) * count + k) * 6, i < parts
    flaw = tl.max(tl.load(at, mask=real, other=0.0), axis=0)
    low = tl.load(at + 1, mask=real, other=float("inf"))
    ground = tl.min(low, axis=0)
    d, scale = _boltzmann_weights(low, ground, tl.load(betas + row * stride + k))
    z = tl.load(at + 2, mask=real, other=0.0) * scale
    mean = tl.load(at + 3, mask=real, other=0.0) + d
    m2 = tl.load(at + 4, mask=real, other=0.0) * scale + z * mean * mean
    q = tl.load(at + 5, mask=real, other=0.0) * scale * scale
    to = out + (row * count + k) * 6
    empty = tl.where(ground == float("inf"), 3.0, 0.0)
    tl.store(to, tl.where(flaw > 0.0, 3.0 - flaw, empty))
    tl.store(to + 1, ground)
    tl.store(to + 2, tl.sum(z, axis=0))
    tl.store(to + 3, tl.sum(z * mean, axis=0))
    tl.store(to + 4, tl.sum(m2, axis=0))
    tl.store(to + 5, tl.sum(q, axis=0))


@_jit
def _count_below(energies: Any, level: Any, out: Any, states: Any, tile: tl.constexpr, double: tl.constexpr) -> None:
    """Store the number of states of each tile with lower energy than the row's level."""
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    v = part * tile + tl.arange(0, tile)
    e = tl.load(energies + row * states + v, mask=v < states, other=float("inf"))
    kind = tl.float64 if double else tl.float32
    fewer = tl.sum((e.to(kind) < tl.load(level + row).to(kind)).to(tl.int32), axis=0)
    tl.store(out + row * tl.num_programs(1) + part, fewer)


@_jit
def _locate_state(
    energies: Any,
    tiles: Any,
    betas: Any,
    uniform: Any,
    index: Any,
    states: Any,
    parts: Any,
    width: tl.constexpr,
    tile: tl.constexpr,
    double: tl.constexpr,
) -> None:
    """Find the tile of a row in which the running weight passes its target, and the state within it."""
    row = tl.program_id(0).to(tl.int64)
    beta = tl.load(betas + row)
    i = tl.arange(0, width)
    at, real = tiles + (row * parts + i) * 6, i < parts
    low = tl.load(at + 1, mask=real, other=float("inf"))
    ground = tl.min(low, axis=0)
    z = tl.load(at + 2, mask=real, other=0.0) * _boltzmann_weights(low, ground, beta)[1]
    target = tl.load(uniform + row) * tl.sum(z, axis=0)
    running = tl.cumsum(z, axis=0)
    passed = tl.min(tl.where((running > target) & (z > 0.0), i, width), axis=0)
    last = tl.max(tl.where(z > 0.0, i, 0), axis=0)
    part = tl.minimum(passed, last)
    before = tl.sum(tl.where(i < part, z, 0.0), axis=0)
    v = part * tile + tl.arange(0, tile)
    e = tl.load(energies + row * states + v, mask=v < states, other=float("inf"))
    e = e.to(tl.float64) if double else e.to(tl.float32)
    kind = tl.float64 if double else tl.float32
    near = tl.min(e, axis=0)
    scale = _boltzmann_weights(near.to(tl.float64), ground, beta)[1]
    w = _boltzmann_weights(e, near, beta.to(kind))[1].to(tl.float64) * scale
    over = (before + tl.cumsum(w, axis=0) > target) & (w > 0.0)
    first = tl.min(tl.where(over, v, 2147483647), axis=0)
    tl.store(index + row, tl.minimum(first, tl.max(tl.where(w > 0.0, v, 0), axis=0)).to(tl.int64))


def sums(energies: torch.Tensor, betas: Floats) -> Floats:
    """Return status, ground and four sums (N, K, 6) at betas (N or 1, K)."""
    if not energies.shape[0]:
        return np.empty((0, betas.shape[1], 6))
    return np.asarray(_reduce_rows(energies, _to_device(energies, betas))[1].cpu().numpy())


def fast_sums(energies: torch.Tensor, betas: Floats) -> Floats:
    """Return `sums` at shared betas (K,): a tile stays in registers for all of them, so a histogram saves nothing."""
    return sums(energies, betas[None, :])


def observed_sums(energies: torch.Tensor, shared: Floats, own: Floats) -> Floats:
    """Return `sums` at betas shared by all rows (K,) and, last, at one beta per row (N,): (N, K + 1, 6)."""
    repeated = np.broadcast_to(shared, (energies.shape[0], len(shared)))
    return sums(energies, np.concatenate([repeated, own[:, None]], axis=1))


def select_states(energies: torch.Tensor, index: npt.NDArray[np.int64]) -> Floats:
    """Return the energy of one state per row and the number of states below it, (N, 2)."""
    rows, states = energies.shape
    if not rows:
        return np.empty((0, 2))
    level = energies.gather(1, torch.as_tensor(index.copy(), device=energies.device)[:, None])[:, 0]
    parts = triton.cdiv(states, TILE_SIZE)
    fewer = torch.empty((rows, parts), dtype=torch.int32, device=energies.device)
    _count_below[(rows, parts)](
        energies, level, fewer, states, TILE_SIZE, energies.dtype == torch.float64, num_warps=NUM_WARPS
    )
    return np.asarray(torch.stack([level.double(), fewer.sum(1).double()], 1).cpu().numpy())


def draw(energies: torch.Tensor, betas: Floats, uniform: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return one drawn state per row, and the status of each row."""
    rows, states = energies.shape
    if not rows:
        return np.empty(0, np.int64), np.empty(0)
    own = _to_device(energies, betas[:, None])
    tiles, total = _reduce_rows(energies, own)
    parts = triton.cdiv(states, TILE_SIZE)
    index = torch.empty(rows, dtype=torch.int64, device=energies.device)
    width, double = triton.next_power_of_2(parts), energies.dtype == torch.float64
    levels = _to_device(energies, uniform)
    _locate_state[(rows,)](
        energies, tiles, own, levels, index, states, parts, width, TILE_SIZE, double, num_warps=NUM_WARPS
    )
    return index.cpu().numpy(), total[:, 0, 0].cpu().numpy()


def _to_device(energies: torch.Tensor, numbers: Floats) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(numbers), dtype=torch.float64, device=energies.device)


def _reduce_rows(energies: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tiles (N, parts, K, 6) and their combination (N, K, 6)."""
    rows, states = energies.shape
    count, parts = betas.shape[1], triton.cdiv(states, TILE_SIZE)
    stride = count if betas.shape[0] > 1 else 0
    tiles = torch.empty((rows, parts, count, 6), dtype=torch.float64, device=energies.device)
    out = torch.empty((rows, count, 6), dtype=torch.float64, device=energies.device)
    double = energies.dtype == torch.float64
    _reduce_tiles[(rows, parts)](energies, betas, tiles, states, count, stride, TILE_SIZE, double, num_warps=NUM_WARPS)
    _combine_tiles[(rows, count)](tiles, betas, out, parts, stride, triton.next_power_of_2(parts))
    return tiles, out
