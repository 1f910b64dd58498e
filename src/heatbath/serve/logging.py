"""Log lines: one JSON object per line on stderr, with the request's id and never with its content."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from typing import Any, TextIO

import structlog

Logger = structlog.typing.FilteringBoundLogger


def build_logger(level: str = "info", file: TextIO | None = None) -> Logger:
    """Return a logger of its own, which writes lines from `level` up to `file` (stderr)."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ]
    least = logging.getLevelNamesMapping()[level.upper()]
    made: Logger = structlog.wrap_logger(
        structlog.WriteLogger(file or sys.stderr),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
    )
    return made


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
