"""Bounds from both sides hold log Z between them, on average over exact draws."""

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.decode import SMC, RowRandom, Target, Task
from heatbath.decode.log_z_bounds import estimate_log_z_bounds
from heatbath.errors import BadInput
from heatbath.models import TableModel

TREE = TableModel.random(3, 3, 5, stop_token_ids=(2,), scale=1.5)
TASK = Task(TREE, [[]], 5, (2,))
SAMPLER = SMC(Target(power=3.0), particles=2, replicates=50, threshold=1.0)


def brackets(count: int, exact: np.ndarray) -> np.ndarray:
    """Bounds for draws from a law over sequences (n,)."""
    rng, found = np.random.default_rng(0), []
    for seed in range(count):
        answer = TREE.sequences()[rng.choice(len(exact), p=exact)]
        got = estimate_log_z_bounds(SAMPLER, TASK, RowRandom(seed, 200), answer)
        found.append((got.lower.value, got.upper.value))
    return np.asarray(found)


def test_log_z_lies_between():
    """Means of 60 brackets, four standard errors each: error rate 1e-4."""
    log_target = 3.0 * TREE.logprobs()
    log_z = logsumexp(log_target)
    found = brackets(60, np.exp(log_target - log_z))
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
    assert mean[0] < log_z + 4 * error[0] and mean[1] > log_z - 4 * error[1]
    assert log_z - mean[0] > 4 * error[0] and mean[1] - log_z > 2 * error[1], "bounds so tight would test nothing"
    assert mean[1] - mean[0] < 1.0


def test_a_draw_from_another_law_gives_no_upper_bound():
    worst = np.argmin(np.where(np.isfinite(TREE.logprobs()), TREE.logprobs(), np.inf))
    found = brackets(20, np.eye(len(TREE.logprobs()))[worst])
    assert found[:, 1].mean() < logsumexp(3.0 * TREE.logprobs()) - 0.1


def test_bad_input():
    with pytest.raises(BadInput, match="pinned sequence of 2 tokens is not finished"):
        estimate_log_z_bounds(SAMPLER, TASK, RowRandom(0, 200), [0, 1])
    with pytest.raises(BadInput, match="replicates"):
        estimate_log_z_bounds(SMC(replicates=1), TASK, RowRandom(0, 200), [2])
