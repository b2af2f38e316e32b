"""What is made small: which question it is, and what it is of a module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from whatelse import items
from whatelse.auditing.questions import DATA, Measurement, Questions
from whatelse.errors import NotMeasurableError, SettingError, TaskError, nearest
from whatelse.evidence.cache import Evidence
from whatelse.models.causal import Causal
from whatelse.models.model import Model
from whatelse.models.subject import Subject
from whatelse.modules.decoder import Decoder
from whatelse.study.meeting import Meeting
from whatelse.tasks.task import Task

MINIMIZED = ("bytes", "latency", "macs", "parameters")


def sized(asked: Questions, minimize: str) -> tuple[Questions, Measurement]:
    """Return the questions with one on what is made small, and that one.

    Args:
        asked: What is asked.
        minimize: One of `MINIMIZED`.

    Raises:
        SettingError: It is none of them.
    """
    if minimize not in MINIMIZED:
        raise SettingError(f"--minimize {minimize!r}; {nearest(minimize, MINIMIZED)}")
    item = f"efficiency.{minimize}"
    known = next((m for m in asked.measurements if m.item == item), None)
    if known is not None:
        return asked, known
    one = Measurement(asked.rows[0].name, item, [DATA], 0.0, minimize)
    return replace(asked, measurements=[*asked.measurements, one]), one


def cost(item: str, task: Task, model: nn.Module) -> float:
    """Return what is to be made small of a module.

    Args:
        item: The behavior that measures it.
        task: Gives the examples, of select.
        model: Any module that answers like the baseline.

    Raises:
        TaskError: It cannot be measured of such a module.
    """
    behaviour = items.behaviour(item)
    config = behaviour.configure({})
    evidence = Evidence(at_hand(model), task, on="select")
    try:
        answer = behaviour.answer(evidence, evidence, config, torch.Generator().manual_seed(0))
    except NotMeasurableError as error:
        raise TaskError(f"--minimize {item.rpartition('.')[2]}: {error}; minimize something else") from error
    return float(behaviour.summarise(answer, config, np.ones((1, len(answer))))[0])


def at_hand(model: nn.Module) -> Model:
    """Return a module as it is asked, untried: whoever asks made it of one that was tried.

    Args:
        model: Any module that answers like the baseline.
    """
    if isinstance(model, Decoder):
        source = Causal.of("a model", model, "at hand")
        return Model("a model", source, "at hand", stores=source)
    return Subject("a model", model, "at hand", without=frozenset({"differentiates"}))


def module(met: Meeting) -> nn.Module:
    """Return the baseline as the module that methods treat.

    Args:
        met: The baseline, as it is measured.

    Raises:
        TaskError: It is none.
    """
    found = met.baseline()
    if isinstance(found.source, Causal):
        return found.source.decoder()
    if not isinstance(found, Subject):
        raise TaskError(
            "MODEL is no torch module, and only such can be compressed; give one that whatelse compress takes"
        )
    return found.inside
