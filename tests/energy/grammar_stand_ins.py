"""A stand-in for the library that compiles grammars: the grammar says what it does instead of being compiled."""

import ctypes
import os
import sys
import time
from pathlib import Path

from heatbath.errors import BadInput


def build(setup):
    """The probe of a process that tries "grammars"; `setup` is that of the real one."""

    def probe(grammar):
        action, _, value = grammar.partition(" ")
        ACTIONS.get(action, lambda value: None)(value)

    return probe


def spin(value):
    while True:
        pass


def allocate(value):
    held = []
    while True:
        held.append(bytearray(16 << 20))


def recurse(value):
    """Use native stack without end, as a recursive compiler does."""
    sys.setrecursionlimit(10**9)
    call = ctypes.CFUNCTYPE(None)(lambda: call())
    call()


def refuse(value):
    raise BadInput(value)


def write_pids(value):
    with Path(value).open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")
    time.sleep(60)


ACTIONS = {
    "sleep": lambda value: time.sleep(float(value)),
    "spin": spin,
    "allocate": allocate,
    "exit": lambda value: os._exit(int(value)),
    "abort": lambda value: os.abort(),
    "recurse": recurse,
    "refuse": refuse,
    "pid": write_pids,
}
