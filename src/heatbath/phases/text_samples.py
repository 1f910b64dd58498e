"""Texts that stand for a sweep in its report: for each of a few temperatures a middling one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.models import Model
from heatbath.phases.observables import detect_loops
from heatbath.phases.phase_map_data import TextSample
from heatbath.phases.prefix_sums import SweepSamples

Floats = NDArray[np.float64]

NUM_TEXT_SAMPLES = 5
MAX_CANDIDATES = 15
"""Most texts nearest to a temperature of which the middling one is shown; at most a tenth of all."""
MAX_PROMPT_CHARACTERS = 600


def decode_pieces(model: Model, samples: SweepSamples) -> list[list[bytes]]:
    """Return the bytes of each token of each text, without the token that ended it."""
    stop = frozenset(model.vocabulary.stop_token_ids)
    rows = (row[:length] for row, length in zip(samples.tokens.tolist(), samples.lengths.tolist(), strict=True))
    return [[model.token_bytes(token) for token in (row[:-1] if row[-1] in stop else row)] for row in rows]


def select_text_samples(
    samples: SweepSamples,
    pieces: Sequence[Sequence[bytes]],
    prompts: Sequence[str],
    advised: tuple[float, float] | None,
) -> list[TextSample]:
    """Return texts over the whole range, and from the bottom, middle and top of the recommended one.

    Each is the median of the texts around its temperature, first by looping and then by surprisal per token: where
    most texts loop a loop is shown, and where few do, none. Samples of the recommended range were drawn inside it.

    Args:
        samples: the texts (n,).
        pieces: the bytes of their tokens.
        prompts: the prompt of each text.
        advised: the recommended range, None if there is none.
    """
    temperature_n = 1 / samples.betas
    order_n = _typicality_order(samples)
    targets = np.linspace(temperature_n.min(), temperature_n.max(), NUM_TEXT_SAMPLES)
    everywhere = np.ones(len(temperature_n), np.bool_)
    chosen = [(_find_median(temperature_n, order_n, everywhere, t), False) for t in targets.tolist()]
    if advised is not None:
        inside = (temperature_n >= advised[0]) & (temperature_n <= advised[1])
        found = [_find_median(temperature_n, order_n, inside, t) for t in np.linspace(*advised, 3) if inside.any()]
        chosen += [(row, True) for row in dict.fromkeys(found)]
    return [
        TextSample(
            temperature=float(temperature_n[row]),
            text=b"".join(pieces[row]).decode("utf-8", errors="replace"),
            prompt=prompts[row][:MAX_PROMPT_CHARACTERS],
            finished=bool(len(pieces[row]) < samples.lengths[row]),
            recommended=recommended,
        )
        for row, recommended in chosen
    ]


def _typicality_order(samples: SweepSamples) -> NDArray[np.int64]:
    """Return the rank of each text by looping first and then by its surprisal per token at its own temperature."""
    loops = detect_loops(samples.tokens, samples.length)
    surprisal = -samples.own_log_probability()
    return np.argsort(np.lexsort((surprisal / samples.lengths, loops)))


def _find_median(temperature_n: Floats, order_n: NDArray[np.int64], allowed: NDArray[np.bool_], target: float) -> int:
    """Return the text of median rank among the allowed ones nearest to a temperature."""
    rows = np.flatnonzero(allowed)
    count = max(1, min(MAX_CANDIDATES, len(temperature_n) // 10))
    nearest = rows[np.argsort(np.abs(temperature_n[rows] - target), kind="stable")[:count]]
    ranked = nearest[np.argsort(order_n[nearest])]
    return int(ranked[len(ranked) // 2])
