r"""Both sides on the same texts, teacher-forced: log-probabilities, entropies and divergences of the next token.

Where the vocabularies agree, every token of a text has two ensembles over the same states, p of A and q of B, which are
compared exactly:

* log-probability, $\ln q(x) - \ln p(x)$ of the token x of the text; entropy, $S_q - S_p$;
* divergence A to B, $D(p\,\|\,q)$, and B to A; the Jensen-Shannon divergence, the mean of both from the mixture,
  between 0 and ln 2;
* the share of tokens whose most likely next token is another.

Windows act first, so that p and q are what is drawn from. Then a divergence may be infinite; it is left out, and the
mass that only one side can draw is given. Where the vocabularies differ, only the log-probability of a whole text is
comparable, per byte. It is that of the tokens that each tokenizer chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.decode.windows import mask_energies
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput, NotANumber
from heatbath.estimate.paired_differences import Difference, estimate_ratio
from heatbath.models.base import Tokens
from heatbath.models.exact.base import log_probabilities
from heatbath.phases.comparison.comparison_data import TextComparison, TextQuantity, TokenDisagreement
from heatbath.phases.comparison.paired_samples import Side
from heatbath.phases.comparison.shared_texts import SharedText, have_same_vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_POSITIONS = 64
"""Positions whose distributions are held at once, (64, V) of each side."""
NUM_DISAGREEMENTS = 8
CONTEXT_TOKENS = 12

UNITS = {
    "log-probability": "nats per token, B − A",
    "log-probability per byte": "nats per byte, B − A",
    "entropy": "nats per token, B − A",
    "divergence A to B": "nats per token",
    "divergence B to A": "nats per token",
    "Jensen-Shannon divergence": "nats per token",
    "other most likely token": "share of tokens",
    "mass of A that B cannot draw": "probability",
    "mass of B that A cannot draw": "probability",
}


def compare_on_texts(
    a: Side, b: Side, texts: Sequence[SharedText], *, temperature: float = 1.0, source: str
) -> TextComparison:
    """Compare both sides on shared texts at one temperature, after the windows of each side.

    Raises:
        BadInput: a window is random, a temperature of 0 or below, or fewer than two texts.
        NotANumber: a model gave NaN.
    """
    if not 0 < temperature < np.inf:
        raise BadInput(f"`temperature` of the shared texts must be above 0, got {temperature}.")
    random = [window.label for side in (a, b) for window in side.windows if window.is_random]
    if random:
        raise BadInput(f"{random[0]} is a random window, whose distribution varies from draw to draw: leave it out.")
    same = have_same_vocabulary(a.model, b.model)
    compare = _compare_tokens if same else _compare_totals
    found = [compare(a, b, text, 1 / temperature) for text in texts]
    quantities = [
        TextQuantity(name, unit, _estimate_quantity(name, found))
        for name, unit in UNITS.items()
        if all(np.isfinite(each.totals.get(name, np.nan)) for each in found)
    ]
    tokens = int(sum(each.tokens for each in found))
    worst = sorted((one for each in found for one in each.disagreements), key=lambda one: -one.divergence)
    return TextComparison(source, len(texts), tokens, temperature, same, quantities, worst[:NUM_DISAGREEMENTS])


@dataclass(frozen=True)
class _TextSums:
    """Sums of each quantity over the scored tokens of one text."""

    totals: dict[str, float]
    tokens: int
    num_bytes: int
    disagreements: Sequence[TokenDisagreement] = ()


def _estimate_quantity(name: str, found: Sequence[_TextSums]) -> Difference:
    totals = np.array([each.totals[name] for each in found])
    sizes = [each.num_bytes if name.endswith("per byte") else each.tokens for each in found]
    return estimate_ratio(totals, np.asarray(sizes, np.float64))


def _compare_totals(a: Side, b: Side, text: SharedText, beta: float) -> _TextSums:
    """Compare the log-probability of a whole text, each model with its own tokens."""
    total_a, total_b = (
        sum(
            float(log_p[np.arange(len(targets)), targets].sum())
            for _, targets, log_p in _score_text(side, tokens, text.context, beta)
        )
        for side, tokens in ((a, text.a), (b, text.b))
    )
    return _TextSums({"log-probability per byte": total_b - total_a}, len(text.a) - text.context, text.num_bytes)


def _compare_tokens(a: Side, b: Side, text: SharedText, beta: float) -> _TextSums:
    """Compare the ensembles of every scored token of a text."""
    sides = (_score_text(side, text.a, text.context, beta) for side in (a, b))
    parts: list[dict[str, Floats]] = []
    positions: list[Ints] = []
    for (place, targets, log_p), (_, _, log_q) in zip(*sides, strict=True):
        parts.append(_compare_ensembles(log_p, log_q, targets))
        positions.append(place)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    totals = {name: float(column.sum()) for name, column in columns.items() if name in UNITS}
    if a.windows or b.windows:
        # A token that a window cuts has no probability, and the others' mean would be of the tokens that are left.
        totals = {name: total for name, total in totals.items() if not name.startswith("log-probability")}
    else:
        totals = {name: total for name, total in totals.items() if not name.startswith("mass")}
        totals["log-probability per byte"] = totals["log-probability"]
    worst = _find_disagreements(a, text, np.concatenate(positions), columns)
    return _TextSums(totals, len(columns["entropy"]), text.num_bytes, worst)


def _compare_ensembles(log_p: Floats, log_q: Floats, targets: Ints) -> dict[str, Floats]:
    """Return every quantity of n pairs of distributions (n, V), and the log-probabilities of the targets, (n,) each."""
    p, q = np.exp(log_p), np.exp(log_q)
    rows = np.arange(len(targets))
    logprobs = log_p[rows, targets], log_q[rows, targets]
    with np.errstate(invalid="ignore"):
        return {
            "log-probability": logprobs[1] - logprobs[0],
            "entropy": _expectation(p, log_p) - _expectation(q, log_q),
            "divergence A to B": np.maximum(_expectation(p, log_p - log_q), 0.0),
            "divergence B to A": np.maximum(_expectation(q, log_q - log_p), 0.0),
            "Jensen-Shannon divergence": _jensen_shannon((p, log_p), (q, log_q)),
            "other most likely token": (p.argmax(1) != q.argmax(1)).astype(np.float64),
            "mass of A that B cannot draw": np.where(q == 0, p, 0.0).sum(1),
            "mass of B that A cannot draw": np.where(p == 0, q, 0.0).sum(1),
            "logprob of A": logprobs[0],
            "logprob of B": logprobs[1],
        }


def _jensen_shannon(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """Return the Jensen-Shannon divergence of n pairs of distributions, each with its logarithm, (n, V), (n,)."""
    log_mixture = np.logaddexp(a[1], b[1]) - np.log(2.0)
    halves = [0.5 * _expectation(p, log_p - log_mixture) for p, log_p in (a, b)]
    # Equal distributions have exactly none, not what rounding leaves.
    return np.where((a[1] == b[1]).all(1), 0.0, np.clip(halves[0] + halves[1], 0.0, np.log(2.0)))


def _expectation(p: Floats, value: Floats) -> Floats:
    """Return the mean of `value` (n, V) under p (n, V), where a state of no probability counts nothing, (n,)."""
    return np.asarray(np.where(p > 0, p * value, 0.0).sum(1))


def _score_text(side: Side, tokens: Tokens, context: int, beta: float) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Yield positions (n,), tokens (n,) and log-probabilities of all tokens (n, V) in blocks of equal positions."""
    blocks: list[tuple[Ints, Ints, Floats]] = []
    for chunk in side.model.score([tokens]):
        positions, targets = np.asarray(chunk.positions), np.asarray(chunk.targets)
        for i in range(0, len(positions), BLOCK_POSITIONS):
            part = slice(i, i + BLOCK_POSITIONS)
            kept = positions[part] >= context
            if kept.any():
                log_p = _log_probabilities(side, chunk.energies[part][np.flatnonzero(kept)], beta)
                blocks.append((positions[part][kept], targets[part][kept], log_p))
        yield from _pop_full_blocks(blocks)
    yield from blocks


