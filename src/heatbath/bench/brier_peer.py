"""The other side of decisions in `heatbath bench trust`: brier, in its own environment, which has no heatbath.

Usage: python brier_peer.py TASK.json RESULT.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_LEVELS = {"raw": "raw", "order": "L0", "temperature": "L1", "head": "L2"}
"""Their names of the levels, by ours."""


def main() -> None:
    """Fit all levels, decide about the test questions at each, and time the averaged orders."""
    from brier import Choice, Decider  # type: ignore[import-not-found]
    from brier.backends.hf import HFBackend  # type: ignore[import-not-found]

    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    decider = Decider(HFBackend(task["model"], dtype="float32"))
    question = Choice(task["question"], task["labels"], name="topic")
    texts, labels = zip(*task["labeled"], strict=True)
    decider.fit_prior([text for text, _ in task["pool"]], [question])
    decider.fit_temperature(list(texts), question, list(labels))
    decider.fit_head(list(texts), question, list(labels))
    test = [text for text, _ in task["test"]]
    found = {level: decide(decider, question, test, name) for level, name in _LEVELS.items()}
    start = time.perf_counter()
    decide(decider, question, test[: task["timed"]], "L0")
    result = {"levels": found, "seconds": time.perf_counter() - start}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


def decide(decider: Any, question: Any, texts: list[str], level: str) -> list[list[float]]:
    """Return the probabilities of the options for each text, as many texts at once as the library takes."""
    rows = []
    for begin in range(0, len(texts), 64):
        for each in decider.decide_batch(texts[begin : begin + 64], [question], level=level):
            probabilities = each[question.name].probs
            rows.append([probabilities[label] for label in question.options])
    return rows


if __name__ == "__main__":
    main()
