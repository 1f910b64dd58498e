"""The choices of one request to the engine on their way through the gate: held, judged, and released or replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from heatbath.engine.base import Request, Started, Token, TokensGenerated
from heatbath.serve.openai.choice_judge import PASSING, ChoiceJudge, Judgement
from heatbath.serve.openai.held_choice import DrawnLength, Escalation, HeldChoice
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput, PromptOutput, summarize_records
from heatbath.serve.policy.ruling import TOKEN_PARTS, Ruling
from heatbath.serve.policy.served_policy import sum_work

if TYPE_CHECKING:
    from heatbath.serve.openai.policy_gate import PolicyGate


class GatePassage:
    """The choices of one request to the engine."""

    def __init__(self, gate: PolicyGate, prompt: int, request: Request, output: PromptOutput) -> None:
        self._gate, self._prompt, self._request, self._output = gate, prompt, request, output
        self._judge = ChoiceJudge(gate.judge_text, gate.language, gate.form)
        self._window = gate.window
        self._choices: dict[int, HeldChoice] = {}
        self._waiting: list[HeldChoice] = []
        self._allowed_tokens: dict[int, bool] = {}

    def add(self, event: TokensGenerated) -> None:
        """Hold an event. A choice is judged when it is complete, and in a window while it grows too."""
        choice = self._choices.get(event.choice)
        if choice is None:
            length = None if self._window is None else DrawnLength(self._gate.language)
            choice = self._choices[event.choice] = HeldChoice(event.choice, length)
            self._waiting.append(choice)
        elif choice not in self._waiting:
            # It was denied before its end, and goes on in the engine.
            self._output.completion_tokens += len(event.tokens)
            return
        choice.add(event)
        if choice.task is None and (self._window is not None or choice.whole.finish is not None):
            choice.task = asyncio.create_task(self._judge_choice(choice))

    async def show_prompt(self, event: Started) -> Started:
        """Return the start of a response, with what of the prompt may be given."""
        if self._gate.form.shows_prompt:
            text = self._gate.language.decode(self._output.prompt)
            verdict = await self._gate.judge_text(text, "output")
            self._output.shows_prompt = verdict.action in PASSING
        await self._judge_alternatives(event.scored_prompt)
        return replace(event, scored_prompt=self._drop_alternatives(event.scored_prompt))

    def release_judged(self) -> Iterator[TokensGenerated]:
        """Yield the events that may go now."""
        for choice in tuple(self._waiting):
            if choice.task is not None and choice.task.done():
                self._waiting.remove(choice)
                yield from self._settle(choice, choice.task.result())
            elif self._window is not None:
                yield from self._clean(choice.release(choice.num_judged - self._window))

    async def judge_rest(self) -> None:
        """Wait until all choices are judged; those without tokens may repeat their prompt."""
        if self._request.max_tokens == 0 and self._gate.form.echoes:
            for index in range(self._request.n):
                self.add(TokensGenerated(index, (), "", "length"))
        for choice in self._waiting:
            if choice.task is not None:
                await choice.task

    def cancel(self) -> None:
        """Judge nothing any more."""
        for choice in self._waiting:
            if choice.task is not None:
                choice.task.cancel()

    async def _judge_choice(self, choice: HeldChoice) -> Judgement:
        """Return the judgement on a choice, or in a window that on the first beginning that may not pass."""
        try:
            denied = None if self._window is None else await self._judge_beginnings(choice, self._window // 2)
            if denied is not None:
                return denied
            await self._judge_alternatives(choice.whole.tokens)
            return await self._judge.judge(self._prompt, choice.whole)
        except Exception as error:
            return Judgement("deny", "", faults=(f"the text could not be judged ({type(error).__name__}).",))

    async def _judge_beginnings(self, choice: HeldChoice, step: int) -> Judgement | None:
        """Judge a choice while it grows, at multiples of `step` characters: not when events happen to come."""
        while True:
            choice.grown.clear()
            while choice.num_judged + step <= len(choice.whole.text):
                await self._judge_alternatives(choice.whole.tokens)
                verdict = await self._gate.judge_text(choice.whole.text[: choice.num_judged + step], "output")
                if verdict.action not in PASSING:
                    return Judgement(verdict.action, verdict.text, verdict.rules, verdict.faults)
                choice.num_judged += step
            if choice.whole.finish is not None:
                return None
            await choice.grown.wait()

    async def _judge_alternatives(self, tokens: Sequence[Token]) -> None:
        """Judge the tokens that would be given beside those that were drawn, each by itself."""
        others = {other for token in tokens for other, _ in token.top_logprobs if other not in self._allowed_tokens}
        if others:
            texts = {other: self._gate.language.token_bytes(other).decode("utf-8", "replace") for other in others}
            self._allowed_tokens |= await self._gate.served.judge_tokens(self._gate.policy, texts)

    def _drop_alternatives(self, tokens: Sequence[Token]) -> list[Token]:
        """Return the tokens without the alternatives that may not be given."""
        cleaned = []
        for token in tokens:
            kept = [pair for pair in token.top_logprobs if self._allowed_tokens.get(pair[0])]
            is_whole = len(kept) == len(token.top_logprobs)
            cleaned.append(token if is_whole else replace(token, top_logprobs=kept))
        return cleaned

    def _clean(self, events: Sequence[TokensGenerated]) -> Iterator[TokensGenerated]:
        for event in events:
            yield replace(event, tokens=self._drop_alternatives(event.tokens))

    def _settle(self, choice: HeldChoice, judgement: Judgement) -> Iterator[TokensGenerated]:
        """Record the ruling on a choice, and yield the events that are to be given of it."""
        if self._window is not None:
            # What leaves before a denial depends on the text alone, not on when the verdict comes.
            yield from self._clean(choice.release(choice.num_judged - self._window))
        ruling = self._rule(choice, judgement)
        given = self._output.choices.setdefault(choice.index, ChoiceOutput())
        given.ruling = ruling
        if ruling.shows_tokens:
            yield from self._clean(choice.release_rest())
            return
        self._output.completion_tokens += choice.num_held_tokens
        if ruling.action == "hold":
            given.finish = WITHHELD
            choice.whole.tokens = self._drop_alternatives(choice.whole.tokens)
            self._gate.escalations.append(Escalation(choice.whole, judgement, given))
        elif ruling.action == "deny":
            yield TokensGenerated(choice.index, (), "", WITHHELD)
        elif ruling.action == "modify":
            yield TokensGenerated(choice.index, (), judgement.text, choice.whole.finish)
        else:
            for event in choice.release_rest():
                yield replace(event, tokens=(), stop_reason=None)

    def _rule(self, choice: HeldChoice, judgement: Judgement) -> Ruling:
        gate, whole = self._gate, choice.whole
        action = gate.decide(judgement)
        is_given = action in ("allow", "warn", "modify")
        hides_tokens = is_given and not judgement.shows_tokens
        summary = summarize_records(whole.tokens)
        ruling = Ruling(
            gate.policy.version,
            judgement.verdict,
            action,
            judgement.rules,
            judgement.faults,
            seconds=monotonic() - choice.since,
            tokens=choice.num_held_tokens,
            window=self._window,
            withheld=TOKEN_PARTS if hides_tokens else (),
            input=gate.input,
            summary=summary,
            mean_logprob=whole.mean_logprob,
        )
        gate.served.counts.add_ruling(ruling, sum_work(summary, gate.policy))
        return ruling
