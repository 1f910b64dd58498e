"""`heatbath policy`: check a file of rules, test it on texts, and measure the work of its energies."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import Device, Dtype, ModelName
from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.estimate import Estimate
    from heatbath.policy.alarm_rates import AlarmRate, AlarmRates
    from heatbath.policy.energy_cost import EnergyCost, RuleCost
    from heatbath.policy.example_rates import ExampleRate, RuleExamples
    from heatbath.policy.rule import PolicyRule

app = typer.Typer(
    help="Check a policy, test it on texts, measure what it costs.", no_args_is_help=True, add_completion=False
)

PolicyPath = Annotated[Path, typer.Argument(metavar="FILE", help="File of rules, in YAML.", show_default=False)]
CorpusPath = typer.Option(
    help='JSON lines of ordinary texts: "text", and "document" where several come from one.', show_default=False
)
Limit = Annotated[
    int | None, typer.Option(min=1, help="Texts of the corpus to use, spread over it.", show_default="all")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def check(file: PolicyPath, *, as_json: AsJson = False) -> None:
    """Load a policy and list its rules; a mistake is reported with its line."""
    from heatbath.policy import load_policy

    policy = load_policy(file)
    if as_json:
        rules = [_summarize_rule(rule) for rule in policy.rules]
        typer.echo(json.dumps({"version": policy.version, "rules": rules}))
        return
    typer.echo(f"{file.name}: {len(policy.rules)} rules, version {policy.version}")
    for rule in policy.rules:
        typer.echo(f"  {rule.id:<28} {_describe_effect(rule):<14} {rule.severity:<9} {', '.join(sorted(rule.scopes))}")


@app.command()
def test(
    file: PolicyPath,
    *,
    corpus: Annotated[Path | None, CorpusPath] = None,
    scope: Annotated[str, typer.Option(help="Scope in which the corpus is judged.")] = "output",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Judge the examples of each rule, and a corpus of ordinary texts by all rules together.

    The exit code is 1 if an example does not come out as it must.
    """
    from heatbath.policy import load_policy
    from heatbath.policy.alarm_rates import measure_alarms
    from heatbath.policy.corpus import read_corpus
    from heatbath.policy.example_rates import check_examples

    policy = load_policy(file)
    texts = None if corpus is None else read_corpus(corpus, limit=limit)
    examples = check_examples(policy)
    alarms = None
    if texts is not None:
        with show_progress("texts") as progress:
            alarms = measure_alarms(policy, texts, scope=scope, progress=progress)  # type: ignore[arg-type]
    if as_json:
        summary = {"version": policy.version, "examples": [_summarize_examples(each) for each in examples]}
        typer.echo(json.dumps(summary | ({} if alarms is None else {"corpus": _summarize_alarms(alarms)})))
    else:
        lines = [*_format_examples(examples), *(() if alarms is None else _format_alarms(alarms))]
        typer.echo("\n".join(lines))
    if not all(each.has_passed for each in examples):
        raise typer.Exit(1)


