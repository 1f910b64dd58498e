"""The templates of sections: Jinja in a sandbox, without loading of files, with limits on loops and sizes.

Values come from requests, so that every operation whose result may be much larger than its operands is bounded or not
offered: loops count their turns, text is joined within a limit, and of methods and filters there is a short list.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError, TemplateAssertionError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import pass_context
from jinja2.visitor import NodeTransformer

from heatbath.errors import BadInput
from heatbath.serve.stack.prompts.front_matter import PromptMistake
from heatbath.serve.stack.prompts.variables import MAX_CHARACTERS

MAX_TURNS = 10_000
"""The turns that all loops of a prompt may have together."""

_BUDGET = "_turns"
_FILTERS = (
    "abs capitalize count d default first float int last length list lower max min reverse round sort string sum title "
    "trim truncate unique upper wordcount"
)
_TEXT_METHODS = (
    "capitalize count endswith find isdigit lower lstrip removeprefix removesuffix rstrip split splitlines startswith "
    "strip title upper"
)
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.AssignBlock: "set without =",
}
"""Statements that read other files, recurse, or hold their output back."""


class LimitExceeded(Exception):
    """A rendering went over a limit; the text says which, and what to do."""


@dataclass
class TurnBudget:
    """The turns that loops have left."""

    left: int = MAX_TURNS

    def spend(self) -> None:
        """Count a turn. Raises `LimitExceeded`."""
        self.left -= 1
        if self.left < 0:
            raise LimitExceeded(f"its loops have more than {MAX_TURNS} turns: loop over less")


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """The environment of prompts."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_format_output, keep_trailing_newline=True)
        self.filters = {name: FILTERS[name] for name in _FILTERS.split()}
        self.filters |= {"join": _join, "replace": _replace, "tojson": _to_json}
        self.filters |= {_COUNT: _count_turns, _CONCATENATE: _concatenate}
        self.globals = {"range": safe_range}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return the result of an operation, whose size is bounded."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"the operator {operator} is not offered for these values")
        if operator in "+*" and not (_is_numeric(left) and _is_numeric(right)):
            _check_size(_predict_size(operator, left, right))
        value = super().call_binop(context, operator, left, right)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise LimitExceeded("it computes a number of more than 63 bits: use smaller ones")
        return value

    def wrap_str_format(self, value: Any) -> None:
        """Return None, so that `format` is a method like any other, and none of those that are offered."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether templates may read an attribute: a few of texts, dictionaries and loops."""
        if isinstance(obj, str):
            return attr in _TEXT_METHODS.split()
        if isinstance(obj, dict):
            return attr in ("items", "keys", "values", "get")
        return isinstance(obj, LoopContext) and super().is_safe_attribute(obj, attr, value)


class _LimitedNodes(NodeTransformer):
    """Counts the turns of loops, and joins texts within the limit."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        if node.recursive:
            raise TemplateAssertionError("recursive loops are not offered", node.lineno)
        node.iter = _filter_node(_COUNT, node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter_node(_CONCATENATE, nodes.List(node.nodes, lineno=node.lineno))


_COUNT, _CONCATENATE = "_count", "_concatenate"


def _filter_node(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


@pass_context
def _count_turns(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    budget: Any = context.resolve(_BUDGET)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SecurityError(f"a loop goes over {type(values).__name__}, not over a list")
    for value in values:
        budget.spend()
        yield value


def _concatenate(values: Iterable[Any]) -> str:
    return _join([_format_output(value) for value in values])


def _join(values: Iterable[Any], separator: str = "") -> str:
    texts = [str(value) for value in values]
    _check_size(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    _check_size(len(text) + str(text).count(old) * len(new))
    return str(text).replace(old, new)


def _to_json(value: Any) -> str:
    pieces, size = [], 0
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        size += len(piece)
        _check_size(size)
        pieces.append(piece)
    return "".join(pieces)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, int | float)


def _predict_size(operator: str, left: Any, right: Any) -> int:
    """Return the length of a sum or product of which one operand at least is a text or a list."""
    if operator == "+":
        return sum(len(value) for value in (left, right) if hasattr(value, "__len__"))
    many, times = (right, left) if _is_numeric(left) else (left, right)
    return len(many) * max(0, int(times)) if hasattr(many, "__len__") and _is_numeric(times) else 0


def _check_size(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise LimitExceeded(f"it is longer than {MAX_CHARACTERS} characters: shorten the variables")


def _format_output(value: Any) -> Any:
    """Return a value as it is written: texts and numbers as they are, true and false as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) or not isinstance(value, list | tuple | dict | Iterator | type(None)):
        return str(value)
    raise SecurityError(f"a {type(value).__name__} is written as text: join a list, or use tojson")


