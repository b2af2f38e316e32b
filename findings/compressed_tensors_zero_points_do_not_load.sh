#!/usr/bin/env bash
# Behavior: a model that compressed-tensors packs itself (pack-quantized, 4 bits in groups) loads again by from_pretrained where
#   its grid is symmetric; with zero points it is refused, as the room that is made for them is that of zero points that are
#   not packed (64 rows where the file has 8).
# Version: compressed-tensors 0.20.1, transformers 5.24.0, torch 2.13.0.
# Source: compressed_tensors/compressors/pack_quantized/base.py (compress: of weights on the meta device, where transformers
#   lays a model out, it returns before zero points are packed).
# Why it matters: a folder that is right, and that other programs read, cannot be loaded as it is; from_pretrained with
#   CompressedTensorsConfig(dequantize=True), or "dequantize": true in its config.json, goes around it.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install "torch==2.13.0" "transformers==5.24.0" \
  "compressed-tensors==0.20.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import torch
from compressed_tensors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "compressed-tensors")))
shape = LlamaConfig(
    vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64,
)


def written(symmetric, folder):
    torch.manual_seed(0)
    model = LlamaForCausalLM(shape).eval()
    weights = {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": 32}
    told = QuantizationConfig(
        config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"], format="pack-quantized"
    )
    apply_quantization_config(model, told)
    for part in model.modules():
        if hasattr(part, "weight_scale"):
            groups = part.weight.detach().view(len(part.weight), -1, 32)
            low, high = groups.amin(2), groups.amax(2)
            step = (high - low) / 15 if not symmetric else groups.abs().amax(2) / 7
            part.weight_scale.data = step
            if not symmetric:
                part.weight_zero_point.data = (-8 - low / step).round().to(torch.int8)
    compressor = ModelCompressor(quantization_config=told)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)


def loads(folder):
    try:
        AutoModelForCausalLM.from_pretrained(folder)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "loads"


for symmetric in (True, False):
    written(symmetric, f"symmetric-{symmetric}")
found = [loads(f"symmetric-{symmetric}") for symmetric in (True, False)]
print("symmetric:", found[0])
print("with zero points:", found[1])
if found[0] == "loads" and "mismatched" in found[1]:
    sys.exit(0)
print("the behavior is no longer as described")
sys.exit(1)
PY
