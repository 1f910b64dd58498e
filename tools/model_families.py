"""Check tiny random models of many families against transformers, and write the table of docs/models.md.

`python tools/model_families.py [FAMILY ...]` prints the table; `--write` puts it into docs/models.md. A test compares
the names and the use of the cache on the page with what it finds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
TABLE = re.compile(r"(?<=<!-- families -->\n).*?(?=<!-- /families -->)", re.DOTALL)
HEAD = "| family | architecture | cache of a batch | measure | generate | serve |\n|---|---|---|---|---|---|\n"
CACHE_TEXT = {"batch": "yes", "length": "rows of one length", "row": "each row alone", "none": "none, recomputed"}

SIZE = 96
SHAPE: dict[str, Any] = {
    "vocab_size": SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1,
}  # fmt: skip
GPT_SHAPE: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
}  # fmt: skip
MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8,
}  # fmt: skip
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}

FAMILIES: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere": {},
    "deepseek_v3": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16,
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "first_k_dense_replace": 1, "num_key_value_heads": 4,
    },
    "exaone4": SLIDING,
    "falcon": {"head_dim": None, "num_key_value_heads": None},
    "falcon_h1": {**MAMBA2, "mamba_d_ssm": 64},
    "falcon_mamba": {"state_size": 8, "time_step_rank": 4},
    "gemma": {},
    "gemma2": {
        "sliding_window": 4, "query_pre_attn_scalar": 8, "final_logit_softcapping": 1.5, "attn_logit_softcapping": 2.0,
    },
    "gemma3_text": {**SLIDING, "query_pre_attn_scalar": 8},
    "gpt2": GPT_SHAPE,
    "gpt_neox": {},
    "gpt_oss": {**EXPERTS, "sliding_window": 4},
    "gptj": {**GPT_SHAPE, "rotary_dim": 4},
    "granite": {"logits_scaling": 8.0},
    "jamba": {
        **EXPERTS, "mamba_d_state": 8, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
    "llama": {},
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "mistral": {"sliding_window": 4},
    "mixtral": EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
    "nemotron": {},
    "olmo2": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": {},
    "qwen3_next": {
        **EXPERTS, "layer_types": ["linear_attention", "full_attention"], "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 4, "num_hidden_layers": 3, "num_key_value_heads": 1},
    "rwkv": {"attention_hidden_size": 32},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A family, the class of its model, the use of its cache, and its largest errors of a log-probability in nats."""

    family: str
    architecture: str
    cache_use: str
    score: float
    session: float
    pool: float

    def render(self) -> str:
        """Return the line of the table."""
        errors = " | ".join(f"{error:.0e}" for error in (self.score, self.session, self.pool))
        return f"| {self.family} | {self.architecture} | {CACHE_TEXT[self.cache_use]} | {errors} |\n"


def build_module(family: str) -> Any:
    """Return a tiny random model of a family, with weights large enough for energies that differ."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    values = {name: value for name, value in {**SHAPE, **FAMILIES[family]}.items() if value is not None}
    config = CONFIG_MAPPING[family](**values)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return module


def check_family(family: str) -> Row:
    """Build a tiny model of a family and compare it with transformers."""
    import torch

    from heatbath.models.hf.transformers_model import TransformersModel
    from heatbath.models.hub.pretrained_loader import suppress_library_output
    from heatbath.models.hub.reference import compare_with_module

    with suppress_library_output():
        module = build_module(family)
        model = TransformersModel(deepcopy(module), None, name=family, compute_fingerprint=lambda: "")
        draw = torch.Generator().manual_seed(1)
        sequences = [torch.randint(2, SIZE, (length,), generator=draw).tolist() for length in (19, 11, 8, 11)]
        errors = compare_with_module(model, module, sequences)
    found = (errors.score.nats, errors.session.nats, errors.pool.nats)
    return Row(family, type(module).__name__, model.network_check.cache_use, *found)


def render_table(rows: Iterable[Row]) -> str:
    """Return the table in Markdown."""
    return HEAD + "".join(row.render() for row in rows)


def read_page() -> Iterator[tuple[str, str]]:
    """Yield the family and the use of the cache of each line on the page."""
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    for line in found[0].splitlines()[2:] if found else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield cells[0], cells[2]


def main() -> int:
    """Print the table of the families named, of all without a name; write it with --write."""
    import torch

    torch.set_num_threads(1)
    names = [word for word in sys.argv[1:] if not word.startswith("--")] or list(FAMILIES)
    table = render_table(map(check_family, names))
    print(table, end="")
    if "--write" in sys.argv:
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
