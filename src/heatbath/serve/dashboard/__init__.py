"""The live page at `/`: traffic, distributions, the last requests, the phase map and a playground.

Feed        a watcher that keeps the last answers in memory and tells viewers what happens
routes()    the shell and its files, which hold no data; the feeds under `/page/`, which need the scope "read"
"""

from __future__ import annotations

from heatbath.serve.dashboard.feed import Feed
from heatbath.serve.dashboard.routes import routes

__all__ = ["Feed", "routes"]
