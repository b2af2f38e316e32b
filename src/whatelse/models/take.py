"""What somebody hands over, taken as a model under audit: a torch module, or what satisfies one of the protocols."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from whatelse.errors import NotMeasurableError, TaskError, WhatElseError, in_short
from whatelse.layers.compressed import remarks
from whatelse.models import fit, neighbours, subject
from whatelse.models.causal import Causal
from whatelse.models.model import (
    Gradients,
    Keyed,
    Likelihoods,
    Mixes,
    Model,
    Moves,
    Opens,
    Reads,
    Recorded,
    Remarked,
    Scores,
    Stores,
    Writes,
)
from whatelse.models.preparation import PLAIN, Way
from whatelse.models.readings import READINGS, other_classes, reading
from whatelse.models.recorded import RecordedScores
from whatelse.models.slopes import stated_agreement
from whatelse.modules.decoder import Decoder
from whatelse.modules.lent import copied, in_training, quietly, resting
from whatelse.tasks.task import Task

Given = nn.Module | Scores | Recorded | Opens | Reads | Likelihoods | Writes
PROBED = 64  # test examples that a model is asked, to see how it answers
_FEW = 4  # on which gradients are held against differences


@dataclass(frozen=True)
class Taken:
    """A model under audit that is lent.

    Attributes:
        model: As evidence takes it.
        remarks: What could not be done as usual, and what its layers say of themselves.
        training: Whether it was handed over in training mode, from which it was taken.
    """

    model: Model
    remarks: tuple[str, ...] = ()
    training: bool = False


def take(given: Given, name: str, key: str, task: Task, rng: torch.Generator, way: Way = PLAIN) -> Model:
    """Return the model under audit, with what it really offers.

    Args:
        given: A torch module, which is frozen and set into evaluation mode in place; or what satisfies `Scores`,
            `Recorded` or `Opens`, where the last is asked as its module.
        name: How messages call it.
        key: What made it.
        task: The examples; the first of test are asked, recorded scores are held against all.
        rng: Source of the directions in which gradients are held against differences.
        way: How it is asked: how many examples at once, and where a module computes.

    Raises:
        TaskError: It does not answer such inputs with scores of so many classes.
    """
    if way.batch and isinstance(given, Reads | Decoder):
        raise TaskError(
            f"{name}: --batch {way.batch}: a language model reads texts of one length together; leave it out"
        )
    given = Causal.of(name, given, key) if isinstance(given, Decoder) else given
    made = _taken(given, name, key, task, rng, way.device)
    probe = task.test.inputs[: max(PROBED, way.batch)]
    return neighbours.declared(made, probe, way.batch) if way.batch else made


def _taken(given: Given, name: str, key: str, task: Task, rng: torch.Generator, device: str) -> Model:
    if isinstance(given, Reads | Likelihoods) or (isinstance(given, Writes) and not isinstance(given, Recorded)):
        return _reader(given, name, key, task, device)
    module = given if isinstance(given, nn.Module) else given.module if isinstance(given, Opens) else None
    probe = task.test.inputs[:PROBED]
    if module is not None or isinstance(given, Scores):
        fit.check_form(task, name)
    if module is not None:
        tokens, classes = task.vocabulary > 0, task.classes
        return subject.of(module, name, key, probe, rng, tokens=tokens, classes=classes, device=device)
    if isinstance(given, Scores):
        return _scorer(given, name, key, probe, task.classes, rng)
    if isinstance(given, Recorded):
        for split in given.splits:
            _check(given.recorded(split), (len(task.split(split)), task.classes), f"{name}, split {split},")
        if isinstance(given, RecordedScores):
            return Model(name, given, key, remarks=given.remarks, stores=given.stores)
        return Model(name, given, key)
    kind = type(given).__name__
    raise TaskError(f"{name}: got {kind}; a torch.nn.Module, or an object with scores(inputs) or recorded(split)")


def _reader(given: Reads | Likelihoods | Writes, name: str, key: str, task: Task, device: str) -> Model:
    """Return a language model under audit.

    Raises:
        TaskError: The data are nothing that is read, or it cannot be moved.
    """
    language = fit.check_reads(task, name)
    if isinstance(given, Reads) and language.context > given.longest:
        raise TaskError(
            f"task {task.name} and model do not fit: context={language.context}; {name} takes {given.longest} "
            "tokens at once; give as many or fewer, or leave it out"
        )
    if device and isinstance(given, Reads):  # what was recorded computes nowhere
        if not isinstance(given, Moves):
            raise TaskError(f"{name}: --device {device}: a {type(given).__name__} computes where it is; leave it out")
        given.to(device)
    return Model(name, given, key, stores=given if isinstance(given, Stores) else None)


@contextmanager
def lent(given: Given, name: str, key: str, task: Task, rng: torch.Generator, way: Way = PLAIN) -> Generator[Taken]:
    """Lend a model under audit, and set a module that no copy stands for back at the end as it was.

    Args:
        given: As `take` takes it.
        name: How messages call it.
        key: What made it.
        task: The examples.
        rng: As for `take`.
        way: Likewise.

    Yields:
        The model.

    Raises:
        NotMeasurableError: It has tensors without numbers.
        TaskError: It does not answer such inputs with scores of so many classes.
    """
    given = Causal.of(name, given, key) if isinstance(given, Decoder) else given
    module = given if isinstance(given, nn.Module) else given.module if isinstance(given, Opens) else None
    if module is None:
        yield Taken(take(given, name, key, task, rng, way), tuple(given.told) if isinstance(given, Remarked) else ())
        return
    training = in_training(module)
    with resting(module, name, task.test.inputs[:1]) as guest:
        itself = guest.model is module and way.device
        made = take(guest.model, name, key, task, rng, replace(way, device="") if itself else way)
        stays = (f"{name} stays where it is: it is no copy, and is not moved to {way.device}",) if itself else ()
        told = (*guest.remarks, *stays, *dict.fromkeys(remarks(guest.model).values()))
        yield Taken(made, told, training and not guest.fixed)


def key_of(given: Given, task: Task) -> str:
    """Return by what results of a model are found again: what it holds or says itself, else its answers.

    Args:
        given: As `take` takes it.
        task: Gives the examples whose answers stand for a model that neither holds tensors nor has a key: select and
            test.

    Raises:
        TaskError: It cannot be asked.
    """
    if isinstance(given, nn.Module):
        return _content(given)
    if isinstance(given, Keyed):
        return given.key
    if isinstance(given, Reads) and not isinstance(given, Scores):
        raise TaskError(
            f"got {type(given).__name__}; what reads texts has a key, which says by what its results are found"
        )
    if isinstance(given, Opens):
        return _content(given.module)
    if not isinstance(given, Scores):
        raise TaskError(f"got {type(given).__name__}; recorded scores have a key")
    digest = hashlib.sha256(type(given).__name__.encode())
    for split in ("select", "test"):
        for part in torch.split(task.split(split).inputs, PROBED):
            digest.update(given.scores(part).detach().double().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _content(model: nn.Module) -> str:
    """Return the SHA-256 of everything that a module holds: of tensors that have no bytes, what they print."""
    digest = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}\n{model}".encode())
    try:
        own = copied(model)  # some layers pack their weights anew where they are asked for them
    except NotMeasurableError:
        own = model
    for name, held in own.state_dict().items():
        for part in tree_leaves(held):  # packed parameters are pairs of tensors, and types stand beside them
            if type(part) in {Tensor, nn.Parameter} and part.layout == torch.strided and not part.is_quantized:
                digest.update(f"{name} {tuple(part.shape)} {part.dtype}".encode())
                digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            else:
                digest.update(f"{name} {part!r}".encode())
    return f"module-{digest.hexdigest()[:16]}"


@dataclass(frozen=True, eq=False)
class _Read:
    """What answers otherwise than with class scores, read as such."""

    given: Scores
    read: str

    def scores(self, inputs: Tensor) -> Tensor:
        found = READINGS[self.read](self.given.scores(inputs))
        return found.to(inputs.dtype) if inputs.dtype in {torch.float32, torch.float64} else found.float()


@dataclass(frozen=True, eq=False)
class _ReadWithGradients(_Read):
    """The same of what knows its gradients, which are those of the log-odds however it is read."""

    given: Scores
    read: str

    def gradient(self, inputs: Tensor, labels: Tensor, scale: float = 1.0) -> Tensor:
        assert isinstance(self.given, Gradients)
        return self.given.gradient(inputs, labels, scale)


def _scorer(given: Scores, name: str, key: str, probe: Tensor, classes: int, rng: torch.Generator) -> Model:
    own = given
    try:
        with quietly():
            found = given.scores(probe)
    except WhatElseError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise TaskError(f"{name} cannot take inputs of shape {tuple(probe.shape[1:])}: {in_short(error)}") from error
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise TaskError(f"{name} answers with a {type(found).__name__}; a tensor of class scores is needed")
    read, told = reading(found, name, lambda: None)
    if read or found.dtype != torch.float32:
        given = (_ReadWithGradients if isinstance(given, Gradients) else _Read)(given, read)
    _check(given.scores(probe), (len(probe), classes), name)
    alone, why = neighbours.alone(given.scores, name, probe, known=isinstance(own, Mixes) and own.mixes)
    stores = own if isinstance(own, Stores) else None
    without: frozenset[str] = frozenset()
    if isinstance(given, Gradients):
        few = probe[:_FEW]
        labels = given.scores(few).argmax(1)
        if not stated_agreement(given.scores, few, labels, given.gradient(few, labels), rng) > subject.SOUND:
            without = frozenset({"differentiates"})
            why = (*why, f"gradients of {name} are not those of its scores, and are not used")
    return Model(name, given, key, remarks=(*told, *why), alone=alone, without=without, stores=stores)


def _check(found: object, shape: tuple[int, int], name: str) -> None:
    """Refuse what is no matrix of class scores.

    Raises:
        TaskError: It is none.
    """
    matrix = isinstance(found, Tensor) and found.dim() == len(shape) and len(found) == shape[0]
    if isinstance(found, Tensor) and matrix and 1 < found.shape[1] != shape[1]:
        raise TaskError(f"{name} answers with {other_classes(found.shape[1], shape[1])}")
    if not isinstance(found, Tensor) or not found.is_floating_point() or tuple(found.shape) != shape:
        kind = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise TaskError(f"{name} answers with {kind}; scores of shape {shape} are needed, one for each class")
