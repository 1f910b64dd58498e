"""Lets the tests here import what they share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# The stand-in for the library of grammars is theirs.
sys.path.insert(1, str(Path(__file__).parents[2] / "energy"))
