"""Answers of a model to the questions of a calibration, with their labels and signals, in batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.engine import Generation, generate, measure
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens, dtype_name
from heatbath.questions.prompt_tokens import encode_scored_prompts, has_chat_template
from heatbath.record import Trace
from heatbath.trust.calibration.answer_file import AnswerFile, StoredAnswer
from heatbath.trust.calibration.calibration_data import CalibrationData, CalibrationQuestion
from heatbath.trust.calibration.gauge_control import shift_gauge
from heatbath.trust.signals import SIGNALS, Evidence, SampledAnswer, compute_signal_columns

Progress = Callable[[int, int], object]

NEEDS_MORE = ("samples", "prompt", "model", "attention", "embedding")
"""Needs of signals that cost more than the answer itself; such signals are left out unless they are named."""


@dataclass(frozen=True)
class AnswerPlan:
    """The way a model is asked, which a calibrator is only valid for, and the signals that are computed.

    Attributes:
        temperature: temperature of the answers; 0 takes the most probable token.
        max_tokens: tokens of an answer at most.
        chat: prompts go through the chat template; None if the model has one.
        system: a system message in front of every prompt.
        stop: texts that end an answer.
        samples: further answers at `sample_temperature` for signals that need several.
        sample_temperature: their temperature.
        signals: names of signals; () for all that need the answer alone and, with `samples`, several answers.
        seed: seed of the answers.
        batch: prompts at a time.
    """

    temperature: float = 0.0
    max_tokens: int = 32
    chat: bool | None = None
    system: str | None = None
    stop: tuple[str, ...] = ()
    samples: int = 0
    sample_temperature: float = 1.0
    signals: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 32

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 1), ("batch", 1), ("samples", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"`{name}` must be an integer of at least {least}, got {value!r}.", param=name)

    def resolve(self, model: Model) -> AnswerPlan:
        """Return the plan with everything that depends on the model settled."""
        chat = has_chat_template(model) if self.chat is None else self.chat
        if self.system is not None and not chat:
            raise BadInput("a system message needs a chat template: leave it out, or use a chat model in chat mode.")
        names = self.signals or list_signals(self.samples)
        return replace(self, chat=chat, signals=tuple(dict.fromkeys(SIGNALS.find(name).name for name in names)))

    def settings(self, model: Model) -> dict[str, Any]:
        """Return the settings that a calibrator is valid for."""
        names = ("temperature", "max_tokens", "chat", "system", "stop", "samples", "sample_temperature")
        values = {name: getattr(self, name) for name in names}
        if not self.samples:
            del values["sample_temperature"]
        return {**values, "stop": list(self.stop), "dtype": dtype_name(model)}


def list_signals(samples: int) -> list[str]:
    """Return the names of signals, with all aggregations, that are computed where none is asked for."""
    without = tuple(need for need in NEEDS_MORE if need != "samples" or not samples)
    return SIGNALS.list_names(aggregations=True, without=without)  # type: ignore[arg-type]


def collect_answers(
    model: Model,
    data: CalibrationData,
    plan: AnswerPlan,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[StoredAnswer]:
    """Answer, grade and measure every question; a folder keeps what is done, and an interrupted run continues there.

    Args:
        model: any model.
        data: the questions.
        plan: a plan that was resolved for the model.
        folder: a folder for `answers.jsonl`.
        progress: called with (questions answered, questions in all) after each batch.

    Raises:
        BadInput: a prompt does not fit the model, a label is not 0 or 1, or the folder holds answers of another run.
        NotANumber: the model gave NaN.
    """
    items = [question.item for question in data.questions]
    prompts = encode_scored_prompts(model, items, plan.max_tokens, chat=bool(plan.chat), system=plan.system)
    file = AnswerFile(folder, _identify_run(model, data, plan))
    answers = file.read()
    if progress is not None:
        progress(len(answers), len(data))
    while len(answers) < len(data):
        rows = range(len(answers), min(len(answers) + plan.batch, len(data)))
        batch = _Batch(model, plan, [prompts[i] for i in rows], [data.questions[i] for i in rows], rows[0])
        found = batch.answer()
        file.append(found)
        answers += found
        if progress is not None:
            progress(len(answers), len(data))
    return answers


def _identify_run(model: Model, data: CalibrationData, plan: AnswerPlan) -> str:
    settings = {name: value for name, value in asdict(plan).items() if name != "batch"}
    content = {"model": model.fingerprint, "data": data.digest, "plan": settings, "questions": len(data)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Batch:
    """A few questions with the tokens of their prompts; `first` is the number of the first one."""

    model: Model
    plan: AnswerPlan
    prompts: Sequence[Tokens]
    questions: Sequence[CalibrationQuestion]
    first: int

    def answer(self) -> list[StoredAnswer]:
        """Answer, grade and measure the questions."""
        texts, traces = self._generate_answers()
        samples = self._draw_samples()
        evidences = [self._build_evidence(i, traces[i], texts[i], samples[i]) for i in range(len(texts))]
        # A signal at a temperature between nodes of the record is a number with bounds: the number is the signal.
        signals = compute_signal_columns(evidences, self.plan.signals)
        moved = [replace(one, trace=self._shift_trace(i, traces[i])) for i, one in enumerate(evidences)]
        # What is computed from other texts than the answer costs too much to compute twice.
        cheap = [name for name in self.plan.signals if not set(SIGNALS.find(name).spec.needs) & set(NEEDS_MORE)]
        shifted = {**signals, **compute_signal_columns(moved, cheap)} if cheap else signals
        return [
            StoredAnswer(
                text=text,
                label=question.grade(text),
                tokens=len(traces[i]),
                signals={name: float(column.value[i]) for name, column in signals.items()},
                shifted={name: float(column.value[i]) for name, column in shifted.items()},
                costs={name: SIGNALS.find(name).spec.count_tokens(evidences[i]) for name in self.plan.signals},
            )
            for i, (text, question) in enumerate(zip(texts, self.questions, strict=True))
        ]

    def _shift_trace(self, i: int, trace: Trace) -> Trace:
        return shift_gauge(trace, np.random.default_rng([self.plan.seed, 2, self.first + i]))

    def _generate_answers(self) -> tuple[list[str], list[Trace]]:
        """Return the text and the trace of each answer; a given response is measured in place of an answer."""
        ready = [question.response for question in self.questions]
        run = None
        if None in ready:
            run = self._generate(n=1, temperature=self.plan.temperature, seed=self.plan.seed)
        texts = [run.texts[i] if one is None and run else str(one) for i, one in enumerate(ready)]
        traces = [
            run.trace(i) if response is None and run else self._measure(i, str(response))
            for i, response in enumerate(ready)
        ]
        return texts, traces

    def _measure(self, i: int, response: str) -> Trace:
        return measure_response(self.model, self.prompts[i], response, temperature=self.plan.temperature)

    def _draw_samples(self) -> list[list[SampledAnswer]]:
        count = self.plan.samples
        if not count:
            return [[] for _ in self.questions]
        # Another seed: at one temperature the first sample would be the answer itself.
        run = self._generate(n=count, temperature=self.plan.sample_temperature, seed=self.plan.seed + 1)
        drawn = [
            SampledAnswer(text, float(logprob), tuple(tokens))
            for text, logprob, tokens in zip(run.texts, run.logprob_at_temperature, run.sequences, strict=True)
        ]
        return [drawn[i : i + count] for i in range(0, len(drawn), count)]

    def _generate(self, *, n: int, temperature: float, seed: int) -> Generation:
        return generate(
            self.model,
            list(self.prompts),
            n=n,
            temperature=temperature,
            max_tokens=self.plan.max_tokens,
            stop=list(self.plan.stop),
            seed=seed,
            first_row=self.first * n,
            record="full",
        )

    def _build_evidence(self, i: int, trace: Trace, text: str, samples: Sequence[SampledAnswer]) -> Evidence:
        needs = {need for name in self.plan.signals for need in SIGNALS.find(name).spec.needs}
        prompt = measure(self.model, self.prompts[i]) if "prompt" in needs else None
        return Evidence(
            trace=trace, samples=samples, prompt=prompt, model=self.model, text=text, prompt_tokens=self.prompts[i]
        )


def measure_response(model: Model, prompt: Tokens, response: str, *, temperature: float = 1.0) -> Trace:
    """Return the trace of a given response after the tokens of a prompt.

    Raises:
        BadInput: the response has no tokens.
    """
    tokens = model.encode(response, document_start=False)
    if not tokens:
        raise BadInput(f"the response {response[:40]!r} has no tokens: give at least one character.")
    trace = measure(model, [*prompt, *tokens], temperature=temperature)
    return trace.take(slice(len(prompt), None))
