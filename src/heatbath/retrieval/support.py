r"""The support of a part of an answer by a passage: its free-energy drop when the passage is removed from the prompt.

$$ \Delta_{sj} = \log p(s \mid \text{prompt}, s_{<}) - \log p(s \mid \text{prompt without } j, s_{<}) $$

in nats at T = 1, where $s_<$ is the answer before s. Above 0 the passage made the part more probable. The tokens of
written markers do not count: a number that was shown is probable by itself, whatever it is written after.

The method "exact" evaluates prompts without a passage in full; only what they begin with in common is shared. The
method "masked" reads the prompt once and hides a passage from what comes after all passages. That costs less, and is an
approximation: later passages have read the hidden one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.models.continuations import (
    ContinuationScorer,
    MaskingScorer,
    build_continuation_tree,
    count_shared_tokens,
)
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.retrieval.answer_units import AnswerUnit

Floats = npt.NDArray[np.float64]
SupportMethod = Literal["exact", "masked"]


@dataclass(frozen=True)
class Support:
    """The support of S parts of an answer by R removals.

    Attributes:
        nats: free-energy drop of each part when each removal is made, (S, R), nats at T = 1.
        logprobs: log p of each part with all passages, (S,), nats.
    """

    nats: Floats
    logprobs: Floats


@dataclass(frozen=True)
class SupportRequest:
    """The log-probabilities that a support is made from.

    Attributes:
        prompts: the prompt with all passages, then one for each removal.
        paths: beginnings of the answer, the shortest first.
        spans: of each part, the runs of tokens (begin, end) that count; each border is 0 or the length of a path.
    """

    prompts: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...], ...]
    spans: tuple[tuple[tuple[int, int], ...], ...]

    def read(self, logprobs: Floats) -> Support:
        """Return the support from log p of the paths after each prompt, (R + 1, paths)."""
        places = {0: 0, **{len(path): place for place, path in enumerate(self.paths, 1)}}
        total = np.concatenate([np.zeros((len(logprobs), 1)), logprobs], 1)
        with np.errstate(invalid="ignore"):
            of_parts = np.stack(
                [sum(total[:, places[end]] - total[:, places[begin]] for begin, end in runs) for runs in self.spans], 1
            )
            drops = of_parts[0] - of_parts[1:]
        # After a token that is impossible, with or without the passages, nothing more is known.
        drops[np.isnan(drops)] = 0.0
        return Support(np.ascontiguousarray(drops.T), of_parts[0])

    def find_spans(self) -> list[tuple[int, int]]:
        """Return the tokens of the first prompt that each other one lacks, (begin, end).

        Raises:
            BadInput: passages that were removed together do not stand side by side.
        """
        whole, spans = self.prompts[0], []
        for other in self.prompts[1:]:
            begin = count_shared_tokens(whole, other)
            end = begin + len(whole) - len(other)
            if end < begin or whole[end:] != other[begin:]:
                raise BadInput('the method "masked" takes single passages: use "exact" for what was removed together.')
            spans.append((begin, end))
        return spans

    @property
    def num_shared(self) -> int:
        """Tokens of the first prompt that another one begins with too."""
        return max((count_shared_tokens(self.prompts[0], each) for each in self.prompts[1:]), default=0)


def build_support_request(prompts: Sequence[Tokens], answer: Tokens, units: Sequence[AnswerUnit]) -> SupportRequest:
    """Return the request for the support of the parts `units` of an answer; `prompts` as `EvidencePrompt.encode` does.

    Raises:
        BadInput: an answer without parts.
    """
    if not units:
        raise BadInput("the answer has no parts whose support could be measured: give an answer with text.")
    tokens = tuple(map(int, answer))
    borders = sorted({border for unit in units for span in unit.token_spans for border in span} - {0})
    return SupportRequest(
        tuple(tuple(map(int, prompt)) for prompt in prompts),
        tuple(tokens[:border] for border in borders),
        tuple(unit.token_spans for unit in units),
    )


def measure_support(
    model: Model | ContinuationScorer, request: SupportRequest, *, method: SupportMethod = "exact"
) -> Support:
    """Measure a support by a model; with the scorer of one, prompts that are asked about again need not be read again.

    Raises:
        BadInput: a prompt with the answer is longer than the context; the model or the removals do not suit "masked".
    """
    scorer = build_continuation_scorer(model) if isinstance(model, Model) else model
    tree = build_continuation_tree(request.paths)
    if method == "masked":
        if not isinstance(scorer, MaskingScorer):
            raise BadInput('the method "masked" needs a transformer with one kind of attention: use "exact".')
        return request.read(scorer.score_masked(request.prompts[0], request.find_spans(), tree))
    scorer.cache_prefixes([request.prompts[0][: request.num_shared]])
    return request.read(scorer.score(request.prompts, tree).logprobs)
