"""The texts of a choice that the policy judges: all that a response would give, and the arguments of its calls."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import UNSET

from heatbath.engine.base import ModelInfo, Token
from heatbath.policy.verdict import ACTIONS, Action, Scope, Verdict
from heatbath.serve.openai.outputs import ChoiceOutput
from heatbath.serve.openai.tool_calls import parse_calls, replace_arguments
from heatbath.serve.policy.ruling import merge_unique

PASSING: tuple[Action, ...] = ("allow", "warn")

JudgeText = Callable[[str, Scope], Awaitable[Verdict]]


@dataclass(frozen=True)
class AnswerForm:
    """The parts of a response beside the texts of its choices.

    Attributes:
        echoes: the prompts, where they are repeated before the texts.
        has_tools: the texts may hold calls of tools.
        shows_prompt: prompts are given as tokens, or with their log-probabilities.
        shows_stop_token: the text of the token that ends a choice is part of its text.
        is_streamed: choices are given while they grow.
    """

    echoes: Sequence[str] = ()
    has_tools: bool = False
    shows_prompt: bool = False
    shows_stop_token: bool = False
    is_streamed: bool = False


@dataclass(frozen=True)
class Judgement:
    """The judgement of the policy on a choice.

    Attributes:
        text: the text to give, with a prompt that is repeated before it; `is_changed`: not the one that was generated.
        shows_tokens: whether its tokens may be given.
    """

    verdict: Action
    text: str
    rules: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    is_changed: bool = False
    shows_tokens: bool = True

    def add(self, verdict: Verdict, **changes: Any) -> Judgement:
        """Return the judgement with a further verdict."""
        return replace(
            self,
            verdict=max(self.verdict, verdict.action, key=ACTIONS.index),
            rules=merge_unique(self.rules, verdict.rules),
            faults=merge_unique(self.faults, verdict.faults),
            **changes,
        )

    def deny(self, fault: str) -> Judgement:
        """Return a denial, with the reason."""
        return replace(self, verdict="deny", faults=(*self.faults, fault))


@dataclass(frozen=True)
class ChoiceJudge:
    """Judges finished choices. A text gets the same verdict however it was split into tokens and events."""

    judge_text: JudgeText
    language: ModelInfo
    form: AnswerForm = field(default_factory=AnswerForm)

    async def judge(self, prompt: int, choice: ChoiceOutput) -> Judgement:
        """Return the judgement on a choice of a prompt."""
        text = self.read_text(prompt, choice)
        verdict = await self.judge_text(text, "output")
        judgement = Judgement(verdict.action, verdict.text, verdict.rules, verdict.faults)
        if self.form.has_tools and judgement.verdict != "deny":
            judgement = await self._judge_calls(judgement)
        if judgement.text != text:
            return replace(judgement, is_changed=True, shows_tokens=False)
        return judgement if judgement.verdict == "deny" else await self._judge_tokens(judgement, prompt, choice)

    def read_text(self, prompt: int, choice: ChoiceOutput) -> str:
        """Return the text of a choice as it would be given."""
        echo = self.form.echoes[prompt] if self.form.echoes else ""
        return echo + choice.text + self._read_stop_token(choice)

    def _read_stop_token(self, choice: ChoiceOutput) -> str:
        is_shown = self.form.shows_stop_token and choice.finish == "stop" and isinstance(choice.stopped, int)
        return self._decode(choice.tokens[-1:]) if is_shown else ""

    async def _judge_tokens(self, judgement: Judgement, prompt: int, choice: ChoiceOutput) -> Judgement:
        """Judge what the tokens say beyond the text, such as a stop text that was cut off."""
        special = self.language.vocabulary.special_token_ids
        drawn = self._decode([token for token in choice.tokens if token.id not in special])
        if drawn == choice.text:
            return judgement
        echo = self.form.echoes[prompt] if self.form.echoes else ""
        verdict = await self.judge_text(echo + drawn, "output")
        return replace(judgement, shows_tokens=verdict.action in PASSING)

    def _decode(self, tokens: Sequence[Token]) -> str:
        return b"".join([self.language.token_bytes(token.id) for token in tokens]).decode("utf-8", "replace")

    async def _judge_calls(self, judgement: Judgement) -> Judgement:
        """Judge the arguments of the calls in a text: as they are, and as a client reads them."""
        message, _ = parse_calls(judgement.text, "")
        calls = () if message.tool_calls is UNSET else message.tool_calls
        changes = []
        for call in calls:
            arguments = call.function.arguments
            verdict = await self.judge_text(arguments, "tool_calls")
            judgement = judgement.add(verdict)
            if "\\" in verdict.text:
                read = await self.judge_text(_read_arguments(verdict.text), "output")
                judgement = judgement.add(read)
                if read.action == "modify":
                    judgement = judgement.deny("a text is to be changed that is written with escapes.")
            changes.append((arguments, verdict.text))
        if all(before == after for before, after in changes):
            return judgement
        return _change_arguments(judgement, changes)


def _change_arguments(judgement: Judgement, changes: Sequence[tuple[str, str]]) -> Judgement:
    """Put other arguments into the calls of a text; those that a client could not read any more are a denial."""
    changed = replace(judgement, text=replace_arguments(judgement.text, changes))
    message, _ = parse_calls(changed.text, "")
    found = [] if message.tool_calls is UNSET else [call.function.arguments for call in message.tool_calls]
    broken = [after for before, after in changes if _parse(before) is not UNSET and _parse(after) is UNSET]
    if broken or found != [after for _, after in changes]:
        return judgement.deny("the arguments of a call would be no JSON after the change.")
    return changed


def _read_arguments(text: str) -> str:
    """Return the texts in arguments as a client reads them; the text itself where it is no JSON."""
    value = _parse(text)
    return text if value is UNSET else "\n".join(_walk_texts(value))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return UNSET


def _walk_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _walk_texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _walk_texts(each)
