"""A compressed language model as a folder of transformers: float weights, its configuration, its tokenizer.

``from_pretrained`` loads it without this toolkit, and that is how it is proven: a fresh process that knows transformers
alone must say what was said here, bit for bit.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.artifacts.folder import EXACT, RECORD, afresh, apart, write_json
from whatelse.errors import ArtifactError, TaskError
from whatelse.modules import windows
from whatelse.modules.calibration import batches
from whatelse.modules.decoder import Decoder
from whatelse.modules.lent import quietly
from whatelse.tasks.language import DOCUMENTS
from whatelse.tasks.task import Task

_START = 300.0  # Seconds that a process may take to begin and to answer, on a machine that is busy.
_RELOAD = """
import sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, given, said = sys.argv[1:]
AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
with torch.no_grad():
    found = model(input_ids=load_file(given)["inputs"], use_cache=False)[0]
save_file({"outputs": found.mT.contiguous()}, said)
"""


def calibrated(task: Task) -> Task:
    """Return a task of passages with text to calibrate on: its own documents, where no other text is named.

    Args:
        task: Of passages.

    Raises:
        TaskError: It names no text, and its passages are no documents.
    """
    told = task.language
    if told is None or told.calibration.texts:
        return task
    if told.form != DOCUMENTS:
        raise TaskError(
            f"data {task.name}: it holds {told.form}, and methods look at text; give documents as --data, or name them "
            "by language(path=..., calibration='text.jsonl')"
        )
    texts = tuple(passage.continuations[0] for passage in told.passages)
    return replace(task, language=replace(told, calibration=replace(told.calibration, texts=texts)))


def read(model: nn.Module, task: Task, seed: int) -> Task:
    """Return a task as a model reads it: of passages, windows of text that a seed draws; any other as it is.

    Args:
        model: Any module.
        task: Any task.
        seed: Decides which windows.

    Raises:
        TaskError: There is no text to calibrate on, or too little.
    """
    if not isinstance(model, Decoder):
        return task
    return windows.read(model, calibrated(task), torch.Generator().manual_seed(seed))


@torch.no_grad()
def perplexity(model: nn.Module, task: Task) -> float:
    """Return the perplexity a token of a language model on the windows that methods see.

    Args:
        model: A `Decoder`.
        task: As `read` returns it.
    """
    windows = task.calibration
    total, at = 0.0, 0
    for part in batches(model, windows.inputs):
        followed = windows.targets[at : at + len(part)]
        total += float(functional.cross_entropy(model(part).float(), followed, reduction="sum"))
        at += len(part)
    return math.exp(total / windows.targets.numel())


def save(model: nn.Module, folder: str | os.PathLike[str], record: Mapping[str, Any] | None = None) -> None:
    """Write a language model as transformers has it, and how it was made beside it.

    Args:
        model: A `Decoder` as its ``plain`` returns it.
        folder: Made where it does not exist.
        record: JSON-ready; how the model was made, for a reader.

    Raises:
        ArtifactError: It is no language model.
    """
    if not isinstance(model, Decoder):
        raise ArtifactError(f"a {type(model).__name__} is no language model, and no folder of transformers")
    lm: Any = model.lm
    with quietly():
        lm.save_pretrained(folder, safe_serialization=True)
        model.words.tokenizer.save_pretrained(folder)
    for path in Path(folder).glob("*.safetensors"):  # which only its owner could read
        shutil.copymode(Path(folder, "config.json"), path)
    write_json(Path(folder) / RECORD, record or {})


def prove(folder: Path, inputs: Tensor, outputs: Tensor, near: float = 0.0) -> str:
    """Load a folder in a fresh process, without this toolkit, and compare what the model says there; return how near.

    Args:
        folder: What `save` wrote.
        inputs: Token ids, ``(N, T)``.
        outputs: What the model in memory returned for them, ``(N, vocabulary, T)``.
        near: By how much they may differ, of the largest; 0 for bit by bit.

    Raises:
        ArtifactError: The process failed, took too long, or its outputs differ.
    """
    told = afresh(folder, inputs, ("-c", _RELOAD), _START, "transformers could not load {} in a fresh process")
    if torch.equal(told, outputs):
        return EXACT
    if told.shape == outputs.shape and near:
        off = float((told.float() - outputs.float()).abs().max() / outputs.float().abs().max().clamp(min=1e-12))
        if off <= near:
            return f"to within {off:.1g} of the largest score"
    raise ArtifactError(f"{folder} reloads as another model: outputs differ by {apart(told, outputs)}")
