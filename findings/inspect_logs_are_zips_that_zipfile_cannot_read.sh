#!/usr/bin/env bash
# Behavior: a log of Inspect (.eval) is a zip whose members are packed by zstandard (method 93). zipfile of Python before
#   3.14 lists it and reads no member of it: NotImplementedError. Inspect itself reads it by zipfile-zstd, which patches
#   zipfile for the whole process.
# Version: inspect-ai 0.3.285, Python 3.11 to 3.13.
# Source: inspect_ai/log/_recorders/eval.py, inspect_ai/_util/zipfile.py (every member is packed by zstandard); the Python
#   documentation of zipfile: ZIP_ZSTANDARD is new in 3.14.
# Why it matters: what takes an .eval for a zip of JSON, as Inspect's documentation describes it, fails on every log that
#   a newer release wrote.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install "inspect-ai==0.3.285"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes

# Whether the mock model answers or its tokens cannot be counted without a network: a log is written either way.
eval(Task(dataset=[Sample(input="1+1?", target="2")], scorer=includes()), model="mockllm/model", log_dir="logs", display="none")
PY
"$folder/venv/bin/python" -I - <<'PY'
import glob
import importlib.metadata
import sys
import zipfile

print("Python", sys.version.split()[0], "inspect-ai", importlib.metadata.version("inspect-ai"))
(log,) = glob.glob("logs/*.eval")
with zipfile.ZipFile(log) as file:
    parts = file.infolist()
    print({part.filename: part.compress_type for part in parts})
    try:
        said = f"{len(file.read('header.json'))} bytes"
    except NotImplementedError as error:
        said = f"NotImplementedError: {error}"
print("reading header.json:", said)
if {part.compress_type for part in parts} == {93} and said.startswith("NotImplementedError"):
    sys.exit(0)
print("the members can be read; the behavior is no longer as described")
sys.exit(1)
PY
