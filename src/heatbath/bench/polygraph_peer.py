"""The other side of `heatbath bench trust`: lm-polygraph on questions from standard input, in its own environment.

Run as a script by the Python of that environment, which has no heatbath. One JSON list of questions a line; the reply
is one line with the seconds and the estimates.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any


def load_model(folder: str, length: int) -> Any:
    """Return the weights as lm-polygraph takes them, in bfloat16; answers have exactly `length` tokens."""
    torch, transformers = import_module("torch"), import_module("transformers")
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model_class = import_module("lm_polygraph.utils.model").WhiteboxModel
    parameters = import_module("lm_polygraph.utils.generation_parameters").GenerationParameters
    # It asks for two new tokens at least itself; without an end token every answer has the full length.
    module.generation_config.eos_token_id = None
    given = parameters(max_new_tokens=length)
    return model_class(module, tokenizer, model_path=folder, generation_parameters=given)


def judge_questions(model: Any, questions: Sequence[str], settings: dict[str, Any]) -> dict[str, list[float]]:
    """Return the estimates of each question by name."""
    estimators = import_module("lm_polygraph.estimators")
    manager = import_module("lm_polygraph.utils.manager").UEManager
    dataset = import_module("lm_polygraph.utils.dataset").Dataset
    register = import_module("lm_polygraph.defaults.register_default_stat_calculators")
    builder = import_module("lm_polygraph.utils.builder_enviroment_stat_calculator")
    run = manager(
        dataset(list(questions), [""] * len(questions), batch_size=settings["batch"]),
        model,
        [
            estimators.MaximumSequenceProbability(),
            estimators.Perplexity(),
            estimators.MeanTokenEntropy(),
            estimators.SelfCertainty(),
        ],
        available_stat_calculators=register.register_default_stat_calculators(
            "Whitebox", output_attentions=False, output_hidden_states=False
        ),
        builder_env_stat_calc=builder.BuilderEnvironmentStatCalculator(model),
        generation_metrics=[],
        ue_metrics=[],
        processors=[],
        ignore_exceptions=False,
        verbose=False,
        max_new_tokens=settings["length"],
    )
    run()
    return {name: [float(value) for value in values] for (_, name), values in run.estimations.items()}


def main() -> None:
    """Answer until standard input ends."""
    settings = json.loads(sys.argv[1])
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        model = load_model(settings["folder"], settings["length"])
        print(json.dumps({"version": version("lm-polygraph")}), file=out, flush=True)
        for line in sys.stdin:
            questions = json.loads(line)
            start = time.perf_counter()
            estimates = judge_questions(model, questions, settings)
            reply = {"seconds": time.perf_counter() - start, "estimates": estimates}
            print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
