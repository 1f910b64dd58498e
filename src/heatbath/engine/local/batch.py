"""Answers drawn token by token, each by itself: rows of many requests in one batch, joining and leaving at any step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from heatbath.engine.base import Grown, Token
from heatbath.engine.local.faults import blamed, faulty
from heatbath.engine.local.group import Drawn, Group
from heatbath.engine.local.job import Answer, Job
from heatbath.engine.local.rows import Row
from heatbath.models.pool import Pool
from heatbath.record import Frame

Spell = Callable[[int], bytes]


class Batch:
    """The rows of all such requests. `tell(job, step or error)` hands on what comes of them."""

    def __init__(self, pool: Pool, spell: Spell, tell: Callable[[Job, Any], None], name: str) -> None:
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

    def join(self, job: Job, rows: Sequence[int]) -> None:
        """A request whose answers grow in `rows`."""
        job.answers = [Answer(job, row, choice) for choice, row in enumerate(rows)]
        key: Hashable = id(job) if job.plan.group is None else job.plan.group
        if key not in self._groups:
            self._groups[key] = Group(job, self._pool)
        self._groups[key].join(job, job.answers)
        self._rows = None

    def leave(self, job: Job) -> None:
        """Forget the answers of a request; its rows are the caller's."""
        for answer in job.answers:
            answer.ended = True
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
            bad = faulty(group, energies)
            stay = np.asarray([i for i, answer in enumerate(group.answers) if answer.job not in bad], np.int64)
            group.chance.rewind(mark)
            group.keep(stay)
            self._rows = None
            for job in bad:
                self._tell(job, blamed(error, self._name, job.spent // len(job.answers)))
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
            answer.job.spent += 1
            self._tell(answer.job, grown)
            if grown.finish is None:
                pushed.append(answer.row)
                tokens.append(token)
            else:
                answer.ended = True

    def _answered(self, answer: Answer, token: Token, late: bool) -> Grown:
        """What one more token makes of an answer."""
        answer.left -= 1
        if token.id in answer.stop:
            return Grown(answer.choice, (token,), answer.tail.end(), "stop", token.id)
        text = answer.tail.push(self._spell(token.id))
        if answer.tail.stopped is not None:
            return Grown(answer.choice, (token,), text, "stop", answer.tail.stopped)
        if answer.left and not late:
            return Grown(answer.choice, (token,), text)
        text += answer.tail.end()
        if answer.tail.stopped is not None:
            return Grown(answer.choice, (token,), text, "stop", answer.tail.stopped)
        return Grown(answer.choice, (token,), text, "deadline" if answer.left else "length")

    def _prune(self) -> None:
        """Let go of the answers that have ended, and end the requests that have no other."""
        ended: list[Answer] = []
        for key, group in list(self._groups.items()):
            stay = [i for i, answer in enumerate(group.answers) if not answer.ended]
            if len(stay) < len(group):
                ended += [answer for answer in group.answers if answer.ended]
                group.keep(np.asarray(stay, np.int64))
                self._rows = None
            if not len(group):
                del self._groups[key]
                self._rows = None
        self._free(ended)

    def _free(self, answers: Sequence[Answer]) -> None:
        rows = [answer.row for answer in answers if answer.row in answer.job.rows]
        for answer in answers:
            answer.job.rows.discard(answer.row)
        if rows:
            self._pool.close(rows)
