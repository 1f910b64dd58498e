"""The gate between the engine and everything that a response, a record or an observer is made from.

It passes on the events of a choice once the policy has judged the whole choice, or others where the policy says so.
What lies behind it never gets a text that was denied.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from heatbath.engine.base import Event, ModelInfo, Request, Started, Token, TokensGenerated
from heatbath.policy.verdict import Scope, Verdict
from heatbath.serve.openai.choice_judge import AnswerForm, Judgement
from heatbath.serve.openai.held_choice import Escalation
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput
from heatbath.serve.openai.policy_passage import GatePassage
from heatbath.serve.policy.ruling import EnforcedAction, InputRuling
from heatbath.serve.policy.served_policy import ServedPolicy

if TYPE_CHECKING:
    from heatbath.policy.policy import Policy

Report = Callable[[TokensGenerated], None]
"""Called with each event of the engine, without its text and with tokens that say nothing."""

_BLANK = Token(0, None)


@dataclass(eq=False)
class PolicyGate:
    """The gate of one HTTP request, all of which is judged by one policy.

    Attributes:
        form: what the response gives.
        input: what the policy said of the input.
        has_screened_input: whether the input has been judged.
        escalations: the choices that a person is to decide on.
    """

    served: ServedPolicy
    policy: Policy
    language: ModelInfo
    form: AnswerForm = field(default_factory=AnswerForm)
    input: InputRuling = field(default_factory=InputRuling)
    has_screened_input: bool = False
    escalations: list[Escalation] = field(default_factory=list)

    async def judge_text(self, text: str, scope: Scope) -> Verdict:
        """Return the verdict on a text."""
        return await self.served.judge(self.policy, text, scope)

    def steer(self, request: Request) -> Request:
        """Return a request to the engine with the fields of the policy, which a client cannot leave out."""
        fields = self.policy.fields
        return replace(request, fields=(*request.fields, *fields)) if fields else request

    @property
    def window(self) -> int | None:
        """Characters by which a stream lags, None where choices are held to their end."""
        settings, form = self.served.settings, self.form
        is_plain = form.is_streamed and not (form.has_tools or form.echoes) and self.input.verdict != "escalate"
        return settings.window if settings.mode == "window" and is_plain else None

    def decide(self, judgement: Judgement) -> EnforcedAction:
        """Return what is done with a choice. What cannot be done, such as to ask a person, is a denial."""
        verdict = judgement.verdict
        if self.input.verdict == "escalate" and verdict != "deny":
            verdict = "escalate"
        if verdict == "escalate":
            return "hold" if self.served.has_review and self.window is None else "deny"
        return "deny" if verdict == "modify" and self.window is not None else verdict

    async def hold(
        self, events: AsyncGenerator[Event, None], place: tuple[int, Request, PromptOutput], report: Report
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a request to the engine as the policy lets them go; its rulings go into the output.

        `place` is the number of the prompt, the request and its output.
        """
        passage = GatePassage(self, *place)
        ended: Event | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, TokensGenerated):
                        report(replace(event, tokens=[_BLANK] * len(event.tokens), text="", stop_reason=None))
                        passage.add(event)
                    elif isinstance(event, Started):
                        yield await passage.show_prompt(event)
                    else:
                        ended = event
                    for released in passage.release_judged():
                        yield released
            await passage.judge_rest()
            for released in passage.release_judged():
                yield released
            if ended is not None:
                yield ended
        finally:
            passage.cancel()

    def describe(self, choice: ChoiceOutput) -> dict[str, object]:
        """Return what is said of a choice under `thermo`."""
        return {"policy": None if choice.ruling is None else choice.ruling.describe()}
