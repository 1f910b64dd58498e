"""A server process over a small exact model in which a stand-in tries grammars: they sleep, allocate or exit."""

import sys
from pathlib import Path
from typing import Any

ENERGY_TESTS = Path(__file__).resolve().parents[1] / "energy"


def main(given: dict[str, Any]) -> int:
    import numpy as np

    from heatbath.energy.grammar_guard import GrammarGuard
    from heatbath.engine.local import EngineConfig, LocalEngine
    from heatbath.models import MarkovModel
    from heatbath.serve.server import serve
    from heatbath.serve.services import build_services
    from heatbath.serve.settings import Settings

    sys.path.insert(1, str(ENERGY_TESTS))
    model = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))
    guard = GrammarGuard(model.token_bytes, model.vocabulary, factory="grammar_stand_ins:build")
    engine = LocalEngine(model, config=EngineConfig(warm_up=False), guard=guard)
    return serve(build_services(Settings(**given["settings"]), engine=engine), lambda at: print(at, flush=True))
