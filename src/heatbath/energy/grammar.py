"""A field that makes completions match a grammar: a JSON schema, a regular expression or a Lark grammar."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, validate_count, validate_stop_token_ids, validate_vocab_size
from heatbath.energy.grammar_search import find_shortest_match
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


class GrammarVocabulary(Protocol):
    """The properties of a vocabulary that a grammar reads; `heatbath.models.base.Vocabulary` has them."""

    @property
    def size(self) -> int: ...
    @property
    def stop_token_ids(self) -> Sequence[int]: ...
    @property
    def special_token_ids(self) -> Set[int]: ...


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
    nor could rule it out. Raises `BadInput` with the reason for a grammar that cannot be parsed or that no tokens can
    match, within `max_tokens` if given; `MissingExtra` without llguidance.
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
    ) -> None:
        self.vocab_size = vocabulary.size
        max_tokens = validate_count(max_tokens, f"`max_tokens` of field {self.name!r}")
        matcher = _build_matcher(grammar, _build_tokenizer(token_bytes, vocabulary), self.name)
        self._parser_states: PrefixMemo[ParserState] = PrefixMemo(ParserState(matcher), self._extend_parser_state)
        self._byte_energies = _build_byte_energies()
        search = find_shortest_match(
            matcher, self._compute_token_mask, self._read_token_bytes(token_bytes), max_tokens=max_tokens
        )
        if search.is_impossible:
            within = "" if max_tokens is None else f" within {max_tokens} tokens"
            message = f"field {self.name!r}: no completion in this vocabulary matches the grammar{within}."
            raise BadInput(message, param="fields", component=self.name)
        self.shortest_match_length = search.length

    @classmethod
    def from_json_schema(
        cls,
        schema: Mapping[str, Any] | str,
        token_bytes: Callable[[int], bytes],
        vocabulary: GrammarVocabulary,
        *,
        max_tokens: int | None = None,
    ) -> Grammar:
        """Build the grammar of JSON documents that are valid under `schema`, a mapping or JSON text."""
        try:
            text = json.dumps(json.loads(schema) if isinstance(schema, str) else schema)
        except (TypeError, ValueError) as error:
            message = f"field {cls.name!r}: the schema is not valid JSON: {error}."
            raise BadInput(message, param="fields", component=cls.name) from None
        return cls(f"start: %json {text}", token_bytes, vocabulary, max_tokens=max_tokens)

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
        # The library's own conversion, since a pattern has to be quoted inside a Lark grammar.
        (part,) = json.loads(_import_llguidance().LLMatcher.grammar_from_regex(pattern))["grammars"]
        return cls(part["lark_grammar"], token_bytes, vocabulary, max_tokens=max_tokens)

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
                message = f"field {self.name!r}: the grammar cannot be parsed further: {_format_parser_error(message)}"
                raise BadInput(message, param="fields", component=self.name)
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
    # With forcing, text that has only one continuation would get only one tokenization.
    matcher = _import_llguidance().LLMatcher(tokenizer, f'%llguidance {{"no_forcing": true}}\n{grammar}', log_level=0)
    if matcher.is_error():
        message = f"field {name!r}: the grammar cannot be parsed: {_format_parser_error(matcher.get_error())}"
        raise BadInput(message, param="fields", component=name)
    return matcher


def _build_byte_energies() -> npt.NDArray[np.float32]:
    """Build the energies of the eight tokens of every byte value of a mask, (256, 8)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, 0, np.inf).astype(np.float32)


def _has_bit(bits: Bits, place: int) -> bool:
    return bool(bits[place // 8] >> (place % 8) & 1)


def _format_parser_error(message: str) -> str:
    """Return the first sentence of an error on one line."""
    return " ".join(message.split("<state>")[0].split("\n   1 |")[0].split())


def _build_json_schema(context: BuildContext, schema: str | None = None, **object_: Any) -> Field:
    """A schema is itself an object, so its keys arrive as names."""
    text = json.dumps(object_) if schema is None else schema
    return Grammar.from_json_schema(text, context.token_bytes, context.model.vocabulary, max_tokens=context.max_tokens)


def _build_regex(context: BuildContext, pattern: str) -> Field:
    return Grammar.from_regex(
        str(pattern), context.token_bytes, context.model.vocabulary, max_tokens=context.max_tokens
    )


def _build_lark(context: BuildContext, grammar: str) -> Field:
    return Grammar(grammar, context.token_bytes, context.model.vocabulary, max_tokens=context.max_tokens)


SPECS = (
    Spec("json_schema", "field", _build_json_schema, '{"type": "object", …} or @file', order=90),
    Spec("regex", "field", _build_regex, "[0-9]+", order=100),
    Spec("lark", "field", _build_lark, '"start: …" or @file', order=110),
)
