"""The engine of this process: continuous batching on a pool, one thread, many requests.

engine = LocalEngine(load("smollm2-135m"), config=EngineConfig(max_rows=64))
await engine.start()
async for event in engine.submit(Request(prompt, id="1")): ...
"""

from heatbath.engine.local.config import EngineConfig
from heatbath.engine.local.engine import LocalEngine

__all__ = ["EngineConfig", "LocalEngine"]
