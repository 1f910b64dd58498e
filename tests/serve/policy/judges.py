"""Functions of rules: good ones, and ones that raise, hang or return what is no number."""

from __future__ import annotations

import asyncio
import math
import threading
import time

SECRET = "swordfish-77"
released = threading.Event()


def find_secret(text: str) -> list[tuple[int, int]]:
    start = text.lower().find(SECRET)
    return [(start, start + len(SECRET))] if start >= 0 else []


def fail_on_secret(text: str) -> bool:
    if SECRET in text.lower():
        raise ValueError(text)
    return False


def fail_always(text: str) -> bool:
    raise ValueError(text)


def wait_for_release(text: str) -> bool:
    released.wait(20)
    return False


async def redact_names(text: str) -> list[tuple[int, int]]:
    await asyncio.sleep(0.05)
    start = text.find("Anna")
    return [(start, start + 4)] if start >= 0 else []


def hang(text: str) -> bool:
    time.sleep(3)
    return False


async def hang_asynchronously(text: str) -> bool:
    await asyncio.sleep(3)
    return False


def return_nan(text: str) -> float:
    return math.nan


def leave(text: str) -> bool:
    raise SystemExit(text)
