r"""Hops of several tokens at once along the slope of a law over answers of a fixed length (arXiv:2206.09914).

With embeddings $e_v$ and a set of places J that was chosen without looking at the answer, from x to
$$q_J(x'|x) = \prod_{i \in J} \mathrm{softmax}_v\left(\tfrac12 d_i(v) - \frac{|e_v - e_{x_i}|^2}{2a}\right)_{x'_i}$$
and accepted with probability $\min(1, \pi(x') q_J(x|x') / \pi(x) q_J(x'|x))$, which keeps $\pi$ for every J.
$d_i(v)$ is the derivative of $\log\pi$ with respect to the weight of token v in a one-hot row: at its own place
$\alpha \log p_T(v|x_{<i})$, through later places $\alpha\, e_v \cdot \partial \log p_T(x) / \partial e_{x_i}$, and
minus the slope of the potentials that give one. $a$ is the step size times the mean of $|e_v - e_w|^2$ over all pairs.

A gradient with respect to the embeddings alone leaves out the part at a token's own place: then none of 320 proposals
was accepted on the embedded model, at one place and a step size of 1, against one in seven with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.rng import Random
from heatbath.decode.sequences import Bools
from heatbath.decode.target import Target
from heatbath.energy.base import Context, GradientPotential
from heatbath.ensemble.arrays import asarray_like, to_numpy, upcast_half
from heatbath.errors import BadInput
from heatbath.models.base import GradientModel


@dataclass(frozen=True)
class ChainPoints:
    """Answers (N, L) and the law around them.

    Attributes:
        tokens: the answers, (N, L).
        logprob: log p_T, (N,).
        energy: that in the potentials, (N,); +inf where they forbid an answer.
        own: alpha log p_T of every token at each place, (N, L, V).
        gradient: alpha times the derivative of log p_T with respect to the embeddings, (N, L, D).
        rise: slope of the potentials, (N, L, V), or None.
    """

    tokens: Ints
    logprob: Floats
    energy: Floats
    scaled_logprobs: Any
    embedding_gradient: Any
    potential_gradient: Any

    def merge_where(self, mask: Bools, other: ChainPoints) -> ChainPoints:
        """Answers of `other` where `mask` (N,), of this one elsewhere."""
        wide = self.scaled_logprobs.new_tensor(mask).bool()[:, None, None]
        return ChainPoints(
            np.where(mask[:, None], other.tokens, self.tokens),
            np.where(mask, other.logprob, self.logprob),
            np.where(mask, other.energy, self.energy),
            other.scaled_logprobs.where(wide, self.scaled_logprobs),
            other.embedding_gradient.where(wide, self.embedding_gradient),
            None if self.potential_gradient is None else other.potential_gradient.where(wide, self.potential_gradient),
        )


@dataclass(frozen=True)
class LangevinTarget:
    """A target over answers of exactly L tokens, with a stop token nowhere but in the last place.

    `table` (V, D) are the embeddings, `pull` is 1 / a.
    """

    task: Task
    model: GradientModel
    target: Target
    scorer: PotentialScorer
    embeddings: Any
    inverse_step: float

    @classmethod
    def from_task(cls, task: Task, target: Target, step_size: float) -> LangevinTarget:
        """Raises `BadInput` for a model without gradients."""
        model = task.model
        if not isinstance(model, GradientModel):
            raise BadInput(f"the langevin sampler needs gradients, which {model.name} has not: use another sampler.")
        table = upcast_half(model.embeddings)
        spread = 2 * float((table - table.mean(0)).square().sum(-1).mean())
        prompt = tuple(task.prompts[0]) or model.vocabulary.start_token_ids
        scorer = replace(PotentialScorer.from_task(target.potentials, task), prompt=prompt)
        return cls(task, model, target, scorer, table, 1 / (step_size * spread) if spread else 0.0)

    @cached_property
    def squared_norms(self) -> Any:
        """Squared lengths of the embeddings, (V,)."""
        return self.embeddings.square().sum(-1)

    @property
    def num_positions(self) -> int:
        """Positions that the model looks at for one answer."""
        return len(self.scorer.prompt) + self.task.max_tokens - 1

    def evaluate(self, tokens: Ints) -> ChainPoints:
        """The law around answers (N, L)."""
        answers = tokens.tolist()
        sequences = [[*self.scorer.prompt, *answer] for answer in answers]
        length, power = tokens.shape[1], self.target.power
        found = self.model.token_gradients(sequences, length, beta=1 / self.target.temperature)
        rows, places = np.arange(len(tokens))[:, None], np.arange(length)
        logprob = to_numpy(found.logprobs[rows, places, tokens]).astype(np.float64).sum(1)
        energy = self.scorer(answers, np.ones(len(tokens), bool))
        absent = found.logprobs == -np.inf
        # What the model cannot say stays so at alpha = 0, where the product would be no number.
        own = (power * found.logprobs).masked_fill(absent, -np.inf)
        rise = self._compute_potential_gradient(sequences, own)
        return ChainPoints(tokens, logprob, energy, own, power * found.embedding_gradient, rise)

    def compute_logits(self, points: ChainPoints, positions: Ints) -> Any:
        """Logits (N, V) of what the place `places[n]` of answer n becomes."""
        rows = np.arange(len(positions))
        here = self.embeddings[points.tokens[rows, positions]]
        pulled = (points.embedding_gradient[rows, positions] / 2 + self.inverse_step * here) @ self.embeddings.T
        scores = pulled - self.inverse_step / 2 * self.squared_norms + points.scaled_logprobs[rows, positions] / 2
        if points.potential_gradient is not None:
            scores = scores - points.potential_gradient[rows, positions] / 2
        early = np.flatnonzero(positions < points.tokens.shape[1] - 1)
        for token in self.task.stop_token_ids:
            scores[early, token] = -np.inf
        return scores.double()

    def draw_proposal(self, rng: Random, points: ChainPoints, positions: Ints) -> tuple[Ints, Floats]:
        """Other tokens for the `places` (N, k) of each answer: the answers (N, L) and log q of the change, (N,)."""
        tokens, log_q = points.tokens.copy(), np.zeros(len(positions))
        rows = np.arange(len(positions))
        for at in positions.T:
            scores = self.compute_logits(points, at)
            tokens[rows, at] = rng.draw_tokens(-scores, np.ones(len(rows)))
            log_q += to_numpy(scores.log_softmax(-1)[rows, tokens[rows, at]])
        return tokens, log_q

    def proposal_logprob(self, points: ChainPoints, tokens: Ints, positions: Ints) -> Floats:
        """Log-probability of going from the answers of `points` to `tokens` (N, L) by their `places` (N, k), (N,)."""
        rows, total = np.arange(len(positions)), np.zeros(len(positions))
        for at in positions.T:
            total += to_numpy(self.compute_logits(points, at).log_softmax(-1)[rows, tokens[rows, at]])
        return total

    def acceptance_probability(self, now: ChainPoints, new: ChainPoints, log_proposal_ratio: Floats) -> Floats:
        r"""$\min(1, \pi(x') q_J(x|x') / \pi(x) q_J(x'|x))$, (N,); `ratio` (N,) is the log of that of the proposals.

        Between two answers that the potentials forbid only the model decides: a chain that has not yet found the
        target must walk, and one that has never leaves it.
        """
        lost = np.isinf(now.energy) & np.isinf(new.energy)
        with np.errstate(invalid="ignore"):
            gain = self.target.power * (new.logprob - now.logprob) - np.where(lost, 0.0, new.energy - now.energy)
            log_chance = gain + log_proposal_ratio
        return np.asarray(np.exp(np.minimum(np.where(np.isnan(log_chance), -np.inf, log_chance), 0.0)))

    def _compute_potential_gradient(self, sequences: list[list[int]], like: Any) -> Any:
        """Slopes of the potentials that have a `token_gradient`, summed, (N, L, V)."""
        context = Context(
            sequences,
            [len(self.scorer.prompt)] * len(sequences),
            self.scorer.vocab_size,
            self.scorer.stop_token_ids,
            [True] * len(sequences),
        )
        total = None
        for weight, part in self.scorer.potentials:
            if isinstance(part, GradientPotential):
                slope = weight * asarray_like(
                    _validate_gradient(part.token_gradient(context), like.shape, part.name), like
                )
                total = slope if total is None else total + slope
        return total


def _validate_gradient(gradient: Any, shape: Sequence[int], name: str) -> Any:
    """The slope itself. Raises `BadInput` for another shape or what is not finite."""
    if tuple(np.shape(gradient)) != tuple(shape) or not np.isfinite(to_numpy(gradient)).all():
        raise BadInput(f"the token gradient of potential {name!r} must be finite, of shape {tuple(shape)}.")
    return gradient
