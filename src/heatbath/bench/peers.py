"""Sequential Monte Carlo against genlm-control: same model, task and number of particles, both with weights.

The task is to continue a sentence without the letter e. Both sides draw from the model among the tokens that the
constraint allows, weigh by their mass, stop at a full stop or after a number of tokens, and resample below half of the
particles. The figure is effective sequences per second: the genealogical effective sample size of each run, by one
formula, over its time.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
import warnings
from asyncio import Runner
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line
from heatbath.decode.base import Floats, Ints
from heatbath.energy import Grammar
from heatbath.engine import generate
from heatbath.errors import MissingExtra
from heatbath.estimate.resample import genealogical_ess
from heatbath.models import TransformersModel, load
from heatbath.models.hub import catalog

MODEL = "smollm2-135m"
PROMPT, END = "The old man went out and", "."
# Only these bytes, so that control tokens are excluded on both sides.
PATTERN = "[ a-df-zA-DF-Z,']*"
PARTICLES, THRESHOLD, LENGTH = 32, 0.5, 24


@dataclass(frozen=True)
class TaskVocabulary:
    """The vocabulary of the task, in which the full stop ends a sequence."""

    size: int
    stop_token_ids: tuple[int, ...]
    special_token_ids: frozenset[int]


def lines(runs: int = 2) -> Iterator[BenchmarkLine]:
    """Measure effective sequences per second of both sides in turn. Raises `MissingExtra` without genlm-control."""
    control = _import_genlm_control()
    model = load(MODEL, dtype="bfloat16")
    ours, prompt = HeatbathRunner(model), model.encode(PROMPT)
    with Runner() as runner:
        theirs = GenlmRunner(control, runner, prompt)
        rates = compute_ess_rates({"ours": ours, "theirs": theirs}, runs)
    title = f"effective sequences by SMC against genlm-control, {PARTICLES} particles, bfloat16"
    yield lower_limit_line(title, rates["ours"], rates["theirs"], limit=5, unit="1/s")


def compute_ess_rates(sides: Mapping[str, Callable[[int], float]], runs: int) -> dict[str, float]:
    """Return total effective sample size over total seconds of `runs` calls of each side in turn, after a warm-up.

    A side takes the number of a run, 0 for the warm-up, and returns the run's effective sample size.
    """
    effective, seconds = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0.0)
    for number in range(runs + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            size = side(number)
            if number:
                seconds[name] += time.perf_counter() - start
                effective[name] += size
    return {name: effective[name] / seconds[name] for name in sides}


class HeatbathRunner:
    """SMC of heatbath, with a grammar as a field: one mask per step and row."""

    def __init__(self, model: TransformersModel) -> None:
        self._model = model
        self._stop = tuple(model.encode(END, document_start=False))
        words = TaskVocabulary(model.vocabulary.size, self._stop, frozenset(model.vocabulary.special_token_ids))
        self._grammar = Grammar.from_regex(PATTERN, model.token_bytes, words)

    def __call__(self, number: int) -> float:
        """Run once. The grammar's cache from earlier runs has little effect, since sequences differ."""
        generation = generate(
            self._model,
            PROMPT,
            sampler="smc",
            particles=PARTICLES,
            replicates=1,
            threshold=THRESHOLD,
            fields=self._grammar,
            stop_token_ids=self._stop,
            max_tokens=LENGTH if number else 2,
            record=None,
            seed=number,
        )
        return float(generation.ess)


class GenlmRunner:
    """SMC of genlm-control on its transformers backend: adaptive weighted rejection sampling (arXiv:2504.05410).

    A condition that ends a sequence at the greatest length makes the distribution of sequences the same. The ancestors
    come from the library's own record, which costs little beside a step of the model.
    """

    def __init__(self, control: Any, runner: Runner, prompt: list[int]) -> None:
        import torch

        self._runner, self._prompt = runner, prompt
        options = {"hf_opts": {"torch_dtype": torch.bfloat16}, "batch_size": PARTICLES, "prompt_ids": prompt}
        with suppress_output():
            model = control.PromptedLLM.from_name(
                str(catalog.resolve_folder(MODEL)), backend="hf", eos_byte_strings=[END.encode()], **options
            )
            self._sampler = control.AWRS(model, control.BoolFSA.from_regex(PATTERN).coerce(model, f=b"".join))
        self._model = model.model

    def __call__(self, number: int) -> float:
        """Run once, from a cache that has only the prompt."""
        self._model.clear_cache()
        self._model.cache_kv(self._prompt)
        length = LENGTH if number else 2
        with tempfile.TemporaryDirectory() as folder, suppress_output():
            path = Path(folder) / "record.json"
            self._runner.run(
                self._sampler.smc(
                    n_particles=PARTICLES,
                    ess_threshold=THRESHOLD,
                    max_tokens=LENGTH + 2,
                    resampling_method="systematic",
                    terminate_when=lambda tokens: len(tokens) >= length,
                    json_path=str(path),
                )
            )
            return compute_ess(json.loads(path.read_text(encoding="utf-8")))


def compute_ess(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the genealogical effective sample size of a run from genlm-control's record of its steps."""
    weights: Floats = np.asarray([float(particle["logweight"]) for particle in history[-1]["particles"]])
    founders: Ints = np.arange(len(weights))
    for step in history:
        founders = founders[np.asarray(step.get("ancestors", range(len(weights))), np.int64)]
    return genealogical_ess(weights, founders)


def _import_genlm_control() -> Any:
    try:
        return import_module("genlm.control")
    except ImportError:
        raise MissingExtra("the comparison with genlm-control", "bench") from None


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress the output and the warnings of another library."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
