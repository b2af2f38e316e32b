"""What a log of lm-eval was asked (``samples_*.jsonl``): its items with choices, or its documents, prompt and all.

Models are then logs of the same questions, which need no pass, or language models, which are asked what stands in the
log, to the letter. ``groups`` and ``cluster`` are columns of ``doc``, the row that an example was made of.

Source:
    Gao et al., A framework for few-shot language model evaluation (lm-evaluation-harness), Zenodo 2023,
    doi:10.5281/zenodo.10256836: what it writes with ``--log_samples``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from whatelse.datasets import _groups, _language, _read
from whatelse.errors import TaskError, WhatElseError
from whatelse.settings import param
from whatelse.tasks import samples
from whatelse.tasks.language import CHOICES, DOCUMENTS
from whatelse.tasks.task import Task

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of a log."""

    path: str = param("", "The log: a .jsonl that lm-eval wrote with --log_samples.")
    groups: str = param("", f"Columns of doc that make groups, {_groups.HELP}.")
    cluster: str = param("", "The column of doc that says which examples belong together; empty for each alone.")
    split: str = param("", "test, as nothing is taken for train anyway.", choices=("", "test"))
    context: int = param(0, "Tokens that a model reads at once at most; 0 for as many as it takes.", low=0)
    select: float = param(0.0, "Share of examples held back for choices, such as those of a search.", low=0, high=0.9)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return what a log was asked as a task.

    Args:
        config: Which log.

    Raises:
        TaskError: It cannot be read, or a line holds no log-likelihoods; it is named.
    """
    where = f"lm_eval, {Path(config.path).name}"
    if not config.path.lower().endswith(_read.LINES):
        raise TaskError(f"data lm_eval: path={config.path!r}; a file that ends in {' or '.join(_read.LINES)} is needed")
    rows = _read.rows(Path(config.path), where)
    held = [samples.read(row, f"data {where}: line {at}") for at, row in enumerate(rows, 1)]
    if len({one.document for one in held}) > 1:
        raise TaskError(f"data {where}: it has documents and items with choices; a log of one task is needed")
    form = DOCUMENTS if held[0].document else CHOICES
    name = Path(config.path).stem
    told = (form, [one.passage for one in held], [one.right for one in held])
    return _language.task(name, told, [dict(one.doc) for one in held], config, where)


def takes(text: str) -> bool:
    """Return whether a text names a log of lm-eval.

    Args:
        text: What a user types.
    """
    if not text.lower().endswith(_read.LINES) or not os.path.isfile(text):
        return False
    try:
        return samples.looks(_read.rows(Path(text), text, most=1)[0])
    except WhatElseError:  # whoever opens it says what is wrong with it
        return False
