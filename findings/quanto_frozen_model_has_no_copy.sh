#!/usr/bin/env bash
# Behavior: a model frozen by optimum-quanto cannot be copied: copy.deepcopy raises a RuntimeError from the weight's
#   tensor subclass ("only works for subclass types that implement clone() ..."), although the same model answers,
#   and although quanto's own unfrozen model can be copied.
# Version: optimum-quanto 0.2.7 with torch 2.13.0 (CPU).
# Source: optimum/quanto/tensor/weights/qbytes.py and torch.Tensor.__deepcopy__ (wrapper subclasses).
# Why it matters: tools that measure, compare or compress a model work on a copy of it; with a frozen model each of them
#   fails at its first line, after the user has paid for the quantization.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install "torch==2.13.0" "optimum-quanto==0.2.7" numpy
"$folder/venv/bin/python" -W ignore - <<'PY'
import copy
import sys
from importlib.metadata import version

import torch
from optimum.quanto import freeze, qint8, quantize

print("torch", torch.__version__, "optimum-quanto", version("optimum-quanto"))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
quantize(model, weights=qint8)
copy.deepcopy(model)
print("unfrozen: copied")
freeze(model)
print("frozen: answers", tuple(model(torch.ones(2, 8)).shape))
try:
    copy.deepcopy(model)
except RuntimeError as error:
    print("frozen: deepcopy raises", str(error).splitlines()[0][:120])
    sys.exit(0)
print("frozen: copied; the behavior is no longer as described")
sys.exit(1)
PY
