#!/usr/bin/env bash
# torch.export.save writes the inputs that a program was exported with into the file, and the paths of the sources.
#
# Behavior: the tensors given to torch.export.export as an example are kept in the program, pickled into the archive as
# `data/sample_inputs/model.pt`, and handed out again as `example_inputs` by whoever loads the file. Stack traces of the
# exporting machine, with its paths, stand in `models/model.json`. Setting `example_inputs = None` before saving keeps the
# former out.
# Version: torch 2.13.0 (CPU).
# Source: https://docs.pytorch.org/docs/2.13/export/api_reference.html (torch.export.save says only "saves an
# ExportedProgram to a file-like object"); on purpose since https://github.com/pytorch/pytorch/pull/122618 .
# Why it matters: the natural example is a batch of one's data. A model that is handed on then carries records of it.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$place/export_it.py" <<'PY'
import sys
import zipfile

import torch
from torch import nn

print("torch", torch.__version__)
records = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
program = torch.export.export(nn.Sequential(nn.Linear(8, 2)), (records,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
torch.export.save(program, sys.argv[1])
(given,), _ = torch.export.load(sys.argv[1]).example_inputs
leaked = torch.equal(given, records)
print("records in the file:", leaked, [n for n in zipfile.ZipFile(sys.argv[1]).namelist() if "sample_inputs" in n])
graph = next(n for n in zipfile.ZipFile(sys.argv[1]).namelist() if n.endswith("model.json"))
traced = b"site-packages" in zipfile.ZipFile(sys.argv[1]).read(graph)
print("paths of this machine in the file:", traced)
program.example_inputs = None
torch.export.save(program, sys.argv[1])
kept = torch.export.load(sys.argv[1]).example_inputs
print("after example_inputs = None:", kept)
sys.exit(not (leaked and traced and kept is None))
PY
"$place/venv/bin/python" -W ignore "$place/export_it.py" "$place/model.pt2"
