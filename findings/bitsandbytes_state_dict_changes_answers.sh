#!/usr/bin/env bash
# Behavior: on a CPU, a bitsandbytes 4-bit layer in evaluation mode packs its weight at the first pass, and state_dict()
#   unpacks it again by quantizing the blocks' scales anew. Each call of state_dict() between passes thereby changes what
#   the layer answers, though nothing was trained or loaded.
# Version: bitsandbytes 0.50.2 with torch 2.13.0 (CPU with AVX-512 and bf16; on others nothing is packed).
# Source: bitsandbytes/nn/modules.py (Linear4bit._save_to_state_dict) and functional.py
#   (_convert_weight_packed_for_cpu_inverse, "best-effort inverse").
# Why it matters: whoever saves a checkpoint while a model serves, or names a model by a hash of its weights, changes the
#   model and gets another hash at every call.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install "torch==2.13.0" "bitsandbytes==0.50.2" numpy
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import bitsandbytes as bnb
import torch

print("torch", torch.__version__, "bitsandbytes", version("bitsandbytes"))
torch.manual_seed(0)
plain = torch.nn.Linear(256, 64)
with torch.no_grad():
    plain.weight.copy_(torch.randn(64, 256) * torch.rand(64, 1))
layer = bnb.nn.Linear4bit(256, 64, quant_type="nf4", compute_dtype=torch.float32)
layer.load_state_dict(plain.state_dict())
layer = layer.to("cpu").eval()
x = torch.rand(8, 256)
with torch.no_grad():
    one, two = layer(x), layer(x)
    layer.state_dict()
    three = layer(x)
print("asked twice: largest difference", float((one - two).abs().max()))
print("after state_dict(): largest difference", float((two - three).abs().max()), "of", float(one.abs().max()))
if torch.equal(one, two) and not torch.equal(two, three):
    sys.exit(0)
print("the answers did not change; the behavior is no longer as described, or this processor packs nothing")
sys.exit(1)
PY
