"""Selection and sorting of the few states near a border, in kernels that compile fast."""

from __future__ import annotations

from typing import Any

from heatbath.kernels.jit import jit


@jit
def select(values: Any, k: Any) -> Any:
    """Return the value of rank k (from 0) and move lower values before it in the array (Hoare's quickselect)."""
    left, right = 0, values.shape[0] - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            right = j
        elif k >= i:
            left = i
        else:
            break
    return values[k]


@jit
def sift_down(x: Any, w: Any, root: Any, end: Any) -> Any:
    """Move x[root] down to its place in the heap x[:end], largest on top, and permute w in the same way."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and x[child] < x[child + 1]:
            child += 1
        if x[root] >= x[child]:
            break
        x[root], x[child] = x[child], x[root]
        w[root], w[child] = w[child], w[root]
        root = child


@jit
def sort(x: Any, w: Any) -> Any:
    """Sort x in place (heapsort) and permute w in the same way."""
    n = x.shape[0]
    for root in range(n // 2 - 1, -1, -1):
        sift_down(x, w, root, n)
    for end in range(n - 1, 0, -1):
        x[0], x[end] = x[end], x[0]
        w[0], w[end] = w[end], w[0]
        sift_down(x, w, 0, end)