@app.command()
def cost(
    file: PolicyPath,
    *,
    corpus: Annotated[Path, CorpusPath],
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each text at most.")] = 256,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Measure the work of the rules with an energy on ordinary texts, in nats per token.

    Each text is scored as if the model were generating it at T = 1, from its first token.
    """
    from heatbath.models import load
    from heatbath.policy import load_policy
    from heatbath.policy.corpus import read_corpus
    from heatbath.policy.energy_cost import measure_cost

    policy = load_policy(file)
    if not policy.fields:
        raise BadInput(f"no rule of {file.name} has an energy: there is no work to measure.")
    texts = read_corpus(corpus, limit=limit)
    loaded = load(model, dtype=dtype, device=device)
    with show_progress("texts") as progress:
        found = measure_cost(policy, loaded, texts, max_tokens=max_tokens, progress=progress)
    if as_json:
        typer.echo(json.dumps({"version": policy.version, "model": loaded.name, **_summarize_cost(found)}))
        return
    typer.echo("\n".join(_format_cost(found)))


def _describe_effect(rule: PolicyRule) -> str:
    from heatbath.policy.rule import EnergyEffect

    if not isinstance(rule.effect, EnergyEffect):
        return rule.effect.action
    return "forbid" if rule.effect.energy == math.inf else f"{rule.effect.energy:+g} nats"


def _summarize_rule(rule: PolicyRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "line": rule.line,
        "effect": _describe_effect(rule),
        "scope": sorted(rule.scopes),
        "severity": rule.severity,
        "description": rule.description,
    }


def _summarize_examples(each: RuleExamples) -> dict[str, Any]:
    def rate(found: ExampleRate) -> dict[str, Any]:
        interval = list(found.interval) if found.texts else None
        return {"caught": found.caught, "texts": found.texts, "interval": interval}

    return {
        "rule": each.rule,
        "passed": each.has_passed,
        "must_catch": rate(each.caught),
        "must_allow": rate(each.false_alarms),
        "missed": each.missed,
        "alarmed": each.alarmed,
        "faults": each.faults,
    }


def _format_examples(examples: list[RuleExamples]) -> Iterator[str]:
    yield f"{'examples':<28} {'must catch':>25} {'must leave alone':>25}"
    for each in examples:
        yield f"{each.rule:<28} {_format_example_rate(each.caught):>25} {_format_example_rate(each.false_alarms):>25}"
        yield from (f"  missed: {text!r:.100}" for text in each.missed)
        yield from (f"  false alarm: {text!r:.100}" for text in each.alarmed)
        yield from (f"  {fault}" for fault in each.faults)


def _format_example_rate(rate: ExampleRate) -> str:
    if not rate.texts:
        return "no examples"
    low, high = rate.interval
    return f"{rate.caught} of {rate.texts} ({low:.0%} to {high:.0%})"


def _summarize_alarms(alarms: AlarmRates) -> dict[str, Any]:
    def rate(found: AlarmRate) -> dict[str, Any]:
        return {"count": found.count, "share": found.share, "interval": [found.low, found.high]}

    return {
        "scope": alarms.scope,
        "texts": alarms.any_rule.texts,
        "documents": alarms.documents,
        "rules": {name: rate(found) for name, found in alarms.rules.items()},
        "any_rule": rate(alarms.any_rule),
        "independent": alarms.independent,
        "by_action": {action: rate(found) for action, found in alarms.by_action.items()},
        "texts_with_faults": alarms.faults,
    }


def _format_alarms(alarms: AlarmRates) -> Iterator[str]:
    yield ""
    yield f"false alarms on {alarms.any_rule.texts} texts of {alarms.documents} documents, as {alarms.scope}"
    for name, found in alarms.rules.items():
        yield f"{name:<28} {_format_alarm_rate(found)}"
    yield f"{'any rule':<28} {_format_alarm_rate(alarms.any_rule)}"
    yield f"{'any rule, if independent':<28} {alarms.independent:>8.2%}"
    for action in ("deny", "escalate", "modify"):
        yield f"{'verdict ' + action:<28} {_format_alarm_rate(alarms.by_action[action])}"
    if alarms.faults:
        yield f"{alarms.faults} texts have a rule that could not be evaluated."


def _format_alarm_rate(rate: AlarmRate) -> str:
    return f"{rate.share:>8.2%}  ({rate.low:.2%} to {rate.high:.2%})  {rate.count}"


def _summarize_cost(found: EnergyCost) -> dict[str, Any]:
    def summarize(cost: RuleCost) -> dict[str, Any]:
        return {
            "work": dataclasses.asdict(cost.work),
            "forbidden_mass": dataclasses.asdict(cost.forbidden_mass),
            "largest_work": cost.largest_work,
        }

    rules = {name: summarize(each) for name, each in found.rules.items()}
    return {"tokens": found.tokens, "documents": found.documents, "rules": rules, "total": summarize(found.total)}


def _format_cost(found: EnergyCost) -> Iterator[str]:
    yield f"{found.tokens} tokens of {found.documents} documents, at T = 1; means per token with 95 % intervals"
    yield f"{'rule':<28} {'work, nats':>32} {'mass forbidden':>34} {'largest work':>13}"
    for name, each in {**found.rules, "all rules": found.total}.items():
        mass = _format_estimate(each.forbidden_mass)
        yield f"{name:<28} {_format_estimate(each.work):>32} {mass:>34} {each.largest_work:>13.3g}"


def _format_estimate(found: Estimate) -> str:
    from heatbath.estimate.proportion import mean_interval

    low, high = mean_interval(found)
    return f"{found.value:.2e} ({low:.2e} to {high:.2e})"
