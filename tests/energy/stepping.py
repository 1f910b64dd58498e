"""Laws of whole answers under a field, walked prefix by prefix as a sampler would meet them."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from heatbath.energy import Context
from heatbath.models import TableModel


def context_of(model, sequences, prompts=()):
    """The context of some rows on `model`, its own energies in it."""
    lengths = [len(prompt) for prompt in prompts] or [0] * len(sequences)
    energies = model.open(sequences).energies()
    return Context(
        sequences, lengths, model.vocabulary.size, stop_token_ids=model.vocabulary.stop_token_ids, energies=energies
    )


def steered_logprobs(model: TableModel, field, beta=1.0):
    """Log-probabilities of `model.sequences()` with `field` added at every token, (n,)."""
    sequences = [list(sequence) for sequence in model.sequences()]
    total = np.zeros(len(sequences))
    for t in range(max(map(len, sequences))):
        rows = [n for n, sequence in enumerate(sequences) if len(sequence) > t]
        prefixes = sorted({tuple(sequences[n][:t]) for n in rows})
        context = context_of(model, [list(prefix) for prefix in prefixes])
        energies = beta * (context.energies + field(context))
        logp = -energies - logsumexp(-energies, axis=-1, keepdims=True)
        place = {prefix: b for b, prefix in enumerate(prefixes)}
        total[rows] += [logp[place[tuple(sequences[n][:t])], sequences[n][t]] for n in rows]
    return total
