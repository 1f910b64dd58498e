#!/usr/bin/env bash
# Packages: transformers==5.24.0, torch==2.13.0
#
# Expected: with `attention_mask` and `position_ids`, tokens to the left that the mask
#   closes have no influence: the last logits equal those of the unpadded sequence,
#   whichever token fills the closed positions. MambaForCausalLM does that.
# Happens: RecurrentGemmaForCausalLM gives the mask to its attention layers only. The
#   convolution and the recurrence of its linear layers read the closed positions.
#   Id 0 hides this in a freshly made model, as the embedding of the padding id is 0.
# Seen on 2026-11-28:
#   MambaForCausalLM           closed positions hold id 0: differs by 0
#   MambaForCausalLM           closed positions hold id 7: differs by 0
#   RecurrentGemmaForCausalLM  closed positions hold id 0: differs by 1.2e-07
#   RecurrentGemmaForCausalLM  closed positions hold id 7: differs by 0.16
# Source thread: https://github.com/huggingface/transformers/issues/31201 (asks about
#   the attention mask under left padding).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
cat > "$folder/finding.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import (
    MambaConfig,
    MambaForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.set_num_threads(1)
torch.manual_seed(0)
tokens = torch.randint(1, 50, (2, 6))
mask = torch.tensor([[0] * 3 + [1] * 6] * 2)
positions = (mask.cumsum(-1) - 1).clamp(min=0)
mamba = MambaForCausalLM(
    MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=8)
)
gemma = RecurrentGemmaForCausalLM(
    RecurrentGemmaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, intermediate_size=96, lru_width=32,
        num_attention_heads=4, num_key_value_heads=1, attention_window_size=16,
    )
)  # fmt: skip
differences = []
for model, extra in (mamba, {}), (gemma, {"position_ids": positions}):
    for closed in 0, 7:
        padded = torch.cat([torch.full((2, 3), closed), tokens], 1)
        with torch.no_grad():
            plain = model.eval()(tokens, use_cache=False).logits[:, -1]
            left = model(padded, attention_mask=mask, use_cache=False, **extra).logits[:, -1]
        differences.append((left - plain).abs().max().item())
        name = type(model).__name__
        print(f"{name:<26} closed positions hold id {closed}: differs by {differences[-1]:.2g}")
if not (max(differences[:3]) < 1e-4 and differences[3] > 0.01):
    sys.exit("Changed: RecurrentGemma no longer reads left positions that the mask closes.")
print("RecurrentGemma reads left positions that the mask closes.")
PYTHON
CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
