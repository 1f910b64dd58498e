"""Identities of docs/theory.md on whole answers: a weight is made of the partition functions of single tokens."""

from __future__ import annotations

import numpy as np
import pytest

import heatbath as hb
from heatbath.energy import ForbiddenTokens, LogitBias
from heatbath.energy.potentials import Length

TREE = hb.TableModel.random(5, 4, 6, stop_token_ids=(3,))


def summed(out, column):
    """A column of the record summed over each answer."""
    return np.asarray([trace.record[column].sum() for trace in out.traces])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_weight_of_a_steered_answer_is_the_mass_its_fields_kept(weight):
    fields, wanted = [ForbiddenTokens([1]), LogitBias({0: 0.7})], weight * Length(3, 1)
    asked = {"temperature": 0.8, "fields": fields, "potentials": wanted, "threshold": 0.0, "max_tokens": 6}
    out = hb.generate(TREE, [[]], sampler="smc", **asked)
    cost = np.asarray([(len(row) - (row[-1] == 3) - 3) ** 2 / 2 for row in out.sequences])
    np.testing.assert_allclose(out.weighted_samples.log_weight, summed(out, "log_mass") - weight * cost, atol=1e-9)


def test_the_weight_towards_a_power_is_a_sum_of_log_z():
    alpha = 3.0
    out = hb.generate(TREE, [[]], sampler="power", alpha=alpha, threshold=0.0, max_tokens=6)
    for row, weight in zip(out.sequences, out.weighted_samples.log_weight, strict=True):
        energies = np.concatenate([TREE.open([row[:t]]).energies() for t in range(len(row))])
        log_z = hb.state(energies, alpha).log_z - alpha * hb.state(energies, 1.0).log_z
        np.testing.assert_allclose(weight, log_z.sum(), atol=1e-9)
