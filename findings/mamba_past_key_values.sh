#!/usr/bin/env bash
# Packages: transformers==5.24.0, torch==2.13.0
#
# Expected: the output of MambaForCausalLM has an attribute `past_key_values` (the
#   cache, also under the names `cache_params` and `cache`), so passing it back as
#   `past_key_values=`, as for every attention model, continues the sequence; or a
#   name that the model does not know raises TypeError.
# Happens: the output reads under all three names, but `forward` takes only `cache`
#   and `cache_params`. `past_key_values=` falls into **kwargs and is dropped, so the
#   model answers as if the new token were the first of its sequence: the logits equal
#   those of a call without any cache. The only message is that reading the name is
#   deprecated; the call itself says nothing.
# Seen on 2026-11-28:
#   names under which the output holds the cache: ['cache', 'cache_params', 'past_key_values']
#   cache=           differs from the uncached forward pass by 3.6e-07, from no cache by 0.46
#   cache_params=    differs from the uncached forward pass by 3.6e-07, from no cache by 0.46
#   past_key_values= differs from the uncached forward pass by 0.46, from no cache by 0
# Source thread: none known.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
cat > "$folder/finding.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import MambaConfig, MambaForCausalLM

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.set_num_threads(1)
torch.manual_seed(0)
config = MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=8)
model = MambaForCausalLM(config).eval()
tokens = torch.randint(1, 50, (2, 6))
names = ["cache", "cache_params", "past_key_values"]
changed = "Changed: MambaForCausalLM no longer drops `past_key_values=` silently."

with torch.no_grad():
    right = model(tokens).logits[:, -1]
    nothing = model(tokens[:, -1:]).logits[:, -1]
    held = [n for n in names if getattr(model(tokens[:, :-1], use_cache=True), n, None) is not None]
    print("names under which the output holds the cache:", held)
    far = {}
    for name in names:
        cache = model(tokens[:, :-1], use_cache=True).cache
        try:
            step = model(tokens[:, -1:], use_cache=True, **{name: cache}).logits[:, -1]
        except TypeError:
            sys.exit(changed)
        far[name] = (step - right).abs().max().item(), (step - nothing).abs().max().item()
        print(
            f"{name + '=':<16} differs from the uncached forward pass by {far[name][0]:.2g},"
            f" from no cache by {far[name][1]:.2g}"
        )
works = far["cache"][0] < 1e-4 and far["cache_params"][0] < 1e-4
dropped = far["past_key_values"][0] > 0.1 and far["past_key_values"][1] < 1e-6
if not (works and dropped and held == names):
    sys.exit(changed)
print("MambaForCausalLM drops `past_key_values=`, a name under which its output holds the cache.")
PYTHON
CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
