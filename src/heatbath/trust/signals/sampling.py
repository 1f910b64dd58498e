"""Evidence from runs: what `hb.generate` gives, as signals take it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.engine import Generation
from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.trust.signals.base import Evidence, SampledAnswer


def collect_samples(run: Generation) -> list[SampledAnswer]:
    """Return the sequences of a run as samples: texts, tokens, and log-probabilities at the temperature of the draws.

    Windows and fields make other sequences impossible, so that the probability of each is more than the model's: that
    of the model is given.

    Raises:
        BadInput: the sequences have weights.
    """
    if len(run) and np.ptp(run.weighted_samples.log_weight):
        raise BadInput("samples must have equal weights: draw them with the ancestral sampler.", param="sampler")
    parts = zip(run.texts, run.logprob_at_temperature.tolist(), run.sequences, strict=True)
    return [SampledAnswer(text, min(logprob, 0.0), tuple(tokens)) for text, logprob, tokens in parts]


def collect_evidence(
    run: Generation, *, model: Model | None = None, samples: Sequence[SampledAnswer] = ()
) -> list[Evidence]:
    """Return the evidence of each sequence of a run that kept full records; `samples` are of the same prompt."""
    return [
        Evidence(trace=trace, text=text, samples=samples, model=model, prompt_tokens=tuple(prompt))
        for trace, text, prompt in zip(run.traces, run.texts, run.prompts, strict=True)
    ]
