#!/usr/bin/env bash
# Torch-Pruning 1.6.1 traces channels past the end of a layer where a tensor is chunked and all its pieces, with others
# made of them, are concatenated again (the C2f and CSP blocks of current detectors).
#
# Behavior: DependencyGraph.get_pruning_group for the block's inner convolution `two` (16 channels) couples it with
#   channels 64 to 79 of `cut`, which has 32. The split operation has taken over the offsets of the later concatenation
#   (it prints as _SplitOp([0, 64, 128, 144])). Nothing warns.
# Version: torch-pruning 1.6.1 with torch 2.13.0.
# Source: https://github.com/VainF/Torch-Pruning (torch_pruning/dependency/index_mapping.py)
# Why it matters: whoever trusts the groups gets an index error from tensors of his own, or a network whose layers no
#   longer fit together. Each group has to be tried out on a copy before it is believed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 torch-pruning==1.6.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import importlib.metadata
import sys

import torch
import torch_pruning as tp
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.cut = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 1)
        self.one, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.join = nn.Conv2d(64, 32, 1)

    def forward(self, x):
        halves = self.cut(self.stem(x)).chunk(2, 1)
        a = self.one(halves[1])
        return self.join(torch.cat([halves[0], halves[1], a, self.two(a)], 1))


model = Block().eval()
graph = tp.DependencyGraph().build_dependency(model, torch.rand(1, 3, 8, 8))
group = graph.get_pruning_group(model.two, tp.prune_conv_out_channels, list(range(16)))
highest = {}
for dep, indices in group:
    if dep.target.module is model.cut:
        highest["cut"] = max(indices)
print("torch-pruning", importlib.metadata.version("torch-pruning"), "torch", torch.__version__)
print(f"the group of `two` names channel {highest.get('cut')} of `cut`, which has {model.cut.out_channels} channels")
sys.exit(0 if highest.get("cut", 0) >= model.cut.out_channels else 1)
PYTHON