def _pop_full_blocks(blocks: list[tuple[Ints, Ints, Floats]]) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Take blocks of exactly `BLOCK_POSITIONS` from the front, so that those of both sides match; keep the rest."""
    joined = tuple(np.concatenate(column) for column in zip(*blocks, strict=True))
    blocks.clear()
    if not joined:
        return
    full = len(joined[0]) // BLOCK_POSITIONS * BLOCK_POSITIONS
    for i in range(0, full, BLOCK_POSITIONS):
        yield tuple(column[i : i + BLOCK_POSITIONS] for column in joined)  # type: ignore[misc]
    if full < len(joined[0]):
        blocks.append(tuple(column[full:] for column in joined))  # type: ignore[arg-type]


def _log_probabilities(side: Side, energies: object, beta: float) -> Floats:
    values = to_numpy(mask_energies(side.windows, energies, np.full(len(energies), beta)))  # type: ignore[arg-type]
    if np.isnan(values).any():
        raise NotANumber(f"{side.name} gave NaN on a shared text.")
    return log_probabilities(values.astype(np.float64), beta)


def _find_disagreements(
    a: Side, text: SharedText, positions: Ints, columns: dict[str, Floats]
) -> list[TokenDisagreement]:
    """Return the tokens of a text with the largest Jensen-Shannon divergence."""
    value = columns["Jensen-Shannon divergence"]
    found = []
    for i in np.argsort(-value, kind="stable")[:NUM_DISAGREEMENTS].tolist():
        if value[i] > 0:
            position = int(positions[i])
            before = a.model.decode(text.a[max(0, position - CONTEXT_TOKENS) : position])
            token = a.model.decode([text.a[position]])
            logprobs = float(columns["logprob of A"][i]), float(columns["logprob of B"][i])
            found.append(TokenDisagreement(before, token, *logprobs, float(value[i])))
    return found
