"""A step of a population that selects among all continuations of its particles instead of drawing one for each.

Slots that are not needed are ended with weight 0, and share the weights of others once all sequences have ended; the
model is not evaluated for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.ancestral import Ancestral, apply_pipeline
from heatbath.decode.base import Batch, Floats, Ints, Step
from heatbath.decode.continuations import Continuations, select_candidates
from heatbath.decode.rng import Random
from heatbath.decode.sequences import SequenceStep
from heatbath.decode.smc_state import SMCState, subtract_energy_change
from heatbath.decode.target import Target
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Assignment:
    """The selected candidates by slot, (N,): `sources`, log-weights, row of the batch and token.

    Rows are -1 for slots that get no token: those of sequences that have ended, and those not needed, whose log-weight
    is -inf. `num_distinct` candidates have a token.
    """

    sources: Ints
    log_weights: Floats
    rows: Ints
    tokens: Ints
    num_distinct: int


def validate_selection(target: Target, ladder: int, is_pinned: bool) -> None:
    """Raise `BadInput` unless continuations can be enumerated."""
    if type(target.proposal_sampler) is not Ancestral or not target.has_local_proposal:
        raise BadInput("optimal resampling weighs all tokens of the target: leave out `proposal`.", param="resampling")
    if ladder or is_pinned:
        name = "a ladder" if ladder else "a pinned sequence"
        raise BadInput(f"optimal resampling does not work with {name}: choose another scheme.", param="resampling")


def leave_one_open(state: SMCState) -> SMCState:
    """Return the first state, with one particle for each replicate that stands for all."""
    first = state.replicate_slots[:, 0]
    log_weight = np.full(state.num_slots, -np.inf)
    log_weight[first] = np.log(state.replicate_slots.shape[1])
    others = np.setdiff1d(np.arange(state.num_slots), first)
    return replace(state, log_weight=log_weight, open_slots=first, buffer=state.buffer.with_stopped(others))


def advance_by_selection(target: Target, rng: Random, state: SMCState, energies: Any) -> tuple[SMCState, SequenceStep]:
    """Select continuations from the energies of the open slots (A, V), and append their tokens."""
    sampler = target.proposal_sampler
    assert isinstance(sampler, Ancestral)
    batch = state.batch
    result = apply_pipeline(rng.for_rows(state.open_slots.tolist()), batch, energies, sampler.pipeline)
    scores = Continuations.from_pipeline(target, result)
    chosen = _assign_slots(state, scores, rng)
    slots = np.flatnonzero(chosen.rows >= 0)
    rows, tokens = chosen.rows[slots], chosen.tokens[slots]
    unused = np.flatnonzero(np.isneginf(chosen.log_weights))
    buffer = state.buffer.copy_prefixes(chosen.sources).with_stopped(unused)
    buffer = buffer.append_tokens(slots, tokens, batch.stop_token_ids)
    logprob, energy = state.logprob[chosen.sources], state.energy[chosen.sources]
    before = energy.copy()
    logprob[slots] += scores.logprobs[rows, tokens]
    energy[slots] = state.scorer(buffer.to_sequences(slots), buffer.finished_mask[slots])
    step = Step(tokens, result.select_rows(rows))
    remaining = np.flatnonzero(~buffer.finished_mask[slots])
    state = replace(
        state,
        buffer=buffer,
        batch=_advance_batch(batch, rows[remaining], tokens[remaining], state.first_row + slots[remaining]),
        open_slots=slots[remaining],
        log_weight=subtract_energy_change(chosen.log_weights, energy, before),
        logprob=logprob,
        energy=energy,
        tokens_spent=state.tokens_spent + chosen.num_distinct,
    )
    return state, SequenceStep(slots, step, chosen.sources)


def _advance_batch(batch: Batch, rows: Ints, tokens: Ints, row_ids: Ints) -> Batch:
    if not len(rows):
        batch.session.close()
        return batch
    return replace(batch.select_rows(rows), row_ids=row_ids, pending_tokens=tokens).push_pending()


def _assign_slots(state: SMCState, scores: Continuations, rng: Random) -> Assignment:
    """Select among the continuations of the open slots and the sequences that have ended, replicate by replicate."""
    count = state.num_slots
    sources, rows, tokens = np.arange(count), np.full(count, -1), np.zeros(count, np.int64)
    log_weights, distinct = np.full(count, -np.inf), 0
    size = scores.increments.shape[1]
    is_open = np.zeros(count, bool)
    is_open[state.open_slots] = True
    for slots in state.replicate_slots:
        open_rows = np.flatnonzero(np.isin(state.open_slots, slots))
        open_slots = state.open_slots[open_rows]
        ended = slots[~is_open[slots] & np.isfinite(state.log_weight[slots])]
        continued = (state.log_weight[open_slots][:, None] + scores.increments[open_rows]).ravel()
        selection = select_candidates(
            np.concatenate([continued, state.log_weight[ended]]), len(slots), rng.choose_index
        )
        at, values = selection.candidates, selection.log_weights
        has_token = at < len(continued)
        distinct += int(has_token.sum())
        parents = np.where(has_token, at // size, 0)
        next_tokens = np.where(has_token, at % size, 0)
        origin = np.concatenate([open_slots, ended])[
            np.where(has_token, parents, at - len(continued) + len(open_slots))
        ]
        length = state.buffer.lengths[origin] + 1
        ends = ~has_token | (length == state.buffer.tokens.shape[1])
        ends |= np.isin(next_tokens, np.asarray(state.batch.stop_token_ids, np.int64))
        order, shares = _share_slots(values, ends, len(slots))
        filled = slots[: len(order)]
        sources[filled], log_weights[filled] = origin[order], values[order] - np.log(shares)
        rows[filled] = np.where(has_token, open_rows[parents] if len(open_rows) else -1, -1)[order]
        tokens[filled] = next_tokens[order]
    return Assignment(sources, log_weights, rows, tokens, distinct)


def _share_slots(log_weights: Floats, ends: npt.NDArray[np.bool_], count: int) -> tuple[Ints, Floats]:
    """Return the candidate of each slot; once all end here, slots that are left share the weights of the heaviest.

    Also returns the number of slots of each one's candidate, by slot.
    """
    copies = np.ones(len(log_weights), np.int64)
    for _ in range(count - len(log_weights) if len(ends) and ends.all() else 0):
        copies[np.argmax(log_weights - np.log(copies))] += 1
    order = np.repeat(np.arange(len(copies)), copies)
    return order, copies[order].astype(np.float64)
