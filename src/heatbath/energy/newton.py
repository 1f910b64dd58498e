"""Newton minimization of smooth convex functions of a few variables, and a test for unbounded directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ConvexFunction = Callable[[Floats], tuple[float, Floats, Floats]]
_MAX_STEPS = 200


def minimize_convex(function: ConvexFunction, start: Floats, tolerance: float = 1e-10) -> tuple[Floats, bool]:
    """Return the minimizer of a convex function (value, gradient (i,), Hessian (i, i)), and True if it converged.

    Steps are halved until the value falls enough (Armijo's rule). Directions without curvature are not moved along.
    Converged means that a full step would gain less than `tolerance`² and the gradient vanishes to rounding.
    """
    point = start.copy()
    value, gradient, hessian = function(point)
    for _ in range(_MAX_STEPS):
        step = -np.linalg.pinv(hessian, rcond=1e-13, hermitian=True) @ gradient
        slope = float(gradient @ step)
        if -slope < tolerance**2:
            return point + step, bool(np.abs(gradient).max(initial=0.0) < np.sqrt(tolerance))
        # Close to the minimum rounding hides the gain of a step; full steps are right there.
        size = _backtracking_step_size(function, point, step, value + 1e-13 * (1 + abs(value)), slope)
        if size == 0.0:
            return point, False
        point = point + size * step
        value, gradient, hessian = function(point)
    return point, False


def has_unbounded_direction(rows: Floats) -> bool:
    r"""Return True if some direction d has $d \cdot r_n \le 0$ for all rows (n, i), and below 0 for one of them.

    Along such a d the dual of a moment problem, or the negative log-likelihood of a logistic regression, decreases
    forever (Albert & Anderson 1984 for the latter). Solved as a linear program: minimal mean, d in a box.
    """
    from scipy.optimize import linprog

    rows = np.unique(rows, axis=0)
    solution = linprog(rows.mean(0), A_ub=rows, b_ub=np.zeros(len(rows)), bounds=[(-1, 1)] * rows.shape[1])
    return solution.status != 0 or float(solution.fun or 0.0) < -1e-9


def _backtracking_step_size(function: ConvexFunction, point: Floats, step: Floats, value: float, slope: float) -> float:
    """Return the first of 1, 1/2, 1/4 ... that lowers the value enough (Armijo); 0 if rounding hides any fall."""
    size = 1.0
    for _ in range(60):
        if function(point + size * step)[0] <= value + 1e-4 * size * slope:
            return size
        size /= 2
    return 0.0
