"""A prompt template: a Markdown file with front matter, whose body is Jinja in sections by role.

A line `# system`, `# user` or `# assistant` begins a section, outside fenced code. A body without such a line is one
section of the user. Sections are divided before anything is filled in, so that a value never makes a turn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput, format_value
from heatbath.serve.stack.prompts.front_matter import FrontMatter, PromptMistake, read_front_matter, read_text
from heatbath.serve.stack.prompts.sandbox import SectionTemplate, TurnBudget, compile_section
from heatbath.serve.stack.prompts.variables import MAX_CHARACTERS, Variable, fill_variables, read_variables

_KEYS = ("name", "version", "description", "variables", "samples", "model", "profile", "retrieval", "policy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_HEADING = re.compile(r"#\s+(system|user|assistant)\s*")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt with its variables filled in: messages of `role` and `content`, and the template that they are from."""

    template: PromptTemplate
    messages: tuple[Mapping[str, str], ...]

    def describe(self) -> dict[str, str]:
        """Return name, version and digest of the template."""
        return {"name": self.template.name, "version": self.template.version, "digest": self.template.digest}


@dataclass(frozen=True)
class NamedParts:
    """Names of other parts that a prompt is meant for: a model, a profile, an index for retrieval, a policy."""

    model: str | None = None
    profile: str | None = None
    retrieval: str | None = None
    policy: str | None = None


@dataclass(frozen=True, eq=False)
class PromptTemplate:
    """A version of a prompt.

    Attributes:
        digest: of the whole file, 64 hex digits of SHA-256.
        source: the content of the file.
        samples: sample values of the variables, on which the baseline is measured.
        sections: roles and their templates.
    """

    path: Path
    name: str
    version: str
    source: str
    description: str
    parts: NamedParts
    variables: Mapping[str, Variable]
    samples: tuple[Mapping[str, Any], ...]
    sections: tuple[tuple[str, SectionTemplate], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, with line feeds as line ends."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def reference(self) -> str:
        """The name and the version, as a request may write them."""
        return f"{self.name}@{self.version}"

    def render(self, variables: Mapping[str, Any] | None = None) -> RenderedPrompt:
        """Return the prompt with `variables` filled in. Values are data: their text becomes text of a message.

        Raises:
            BadInput: an unknown or missing variable, a value of another type, or a template that fails or writes more
                than `MAX_CHARACTERS`.
        """
        values = fill_variables(self.variables, variables or {}, self.reference)
        budget, room = TurnBudget(), MAX_CHARACTERS
        messages = []
        for role, section in self.sections:
            text = section.render(values, budget, room)
            room -= len(text)
            messages.append({"role": role, "content": text})
        return RenderedPrompt(self, tuple(messages))

    def describe(self) -> dict[str, Any]:
        """Return the template without its text, ready for JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "description": self.description,
            "variables": {name: variable.describe() for name, variable in self.variables.items()},
            "roles": [role for role, _ in self.sections],
            **{name: getattr(self.parts, name) for name in NamedParts.__dataclass_fields__},
        }


def read_template(path: Path) -> PromptTemplate:
    """Read a prompt file, and render its samples once.

    Raises:
        BadInput: a mistake, with file and line.
    """
    text = read_text(path)
    matter = read_front_matter(path, text)
    matter.check_keys(_KEYS)
    variables = read_variables(matter)
    template = PromptTemplate(
        path,
        _read_name(matter, "name"),
        _read_name(matter, "version"),
        text,
        _read_optional(matter, "description") or "",
        NamedParts(**{name: _read_optional(matter, name) for name in NamedParts.__dataclass_fields__}),
        variables,
        _read_samples(matter, variables),
        tuple(_compile_sections(matter, variables)),
    )
    _render_samples(matter, template)
    return template


def _read_name(matter: FrontMatter, key: str) -> str:
    """Return a name or a version, as it is written: 1.10 is not 1.1."""
    if key not in matter.values:
        raise matter.error(f"{key} is missing: give it in the front matter.")
    text = matter.texts.get((key,), "")
    if not _NAME.fullmatch(text):
        shown = format_value(matter.values[key])
        raise matter.error(f"{key} is {shown}: use up to 64 letters, digits and _ . + -, the first no sign.", key)
    return text


def _read_optional(matter: FrontMatter, key: str) -> str | None:
    value = matter.values.get(key)
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise matter.error(f"{key} is {format_value(value)}: give a text, or leave it out.", key)
    return value


def _read_samples(matter: FrontMatter, variables: Mapping[str, Variable]) -> tuple[Mapping[str, Any], ...]:
    """Return the samples; without any, the defaults are one if they are enough."""
    given = matter.values.get("samples") or []
    if not isinstance(given, list) or not all(isinstance(sample, dict) for sample in given):
        raise matter.error("samples is not a list of values by variable: write - name: value.", "samples")
    if not given and not any(variable.is_required for variable in variables.values()):
        return ({},)
    return tuple(given)


def _render_samples(matter: FrontMatter, template: PromptTemplate) -> None:
    """Render every sample, so that what is wrong is known before a request comes."""
    for i, sample in enumerate(template.samples):
        try:
            template.render(sample)
        except BadInput as error:
            if error.param is None:
                raise
            raise matter.error(f"samples[{i}] does not fit, {error}", "samples", i) from None


def _compile_sections(matter: FrontMatter, names: Mapping[str, Variable]) -> Iterator[tuple[str, SectionTemplate]]:
    """Yield the role and the template of each section."""
    found = list(_divide_body(matter))
    if not found:
        raise PromptMistake(matter.path, matter.body_line, "there is no text: write it after the front matter.")
    for i, (role, _, line) in enumerate(found):
        if role == "system" and i:
            raise PromptMistake(matter.path, line - 1, "the system section is not the first: move it to the top.")
    for role, source, line in found:
        yield role, compile_section(matter.path, source, line, names)


def _divide_body(matter: FrontMatter) -> Iterator[tuple[str, str, int]]:
    """Yield role, text and first line of each section; blank lines around the text are left out."""
    parts: list[tuple[str | None, list[str], int]] = [(None, [], matter.body_line)]
    fence = ""
    for number, line in enumerate(matter.body.split("\n"), start=matter.body_line):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.fullmatch(line)
        if heading is None:
            parts[-1][1].append(line)
        else:
            parts.append((heading[1], [], number + 1))
    for role, lines, start in parts:
        blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
        text = "\n".join(lines[blank:]).rstrip()
        if text and role is None and len(parts) > 1:
            sentence = "text stands before the first section: move it into one."
            raise PromptMistake(matter.path, start + blank, sentence)
        if not text and role is not None:
            sentence = f"the section {role} is empty: write its text, or take it out."
            raise PromptMistake(matter.path, start - 1, sentence)
        if text:
            yield role or "user", text, start + blank
