"""Startup of the import and the command line, and the first numbers of a text, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line

IMPORT = "import time; start = time.perf_counter(); import heatbath; print(time.perf_counter() - start)"
HELP = "import sys; from heatbath.cli.main import main; sys.exit(main(['--help']))"
MODEL = "smollm2-135m"
TEXTS = {"one token": "hello", "a sentence": "The capital of France is Paris, and the capital of Italy is Rome."}
MEASURE = """
from heatbath.cli.main import main
main(["measure", "--model", sys.argv[1], "--json", "--text", sys.argv[2]])
"""
PEER = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(sys.argv[3]).eval()
tokens = tokenizer(sys.argv[2], return_tensors="pt")["input_ids"]
with torch.inference_mode():
    logprobs = model(tokens).logits[0].log_softmax(-1)
entropies = -(logprobs.exp() * logprobs).sum(-1)
for i, token in enumerate(tokens[0, 1:].tolist()):
    print(tokenizer.decode(token), float(logprobs[i, token]), float(entropies[i]))
"""
"""A script of `transformers` that prints log-probability and entropy of each token."""
REPORT = """
import sys
{}
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak[0] if peak else "0", file=sys.stderr)
"""


@dataclass(frozen=True)
class ProcessCost:
    """Seconds and peak memory in GB of one process; 0 GB where the system does not tell the peak."""

    seconds: float
    gigabytes: float


def lines(repeats: int = 7) -> Iterator[BenchmarkLine]:
    """Measure the import, `heatbath --help`, the check of a model's files, and `measure` against `transformers`."""
    yield upper_limit_line("import heatbath", _compute_median(_measure_import, repeats), limit=0.2, unit="s")
    yield upper_limit_line("heatbath --help", _compute_median(_measure_help, repeats), limit=0.5, unit="s")
    for name, text in TEXTS.items():
        yield from _measure_lines(name, text, max(1, repeats // 2))
    yield upper_limit_line(
        "checksums of the default model", _compute_median(_measure_checksums, repeats), limit=0.3, unit="s"
    )


def _measure_lines(name: str, text: str, repeats: int) -> Iterator[BenchmarkLine]:
    """Compare `heatbath measure` from a cold process with a script of `transformers`, in turn."""
    from heatbath.models.hub import catalog

    folder = str(catalog.pull(MODEL))
    sides = {"ours": MEASURE, "theirs": PEER}
    costs: dict[str, list[ProcessCost]] = {side: [] for side in sides}
    for number in range(repeats + 1):
        for side, code in sides.items():
            cost = run_process(code, MODEL, text, folder)
            if number:  # the first process fills the file cache
                costs[side].append(cost)
    seconds = {side: statistics.median(cost.seconds for cost in found) for side, found in costs.items()}
    memory = {side: statistics.median(cost.gigabytes for cost in found) for side, found in costs.items()}
    title = f"cold measure of {name} against transformers"
    yield upper_limit_line(title, seconds["ours"], seconds["theirs"], limit=0.7, unit="s")
    if memory["theirs"]:
        yield upper_limit_line(f"{title}, peak", memory["ours"], memory["theirs"], limit=0.7, unit="GB")


def run_process(code: str, *arguments: str) -> ProcessCost:
    """Run Python code in a fresh process, and return its cost."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", REPORT.format(code), *arguments], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    return ProcessCost(seconds, float(run.stderr.split()[-1]) / 1e6)


def _compute_median(measure: Callable[[], float], repeats: int) -> float:
    measure()  # The first process fills the file cache and writes the bytecode.
    return statistics.median(measure() for _ in range(repeats))


def _measure_import() -> float:
    """Return the seconds of the import, as the process itself measured them."""
    return float(_run_python(IMPORT))


def _measure_help() -> float:
    start = time.perf_counter()
    _run_python(HELP)
    return time.perf_counter() - start


def _measure_checksums() -> float:
    from heatbath.models.hub import catalog
    from heatbath.models.hub.checksums import validate_checksums

    folder = catalog.pull(MODEL)
    start = time.perf_counter()
    validate_checksums(folder)
    return time.perf_counter() - start


def _run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
