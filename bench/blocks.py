"""Measure methods that look at what enters layers, on a decoder: block by block, beside a whole pass for every layer.

    python bench/blocks.py [METHOD ...]

A Llama of random weights, 12 blocks of 192 numbers, 8,192 tokens in its vocabulary, 24 windows of 128 tokens to look
at. Each method runs twice, in a process of its own: as it does it (`modules.stream`), and with that switched off, which
is what it did before. Printed are the seconds and the peak of resident memory above where the method began, and whether
both made the same model, bit by bit. What is not the same, takes more than its share of the time, or more than 1.1
times the memory, fails.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from whatelse import recipe
from whatelse.modules.decoder import Decoder, Words
from whatelse.modules.stream import Stream
from whatelse.tasks.task import Split, Task
from whatelse.training.rng import fork_rng

BLOCKS, WIDTH, INNER, HEADS, VOCABULARY, WINDOWS, WINDOW = 12, 192, 512, 6, 8192, 24, 128
# Each with the share of the time that it may take. SVD asks for all inputs at once, in one pass: it wins memory alone.
METHODS = {
    "quantize.gptq(bits=4, activation_bits=32)": 1 / 2,
    "prune.wanda(sparsity=0.5)": 1 / 2,
    "prune.sparsegpt(sparsity=0.5)": 1 / 2,
    "decompose.svd(rank=0.3, aware=True)": 2,
}
MEMORY = 1.1


def main() -> None:
    """Measure every method both ways."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], whole=sys.argv[3] == "whole")
        return
    own, failed = {**os.environ, "OMP_NUM_THREADS": "1"}, []
    print(f"{'method':<44}{'seconds':>18}{'MB above the model':>24}")
    for steps in sys.argv[1:] or METHODS:
        found = {}
        for way in ("stream", "whole"):
            command = [sys.executable, "-W", "ignore", __file__, "--child", steps, way]
            told = subprocess.run(command, env=own, capture_output=True, text=True, check=True).stdout.split()[-3:]
            found[way] = (float(told[0]), float(told[1]), told[2])
        (fast, low, one), (slow, high, other) = found["stream"], found["whole"]
        alike = "the same model" if one == other else "ANOTHER MODEL"
        print(
            f"{steps:<44}{fast:>7.1f} / {slow:<7.1f}{low:>11.0f} / {high:<8.0f}{alike}, {slow / fast:.1f} times as fast"
        )
        failed += [steps] if one != other or fast > METHODS.get(steps, 1.0) * slow or low > MEMORY * high else []
    if failed:
        sys.exit(f"not the same, not faster, or larger: {', '.join(failed)}")


def child(steps: str, *, whole: bool) -> None:
    """Run a method and print seconds, megabytes above where it began, and what it made."""
    if whole:
        Stream._passes = lambda *given: False  # type: ignore[method-assign] # noqa: SLF001 - what it did before
    rng = torch.Generator().manual_seed(0)
    with fork_rng(rng):
        lm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                intermediate_size=INNER,
                num_hidden_layers=BLOCKS,
                num_attention_heads=HEADS,
                max_position_embeddings=WINDOW,
            )
        )
    model = Decoder(lm.requires_grad_(False), Words(None)).eval()
    ids = torch.randint(VOCABULARY, (WINDOWS, WINDOW), generator=rng)
    windows = Split(ids, ids, ids)
    splits = dict.fromkeys(("train", "calibration", "select", "test"), windows)
    task = Task("windows", VOCABULARY, None, splits, vocabulary=VOCABULARY)
    with torch.no_grad():
        model(ids[:2])  # what libraries set up when they are called first
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak counts from here
    began, before = time.perf_counter(), memory("VmRSS")
    made = recipe.apply(recipe.parse(steps)[0], model, task, torch.Generator().manual_seed(0))
    seconds, above = time.perf_counter() - began, memory("VmHWM") - before
    digest = hashlib.sha256()
    for name, tensor in sorted(made.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    print(seconds, above / 1000, digest.hexdigest()[:12])


def memory(kind: str) -> float:
    """Return kilobytes that this process holds (``VmRSS``), or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(kind)))


if __name__ == "__main__":
    main()
