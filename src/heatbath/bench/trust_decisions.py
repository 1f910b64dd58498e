"""Decisions against brier 0.2.0: the same model, questions and split, level by level, and decisions a second.

The task is to route a trivia question to its topic, one of 20. Lists of questions by topic are in a package, which
`tools/brier_env.sh` unpacks beside an environment with brier. Each topic gives 50 questions, 1,000 in all: 2 to the
pool without labels, 5 with labels, 43 to the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line
from heatbath.errors import HeatbathError
from heatbath.models import Model, load
from heatbath.models.hub import catalog
from heatbath.trust.calibration import calibration_error
from heatbath.trust.decisions import DecisionData, build_question, decide, fit_decisions
from heatbath.trust.decisions.levels import Level, average_orders
from heatbath.trust.decisions.readout import LabelReader

MODEL = "smollm2-135m"
PEER_VARIABLE = "HEATBATH_BENCH_BRIER"
"""Environment variable with the Python of an environment that `tools/brier_env.sh` makes."""
TEST_VARIABLE = "HEATBATH_BENCH_DECISIONS"
"""Environment variable with the number of test questions, 860 at most."""
DEFAULT_TEST = 60
PER_TOPIC = {"pool": 2, "labeled": 5, "test": 43}
QUESTION = "Which topic is the trivia question about?"
TIMED = 24
"""Questions that are timed at the level order, on each side, after others of the same options."""

NUM_SAMPLES = 2000
"""Bootstrap samples."""
FITTED_LEVELS: tuple[Level, ...] = ("order", "temperature", "head")
TOPICS = {
    "anime": "anime",
    "artandliterature": "art and literature",
    "warcraft": "Warcraft",
    "computers": "computers",
    "disney": "Disney",
    "elements": "chemical elements",
    "finalfantasy": "Final Fantasy",
    "gameofthrones": "Game of Thrones",
    "games": "video games",
    "geography": "geography",
    "greekmyth": "Greek mythology",
    "harrypotter": "Harry Potter",
    "hockey": "hockey",
    "lotr": "The Lord of the Rings",
    "mlb": "baseball",
    "music": "music",
    "nba": "basketball",
    "pokemon": "Pokemon",
    "startrek": "Star Trek",
    "starwars": "Star Wars",
}

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoutingTask:
    """Labels, and (text, label) pairs of each split, in one shuffled order."""

    labels: tuple[str, ...]
    pool: tuple[tuple[str, str], ...]
    labeled: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]


def split_topics(topics: Mapping[str, Sequence[str]], num_test: int) -> RoutingTask:
    """Return the task: of each topic the first questions of a shuffled order to each split."""
    rng = np.random.default_rng(0)
    parts: dict[str, list[tuple[str, str]]] = {name: [] for name in PER_TOPIC}
    for label, questions in topics.items():
        chosen = [questions[i] for i in rng.permutation(len(questions))[: sum(PER_TOPIC.values())]]
        begin = 0
        for name, count in PER_TOPIC.items():
            parts[name] += [(text, label) for text in chosen[begin : begin + count]]
            begin += count
    mixed = {name: [pairs[i] for i in rng.permutation(len(pairs))] for name, pairs in parts.items()}
    return RoutingTask(tuple(topics), tuple(mixed["pool"]), tuple(mixed["labeled"]), tuple(mixed["test"][:num_test]))


def expected_calibration_error(probabilities: Floats, answers: Ints) -> float:
    """Return the ECE of the greatest probability, in 15 bins of equal width."""
    # Sums of probabilities may be above 1 by rounding.
    confidence = np.minimum(probabilities.max(1), 1.0)
    return calibration_error(confidence, probabilities.argmax(1) == answers, bins=15)


def accuracy(probabilities: Floats, answers: Ints) -> float:
    """Return the share of answers that are the most probable label."""
    return float((probabilities.argmax(1) == answers).mean())


def read_topics(folder: Path) -> dict[str, list[str]]:
    """Return the questions of each topic from its list. Raises `HeatbathError` for a list that is not there."""
    import yaml  # a part of transformers

    topics = {}
    for name, label in TOPICS.items():
        path = folder / f"{name}.yaml"
        if not path.is_file():
            raise HeatbathError(f"there is no list {path}: make the environment again with tools/brier_env.sh.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        topics[label] = [
            question for question in map(str, content) if not question.isupper() and "http" not in question
        ]
    return topics


def decision_lines(python: str) -> Iterator[BenchmarkLine]:
    """Measure decisions a second, and accuracy and ECE at every level, against brier in the environment of `python`.

    Accuracy and ECE are met where they are no worse than the peer's by more than the 95% interval of the difference,
    from bootstrap samples of the test questions.
    """
    topics = read_topics(Path(python).parent.parent / "trivia")
    task = split_topics(topics, int(os.environ.get(TEST_VARIABLE, DEFAULT_TEST)))
    model = load(MODEL, dtype="float32")
    before = time_order_level(model, task)
    ours = measure_levels(model, task)
    theirs = run_peer(python, task)
    rate = 2 * TIMED / (before + time_order_level(model, task))
    title = f"decisions at the level order, {len(task.labels)} labels, a stream of texts, against brier"
    yield lower_limit_line(title, rate, TIMED / theirs["seconds"], limit=3, unit="1/s")
    answers = np.array([task.labels.index(label) for _, label in task.test])
    for level, found in ours.items():
        yield from _quality_lines(level, found, np.array(theirs["levels"][level]), answers)


def measure_levels(model: Model, task: RoutingTask) -> dict[str, Floats]:
    """Return our probabilities (n, K) of the test questions by level."""
    question = build_question(QUESTION, task.labels)
    data = DecisionData([text for text, _ in task.pool], task.labeled)
    fit = fit_decisions(model, question, data, levels=["temperature", "head"])
    texts = [text for text, _ in task.test]
    raw = decide(model, question, text=texts)
    found = {"raw": raw, **{level: decide(model, fit, text=texts, level=level) for level in FITTED_LEVELS}}
    return {level: np.array([each.probabilities for each in decisions]) for level, decisions in found.items()}


def time_order_level(model: Model, task: RoutingTask) -> float:
    """Return the seconds of our decisions about the timed questions, in a reader that has met the options."""
    question = build_question(QUESTION, task.labels)
    reader, orders = LabelReader(model, question), question.list_orders()
    texts = [text for text, _ in task.test[:TIMED]]
    reader.read_labels(texts[-2:], orders)
    start = time.perf_counter()
    average_orders(reader.read_labels(texts, orders).logprobs)
    return time.perf_counter() - start


def run_peer(python: str, task: RoutingTask) -> dict[str, Any]:
    """Return the probabilities of the peer by level, and the seconds of its decisions about the timed questions."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "task.json", Path(folder) / "result.json"
        splits = {"pool": task.pool, "labeled": task.labeled, "test": task.test}
        content = {"labels": task.labels, "question": QUESTION, "timed": TIMED, **splits}
        given.write_text(json.dumps({**content, "model": str(catalog.resolve_folder(MODEL))}), encoding="utf-8")
        script = Path(__file__).with_name("brier_peer.py")
        done = subprocess.run(
            [python, str(script), str(given), str(found)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise HeatbathError(f"brier failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        return result


def _quality_lines(level: str, ours: Floats, theirs: Floats, answers: Ints) -> Iterator[BenchmarkLine]:
    samples = np.random.default_rng(0).integers(0, len(answers), (NUM_SAMPLES, len(answers)))
    for name, metric, sign in (("accuracy", accuracy, 1), ("ECE", expected_calibration_error, -1)):
        gains = [sign * (metric(ours[rows], answers[rows]) - metric(theirs[rows], answers[rows])) for rows in samples]
        best, values = float(np.quantile(gains, 0.975)), (metric(ours, answers), metric(theirs, answers))
        text = f"{name} at the level {level}, {len(answers)} questions"
        target = "no worse" if sign > 0 else "no higher"
        yield BenchmarkLine(text, *values, "", None, target, best >= 0)
