"""The steps of one client: functions that raise what is wrong, run one after the other and reported by name."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

NAME, URL, MODEL, FOUND = sys.argv[1:5]
"""The client, the address of the server without /v1, the model, and the file that gets the results."""
API = f"{URL}/v1"
HELLO = [{"role": "user", "content": "Say hello to the sea."}]
WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"town": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["town", "days"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather of a town.", "parameters": WEATHER_SCHEMA},
}

Step = Callable[[], Any]


def run_steps(steps: dict[str, Step], package: str) -> None:
    """Run steps, coroutines too, and write a line for each."""
    for step, function in steps.items():
        error = ""
        try:
            made = function()
            if inspect.isawaitable(made):
                asyncio.run(_wait_for(made))
        except BaseException as raised:
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())[:400]}"
        with open(FOUND, "a", encoding="utf-8") as file:
            file.write(json.dumps({"version": version(package), "step": step, "error": error}) + "\n")


async def _wait_for(made: Any) -> Any:
    return await made


def check(is_right: Any, what: object = "") -> None:
    """Raise where something is not as it has to be; `what` came instead."""
    if not is_right:
        raise AssertionError(f"got {what!r:.300}")


def check_weather(given: Any) -> None:
    """Raise unless `given`, JSON or its value, fits the schema of the tool."""
    arguments = json.loads(given) if isinstance(given, str) else given
    check(arguments["town"] in ("Oslo", "Rome") and 1 <= arguments["days"] <= 9, given)
