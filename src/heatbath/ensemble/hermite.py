r"""Hermite interpolation that matches value, first and second derivative at each node of a stencil.

With $\ell_j$ Lagrange's polynomial of node $x_j$, $s=x-x_j$ and $\ell_j=1+as+bs^2+\dots$ about the node, the
basis polynomials that have one datum and no other are $\ell_j^3$ times $1-3as+(6a^2-3b)s^2$, $s-3as^2$ and $s^2/2$.
Everything is a *jet*: value, first and second derivative with respect to x, along the first axis.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def multiply_jets(f: Floats, g: Floats) -> Floats:
    """Return the jet of a product."""
    return np.stack([f[0] * g[0], f[1] * g[0] + f[0] * g[1], f[2] * g[0] + 2.0 * f[1] * g[1] + f[0] * g[2]])


def polynomial_jet(s: Floats, coefficients: tuple[Floats, Floats, Floats]) -> Floats:
    """Return the jet of c0 + c1 s + c2 s^2."""
    c0, c1, c2 = coefficients
    return np.stack([c0 + s * (c1 + s * c2), c1 + 2.0 * s * c2, np.broadcast_to(2.0 * c2, s.shape)])


def cardinal_jets(x: Floats, nodes: Floats) -> Floats:
    """Compute the jets of the basis polynomials, (3 derivatives, 3 data, …, J), at x (…) for nodes (…, J)."""
    s = x[..., None] - nodes
    gaps = nodes[..., :, None] - nodes[..., None, :]
    count = nodes.shape[-1]
    inverse = np.divide(1.0, gaps, out=np.zeros_like(gaps), where=~np.eye(count, dtype=bool))
    one, none = np.ones_like(s), np.zeros_like(s)
    lagrange = polynomial_jet(s, (one, none, none))
    for i in range(count):
        other = np.where(np.arange(count) == i, 0.0, inverse[..., :, i])
        start = np.where(np.arange(count) == i, 1.0, s[..., i : i + 1] * other)
        lagrange = multiply_jets(lagrange, np.stack([start, other, none]))
    cube = multiply_jets(lagrange, multiply_jets(lagrange, lagrange))
    a = inverse.sum(-1)
    b = 0.5 * (a * a - (inverse * inverse).sum(-1))
    data = (one, -3.0 * a, 6.0 * a * a - 3.0 * b), (none, one, -3.0 * a), (none, none, 0.5 * one)
    return np.stack([multiply_jets(cube, polynomial_jet(s, c)) for c in data], axis=1)
