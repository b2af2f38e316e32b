"""What a model is asked: inputs, targets, named groups, masks and bounds, in four splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import TaskError, nearest
from whatelse.tasks.language import Language

SPLITS = ("train", "calibration", "select", "test")
_WHOLE = (torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
_PART = 2**22  # Numbers that are looked at together.
_GROUPS = 1_000_000  # More are no groups but values, and tables of them would fill the memory.


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of one split.

    Attributes:
        inputs: ``(N, ...)`` float32.
        targets: The true class of every example, ``(N,)`` int64, in ``[0, classes)``.
        observed: The label as it was recorded, ``(N,)``: what training sees. It differs from ``targets``
            where labels are noisy.
        groups: Named group codes, each ``(N,)`` int64; -1 where the value is missing.
        masks: Where the evidence for the label lies, ``(N, ...)`` bool of the shape of ``inputs``, or None.
        clusters: Which examples belong together (one user, one document), ``(N,)``, or None.
        texts: What was written, of every example, for models that bring a tokenizer of their own; or None.
    """

    inputs: Tensor
    targets: Tensor
    observed: Tensor
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Tensor | None = None
    clusters: Tensor | None = None
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.targets)

    def take(self, picks: Tensor) -> Split:
        """Return the split of the picked examples, with repeats where an index repeats.

        Args:
            picks: Indices of examples, ``(M,)``.
        """
        return Split(
            self.inputs[picks],
            self.targets[picks],
            self.observed[picks],
            {name: codes[picks] for name, codes in self.groups.items()},
            None if self.masks is None else self.masks[picks],
            None if self.clusters is None else self.clusters[picks],
            None if self.texts is None else tuple(self.texts[i] for i in picks.tolist()),
        )

    def join(self, other: Split) -> Split:
        """Return the examples of this split, then those of another; what only one of them has is dropped.

        Args:
            other: A split of the same task.
        """
        groups = {n: torch.cat([c, other.groups[n]]) for n, c in self.groups.items() if n in other.groups}
        return Split(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.targets, other.targets]),
            torch.cat([self.observed, other.observed]),
            groups,
            None if self.masks is None or other.masks is None else torch.cat([self.masks, other.masks]),
            None if self.clusters is None or other.clusters is None else torch.cat([self.clusters, other.clusters]),
            None if self.texts is None or other.texts is None else self.texts + other.texts,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled examples in the splits train (members), calibration (inside train), select and test.

    Attributes:
        name: Short name, such as ``digits``.
        classes: Number of classes.
        bounds: Smallest and largest value that an input may take; None where none are known.
        splits: The four splits of `SPLITS`, and further ones of one's own, such as ``shifted``: what the model meets
            after its world has changed.
        group_names: For every grouping the name of each code.
        features: Name of each column of a table; empty where columns have none.
        vocabulary: Number of token ids where inputs are texts, ``(N, tokens)`` of ids with 0 as padding; else 0.
        words: What each token id stands for, ``vocabulary`` of them; empty where it is not known. The first two are
            not words: padding, and what stands for every unknown word.
        class_names: Name of each class, in the order of the model's outputs; empty where they have none.
        units: Of each column of a table offset and scale: ``input * scale + offset`` is what its source holds. Empty
            where inputs are as their source has them.
        sentences: Where examples are words of sentences, the words of every sentence, in order: an input is the number
            of its sentence and its place in it, from 0, ``(N, 2)``, which only what reads sentences can answer.
        language: Where examples are what a language model is asked, the passages: an input is the number of one.

    Raises:
        TaskError: A split is missing or has no examples, labels are out of range, those of test are constant, or shapes
            or lengths do not agree. Train and calibration may hold one class, or nothing: what trains refuses that.
            Of passages select may be empty too, and labels constant.
    """

    name: str
    classes: int
    bounds: tuple[float, float] | None
    splits: Mapping[str, Split]
    group_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    vocabulary: int = 0
    words: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    units: tuple[tuple[float, float], ...] = ()
    sentences: tuple[tuple[str, ...], ...] = ()
    language: Language | None = None
    _elsewhere: dict[str, Task] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in SPLITS:
            if name not in self.splits:
                raise TaskError(f"task {self.name}: split {name!r} is missing; a task has {', '.join(SPLITS)}")
        _check_names(self)
        for name, split in self.splits.items():
            where = f"task {self.name}, split {name}"
            spared = {"train", "calibration", *(["select"] if self.language else [])}
            _check_inputs(where, split, empty=name in spared)
            _check_labels(where, split, self.classes)
            _check_groups(where, split, self.group_names)
            _check_beside(where, split)
            _check_places(where, split, self.sentences)
            if self.language is not None:
                self.language.check(where, split.inputs, split.targets)
            if len(split) and split.inputs.shape[1:] != self.test.inputs.shape[1:]:
                shapes = f"{tuple(split.inputs.shape[1:])}, those of test {self.shape}"
                raise TaskError(f"{where}: inputs are of shape {shapes}; they must agree")
        if self.language is None:
            _check_classes(f"task {self.name}, split test", self.test)

    def split(self, name: str) -> Split:
        """Return one split.

        Args:
            name: One of `SPLITS`.

        Raises:
            TaskError: There is no such split.
        """
        if name not in self.splits:
            raise TaskError(f"task {self.name}: no split {name!r}; {nearest(name, self.splits)}")
        return self.splits[name]

    @property
    def train(self) -> Split:
        """The members: what models are fitted on."""
        return self.splits["train"]

    @property
    def calibration(self) -> Split:
        """The part of train that compression may look at to set its scales."""
        return self.splits["calibration"]

    @property
    def test(self) -> Split:
        """What verdicts are given on; no method and no search ever reads it."""
        return self.splits["test"]

    def on(self, split: str) -> Task:
        """Return the task whose verdicts are given on another split: it stands in the place of test.

        Args:
            split: One of `SPLITS`.

        Raises:
            TaskError: There is no such split.
        """
        if split == "test":
            return self
        if split not in self._elsewhere:  # once, since its key takes a look at all examples
            self._elsewhere[split] = replace(self, splits={**self.splits, "test": self.split(split)})
        return self._elsewhere[split]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.test.inputs.shape[1:])

    @property
    def modality(self) -> str:
        """What one input is: ``images`` (channels, height, width), ``tokens`` (ids), ``words`` or ``table`` (else).

        What a language model is asked is ``documents``, ``choices`` or ``pairs``.
        """
        if self.language is not None:
            return self.language.form
        if self.sentences:
            return "words"
        if self.vocabulary:
            return "tokens"
        return "images" if len(self.shape) == 3 else "table"

    def check_training(self) -> None:
        """Refuse to be trained on where there is nothing to learn.

        Raises:
            TaskError: Train has no examples, those of one class alone, or words of sentences, or passages.
        """
        if self.language is not None:
            raise TaskError(f"task {self.name}: its examples are what a language model reads; nothing here learns that")
        if self.sentences:
            raise TaskError(f"task {self.name}: its examples are words of sentences, which nothing here learns to read")
        if not len(self.train):
            raise TaskError(f"task {self.name}, split train: it has no examples, and this trains on it")
        _check_classes(f"task {self.name}, split train", self.train)

    def limits(self) -> tuple[float, float]:
        """Return the smallest and the largest value that an input may take.

        Raises:
            TaskError: None are known.
        """
        if self.bounds is None:
            raise TaskError(f"task {self.name}: its inputs have no bounds; give it bounds=(low, high)")
        return self.bounds

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything in the task, so that results are found again only for the same data."""
        digest = hashlib.sha256(f"{self.classes} {self.bounds}".encode())
        if self.vocabulary:
            digest.update(f"{self.vocabulary} token ids".encode())
        if self.sentences:
            digest.update(repr(self.sentences).encode())
        if self.language is not None:
            digest.update(self.language.content.encode())
        for name in (*SPLITS, *sorted(set(self.splits) - set(SPLITS))):
            split = self.splits[name]
            parts = [split.inputs, split.targets, split.observed, split.masks, split.clusters]
            for part in [*parts, *(split.groups[g] for g in sorted(split.groups))]:
                if part is not None:
                    digest.update(str(tuple(part.shape)).encode())
                    digest.update(part.contiguous().flatten().numpy().view(np.uint8).data)  # no copy of it
            if split.texts is not None:
                digest.update(repr(split.texts).encode())
        return digest.hexdigest()[:16]

    @property
    def learned(self) -> str:
        """Key of what methods see of it: of passages the text to calibrate on, which no model is asked about."""
        told = self.language
        if told is None or not told.calibration.texts:
            return self.key
        return hashlib.sha256(f"{told.calibration} {told.context}".encode()).hexdigest()[:16]

    @cached_property
    def names(self) -> str:
        """SHA-256 of what the data are called: groupings in their order, groups, columns, further splits."""
        groups = [(split, list(self.splits[split].groups)) for split in self.splits]
        named = {name: list(known) for name, known in self.group_names.items()}
        more = (self.words, self.class_names, self.units)
        called = (groups, named, self.features, *((known,) for known in more if known))
        return hashlib.sha256(repr(called).encode()).hexdigest()[:16]

    def with_train(self, train: Split, calibration: Split) -> Task:
        """Return the task with other members, as a shadow model needs it.

        Args:
            train: The new members.
            calibration: The new calibration split, inside ``train``.
        """
        return replace(self, splits={**self.splits, "train": train, "calibration": calibration})


