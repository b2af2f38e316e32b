#!/usr/bin/env bash
# The imagefolder builder of datasets leaves the file of metadata open.
#
# Behavior: load_dataset of a folder of images with a metadata.csv opens that file once for every split and never closes
# it; it is closed when Python collects the reader, with a ResourceWarning where warnings are shown. A program that turns
# warnings into errors, as test suites do, is told of it at some later place that has nothing to do with it.
# Version: datasets 5.2.0.
# Why it matters: a suite with warnings as errors fails in whichever test runs next.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
PLACE="$place" HF_HOME="$place/hf" HF_HUB_OFFLINE=1 "$place/venv/bin/python" - <<'PY'
import gc
import os
import warnings
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

print("datasets", datasets.__version__)
root = Path(os.environ["PLACE"]) / "images"
root.mkdir()
for i in range(4):
    Image.fromarray(np.full((2, 2, 3), i, np.uint8)).save(root / f"{i}.png")
(root / "metadata.csv").write_text("file_name,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(4)))
datasets.disable_progress_bars()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert len(datasets.load_dataset(str(root))["train"]) == 4
    gc.collect()
left = [str(w.message) for w in told if w.category is ResourceWarning and "metadata.csv" in str(w.message)]
print(f"files of metadata that were left open: {len(left)}")
raise SystemExit(not left)
PY
