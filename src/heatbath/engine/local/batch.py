"""Answers drawn token by token, each by itself: rows of many requests in one batch, joining and leaving at any step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from heatbath.engine.base import Token, TokensGenerated
from heatbath.engine.local.faults import find_faulty_requests, to_public_error
from heatbath.engine.local.group import Drawn, Group
from heatbath.engine.local.job import RequestState, SequenceState
from heatbath.engine.local.rows import Row
from heatbath.models.pool.base import Pool
from heatbath.record import Frame

Spell = Callable[[int], bytes]


class Batch:
    """The rows of all such requests. `tell(job, step or error)` hands on what comes of them."""

    def __init__(self, pool: Pool, spell: Spell, tell: Callable[[RequestState, Any], None], name: str) -> None:
        self._pool, self._spell, self._tell, self._name = pool, spell, tell, name
        self._groups: dict[Hashable, Group] = {}
        self._rows: list[int] | None = None
        self._frames: list[Frame] = []
        self._index = 0

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the next step needs, in its order."""
        if self._rows is None:
            self._rows = [answer.row for group in self._groups.values() for answer in group.answers]
        return self._rows

    def taken(self) -> list[Frame]:
        """The frames since this was last asked."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState, rows: Sequence[int]) -> None:
        """A request whose answers grow in `rows`."""
        job.sequences = [SequenceState(job, row, choice) for choice, row in enumerate(rows)]
        key: Hashable = id(job) if job.compiled_request.batch_key is None else job.compiled_request.batch_key
        if key not in self._groups:
            self._groups[key] = Group(job, self._pool)
        self._groups[key].join(job, job.sequences)
        self._rows = None

    def leave(self, job: RequestState) -> None:
        """Forget the answers of a request; its rows are the caller's."""
        for answer in job.sequences:
            answer.is_finished = True
        self._prune()

    def step(self, energies: Any) -> None:
        """One token for every row, from energies (B, V) in the order of `rows`."""
        first, pushed, tokens = 0, list[int](), list[int]()
        for group in list(self._groups.values()):
            part = energies[first : first + len(group)]
            first += len(group)
            drawn = self._drawn(group, part) if len(group) else None
            if drawn is not None:
                self._frame(group, drawn)
                self._grown(group, drawn, pushed, tokens)
        self._index += 1
        self._prune()
        if pushed:
            self._pool.push(pushed, tokens)

    def _drawn(self, group: Group, energies: Any) -> Drawn | None:
        """A step of a group without the requests at fault."""
        mark = group.chance.mark()
        try:
            return group.step(energies)
        except Exception as error:
            bad = find_faulty_requests(group, energies)
            stay = np.asarray(
                [i for i, answer in enumerate(group.answers) if answer.request_state not in bad], np.int64
            )
            group.chance.rewind(mark)
            group.keep(stay)
            self._rows = None
            for job in bad:
                self._tell(job, to_public_error(error, self._name, job.num_sampled_tokens // len(job.sequences)))
            return self._drawn(group, energies[stay]) if len(stay) else None

    def _frame(self, group: Group, drawn: Drawn) -> None:
        rows = np.asarray([answer.row for answer in group.answers], np.int64)
        self._frames.append(Frame(self._index, rows, drawn.tokens, drawn.record))

    def _grown(self, group: Group, drawn: Drawn, pushed: list[int], tokens: list[int]) -> None:
        columns = None if drawn.record is None else drawn.record.columns
        each = zip(group.answers, drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.tops, strict=True)
        for at, (answer, token, logprob, top) in enumerate(each):
            made = Token(token, logprob, top, None if columns is None else Row(columns, at))
            grown = self._answered(answer, made, drawn.late)
            answer.request_state.num_sampled_tokens += 1
            self._tell(answer.request_state, grown)
            if grown.finish_reason is None:
                pushed.append(answer.row)
                tokens.append(token)
            else:
                answer.is_finished = True

    def _answered(self, answer: SequenceState, token: Token, late: bool) -> TokensGenerated:
        """What one more token makes of an answer."""
        answer.remaining_tokens -= 1
        if token.id in answer.stop_token_ids:
            return TokensGenerated(answer.choice, (token,), answer.detokenizer.flush(), "stop", token.id)
        text = answer.detokenizer.push(self._spell(token.id))
        if answer.detokenizer.matched_stop is not None:
            return TokensGenerated(answer.choice, (token,), text, "stop", answer.detokenizer.matched_stop)
        if answer.remaining_tokens and not late:
            return TokensGenerated(answer.choice, (token,), text)
        text += answer.detokenizer.flush()
        if answer.detokenizer.matched_stop is not None:
            return TokensGenerated(answer.choice, (token,), text, "stop", answer.detokenizer.matched_stop)
        return TokensGenerated(answer.choice, (token,), text, "deadline" if answer.remaining_tokens else "length")

    def _prune(self) -> None:
        """Let go of the answers that have ended, and end the requests that have no other."""
        ended: list[SequenceState] = []
        for key, group in list(self._groups.items()):
            stay = [i for i, answer in enumerate(group.answers) if not answer.is_finished]
            if len(stay) < len(group):
                ended += [answer for answer in group.answers if answer.is_finished]
                group.keep(np.asarray(stay, np.int64))
                self._rows = None
            if not len(group):
                del self._groups[key]
                self._rows = None
        self._free(ended)

    def _free(self, answers: Sequence[SequenceState]) -> None:
        rows = [answer.row for answer in answers if answer.row in answer.request_state.rows]
        for answer in answers:
            answer.request_state.rows.discard(answer.row)
        if rows:
            self._pool.close(rows)
