"""The live page at `/`: traffic, distributions, the last requests, the phase map and a playground.

Feed        an observer that keeps the last requests in memory and sends events to viewers
routes()    the page and its files, which hold no data; the data under `/page/`, which need the scope "read"
"""

from __future__ import annotations

from heatbath.serve.dashboard.feed import Feed
from heatbath.serve.dashboard.routes import routes

__all__ = ["Feed", "routes"]
