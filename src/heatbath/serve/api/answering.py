"""What chat and completions do alike with what the engine gave: usage, ends, extras, headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from heatbath.errors import BadInput
from heatbath.serve.api.call import Call
from heatbath.serve.api.chunks import Head
from heatbath.serve.api.exchange import Exchange, Take
from heatbath.serve.api.gathered import Answer, Gathered
from heatbath.serve.api.logprobs import Speller
from heatbath.serve.api.schema.answers import Finish, PromptDetails, Usage
from heatbath.serve.api.schema.sampling import Sampling
from heatbath.serve.api.structure import forms
from heatbath.serve.api.thermo import BY_TOKEN, of_answer, of_choice
from heatbath.serve.errors import invalid_value

EMPTY = Answer(finish="length")
"""The answer of no tokens, for those who asked for none."""


def head_of(call: Call, exchange: Exchange, prefix: str) -> Head:
    """The head of an answer to this exchange."""
    ticket = exchange.order.ticket
    mark = call.language.fingerprint.rpartition(":")[2][:16]
    return Head(prefix + ticket.id, int(ticket.created_at), ticket.model, f"fp_{mark}")


def held(asked: Sampling) -> bool:
    """Whether nothing may be shown before all has been drawn, since the answers are chosen then."""
    sampler = asked.thermo.sampler if asked.thermo else None
    return sampler is not None and sampler not in BY_TOKEN


def usage_of(gathered: Sequence[Gathered]) -> Usage:
    """Tokens of prompts and answers; a prompt counts once, however many answers it has."""
    prompt, completion = sum(len(each.prompt) for each in gathered), sum(each.spent for each in gathered)
    return Usage(prompt, completion, prompt + completion, PromptDetails(sum(each.cached for each in gathered)))


def finish_of(answer: Answer) -> Finish:
    """Why an answer ended, in the words of the API: whatever cut it short is its length."""
    return "stop" if answer.finish == "stop" else "length"


def tail(answer: Answer, asked: Sampling, spell: Speller) -> str:
    """The text of the token that ended the answer, for those who do not want it skipped."""
    shown = asked.skip_special_tokens is False and answer.finish == "stop" and isinstance(answer.stopped, int)
    return spell.text(int(answer.stopped)) if shown and answer.stopped is not None else ""


def stop_reason(answer: Answer, asked: Sampling) -> int | str | UnsetType | None:
    """What ended the answer, where the request speaks of such things; null for the model's own end."""
    if not (asked.stop_token_ids or asked.include_stop_str_in_output or asked.return_token_ids):
        return UNSET
    own = isinstance(answer.stopped, int) and answer.stopped not in (asked.stop_token_ids or ())
    return None if own else answer.stopped


def token_ids(answer: Answer, asked: Sampling) -> list[int] | UnsetType:
    """The ids of its tokens, if asked for."""
    return [token.id for token in answer.tokens] if asked.return_token_ids else UNSET


def choice_thermo(answer: Answer, asked: Sampling, call: Call, spell: Speller) -> dict[str, Any] | UnsetType:
    """The thermo of a choice, if asked for."""
    return UNSET if asked.thermo is None else of_choice(answer, asked.thermo, spell, call.services.phase_map)


def whole_thermo(asked: Sampling, gathered: Sequence[Gathered], stored: bool | None) -> dict[str, Any] | UnsetType:
    """The thermo of the whole answer, if asked for."""
    return UNSET if asked.thermo is None else of_answer(gathered, {"stored": stored})


def headers_of(exchange: Exchange, stored: bool | None) -> dict[str, str]:
    """What the headers say of a whole answer."""
    told = {} if stored is None else {"x-heatbath-stored": "true" if stored else "false"}
    return {"x-heatbath-overhead-ms": f"{exchange.overhead * 1000:.3f}", **told}


async def drawn(exchange: Exchange, asked: Sampling, take: Take | None = None) -> list[Gathered]:
    """What the engine gives. Where it refuses what was asked for, the field of the request is named.

    Raises:
        ApiError, HeatbathError: what the engine raises.
    """
    try:
        return await exchange.run(take)
    except BadInput as error:
        raise invalid_value(str(error), _param(str(error), asked)) from None


def _param(message: str, asked: Sampling) -> str | None:
    """The field of the request that the engine's sentence is about, as far as it tells."""
    if "'grammar'" in message or any(f"the field {name}" in message for name in ("json_schema", "regex", "lark")):
        form = next(iter(forms(asked)), None)
        return "tools" if form is None and getattr(asked, "tools", None) else form and form[0]
    found = next((param for param in ("temperature", "n") if message.startswith(f"{param} is ")), None)
    return found or ("thermo" if asked.thermo is not None else None)


def merged(found: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Settings of both; what is listed in both is joined."""
    joined: dict[str, Any] = {name: (*found[name], *more[name]) for name in ("windows", "fields") if name in more}
    return {**found, **more, **joined}
