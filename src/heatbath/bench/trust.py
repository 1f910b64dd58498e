"""The cost of signals: beside the generation they ride on, against lm-polygraph, of ten samples; and decisions.

lm-polygraph has requirements of its own and runs in its own environment (`tools/polygraph_env.sh FOLDER`), a process
that loads the same weights and takes turns with ours. Both sides answer the same prompts greedily with the same number
of tokens, in batches of the size that suits each best, and compute maximum sequence probability, perplexity, mean token
entropy and self-certainty.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from heatbath.bench.benchmark import BenchmarkLine, find_peer, lower_limit_line, time_sides, upper_limit_line
from heatbath.bench.trust_decisions import PEER_VARIABLE as BRIER_VARIABLE
from heatbath.bench.trust_decisions import decision_lines
from heatbath.engine import Generation, generate
from heatbath.errors import HeatbathError
from heatbath.models import Model, load
from heatbath.models.hub import catalog
from heatbath.trust.signals import SIGNALS, Evidence, collect_evidence, collect_samples, compute_signal_columns
from heatbath.trust.signals.evaluation import compute_signals

MODEL = "smollm2-135m"
PEER_VARIABLE = "HEATBATH_BENCH_POLYGRAPH"
"""Environment variable with the path of a Python that has lm-polygraph."""
ANSWERS, LENGTH, BATCH = 256, 32, 64
SAMPLES, SAMPLE_LENGTH = 10, 32
COMMON_SIGNALS = ("logprob:sum", "logprob:mean", "entropy:mean", "self_certainty:mean")
ONE_TRACE_SIGNALS = tuple(SIGNALS.list_names(aggregations=True, without=("samples", "prompt", "model")))
TOPICS = ("river", "engine", "violin", "harbour", "planet", "bakery", "forest", "museum")
QUESTIONS = ("What is the use of a {}?", "Tell me about the oldest {}.", "Where would one look for a {}?")


def lines() -> Iterator[BenchmarkLine]:
    """Measure signals and decisions; a comparison is left out where no environment of the other side is named."""
    model = load(MODEL, dtype="bfloat16")
    yield one_trace_line(model)
    yield semantic_line(model)
    if python := find_peer("lm-polygraph", PEER_VARIABLE, "tools/polygraph_env.sh"):
        yield polygraph_line(model, python)
    if python := find_peer("brier", BRIER_VARIABLE, "tools/brier_env.sh"):
        yield from decision_lines(python)


def build_questions(count: int) -> list[str]:
    """Return `count` short questions, which repeat after some tens."""
    kinds = [question.format(topic) for topic in TOPICS for question in QUESTIONS]
    return [f"Question: {kinds[i % len(kinds)]}\nAnswer:" for i in range(count)]


def answer_questions(model: Model, questions: Sequence[str], *, temperature: float = 0.0) -> list[Generation]:
    """Answer questions in batches, with full records."""
    return [
        generate(
            model, questions[i : i + BATCH], max_tokens=LENGTH, temperature=temperature, ignore_eos=True, record="full"
        )
        for i in range(0, len(questions), BATCH)
    ]


def one_trace_line(model: Model, *, answers: int = BATCH, repeats: int = 5) -> BenchmarkLine:
    """Return the time of all signals of one trace, every aggregation, against that of the generation they ride on."""
    questions = build_questions(answers)
    runs: list[Generation] = []

    def answer() -> object:
        runs[:] = answer_questions(model, questions, temperature=1.0)
        return runs

    def judge() -> object:
        return compute_signal_columns([each for run in runs for each in collect_evidence(run)], ONE_TRACE_SIGNALS)

    seconds = time_sides({"answer": answer, "judge": judge}, repeats=repeats)
    title = f"{len(ONE_TRACE_SIGNALS)} signals of {answers} traces / their generation, {LENGTH} tokens, bfloat16"
    return upper_limit_line(title, seconds["judge"], seconds["answer"], limit=0.02, unit="s")


def semantic_line(model: Model, *, repeats: int = 3) -> BenchmarkLine:
    """Return the time of ten samples and their semantic entropy by entailment, against that of the samples alone."""
    question = build_questions(1)[0]
    found: list[float] = []

    def draw() -> Generation:
        return generate(model, question, n=SAMPLES, max_tokens=SAMPLE_LENGTH, stop=["\n"], record="full", seed=1)

    def judge() -> object:
        evidence = Evidence(samples=collect_samples(draw()), model=model, prompt_tokens=model.encode(question))
        names = ["semantic_entropy_unique_entailment", "cluster_count_entailment"]
        found[:] = [value.value for value in compute_signals(evidence, names).values()]
        return found

    seconds = time_sides({"judge": judge, "draw": draw}, repeats=repeats)
    title = f"{SAMPLES} samples with semantic entropy ({found[1]:.0f} meanings, by entailment) / the samples, bfloat16"
    return upper_limit_line(title, seconds["judge"], seconds["draw"], limit=1.6, unit="s")


class PolygraphPeer:
    """A process that runs lm-polygraph on the weights of the default model."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("polygraph_peer.py")
        settings = {"folder": str(catalog.resolve_folder(MODEL)), "batch": BATCH, "length": LENGTH}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.version: str = self._read_reply()["version"]

    def __enter__(self) -> PolygraphPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait()

    def judge(self, questions: Sequence[str]) -> dict[str, Any]:
        """Return the seconds that lm-polygraph took, and what it estimated."""
        stdin = self._pipe(self._process.stdin)
        stdin.write(json.dumps(list(questions)) + "\n")
        stdin.flush()
        return self._read_reply()

    def _read_reply(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise HeatbathError(f"lm-polygraph ended with status {self._process.wait()}: run it by hand to see why.")
        reply: dict[str, Any] = json.loads(line)
        return reply

    @staticmethod
    def _pipe(pipe: Any) -> TextIO:
        assert pipe is not None
        return pipe  # type: ignore[no-any-return]


def polygraph_line(model: Model, python: str, *, answers: int = ANSWERS, rounds: int = 2) -> BenchmarkLine:
    """Return answers with four signals a second, generation included, against lm-polygraph, the two in turn."""
    questions = build_questions(answers)
    ours, theirs = [], []
    with PolygraphPeer(python) as peer:
        peer.judge(questions[:BATCH])
        answer_questions(model, questions[:BATCH])
        for _ in range(rounds):
            start = time.perf_counter()
            runs = answer_questions(model, questions)
            compute_signal_columns([each for run in runs for each in collect_evidence(run)], COMMON_SIGNALS)
            ours.append(time.perf_counter() - start)
            theirs.append(peer.judge(questions)["seconds"])
        version = peer.version
    title = f"answers of {LENGTH} tokens with 4 signals against lm-polygraph {version}, {answers} answers, bfloat16"
    return lower_limit_line(title, answers / min(ours), answers / min(theirs), limit=3, unit="1/s")
