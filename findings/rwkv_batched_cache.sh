#!/usr/bin/env bash
# Packages: transformers==5.24.0, torch==2.13.0
#
# Expected: RwkvForCausalLM gives every row of a batch the continuation that the
#   row gets alone: all rows have the same length, so nothing is padded.
# Happens: with a state and one new token, RwkvSelfAttention mixes a hidden tensor
#   of shape (batch, 1, hidden) with the stored one of shape (batch, hidden). These
#   broadcast to (batch, batch, hidden), so the rows leak into each other. There is
#   no error or warning, and `generate` with a batch returns wrong tokens. A batch
#   of one is right, and so is a forward pass without a state.
# Seen on 2026-11-28:
#   largest difference of cached and uncached logits, batch of 3: 1.4 (spread of the logits 0.5)
#   largest difference of cached and uncached logits, batch of 1: 4.8e-07
#   greedy tokens of row 0, batch of 3: [34, 48, 25, 48, 35, 27, 17, 34]
#   greedy tokens of row 0, alone:      [34, 14, 43, 12, 48, 27, 8, 34]
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
from transformers import RwkvConfig, RwkvForCausalLM

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.set_num_threads(1)
torch.manual_seed(0)
config = RwkvConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, context_length=64)
model = RwkvForCausalLM(config).eval()
tokens = torch.randint(1, 50, (3, 6))


@torch.no_grad()
def difference(batch):
    uncached = model(batch).logits[:, -1]
    state = model(batch[:, :-1], use_cache=True).state
    cached = model(batch[:, -1:], state=state, use_cache=True).logits[:, -1]
    return (cached - uncached).abs().max().item()


def greedy(batch):
    output = model.generate(
        batch, max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    return output[:, batch.shape[1] :].tolist()


spread = model(tokens).logits[:, -1].std().item()
together, alone = difference(tokens), max(difference(row[None]) for row in tokens)
name = "largest difference of cached and uncached logits, batch of"
print(f"{name} 3: {together:.2g} (spread of the logits {spread:.2g})")
print(f"{name} 1: {alone:.2g}")
in_batch, single = greedy(tokens)[0], greedy(tokens[:1])[0]
print("greedy tokens of row 0, batch of 3:", in_batch)
print("greedy tokens of row 0, alone:     ", single)
if not (together > 0.1 and alone < 1e-4 and in_batch != single):
    sys.exit("Changed: a cached step of RWKV no longer goes wrong just when it is batched.")
print("A batched cached step of RWKV mixes the rows of the batch.")
PYTHON
CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
