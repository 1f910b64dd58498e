"""Smooth convex functions of a few variables: where they are least, and whether they are least anywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ConvexFunction = Callable[[Floats], tuple[float, Floats, Floats]]
_MAX_STEPS = 200


def minimize_convex(function: ConvexFunction, start: Floats, tolerance: float = 1e-10) -> tuple[Floats, bool]:
    """Where a convex function (value, gradient (i,), Hessian (i, i)) is least, and whether that was reached.

    Steps are halved until the value falls as its gradient promises. Directions without curvature are left alone.
    It is reached when a full step would gain less than `tolerance`² and the gradient vanishes to rounding.
    """
    point = start.copy()
    value, gradient, hessian = function(point)
    for _ in range(_MAX_STEPS):
        step = -np.linalg.pinv(hessian, rcond=1e-13, hermitian=True) @ gradient
        slope = float(gradient @ step)
        if -slope < tolerance**2:
            return point + step, bool(np.abs(gradient).max(initial=0.0) < np.sqrt(tolerance))
        # Close to the minimum rounding hides what a step gains; there full steps are right.
        size = _backtracking_step_size(function, point, step, value + 1e-13 * (1 + abs(value)), slope)
        if size == 0.0:
            return point, False
        point = point + size * step
        value, gradient, hessian = function(point)
    return point, False


def has_unbounded_direction(rows: Floats) -> bool:
    r"""Whether a direction d has $d \cdot r_n \le 0$ for all rows (n, i), and below 0 for some.

    Then the dual of a moment problem, or the likelihood of a logistic regression, falls along d without end (Albert &
    Anderson 1984 for the latter). It is a linear program: least mean, d in a box.
    """
    from scipy.optimize import linprog

    rows = np.unique(rows, axis=0)
    found = linprog(rows.mean(0), A_ub=rows, b_ub=np.zeros(len(rows)), bounds=[(-1, 1)] * rows.shape[1])
    return found.status != 0 or float(found.fun or 0.0) < -1e-9


def _backtracking_step_size(function: ConvexFunction, point: Floats, step: Floats, value: float, slope: float) -> float:
    """The first of 1, 1/2, 1/4 ... that lowers the value enough (Armijo's rule); 0 if rounding hides any fall."""
    size = 1.0
    for _ in range(60):
        if function(point + size * step)[0] <= value + 1e-4 * size * slope:
            return size
        size /= 2
    return 0.0
