"""Puts this folder on the path, for what its tests share, and brings the PostgreSQL of the session."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