@dataclass(frozen=True, eq=False)
class SectionTemplate:
    """A template that is part of a file; messages name the lines of the file."""

    path: Path
    line: int
    template: Template

    def render(self, values: Mapping[str, Any], budget: TurnBudget, room: int) -> str:
        """Return the text of at most `room` characters.

        Raises:
            BadInput: the template fails, loops too long or writes too much; the message begins with file and line.
        """
        pieces: list[str] = []
        size = 0
        try:
            for piece in self.template.generate({**values, _BUDGET: budget}):
                size += len(piece)
                if size > room:
                    raise LimitExceeded(f"it is longer than {MAX_CHARACTERS} characters: shorten the variables")
                pieces.append(piece)
        except Exception as error:
            raise PromptMistake(self.path, self._find_line(error), f"the template fails, {_describe(error)}.") from None
        return "".join(pieces)

    def _find_line(self, error: Exception) -> int:
        """Return the line of the file at which an error came up."""
        places = [
            line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(self.path)
        ]
        return places[-1] if places else self.line


def _describe(error: Exception) -> str:
    """Return an error of a template in words, on one line and short."""
    if isinstance(error, LimitExceeded | SecurityError | UndefinedError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200].rstrip(".")


def compile_section(path: Path, source: str, line: int, names: Iterable[str]) -> SectionTemplate:
    """Compile the template `source`, which begins at `line` of the file; it may use the variables `names`.

    Raises:
        BadInput: a mistake, with file and line.
    """
    environment = PromptEnvironment()
    try:
        tree = environment.parse(source)
        for node in tree.find_all(nodes.Node):
            if type(node) in _REFUSED:
                raise TemplateAssertionError(f"{_REFUSED[type(node)]} is not offered", node.lineno)
        _check_names(tree, set(names))
        _LimitedNodes().visit(tree)
        for node in tree.find_all(nodes.Node):
            node.lineno = (node.lineno or 1) + line - 1
        code = environment.compile(tree, name=path.name, filename=str(path))
    except TemplateSyntaxError as error:
        wrong = error.lineno if error.lineno is None or error.filename == str(path) else error.lineno + line - 1
        raise PromptMistake(path, wrong or line, f"the template has a mistake ({_describe_syntax(error)}).") from None
    except (RecursionError, BadInput, SyntaxError, MemoryError) as error:
        raise PromptMistake(path, line, f"the template cannot be compiled ({_describe(error)}).") from None
    return SectionTemplate(path, line, Template.from_code(environment, code, environment.globals))


def _describe_syntax(error: TemplateSyntaxError) -> str:
    return " ".join((error.message or "not Jinja").split())[:200].rstrip(".")


def _check_names(tree: nodes.Template, names: set[str]) -> None:
    """Raise `TemplateSyntaxError` at the first use of a variable that is not declared."""
    unknown = (meta.find_undeclared_variables(tree) | {"self"}) - names - {"range"}
    for node in tree.find_all(nodes.Name):
        if node.name in unknown and node.ctx == "load":
            declared = f"there are {', '.join(sorted(names))}" if names else "there are none"
            raise TemplateAssertionError(f"{node.name} is not among the variables, {declared}", node.lineno)
