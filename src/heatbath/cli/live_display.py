"""Displays of a run in progress: tokens coloured by surprisal with their records, plain text, or a token count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from heatbath.cli.colored_tokens import token_style
from heatbath.engine.stop_strings import IncrementalDetokenizer, StopStrings
from heatbath.record import Frame, Observer, Utf8Decoder
from heatbath.record.token_display import escape_control_characters

_MAX_RECENT_ROWS = 10


class TokenStripView(Observer):
    """A live view of a run: coloured tokens per row, and the latest records of the first row below."""

    def __init__(self, console: Console, token_to_bytes: Callable[[int], bytes], rows: int) -> None:
        self._token_to_bytes = token_to_bytes
        self._byte_decoders = [Utf8Decoder() for _ in range(rows)]
        self._texts = [Text() for _ in range(rows)]
        self._recent_rows: deque[tuple[str, ...]] = deque(maxlen=_MAX_RECENT_ROWS)
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> TokenStripView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)
        for row, text in enumerate(self._texts):
            self._live.console.print(self._label_row(row, text))

    def update(self, frame: Frame) -> None:
        """Append the tokens of a frame to their rows."""
        if frame.record is None:
            return
        logprobs = frame.record["logprob"].tolist()
        for i, (row, token) in enumerate(zip(frame.rows.tolist(), frame.tokens.tolist(), strict=True)):
            text = escape_control_characters(self._byte_decoders[row].decode_bytes(self._token_to_bytes(token)))
            self._texts[row].append(text, token_style(-logprobs[i]))
            if row == 0:
                self._recent_rows.append(
                    (text, *(f"{frame.record[name][i]:.{places}f}" for name, places in _COLUMN_DECIMALS.items()))
                )

    def _label_row(self, row: int, text: Text) -> Text:
        return text if len(self._texts) == 1 else Text(f"[{row}] ", "bold").append_text(text)

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in ("token", *_COLUMN_DECIMALS):
            table.add_column(name.replace("_", " "), justify="left" if name == "token" else "right")
        for cells in self._recent_rows:
            table.add_row(Text(cells[0].strip("\n")), *cells[1:])
        strips = [self._label_row(row, text) for row, text in enumerate(self._texts)]
        return Group(*strips, Padding(table, (1, 0, 0, 0)))


_COLUMN_DECIMALS = {"logprob": 3, "entropy": 3, "heat_capacity": 3, "p_max": 3, "rank": 0}
"""Displayed columns and their decimal places."""


class PlainTextWriter(Observer):
    """Writes the text of a run of one row as it grows, for a pipe; incomplete characters are held back."""

    def __init__(
        self,
        write: Callable[[str], object],
        token_to_bytes: Callable[[int], bytes],
        stop_token_ids: Collection[int],
        stop_strings: StopStrings,
    ) -> None:
        self._write = write
        self._token_to_bytes = token_to_bytes
        self._stop_token_ids = stop_token_ids
        self._detokenizer = IncrementalDetokenizer(stop_strings)

    def update(self, frame: Frame) -> None:
        """Write the text of the new token, unless it is a stop token."""
        token = int(frame.tokens[0])
        if token not in self._stop_token_ids:
            self._write(self._detokenizer.push(self._token_to_bytes(token)))

    def flush(self) -> None:
        """Write the rest of an incomplete character, and end the line."""
        self._write(self._detokenizer.flush() + "\n")


class TokenCountView(Observer):
    """A line with the number of tokens that a sequence sampler has generated; it disappears at the end."""

    def __init__(self, console: Console) -> None:
        self._tokens = 0
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> TokenCountView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, frame: Frame) -> None:
        """Count the tokens of a frame."""
        self._tokens += len(frame.tokens)

    def _render(self) -> Text:
        return Text(f"{self._tokens} tokens generated", "dim")
