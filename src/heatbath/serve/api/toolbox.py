"""Which tools a model may call, must call or must not, and the grammar of an answer that does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.engine.base import ComponentSpec
from heatbath.serve.api.reading import shown
from heatbath.serve.api.schema.chat import ChatRequest, Tool, ToolChoice
from heatbath.serve.errors import invalid_value

OPEN = "<tool_call>\n"
NAMED = '{"name": "'
GIVEN = '", "arguments": '
CLOSE = "}\n</tool_call>"
BETWEEN = "\n"

# One piece each: a text in which no call begins, and a text up to where the first one does.
_TEXT = f"TEXT: /(?s:.*)/ & ~/(?s:.*){OPEN.strip()}(?s:.*)/"
_HEAD = f"head[lazy]: /(?s:.*){OPEN.strip()}\\n/"


@dataclass(frozen=True)
class Toolbox:
    """The tools on offer; `forced` allows no answer without a call, `many` more than one call."""

    tools: tuple[Tool, ...] = ()
    forced: bool = False
    many: bool = True

    def grammar(self, form: ComponentSpec | None = None) -> ComponentSpec | None:
        """The field that lets an answer be a text, of a `form` if one was asked for, or calls. None without tools."""
        if not self.tools:
            return None
        calls = " | ".join(f"call_{i}" for i in range(len(self.tools)))
        more = f" ({json.dumps(BETWEEN + OPEN)} call)*" if self.many else ""
        lines = [f"calls: call{more}", f"call: {calls}", *map(_rules, range(len(self.tools)), self.tools)]
        return ComponentSpec("lark", "\n".join([_start(self.forced, form), *lines]))


def _start(forced: bool, form: ComponentSpec | None) -> str:
    if forced:
        return f"start: {json.dumps(OPEN)} calls"
    if form is None:
        return f"start: TEXT | head calls\n{_TEXT}\n{_HEAD}"
    return f"start: formed | {json.dumps(OPEN)} calls\nformed: %json {form.value}"


def _rules(number: int, tool: Tool) -> str:
    name, schema = tool.function.name, tool.function.parameters or {"type": "object", "properties": {}}
    head, tail = json.dumps(NAMED + name + GIVEN), json.dumps(CLOSE)
    return f"call_{number}: {head} given_{number} {tail}\ngiven_{number}: %json {json.dumps(schema)}"


def toolbox(asked: ChatRequest) -> Toolbox:
    """What `tools`, `tool_choice` and `parallel_tool_calls` come to.

    Raises:
        ApiError: 400 for a choice without tools, or of a tool that is not there.
    """
    tools, choice = tuple(asked.tools or ()), asked.tool_choice
    many = asked.parallel_tool_calls is not False
    _check_names(tools)
    if not tools and choice not in (None, "none", "auto"):
        raise invalid_value("tool_choice is set and there are no tools: give tools.", "tool_choice")
    if isinstance(choice, ToolChoice):
        return _chosen(choice, tools, many)
    if choice == "none":
        return Toolbox()
    return Toolbox(tools, choice == "required", many)


def _chosen(choice: ToolChoice, tools: Sequence[Tool], many: bool) -> Toolbox:
    if choice.type == "function":
        if choice.function is None:
            raise invalid_value("tool_choice.function is missing: name a tool.", "tool_choice.function")
        return Toolbox(_by_name([choice.function.name], tools, "tool_choice.function.name"), True, False)
    if choice.allowed_tools is None:
        raise invalid_value("tool_choice.allowed_tools is missing: name tools.", "tool_choice.allowed_tools")
    names = [each.function.name for each in choice.allowed_tools.tools]
    chosen = _by_name(names, tools, "tool_choice.allowed_tools.tools")
    return Toolbox(chosen, choice.allowed_tools.mode == "required", many)


def _by_name(names: Sequence[str], tools: Sequence[Tool], param: str) -> tuple[Tool, ...]:
    known = {tool.function.name: tool for tool in tools}
    for name in names:
        if name not in known:
            raise invalid_value(f"tool_choice names {shown(name)}: choose from {', '.join(known)}.", param)
    return tuple(known[name] for name in dict.fromkeys(names))


def _check_names(tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.function.name in seen:
            place = f"tools[{i}].function.name"
            raise invalid_value(
                f"{place} is {shown(tool.function.name)} a second time: give each tool a name of its own.", place
            )
        seen.add(tool.function.name)
