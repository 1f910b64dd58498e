"""Baselines: what is measured is what the exact model says, unchanged prompts raise no alarm, planted changes do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import MarkovModel
from heatbath.serve.stack.prompts import (
    Baseline,
    BaselineSettings,
    PromptTemplate,
    compare_baselines,
    measure_baseline,
    read_template,
)
from heatbath.serve.stack.prompts.baseline import BaselineValue, load_baseline
from heatbath.serve.stack.prompts.drift import FALSE_ALARMS

MODEL = MarkovModel.random(1, 6, scale=1.5)  # its symbols are a to f
SETTINGS = BaselineSettings(answers=8, max_tokens=4)
REPEATS = 40


def template(folder: Path, body: str, *, samples: str = "[{t: ab}, {t: cde}]") -> PromptTemplate:
    path = folder / "p.md"
    path.write_text(f"---\nname: p\nversion: 1\nvariables: {{t: string}}\nsamples: {samples}\n---\n{body}\n")
    return read_template(path)


def measure(prompt: PromptTemplate, seed: int = 0, model: MarkovModel = MODEL) -> Baseline:
    """A baseline by another seed, which compares itself with others."""
    return replace(measure_baseline(model, prompt, replace(SETTINGS, seed=seed)), settings=SETTINGS)


def test_the_values_are_those_of_the_exact_model(tmp_path: Path) -> None:
    """The prompt to rounding, the answers within four standard errors of their exact expectation."""
    found = measure_baseline(MODEL, template(tmp_path, "a{{ t }}"), replace(SETTINGS, answers=200))
    table = MODEL.transition_matrix()
    energies = -np.log(table)
    excess = (table * energies).sum(1) - energies.min(1)
    entropy = (table * energies).sum(1)
    variance = (table * energies**2).sum(1) - entropy**2
    exact = dict(zip(("mean_energy", "entropy", "heat_capacity"), (excess, entropy, variance), strict=True))
    reach = np.array([np.linalg.matrix_power(table, k) for k in range(SETTINGS.max_tokens)]).mean(0)
    for name, of_state in exact.items():
        inputs = [np.mean([of_state[s] for s in states]) for states in ([0, 0], [0, 2, 3])]  # aab and acde
        assert found.prompt[name].value == pytest.approx(np.mean(inputs), rel=1e-5)
        answer = found.answer[name]
        assert abs(answer.value - np.mean([(reach @ of_state)[s] for s in (1, 4)])) < 4 * answer.stderr
        assert answer.low < answer.value < answer.high and answer.stderr > 0
    assert (found.inputs, found.prompt_tokens, found.answer_tokens) == (2, 3.5, SETTINGS.max_tokens)


def test_no_alarm_without_a_change_and_one_for_a_planted_change(tmp_path: Path) -> None:
    """Pairs of baselines of one prompt, by other seeds, with no tolerance.

    The rate of false alarms is at most what was asked for: with 20 pairs at 10 %, more than 7 have a probability of
    0.04 % (binomial), and at the default of 1 %, more than 3 one of 0.005 %. A model whose energies are 0.6 of these,
    on the same prompt, is found every time.
    """
    prompt = template(tmp_path, "a{{ t }}")
    found = [measure(prompt, seed) for seed in range(REPEATS)]
    pairs = list(zip(found[::2], found[1::2], strict=True))

    def alarms(rate: float) -> int:
        compared = (compare_baselines(a, b, tolerance=0, false_alarms=rate) for a, b in pairs)
        return sum(any(change.is_drift for change in changes) for changes in compared)

    assert alarms(0.1) <= 7 and alarms(FALSE_ALARMS) <= 3
    assert alarms(0.999) >= 5  # the test can fail
    softer = MarkovModel(-0.6 * np.log(MODEL.transition_matrix()))
    for seed in range(3):
        changes = compare_baselines(found[seed], measure(prompt, 100 + seed, softer))
        assert {change.part for change in changes if change.is_drift} == {"prompt", "answer"}


def test_a_change_of_the_text_is_found_and_one_within_the_tolerance_is_not(tmp_path: Path) -> None:
    before = measure(template(tmp_path, "a{{ t }}"))
    after = measure(template(tmp_path, "ffff{{ t }}f"))
    assert any(change.is_drift for change in compare_baselines(before, after))
    assert not any(change.is_drift for change in compare_baselines(before, after, tolerance=10))
    assert not any(change.is_drift for change in compare_baselines(before, before, tolerance=0))


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = measure(template(tmp_path, "a{{ t }}"))
    found.save(tmp_path / "p.baseline.json")
    assert load_baseline(tmp_path / "p.baseline.json") == found
    alone = measure(template(tmp_path, "a{{ t }}", samples="[{t: ab}]"))
    assert np.isnan(alone.prompt["entropy"].stderr) and alone.answer["entropy"].stderr > 0
    alone.save(tmp_path / "p.baseline.json")
    read = load_baseline(tmp_path / "p.baseline.json").prompt["entropy"]
    assert isinstance(read, BaselineValue) and np.isnan(read.low) and read.value == alone.prompt["entropy"].value


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"p\.md:1: prompt p@1 has no samples"):
        measure(template(tmp_path, "a{{ t }}", samples="[]"))
    with pytest.raises(BadInput, match="shorter than two tokens"):
        measure(template(tmp_path, "{{ t }}", samples="[{t: a}]"))
    with pytest.raises(BadInput, match="has no chat template and prompt p@1 has 2 sections"):
        measure(template(tmp_path, "# system\na\n# user\n{{ t }}"))
    prompt = template(tmp_path, "a{{ t }}")
    with pytest.raises(BadInput, match="other settings"):
        compare_baselines(measure(prompt), measure_baseline(MODEL, prompt, replace(SETTINGS, seed=1)))
    for settings in ({"answers": 1}, {"max_tokens": 0}, {"temperature": 0.0}, {"seed": -1}):
        with pytest.raises(BadInput, match=next(iter(settings))):
            BaselineSettings(**settings)  # type: ignore[arg-type]