def _check_names(task: Task) -> None:
    if task.words and len(task.words) != task.vocabulary:
        raise TaskError(f"task {task.name}: {len(task.words)} words for {task.vocabulary} token ids; one each")
    if task.units and len(task.units) != len(task.features):
        raise TaskError(f"task {task.name}: {len(task.units)} units for {len(task.features)} features; one each")
    if task.class_names and len(task.class_names) != task.classes:
        counts = f"{len(task.class_names)} class_names for {task.classes} classes"
        raise TaskError(f"task {task.name}: {counts}; one each")
    if len(set(task.class_names)) < len(task.class_names):
        twice = next(one for one in task.class_names if task.class_names.count(one) > 1)
        raise TaskError(f"task {task.name}: class_names: {twice!r} stands twice; models are asked by them: one each")


def _check_labels(where: str, split: Split, classes: int) -> None:
    if len(split.inputs) != len(split.targets) or len(split.observed) != len(split.targets):
        sizes = f"{len(split.inputs)} inputs, {len(split.targets)} targets, {len(split.observed)} observed labels"
        raise TaskError(f"{where}: {sizes}; they must agree")
    for name, labels in (("targets", split.targets), ("observed", split.observed)):
        bad = torch.nonzero((labels < 0) | (labels >= classes)).flatten()
        if len(bad):
            row = int(bad[0])
            raise TaskError(f"{where}: {name} of row {row} is {int(labels[row])}; allowed are 0 to {classes - 1}")


