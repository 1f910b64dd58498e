"""Print how far bfloat16 is from float32, and generating from measuring, on the default model.

`python tools/precision.py [MODEL]`, for the figures of docs/models.md.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

TEXT = (
    "The capital of France is Paris. It lies on the Seine, has two million inhabitants, and is known for its museums."
)
NEW_TOKENS = 24


def compare_generation(model: Any) -> dict[str, float]:
    """Return the largest differences of the records of generating and of measuring the same tokens."""
    import heatbath as hb

    prompt = model.encode("The capital of France is")
    out = hb.generate(model, [prompt], max_tokens=NEW_TOKENS, seed=0, ignore_eos=True)
    measured = hb.measure(model, [*prompt, *out.sequences[0]]).record
    generated = out.traces[0].record
    names = ("log_z", "entropy", "logprob")
    return {name: float(np.abs(generated[name] - measured[name][-NEW_TOKENS:]).max()) for name in names}


def measure_logprobs(model: Any, temperature: float) -> Any:
    """Return the log-probabilities of a text after its document start, at a temperature."""
    import heatbath as hb

    tokens = [*model.vocabulary.start_token_ids, *model.encode(TEXT)]
    return hb.measure(model, tokens).logprob(temperature)[1:]


def main() -> int:
    """Load the model in both precisions and print the table."""
    import heatbath as hb

    name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
    models = {dtype: hb.load(name, dtype=dtype) for dtype in ("float32", "bfloat16")}
    for dtype, model in models.items():
        largest = ", ".join(f"{value:.1g} in {column}" for column, value in compare_generation(model).items())
        print(f"{dtype}: generating and measuring the same {NEW_TOKENS} tokens differ by at most {largest}")
    for temperature in (1.0, 0.3):
        gap = measure_logprobs(models["bfloat16"], temperature) - measure_logprobs(models["float32"], temperature)
        rms = float(np.sqrt(np.mean(gap[1:] ** 2)))
        print(
            f"T = {temperature}: log-probabilities in bfloat16 are off by {rms:.2g} nats a token (root mean square), "
            f"{abs(gap[0]):.2g} after the document start"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
