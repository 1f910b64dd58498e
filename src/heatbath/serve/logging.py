"""Log lines on stderr, JSON or for people, with the request's id and never with its content."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from typing import Any, Literal, TextIO

import structlog

Logger = structlog.typing.FilteringBoundLogger
LogFormat = Literal["auto", "text", "json"]


def build_logger(level: str = "info", file: TextIO | None = None, form: LogFormat = "auto") -> Logger:
    """Return a logger of its own, which writes lines from `level` up to `file` (stderr).

    The lines are JSON objects, or text for people; "auto" is text on a terminal.
    """
    target = sys.stderr if file is None else file
    is_text = target.isatty() if form == "auto" else form == "text"
    min_level = logging.getLevelNamesMapping()[level.upper()]
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(target),
        processors=[structlog.processors.add_log_level, *(_text_processors(target) if is_text else _json_processors())],
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
    )
    return logger


def _json_processors() -> list[structlog.typing.Processor]:
    return [structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()]


def _text_processors(file: TextIO) -> list[structlog.typing.Processor]:
    colors = file.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _escape_values,
        structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False),
    ]


def _escape_values(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what could move the cursor or begin a line of its own: a value may come from a request."""
    return {name: _escape_text(value) if isinstance(value, str) else value for name, value in event.items()}


def _escape_text(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return the type of an exception and the lines it came through, without its text, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {"error": type(error).__name__, "at": [f"{frame.name}:{frame.lineno}" for frame in frames]}


class ForwardingHandler(logging.Handler):
    """A logging handler that passes the errors of libraries to our logger.

    The text of asyncio's errors is left out, since it may quote a request.
    """

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.ERROR)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError):  # the end of the server
            return
        library = record.name.partition(".")[0]
        message = {} if library == "asyncio" else {"message": record.getMessage()}
        self.log.error(library, **message, **(describe_error(error) if error else {}))
