"""Source code: a section for each definition of its syntax tree (tree-sitter), by qualified name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import MissingExtra
from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument, decode_text

_C_FAMILY = ("function_definition", "struct_specifier", "enum_specifier", "union_specifier", "type_definition")
_GRAMMARS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "python": ("tree_sitter_python", "language", (".py", ".pyi")),
    "javascript": ("tree_sitter_javascript", "language", (".js", ".mjs", ".cjs", ".jsx")),
    "typescript": ("tree_sitter_typescript", "language_typescript", (".ts",)),
    "tsx": ("tree_sitter_typescript", "language_tsx", (".tsx",)),
    "java": ("tree_sitter_java", "language", (".java",)),
    "go": ("tree_sitter_go", "language", (".go",)),
    "rust": ("tree_sitter_rust", "language", (".rs",)),
    "c": ("tree_sitter_c", "language", (".c", ".h")),
    "cpp": ("tree_sitter_cpp", "language", (".cc", ".cpp", ".cxx", ".hpp", ".hh")),
}
_LANGUAGES = {suffix: name for name, (_, _, suffixes) in _GRAMMARS.items() for suffix in suffixes}
_WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration"})
_DEFINITIONS = frozenset(
    {
        *("function_definition", "class_definition", "function_declaration", "generator_function_declaration"),
        *("class_declaration", "abstract_class_declaration", "interface_declaration", "enum_declaration"),
        *("method_definition", "method_declaration", "constructor_declaration", "record_declaration"),
        *("function_item", "struct_item", "enum_item", "trait_item", "impl_item", "mod_item", "type_declaration"),
        *("class_specifier", "namespace_definition", "internal_module", *_C_FAMILY),
    }
)
_BODIES = frozenset(
    {
        *("block", "class_body", "interface_body", "enum_body", "declaration_list", "field_declaration_list"),
        *("statement_block",),
    }
)
_TRANSPARENT = frozenset(
    {
        *("preproc_ifdef", "preproc_if", "preproc_else", "preproc_elif", "linkage_specification", "declaration_list"),
        *("if_statement", "else_clause", "try_statement", "except_clause", "block"),
    }
)
"""Nodes that hold definitions and add nothing to their names: conditions of a preprocessor, `extern "C"` and `if`."""
_CONTAINERS = frozenset(
    {
        *("class_definition", "class_declaration", "abstract_class_declaration", "interface_declaration"),
        *("trait_item", "impl_item", "mod_item", "class_specifier", "namespace_definition", "internal_module"),
    }
)
Ints = npt.NDArray[np.int64]
Span = tuple[int, int, str]
"""First and last byte of a definition, and its qualified name."""


def load(content: bytes, name: str) -> LoadedDocument:
    """Load source code in UTF-8: sections are definitions, methods among them, and what stands between them.

    Raises:
        BadInput: binary data, or another encoding.
        MissingExtra: without the extra `retrieval`.
    """
    text, title = decode_text(content, name), PurePath(name).name
    language = _LANGUAGES[PurePath(name).suffix.lower()]
    encoded = text.encode()
    grammar = _load_grammar(language)
    spans = list(_find_definitions(_build_parser(grammar).parse(encoded).root_node, ""))
    sections = tuple(_build_sections(text, title, spans, _code_points(encoded)))
    return LoadedDocument(text, title, sections, {"language": language})


def _build_parser(grammar: Any) -> Any:
    import tree_sitter

    return tree_sitter.Parser(grammar)


@cache
def _load_grammar(language: str) -> Any:
    module, function, _ = _GRAMMARS[language]
    try:
        import tree_sitter

        return tree_sitter.Language(getattr(import_module(module), function)())
    except ImportError as error:
        raise MissingExtra("reading source code", "retrieval") from error


def _code_points(encoded: bytes) -> Ints:
    """Return how many code points begin before each byte, (bytes + 1,)."""
    is_first = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
    return np.concatenate([[0], np.cumsum(is_first)])


def _find_definitions(node: Any, prefix: str) -> Iterator[Span]:
    """Yield the definitions below a node in order; those inside functions belong to them."""
    for child in node.children:
        inner = _unwrap(child)
        if inner is None:
            if child.type in _TRANSPARENT:
                yield from _find_definitions(child, prefix)
            continue
        name = f"{prefix}{_find_name(inner)}"
        body = inner.child_by_field_name("body") or next(
            (each for each in inner.children if each.type in _BODIES), None
        )
        nested = list(_find_definitions(body, f"{name}.")) if inner.type in _CONTAINERS and body is not None else []
        if not nested:
            yield child.start_byte, child.end_byte, name
            continue
        yield child.start_byte, nested[0][0], name
        yield from _fill_gaps(nested, child.end_byte, name)


def _fill_gaps(nested: list[Span], end: int, name: str) -> Iterator[Span]:
    """Yield definitions within a container, and what stands between and after them under the container's name."""
    place = nested[0][0]
    for span in nested:
        if span[0] > place:
            yield place, span[0], name
        yield span
        place = span[1]
    if place < end:
        yield place, end, name


def _unwrap(node: Any) -> Any:
    """Return the definition that a node is, or holds below a decorator, an export or a template; None if it is none."""
    if node.type in _WRAPPERS:
        return next((found for child in node.children if (found := _unwrap(child)) is not None), None)
    return node if node.type in _DEFINITIONS else None


def _find_name(node: Any) -> str:
    """Return the name of a definition: its field `name` or `type`, or, in C, that of the innermost declarator."""
    found = node.child_by_field_name("name") or node.child_by_field_name("type")
    declarator = node.child_by_field_name("declarator")
    while declarator is not None:
        found, declarator = declarator, declarator.child_by_field_name("declarator")
    if found is None:
        found = next((each for each in node.children if each.child_by_field_name("name") is not None), None)
        found = None if found is None else found.child_by_field_name("name")
    return "" if found is None else found.text.decode("utf-8", "replace")


def _build_sections(
    text: str, title: str, spans: list[Span], points: npt.NDArray[np.int64]
) -> Iterator[DocumentSection]:
    """Yield sections that cover the text: comments and blank lines above a definition go with it."""
    place = 0
    for start, end, name in spans:
        begin = _comment_start(text, place, int(points[start]))
        if text[place:begin].strip():
            yield DocumentSection(place, begin, title)
        stop = int(points[end])
        if text[begin:stop].strip():
            yield DocumentSection(begin, stop, name or title)
        place = max(place, stop)
    if text[place:].strip():
        yield DocumentSection(place, len(text), title)


def _comment_start(text: str, low: int, start: int) -> int:
    """Return where the comment lines directly above `start` begin, at `low` at the earliest."""
    line = max(low, text.rfind("\n", low, start) + 1)
    if text[line:start].strip():
        return start
    while line > low:
        above = max(low, text.rfind("\n", low, line - 1) + 1)
        if not text[above:line].lstrip().startswith(("#", "//", "/*", "*")):
            break
        line = above
    return line
