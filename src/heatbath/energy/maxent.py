r"""Maximum entropy: the distribution with given feature means that is closest to the model, $p\,e^{-\lambda f}/Z$.

The multipliers minimize a convex dual, $\log Z(\lambda) + \lambda \cdot t$. Fitted on samples of sequences they give
a potential, fitted on distributions of the next token a field.

Source: Jaynes 1957, Physical Review 106; Csiszár 1975 ; on samples Khalifa et al. 2020, arXiv:2012.11635.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field, Potential
from heatbath.energy.newton import has_unbounded_direction, minimize_convex
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, Unreliable

Floats = npt.NDArray[np.float64]
Features = Callable[[Sequence[Sequence[int]]], npt.ArrayLike]


@dataclass(frozen=True)
class MomentFit:
    r"""Multipliers of i features, with standard errors and sample size.

    Attributes:
        lambdas: $\lambda$ (i,), nats per unit of each feature; the energy is $\lambda \cdot f$.
        stderr: standard errors due to the finite sample, (i,).
        means: means of the features under the fitted distribution, (i,): the targets, to 1e-5 or better.
        log_z: $\log \langle e^{-\lambda f} \rangle$ over the model, nats.
        ess: effective samples of the fitted distribution (Kish), or the number of contexts it was fitted on.
    """

    lambdas: Floats
    stderr: Floats
    means: Floats
    log_z: float
    ess: float

    def require_reliable(self, min_ess: float = 30.0) -> MomentFit:
        """Return self, or raise `Unreliable` (which carries it) below `min_ess` effective samples."""
        if self.ess < min_ess:
            raise Unreliable(
                f"multipliers {np.round(self.lambdas, 4).tolist()} rest on {self.ess:.1f} effective samples, fewer "
                f"than {min_ess:g}: draw more, or choose milder targets; `.estimate` has them all the same.",
                self,
            )
        return self


def fit_moments(
    log_weights: npt.ArrayLike, features: npt.ArrayLike, targets: npt.ArrayLike, *, min_ess: float = 30.0
) -> MomentFit:
    r"""Fit multipliers with $\langle f \rangle_{p e^{-\lambda f}/Z} = t$ to n samples of sequences.

    Args:
        log_weights: log of each sample's weight, (n,), up to a constant: 0 for draws from the model, log p for an
            enumeration, -E for weighted samples.
        features: (n, i), or (n,) for one feature.
        targets: t, (i,).
        min_ess: effective samples required; 0 for an enumeration, which has no sampling error.

    Raises:
        BadInput: shapes that do not fit, values that are not finite, or targets outside the convex hull of the
            features or on its boundary, which no finite multipliers reach.
        Unreliable: fewer than `min_ess` effective samples; the `MomentFit` is its `.estimate`.
    """
    weights = np.asarray(log_weights, np.float64)
    matrix, target_i = _validate_features(features, targets)
    if weights.shape != matrix.shape[:1] or np.isnan(weights).any() or not np.isfinite(weights.max(initial=-np.inf)):
        raise BadInput(
            f"expected {len(matrix)} log-weights, one per sample, without NaN or +inf and at least one finite, "
            f"got {weights.tolist()!s:.60}."
        )
    return _fit_multipliers(weights[None], matrix, target_i, from_samples=True).require_reliable(min_ess)


class MaxEntropy(Field):
    r"""Energy $\lambda \cdot f(v)$ of token v, (V,), nats, from `token_features` (V, i) and `lambdas` (i,)."""

    def __init__(self, token_features: npt.ArrayLike, lambdas: npt.ArrayLike, *, name: str = "max_entropy") -> None:
        matrix, self.lambdas = _validate_features(token_features, lambdas)
        self.energies = matrix @ self.lambdas
        self.name = name

    @classmethod
    def fit(
        cls, token_features: npt.ArrayLike, energies: Any, targets: npt.ArrayLike, *, name: str = "max_entropy"
    ) -> tuple[MaxEntropy, MomentFit]:
        r"""Fit the field under which the mean of each feature over contexts n and next tokens is its target.

        `energies` (n, V), nats, are the model's in representative contexts: the distribution in context n becomes
        $p_n e^{-\lambda f}/Z_n$ with one $\lambda$ for all. Returns the field and its `MomentFit`. Raises as
        `fit_moments` does.
        """
        from heatbath.ensemble.arrays import to_numpy

        rows = to_numpy(energies).astype(np.float64)
        matrix, target_i = _validate_features(token_features, targets)
        if rows.ndim != 2 or rows.shape[1] != len(matrix) or not len(rows):
            raise BadInput(f"energies must have shape (n, {len(matrix)}), one column per token, got {rows.shape}.")
        if np.isnan(rows).any() or (rows == -np.inf).any() or not np.isfinite(rows.min(-1)).all():
            raise BadInput("energies must have no NaN, no -inf and at least one finite value in every row.")
        fit = _fit_multipliers(-rows, matrix, target_i, from_samples=False)
        return cls(matrix, fit.lambdas, name=name), fit

    def __call__(self, context: Context) -> Floats:
        if len(self.energies) != context.vocab_size:
            raise BadInput(
                f"field {self.name!r} has features for {len(self.energies)} tokens, "
                f"but the vocabulary has {context.vocab_size}."
            )
        return self.energies


class MaxEntropyPotential(Potential):
    r"""Energy $\lambda \cdot f(x)$ of a completion, (B,), nats; `features` maps completions, B token lists, to (B, i).

    With `lambdas` from `fit_moments`, weighted completions have the target means.
    """

    def __init__(self, features: Features, lambdas: npt.ArrayLike, *, name: str = "max_entropy") -> None:
        self.lambdas = np.atleast_1d(np.asarray(lambdas, np.float64))
        if self.lambdas.ndim != 1 or not np.isfinite(self.lambdas).all():
            raise BadInput(f"`lambdas` must be a flat list of finite numbers, got {self.lambdas.tolist()}.")
        self.features = features
        self.name = name

    def __call__(self, context: Context) -> Floats:
        values = np.asarray(self.features([context.completion(row) for row in range(len(context))]), np.float64)
        shape = (len(context), len(self.lambdas))
        if values.shape != shape:
            raise BadInput(f"features of potential {self.name!r} must have shape {shape}, got {values.shape}.")
        return np.asarray(values @ self.lambdas)


def _validate_features(features: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Floats]:
    vector = np.atleast_1d(np.asarray(targets, np.float64))
    matrix = np.asarray(features, np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or not matrix.size or vector.shape != matrix.shape[1:]:
        raise BadInput(f"features of shape {matrix.shape} and {vector.size} numbers do not fit: give (n, i) and (i,).")
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all()):
        raise BadInput("features, targets and lambdas must be finite numbers.")
    return matrix, vector


def _fit_multipliers(logw_gs: Floats, features: Floats, targets: Floats, *, from_samples: bool) -> MomentFit:
    """Minimize one dual for G groups of states s with log-weights (G, S): one group of samples, or many contexts."""
    share_gs = _normalize_weights(logw_gs, np.zeros(len(features)))[0]
    center = share_gs.mean(0) @ features
    # In units of each feature's own spread, so that the result does not depend on the units.
    scale = np.sqrt(share_gs.mean(0) @ (features - center) ** 2)
    scale[scale <= 1e-12 * np.abs(features).max(0)] = 1.0
    f = (features - targets) / scale
    if has_unbounded_direction(f[share_gs.max(0) > 0]):
        raise BadInput(
            f"targets must lie inside the convex hull of the features, got {targets.tolist()} outside it or on its "
            "boundary: no distribution with the support of the model has these means."
        )
    point, converged = minimize_convex(lambda point: _evaluate_dual(logw_gs, f, point)[:3], np.zeros(len(targets)))
    if not converged:
        raise BadInput(f"no finite multipliers give the means {targets.tolist()}: choose targets further inside.")
    value, _, hessian, share_gs = _evaluate_dual(logw_gs, f, point)
    spread = _gradient_covariance(share_gs, f, from_samples)
    inverse = np.linalg.pinv(hessian, rcond=1e-13, hermitian=True)
    stderr = np.sqrt(np.diag(inverse @ spread @ inverse)) / scale
    lambdas = point / scale
    ess = float(1 / (share_gs[0] ** 2).sum()) if from_samples else float(len(share_gs))
    if ess == 1:
        stderr = np.full(len(lambdas), np.inf)  # one draw carries no information on the spread
    return MomentFit(lambdas, stderr, share_gs.mean(0) @ features, float(value - lambdas @ targets), ess)


def _gradient_covariance(share_gs: Floats, features: Floats, from_samples: bool) -> Floats:
    """Compute the covariance (i, i) of the dual's gradient over draws: of states in one group, or of contexts."""
    if from_samples:
        return np.asarray((features * share_gs[0, :, None] ** 2).T @ features)
    score_gi, count = share_gs @ features, len(share_gs)
    return np.asarray(score_gi.T @ score_gi / (count * max(count - 1, 1)))


