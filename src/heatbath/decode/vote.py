"""Self-consistency: independent answers, and the result that most share (Wang et al. 2023, arXiv:2203.11171)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.answers import Move, Samples, at_least, copies, only_prompt
from heatbath.decode.base import Batch, Sampler, Step, Task
from heatbath.decode.independent import Independent, Rows
from heatbath.decode.seeds import Random

Key = Callable[[str], Hashable]
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> Hashable:
    """The last number in a text, as a float; the text without outer blanks and case where there is none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else text.strip().casefold()


@dataclass(frozen=True)
class Ballot:
    """Independent answers and the result each stands for."""

    rows: Rows
    key: Callable[[list[int]], Hashable]

    @property
    def slots(self) -> int:
        return self.rows.slots

    @property
    def streams(self) -> int:
        return self.rows.streams

    @property
    def done(self) -> bool:
        return self.rows.done

    def samples(self) -> Samples:
        """All answers; the value is the first whose result has most votes, ties going to the result met first."""
        found = self.rows.samples()
        results = [self.key(answer) for answer in found.answers]
        winner, votes = Counter(results).most_common(1)[0]
        share = votes / len(results)
        error = float(np.sqrt(share * (1 - share) / len(results)))
        figures = {"share": share, "share_stderr": error, "results": float(len(set(results)))}
        return replace(found, value=results.index(winner), diagnostics=figures)


@dataclass(frozen=True)
class Vote(Sampler[Ballot, Move]):
    """`n` answers of `sampler`; `key` reads the result off an answer's text, the last number in it by default."""

    n: int = 8
    sampler: Sampler[Batch, Step] = field(default_factory=Ancestral)
    key: Key = last_number

    def init(self, task: Task) -> Ballot:
        at_least(self.n, 1, "n")
        model, stop = only_prompt(task, "vote").model, set(task.stop)

        def result(answer: list[int]) -> Hashable:
            return self.key(model.decode(answer[:-1] if answer and answer[-1] in stop else answer))

        return Ballot(Independent(self.sampler).init(copies(task, self.n)), result)

    def step(self, rng: Random, state: Ballot) -> tuple[Ballot, Move]:
        rows, move = Independent(self.sampler).step(rng, state.rows)
        return replace(state, rows=rows), move