def _check_classes(where: str, split: Split) -> None:
    if len(split) > 1 and bool((split.targets == split.targets[0]).all()):
        raise TaskError(f"{where}: every target is {int(split.targets[0])}; a task needs at least two classes")


def _check_inputs(where: str, split: Split, *, empty: bool) -> None:
    if not split.inputs.numel() and not (empty and not len(split)):
        raise TaskError(f"{where}: it has no examples, or they hold nothing; inputs are {tuple(split.inputs.shape)}")
    if not split.inputs.is_floating_point() and split.inputs.dtype not in (torch.int32, torch.int64):
        kind = str(split.inputs.dtype).removeprefix("torch.")
        allowed = "floating-point numbers are needed, pixels divided by 255, or token ids as int64"
        raise TaskError(f"{where}: inputs are {kind}; {allowed}")
    step = max(1, _PART // max(1, split.inputs[:1].numel()))  # what is looked at is copied
    for start in range(0, len(split.inputs), step):
        bad = ~split.inputs[start : start + step].flatten(1).isfinite().all(1)
        if bool(bad.any()):
            row = start + int(bad.nonzero()[0])
            raise TaskError(f"{where}: inputs of row {row} hold NaN or infinity; fill or drop them")


def _check_groups(where: str, split: Split, names: Mapping[str, tuple[str, ...]]) -> None:
    for name, codes in split.groups.items():
        if codes.shape != (len(split),):
            count = f"{len(codes)} codes" if codes.dim() == 1 else f"codes of shape {tuple(codes.shape)}"
            raise TaskError(f"{where}: group {name} has {count} for {len(split)} examples; one each is needed")
        if not len(codes):
            continue
        if codes.dtype not in _WHOLE or int(codes.min()) < -1:
            raise TaskError(f"{where}: group {name} needs whole numbers from 0, and -1 where a value is missing")
        largest, known = int(codes.max()), len(names.get(name, ())) or _GROUPS
        if largest >= known:
            raise TaskError(
                f"{where}: group {name} has the code {largest}; allowed are 0 to {known - 1}, one for each name of "
                "group_names; count values that lie far apart through, and name them there"
            )


def _check_beside(where: str, split: Split) -> None:
    if split.masks is not None and split.masks.shape != split.inputs.shape:
        shapes = f"{tuple(split.masks.shape)} for inputs of {tuple(split.inputs.shape)}"
        raise TaskError(f"{where}: masks are of shape {shapes}; they must agree")
    if split.texts is not None and len(split.texts) != len(split):
        raise TaskError(f"{where}: {len(split.texts)} texts for {len(split)} examples; one each is needed")
    if split.clusters is not None and (split.clusters.shape != (len(split),) or split.clusters.is_floating_point()):
        kind = f"shape {tuple(split.clusters.shape)} and type {str(split.clusters.dtype).removeprefix('torch.')}"
        raise TaskError(
            f"{where}: clusters are of {kind}; one whole number for each of {len(split)} examples is needed"
        )


def _check_places(where: str, split: Split, sentences: tuple[tuple[str, ...], ...]) -> None:
    """Refuse an input that is no word of the sentences, where there are sentences.

    Raises:
        TaskError: There is one.
    """
    if not sentences or not len(split):
        return
    if split.inputs.shape[1:] != (2,):
        raise TaskError(f"{where}: inputs are {tuple(split.inputs.shape)}; a sentence and a place in it, (N, 2)")
    lengths = torch.tensor([len(words) for words in sentences])
    sentence, place = split.inputs.double().unbind(1)
    known = (sentence >= 0) & (sentence < len(sentences)) & (split.inputs == split.inputs.round()).all(1)
    known &= (place >= 0) & (place < lengths[torch.where(known, sentence, 0).long()])
    if not bool(known.all()):
        row = int((~known).nonzero()[0])
        raise TaskError(f"{where}: row {row} is {split.inputs[row].tolist()}; no sentence has a word there")
