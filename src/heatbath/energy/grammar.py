"""A field that makes completions match a grammar: a JSON schema, a regular expression or a Lark grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, validate_count, validate_stop_token_ids, validate_vocab_size
from heatbath.energy.grammar_guard import GrammarVocabulary, build_grammar_error
from heatbath.energy.grammar_search import find_shortest_match, has_no_match
from heatbath.energy.json_schema import parse_schema, validate_numbers
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.spec import BuildContext, Spec
from heatbath.energy.vocab_bytes import build_cached
from heatbath.errors import BadInput, MissingExtra

Bits = npt.NDArray[np.uint8]

# Sets of tokens whose masks are computed once. Text inside a JSON string is divided by length more finely than by the
# library's default; otherwise a string that may have few more characters would be tried token by token.
_JSON_CHARACTER = r'[^"\\\x00-\x1F\x7F]'
_SLICES = [
    r"[\x20\x0A\x0D\x09]+",
    *(_JSON_CHARACTER + f"{{1,{n}}}" for n in (3, 6, 9, 12, 16, 30)),
    _JSON_CHARACTER + "+",
]

# White space between the tokens of JSON: a blank, or a line end and some indentation. Without a bound, a model that
# has put white space into its context may go on with it until the answer is cut.
_JSON_OPTIONS = {"whitespace_pattern": r"( |\n[ \t]{0,12})?", "json_allow_general_unicode_escapes": True}
# As the library has them by default, but for the states of the lexer, whose memory they bound.
_LIMITS = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_items_in_row": 2000,
    "max_lexer_states": 50_000,
    "verbose_errors": False,
}
_MAX_DEPTH = 256
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|[()\[\]{}]', re.DOTALL)


@dataclass
class ParserState:
    """The state of a parser after some tokens: `matcher`, None if they are not a prefix of a match."""

    matcher: Any
    bits: Bits | None = field(default=None, repr=False)


class Grammar(Field):
    r"""Energy +inf for each token after which the completion is not a prefix of a match, (B, V).

    $E(v) = \infty$ unless some match of the grammar begins with the bytes of the completion followed by $v$. Stop
    tokens are allowed exactly where the completion is a match; control tokens have no text and are never allowed. Every
    tokenization of a match is allowed. The work of each step is in the record, so that completions can be weighted.

    `grammar` is a Lark grammar whose rule `start` completions match; `from_json_schema` and `from_regex` build one.
    `shortest_match_length` is the fewest tokens of a match that was found, None if the bounded search neither found one
    nor could rule it out, or there was none (`search=False`). Raises `BadInput` with the reason for a grammar that
    cannot be parsed or that no tokens can match, within `max_tokens` if given; `MissingExtra` without llguidance.
    Source: the llguidance library.
    """

    name = "grammar"

    def __init__(
        self,
        grammar: str,
        token_bytes: Callable[[int], bytes],
        vocabulary: GrammarVocabulary,
        *,
        max_tokens: int | None = None,
        search: bool = True,
    ) -> None:
        self.vocab_size = vocabulary.size
        max_tokens = validate_count(max_tokens, f"`max_tokens` of field {self.name!r}")
        matcher = _build_matcher(grammar, _build_tokenizer(token_bytes, vocabulary), self.name)
        self._parser_states: PrefixMemo[ParserState] = PrefixMemo(ParserState(matcher), self._extend_parser_state)
        self._byte_energies = _build_byte_energies()
        self.shortest_match_length: int | None = None
        if not search:
            return
        found = find_shortest_match(
            matcher, self._compute_token_mask, self._read_token_bytes(token_bytes), max_tokens=max_tokens
        )
        if found.is_impossible:
            raise build_grammar_error(self.name, _format_no_match(max_tokens))
        self.shortest_match_length = found.length

    def require_match(self, token_bytes: Callable[[int], bytes]) -> None:
        """Raise `BadInput` if a short search proves that no tokens match."""
        if has_no_match(self._parser_states([]).matcher, self._compute_token_mask, self._read_token_bytes(token_bytes)):
            raise build_grammar_error(self.name, _format_no_match(None))

    @classmethod
    def from_json_schema(
        cls,
        schema: Mapping[str, Any] | str,
        token_bytes: Callable[[int], bytes],
        vocabulary: GrammarVocabulary,
        *,
        max_tokens: int | None = None,
    ) -> Grammar:
        """Build the grammar of JSON documents that are valid under `schema`, a mapping or JSON text.

        White space is bounded: between two tokens at most a blank, or a line end with up to 12 blanks or tabs.
        """
        return cls(build_schema_grammar(schema), token_bytes, vocabulary, max_tokens=max_tokens)

    @classmethod
    def from_regex(
        cls,
        pattern: str,
        token_bytes: Callable[[int], bytes],
        vocabulary: GrammarVocabulary,
        *,
        max_tokens: int | None = None,
    ) -> Grammar:
        """Build the grammar of full matches of `pattern`, in the syntax of Rust's regex library."""
        return cls(build_regex_grammar(pattern), token_bytes, vocabulary, max_tokens=max_tokens)

    def __call__(self, context: Context) -> Table:
        validate_vocab_size(context, self.vocab_size, self.name)
        ending = validate_stop_token_ids(context, self.name)
        octets = -(-self.vocab_size // 8)
        table = np.empty((len(context), octets, 8), np.float32)
        energies = table.reshape(len(context), -1)[:, : self.vocab_size]
        for row in range(len(context)):
            if context.is_finished(row):
                energies[row] = 0
                continue
            bits = self._token_mask(self._parser_states(context.completion(row)))
            # Seven times as fast as indexing; a byte is never out of bounds.
            np.take(self._byte_energies, bits[:octets], axis=0, out=table[row], mode="clip")
            energies[row, ending] = 0 if _has_bit(bits, self.vocab_size) else np.inf
        return energies

    def token_mask(self, tokens: Sequence[int]) -> Bits:
        """Return one bit for each token that may follow `tokens`, and one more for a match."""
        return self._token_mask(self._parser_states(tokens))

    def _token_mask(self, parse: ParserState) -> Bits:
        """Return one bit per token, and one more that is set if the text so far is a match."""
        if parse.bits is None:
            parse.bits = self._compute_token_mask(parse.matcher)
        return parse.bits

    def _compute_token_mask(self, matcher: Any) -> Bits:
        words = np.zeros((self.vocab_size + 32) // 32, np.uint32)
        if matcher is None:
            return words.view(np.uint8)
        matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if matcher.is_error():
            message = matcher.get_error()
            # NoExtension is a dead end of this vocabulary; anything else is a limit of the parser.
            if not message.startswith("NoExtension"):
                reason = f"the grammar cannot be parsed further: {_format_parser_error(message)}"
                raise build_grammar_error(self.name, reason)
            words[:] = 0
        return words.view(np.uint8)

    def _extend_parser_state(self, parse: ParserState, tokens: Sequence[int]) -> ParserState:
        if parse.matcher is None:
            return parse
        matcher = parse.matcher.deep_copy()
        return ParserState(matcher if matcher.try_consume_tokens(list(tokens)) == len(tokens) else None)

    def _read_token_bytes(self, token_bytes: Callable[[int], bytes]) -> list[bytes]:
        return [bytes(token_bytes(token)) for token in range(self.vocab_size)]


class _LLGuidanceVocabulary:
    """A vocabulary in the form that llguidance reads, with one more token that ends the text."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: Set[int]) -> None:
        self.eos_token_id = len(tokens)
        self.tokens = [*tokens, b"\xff<end>"]
        self.special_token_ids = [*sorted(special), self.eos_token_id]
        self.is_tokenizer_wrapper = True

    def __call__(self, text: str) -> list[int]:
        raise NotImplementedError("forcing is off, so that no text has to be tokenized")


def _import_llguidance() -> Any:
    try:
        import llguidance
    except ImportError:
        raise MissingExtra("the grammar field", "grammar") from None
    return llguidance


def _build_tokenizer(token_bytes: Callable[[int], bytes], vocabulary: GrammarVocabulary) -> Any:
    special = frozenset(vocabulary.special_token_ids) | frozenset(vocabulary.stop_token_ids)

    def build() -> Any:
        tokens = _LLGuidanceVocabulary([bytes(token_bytes(token)) for token in range(vocabulary.size)], special)
        return _import_llguidance().LLTokenizer(tokens, n_vocab=vocabulary.size + 1, slices=_SLICES)

    return build_cached(token_bytes, ("llguidance", special), build)


def _build_matcher(grammar: str, tokenizer: Any, name: str) -> Any:
    library = _import_llguidance()
    # With forcing, text that has only one continuation would get only one tokenization.
    text = f'%llguidance {{"no_forcing": true}}\n{grammar}'
    matcher = library.LLMatcher(tokenizer, text, log_level=0, limits=library.LLParserLimits(**_LIMITS))
    if matcher.is_error():
        reason = f"the grammar cannot be parsed: {_format_parser_error(matcher.get_error())}"
        raise build_grammar_error(name, reason)
    return matcher


def _build_byte_energies() -> npt.NDArray[np.float32]:
    """Build the energies of the eight tokens of every byte value of a mask, (256, 8)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, 0, np.inf).astype(np.float32)


def _has_bit(bits: Bits, place: int) -> bool:
    return bool(bits[place // 8] >> (place % 8) & 1)


def _format_no_match(max_tokens: int | None) -> str:
    within = "" if max_tokens is None else f" within {max_tokens} tokens"
    return f"no completion in this vocabulary matches the grammar{within}."


def _format_parser_error(message: str) -> str:
    """Return the first sentence of an error on one line, with the line of the grammar as it was given."""
    text = " ".join(message.split("<state>")[0].split("\n   1 |")[0].split())
    text = re.sub(r"^at \d+\(\d+\): failed to compile JSON schema: ", "", text)
    return re.sub(r"^at (\d+)\((\d+)\): ", lambda place: f"line {int(place[1]) - 1}, column {place[2]}: ", text)


def build_json_rule(schema: Any) -> str:
    """Return the JSON documents that are valid under a schema as the right side of a rule in a Lark grammar.

    Raises `BadInput` for a number that cannot be enforced exactly. An `x-guidance` in the schema has options of the
    library, which replace the bound of white space.
    """
    validate_numbers(schema)
    if schema is True:
        schema = {}
    if isinstance(schema, Mapping):
        schema = {**schema, "x-guidance": {**_JSON_OPTIONS, **schema.get("x-guidance", {})}}
    return f"%json {json.dumps(schema)}"


def build_schema_grammar(schema: Mapping[str, Any] | str) -> str:
    """Return the grammar of JSON documents that are valid under `schema`, a mapping or JSON text."""
    try:
        return "start: " + build_json_rule(parse_schema(schema) if isinstance(schema, str) else schema)
    except BadInput as error:
        raise build_grammar_error(Grammar.name, str(error)) from None
    except (TypeError, ValueError) as error:
        raise build_grammar_error(Grammar.name, f"the schema is not valid JSON: {error}.") from None


def build_regex_grammar(pattern: str) -> str:
    """Return the grammar of full matches of a regular expression."""
    # The library's own conversion, since a pattern has to be quoted inside a Lark grammar.
    (part,) = json.loads(_import_llguidance().LLMatcher.grammar_from_regex(pattern))["grammars"]
    return str(part["lark_grammar"])


def build_avoidance_grammar(pattern: str, *, ignore_case: bool = False) -> str:
    """Return the grammar of texts that contain no match of a regular expression of Rust's regex library.

    Raises `BadInput` for a pattern that it cannot read, such as one with look-around.
    """
    inner = f"(?s:.*)(?{'i' * ignore_case}:{pattern})(?s:.*)"
    (quoted,) = re.findall(r"^start: (/.*/s?)$", build_regex_grammar(inner), re.MULTILINE)
    grammar = f"start: TEXT\nTEXT: /(?s:.*)/ & ~{quoted}"
    problem = _import_llguidance().LLMatcher.validate_grammar(grammar)
    if problem:
        raise build_grammar_error(
            Grammar.name, f"the pattern {pattern!r:.60} cannot be forbidden: {_format_parser_error(problem)}"
        )
    return grammar


def build_field_grammar(name: str, value: Any) -> str | None:
    """Return the text of the grammar that a field asked for by name compiles; None for fields of other kinds.

    Raises `BadInput` for one that is nested too deep.
    """
    grammar = _build_field_grammar(name, value)
    if grammar is not None and _nesting_depth(grammar) > _MAX_DEPTH:
        raise build_grammar_error(Grammar.name, f"the grammar is nested more than {_MAX_DEPTH} deep: flatten it.")
    return grammar


def _build_field_grammar(name: str, value: Any) -> str | None:
    if name == "json_schema":
        return build_schema_grammar(value)
    if name == "regex":
        return build_regex_grammar(str(value))
    if name == "forbid_regex":
        return build_avoidance_grammar(**value) if isinstance(value, Mapping) else build_avoidance_grammar(str(value))
    return str(value) if name == "lark" else None


def _nesting_depth(text: str) -> int:
    """Return the most brackets that are open at a place outside of quoted texts."""
    depth = most = 0
    for piece in _BRACKETS.findall(text):
        if piece in "([{":
            depth += 1
            most = max(most, depth)
        elif piece in ")]}":
            depth -= 1
    return most


def _build_from_text(context: BuildContext, grammar: str) -> Field:
    """Build the field, from a grammar that the guard of the context has found usable, if there is a guard.

    A completion that `max_tokens` cuts is cut, whatever the grammar; only one without any match is refused.
    """
    guard = context.grammar_guard
    if guard is not None:
        guard.check(grammar).result().require_usable(Grammar.name, guard.limits)
    field = Grammar(grammar, context.token_bytes, context.model.vocabulary, search=False)
    if guard is None:
        field.require_match(context.token_bytes)
    return field


def _build_json_schema(context: BuildContext, schema: str | None = None, **object_: Any) -> Field:
    """A schema is itself an object, so its keys arrive as names."""
    return _build_from_text(context, build_schema_grammar(object_ if schema is None else schema))


def _build_regex(context: BuildContext, pattern: str) -> Field:
    return _build_from_text(context, build_regex_grammar(str(pattern)))


def _build_forbid_regex(context: BuildContext, pattern: str, *, ignore_case: bool = False) -> Field:
    return _build_from_text(context, build_avoidance_grammar(str(pattern), ignore_case=ignore_case))


def _build_lark(context: BuildContext, grammar: str) -> Field:
    return _build_from_text(context, grammar)


SPECS = (
    Spec("json_schema", "field", _build_json_schema, '{"type": "object", …} or @file', order=90),
    Spec("regex", "field", _build_regex, "[0-9]+", order=100),
    Spec("forbid_regex", "field", _build_forbid_regex, "sk-[a-z0-9]{8}", order=105),
    Spec("lark", "field", _build_lark, '"start: …" or @file', order=110),
)
