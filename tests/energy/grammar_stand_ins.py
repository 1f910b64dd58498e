"""A stand-in for the library that compiles grammars: the grammar says what it does instead of being compiled."""

import ctypes
import os
import sys
import time

from heatbath.errors import BadInput


def build(setup):
    """The probe of a process that tries "grammars"; `setup` is that of the real one."""

    def probe(grammar):
        action, _, value = grammar.partition(" ")
        if action == "sleep":
            time.sleep(float(value))
        elif action == "spin":
            while True:
                pass
        elif action == "allocate":
            held = []
            while True:
                held.append(bytearray(16 << 20))
        elif action == "exit":
            os._exit(int(value))
        elif action == "abort":
            os.abort()
        elif action == "recurse":
            _recurse()
        elif action == "refuse":
            raise BadInput(value)
        elif action == "pid":
            with open(value, "a") as file:
                file.write(f"{os.getpid()} {os.getppid()}\n")
            time.sleep(60)

    return probe


def _recurse():
    """Use native stack without end, as a recursive compiler does."""
    sys.setrecursionlimit(10**9)
    call = ctypes.CFUNCTYPE(None)(lambda: call())
    call()
