#!/usr/bin/env bash
# torch.utils.flop_counter counts 0 for whole layers, without a warning.
#
# Behavior: FlopCounterMode knows a fixed list of operations and adds nothing for any other. On a CPU that leaves out
# attention (`_scaled_dot_product_flash_attention_for_cpu`, which every call of scaled_dot_product_attention ends in), the
# fast path of nn.TransformerEncoderLayer and nn.MultiheadAttention in eval(), nn.LSTM, products of a matrix and a
# vector, integer and quantized products. A convolution in a script that torch.jit.optimize_for_inference made is not
# even dispatched: no mode sees it.
# Version: torch 2.13.0 (CPU).
# Source: https://github.com/pytorch/pytorch/blob/main/torch/utils/flop_counter.py (the registry of formulas).
# Why it matters: the same encoder costs 3648 multiply-accumulates in train() and 0 in eval(). A compressed model that is
# scripted, quantized, or only switched to eval() seems to compute less or nothing.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
"$place/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

print("torch", torch.__version__)


def macs(run):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


x = torch.rand(1, 6, 8)
encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
trained = macs(lambda: encoder.train()(x))
lstm, attention = nn.LSTM(8, 4, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True).eval()
conv = torch.jit.optimize_for_inference(torch.jit.script(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).eval()))
for _ in range(3):
    conv(torch.rand(1, 2, 8, 8))
packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4)), {nn.Linear}, torch.qint8)
heads = x[:, None]
found = {
    "TransformerEncoderLayer, train()": trained,
    "TransformerEncoderLayer, eval()": macs(lambda: encoder.eval()(x)),
    "MultiheadAttention, eval()": macs(lambda: attention(x, x, x)),
    "scaled_dot_product_attention": macs(lambda: functional.scaled_dot_product_attention(heads, heads, heads)),
    "LSTM": macs(lambda: lstm(x)),
    "matrix times vector": macs(lambda: x[0] @ torch.ones(8)),
    "dynamically quantized Linear": macs(lambda: packed(x)),
    "Conv2d, optimized for inference": macs(lambda: conv(torch.rand(1, 2, 8, 8))),
}
for name, count in found.items():
    print(f"{name}: {count} multiply-accumulates")
# Scores and their use, four projections, two layers: 2 * 6 * 6 * 8 + 4 * 6 * 8 * 8 + 2 * 6 * 8 * 16.
sys.exit(not (trained == 3648 and not any(list(found.values())[1:])))
PY
