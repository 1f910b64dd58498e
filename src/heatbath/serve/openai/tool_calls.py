"""Tool calls: the tools a model may, must or must not call, the grammar of a call, and the calls in a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from heatbath.energy.grammar import build_json_rule, build_regex_grammar
from heatbath.engine.base import ComponentSpec
from heatbath.engine.stop_strings import IncrementalDetokenizer, StopStrings
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.schema.chat import ChatRequest, Tool, ToolChoice
from heatbath.serve.openai.schema.response_bodies import ResponseFunction, ResponseMessage, ResponseToolCall
from heatbath.serve.openai.structured_output import JsonForm, build_json_form
from heatbath.serve.openai.validation import format_value

OPEN = "<tool_call>\n"
NAME = '{"name": "'
ARGUMENTS = '", "arguments": '
CLOSE = "}\n</tool_call>"
SEPARATOR = "\n"

# One token each: a text in which no call begins, and a text up to the place where the first one does.
_TEXT = f"TEXT: /(?s:.*)/ & ~/(?s:.*){OPEN.strip()}(?s:.*)/"
_HEAD = f"head[lazy]: /(?s:.*){OPEN.strip()}\\n/"


@dataclass(frozen=True)
class Toolbox:
    """The tools on offer; `required` allows no text without a call, `parallel` more than one call.

    `places` are those of the tools in the request.
    """

    tools: tuple[Tool, ...] = ()
    required: bool = False
    parallel: bool = True
    places: tuple[int, ...] = ()

    @cached_property
    def forms(self) -> dict[str, JsonForm]:
        """The forms of the arguments by name. Raises `ApiError`, 400, for a schema that cannot be served."""
        forms = {}
        for i, tool in enumerate(self.tools):
            param = f"tools[{self.places[i] if self.places else i}].function.parameters"
            schema = tool.function.parameters or {"type": "object", "properties": {}}
            forms[tool.function.name] = build_json_form(schema, param, strict=bool(tool.function.strict))
        return forms

    def grammar(self, form: ComponentSpec | None = None) -> ComponentSpec | None:
        """Return the field that admits calls or a text, of a `form` if one was asked for. None without tools.

        Raises:
            ApiError: 400 for a form that cannot be combined with tools.
        """
        if not self.tools:
            return None
        calls = " | ".join(f"call_{i}" for i in range(len(self.tools)))
        more = f" ({json.dumps(SEPARATOR + OPEN)} call)*" if self.parallel else ""
        rules = [_tool_rules(i, name, form) for i, (name, form) in enumerate(self.forms.items())]
        lines = [f"calls: call{more}", f"call: {calls}", *rules]
        return ComponentSpec("lark", "\n".join([_start_rules(self.required, form), *lines]))


NO_TOOLS = Toolbox()


def _start_rules(required: bool, form: ComponentSpec | None) -> str:
    if required:
        return f"start: {json.dumps(OPEN)} calls"
    if form is None:
        return f"start: TEXT | head calls\n{_TEXT}\n{_HEAD}"
    return f"start: formed | {json.dumps(OPEN)} calls\n{_form_rule(form)}"


def _form_rule(form: ComponentSpec) -> str:
    if form.name == "json_schema":
        return f"formed: {build_json_rule(json.loads(form.value))}"
    grammar = build_regex_grammar(form.value) if form.name == "regex" else str(form.value)
    head, start, rest = grammar.partition("start:")
    if head.strip() or "\n" in rest.strip():
        raise invalid_value("a grammar cannot be combined with tools: leave one out, or set tool_choice.", "tools")
    return f"formed:{rest}" if start else grammar


def _tool_rules(number: int, name: str, form: JsonForm) -> str:
    head, tail = json.dumps(NAME + name + ARGUMENTS), json.dumps(CLOSE)
    return f"call_{number}: {head} given_{number} {tail}\ngiven_{number}: {build_json_rule(form.enforced)}"


def build_toolbox(body: ChatRequest) -> Toolbox:
    """Return the toolbox of `tools`, `tool_choice` and `parallel_tool_calls`.

    Raises:
        ApiError: 400 for a choice without tools, or of a tool that does not exist.
    """
    tools, choice = tuple(body.tools or ()), body.tool_choice
    parallel = body.parallel_tool_calls is not False
    if not tools:
        if choice not in (None, "none", "auto"):
            raise invalid_value("tool_choice is set and there are no tools: give tools.", "tool_choice")
        return NO_TOOLS
    _check_names(tools)
    if isinstance(choice, ToolChoice):
        box = _toolbox_of_choice(choice, tools, parallel)
        return replace(box, places=tuple(tools.index(tool) for tool in box.tools))
    return NO_TOOLS if choice == "none" else Toolbox(tools, choice == "required", parallel)


def _toolbox_of_choice(choice: ToolChoice, tools: Sequence[Tool], parallel: bool) -> Toolbox:
    if choice.type == "function":
        if choice.function is None:
            raise invalid_value("tool_choice.function is missing: name a tool.", "tool_choice.function")
        return Toolbox(_select_tools([choice.function.name], tools, "tool_choice.function.name"), True, False)
    if choice.allowed_tools is None:
        raise invalid_value("tool_choice.allowed_tools is missing: name tools.", "tool_choice.allowed_tools")
    names = [tool.function.name for tool in choice.allowed_tools.tools]
    selected = _select_tools(names, tools, "tool_choice.allowed_tools.tools")
    return Toolbox(selected, choice.allowed_tools.mode == "required", parallel)


def _select_tools(names: Sequence[str], tools: Sequence[Tool], param: str) -> tuple[Tool, ...]:
    known = {tool.function.name: tool for tool in tools}
    for name in names:
        if name not in known:
            raise invalid_value(f"tool_choice names {format_value(name)}: choose from {', '.join(known)}.", param)
    return tuple(known[name] for name in dict.fromkeys(names))


def _check_names(tools: Sequence[Tool]) -> None:
    names: set[str] = set()
    for i, tool in enumerate(tools):
        name, param = tool.function.name, f"tools[{i}].function.name"
        if name in names:
            message = f"{param} is {format_value(name)} a second time: give each tool a name of its own."
            raise invalid_value(message, param)
        names.add(name)


@dataclass(frozen=True)
class TextDelta:
    """More text outside of calls."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """The start of call `index`, when the name of its tool is complete."""

    index: int
    name: str


@dataclass(frozen=True)
class ArgumentsDelta:
    """More of the arguments of call `index`."""

    index: int
    text: str


Delta = TextDelta | CallStart | ArgumentsDelta
_MARKERS = {"text": StopStrings((OPEN,)), "name": StopStrings((ARGUMENTS,)), "arguments": StopStrings((CLOSE,))}
"""The marker that ends each part of a text with calls."""
_NEXT = {"text": "name", "name": "arguments", "arguments": "text"}


class ToolCallReader:
    """Incremental parser of one text, whose calls have the form that the grammar of the toolbox gives them.

    What could be the beginning of a marker is held back until that is clear; `finish` returns it at the end. `count` is
    that of the calls that have begun.
    """

    def __init__(self) -> None:
        self.count = 0
        self._part, self._name = "text", ""
        self._blank, self._shows_text = "", False
        self._scanner = IncrementalDetokenizer(_MARKERS["text"])

    @property
    def has_complete_calls(self) -> bool:
        """True if there are calls, and the text does not end within one."""
        return self.count > 0 and self._part == "text"

    def push(self, text: str) -> list[Delta]:
        """Return what `text` adds."""
        deltas: list[Delta] = []
        while True:
            deltas += self._deltas(self._scanner.push_text(text))
            if self._scanner.matched_stop is None:
                return deltas
            text = self._scanner.rest
            if self._part == "name":
                deltas.append(CallStart(self.count, self._name.removeprefix(NAME)))
                self.count, self._name = self.count + 1, ""
            self._part = _NEXT[self._part]
            self._blank, self._shows_text = "", False
            self._scanner = IncrementalDetokenizer(_MARKERS[self._part])

    def finish(self) -> list[Delta]:
        """Return what was held back, now that the text is complete."""
        return self._deltas(self._scanner.flush())

    def _deltas(self, text: str) -> list[Delta]:
        if not text:
            return []
        if self._part == "arguments":
            return [ArgumentsDelta(self.count - 1, text)]
        if self._part == "name":
            self._name += text
            return []
        # Between two calls there is nothing but a line break, which is text only where other text follows.
        self._blank += text
        if self.count and not self._blank.strip() and not self._shows_text:
            return []
        text, self._blank, self._shows_text = self._blank, "", True
        return [TextDelta(text)]


def parse_calls(text: str, id_prefix: str) -> tuple[ResponseMessage, bool]:
    """Return the message of a text that may hold calls, and whether it holds calls and all are complete."""
    reader = ToolCallReader()
    content = ""
    calls: list[ResponseToolCall] = []
    for delta in [*reader.push(text), *reader.finish()]:
        if isinstance(delta, TextDelta):
            content += delta.text
        elif isinstance(delta, CallStart):
            calls.append(ResponseToolCall(id=f"{id_prefix}_{delta.index}", function=ResponseFunction(delta.name, "")))
        else:
            calls[delta.index].function.arguments += delta.text
    if not calls:
        return ResponseMessage(content=content), False
    return ResponseMessage(content=content or None, tool_calls=calls), reader.has_complete_calls


def replace_arguments(text: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return a text whose calls have other arguments; `changes` are those of each call, before and after."""
    done = ""
    for before, after in changes:
        head, _, text = text.partition(ARGUMENTS + before)
        done += head + ARGUMENTS + after
    return done + text