def _evaluate_dual(logw_gs: Floats, features: Floats, point: Floats) -> tuple[float, Floats, Floats, Floats]:
    """Return value, gradient and Hessian of the dual, and the shares (G, S); `features` are relative to the targets."""
    share_gs, log_z_g = _normalize_weights(logw_gs, features @ point)
    mean_gi = share_gs @ features
    second = (features * share_gs.mean(0)[:, None]).T @ features
    value = float((log_z_g - _normalize_weights(logw_gs, np.zeros(len(features)))[1]).mean())
    return value, -mean_gi.mean(0), second - mean_gi.T @ mean_gi / len(mean_gi), share_gs


def _normalize_weights(logw_gs: Floats, energies_s: Floats) -> tuple[Floats, Floats]:
    logw = logw_gs - energies_s
    top = logw.max(-1, keepdims=True)
    weights = np.exp(logw - top)
    total = weights.sum(-1, keepdims=True)
    return weights / total, (top + np.log(total))[:, 0]


_MAX_REQUEST_FEATURES = 64


def _build_max_entropy(
    context: BuildContext, features: Mapping[str, Sequence[float]], lambdas: Sequence[float]
) -> Field:
    table = np.zeros((context.vocab_size, len(lambdas)))
    for text, values in features.items():
        table[context.resolve_token(text)] = values
    return MaxEntropy(table, lambdas)


def _feature_limit(value: Any) -> str | None:
    """Return a sentence for more features than a request may ask for: the table has a row for every token."""
    lambdas = value.get("lambdas", ()) if isinstance(value, dict) else ()
    count = len(lambdas) if isinstance(lambdas, list | tuple) else 0
    return f"has {count} features: give at most {_MAX_REQUEST_FEATURES}." if count > _MAX_REQUEST_FEATURES else None


SPEC = Spec(
    "max_entropy",
    "field",
    _build_max_entropy,
    '{"features": {" yes": [1.0]}, "lambdas": [0.5]}',
    order=200,
    request_limit=_feature_limit,
)
