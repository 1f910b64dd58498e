r"""Adaptive weighted rejection sampling: potentials that forbid tokens, asked about a few of them at each step.

A mask over the vocabulary takes V evaluations of a potential. Here tokens are drawn from the model without those
rejected before, until `accepts` draws were accepted. The first accepted token is the sample; the draws that were needed
give an unbiased weight for it.

Let $S_j$ be the probability of the first j rejected tokens, in the order of their rejection. Between the j-th rejection
and the next, a draw is accepted with probability $Z / (1 - S_j)$, where Z is the probability of all tokens that are
allowed. Whether the first draw is accepted is an unbiased estimate of Z. So is its expectation, given the order of
the rejected tokens and the number of accepted draws, in which Z cancels:

$$\hat Z = h_{k-1}(u_0, \ldots, u_m) / h_k(u_0, \ldots, u_m), \qquad u_j = 1 / (1 - S_j)$$

with m rejections, k accepted draws whose place is not fixed and the complete homogeneous symmetric polynomials $h_k$.
It is positive, at most 1, and independent of the token given the rejected ones, so that a token with weight
$\hat Z$ is properly weighted. It tends to Z as `accepts` grows.

Source: the sampler is that of Lipkin et al. 2025, arXiv:2504.05410; the estimate is this module's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Ints, Step, Task
from heatbath.decode.energy_pipeline import PipelineResult
from heatbath.decode.potential_scorer import PotentialTerms, collect_terms, evaluate_potentials
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.schedules import Schedule
from heatbath.decode.sequences import validate_at_least
from heatbath.decode.smc import PARTICLE_OPTIONS, PARTICLE_RANGES, SMC
from heatbath.decode.target import Target, build_target
from heatbath.energy.base import Context, Potential
from heatbath.energy.spec import Range, Spec
from heatbath.ensemble import state as state_of
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput

# Below this share the sum of what is left is computed anew, since one minus the sum of the rest loses digits.
_MIN_SHARE = 1e-3
_MAX_REQUEST_REJECTS = 64


@dataclass(frozen=True)
class AdaptiveRejection(Ancestral):
    """Draw as `Ancestral` does, among the tokens after which the potentials are finite.

    A token is rejected if the energy of the sequence with it is +inf. Potentials that do not score prefixes are asked
    about finished sequences only.

    Attributes:
        potentials: asked about each drawn token, together for all rows that still draw.
        accepts: number of accepted draws at each step, from 2 up; more of them make weights more even. A token that was
            drawn again is not asked about again.
        max_rejects: number of rejected tokens after which a row gives up. Weights stay unbiased: a row without any
            accepted token has weight 0.

    Raises:
        BadInput: a setting out of range; a temperature of 0 or a schedule.
    """

    potentials: Potential | Sequence[Potential] = ()
    accepts: int = 2
    max_rejects: int = 64

    estimates_mass = True

    def __post_init__(self) -> None:
        validate_at_least(self.accepts, 2, "accepts")
        validate_at_least(self.max_rejects, 1, "max_rejects")

    @classmethod
    def for_target(cls, target: Target, *, accepts: int = 2, max_rejects: int = 64) -> AdaptiveRejection:
        """Build the proposal of a target, at T / alpha with its fields and windows."""
        base = target.build_sampler_at(target.temperature / target.power if target.power else np.inf)
        return cls(
            base.temperatures,
            base.window,
            base.fields,
            base.keep_dead_rows,
            base.window_temperature,
            target.potentials,
            accepts,
            max_rejects,
        )

    def init(self, task: Task) -> Batch:
        if isinstance(self.temperatures, Schedule) or not np.all(np.asarray(self.temperatures) > 0):
            raise BadInput("rejection sampling takes temperatures above 0, not a schedule.", param="temperature")
        return super().init(task)

    def draw_tokens(self, rng: Random, batch: Batch, result: PipelineResult) -> tuple[Batch, Step]:
        draws = _TokenDraws(self, batch.build_context(result.energies), batch.max_tokens, result)
        while len(draws.open_rows):
            draws.draw_once(rng)
        step = Step(
            draws.tokens,
            result,
            log_accepted_mass=np.asarray([self._log_mass(row) for row in draws.rows]),
            potential_energy=draws.energy,
        )
        return replace(batch, pending_tokens=draws.tokens), step

    def _log_mass(self, row: _RowDraws) -> float:
        """Return the log of the estimated mass of allowed tokens."""
        if row.accepts == self.accepts:
            return estimate_log_mass(row.log_shares, self.accepts - 1)
        # The last draw was rejected, so that all accepted ones lie before it.
        return estimate_log_mass(row.log_shares[:-1], row.accepts)


def estimate_log_mass(log_shares: Sequence[float], free_accepts: int) -> float:
    r"""Return $\log h_{k-1}(u) / h_k(u)$ with $u_j = 1 / (1 - S_j)$; -inf for k = 0.

    `log_shares` (m + 1,) are $\log(1 - S_j)$ from $S_0 = 0$ on, k is `free_accepts`.
    """
    if free_accepts == 0:
        return float("-inf")
    least = min(log_shares)
    # In units of the greatest u, so that nothing overflows.
    sums = np.zeros(free_accepts + 1)
    sums[0] = 1.0
    for ratio in np.exp(least - np.asarray(log_shares)).tolist():
        for k in range(1, free_accepts + 1):
            sums[k] += ratio * sums[k - 1]
    return float(least + np.log(sums[-2]) - np.log(sums[-1]))


@dataclass
class _RowDraws:
    """The draws of a row: its energies by token as far as asked, and log(1 - S) from 0 on after each rejection."""

    log_shares: list[float] = field(default_factory=lambda: [0.0])
    accepts: int = 0
    energy: dict[int, float] = field(default_factory=dict)


class _TokenDraws:
    """Draws of one step of a batch, until every row has enough accepted tokens or too many rejected ones."""

    def __init__(self, sampler: AdaptiveRejection, context: Context, max_tokens: int, result: PipelineResult) -> None:
        energies = result.final_energies
        self._sampler, self._context, self._max_tokens, self._betas = sampler, context, max_tokens, result.betas
        self._terms: PotentialTerms = collect_terms(sampler.potentials)
        self._left = energies.copy() if isinstance(energies, np.ndarray) else energies.clone()
        self._log_z = result.final_log_z
        self.rows = [_RowDraws() for _ in context.prompt_lengths]
        self.tokens = np.zeros(len(self.rows), np.int64)
        self.energy = np.full(len(self.rows), np.inf)
        self.open_rows: Ints = np.arange(len(self.rows))

    def draw_once(self, rng: Random) -> None:
        """Draw a token for each open row, ask about those that are new, and close the rows that are done."""
        open_rows = self.open_rows
        if len(open_rows) == len(self.rows):
            drawn = rng.draw_tokens(self._left, self._betas)
        else:
            drawn = rng.for_rows(open_rows.tolist()).draw_tokens(self._left[open_rows.tolist()], self._betas[open_rows])
        self._ask(open_rows, drawn)
        rejected = []
        for at, (row, token) in enumerate(zip(open_rows.tolist(), drawn.tolist(), strict=True)):
            record = self.rows[row]
            if record.accepts == 0:
                self.tokens[row], self.energy[row] = token, record.energy[token]
            if np.isinf(record.energy[token]):
                rejected.append(at)
            else:
                record.accepts += 1
        if rejected:
            self._remove(open_rows[rejected], drawn[rejected])
        self.open_rows = open_rows[[self._is_open(self.rows[row]) for row in open_rows.tolist()]]

    def _is_open(self, row: _RowDraws) -> bool:
        rejects = len(row.log_shares) - 1
        is_exhausted = row.log_shares[-1] == -np.inf
        return row.accepts < self._sampler.accepts and rejects < self._sampler.max_rejects and not is_exhausted

    def _ask(self, rows: Ints, drawn: Ints) -> None:
        """Evaluate the potentials on the rows with their drawn tokens, where these are new."""
        pairs = [(r, t) for r, t in zip(rows.tolist(), drawn.tolist(), strict=True) if t not in self.rows[r].energy]
        if not pairs:
            return
        context = self._context
        starts = [context.prompt_lengths[row] for row, _ in pairs]
        tokens = [[*context.tokens[row], token] for row, token in pairs]
        finished = [
            token in context.stop_token_ids or len(row) - start == self._max_tokens
            for (_, token), row, start in zip(pairs, tokens, starts, strict=True)
        ]
        asked = Context(tokens, starts, context.vocab_size, context.stop_token_ids, finished)
        for (row, token), energy in zip(pairs, evaluate_potentials(self._terms, asked).tolist(), strict=True):
            self.rows[row].energy[token] = energy

    def _remove(self, rows: Ints, tokens: Ints) -> None:
        """Remove rejected tokens from the rows, and update what is left of their probability."""
        at = (rows.tolist(), tokens.tolist())
        removed = -self._betas[rows] * to_numpy(self._left[at]).astype(np.float64) - self._log_z[rows]
        self._left[at] = np.inf
        before = np.asarray([self.rows[row].log_shares[-1] for row in rows.tolist()])
        share = np.exp(before) - np.exp(removed)
        log_share = np.log(np.maximum(share, _MIN_SHARE))
        small = np.flatnonzero(share < _MIN_SHARE)
        if len(small):
            log_share[small] = self._sum_left(rows[small])
        for row, value in zip(rows.tolist(), log_share.tolist(), strict=True):
            self.rows[row].log_shares.append(value)

    def _sum_left(self, rows: Ints) -> Floats:
        """Return the log of the share of probability that is left in `rows`, -inf where no token is."""
        log_share = np.full(len(rows), -np.inf)
        left = self._left[rows.tolist()]
        with_tokens = np.flatnonzero(np.isfinite(to_numpy(left)).any(1))
        if len(with_tokens):
            betas = self._betas[rows[with_tokens]]
            log_z = to_numpy(state_of(left[with_tokens.tolist()], betas).log_z).astype(np.float64)
            log_share[with_tokens] = log_z - self._log_z[rows[with_tokens]]
        return log_share


def _build_rejection(
    arguments: SamplerArguments, *, alpha: float = 1.0, accepts: int = 2, max_rejects: int = 64, **options: Any
) -> SMC:
    target = build_target(arguments, alpha=alpha)
    proposal = AdaptiveRejection.for_target(target, accepts=accepts, max_rejects=max_rejects)
    return SMC(replace(target, window=None, proposal=proposal), **options)


def _limit_request(options: Any) -> str | None:
    rejects = options.get("max_rejects", 0)
    if isinstance(rejects, int) and rejects > _MAX_REQUEST_REJECTS:
        return f"may reject at most {_MAX_REQUEST_REJECTS} tokens per step in a request, got {rejects}."
    return None


SPEC = Spec(
    "awrs",
    "sampler",
    _build_rejection,
    options=("alpha", "accepts", "max_rejects", *PARTICLE_OPTIONS),
    order=65,
    uses_potentials=True,
    request_limit=_limit_request,
    ranges={
        **PARTICLE_RANGES,
        "accepts": Range(2, _MAX_REQUEST_REJECTS),
        "max_rejects": Range(0, _MAX_REQUEST_REJECTS),
    },
)
