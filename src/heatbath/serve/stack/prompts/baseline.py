"""The measured baseline of a prompt: thermodynamic means per token on its sample inputs, and the file they are kept in.

Two things are measured. `prompt` is the rendered prompt as the model reads it, chat template and all: each token after
the first, teacher-forced. That involves no chance; its intervals say how much the inputs differ. `answer` is what the
model makes of it: answers drawn from each rendered prompt, the end of text included. Its intervals are for these
inputs, and say how much answers to one input differ. Every input counts the same, and every answer to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from heatbath.engine.generation import generate
from heatbath.engine.measurement import measure
from heatbath.errors import BadInput
from heatbath.models.base import Model, encode_chat, has_chat_template
from heatbath.record import Provenance, Trace
from heatbath.record.result_file import ResultFormat
from heatbath.serve.stack.prompts.template import PromptTemplate, RenderedPrompt

Floats = NDArray[np.float64]

QUANTITIES = ("mean_energy", "entropy", "heat_capacity")
"""Means per token, at the temperature of the answers, in nats. The mean energy is above the ground state of each token,
so that it does not depend on the gauge and can be compared across models."""

CONFIDENCE_LEVEL = 0.95
BASELINE_FORMAT = ResultFormat("prompt baseline", "heatbath prompts check", "prompt.baseline.json", (1,))


@dataclass(frozen=True)
class BaselineSettings:
    """`answers` drawn for each input, of up to `max_tokens`, at `temperature`, by `seed`."""

    answers: int = 16
    max_tokens: int = 16
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("answers", 2), ("max_tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}: give at least {least}.", param=name)
        if not 0 < self.temperature < math.inf:
            raise BadInput(f"temperature is {self.temperature}: give a number above 0.", param="temperature")


@dataclass(frozen=True)
class BaselineValue:
    """A mean: its standard error with its degrees of freedom, and its 95 % interval; NaN where one input tells none."""

    value: float
    stderr: float
    degrees: float
    low: float
    high: float


@dataclass(frozen=True)
class Baseline:
    """The baseline of one version of a prompt with one model.

    Attributes:
        digest: of the prompt file.
        fingerprint: of the model; `heatbath` is the version that measured.
        inputs: the number of sample inputs.
        prompt_tokens, answer_tokens: mean numbers for each input and each answer.
        prompt, answer: the values by quantity.
    """

    name: str
    version: str
    digest: str
    model: str
    fingerprint: str
    heatbath: str
    settings: BaselineSettings
    inputs: int
    prompt_tokens: float
    answer_tokens: float
    prompt: Mapping[str, BaselineValue]
    answer: Mapping[str, BaselineValue]

    def save(self, path: Path) -> None:
        """Write the baseline; an error leaves the file that was there."""
        BASELINE_FORMAT.save(self, path)


def baseline_path(template: PromptTemplate) -> Path:
    """Return the path of the baseline, beside the file of the template."""
    return template.path.with_name(f"{template.path.stem}.baseline.json")


def load_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises `BadInput` for a file that is none, or is damaged."""
    return BASELINE_FORMAT.load(path, Baseline)


def encode_rendered(model: Model, rendered: RenderedPrompt) -> list[int]:
    """Return the tokens of a rendered prompt, up to where the answer begins.

    A model without a chat template takes the text of a prompt that is one section.

    Raises:
        BadInput: such a model, and a prompt of several sections.
    """
    if has_chat_template(model):
        return encode_chat(model, rendered.messages)
    if len(rendered.messages) > 1:
        raise BadInput(
            f"{model.name} has no chat template and prompt {rendered.template.reference} has "
            f"{len(rendered.messages)} sections: use a model with a template, or one section."
        )
    return model.encode(rendered.messages[0]["content"])


def measure_baseline(
    model: Model,
    template: PromptTemplate,
    settings: BaselineSettings | None = None,
    *,
    on_input: Callable[[int], object] | None = None,
) -> Baseline:
    """Measure the baseline of a prompt on its sample inputs; `on_input` gets the number of those done.

    Raises:
        BadInput: a prompt without sample inputs, or one whose rendering has fewer than two tokens.
    """
    settings = settings or BaselineSettings()
    if not template.samples:
        raise BadInput(f"{template.path}:1: prompt {template.reference} has no samples: add values to measure it on.")
    prompts, answers, lengths = [], [], []
    for i, sample in enumerate(template.samples):
        tokens = encode_rendered(model, template.render(sample))
        if len(tokens) < 2:
            raise BadInput(f"prompt {template.reference} is shorter than two tokens: there is nothing to measure.")
        prompts.append(_mean_columns(measure(model, tokens, temperature=settings.temperature), start=1))
        traces = _draw_answers(model, tokens, settings, first_row=i * settings.answers)
        answers.append(np.array([_mean_columns(trace) for trace in traces]))
        lengths.append((len(tokens), float(np.mean([len(trace) for trace in traces]))))
        if on_input is not None:
            on_input(i + 1)
    provenance = Provenance.from_model(model)
    prompt_tokens, answer_tokens = np.mean(lengths, axis=0).tolist()
    return Baseline(
        template.name,
        template.version,
        template.digest,
        provenance.model,
        provenance.fingerprint,
        provenance.version,
        settings,
        len(template.samples),
        prompt_tokens,
        answer_tokens,
        dict(zip(QUANTITIES, map(_mean_of_inputs, np.array(prompts).T), strict=True)),
        dict(zip(QUANTITIES, map(_mean_of_answers, np.array(answers).transpose(2, 0, 1)), strict=True)),
    )


def _draw_answers(model: Model, tokens: Sequence[int], settings: BaselineSettings, *, first_row: int) -> list[Trace]:
    return generate(
        model,
        tokens,
        n=settings.answers,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        first_row=first_row,
        record="state",
    ).traces


def _mean_columns(trace: Trace, *, start: int = 0) -> Floats:
    """Return the means of the quantities over the tokens of a trace from `start` on, (3,)."""
    record = trace.record
    columns = (record["mean_energy"] - record["ground"], record["entropy"], record["heat_capacity"])
    return np.array([np.mean(np.asarray(column, np.float64)[start:]) for column in columns])


def _mean_of_inputs(values_s: Floats) -> BaselineValue:
    """Return the mean over inputs, with the interval of Student's t."""
    num_inputs = len(values_s)
    if num_inputs == 1:
        return BaselineValue(float(values_s[0]), math.nan, 0.0, math.nan, math.nan)
    return _build_value(float(values_s.mean()), float(values_s.std(ddof=1) / math.sqrt(num_inputs)), num_inputs - 1.0)


def _mean_of_answers(values_sn: Floats) -> BaselineValue:
    """Return the mean over the answers to given inputs, (inputs, answers); degrees of freedom by Satterthwaite."""
    num_inputs, num_answers = values_sn.shape
    parts = values_sn.var(axis=1, ddof=1) / num_answers
    total = float(parts.sum())
    degrees = total**2 / float((parts**2).sum()) * (num_answers - 1) if total > 0 else num_inputs * (num_answers - 1.0)
    return _build_value(float(values_sn.mean()), math.sqrt(total) / num_inputs, degrees)


def _build_value(value: float, stderr: float, degrees: float) -> BaselineValue:
    half = float(stdtrit(degrees, 0.5 + CONFIDENCE_LEVEL / 2)) * stderr
    return BaselineValue(value, stderr, degrees, value - half, value + half)
