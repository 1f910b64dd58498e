r"""The discrete Langevin proposal: several tokens of a fixed-length sequence change at once (arXiv:2206.09914).

With embeddings $e_v$ and a set of positions J that is chosen independently of the sequence x, the proposal is
$$q_J(x'|x) = \prod_{i \in J} \mathrm{softmax}_v\left(\tfrac12 d_i(v) - \frac{|e_v - e_{x_i}|^2}{2a}\right)_{x'_i}$$
It is accepted with probability $\min(1, \pi(x') q_J(x|x') / \pi(x) q_J(x'|x))$, which leaves $\pi$ invariant for any J.
$d_i(v)$ is the derivative of $\log\pi$ with respect to the weight of token v in a one-hot row: at its own position
$\alpha \log p_T(v|x_{<i})$, through later positions $\alpha\, e_v \cdot \partial \log p_T(x) / \partial e_{x_i}$, and
minus the gradient of the potentials that have one. $a$ is the step size times the mean $|e_v - e_w|^2$ of all pairs.

A gradient with respect to the embeddings alone omits the term at the token's own position: then none of 320 proposals
was accepted on the default model, at one position and a step size of 1, against one in seven with it.
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
    """Current sequences of chains, with the target and its derivatives there.

    Attributes:
        tokens: the sequences, (N, L).
        logprob: log p_T, (N,).
        energy: energy of the potentials, (N,); +inf where they forbid a sequence.
        scaled_logprobs: alpha log p_T of every token at each position, (N, L, V).
        embedding_gradient: alpha times the derivative of log p_T with respect to the embeddings, (N, L, D).
        potential_gradient: gradient of the potentials, (N, L, V), or None.
    """

    tokens: Ints
    logprob: Floats
    energy: Floats
    scaled_logprobs: Any
    embedding_gradient: Any
    potential_gradient: Any

    def merge_where(self, mask: Bools, other: ChainPoints) -> ChainPoints:
        """Return the points of `other` where `mask` (N,), and of this one elsewhere."""
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
    """A target over sequences of exactly L tokens, with a stop token only in the last position.

    `embeddings` is (V, D), `inverse_step` is 1 / a.
    """

    task: Task
    model: GradientModel
    target: Target
    scorer: PotentialScorer
    embeddings: Any
    inverse_step: float

    @classmethod
    def from_task(cls, task: Task, target: Target, step_size: float) -> LangevinTarget:
        """Build the target of a task. Raises `BadInput` for a model without gradients."""
        model = task.model
        if not isinstance(model, GradientModel):
            raise BadInput(
                f"the langevin sampler needs gradients, which {model.name} does not provide: use another sampler."
            )
        table = upcast_half(model.embeddings)
        spread = 2 * float((table - table.mean(0)).square().sum(-1).mean())
        prompt = tuple(task.prompts[0]) or model.vocabulary.start_token_ids
        scorer = replace(PotentialScorer.from_task(target.potentials, task), prompt=prompt)
        return cls(task, model, target, scorer, table, 1 / (step_size * spread) if spread else 0.0)

    @cached_property
    def squared_norms(self) -> Any:
        """Squared norms of the embeddings, (V,)."""
        return self.embeddings.square().sum(-1)

    @property
    def num_positions(self) -> int:
        """Number of positions that the model evaluates for one sequence."""
        return len(self.scorer.prompt) + self.task.max_tokens - 1

    def evaluate(self, tokens: Ints) -> ChainPoints:
        """Evaluate the target and its derivatives at sequences (N, L)."""
        completions = tokens.tolist()
        sequences = [[*self.scorer.prompt, *completion] for completion in completions]
        length, power = tokens.shape[1], self.target.power
        gradients = self.model.token_gradients(sequences, length, beta=1 / self.target.temperature)
        rows, positions = np.arange(len(tokens))[:, None], np.arange(length)
        logprob = to_numpy(gradients.logprobs[rows, positions, tokens]).astype(np.float64).sum(1)
        energy = self.scorer(completions, np.ones(len(tokens), bool))
        impossible = gradients.logprobs == -np.inf
        # A token that the model forbids stays forbidden at alpha = 0, where the product would be NaN.
        scaled = (power * gradients.logprobs).masked_fill(impossible, -np.inf)
        potential_gradient = self._compute_potential_gradient(sequences, scaled)
        return ChainPoints(tokens, logprob, energy, scaled, power * gradients.embedding_gradient, potential_gradient)

    def compute_logits(self, points: ChainPoints, positions: Ints) -> Any:
        """Return logits (N, V) of the new token at position `positions[n]` of sequence n."""
        rows = np.arange(len(positions))
        embedded = self.embeddings[points.tokens[rows, positions]]
        products = (points.embedding_gradient[rows, positions] / 2 + self.inverse_step * embedded) @ self.embeddings.T
        scores = products - self.inverse_step / 2 * self.squared_norms + points.scaled_logprobs[rows, positions] / 2
        if points.potential_gradient is not None:
            scores = scores - points.potential_gradient[rows, positions] / 2
        early = np.flatnonzero(positions < points.tokens.shape[1] - 1)
        for token in self.task.stop_token_ids:
            scores[early, token] = -np.inf
        return scores.double()

    def draw_proposal(self, rng: Random, points: ChainPoints, positions: Ints) -> tuple[Ints, Floats]:
        """Draw tokens for `positions` (N, k) of each sequence; return the sequences (N, L) and log q of them, (N,)."""
        tokens, log_q = points.tokens.copy(), np.zeros(len(positions))
        rows = np.arange(len(positions))
        for at in positions.T:
            scores = self.compute_logits(points, at)
            tokens[rows, at] = rng.draw_tokens(-scores, np.ones(len(rows)))
            log_q += to_numpy(scores.log_softmax(-1)[rows, tokens[rows, at]])
        return tokens, log_q

    def proposal_logprob(self, points: ChainPoints, tokens: Ints, positions: Ints) -> Floats:
        """Return log q of proposing `tokens` (N, L) from `points` at `positions` (N, k), (N,)."""
        rows, total = np.arange(len(positions)), np.zeros(len(positions))
        for at in positions.T:
            total += to_numpy(self.compute_logits(points, at).log_softmax(-1)[rows, tokens[rows, at]])
        return total

    def acceptance_probability(self, current: ChainPoints, proposed: ChainPoints, log_proposal_ratio: Floats) -> Floats:
        r"""$\min(1, \pi(x') q_J(x|x') / \pi(x) q_J(x'|x))$, (N,); `ratio` (N,) is the log of that of the proposals.

        Between two sequences that the potentials forbid, only the model decides: a chain moves until it finds an
        allowed sequence, and never leaves the allowed ones.
        """
        both_forbidden = np.isinf(current.energy) & np.isinf(proposed.energy)
        with np.errstate(invalid="ignore"):
            increase = np.where(both_forbidden, 0.0, proposed.energy - current.energy)
            gain = self.target.power * (proposed.logprob - current.logprob) - increase
            log_ratio = gain + log_proposal_ratio
        return np.asarray(np.exp(np.minimum(np.where(np.isnan(log_ratio), -np.inf, log_ratio), 0.0)))

    def _compute_potential_gradient(self, sequences: list[list[int]], like: Any) -> Any:
        """Return the sum of the gradients of the potentials that have a `token_gradient`, (N, L, V), or None."""
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
                gradient = weight * asarray_like(
                    _validate_gradient(part.token_gradient(context), like.shape, part.name), like
                )
                total = gradient if total is None else total + gradient
        return total


def _validate_gradient(gradient: Any, shape: Sequence[int], name: str) -> Any:
    """Return the gradient. Raises `BadInput` for another shape or values that are not finite."""
    if tuple(np.shape(gradient)) != tuple(shape) or not np.isfinite(to_numpy(gradient)).all():
        raise BadInput(f"the token gradient of potential {name!r} must be finite, of shape {tuple(shape)}.")
    return gradient
