"""How fast a model answers on this machine just now, and how much of it is held: what an estimate is made of."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.auditing.ask import generator
from whatelse.evidence import shared_pass
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.models.model import Model, Scores
from whatelse.study import handed, worker
from whatelse.study.plan import net_of
from whatelse.study.spec import Study
from whatelse.tasks.task import Task

# A pass forward, one back through the inputs, one back through the weights.
TRAINED = 3
# A step of training beside its three passes, of small networks: the optimizer and the schedule.
_OPTIMIZED = 1.3
_LOOKED, _STEP, _SEEN = 64, 50, 16  # examples of a pass, of a step of training, and of what is held


@dataclass(frozen=True)
class Speed:
    """What work on a task takes.

    Attributes:
        measured: Seconds an example of a pass in measurements, of one thread.
        trained: Seconds an example of a pass in training.
        memory: About how many bytes a process takes that holds the task and what was observed of its models; 0 where
            the system does not tell.
    """

    measured: float
    trained: float
    memory: int


def of_study(study: Study, task: Task) -> Speed:
    """Return the speed of a study's untrained network, on one batch of measuring and of training.

    Args:
        study: Gives the network.
        task: Gives the examples.
    """
    if (origin := worker.begun(study, task)) is not None:
        model_there = handed.evidence(origin.handed, "baseline", task).subject
        return of_model(model_there, task, 2)
    model = worker.untrained(net_of(study), task, "speed")
    tokens = task.vocabulary > 0
    with one_thread():
        model.eval().requires_grad_(requires_grad=False)
        measured = _timed(model, task.test.inputs[:_LOOKED], tokens=tokens) / 2
        held = subject.of(model, "", "", task.test.inputs[:4], generator("probe", task.key), tokens=tokens)
        memory = _memory(held, task, 2)
        model.train().requires_grad_(requires_grad=True)
        trained = _timed(model, task.train.inputs[:_STEP], tokens=True) / TRAINED
    return Speed(measured, _OPTIMIZED * trained, memory)


def of_model(model: Model, task: Task, models: int) -> Speed:
    """Return the speed of a model that was handed over; nothing is trained.

    Args:
        model: The baseline. Recorded scores take no time.
        task: Gives the examples.
        models: How many a process holds at once.
    """
    scorer = model.source
    if not isinstance(scorer, Scores):
        return Speed(0.0, 0.0, _memory(model, task, models))
    inputs = task.test.inputs[: 1 if model.alone else _LOOKED]
    with one_thread():
        return Speed(_best(lambda: scorer.scores(inputs)) / len(inputs), 0.0, _memory(model, task, models))


@contextmanager
def one_thread() -> Generator[None]:
    """Let torch compute as it does in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _timed(model: nn.Module, inputs: Tensor, *, tokens: bool) -> float:
    """Return the seconds an example of a pass forward and back; inputs that are tokens have no gradient."""

    def step() -> None:
        said = model(inputs.detach().clone().requires_grad_(not tokens))
        if said.requires_grad:
            functional.cross_entropy(said, said.detach().argmax(1)).backward()  # type: ignore[no-untyped-call] # torch's own

    return _best(step) / len(inputs)


def _best(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(4):  # the first warms up
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def _memory(model: Model, task: Task, models: int) -> int:
    """Return what this process took at the most, which opened the same, and what observations of test will take."""
    taken, few = _taken(), task.test.inputs[:_SEEN]
    if not taken or "predicts" not in model.offers:
        return taken
    evidence = Evidence(model, task)
    step = 1 if model.alone else max(model.least, len(few))
    seen = shared_pass.look(evidence, few[:step], None, gradient="differentiates" in model.offers)
    each = sum(tensor.nbytes / len(tensor) for tensor in seen.values())
    return taken + int(each * len(task.test) * models)


def _taken() -> int:
    told = Path("/proc/self/status")  # what `resource` tells begins with the peak of whoever started this process
    if told.exists():
        return (
            next((int(line.split()[1]) for line in told.read_text().splitlines() if line.startswith("VmHWM")), 0) * 1024
        )
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ModuleNotFoundError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
