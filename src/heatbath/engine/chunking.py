"""Split documents into chunks of tokens that fit the context of a model, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOBase
from itertools import islice

from heatbath.energy.casefold import split_incomplete_character
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens

Document = str | Tokens | TextIOBase
"""A text, its tokens, or a file to read it from."""

_BLOCK_CHARACTERS = 1 << 16
_SPLIT_MARGIN = 32


@dataclass(frozen=True)
class Chunk:
    """A chunk of document `sequence`: the last `num_scored` of `tokens` are scored, the others are their context.

    `position` is that of the first scored token in its document.
    """

    sequence: int
    position: int
    tokens: Tokens
    num_scored: int


@dataclass(frozen=True)
class Stride:
    """The lengths of chunks: at most `max_tokens` (None: no limit), with `start_token_ids` before each document.

    Once the context is full, half of it is kept before the next new half, so that every token is scored once with at
    least half a context before it.
    """

    max_tokens: int | None
    start_token_ids: Tokens = ()


def build_stride(model: Model, *, bos: bool, context: int | None) -> Stride:
    """Return the stride for a model; `context` may shorten the model's own context.

    Raises:
        BadInput: the model has no document start although `bos` asks for it, or the context is too short.
    """
    if bos and not model.vocabulary.start_token_ids:
        raise BadInput(f"{model.name} has no document start to put before a text: leave out bos.")
    if context is not None and context < 8:
        raise BadInput(f"`context` must be at least 8 tokens, got {context}.", param="context")
    limits = [limit for limit in (model.context_length, context) if limit is not None]
    return Stride(min(limits, default=None), model.vocabulary.start_token_ids if bos else ())


def split_documents(model: Model, documents: Iterable[Document], stride: Stride) -> Iterator[Chunk]:
    """Yield the chunks of all documents, in order; a chunk ends where a character does."""
    for sequence, document in enumerate(documents):
        yield from _split_tokens(
            model, sequence, _drop_document_start(token_stream(model, document), stride.start_token_ids), stride
        )


def _split_tokens(model: Model, sequence: int, stream: Iterator[int], stride: Stride) -> Iterator[Chunk]:
    tokens, num_new, position = list(stride.start_token_ids), 0, 0
    while True:
        room = None if stride.max_tokens is None else stride.max_tokens - len(tokens)
        new = list(islice(stream, room))
        tokens += new
        num_new += len(new)
        if not num_new:
            return
        last = room is None or len(new) < room
        incomplete = 0 if last else _count_incomplete_tokens(model, tokens[-num_new:])
        complete = tokens[: len(tokens) - incomplete]
        yield Chunk(sequence, position, complete, num_new - incomplete)
        if last:
            return
        position += num_new - incomplete
        num_new = incomplete
        tokens = tokens[-max(len(tokens) // 2, incomplete + 1) :]


def _count_incomplete_tokens(model: Model, tokens: Tokens) -> int:
    """Count the last tokens that belong to an incomplete character; never all of them."""
    most = min(4, len(tokens) - 1)
    tail = b"".join(model.token_bytes(token) for token in tokens[-8:])
    for count in range(most + 1):
        if not split_incomplete_character(tail)[1]:
            return count
        tail = tail[: len(tail) - len(model.token_bytes(tokens[-1 - count]))]
    return 0


def _drop_document_start(stream: Iterator[int], start: Tokens) -> Iterator[int]:
    """Yield the stream without a document start that the tokenizer has put there, where `start` brings its own."""
    head = list(islice(stream, len(start)))
    if tuple(head) != tuple(start):
        yield from head
    yield from stream


def token_stream(model: Model, document: Document) -> Iterator[int]:
    """Yield the tokens of a document, as `model.encode` of the whole text gives them; a file is read block by block."""
    if isinstance(document, str):
        yield from _encode_blocks(model, iter([document]))
    elif isinstance(document, TextIOBase):
        yield from _encode_blocks(model, _read_blocks(document))
    else:
        yield from document


def _read_blocks(file: TextIOBase) -> Iterator[str]:
    try:
        yield from iter(lambda: file.read(_BLOCK_CHARACTERS), "")
    except UnicodeDecodeError as error:
        raise BadInput(f"the text is not UTF-8 ({error.reason} at byte {error.start}): convert it first.") from error


def _encode_blocks(model: Model, blocks: Iterator[str]) -> Iterator[int]:
    """Encode block by block, cutting where the tokens after the cut are the same with and without what is before it."""
    ending: Tokens | None = None
    buffer, is_start = "", True
    for block in blocks:
        buffer += block
        if len(buffer) <= 2 * _SPLIT_MARGIN:
            continue
        ending = _document_end(model, buffer[0]) if ending is None else ending
        tokens = model.encode(buffer, document_start=is_start)
        tokens = tokens[: len(tokens) - len(ending)] if is_start else tokens
        cut = _find_split(model, tokens, buffer)
        if cut is None:
            continue
        count, characters = cut
        yield from tokens[:count]
        buffer, is_start = buffer[characters:], False
    yield from model.encode(buffer, document_start=is_start)
    yield from () if is_start or ending is None else ending


def _document_end(model: Model, letter: str) -> Tokens:
    """Return the tokens that the tokenizer puts after a document: those that end it with and without a letter."""
    empty, document = model.encode(""), model.encode(letter)
    if empty == document:
        return []
    pairs = enumerate(zip(empty[::-1], document[::-1], strict=False))
    count = next((i for i, (one, other) in pairs if one != other), len(empty))
    return empty[len(empty) - count :]


def _find_split(model: Model, tokens: Tokens, text: str) -> tuple[int, int] | None:
    """Return (tokens, characters) before a place near the end where the text can be cut; None if there is none."""
    for characters in _find_word_starts(text):
        after = model.encode(text[characters:], document_start=False)
        count = len(tokens) - len(after)
        sure = len(after) - _SPLIT_MARGIN // 2
        if sure > 0 and count > 0 and list(tokens[count : count + sure]) == list(after[:sure]):
            return count, characters
    return None


def _find_word_starts(text: str) -> Iterator[int]:
    """Yield starts of words near the end of a text, last first, at most 8."""
    low = len(text) // 2
    end = len(text) - 4 * _SPLIT_MARGIN
    for _ in range(8):
        end = text.rfind(" ", low, max(end, low))
        if end <= low:
            return
        if not text[end - 1].isspace() and not text[end + 1].isspace():
            yield end
